//! How fast connections to a server that is not the lab's own are opened: as fast as it accepts them. A ramp that outruns
//! the server fills its accept queue, and then finds the limit of the pace, and not that of the number.

use std::time::{Duration, Instant};

/// Connections a second at first, for each place in the accept queue.
const PER_PLACE: f64 = 20.0;

/// The least and the most connections a second.
const LEAST: f64 = 20.0;
const MOST: f64 = 20_000.0;

/// What the pace is multiplied by when the queue has filled.
const SLOWER: f64 = 0.7;

/// What it is multiplied by after each second without that.
const FASTER: f64 = 1.25;

/// Where a limit is looked for, connections a second for each connection that is open: what is opened before it is noticed
/// that something gave way stays a small part of the whole.
const PER_OPEN: f64 = 0.5;

/// The pace of such a search is never bounded below this many connections a second.
const SEARCH_AT_LEAST: f64 = 100.0;

/// Time between two steps upwards.
const STEP: Duration = Duration::from_secs(1);

/// The pace of a ramp.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pace {
    per_second: f64,
    /// Not more than this, whatever the queue says.
    bound: f64,
    /// Since when nothing is opened, because the accept queue is filling.
    paused: Option<Instant>,
    raised: Instant,
}

impl Pace {
    /// For an accept queue of this length.
    pub(super) fn new(queue_limit: u64, now: Instant) -> Self {
        Self {
            per_second: (queue_limit as f64 * PER_PLACE).clamp(LEAST, MOST),
            bound: MOST,
            paused: None,
            raised: now,
        }
    }

    /// Connections a second that clients may open now.
    pub(super) fn now(&self) -> f64 {
        if self.paused.is_some() {
            0.0
        } else {
            self.per_second.min(self.bound)
        }
    }

    /// In a search so many connections are open. Says whether the pace has changed.
    pub(super) fn search(&mut self, open: f64) -> bool {
        let bound = (open * PER_OPEN).clamp(SEARCH_AT_LEAST, MOST);
        let before = self.now();
        // Small steps are not worth a message.
        if (bound - self.bound).abs() > self.bound * 0.1 {
            self.bound = bound;
        }
        self.now().to_bits() != before.to_bits()
    }

    /// Since when nothing is opened.
    pub(super) const fn paused(&self) -> Option<Instant> {
        self.paused
    }

    /// An accept queue is filling, or all have emptied again. Says whether the pace has changed.
    pub(super) fn queue(&mut self, filling: bool, now: Instant) -> bool {
        match (self.paused, filling) {
            (None, true) => {
                self.per_second = (self.per_second * SLOWER).max(LEAST);
                self.paused = Some(now);
                true
            }
            (Some(_), false) => {
                self.paused = None;
                self.raised = now;
                true
            }
            _ => false,
        }
    }

    /// Time has passed. Says whether the pace has changed.
    pub(super) fn pass(&mut self, now: Instant) -> bool {
        let due = now.saturating_duration_since(self.raised) >= STEP;
        if self.paused.is_some() || !due || self.per_second >= MOST {
            return false;
        }
        self.raised = now;
        self.per_second = (self.per_second * FASTER).min(MOST);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filling_queue_stops_the_ramp_until_it_has_emptied() {
        let begin = Instant::now();
        let mut pace = Pace::new(100, begin);
        assert!((pace.now() - 2_000.0).abs() < 1e-9);
        assert!(!pace.queue(false, begin));
        assert!(pace.queue(true, begin));
        assert!(pace.now().abs() < 1e-9);
        assert_eq!(pace.paused(), Some(begin));
        assert!(!pace.queue(true, begin), "it has stopped already");
        assert!(pace.queue(false, begin));
        assert!((pace.now() - 1_400.0).abs() < 1e-9);
    }

    #[test]
    fn a_search_is_slower_while_few_are_open() {
        let mut pace = Pace::new(4_096, Instant::now());
        assert!((pace.now() - MOST).abs() < 1e-9);
        assert!(pace.search(0.0));
        assert!((pace.now() - SEARCH_AT_LEAST).abs() < 1e-9);
        assert!(!pace.search(200.0));
        assert!(pace.search(4_000.0));
        assert!((pace.now() - 2_000.0).abs() < 1e-9);
        pace.search(1_000_000.0);
        assert!((pace.now() - MOST).abs() < 1e-9);
    }

    #[test]
    fn it_grows_while_the_server_keeps_up() {
        let begin = Instant::now();
        let mut pace = Pace::new(5, begin);
        assert!((pace.now() - 100.0).abs() < 1e-9);
        assert!(!pace.pass(begin));
        for second in 1..60 {
            pace.pass(begin + Duration::from_secs(second));
        }
        assert!((pace.now() - MOST).abs() < 1e-9);
    }
}
