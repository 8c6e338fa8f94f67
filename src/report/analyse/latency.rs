//! Latency histograms: merged first, percentiles taken afterwards.

use std::collections::BTreeMap;

use crate::domain::LatencyCounts;

use crate::report::model::{LatencyAt, LatencySummary};

/// Points of the chart of latency over the number of connections held.
const BUCKETS: f64 = 24.0;

/// Microseconds, with how many took so long.
#[derive(Debug, Default, Clone)]
pub(super) struct Merged(BTreeMap<u64, u64>);

impl Merged {
    /// Of several histograms.
    pub(super) fn of<'a>(parts: impl IntoIterator<Item = &'a LatencyCounts>) -> Self {
        let mut merged = Self::default();
        for part in parts {
            merged.add(part);
        }
        merged
    }

    fn add(&mut self, part: &LatencyCounts) {
        for (micros, count) in &part.0 {
            *self.0.entry(*micros).or_default() += count;
        }
    }

    fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The least value that at least `share` of all do not exceed.
    fn at(&self, share: f64) -> Option<u64> {
        let wanted = (share * self.count() as f64).ceil().max(1.0);
        let mut seen = 0_u64;
        for (micros, count) in &self.0 {
            seen += count;
            if seen as f64 >= wanted {
                return Some(*micros);
            }
        }
        None
    }

    /// The percentiles that are reported; nothing where nothing was measured.
    pub(super) fn summary(&self) -> Option<LatencySummary> {
        let names = [
            ("p50", 0.5),
            ("p90", 0.9),
            ("p99", 0.99),
            ("p99.9", 0.999),
            ("max", 1.0),
        ];
        let percentiles = names
            .into_iter()
            .map(|(name, share)| Some((name, self.at(share)?)))
            .collect::<Option<Vec<_>>>()?;
        Some(LatencySummary {
            count: self.count(),
            percentiles,
        })
    }
}

/// Latencies over the number of connections held at the time, in buckets of equal width.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a bucket's number is small and positive
pub(super) fn over_held<'a>(
    parts: impl IntoIterator<Item = (f64, &'a LatencyCounts)>,
    most: f64,
) -> Vec<LatencyAt> {
    let mut buckets: BTreeMap<u64, Merged> = BTreeMap::new();
    for (held, part) in parts {
        let bucket = (held / most.max(1.0) * BUCKETS).min(BUCKETS - 1.0) as u64;
        buckets.entry(bucket).or_default().add(part);
    }
    buckets
        .into_iter()
        .filter_map(|(bucket, merged)| {
            let micros = |share| merged.at(share).map(|micros| micros as f64);
            Some(LatencyAt {
                held: (bucket as f64 + 0.5) / BUCKETS * most,
                percentiles: [micros(0.5)?, micros(0.9)?, micros(0.99)?, micros(1.0)?],
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_merged_histogram() {
        let parts = [
            LatencyCounts(vec![(10, 50), (20, 40)]),
            LatencyCounts(vec![(10, 0), (30, 9), (4000, 1)]),
        ];
        let summary = Merged::of(&parts).summary().expect("something");
        assert_eq!(summary.count, 100);
        assert_eq!(
            summary.percentiles,
            [
                ("p50", 10),
                ("p90", 20),
                ("p99", 30),
                ("p99.9", 4000),
                ("max", 4000)
            ]
        );
    }

    #[test]
    fn nothing_measured_has_no_percentiles() {
        assert_eq!(Merged::of(&[]).summary(), None);
    }
}
