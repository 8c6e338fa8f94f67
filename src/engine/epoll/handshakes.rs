//! The handshakes of one table that are under way.

use std::time::Instant;

use crate::engine::source::Attempt;
use crate::kernel::sys::fdtable::Descriptor;
use crate::kernel::sys::poll::{Interest, PollEntry};

/// Handshakes under way. The two lists have the same order.
#[derive(Debug)]
pub(in crate::engine) struct Handshakes {
    pub(super) entries: Vec<PollEntry>,
    pub(super) begun: Vec<Handshake>,
    pub(super) window: usize,
}

/// A handshake under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Handshake {
    pub(super) attempt: Attempt,
    /// From when its latency counts: when connect(2) was called, or when it was due where there is a plan.
    pub(super) start: Instant,
    /// When it counts as timed out.
    pub(super) deadline: Instant,
}

impl Handshakes {
    /// For at most `window` handshakes at once.
    pub(super) fn new(window: usize) -> Self {
        let window = window.max(1);
        Self {
            entries: Vec::with_capacity(window),
            begun: Vec::with_capacity(window),
            window,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.begun.len()
    }

    pub(super) fn push(&mut self, socket: Descriptor, handshake: Handshake) {
        self.entries
            .push(PollEntry::new(socket, Interest::Writable));
        self.begun.push(handshake);
    }

    pub(super) fn remove(&mut self, place: usize) {
        self.entries.swap_remove(place);
        self.begun.swap_remove(place);
    }
}
