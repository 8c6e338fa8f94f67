//! Where engine threads write down what the worker has to tell: losses and failures, gathered rather than queued so that
//! a million of them at once stay a few entries, and milestones.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::domain::{ByteText, ConnectFailure, FailureNote, LossNote, LossReason, VerifyReport};

/// Examples told of each loss, and failures told of each class; the counters have all.
const EXAMPLES: usize = 8;

/// A point that was reached.
#[derive(Debug, Clone, PartialEq)]
pub enum Milestone {
    /// Each connection is open or given up, or the ramp was stopped. Seconds from the beginning to the last connection.
    RampDone {
        /// See above.
        seconds: f64,
    },
    /// What was said on each connection as it was opened is over. Comes right before [`RampDone`](Self::RampDone).
    Greeted(VerifyReport),
    /// The task is over.
    Performed(VerifyReport),
    /// Every connection was looked at once more; what ends from now on is not lost.
    LossesTold,
    /// Every connection is closed; so many were.
    Drained(u64),
}

/// What has been written down since the last look.
#[derive(Debug, Default)]
pub struct News {
    /// Losses, one note for each reason.
    pub losses: Vec<LossNote>,
    /// The first failures of each class.
    pub failures: Vec<FailureNote>,
    /// Sentences for the report.
    pub warnings: Vec<String>,
    /// Points that were reached, in order.
    pub milestones: Vec<Milestone>,
}

/// The ledger. Clones are the same ledger.
#[derive(Debug, Clone, Default)]
pub struct Ledger(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    pages: Mutex<Pages>,
    urgent: Condvar,
}

#[derive(Debug, Default)]
struct Pages {
    news: News,
    failed: BTreeMap<ConnectFailure, u64>,
    /// Whether the reader is to leave its wait at once.
    wake: bool,
}

impl Ledger {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes down connections that were lost, with what lay unread at one of them.
    pub fn lost(&self, reason: LossReason, count: u64, example: Option<SocketAddrV4>, said: &[u8]) {
        let mut pages = self.pages();
        let losses = &mut pages.news.losses;
        let index = losses
            .iter()
            .position(|note| note.reason == reason)
            .unwrap_or_else(|| {
                losses.push(LossNote {
                    reason,
                    count: 0,
                    examples: Vec::new(),
                    said: ByteText::default(),
                });
                losses.len() - 1
            });
        let note = &mut losses[index];
        note.count += count;
        if note.examples.len() < EXAMPLES {
            note.examples.extend(example);
        }
        if note.said.is_empty() {
            note.said = ByteText::from_bytes(said);
        }
    }

    /// Writes down `count` connections that failed alike.
    pub fn failed(&self, count: u64, note: FailureNote) {
        let mut pages = self.pages();
        let before = pages.failed.entry(note.failure).or_insert(0);
        let first_ones = *before < EXAMPLES as u64;
        *before += count;
        if first_ones {
            pages.news.failures.push(note);
        }
    }

    /// Counts a failure that belongs to no planned connection, such as one of accept(2). Returns how many of its class
    /// there were before.
    #[must_use]
    pub fn count_failure(&self, failure: ConnectFailure) -> u64 {
        let mut pages = self.pages();
        let count = pages.failed.entry(failure).or_insert(0);
        *count += 1;
        *count - 1
    }

    /// Writes down a sentence for the report.
    pub fn warn(&self, text: String) {
        self.pages().news.warnings.push(text);
    }

    /// Writes down a milestone and wakes the reader.
    pub fn reached(&self, milestone: Milestone) {
        self.pages().news.milestones.push(milestone);
        self.wake();
    }

    /// Wakes the reader.
    pub fn wake(&self) {
        self.pages().wake = true;
        self.0.urgent.notify_all();
    }

    /// Failures of all time, by class.
    #[must_use]
    pub fn failures(&self) -> BTreeMap<ConnectFailure, u64> {
        self.pages().failed.clone()
    }

    /// Takes what is new, after at most `patience`, sooner when a milestone is reached.
    #[must_use]
    pub fn take(&self, patience: Duration) -> News {
        let (mut pages, _) = self
            .0
            .urgent
            .wait_timeout_while(self.pages(), patience, |pages| !pages.wake)
            .unwrap_or_else(PoisonError::into_inner);
        pages.wake = false;
        std::mem::take(&mut pages.news)
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        // What a panicking thread wrote is whole: each entry is made under the lock in one step.
        self.0.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn losses_of_one_reason_are_one_note_with_few_examples() {
        let ledger = Ledger::new();
        for port in 1..=100 {
            let example = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
            ledger.lost(LossReason::Reset, 1, Some(example), b"");
        }
        ledger.lost(LossReason::ClosedByPeer, 5, None, b"busy");
        let news = ledger.take(Duration::ZERO);
        assert_eq!(news.losses.len(), 2);
        assert_eq!(news.losses[0].count, 100);
        assert_eq!(news.losses[0].examples.len(), EXAMPLES);
        assert_eq!(news.losses[1].said.bytes(), b"busy");
        assert!(ledger.take(Duration::ZERO).losses.is_empty());
    }

    #[test]
    fn only_the_first_failures_of_a_class_are_told_and_all_are_counted() {
        let ledger = Ledger::new();
        let note = FailureNote {
            failure: ConnectFailure::Refused,
            source: Ipv4Addr::LOCALHOST,
            port: None,
            target: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1),
        };
        for _ in 0..50 {
            ledger.failed(1, note.clone());
        }
        assert_eq!(ledger.take(Duration::ZERO).failures.len(), EXAMPLES);
        assert_eq!(ledger.failures()[&ConnectFailure::Refused], 50);
    }

    #[test]
    fn a_milestone_ends_the_wait() {
        let ledger = Ledger::new();
        ledger.reached(Milestone::Drained(3));
        let news = ledger.take(Duration::from_secs(3600));
        assert_eq!(news.milestones, [Milestone::Drained(3)]);
    }
}
