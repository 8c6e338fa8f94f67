//! The pace that the runner asks for while a client opens its connections: a limit, and not a plan. It may change at any
//! moment, also to nothing at all. Latency is not counted from it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// No limit.
const FREE: u64 = 0;

/// Nothing may be opened.
const STOPPED: u64 = u64::MAX;

/// How long to wait before asking again while nothing may be opened.
const ASK_AGAIN: Duration = Duration::from_millis(10);

/// How much of the time that was not used may be made up for: a thread that sleeps wakes late.
const CATCH_UP: u64 = 5_000_000;

/// The pace, shared by the threads of a client.
#[derive(Debug)]
pub(super) struct Pace {
    origin: Instant,
    /// Nanoseconds from one connection to the next.
    interval: AtomicU64,
    /// When the next one may be opened, in nanoseconds since `origin`.
    next: AtomicU64,
}

impl Pace {
    /// No limit.
    pub(super) fn free() -> Self {
        Self {
            origin: Instant::now(),
            interval: AtomicU64::new(FREE),
            next: AtomicU64::new(0),
        }
    }

    /// Connections a second from now on, over all threads. Zero: none. Absent: no limit.
    pub(super) fn set(&self, per_second: Option<f64>) {
        let interval = match per_second {
            None => FREE,
            Some(rate) if rate > 0.0 => nanoseconds(1.0 / rate),
            Some(_) => STOPPED,
        };
        self.next.store(self.now(), Ordering::Relaxed);
        self.interval.store(interval, Ordering::Relaxed);
    }

    /// Whether a pace is asked for.
    pub(super) fn was_set(&self) -> bool {
        self.interval.load(Ordering::Relaxed) != FREE
    }

    /// Takes the right to open one connection. Where that has to wait, how long to wait before asking again.
    pub(super) fn take(&self) -> Result<(), Duration> {
        match self.interval.load(Ordering::Relaxed) {
            FREE => Ok(()),
            STOPPED => Err(ASK_AGAIN),
            interval => self.take_at(self.now(), interval),
        }
    }

    fn take_at(&self, now: u64, interval: u64) -> Result<(), Duration> {
        let taken = self
            .next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                let earliest = next.max(now.saturating_sub(CATCH_UP));
                (earliest <= now).then(|| earliest.saturating_add(interval))
            });
        taken
            .map(|_| ())
            .map_err(|next| Duration::from_nanos(next.saturating_sub(now)))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates, and is never negative
fn nanoseconds(seconds: f64) -> u64 {
    ((seconds * 1e9) as u64).clamp(1, STOPPED - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connections that are let through in `millis` milliseconds, asked for every tenth of a millisecond.
    fn let_through(pace: &Pace, interval: u64, from_millis: u64, millis: u64) -> usize {
        (from_millis * 10..(from_millis + millis) * 10)
            .filter(|tick| pace.take_at(tick * 100_000, interval).is_ok())
            .count()
    }

    #[test]
    fn a_pace_bounds_the_rate() {
        let pace = Pace::free();
        // 1,000 a second.
        let first = let_through(&pace, 1_000_000, 0, 1_000);
        assert!((999..=1_001).contains(&first), "{first}");
    }

    #[test]
    fn a_long_pause_is_not_made_up_for() {
        let pace = Pace::free();
        let_through(&pace, 1_000_000, 0, 100);
        let after = let_through(&pace, 1_000_000, 5_000, 100);
        assert!((100..=106).contains(&after), "{after}");
    }

    #[test]
    fn it_may_be_free_or_stopped() {
        let pace = Pace::free();
        assert_eq!(pace.take(), Ok(()));
        pace.set(Some(0.0));
        assert_eq!(pace.take(), Err(ASK_AGAIN));
        pace.set(None);
        assert_eq!(pace.take(), Ok(()));
    }
}
