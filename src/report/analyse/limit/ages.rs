//! How old connections were when they ended, from two curves: how many had been opened, and how many had ended. Servers end
//! connections in the order in which they were opened when a timeout ends them.

/// Connections that ended, grouped by when that was seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ages {
    /// The age of the median connection, in seconds.
    pub(super) median: f64,
    /// The ages of those that ended as the tenth and as the nine tenths of all, the lesser first.
    pub(super) low: f64,
    pub(super) high: f64,
    /// How many ended.
    pub(super) lost: u64,
    /// Whether nearly none was left.
    all: bool,
    /// Seconds within which most of them ended.
    ended_within: f64,
}

/// Ages that differ by less than this share of the median, or by less than [`SAME_SECONDS`], are the same.
const SAME_SHARE: f64 = 0.15;

/// Counters are read four times a second, and servers look at their timers once a second or so.
const SAME_SECONDS: f64 = 1.5;

/// An idle connection that is younger was refused rather than timed out.
const YOUNGEST: f64 = 2.0;

/// A share of all connections of which nearly none is missing.
const NEARLY_ALL: f64 = 0.9;

/// Fewer connections show no pattern.
const FEWEST: u64 = 10;

impl Ages {
    /// From the number opened and the number lost over time, both ascending.
    pub(super) fn of(opened: &[(f64, u64)], lost: &[(f64, u64)]) -> Option<Self> {
        let all = lost.last()?.1;
        if all == 0 {
            return None;
        }
        let moment = |curve, share: f64| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a share of a count
            let number = ((all as f64 * share) as u64).max(1);
            when(curve, number)
        };
        let age = |share| Some((moment(lost, share)? - moment(opened, share)?).max(0.0));
        let most = opened.iter().map(|(_, count)| *count).max()?;
        // The first that ended may be the oldest, or the youngest.
        let (early, median, late) = (age(0.1)?, age(0.5)?, age(0.9)?);
        Some(Self {
            median,
            low: early.min(median).min(late),
            high: early.max(median).max(late),
            lost: all,
            all: all as f64 >= most as f64 * NEARLY_ALL,
            ended_within: moment(lost, 0.9)? - moment(lost, 0.1)?,
        })
    }

    /// Whether all had nearly the same age, and an age that a timeout has. Some of many that ended at once are
    /// as old as any: only a timeout goes on, or leaves none.
    pub(super) fn are_of_a_timeout(&self) -> bool {
        let spread = self.high - self.low;
        self.lost >= FEWEST
            && self.median >= YOUNGEST
            && spread <= (self.median * SAME_SHARE).max(SAME_SECONDS)
            && (self.all || self.ended_within > SAME_SECONDS)
    }
}

/// When a curve reached `number`, between two of its points in proportion.
fn when(curve: &[(f64, u64)], number: u64) -> Option<f64> {
    let mut before: Option<(f64, u64)> = None;
    for (at, count) in curve {
        if *count >= number {
            return Some(match before {
                Some((then, less)) if count > &less => {
                    let share = (number - less) as f64 / (count - less) as f64;
                    then + (at - then) * share
                }
                _ => *at,
            });
        }
        before = Some((*at, *count));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A count that grows by `step` four times a second.
    fn growing(from: f64, steps: u64, step: u64) -> Vec<(f64, u64)> {
        (0..=steps)
            .map(|number| (from + number as f64 / 4.0, number * step))
            .collect()
    }

    #[test]
    fn a_timeout_ends_connections_of_the_same_age() {
        let ages = Ages::of(&growing(1.0, 40, 50), &growing(11.2, 40, 50)).expect("ages");
        assert!((ages.median - 10.2).abs() < 0.01, "{ages:?}");
        assert!(ages.are_of_a_timeout());
    }

    #[test]
    fn refused_connections_are_no_timeout() {
        let ages = Ages::of(&growing(0.0, 40, 50), &growing(0.2, 40, 50)).expect("ages");
        assert!(!ages.are_of_a_timeout(), "{ages:?}");
    }

    #[test]
    fn a_server_that_ends_ends_connections_of_all_ages() {
        let opened = growing(0.0, 80, 50);
        let lost = vec![(20.0, 0), (30.0, 0), (30.25, 4_000)];
        let ages = Ages::of(&opened, &lost).expect("ages");
        assert!(!ages.are_of_a_timeout(), "{ages:?}");
    }

    #[test]
    fn without_losses_there_are_no_ages() {
        assert_eq!(Ages::of(&growing(0.0, 4, 5), &[]), None);
        assert_eq!(Ages::of(&growing(0.0, 4, 5), &[(1.0, 0)]), None);
    }
}
