//! Latencies as histograms: recorded by threads, taken by the reporter as sparse counts of what came since the last time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::domain::LatencyCounts;

/// The longest that is told apart, in microseconds; what takes longer is recorded as this.
const LONGEST: u64 = 600_000_000;

/// Significant decimal digits. Two are 1 % and keep a histogram at 12 KiB and a message at a few hundred pairs.
const DIGITS: u8 = 2;

/// A histogram of latencies in microseconds.
#[derive(Debug)]
pub(super) struct Latency(Histogram<u32>);

impl Latency {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self(
            Histogram::new_with_bounds(1, LONGEST, DIGITS)
                .expect("1 to 600,000,000 with two digits are valid bounds"),
        )
    }

    /// Records one latency. Less than a microsecond is recorded as one.
    pub(super) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(micros.max(1));
    }

    /// Adds another's counts.
    pub(super) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("both have the same bounds");
    }

    /// Takes what is there and leaves nothing.
    pub(super) fn take(&mut self) -> LatencyCounts {
        let counts = LatencyCounts(
            self.0
                .iter_recorded()
                .map(|step| (step.value_iterated_to(), u64::from(step.count_at_value())))
                .collect(),
        );
        self.0.reset();
        counts
    }

    /// Takes what is in all of them together; nothing when there is nothing.
    pub(super) fn take_all(latencies: &[Arc<Mutex<Self>>]) -> Option<LatencyCounts> {
        let mut sum = Self::new();
        for latency in latencies {
            let mut latency = latency.lock().unwrap_or_else(PoisonError::into_inner);
            if !latency.is_empty() {
                sum.add(&latency);
                latency.0.reset();
            }
        }
        (!sum.is_empty()).then(|| sum.take())
    }

    /// Whether nothing is there.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_gone_and_off_by_at_most_one_percent() {
        let mut latency = Latency::new();
        for micros in [0, 7, 7, 12_345, 700_000_000] {
            latency.record(Duration::from_micros(micros));
        }
        let counts = latency.take();
        let total: u64 = counts.0.iter().map(|(_, count)| count).sum();
        assert_eq!(total, 5);
        assert!(counts.0.contains(&(1, 1)) && counts.0.contains(&(7, 2)));
        assert!(
            counts
                .0
                .iter()
                .any(|(value, _)| value.abs_diff(12_345) <= 123)
        );
        assert!(latency.is_empty() && latency.take().0.is_empty());
    }
}
