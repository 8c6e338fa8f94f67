//! What one read, one tick and one answer of an exchange take: the exchanges of a table use it in turn.

use std::time::Instant;

use crate::domain::LossReason;
use crate::kernel::sys::fdtable::Descriptor;
use crate::kernel::sys::socket::{self, Received};
use crate::protocol::{Mistake, Output, Protocol, Step};

/// Bytes read by one call.
const INPUT: usize = 1024;

/// Reads after which the protocol is told the time, so that an answer without end ends.
const MOST_READS: usize = 64;

/// An exchange under way.
pub(super) struct Talk<S> {
    /// From when its latency counts.
    pub(super) start: Instant,
    pub(super) state: S,
}

/// What every exchange of a table uses in turn.
pub(super) struct Buffers {
    pub(super) out: Output,
    input: [u8; INPUT],
    /// Bytes of `input` that the last call has read.
    pub(super) read: usize,
}

impl Buffers {
    pub(super) const fn new() -> Self {
        Self {
            out: Output::new(),
            input: [0; INPUT],
            read: 0,
        }
    }

    /// What the last call has read.
    pub(super) fn last_read(&self) -> &[u8] {
        &self.input[..self.read]
    }

    /// Reads what is there and gives it to the protocol, until nothing is there or the exchange is over.
    pub(super) fn read<P: Protocol>(
        &mut self,
        socket: Descriptor,
        protocol: &P,
        talk: &mut Talk<P::State>,
    ) -> Result<Step, LossReason> {
        let mut reads = 0;
        loop {
            let count = match socket::receive(socket, &mut self.input) {
                Ok(Received::Bytes(count)) => count,
                Ok(Received::Nothing) => return Ok(Step::Wait),
                Ok(Received::Closed) => return Err(LossReason::ClosedByPeer),
                Err(error) => return Err(LossReason::from_error(&error)),
            };
            self.read = count;
            self.out.clear();
            let step = protocol.on_bytes(&mut talk.state, &self.input[..count], &mut self.out);
            if matches!(step, Step::Failed(_)) {
                return Ok(step);
            }
            match send_out(socket, &self.out)? {
                Step::Wait if step == Step::Wait => {}
                Step::Wait => return Ok(step),
                other => return Ok(other),
            }
            reads += 1;
            if reads % MOST_READS == 0 {
                match self.tick(socket, protocol, talk, Instant::now())? {
                    Step::Wait => {}
                    step => return Ok(step),
                }
            }
        }
    }

    /// Tells the protocol that time has passed.
    pub(super) fn tick<P: Protocol>(
        &mut self,
        socket: Descriptor,
        protocol: &P,
        talk: &mut Talk<P::State>,
        now: Instant,
    ) -> Result<Step, LossReason> {
        self.read = 0;
        self.out.clear();
        let elapsed = now.saturating_duration_since(talk.start);
        match protocol.on_tick(&mut talk.state, elapsed, &mut self.out) {
            Step::Wait => send_out(socket, &self.out),
            step => Ok(step),
        }
    }
}

/// Sends what the protocol has said. A socket without room has unread bytes before it: that peer does not answer.
fn send_out(socket: Descriptor, out: &Output) -> Result<Step, LossReason> {
    let bytes = out.bytes();
    if bytes.is_empty() {
        return Ok(Step::Wait);
    }
    match socket::send(socket, bytes) {
        Ok(sent) if sent == bytes.len() => Ok(Step::Wait),
        Ok(_) => Ok(Step::Failed(Mistake::Silence)),
        Err(error) => Err(LossReason::from_error(&error)),
    }
}
