//! What the ramp has seen of a server that is not the lab's own.

use std::time::Instant;

use super::pace::Pace;
use crate::domain::ConnCount;

/// Looks in which the server's end has to have fewer connections, one after the other.
const MISSING_LOOKS: u32 = 4;

/// What the ramp has seen of the server so far.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) pace: Pace,
    /// Whether nobody has said how fast connections are to be opened.
    pub(super) paced: bool,
    pub(super) accepted: ConnCount,
    pub(super) moved: Instant,
    pub(super) told: f64,
    /// Looks at the server's end that are known.
    looks: u64,
    /// Looks, one after the other, in which the server's end had clearly fewer connections than the clients'.
    missing: u32,
}

impl Watch {
    /// For accept queues of this length.
    pub(super) fn new(queue_limit: u64, paced: bool) -> Self {
        let now = Instant::now();
        Self {
            pace: Pace::new(queue_limit, now),
            paced,
            accepted: ConnCount::ZERO,
            moved: now,
            told: f64::NAN,
            looks: 0,
            missing: 0,
        }
    }

    /// A look at the server's end has come: it has so many sockets, and the clients held so many connections, as far as they
    /// have told. What they tell is older than the look, so that it is less while connections come.
    pub(super) fn note_look(&mut self, looks: u64, open: ConnCount, seen: u64) {
        if looks == self.looks {
            return;
        }
        self.looks = looks;
        let allowed = (open.count() / 20).max(50);
        if seen + allowed < open.count() {
            self.missing += 1;
        } else {
            self.missing = 0;
        }
    }

    /// Whether connections have ended that the clients have not noticed yet: they look for that four times a
    /// second.
    pub(super) const fn ended_unnoticed(&self) -> bool {
        self.missing >= MISSING_LOOKS
    }
}
