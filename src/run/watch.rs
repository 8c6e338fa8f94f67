//! What the ramp has seen of a server that is not the lab's own.

use std::time::{Duration, Instant};

use super::pace::Pace;
use crate::domain::ConnCount;

/// The server's end has to have fewer connections for this long, because both ends are counted at different moments.
const MISSING_FOR: Duration = Duration::from_millis(600);

/// What the ramp has seen of the server so far.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) pace: Pace,
    /// Whether nobody has said how fast connections are to be opened.
    pub(super) paced: bool,
    pub(super) accepted: ConnCount,
    pub(super) moved: Instant,
    pub(super) told: f64,
    /// Since when the server's end has clearly fewer connections than the clients'.
    pub(super) missing: Option<Instant>,
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
            missing: None,
        }
    }

    /// The clients hold so many connections, and the server's end has so many sockets.
    pub(super) fn note_missing(&mut self, open: ConnCount, seen: Option<u64>, now: Instant) {
        let Some(seen) = seen else { return };
        // The two are counted at different moments.
        let allowed = (open.count() / 20).max(100);
        if seen + allowed < open.count() {
            self.missing.get_or_insert(now);
        } else {
            self.missing = None;
        }
    }

    /// Whether connections have ended that the clients have not noticed yet: they look for that once a second.
    pub(super) fn ended_unnoticed(&self, now: Instant) -> bool {
        self.missing
            .is_some_and(|since| now.saturating_duration_since(since) >= MISSING_FOR)
    }
}
