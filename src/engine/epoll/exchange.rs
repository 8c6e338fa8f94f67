//! A task on the connections of one table: a bounded number of exchanges at once, each told by the protocol when it is over.
//!
//! Answers are read as they come, for as long as an exchange is under way. One that has not answered while nothing at all
//! came back is set aside, so that it does not hold up the others: then epoll watches its connection, and what comes is
//! read between the other answers.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use super::buffers::{Buffers, Talk};
use super::connections::{Asked, Connections};
use crate::domain::LossReason;
use crate::engine::pasts::Pasts;
use crate::engine::round::{Findings, Round, STALL, TICK, chosen};
use crate::kernel::sys::epoll::{Epoll, EpollEvent, Watch};
use crate::kernel::sys::fdtable::Descriptor;
use crate::kernel::sys::poll::{Interest, PollEntry, PollTimeout, poll};
use crate::kernel::sys::socket;
use crate::protocol::{ClientSide, Connection, ConnectionEnds, Past, Protocol, Step};

/// Events taken by one call.
const EVENTS: usize = 64;

/// Exchanges that were set aside.
struct Aside<S> {
    epoll: Epoll,
    talks: BTreeMap<Descriptor, Talk<S>>,
}

/// The exchanges of one table.
struct Exchanges<'a, P: Protocol> {
    connections: &'a Connections<'a>,
    round: &'a Round,
    protocol: &'a P,
    /// Number of the first connection of this table among all of the client.
    first_number: u32,
    /// The first is the epoll instance of what was set aside, or none. The others belong to `talks`, in the same order.
    entries: Vec<PollEntry>,
    talks: Vec<Talk<P::State>>,
    /// Made when it is first needed.
    aside: Option<Aside<P::State>>,
    buffers: Buffers,
    next_tick: Instant,
    /// Kept where [`Protocol::IN_ORDER`] says so.
    pasts: &'a mut Pasts,
    findings: Findings,
}

impl Connections<'_> {
    /// This table's part of a round.
    pub(super) fn perform(&self, round: &Round, pasts: &mut Pasts, asked: Asked<'_>) -> Findings {
        match &round.side {
            ClientSide::Tcp => Findings::new(),
            ClientSide::Echo(protocol) => self.exchange(round, protocol, pasts, asked),
            ClientSide::Http(protocol) => self.exchange(round, protocol, pasts, asked),
            ClientSide::Script(protocol) => self.exchange(round, protocol, pasts, asked),
        }
    }

    fn exchange<P: Protocol>(
        &self,
        round: &Round,
        protocol: &P,
        pasts: &mut Pasts,
        asked: Asked<'_>,
    ) -> Findings {
        let mut exchanges = Exchanges::new(self, round, protocol, pasts);
        match asked {
            Asked::These(sockets) => exchanges.ask_these(sockets),
            Asked::Quota => match round.quota(self.index) {
                0 => return Findings::new(),
                quota => {
                    // As many tables at once as may dial at once. What has not answered yet is waited for by all at the
                    // same time.
                    let _slot = self.core.slots.acquire();
                    exchanges.ask(quota);
                }
            },
        }
        exchanges.finish()
    }

    /// The place of a socket among those of this table.
    pub(super) fn place(&self, socket: Descriptor) -> usize {
        let place = socket.number() - self.first.number();
        usize::try_from(place).unwrap_or(0)
    }
}

impl<'a, P: Protocol> Exchanges<'a, P> {
    fn new(
        connections: &'a Connections<'a>,
        round: &'a Round,
        protocol: &'a P,
        pasts: &'a mut Pasts,
    ) -> Self {
        Self {
            connections,
            round,
            protocol,
            first_number: connections.core.first_number(connections.index),
            entries: vec![PollEntry::NONE],
            talks: Vec::new(),
            aside: None,
            buffers: Buffers::new(),
            next_tick: Instant::now() + TICK,
            pasts,
            findings: Findings::new(),
        }
    }

    /// Begins an exchange on each of the chosen connections, as the window or the plan lets it.
    fn ask(&mut self, quota: u64) {
        let held = self.connections.counters().established();
        let window = self.connections.core.exchanges.per_table;
        let mut position = 0;
        for socket in self.connections.first.up_to(self.connections.end) {
            if self.findings.asked >= quota || self.leaving() {
                return;
            }
            // Numbers that are closed by now are passed over: a loss has been counted before.
            if !chosen(position, quota, held) {
                position += 1;
                continue;
            }
            let due = self.wait_until_due();
            if self.begin(socket, due) {
                position += 1;
                self.findings.asked += 1;
            }
            if self.talks.len() >= window {
                self.make_room();
            }
        }
    }

    /// Begins an exchange on each of these connections.
    fn ask_these(&mut self, sockets: &[Descriptor]) {
        let window = self.connections.core.exchanges.per_table;
        for socket in sockets {
            if self.leaving() {
                return;
            }
            if self.begin(*socket, None) {
                self.findings.asked += 1;
            }
            if self.talks.len() >= window {
                self.make_room();
            }
        }
    }

    /// Waits for the planned moment of the next exchange and returns it. Nothing where there is no plan.
    fn wait_until_due(&mut self) -> Option<Instant> {
        let due = self.round.next_due()?;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() || self.leaving() {
                return Some(due);
            }
            self.collect(left.min(TICK));
            self.tick_if_due();
        }
    }

    /// Begins one exchange. Returns false for a number that is no connection.
    fn begin(&mut self, socket: Descriptor, due: Option<Instant>) -> bool {
        let connection = self.connection(socket);
        let mut state = self.protocol.begin(&connection);
        let out = &mut self.buffers.out;
        out.clear();
        let start = due.unwrap_or_else(Instant::now);
        let step = self.protocol.on_open(&connection, &mut state, out);
        match socket::send(socket, out.bytes()) {
            Ok(sent) if sent == out.bytes().len() => {}
            Ok(_) => {
                // No room: what was sent before lies unread. It cannot answer.
                self.remember(socket, Past::Failed);
                self.findings.be_silent(socket::local_address(socket));
                return true;
            }
            Err(error) if is_not_open(&error) => return false,
            Err(error) => {
                self.fail(socket, LossReason::from_error(&error));
                return true;
            }
        }
        if connection.past == Past::New {
            self.remember(socket, Past::Used);
        }
        let talk = Talk { start, state };
        self.buffers.read = 0;
        if step == Step::Wait {
            self.entries
                .push(PollEntry::new(socket, Interest::Readable));
            self.talks.push(talk);
        } else {
            self.settle(socket, &talk, step);
        }
        true
    }

    fn connection(&self, socket: Descriptor) -> Connection {
        let (index, place) = (self.connections.index, self.connections.place(socket));
        let ends = || {
            Some(ConnectionEnds {
                source: *socket::local_address(socket)?.ip(),
                target: socket::peer_address(socket)?,
            })
        };
        Connection {
            table: u32::try_from(index).unwrap_or(u32::MAX),
            number: socket.number().unsigned_abs(),
            index: u32::try_from(place).map_or(u32::MAX, |place| self.first_number + place),
            past: if P::IN_ORDER {
                self.pasts.get(place)
            } else {
                Past::New
            },
            ends: self.protocol.names_ends().then(ends).flatten(),
        }
    }

    fn remember(&mut self, socket: Descriptor, past: Past) {
        if P::IN_ORDER {
            self.pasts.set(self.connections.place(socket), past);
        }
    }

    /// Waits until something comes back. When nothing does, sets the whole window aside.
    fn make_room(&mut self) {
        let window = self.talks.len();
        let patience = STALL.min(self.round.stall_left());
        let began = Instant::now();
        let answered = self.collect(patience);
        self.tick_if_due();
        if answered > 0 {
            self.round.restore_stall(answered, window);
        } else if self.talks.len() == window {
            self.round.spend_stall(began.elapsed());
            self.set_aside();
        }
    }

    /// Sets the whole window aside. Where epoll refuses, the exchanges stay in the window, which is the larger by them.
    fn set_aside(&mut self) {
        if self.aside.is_none() {
            let Ok(epoll) = Epoll::new() else { return };
            self.entries[0] = PollEntry::new(epoll.descriptor(), Interest::Readable);
            self.aside = Some(Aside {
                epoll,
                talks: BTreeMap::new(),
            });
        }
        let Some(aside) = &mut self.aside else { return };
        while let Some(entry) = self.entries.last() {
            let socket = entry.descriptor();
            if self.talks.is_empty() || aside.epoll.add(socket, Watch::DATA).is_err() {
                return;
            }
            self.entries.pop();
            aside
                .talks
                .extend(self.talks.pop().map(|talk| (socket, talk)));
        }
    }

    /// Waits for answers and takes those that are there. Returns how many exchanges are over by what came.
    fn collect(&mut self, wait: Duration) -> usize {
        let mut over = 0;
        // Fewer entries than the limit, which poll(2) asks for: no more than the sockets of this table.
        if matches!(poll(&mut self.entries, PollTimeout::After(wait)), Ok(found) if found > 0) {
            over += self.collect_window();
            if self.entries[0].found() {
                over += self.collect_aside();
            }
        }
        over
    }

    fn collect_window(&mut self) -> usize {
        let mut over = 0;
        // Backwards, so that what takes a removed place has been seen.
        for place in (0..self.talks.len()).rev() {
            let entry = self.entries[place + 1];
            if !entry.found() {
                continue;
            }
            let socket = entry.descriptor();
            let talk = &mut self.talks[place];
            match self.buffers.read(socket, self.protocol, talk) {
                Ok(Step::Wait) => {}
                outcome => {
                    self.entries.swap_remove(place + 1);
                    let talk = self.talks.swap_remove(place);
                    self.conclude(socket, &talk, outcome);
                    over += 1;
                }
            }
        }
        over
    }

    fn collect_aside(&mut self) -> usize {
        let mut over = 0;
        let Some(mut aside) = self.aside.take() else {
            return 0;
        };
        let mut events = [EpollEvent::NONE; EVENTS];
        // It fails only for a number that is no epoll instance.
        let found = aside.epoll.wait(&mut events, Some(Duration::ZERO));
        for event in found.unwrap_or(&[]) {
            let socket = event.descriptor();
            let Some(talk) = aside.talks.get_mut(&socket) else {
                continue;
            };
            match self.buffers.read(socket, self.protocol, talk) {
                Ok(Step::Wait) => {}
                outcome => {
                    // A connection that is closed below leaves epoll by itself.
                    let _ = aside.epoll.remove(socket);
                    if let Some(talk) = aside.talks.remove(&socket) {
                        self.conclude(socket, &talk, outcome);
                    }
                    over += 1;
                }
            }
        }
        self.aside = Some(aside);
        over
    }

    /// Tells the protocol of every exchange under way that time has passed.
    fn tick_if_due(&mut self) {
        let now = Instant::now();
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + TICK;
        for place in (0..self.talks.len()).rev() {
            let socket = self.entries[place + 1].descriptor();
            let talk = &mut self.talks[place];
            match self.buffers.tick(socket, self.protocol, talk, now) {
                Ok(Step::Wait) => {}
                outcome => {
                    self.entries.swap_remove(place + 1);
                    let talk = self.talks.swap_remove(place);
                    self.conclude(socket, &talk, outcome);
                }
            }
        }
        let Some(mut aside) = self.aside.take() else {
            return;
        };
        aside.talks.retain(|socket, talk| {
            match self.buffers.tick(*socket, self.protocol, talk, now) {
                Ok(Step::Wait) => true,
                outcome => {
                    // A connection that is closed below leaves epoll by itself.
                    let _ = aside.epoll.remove(*socket);
                    self.conclude(*socket, talk, outcome);
                    false
                }
            }
        });
        self.aside = Some(aside);
    }

    /// Waits for what is under way, and ends.
    fn finish(mut self) -> Findings {
        while self.under_way() > 0 && !self.leaving() {
            self.collect(TICK);
            self.tick_if_due();
        }
        if let Some(aside) = self.aside {
            self.connections.table.close(aside.epoll.descriptor());
        }
        self.findings
    }

    fn under_way(&self) -> usize {
        let aside = self.aside.as_ref().map_or(0, |aside| aside.talks.len());
        self.talks.len() + aside
    }

    /// An exchange is over by what was read.
    fn conclude(
        &mut self,
        socket: Descriptor,
        talk: &Talk<P::State>,
        outcome: Result<Step, LossReason>,
    ) {
        match outcome {
            Ok(step) => self.settle(socket, talk, step),
            Err(reason) => self.fail(socket, reason),
        }
    }

    /// An exchange is over.
    fn settle(&mut self, socket: Descriptor, talk: &Talk<P::State>, step: Step) {
        match step {
            Step::Wait => {}
            Step::Done => {
                self.findings.echoed += 1;
                self.findings.latency.record(talk.start.elapsed());
            }
            Step::Failed(mistake) => {
                self.remember(socket, Past::Failed);
                let read = self.buffers.last_read();
                let local = socket::local_address(socket);
                self.findings.mistake(self.protocol, mistake, read, local);
            }
        }
    }

    /// A connection that ended while it was asked is lost, and has failed.
    fn fail(&mut self, socket: Descriptor, reason: LossReason) {
        if let Some(ended) = self.connections.lose(socket, reason) {
            self.findings.fail(ended.reason, ended.local);
        }
    }

    fn leaving(&self) -> bool {
        self.connections.core.orders.leaving()
    }
}

/// Whether a number is not open (EBADF) or not a socket (ENOTSOCK).
fn is_not_open(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(9 | 88))
}
