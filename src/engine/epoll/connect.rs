//! Dialing: one table's part of the ramp. On loopback and veth a handshake is over when connect(2) returns, and a second
//! call says so at once. Across a real network it is not: such handshakes are looked at by poll(2), and the window bounds
//! how many are under way.

use std::io;
use std::time::{Duration, Instant};

use super::connections::Connections;
use super::greet::Greeter;
use super::handshakes::{Handshake, Handshakes};
use crate::domain::ConnectFailure;
use crate::engine::client::{AFTER_STOP, Slot};
use crate::engine::round::Findings;
use crate::engine::source::{Attempt, Source};
use crate::kernel::sys::fdtable::Descriptor;
use crate::kernel::sys::poll::{PollTimeout, poll};
use crate::kernel::sys::socket::{self, Connecting};

/// The part of the handshakes under way that may begin before these are looked at again. A look costs the more the more of
/// them there are.
const LOOK_PART: usize = 8;

/// How long one look waits at most, so that orders are heard.
const LISTEN_EVERY: Duration = Duration::from_millis(50);

/// One table's part of the ramp.
pub(super) struct Dialer<'a, 'b> {
    connections: &'a mut Connections<'b>,
    slot: &'a mut Slot<Handshakes>,
    begun: Instant,
    last_opened: Instant,
    next_sweep: Instant,
    /// Where connections say something as soon as they are open.
    greeter: Option<Greeter<'a>>,
}

impl<'a, 'b> Dialer<'a, 'b> {
    pub(super) fn new(
        connections: &'a mut Connections<'b>,
        slot: &'a mut Slot<Handshakes>,
        greeter: Option<Greeter<'a>>,
        begun: Instant,
    ) -> Self {
        let next_sweep = Instant::now() + connections.sweep_every();
        Self {
            connections,
            slot,
            begun,
            last_opened: begun,
            next_sweep,
            greeter,
        }
    }

    /// Opens this table's connections.
    pub(super) fn ramp(mut self) {
        let core = self.connections.core;
        let mut attempts = core.sources.part(self.connections.index, core.layout.count);
        let mut since_look = 0;
        while let Some(attempt) = attempts.next() {
            if core.orders.halted() {
                break;
            }
            while core.orders.paused() {
                self.look(PollTimeout::After(LISTEN_EVERY));
                self.look_after();
            }
            self.wait_for_pace();
            let due = self.wait_until_due();
            if core.orders.halted() {
                break;
            }
            if let Err(error) = self.open(attempt, due) {
                let failure = ConnectFailure::from_error(&error);
                if failure == ConnectFailure::NoDescriptors {
                    // The table is full and stays so: what is left fails alike, and need not be tried.
                    core.count_failure(1 + attempts.left(), attempt, attempt.port, failure);
                    break;
                }
                core.count_failure(1, attempt, attempt.port, failure);
            }
            let under_way = self.slot.buffers.count();
            since_look += 1;
            if under_way > 0
                && (since_look > under_way / LOOK_PART || under_way >= self.slot.buffers.window)
            {
                since_look = 0;
                self.look(PollTimeout::Zero);
                while self.slot.buffers.count() >= self.slot.buffers.window
                    && !core.orders.draining()
                {
                    self.look(PollTimeout::After(LISTEN_EVERY));
                }
            }
            self.look_after();
        }
        self.finish();
    }

    /// Waits for what is under way, shortly when the ramp was stopped.
    fn finish(mut self) {
        let orders = &self.connections.core.orders;
        let mut stopped = None;
        while self.slot.buffers.count() > 0 {
            let now = Instant::now();
            if orders.halted() {
                let since = *stopped.get_or_insert(now);
                if orders.draining() || now.duration_since(since) > AFTER_STOP {
                    break;
                }
            }
            self.look(PollTimeout::After(LISTEN_EVERY));
            self.look_after();
        }
        for entry in self.slot.buffers.entries.drain(..) {
            self.connections.table.reset(entry.descriptor());
        }
        self.slot.buffers.begun.clear();
        self.connections.counters().in_flight.set(0);
        let greeted = match self.greeter.take() {
            None => Findings::new(),
            Some(mut greeter) => {
                greeter.greet(self.connections);
                greeter.findings()
            }
        };
        let last = self.last_opened.duration_since(self.begun);
        self.connections.core.ramp_part_done(greeted, last);
    }

    /// Waits until the pace that the runner asks for lets one connection through.
    fn wait_for_pace(&mut self) {
        let core = self.connections.core;
        while let Err(wait) = core.pace.take() {
            if core.orders.halted() {
                return;
            }
            self.look(PollTimeout::After(wait.min(LISTEN_EVERY)));
            self.look_after();
        }
    }

    /// Waits for the planned moment of the next connection and returns it. Nothing where there is no plan.
    fn wait_until_due(&mut self) -> Option<Instant> {
        let due = self.begun + self.connections.core.pacer.next_due()?;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() || self.connections.core.orders.halted() {
                return Some(due);
            }
            self.look(PollTimeout::After(left.min(LISTEN_EVERY)));
            self.look_after();
        }
    }

    /// Opens one connection, or begins its handshake.
    fn open(&mut self, attempt: Attempt, due: Option<Instant>) -> io::Result<()> {
        let core = self.connections.core;
        let source = core.sources.source(attempt.shard);
        let mut port = attempt.port;
        loop {
            let socket = socket::stream()?;
            match self.bind_and_connect(socket, source, port) {
                Ok((called, progress)) => {
                    self.connections.end = self.connections.end.max(socket.next());
                    let start = due.unwrap_or(called);
                    if progress == Connecting::Done {
                        self.opened(socket, start, Instant::now());
                        return Ok(());
                    }
                    self.slot.buffers.push(
                        socket,
                        Handshake {
                            attempt: Attempt { port, ..attempt },
                            start,
                            deadline: called + core.timeout,
                        },
                    );
                    self.tell_under_way();
                    return Ok(());
                }
                Err(error) => {
                    self.connections.table.close(socket);
                    if !core.sources.is_port_taken(&error) {
                        return Err(error);
                    }
                    let Some(spare) = source.spare_port() else {
                        return Err(error);
                    };
                    port = spare;
                    self.connections.counters().ports_replaced.add(1);
                }
            }
        }
    }

    /// Returns when connect(2) was called, and how far it got.
    fn bind_and_connect(
        &self,
        socket: Descriptor,
        source: &Source,
        port: u16,
    ) -> io::Result<(Instant, Connecting)> {
        let core = self.connections.core;
        if let Some(keepalive) = core.keepalive {
            socket::keepalive(socket, keepalive)?;
        }
        core.sources.bind(socket, source, port)?;
        let called = Instant::now();
        let mut progress = socket::connect(socket, &source.target)?;
        if progress == Connecting::UnderWay {
            // What came back while the first call held the socket is handled when that call returns.
            progress = socket::connect(socket, &source.target)?;
        }
        Ok((called, progress))
    }

    /// Looks which handshakes are over.
    fn look(&mut self, timeout: PollTimeout) {
        if let Err(error) = poll(&mut self.slot.buffers.entries, timeout) {
            // Only for want of memory, which may come back.
            self.connections.core.ledger.warn(format!(
                "poll over the handshakes under way failed: {error}"
            ));
            std::thread::sleep(LISTEN_EVERY);
            return;
        }
        let now = Instant::now();
        // Backwards, so that what takes a removed place has been seen.
        for place in (0..self.slot.buffers.count()).rev() {
            let entry = self.slot.buffers.entries[place];
            let handshake = self.slot.buffers.begun[place];
            let failure = if !entry.found() {
                if now < handshake.deadline {
                    continue;
                }
                Some(ConnectFailure::TimedOut)
            } else if entry.broken() {
                match socket::take_error(entry.descriptor()) {
                    // Established, and closed by the peer at once: the sweep finds it and says so.
                    Ok(None) => None,
                    Ok(Some(error)) | Err(error) => Some(ConnectFailure::from_error(&error)),
                }
            } else {
                None
            };
            self.slot.buffers.remove(place);
            match failure {
                Some(failure) => {
                    self.connections.table.reset(entry.descriptor());
                    let attempt = handshake.attempt;
                    let core = self.connections.core;
                    core.count_failure(1, attempt, attempt.port, failure);
                }
                None => self.opened(entry.descriptor(), handshake.start, now),
            }
        }
        self.tell_under_way();
    }

    /// A connection is established.
    fn opened(&mut self, socket: Descriptor, start: Instant, now: Instant) {
        self.last_opened = now;
        if let Some(greeter) = &mut self.greeter {
            greeter.opened(self.connections, socket, now);
        }
        self.connections.counters().opened.add(1);
        self.slot.record(now.saturating_duration_since(start));
    }

    fn tell_under_way(&self) {
        let under_way = self.slot.buffers.count() as u64;
        self.connections.counters().in_flight.set(under_way);
    }

    /// In a slow ramp what is open already must be looked after too.
    fn look_after(&mut self) {
        if let Some(greeter) = &mut self.greeter {
            greeter.greet_if_due(self.connections);
        }
        if Instant::now() < self.next_sweep {
            return;
        }
        let entries = &self.slot.buffers.entries;
        let under_way = |socket| entries.iter().any(|entry| entry.descriptor() == socket);
        self.connections.sweep(under_way);
        self.next_sweep = Instant::now() + self.connections.sweep_every();
    }
}
