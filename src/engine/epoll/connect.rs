//! Dialing: one table's part of the ramp. Handshakes are begun without waiting and looked at by poll(2) in batches: on
//! loopback and veth a handshake is over when connect(2) returns, across a real network it is not, and the window bounds
//! how many are under way.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::hold::{SWEEP_EVERY, Shared};
use crate::domain::{ConnectFailure, FailureNote, PortChoice};
use crate::engine::counters::TableCounters;
use crate::engine::latency::Latency;
use crate::engine::source::{Source, Wish};
use crate::kernel::sys::fdtable::{Descriptor, close};
use crate::kernel::sys::poll::{Interest, Patience, PollEntry, poll};
use crate::kernel::sys::socket;

/// Handshakes begun between two looks. A look finds a handshake that was over at once up to so many connects late (about
/// 10 µs each); looking after each one costs a tenth of the rate.
const BATCH: usize = 8;

/// How long one look waits at most, so that orders are heard.
const LISTEN_EVERY: Duration = Duration::from_millis(50);

/// How long handshakes under way may go on after the ramp was stopped.
const AFTER_STOP: Duration = Duration::from_secs(1);

/// What a dialing thread works with: as many of these exist as threads dial at once.
#[derive(Debug)]
pub(super) struct Bench {
    entries: Vec<PollEntry>,
    handshakes: Vec<Handshake>,
    window: usize,
    /// Shared with the reporter, which takes it in between.
    pub(super) latency: Arc<Mutex<Latency>>,
}

impl Bench {
    /// For at most `window` handshakes at once.
    pub(super) fn new(window: usize) -> Self {
        let window = window.max(1);
        Self {
            entries: Vec::with_capacity(window),
            handshakes: Vec::with_capacity(window),
            window,
            latency: Arc::new(Mutex::new(Latency::new())),
        }
    }
}

/// A handshake under way.
#[derive(Debug, Clone, Copy)]
struct Handshake {
    wish: Wish,
    /// When it was begun, or was due where there is a plan.
    planned: Instant,
    /// When it counts as timed out.
    deadline: Instant,
}

/// One table's part of the ramp.
pub(super) struct Dialer<'a> {
    shared: &'a Shared,
    index: usize,
    bench: &'a mut Bench,
    begun: Instant,
    last_opened: Instant,
    next_sweep: Instant,
    /// The lowest number that a socket of this table has.
    first: Descriptor,
    /// One above the highest number that a socket of this table has.
    end: Descriptor,
}

impl<'a> Dialer<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        index: usize,
        bench: &'a mut Bench,
        begun: Instant,
        first: Descriptor,
    ) -> Self {
        Self {
            shared,
            index,
            bench,
            begun,
            last_opened: begun,
            next_sweep: Instant::now() + SWEEP_EVERY,
            first,
            end: first,
        }
    }

    /// Opens this table's connections. Returns one above the highest number of a socket.
    pub(super) fn ramp(mut self) -> Descriptor {
        let mut wishes = self
            .shared
            .sources
            .part(self.index, self.shared.layout.count);
        let mut since_look = 0;
        while let Some(wish) = wishes.next() {
            if self.shared.orders.halted() {
                break;
            }
            while self.shared.orders.paused() {
                self.look(Patience::For(LISTEN_EVERY));
                self.sweep_if_due();
            }
            let planned = self.wait_until_due();
            if let Err(error) = self.open(wish, planned) {
                let failure = class(&error);
                if failure == ConnectFailure::NoDescriptors {
                    // The table is full and stays so: what is left fails alike, and need not be tried.
                    self.fail(1 + wishes.left(), wish, failure);
                    break;
                }
                self.fail(1, wish, failure);
            }
            since_look += 1;
            let under_way = self.bench.handshakes.len();
            // With many under way a look costs more: it is taken after a fair part of them.
            if since_look >= BATCH.max(under_way / 8) || under_way >= self.bench.window {
                since_look = 0;
                self.look(Patience::None);
                while self.bench.handshakes.len() >= self.bench.window
                    && !self.shared.orders.draining()
                {
                    self.look(Patience::For(LISTEN_EVERY));
                }
                self.sweep_if_due();
            }
        }
        self.finish();
        self.end
    }

    /// Waits for what is under way, shortly when the ramp was stopped.
    fn finish(&mut self) {
        let mut stopped = None;
        while !self.bench.handshakes.is_empty() {
            let now = Instant::now();
            if self.shared.orders.halted() {
                let since = *stopped.get_or_insert(now);
                if self.shared.orders.draining() || now.duration_since(since) > AFTER_STOP {
                    break;
                }
            }
            self.look(Patience::For(LISTEN_EVERY));
            self.sweep_if_due();
        }
        for entry in self.bench.entries.drain(..) {
            socket::reset(entry.descriptor());
        }
        self.bench.handshakes.clear();
        self.counters().in_flight.set(0);
        let last = self.last_opened.duration_since(self.begun);
        self.shared.orders.ramp_part_done(last);
    }

    /// Waits for the planned moment of the next connection, where there is a plan, and returns it.
    fn wait_until_due(&mut self) -> Instant {
        let Some(due) = self.shared.pacer.next_due() else {
            return Instant::now();
        };
        let due = self.begun + due;
        loop {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() || self.shared.orders.halted() {
                return due;
            }
            self.look(Patience::For(left.min(LISTEN_EVERY)));
            self.sweep_if_due();
        }
    }

    /// Begins one handshake.
    fn open(&mut self, wish: Wish, planned: Instant) -> io::Result<()> {
        let source = self.shared.sources.source(wish.shard);
        let mut port = wish.port;
        loop {
            let socket = socket::stream()?;
            match self.bind_and_connect(socket, source, port) {
                Ok(()) => {
                    self.end = self.end.max(socket.next());
                    self.bench
                        .entries
                        .push(PollEntry::new(socket, Interest::Writable));
                    self.bench.handshakes.push(Handshake {
                        wish: Wish { port, ..wish },
                        planned,
                        deadline: Instant::now() + self.shared.timeout,
                    });
                    return Ok(());
                }
                Err(error) => {
                    close(socket);
                    if !self.shared.sources.is_port_taken(&error) {
                        return Err(error);
                    }
                    let Some(spare) = source.spare_port() else {
                        return Err(error);
                    };
                    port = spare;
                    self.counters().ports_replaced.add(1);
                }
            }
        }
    }

    fn bind_and_connect(&self, socket: Descriptor, source: &Source, port: u16) -> io::Result<()> {
        if let Some(keepalive) = self.shared.keepalive {
            socket::keepalive(socket, keepalive)?;
        }
        self.shared.sources.bind(socket, source, port)?;
        socket::connect(socket, &source.target).map(drop)
    }

    /// Looks which handshakes are over.
    fn look(&mut self, patience: Patience) {
        if let Err(error) = poll(&mut self.bench.entries, patience) {
            // Only for want of memory, which may come back.
            self.shared.ledger.warn(format!(
                "poll over the handshakes under way failed: {error}"
            ));
            std::thread::sleep(LISTEN_EVERY);
            return;
        }
        let now = Instant::now();
        let latency = Arc::clone(&self.bench.latency);
        let mut latency = latency.lock().unwrap_or_else(PoisonError::into_inner);
        let mut opened = 0;
        // Backwards, so that what takes a removed place has been seen.
        for index in (0..self.bench.entries.len()).rev() {
            let entry = self.bench.entries[index];
            let handshake = self.bench.handshakes[index];
            let failure = if !entry.found() {
                if now < handshake.deadline {
                    continue;
                }
                Some(ConnectFailure::TimedOut)
            } else if entry.broken() {
                match socket::take_error(entry.descriptor()) {
                    // Established, and closed by the peer at once: the sweep finds it and says so.
                    Ok(0) => None,
                    Ok(errno) => Some(ConnectFailure::from_errno(errno)),
                    Err(error) => Some(class(&error)),
                }
            } else {
                None
            };
            self.bench.entries.swap_remove(index);
            self.bench.handshakes.swap_remove(index);
            if let Some(failure) = failure {
                socket::reset(entry.descriptor());
                self.fail(1, handshake.wish, failure);
            } else {
                opened += 1;
                latency.record(now.saturating_duration_since(handshake.planned));
            }
        }
        if opened > 0 {
            self.last_opened = now;
            self.counters().opened.add(opened);
        }
        self.counters()
            .in_flight
            .set(self.bench.handshakes.len() as u64);
    }

    /// In a slow ramp what is open already must be looked after too.
    fn sweep_if_due(&mut self) {
        let now = Instant::now();
        if now < self.next_sweep {
            return;
        }
        let entries = &self.bench.entries;
        let under_way = |socket| entries.iter().any(|entry| entry.descriptor() == socket);
        self.shared
            .sweep(self.index, self.first, self.end, under_way);
        self.next_sweep = Instant::now() + SWEEP_EVERY;
    }

    fn fail(&self, count: u64, wish: Wish, failure: ConnectFailure) {
        let shard = &self.shared.sources.source(wish.shard).shard;
        self.shared.ledger.failed(
            count,
            FailureNote {
                failure,
                source: shard.source,
                port: (self.shared.sources.choice == PortChoice::Explicit).then_some(wish.port),
                target: shard.target,
            },
        );
    }

    fn counters(&self) -> &'a TableCounters {
        &self.shared.counters[self.index]
    }
}

/// The class of an error of a system call.
fn class(error: &io::Error) -> ConnectFailure {
    ConnectFailure::from_errno(error.raw_os_error().unwrap_or(0))
}
