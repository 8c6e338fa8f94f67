//! What every client has, whatever engine it is: the sources of its connections, tables with their threads, orders,
//! counters, latencies, and the end. An engine adds how one thread opens, holds, reads, writes and closes.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::counters::TableCounters;
use super::latency::Latency;
use super::ledger::Milestone;
use super::orders::Orders;
use super::pace::Pace;
use super::pacer::Pacer;
use super::pool::{Pool, PoolGuard};
use super::round::{Findings, Round};
use super::source::{Attempt, Sources};
use super::spawn::{Threads, spawn_tables};
use super::table::{ClientLayout, Layout};
use super::{Dialing, EngineError, Ledger, Running, Tables};
use crate::domain::{
    ClientSpec, ConnectFailure, Counters, EngineKind, FailureNote, Keepalive, LatencyCounts,
    LossReason, PortChoice, Task, VerifyShare, WrongAnswer,
};
use crate::kernel::sys::eventfd::EventFd;
use crate::kernel::sys::fdtable::{Descriptor, OwnTable};
use crate::kernel::sys::socket::{self, Received};

/// How long handshakes under way may go on after the ramp was stopped.
pub(super) const AFTER_STOP: Duration = Duration::from_secs(1);

/// A histogram that one thread records into and the reporter takes.
pub(super) type SharedLatency = Arc<Mutex<Latency>>;

/// What differs between the clients of two engines. `B` is what a thread works with while it dials.
pub(super) struct ClientEngine<B> {
    /// Which engine it is.
    pub(super) kind: EngineKind,
    /// Stack of a thread, in bytes.
    pub(super) stack: usize,
    /// Exchanges under way at once.
    pub(super) exchanges: fn(&ClientLayout) -> ExchangeWindow,
    /// Working buffers for so many handshakes under way.
    pub(super) buffers: fn(usize) -> B,
    /// The work of one thread from the beginning of the ramp to the drain, closing every connection by a reset included.
    /// Returns how many connections it held at the drain.
    pub(super) tend: for<'a> fn(&'a ClientThread<'a, B>, PoolGuard<'a, Slot<B>>, Instant) -> u64,
}

/// How many exchanges of a task may be under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct ExchangeWindow {
    /// In one table.
    pub(super) per_table: usize,
    /// In all tables that work at once.
    pub(super) total: u64,
}

/// The right to dial, with what it takes. As many exist as threads dial at once.
#[derive(Debug)]
pub(super) struct Slot<B> {
    /// Connect latencies.
    pub(super) latency: SharedLatency,
    /// The engine's own.
    pub(super) buffers: B,
}

/// What the threads of a client share.
#[derive(Debug)]
pub(super) struct ClientCore<B> {
    pub(super) layout: Layout,
    pub(super) sources: Sources,
    pub(super) pacer: Pacer,
    pub(super) pace: Pace,
    pub(super) orders: Orders,
    /// One for each table.
    pub(super) counters: Vec<TableCounters>,
    pub(super) ledger: Ledger,
    pub(super) slots: Pool<Slot<B>>,
    pub(super) keepalive: Option<Keepalive>,
    pub(super) timeout: Duration,
    /// Handshakes under way at once in one table.
    pub(super) window: usize,
    pub(super) exchanges: ExchangeWindow,
    /// What each connection says as soon as it is open.
    pub(super) opening: Option<Arc<Round>>,
}

/// One thread of a client, with its table.
pub(super) struct ClientThread<'a, B> {
    pub(super) core: &'a Arc<ClientCore<B>>,
    /// The table's number.
    pub(super) index: usize,
    pub(super) table: &'a OwnTable,
}

/// A client at work. What owns descriptors of the process's table is here, and not where the threads see it.
#[derive(Debug)]
pub(super) struct Client<B> {
    core: Arc<ClientCore<B>>,
    latencies: Vec<SharedLatency>,
    /// Wakes threads that wait in epoll. Those that wait for orders need none.
    eventfd: EventFd,
}

impl<B: Send + 'static> Client<B> {
    pub(super) fn start(
        engine: &'static ClientEngine<B>,
        spec: &ClientSpec,
        ledger: Ledger,
    ) -> Result<Self, EngineError> {
        let sources = Sources::new(&spec.shards, spec.ports)?;
        let arranged = Layout::for_client(spec, sources.total())?;
        let layout = arranged.layout;
        let slots: Vec<Slot<B>> = (0..arranged.dialers)
            .map(|_| Slot {
                latency: Arc::new(Mutex::new(Latency::new())),
                buffers: (engine.buffers)(arranged.window),
            })
            .collect();
        let latencies = slots.iter().map(|slot| Arc::clone(&slot.latency)).collect();
        let exchanges = (engine.exchanges)(&arranged);
        let opening = spec
            .opening
            .as_ref()
            .filter(|opening| opening.exchange.asks());
        let core = Arc::new(ClientCore {
            layout,
            sources,
            pacer: Pacer::new(spec.rate),
            pace: Pace::free(),
            orders: Orders::new(layout.count, ledger.clone()),
            counters: (0..layout.count)
                .map(|_| TableCounters::default())
                .collect(),
            ledger,
            slots: Pool::new(slots),
            keepalive: spec.keepalive,
            timeout: Duration::from_millis(u64::from(spec.connect_timeout_ms.max(1))),
            window: arranged.window,
            exchanges,
            opening: opening.map(|opening| {
                let exchange = opening.exchange.clone();
                let task = Task::verify(exchange, VerifyShare::All, opening.timeout_ms);
                Arc::new(Round::new(&task, &vec![0; layout.count], exchanges.total))
            }),
        });
        let eventfd = EventFd::new().map_err(|why| EngineError::EventFd { why })?;
        let threads = Threads {
            tables: layout.count,
            per_table: 1,
            stack: engine.stack,
        };
        let working = Arc::clone(&core);
        spawn_tables(
            threads,
            &[eventfd.descriptor()],
            move |index, table| working.work(engine, index, table),
            |_, _| {},
        )?;
        Ok(Self {
            core,
            latencies,
            eventfd,
        })
    }
}

impl<B> ClientCore<B> {
    /// The life of one table's thread.
    fn work(self: &Arc<Self>, engine: &ClientEngine<B>, index: usize, table: &OwnTable) {
        let mut held = 0;
        if let Some(begun) = self.orders.wait_begin() {
            // In turn, so that source addresses are used one after the other.
            let slot = self.slots.acquire_in_turn(index);
            if !self.orders.halted() {
                let mine = self.sources.part(index, self.layout.count).left();
                self.layout.grow_for(table.first_free(), mine);
            }
            let thread = ClientThread {
                core: self,
                index,
                table,
            };
            held = (engine.tend)(&thread, slot, begun);
        } else {
            self.slots.pass_turn(index);
        }
        // What the engine has not counted one by one.
        let counters = &self.counters[index];
        counters.closed.add(counters.established());
        self.orders.drain_part_done(held);
    }

    /// Connections that could not be opened, all for the same reason. `port` is the one that was tried last.
    pub(super) fn count_failure(
        &self,
        count: u64,
        attempt: Attempt,
        port: u16,
        failure: ConnectFailure,
    ) {
        let shard = &self.sources.source(attempt.shard).shard;
        self.ledger.failed(
            count,
            FailureNote {
                failure,
                source: shard.source,
                port: (self.sources.choice == PortChoice::Explicit).then_some(port),
                target: shard.target,
            },
        );
    }

    /// Counts a connection of table `index` that has ended though nobody here asked for it, with what lay unread at it. The
    /// caller closes it.
    pub(super) fn count_loss(
        &self,
        index: usize,
        reason: LossReason,
        local: Option<std::net::SocketAddrV4>,
        said: &[u8],
    ) {
        self.counters[index].closed.add(1);
        self.counters[index].lost.add(1);
        self.ledger.lost(reason, 1, local, said);
    }

    /// The number, among all of this client, of the first connection of table `index`. Those of the table follow it without
    /// a gap, and none of another table is among them.
    pub(super) fn first_number(&self, index: usize) -> u32 {
        let first = self.sources.part(index, self.layout.count).position();
        u32::try_from(first).unwrap_or(u32::MAX)
    }

    /// The ramp of one table is over; its last connection was opened so long after the beginning. The last table completes
    /// the report of what connections said as they were opened.
    pub(super) fn ramp_part_done(&self, greeted: Findings, last_opened: Duration) {
        let report = self
            .opening
            .as_ref()
            .and_then(|round| round.finish(greeted));
        if let Some(report) = report {
            self.ledger.reached(Milestone::Greeted(report));
        }
        self.orders.ramp_part_done(last_opened);
    }

    /// Adds what a table found in a round. The last table completes the report.
    pub(super) fn finish_round(&self, round: &Round, findings: Findings) {
        if let Some(report) = round.finish(findings) {
            self.ledger.reached(Milestone::Performed(report));
        }
    }
}

/// What lies unread at a connection that has ended: its server may have said why.
pub(super) fn last_words(socket: Descriptor, buffer: &mut [u8; WrongAnswer::MOST_BYTES]) -> &[u8] {
    match socket::receive(socket, buffer) {
        Ok(Received::Bytes(count)) => &buffer[..count],
        _ => &[],
    }
}

impl<B> Slot<B> {
    /// Records one connect latency.
    pub(super) fn record(&self, latency: Duration) {
        self.latency
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .record(latency);
    }
}

impl<B: Send> Running for Client<B> {
    fn tables(&self) -> Tables {
        self.core.layout.tables()
    }

    fn counters(&self) -> Counters {
        Counters {
            failed: self.core.ledger.failures(),
            ..TableCounters::sum(&self.core.counters)
        }
    }

    fn look_for_losses(&self) {
        self.core.orders.look_for_losses(self.core.layout.count);
        self.eventfd.signal();
    }

    fn drain(&self) {
        self.core.orders.drain();
        self.eventfd.signal();
    }

    fn end(&self) {
        self.drain();
        self.core.orders.wait_drained();
    }
}

impl<B: Send> Dialing for Client<B> {
    fn begin(&self) {
        self.core.orders.begin();
    }

    fn stop_ramp(&self) {
        self.core.orders.halt();
        self.eventfd.signal();
    }

    fn pause_ramp(&self, pause: bool) {
        self.core.orders.pause(pause);
    }

    fn pace_ramp(&self, per_second: Option<f64>) {
        self.core.pace.set(per_second);
    }

    fn perform(&self, task: &Task) {
        let held: Vec<u64> = self
            .core
            .counters
            .iter()
            .map(TableCounters::established)
            .collect();
        let window = self.core.exchanges.total;
        self.core.orders.perform(Round::new(task, &held, window));
        self.eventfd.signal();
    }

    fn take_latency(&self) -> Option<LatencyCounts> {
        Latency::take_all(&self.latencies)
    }
}

impl<B> fmt::Debug for ClientEngine<B> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} client", self.kind)
    }
}
