//! Accepting, and serving what was accepted: the life of one table's thread. It accepts until its table is full, hands over,
//! and from then on answers bytes and notices closed peers.

use std::collections::BTreeMap;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::sweep::{SWEEP_EVERY, sweep};
use crate::domain::{LossReason, Service};
use crate::engine::exhausted::{self, Exhausted};
use crate::engine::server::ServerThread;
use crate::engine::turn::AcceptRight;
use crate::kernel::sys::epoll::{Epoll, EpollEvent, Watch};
use crate::kernel::sys::fdtable::Descriptor;
use crate::kernel::sys::poll::{Interest, PollEntry, PollTimeout, poll};
use crate::kernel::sys::socket::{self, Received};
use crate::protocol::{Connection, Echo, Output, Protocol, Silent};

/// Sleep between a wake-up and accepting, so that connections are taken in batches: waking a thread seldom instead of for
/// each connection makes 1.1 to 1.6 times the rate on two cores.
const BATCH_PAUSE: Duration = Duration::from_millis(1);

/// How long a drain waits for peers to close first: a peer that has not yet been told to drain would count as lost what
/// this end closes.
const PEERS_FIRST: Duration = Duration::from_millis(200);

/// Events taken by one call: 3 KiB of the stack.
const EVENTS: usize = 256;

/// Bytes read by one call, on the stack.
const INPUT: usize = Output::ROOM;

/// The work of one thread, from its first turn to the drain.
pub(super) fn serve<'a>(thread: &'a ServerThread<'a>, right: AcceptRight<'a>) -> io::Result<()> {
    match thread.core.service {
        Service::Echo => TableServer::new(thread, Echo)?.run(right),
        Service::Queue | Service::Accept | Service::Silent => {
            TableServer::new(thread, Silent)?.run(right);
        }
    }
    Ok(())
}

/// One table's thread.
struct TableServer<'a, P: Protocol> {
    thread: &'a ServerThread<'a>,
    epoll: Epoll,
    protocol: P,
    /// By descriptor. Takes no memory where a protocol has no state.
    states: Vec<P::State>,
    /// Bytes that go out.
    out: Output,
    /// What an accepted connection is watched for. Nothing where a sweep looks after connections.
    watch: Option<Watch>,
    /// One above the highest number that a connection has had, where a sweep looks after them.
    end: Descriptor,
    next_sweep: Instant,
    /// Bytes that a connection had no room to take. Empty unless peers send and do not read.
    unsent: BTreeMap<Descriptor, Vec<u8>>,
    /// What accepting last failed by.
    exhausted: Exhausted,
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TurnEnd {
    Closing,
    Full,
}

impl<'a, P: Protocol> TableServer<'a, P> {
    fn new(thread: &'a ServerThread<'a>, protocol: P) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        epoll.add(thread.eventfd, Watch::EVENTFD)?;
        Ok(Self {
            thread,
            epoll,
            protocol,
            states: Vec::new(),
            out: Output::new(),
            watch: match (thread.core.service.watches(), P::READS) {
                (false, _) => None,
                (true, false) => Some(Watch::CLOSING),
                (true, true) => Some(Watch::DATA),
            },
            end: thread.table.first_free(),
            next_sweep: Instant::now() + SWEEP_EVERY,
            unsent: BTreeMap::new(),
            exhausted: Exhausted::default(),
        })
    }

    /// Runs until the drain.
    fn run(mut self, right: AcceptRight<'a>) {
        let mut right = Some(right);
        while !self.thread.closing() {
            if let Some(mine) = right.take() {
                let ended = if self.thread.core.exclusive {
                    self.accept_by_epoll()
                } else {
                    self.accept_in_batches()
                };
                if ended == TurnEnd::Closing {
                    break;
                }
                self.thread.hand_over(mine);
            }
            self.handle(self.longest_wait());
            right = self.thread.try_take_turn();
        }
        if !self.thread.core.closing.ending() {
            // What comes is a peer that closes, or nothing within the time. In both cases this end closes now.
            let mut events = [EpollEvent::NONE; 1];
            let _ = self.epoll.wait(&mut events, Some(PEERS_FIRST));
        }
    }

    /// How long this thread may wait for events. Where nothing is watched the next sweep ends the wait.
    fn longest_wait(&self) -> Option<Duration> {
        match self.watch {
            Some(_) => None,
            None => Some(self.next_sweep.saturating_duration_since(Instant::now())),
        }
    }

    /// Accepts in batches until the table is full: the only acceptor.
    fn accept_in_batches(&mut self) -> TurnEnd {
        let mut entries: Vec<PollEntry> = self
            .thread
            .listeners()
            .chain([self.epoll.descriptor()])
            .map(|descriptor| PollEntry::new(descriptor, Interest::Readable))
            .collect();
        let listeners = entries.len() - 1;
        loop {
            if self.thread.closing() {
                return TurnEnd::Closing;
            }
            if !self.thread.has_room() {
                return TurnEnd::Full;
            }
            let timeout = self
                .longest_wait()
                .map_or(PollTimeout::Infinite, PollTimeout::After);
            // For want of memory only: then nothing was found, and there is a pause.
            if poll(&mut entries, timeout).is_err() {
                thread::sleep(exhausted::PAUSE);
                continue;
            }
            if entries[..listeners].iter().any(PollEntry::found) {
                thread::sleep(BATCH_PAUSE);
                self.accept_all();
            }
            if entries[listeners].found() {
                self.handle(Some(Duration::ZERO));
            }
            self.sweep_if_due();
        }
    }

    /// Accepts whenever epoll wakes this thread, until the table is full: one of several acceptors.
    fn accept_by_epoll(&mut self) -> TurnEnd {
        for listener in self.thread.listeners() {
            if let Err(error) = self.epoll.add(listener, Watch::LISTENER) {
                self.thread.core.ledger.warn(format!(
                    "cannot watch listener {listener} in epoll: {error}"
                ));
            }
        }
        while !self.thread.closing() && self.thread.has_room() {
            self.handle(self.longest_wait());
        }
        for listener in self.thread.listeners() {
            // It is closed with the table otherwise.
            let _ = self.epoll.remove(listener);
        }
        if self.thread.closing() {
            TurnEnd::Closing
        } else {
            TurnEnd::Full
        }
    }

    /// Takes what waits in the accept queues, as far as there is room.
    fn accept_all(&mut self) {
        for listener in self.thread.listeners() {
            while self.thread.has_room() {
                let socket = match socket::accept(listener) {
                    Ok(Some(socket)) => socket,
                    Ok(None) => break,
                    Err(error) => {
                        self.be_exhausted(&error, "accept");
                        return;
                    }
                };
                match self.watch {
                    Some(watch) => {
                        if let Err(error) = self.epoll.add(socket, watch) {
                            self.thread.table.reset(socket);
                            self.be_exhausted(&error, "epoll_ctl");
                            return;
                        }
                    }
                    None => self.end = self.end.max(socket.next()),
                }
                self.exhausted.is_over();
                self.thread.counters().opened.add(1);
                self.open(socket);
            }
        }
    }

    /// Nothing more can be accepted for now: says so, and waits.
    fn be_exhausted(&mut self, error: &io::Error, call: &str) {
        let held = self.thread.counters().established();
        self.exhausted
            .by(error, call, held, &self.thread.core.ledger);
        thread::sleep(exhausted::PAUSE);
    }

    /// Begins the conversation of a new connection.
    fn open(&mut self, socket: Descriptor) {
        let Some(place) = socket.position() else {
            return;
        };
        while self.states.len() <= place {
            let number = self.states.len();
            self.states
                .push(self.protocol.begin(&self.connection(number)));
        }
        let connection = self.connection(place);
        self.states[place] = self.protocol.begin(&connection);
        self.out.clear();
        self.protocol
            .on_open(&connection, &mut self.states[place], &mut self.out);
        self.send_out(socket);
    }

    fn connection(&self, number: usize) -> Connection {
        Connection::new(
            u32::try_from(self.thread.index).unwrap_or(u32::MAX),
            u32::try_from(number).unwrap_or(u32::MAX),
        )
    }

    /// Handles what epoll has, after waiting for it.
    fn handle(&mut self, wait: Option<Duration>) {
        let mut events = [EpollEvent::NONE; EVENTS];
        // It fails only for a number that is no epoll instance.
        let Ok(events) = self.epoll.wait(&mut events, wait) else {
            return;
        };
        let mut accept = false;
        for event in events {
            let descriptor = event.descriptor();
            if descriptor < self.thread.eventfd {
                accept = true;
            } else if descriptor > self.thread.eventfd && !self.thread.closing() {
                if !P::READS {
                    let error = socket::take_error(descriptor);
                    self.lose(descriptor, LossReason::from_pending(error));
                } else if self.flush(descriptor) {
                    self.converse(descriptor, event.broken());
                }
            }
        }
        if accept {
            self.accept_all();
        }
        self.sweep_if_due();
    }

    /// Finds closed peers where no connection is watched.
    fn sweep_if_due(&mut self) {
        if self.watch.is_some() || Instant::now() < self.next_sweep {
            return;
        }
        let first = self.thread.table.first_free();
        sweep(first, self.end, |socket| {
            // The epoll instance has a number of this range too. It is never found closed.
            self.lose(socket, LossReason::from_pending(socket::take_error(socket)));
        });
        self.next_sweep = Instant::now() + SWEEP_EVERY;
    }

    /// Reads and answers until nothing is there.
    fn converse(&mut self, socket: Descriptor, broken: bool) {
        let Some(place) = socket.position() else {
            return;
        };
        let mut buffer = [0; INPUT];
        loop {
            let count = match socket::receive(socket, &mut buffer) {
                Ok(Received::Bytes(count)) => count,
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) => return self.lose(socket, LossReason::ClosedByPeer),
                Err(error) => return self.lose(socket, LossReason::from_error(&error)),
            };
            self.thread.counters().bytes_read.add(count as u64);
            self.out.clear();
            self.protocol
                .on_bytes(&mut self.states[place], &buffer[..count], &mut self.out);
            if !self.send_out(socket) {
                return;
            }
            // Less than asked for was all there was; what comes later is a new edge.
            if count < INPUT && !broken {
                return;
            }
        }
    }

    /// Sends what the protocol has said. Returns whether the connection may be read from.
    fn send_out(&mut self, socket: Descriptor) -> bool {
        let bytes = self.out.bytes();
        if bytes.is_empty() {
            return true;
        }
        match socket::send(socket, bytes) {
            Ok(sent) if sent == bytes.len() => true,
            Ok(sent) => {
                // The peer sends and does not read. Nothing more is read from it until it does.
                self.unsent.insert(socket, bytes[sent..].to_vec());
                self.watch_for(socket, Watch::DATA_AND_ROOM);
                false
            }
            Err(error) => {
                self.lose(socket, LossReason::from_error(&error));
                false
            }
        }
    }

    /// Changes what a connection is watched for. One that cannot be watched any more is given up.
    fn watch_for(&mut self, socket: Descriptor, watch: Watch) {
        if let Err(error) = self.epoll.change(socket, watch) {
            self.lose(socket, LossReason::from_error(&error));
        }
    }

    /// Sends what a connection had no room for. Returns whether it may be read from.
    fn flush(&mut self, socket: Descriptor) -> bool {
        if self.unsent.is_empty() {
            return true;
        }
        let Some(mut bytes) = self.unsent.remove(&socket) else {
            return true;
        };
        match socket::send(socket, &bytes) {
            Ok(sent) if sent == bytes.len() => {
                // What has come meanwhile is told anew by the change.
                self.watch_for(socket, Watch::DATA);
            }
            Ok(sent) => {
                bytes.drain(..sent);
                self.unsent.insert(socket, bytes);
            }
            Err(error) => self.lose(socket, LossReason::from_error(&error)),
        }
        false
    }

    /// Closes a connection that the peer has ended, and counts it.
    fn lose(&mut self, socket: Descriptor, reason: LossReason) {
        // While all are being closed nothing is lost, and the table is closed as a whole.
        if self.thread.closing() {
            return;
        }
        self.unsent.remove(&socket);
        let peer = socket::peer_address(socket);
        self.thread.table.close(socket);
        self.thread.count_end(reason, peer);
    }
}
