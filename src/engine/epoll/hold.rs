//! The client: its tables, and what their threads do after the ramp: hold, notice losses, drain.
//!
//! Losses are found by a sweep of poll(2) rather than by epoll: registering each socket costs a tenth of the rate of the
//! ramp and 208 bytes of kernel memory for each connection; a sweep costs neither.

use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::STACK;
use super::connect::{Bench, Dialer};
use crate::domain::{ClientSpec, Counters, Keepalive, LatencyCounts, LossReason, VerifyShare};
use crate::engine::counters::TableCounters;
use crate::engine::latency::Latency;
use crate::engine::orders::{Order, Orders};
use crate::engine::pacer::Pacer;
use crate::engine::pool::Pool;
use crate::engine::source::Sources;
use crate::engine::table::Layout;
use crate::engine::verify::Round;
use crate::engine::{Dialing, EngineError, Ledger, Milestone, Running, Tables};
use crate::kernel::sys::fdtable::{self, Descriptor};
use crate::kernel::sys::poll::{Interest, Patience, PollEntry, poll};
use crate::kernel::sys::socket;

/// Time between two sweeps of a table: a loss is to be told within 5 s.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(3);

/// Sockets looked at by one call: 4 KiB of the stack.
const SWEEP_CHUNK: usize = 512;

/// What the threads of a client share.
pub(super) struct Shared {
    pub(super) layout: Layout,
    pub(super) sources: Sources,
    pub(super) pacer: Pacer,
    pub(super) orders: Orders,
    pub(super) counters: Vec<TableCounters>,
    pub(super) ledger: Ledger,
    pub(super) benches: Pool<Bench>,
    pub(super) keepalive: Option<Keepalive>,
    pub(super) timeout: Duration,
    /// Echoes under way at once in one table.
    pub(super) echo_window: usize,
}

/// The client.
pub(super) struct Client {
    shared: Arc<Shared>,
    latencies: Vec<Arc<Mutex<Latency>>>,
}

impl Client {
    pub(super) fn start(spec: &ClientSpec, ledger: Ledger) -> Result<Self, EngineError> {
        let sources = Sources::new(&spec.shards, spec.ports)?;
        let (layout, dialers, window) = Layout::for_client(spec, sources.total())?;
        let benches: Vec<Bench> = (0..dialers).map(|_| Bench::new(window)).collect();
        let latencies = benches
            .iter()
            .map(|bench| Arc::clone(&bench.latency))
            .collect();
        let shared = Arc::new(Shared {
            layout,
            sources,
            pacer: Pacer::new(spec.rate),
            orders: Orders::new(layout.count, ledger.clone()),
            counters: (0..layout.count)
                .map(|_| TableCounters::default())
                .collect(),
            ledger,
            benches: Pool::new(benches),
            keepalive: spec.keepalive,
            timeout: Duration::from_millis(u64::from(spec.connect_timeout_ms.max(1))),
            echo_window: window.clamp(1, 256),
        });
        let (ready, tables) = mpsc::channel();
        for index in 0..layout.count {
            let (shared, ready) = (Arc::clone(&shared), ready.clone());
            thread::Builder::new()
                .stack_size(STACK)
                .spawn(move || {
                    let table = fdtable::own_table(&[]);
                    let made = table.as_ref().ok().copied();
                    // The starter is gone only when another table could not be made.
                    let _ = ready.send((index, table.map(drop)));
                    drop(ready);
                    if let Some(first) = made {
                        shared.tend(index, first);
                    }
                })
                .map_err(|why| EngineError::Thread {
                    index,
                    wanted: layout.count,
                    why,
                })?;
        }
        drop(ready);
        for (index, made) in tables {
            made.map_err(|why| EngineError::Table {
                index,
                wanted: layout.count,
                why,
            })?;
        }
        Ok(Self { shared, latencies })
    }
}

impl Running for Client {
    fn tables(&self) -> Tables {
        self.shared.layout.tables()
    }

    fn counters(&self) -> Counters {
        Counters {
            failed: self.shared.ledger.failures(),
            ..TableCounters::sum(&self.shared.counters)
        }
    }

    fn look_for_losses(&self) {
        self.shared.orders.look_for_losses(self.shared.layout.count);
    }

    fn drain(&self) {
        self.shared.orders.drain();
    }

    fn end(&self) {
        self.shared.orders.drain();
        self.shared.orders.wait_drained();
    }
}

impl Dialing for Client {
    fn begin(&self) {
        self.shared.orders.begin();
    }

    fn stop_ramp(&self) {
        self.shared.orders.halt();
    }

    fn pause_ramp(&self, pause: bool) {
        self.shared.orders.pause(pause);
    }

    fn verify(&self, share: VerifyShare, timeout: Duration) {
        let held: Vec<u64> = self
            .shared
            .counters
            .iter()
            .map(TableCounters::established)
            .collect();
        self.shared.orders.verify(Round::new(share, timeout, &held));
    }

    fn take_latency(&self) -> Option<LatencyCounts> {
        Latency::take_all(&self.latencies)
    }
}

impl Shared {
    /// The life of one table's thread; its sockets are numbered from `first` on without a gap.
    fn tend(&self, index: usize, first: Descriptor) {
        let mut end = first;
        if let Some(begun) = self.orders.wait_begin() {
            let mut bench = self.benches.lend();
            let mine = self.sources.part(index, self.layout.count).left();
            if !self.orders.halted() {
                self.layout.grow_for(first, mine);
            }
            end = Dialer::new(self, index, &mut bench, begun, first).ramp();
            drop(bench);
            self.hold(index, first, end);
        }
        let held = self.counters[index].established();
        let mut socket = first;
        while socket < end {
            socket::reset(socket);
            socket = socket.next();
        }
        self.counters[index].closed.add(held);
        self.orders.drain_part_done(held);
    }

    /// Looks after the connections until they are to be closed.
    fn hold(&self, index: usize, first: Descriptor, end: Descriptor) {
        let mut round_done = 0;
        let mut looked = false;
        let mut next_sweep = Instant::now() + SWEEP_EVERY;
        loop {
            match self.orders.next(round_done, looked, next_sweep) {
                Order::Drain => return,
                Order::LookForLosses => {
                    self.sweep(index, first, end, |_| false);
                    looked = true;
                    self.orders.look_part_done();
                }
                Order::Verify(round) => {
                    round_done = round.number;
                    let findings = self.echo(index, first, end, &round);
                    if let Some(report) = round.finish(findings) {
                        self.ledger.reached(Milestone::Verified(report));
                    }
                }
                Order::Hold => {
                    self.sweep(index, first, end, |_| false);
                    next_sweep = Instant::now() + SWEEP_EVERY;
                }
            }
        }
    }

    /// Looks once at every socket of a table, and closes and counts those whose connection has ended; `passed_over` names
    /// those that are still being opened.
    pub(super) fn sweep(
        &self,
        index: usize,
        first: Descriptor,
        end: Descriptor,
        passed_over: impl Fn(Descriptor) -> bool,
    ) {
        let mut entries = [PollEntry::NONE; SWEEP_CHUNK];
        let mut next = first;
        while next < end {
            let mut filled = 0;
            while filled < SWEEP_CHUNK && next < end {
                entries[filled] = PollEntry::new(next, Interest::PeerClosed);
                filled += 1;
                next = next.next();
            }
            let entries = &mut entries[..filled];
            // For want of memory only: the next sweep looks again.
            if !matches!(poll(entries, Patience::None), Ok(found) if found > 0) {
                continue;
            }
            for entry in entries.iter().filter(|entry| entry.broken()) {
                if !passed_over(entry.descriptor()) {
                    self.lose(index, entry.descriptor());
                }
            }
        }
    }

    /// Counts and closes a connection that has ended, unless all are being closed. Returns why it ended.
    pub(super) fn lose(
        &self,
        index: usize,
        socket: Descriptor,
    ) -> Option<(LossReason, Option<SocketAddrV4>)> {
        let reason = LossReason::from_errno(socket::take_error(socket).unwrap_or(0));
        self.lose_for(index, socket, reason)
    }

    /// The same where the reason is known, because reading it has taken it from the socket.
    pub(super) fn lose_for(
        &self,
        index: usize,
        socket: Descriptor,
        reason: LossReason,
    ) -> Option<(LossReason, Option<SocketAddrV4>)> {
        if self.orders.settled() {
            return None;
        }
        let example = socket::local_address(socket).ok();
        socket::reset(socket);
        let counters = &self.counters[index];
        counters.closed.add(1);
        counters.lost.add(1);
        self.ledger.lost(reason, 1, example);
        Some((reason, example))
    }
}
