//! The end of a server: who has still to stop, and what ends meanwhile is not lost.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::ledger::{Ledger, Milestone};

/// The threads of a server on their way out.
#[derive(Debug)]
pub(super) struct Closing {
    draining: AtomicBool,
    settled: AtomicBool,
    ending: AtomicBool,
    left: Mutex<Left>,
    changed: Condvar,
    ledger: Ledger,
}

#[derive(Debug)]
struct Left {
    threads: usize,
    closed: u64,
}

impl Closing {
    /// For so many threads.
    pub(super) const fn new(threads: usize, ledger: Ledger) -> Self {
        Self {
            draining: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            left: Mutex::new(Left { threads, closed: 0 }),
            changed: Condvar::new(),
            ledger,
        }
    }

    /// Takes every end from now on as closed on purpose. Each thread of a server tells losses as they come, so that there
    /// is nothing to look for.
    pub(super) fn settle(&self) {
        self.settled.store(true, Ordering::Relaxed);
        self.ledger.reached(Milestone::LossesTold);
    }

    /// Whether an end is closed on purpose and not lost.
    pub(super) fn settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed) || self.draining()
    }

    /// Asks for the drain.
    pub(super) fn drain(&self) {
        let again = self.draining.swap(true, Ordering::Relaxed);
        if !again && self.left().threads == 0 {
            self.ledger.reached(Milestone::Drained(0));
        }
    }

    /// Asks for the end at once: peers have no time left to close first.
    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Whether everything is to be closed.
    pub(super) fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether that is to be done at once.
    pub(super) fn ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// A thread has stopped, and its connections are closed.
    pub(super) fn part_done(&self, held: u64) {
        let mut left = self.left();
        left.threads = left.threads.saturating_sub(1);
        left.closed += held;
        if left.threads == 0 {
            self.ledger.reached(Milestone::Drained(left.closed));
            self.changed.notify_all();
        }
    }

    /// Waits until every thread has stopped.
    pub(super) fn wait(&self) {
        drop(
            self.changed
                .wait_while(self.left(), |left| left.threads > 0)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    fn left(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
