//! Accepting, and serving what was accepted: the life of one table's thread. It waits for its turn, accepts until its
//! table is full, hands over, and from then on echoes bytes and notices closed peers.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use super::serve::Shared;
use crate::domain::LossReason;
use crate::engine::counters::TableCounters;
use crate::engine::exhausted::{self, Exhausted};
use crate::engine::turn::Waited;
use crate::kernel::sys::epoll::{Epoll, Happening, Watch};
use crate::kernel::sys::fdtable::{Descriptor, close};
use crate::kernel::sys::poll::{Interest, Patience, PollEntry, poll};
use crate::kernel::sys::socket::{self, Received};

/// Sleep between a wake-up and accepting, so that connections are taken in batches: waking a thread seldom instead of for
/// each connection makes 1.1 to 1.6 times the rate on two cores.
const BATCH_PAUSE: Duration = Duration::from_millis(1);

/// How long a drain waits for peers to close first, in milliseconds: a peer that has not yet been told to drain would
/// count as lost what this end closes.
const PEERS_FIRST_MS: u32 = 200;

/// Events taken by one call: 3 KiB of the stack.
const EVENTS: usize = 256;

/// Bytes read by one call, on the stack.
const BUFFER: usize = 4096;

/// One table's thread.
pub(super) struct Keeper<'a> {
    shared: &'a Shared,
    index: usize,
    /// Numbers below are listeners and the bell, numbers from here on are epoll and connections.
    first: Descriptor,
    bell: Descriptor,
    /// Bytes that a connection had no room to take back. Empty unless peers send and do not read.
    unsent: BTreeMap<Descriptor, Vec<u8>>,
    /// What accepting last failed by.
    exhausted: Exhausted,
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Closing,
    Full,
}

impl<'a> Keeper<'a> {
    pub(super) fn new(shared: &'a Shared, index: usize, first: Descriptor) -> Self {
        Self {
            shared,
            index,
            first,
            bell: Descriptor::from_number(first.number() - 1),
            unsent: BTreeMap::new(),
            exhausted: Exhausted::default(),
        }
    }

    /// Runs until the drain. Returns how many connections are open then.
    pub(super) fn run(mut self) -> u64 {
        if self.shared.turn.wait() == Waited::Closing {
            return 0;
        }
        if self.shared.layout.room != u32::MAX {
            self.shared
                .layout
                .grow_for(self.first, u64::from(self.shared.layout.room));
        }
        let watched =
            Epoll::new().and_then(|epoll| epoll.add(self.bell, Watch::BELL).map(|()| epoll));
        let epoll = match watched {
            Ok(epoll) => epoll,
            Err(error) => {
                self.shared.ledger.warn(format!(
                    "table {} cannot be used: epoll: {error}",
                    self.index
                ));
                self.shared.turn.hand_over(self.bell);
                return 0;
            }
        };
        let mut mine = true;
        while !self.closing() {
            if mine {
                let ended = if self.shared.exclusive {
                    self.accept_by_epoll(epoll)
                } else {
                    self.accept_in_batches(epoll)
                };
                if ended == Turn::Closing {
                    break;
                }
                self.hand_over();
            }
            self.handle(epoll, None);
            mine = self.room() > 0 && self.shared.turn.try_take();
        }
        if !self.shared.closing.ending() {
            // What comes is a peer that closes, or nothing within the time; in both cases this end closes now.
            let mut events = [Happening::NONE; 1];
            let _ = epoll.wait(&mut events, Some(PEERS_FIRST_MS));
        }
        self.counters().established()
    }

    /// Accepts in batches until the table is full: the only acceptor.
    fn accept_in_batches(&mut self, epoll: Epoll) -> Turn {
        let mut entries: Vec<PollEntry> = self
            .listeners()
            .chain([epoll.descriptor()])
            .map(|descriptor| PollEntry::new(descriptor, Interest::Readable))
            .collect();
        let listeners = entries.len() - 1;
        loop {
            if self.closing() {
                return Turn::Closing;
            }
            if self.room() == 0 {
                return Turn::Full;
            }
            // For want of memory only: then nothing was found, and there is a pause.
            if poll(&mut entries, Patience::Endless).is_err() {
                thread::sleep(exhausted::PAUSE);
                continue;
            }
            if entries[..listeners].iter().any(PollEntry::found) {
                thread::sleep(BATCH_PAUSE);
                self.accept_all(epoll);
            }
            if entries[listeners].found() {
                self.handle(epoll, Some(0));
            }
        }
    }

    /// Accepts whenever epoll wakes this thread, until the table is full: one of several acceptors.
    fn accept_by_epoll(&mut self, epoll: Epoll) -> Turn {
        for listener in self.listeners() {
            if let Err(error) = epoll.add(listener, Watch::LISTENER) {
                self.shared.ledger.warn(format!(
                    "cannot watch listener {listener} in epoll: {error}"
                ));
            }
        }
        while !self.closing() && self.room() > 0 {
            self.handle(epoll, None);
        }
        for listener in self.listeners() {
            // It is closed with the table otherwise.
            let _ = epoll.remove(listener);
        }
        if self.closing() {
            Turn::Closing
        } else {
            Turn::Full
        }
    }

    /// Takes what waits in the accept queues, as far as there is room.
    fn accept_all(&mut self, epoll: Epoll) {
        let watch = if self.shared.read {
            Watch::DATA
        } else {
            Watch::CLOSING
        };
        for listener in self.listeners() {
            while self.room() > 0 {
                let socket = match socket::accept(listener) {
                    Ok(Some(socket)) => socket,
                    Ok(None) => break,
                    Err(error) => {
                        self.be_exhausted(&error, "accept");
                        return;
                    }
                };
                if let Err(error) = epoll.add(socket, watch) {
                    socket::reset(socket);
                    self.be_exhausted(&error, "epoll_ctl");
                    return;
                }
                self.exhausted.is_over();
                self.counters().opened.add(1);
            }
        }
    }

    /// Nothing more can be accepted for now: says so, and waits.
    fn be_exhausted(&mut self, error: &io::Error, call: &str) {
        let held = self.counters().established();
        self.exhausted.by(error, call, held, &self.shared.ledger);
        thread::sleep(exhausted::PAUSE);
    }

    /// Handles what epoll has, after waiting for it.
    fn handle(&mut self, epoll: Epoll, timeout_ms: Option<u32>) {
        let mut events = [Happening::NONE; EVENTS];
        // An error could only say that `epoll` is none.
        let Ok(happened) = epoll.wait(&mut events, timeout_ms) else {
            return;
        };
        let mut accept = false;
        for event in happened {
            let descriptor = event.descriptor();
            if descriptor < self.bell {
                accept = true;
            } else if descriptor > self.bell && !self.closing() {
                if !self.shared.read {
                    self.lose(
                        descriptor,
                        LossReason::from_errno(socket::take_error(descriptor).unwrap_or(0)),
                    );
                } else if self.flush(epoll, descriptor) {
                    self.echo(epoll, descriptor, event.broken());
                }
            }
        }
        if accept {
            self.accept_all(epoll);
        }
    }

    /// Reads and sends back until nothing is there.
    fn echo(&mut self, epoll: Epoll, socket: Descriptor, broken: bool) {
        let mut buffer = [0; BUFFER];
        loop {
            let count = match socket::receive(socket, &mut buffer) {
                Ok(Received::Bytes(count)) => count,
                Ok(Received::Nothing) => return,
                Ok(Received::Closed) => return self.lose(socket, LossReason::ClosedByPeer),
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(0);
                    return self.lose(socket, LossReason::from_errno(errno));
                }
            };
            self.counters().bytes_read.add(count as u64);
            match socket::send(socket, &buffer[..count]) {
                Ok(sent) if sent == count => {}
                Ok(sent) => {
                    // The peer sends and does not read. Nothing more is read from it until it does.
                    self.unsent.insert(socket, buffer[sent..count].to_vec());
                    if epoll.change(socket, Watch::DATA_AND_ROOM).is_err() {
                        self.lose(socket, LossReason::from_errno(0));
                    }
                    return;
                }
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(0);
                    return self.lose(socket, LossReason::from_errno(errno));
                }
            }
            // Less than asked for was all there was; what comes later is a new edge.
            if count < BUFFER && !broken {
                return;
            }
        }
    }

    /// Sends what a connection had no room for. Returns whether it may be read from.
    fn flush(&mut self, epoll: Epoll, socket: Descriptor) -> bool {
        if self.unsent.is_empty() {
            return true;
        }
        let Some(mut bytes) = self.unsent.remove(&socket) else {
            return true;
        };
        match socket::send(socket, &bytes) {
            Ok(sent) if sent == bytes.len() => {
                // What has come meanwhile is told anew by the change.
                if epoll.change(socket, Watch::DATA).is_err() {
                    self.lose(socket, LossReason::from_errno(0));
                }
                false
            }
            Ok(sent) => {
                bytes.drain(..sent);
                self.unsent.insert(socket, bytes);
                false
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                self.lose(socket, LossReason::from_errno(errno));
                false
            }
        }
    }

    /// Closes a connection that the peer has ended, and counts it.
    fn lose(&mut self, socket: Descriptor, reason: LossReason) {
        // While all are being closed nothing is lost, and the table is closed as a whole.
        if self.closing() {
            return;
        }
        self.unsent.remove(&socket);
        let example = socket::peer_address(socket).ok();
        close(socket);
        self.counters().closed.add(1);
        if !self.shared.closing.settled() {
            self.counters().lost.add(1);
            self.shared.ledger.lost(reason, 1, example);
        }
    }

    /// Hands the right to accept to a table with room, and says so once when there is none.
    fn hand_over(&self) {
        self.counters().handovers.add(1);
        let fresh = self.shared.turn.hand_over(self.bell);
        let held: u64 = self
            .shared
            .counters
            .iter()
            .map(TableCounters::established)
            .sum();
        let room = u64::from(self.shared.layout.room) * self.shared.layout.count as u64;
        if !fresh && held >= room && !self.shared.told_full.swap(true, Ordering::Relaxed) {
            self.shared.ledger.warn(format!(
                "every descriptor table of the server is full at {held} connections; more wait in the accept queue.                  The capacity in its spec decides how many tables there are"
            ));
        }
    }

    fn room(&self) -> u64 {
        u64::from(self.shared.layout.room).saturating_sub(self.counters().established())
    }

    fn closing(&self) -> bool {
        self.shared.closing.draining()
    }

    fn listeners(&self) -> impl Iterator<Item = Descriptor> + use<> {
        (Descriptor::FIRST_OWN.number()..self.bell.number()).map(Descriptor::from_number)
    }

    fn counters(&self) -> &'a TableCounters {
        &self.shared.counters[self.index]
    }
}
