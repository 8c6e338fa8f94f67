//! What a connection says as soon as it is open: in small batches, so that the answers to some come while others are asked.

use std::time::{Duration, Instant};

use super::connections::{Asked, Connections};
use crate::engine::pasts::Pasts;
use crate::engine::round::{Findings, Round};
use crate::kernel::sys::fdtable::Descriptor;
use crate::protocol::Past;

/// How long the first connection of a batch waits for others at most.
const WITHIN: Duration = Duration::from_millis(20);

/// The connections of one table that are open and have said nothing yet.
pub(super) struct Greeter<'a> {
    round: &'a Round,
    pasts: &'a mut Pasts,
    waiting: Vec<Descriptor>,
    /// When the batch is full, whatever its size.
    due: Instant,
    findings: Findings,
}

impl<'a> Greeter<'a> {
    pub(super) fn new(round: &'a Round, pasts: &'a mut Pasts) -> Self {
        Self {
            round,
            pasts,
            waiting: Vec::new(),
            due: Instant::now(),
            findings: Findings::new(),
        }
    }

    /// A connection is open.
    pub(super) fn opened(
        &mut self,
        connections: &Connections<'_>,
        socket: Descriptor,
        now: Instant,
    ) {
        if self.waiting.is_empty() {
            self.due = now + WITHIN;
        }
        // A connection that ended before it said anything has left its number to this one.
        if !self.waiting.contains(&socket) {
            self.waiting.push(socket);
        }
        // The number may have been that of a connection that is lost.
        self.pasts.set(connections.place(socket), Past::New);
    }

    /// Has those speak that wait for it, where they are enough or have waited for long enough.
    pub(super) fn greet_if_due(&mut self, connections: &Connections<'_>) {
        let full = self.waiting.len() >= connections.core.exchanges.per_table;
        if full || !self.waiting.is_empty() && Instant::now() >= self.due {
            self.greet(connections);
        }
    }

    /// Has those speak that wait for it.
    pub(super) fn greet(&mut self, connections: &Connections<'_>) {
        let batch = std::mem::take(&mut self.waiting);
        let findings = connections.perform(self.round, self.pasts, Asked::These(&batch));
        connections.counters().greeted(&findings);
        self.findings.add(findings);
        // Its room is used again.
        self.waiting = batch;
        self.waiting.clear();
    }

    /// What came of all of them.
    pub(super) fn findings(self) -> Findings {
        self.findings
    }
}
