//! The client on tokio: a task dials each connection, and another holds it, notices its end, and echoes when asked.

mod connect;

use std::future::{pending, poll_fn};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::echo::Part;
use super::{Ear, STACK, local, reason_of, runtime};
use crate::domain::{
    ClientSpec, ConnectFailure, Counters, FailureNote, Keepalive, LatencyCounts, PortChoice,
    VerifyShare,
};
use crate::engine::counters::TableCounters;
use crate::engine::latency::Latency;
use crate::engine::orders::{Order, Orders};
use crate::engine::pacer::Pacer;
use crate::engine::pool::Pool;
use crate::engine::source::{Sources, Wish};
use crate::engine::table::Layout;
use crate::engine::verify::Round;
use crate::engine::{Dialing, EngineError, Ledger, Milestone, Running, Tables};
use crate::kernel::sys::epoll::Bell;
use crate::kernel::sys::fdtable::{self, Descriptor};
use crate::kernel::sys::socket;

/// How long handshakes under way may go on after the ramp was stopped.
const AFTER_STOP: Duration = Duration::from_secs(1);

/// How long tasks may take to notice ends that the kernel has told already.
const TASKS_NOTICE: Duration = Duration::from_millis(100);

/// How often a ramp that is held up looks whether it may go on.
const PAUSED_LOOK: Duration = Duration::from_millis(20);

/// Bytes thrown away at once: late echoes that nobody waits for any more.
const BUFFER: usize = 256;

type SharedLatency = Arc<Mutex<Latency>>;

struct Shared {
    layout: Layout,
    sources: Sources,
    pacer: Pacer,
    orders: Orders,
    counters: Vec<TableCounters>,
    ledger: Ledger,
    /// The right to dial, with the histogram to record into.
    rights: Pool<SharedLatency>,
    keepalive: Option<Keepalive>,
    timeout: Duration,
    window: usize,
    bell: Bell,
}

/// The client.
pub(super) struct Client {
    shared: Arc<Shared>,
    latencies: Vec<SharedLatency>,
}

impl Client {
    pub(super) fn start(spec: &ClientSpec, ledger: Ledger) -> Result<Self, EngineError> {
        let sources = Sources::new(&spec.shards, spec.ports)?;
        let (layout, dialers, window) = Layout::for_client(spec, sources.total())?;
        let wanted = layout.count;
        let latencies: Vec<SharedLatency> = (0..dialers)
            .map(|_| Arc::new(Mutex::new(Latency::new())))
            .collect();
        let shared = Arc::new(Shared {
            layout,
            sources,
            pacer: Pacer::new(spec.rate),
            orders: Orders::new(wanted, ledger.clone()),
            counters: (0..wanted).map(|_| TableCounters::default()).collect(),
            ledger,
            rights: Pool::new(latencies.clone()),
            keepalive: spec.keepalive,
            timeout: Duration::from_millis(u64::from(spec.connect_timeout_ms.max(1))),
            window,
            bell: Bell::new().map_err(|why| EngineError::Table {
                index: 0,
                wanted,
                why,
            })?,
        });
        let (ready, tables) = mpsc::channel();
        for index in 0..wanted {
            let (shared, ready) = (Arc::clone(&shared), ready.clone());
            thread::Builder::new()
                .stack_size(STACK)
                .spawn(move || {
                    let table = fdtable::own_table(&[shared.bell.descriptor()]);
                    let made = table.as_ref().ok().copied();
                    // The starter is gone only when another table could not be made.
                    let _ = ready.send((index, table.map(drop)));
                    drop(ready);
                    if let Some(first) = made {
                        shared.tend(index, first);
                    }
                })
                .map_err(|why| EngineError::Thread { index, wanted, why })?;
        }
        drop(ready);
        for (index, made) in tables {
            made.map_err(|why| EngineError::Table { index, wanted, why })?;
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
        self.shared.bell.ring();
    }

    fn drain(&self) {
        self.shared.orders.drain();
        self.shared.bell.ring();
    }

    fn end(&self) {
        self.drain();
        self.shared.orders.wait_drained();
    }
}

impl Dialing for Client {
    fn begin(&self) {
        self.shared.orders.begin();
    }

    fn stop_ramp(&self) {
        self.shared.orders.halt();
        self.shared.bell.ring();
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
        self.shared.bell.ring();
    }

    fn take_latency(&self) -> Option<LatencyCounts> {
        Latency::take_all(&self.latencies)
    }
}

impl Shared {
    /// The life of one table's thread.
    fn tend(self: &Arc<Self>, index: usize, first: Descriptor) {
        let mut held = 0;
        if let Some(begun) = self.orders.wait_begin() {
            let latency = self.rights.lend();
            let mine = self.sources.part(index, self.layout.count).left();
            if !self.orders.halted() {
                self.layout.grow_for(first, mine);
            }
            match runtime() {
                Ok(runtime) => {
                    let table = Arc::new(Table {
                        shared: Arc::clone(self),
                        index,
                        full: AtomicBool::new(false),
                        last_opened: AtomicU64::new(0),
                        begun,
                        rounds: watch::Sender::new(None),
                    });
                    let work = table.work(first, Arc::clone(&latency), || drop(latency));
                    held = runtime.block_on(work);
                    let end = u64::from(first.number().unsigned_abs()) + mine + 64;
                    let mut number = first;
                    while u64::from(number.number().unsigned_abs()) < end.min(self.layout.limit) {
                        // Numbers that are no sockets are passed over.
                        let _ = socket::reset_on_close(number);
                        number = number.next();
                    }
                    // Ends every task, and with it closes every connection.
                    drop(runtime);
                }
                Err(error) => {
                    self.ledger
                        .warn(format!("table {index} cannot be used: tokio: {error}"));
                    self.orders.ramp_part_done(Duration::ZERO);
                }
            }
        }
        self.counters[index].closed.add(held);
        self.orders.drain_part_done(held);
    }
}

/// What the tasks of one table share.
pub(super) struct Table {
    shared: Arc<Shared>,
    index: usize,
    begun: Instant,
    /// No descriptor is left.
    full: AtomicBool,
    /// Microseconds from the beginning to the last connection.
    last_opened: AtomicU64,
    rounds: watch::Sender<Option<Arc<Part>>>,
}

impl Table {
    /// Dials, gives the right to dial back, and holds until the drain. Returns how many connections are open then.
    async fn work(
        self: &Arc<Self>,
        first: Descriptor,
        latency: SharedLatency,
        give_back: impl FnOnce(),
    ) -> u64 {
        let bell = Descriptor::from_number(first.number() - 1);
        let ear = match Ear::new(bell) {
            Ok(ear) => ear,
            Err(error) => {
                let index = self.index;
                self.shared
                    .ledger
                    .warn(format!("table {index} cannot be used: tokio: {error}"));
                self.shared.orders.ramp_part_done(Duration::ZERO);
                return 0;
            }
        };
        if !self.shared.orders.halted() {
            self.ramp(&ear, &latency).await;
        }
        give_back();
        let micros = self.last_opened.load(Ordering::Relaxed);
        self.shared
            .orders
            .ramp_part_done(Duration::from_micros(micros));
        let mut seen = 0;
        let mut looked = false;
        loop {
            match self.shared.orders.next(seen, looked, Instant::now()) {
                Order::Drain => return self.counters().established(),
                Order::LookForLosses => {
                    // Each task notices the end of its connection by itself, once the runtime has come round.
                    sleep(TASKS_NOTICE).await;
                    looked = true;
                    self.shared.orders.look_part_done();
                }
                Order::Verify(round) => {
                    seen = round.number;
                    self.verify(&ear, &round).await;
                }
                Order::Hold => ear.hear().await,
            }
        }
    }

    async fn ramp(self: &Arc<Self>, ear: &Ear, latency: &SharedLatency) {
        let window = self.shared.window;
        let room = Arc::new(Semaphore::new(window));
        let mut wishes = self
            .shared
            .sources
            .part(self.index, self.shared.layout.count);
        while let Some(wish) = wishes.next() {
            while self.shared.orders.paused() {
                sleep(PAUSED_LOOK).await;
            }
            let planned = self.wait_until_due(ear).await;
            let permit = tokio::select! {
                biased;
                permit = Arc::clone(&room).acquire_owned() => permit,
                () = self.until_halted(ear) => break,
            };
            if self.shared.orders.halted() {
                break;
            }
            if self.full.load(Ordering::Relaxed) {
                // The table stays full: what is left fails alike, and need not be tried.
                let failure = ConnectFailure::NoDescriptors;
                self.fail(1 + wishes.left(), wish, wish.port, failure);
                break;
            }
            let (Ok(permit), latency) = (permit, Arc::clone(latency)) else {
                break;
            };
            tokio::spawn(Arc::clone(self).dial(wish, planned, permit, latency));
            self.counters()
                .in_flight
                .set((window - room.available_permits()) as u64);
        }
        let all = u32::try_from(window).unwrap_or(u32::MAX);
        tokio::select! {
            // Every handshake is over when all permits are back.
            _ = room.acquire_many(all) => {}
            () = async {
                self.until_halted(ear).await;
                if !self.shared.orders.draining() {
                    sleep(AFTER_STOP).await;
                }
            } => {}
        }
        self.counters().in_flight.set(0);
    }

    /// Waits for the planned moment of the next connection, where there is a plan, and returns it.
    async fn wait_until_due(&self, ear: &Ear) -> Instant {
        let Some(due) = self.shared.pacer.next_due() else {
            return Instant::now();
        };
        let due = self.begun + due;
        let left = due.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            tokio::select! {
                () = sleep(left) => {}
                () = self.until_halted(ear) => {}
            }
        }
        due
    }

    async fn until_halted(&self, ear: &Ear) {
        while !self.shared.orders.halted() {
            ear.hear().await;
        }
    }

    /// Opens one connection and leaves it to a task of its own, which is smaller than this one.
    async fn dial(
        self: Arc<Self>,
        wish: Wish,
        planned: Instant,
        permit: OwnedSemaphorePermit,
        latency: SharedLatency,
    ) {
        let mut port = wish.port;
        let connected = match timeout(self.shared.timeout, self.connect(wish, &mut port)).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(error)) => Err(ConnectFailure::from_errno(
                error.raw_os_error().unwrap_or(0),
            )),
            Err(_) => Err(ConnectFailure::TimedOut),
        };
        let stream = match connected {
            Ok(stream) => stream,
            Err(failure) => {
                if failure == ConnectFailure::NoDescriptors {
                    self.full.store(true, Ordering::Relaxed);
                }
                return self.fail(1, wish, port, failure);
            }
        };
        let now = Instant::now();
        latency
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .record(now.saturating_duration_since(planned));
        let micros = now.duration_since(self.begun).as_micros();
        self.last_opened
            .fetch_max(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Relaxed);
        let position = self.counters().opened.load();
        self.counters().opened.add(1);
        let rounds = self.rounds.subscribe();
        tokio::spawn(Arc::clone(&self).hold(stream, position, rounds));
        drop(permit);
    }

    /// One connection: waits for its end, and echoes when asked.
    async fn hold(
        self: Arc<Self>,
        stream: TcpStream,
        position: u64,
        mut rounds: watch::Receiver<Option<Arc<Part>>>,
    ) {
        let reason = loop {
            let asked = tokio::select! {
                // Not `readable`, whose future is larger: it can have several waiters.
                ready = poll_fn(|context| stream.poll_read_ready(context)) => match ready.and_then(|()| discard(&stream)) {
                    Ok(()) => false,
                    Err(reason) => break reason_of(&reason),
                },
                asked = rounds.changed() => asked.is_ok(),
            };
            if !asked {
                continue;
            }
            let Some(part) = rounds.borrow_and_update().clone() else {
                continue;
            };
            // In a box: it exists while a round lasts, and would make every task larger.
            if let Err(reason) = Box::pin(part.ask(&stream, position)).await {
                break reason;
            }
        };
        if self.shared.orders.settled() {
            // Nothing is lost that is being closed; the end of the runtime ends this task.
            return pending().await;
        }
        let example = local(&stream);
        // Such a connection leaves no TIME_WAIT behind; where that cannot be had, nothing is lost.
        let _ = socket::reset_on_close(Descriptor::from(&stream));
        drop(stream);
        self.counters().closed.add(1);
        self.counters().lost.add(1);
        self.shared.ledger.lost(reason, 1, example);
        if matches!(rounds.has_changed(), Ok(true))
            && let Some(part) = &*rounds.borrow_and_update()
        {
            part.pass();
        }
    }

    /// Has every task of this table take part in a round.
    async fn verify(&self, ear: &Ear, round: &Arc<Round>) {
        let tasks = self.counters().established();
        let opened = self.counters().opened.load();
        let part = Arc::new(Part::new(
            Arc::clone(round),
            self.index,
            opened,
            tasks,
            (self.shared.window / 4).max(1),
        ));
        if tasks > 0 {
            self.rounds.send_replace(Some(Arc::clone(&part)));
        }
        while !part.over() && !self.shared.orders.leaving() {
            tokio::select! {
                () = part.until_over() => {}
                () = ear.hear() => {}
            }
        }
        self.rounds.send_modify(|part| *part = None);
        if let Some(report) = round.finish(part.findings()) {
            self.shared.ledger.reached(Milestone::Verified(report));
        }
    }

    fn fail(&self, count: u64, wish: Wish, port: u16, failure: ConnectFailure) {
        let shard = &self.shared.sources.source(wish.shard).shard;
        self.shared.ledger.failed(
            count,
            FailureNote {
                failure,
                source: shard.source,
                port: (self.shared.sources.choice == PortChoice::Explicit).then_some(port),
                target: shard.target,
            },
        );
    }

    fn counters(&self) -> &TableCounters {
        &self.shared.counters[self.index]
    }
}

/// Reads and forgets what nobody waits for; the end of the connection comes back as an error, a FIN as errno 0.
fn discard(stream: &TcpStream) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    match stream.try_read(&mut buffer) {
        Ok(0) => Err(io::Error::from_raw_os_error(0)),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}
