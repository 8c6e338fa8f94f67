//! A planned rate: when each connection is due. A plan, not a limit: who falls behind catches up, and latency is counted
//! from the moment a connection was due, so that a stall shows in every connection that it delayed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::ConnRate;

/// Hands out due times, one for each connection, to any number of threads.
#[derive(Debug)]
pub(super) struct Pacer {
    per_second: Option<f64>,
    handed_out: AtomicU64,
}

impl Pacer {
    /// A pacer for `rate`; without one, everything is due at once.
    pub(super) fn new(rate: Option<ConnRate>) -> Self {
        Self {
            per_second: rate.map(ConnRate::per_second).filter(|rate| *rate > 0.0),
            handed_out: AtomicU64::new(0),
        }
    }

    /// When the next connection is due, counted from the beginning of the ramp; nothing when there is no plan.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let per_second = self.per_second?;
        let number = self.handed_out.fetch_add(1, Ordering::Relaxed);
        Duration::try_from_secs_f64(number as f64 / per_second).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_spaces_connections_evenly_from_the_beginning() {
        let pacer = Pacer::new(Some(ConnRate::new(4.0)));
        let due: Vec<_> = (0..5)
            .filter_map(|_| pacer.next_due())
            .map(|due| due.as_millis())
            .collect();
        assert_eq!(due, [0, 250, 500, 750, 1000]);
    }

    #[test]
    fn without_a_rate_nothing_is_planned() {
        assert_eq!(Pacer::new(None).next_due(), None);
        assert_eq!(Pacer::new(Some(ConnRate::new(0.0))).next_due(), None);
    }
}
