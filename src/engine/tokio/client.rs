//! The client on tokio: a task dials each connection, and another holds it, notices its end, and answers tasks.

use std::future::{pending, poll_fn};
use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::exchange::Part;
use super::{Signal, local, runtime};
use crate::domain::{ByteText, ConnectFailure, LossReason, RESERVED_DESCRIPTORS, WrongAnswer};
use crate::engine::client::{
    AFTER_STOP, ClientCore, ClientThread, SharedLatency, Slot, last_words,
};
use crate::engine::counters::TableCounters;
use crate::engine::orders::Order;
use crate::engine::pool::PoolGuard;
use crate::engine::round::{Findings, Round};
use crate::engine::source::{Attempt, Source};
use crate::kernel::sys::fdtable::Descriptor;
use crate::kernel::sys::socket;
use crate::protocol::Past;

/// How long tasks may take to notice ends that the kernel has told already.
const TASKS_NOTICE: Duration = Duration::from_millis(100);

/// How often a ramp that is held up looks whether it may go on.
const PAUSED_LOOK: Duration = Duration::from_millis(20);

/// The work of one thread. Returns how many connections it held at the drain.
pub(super) fn tend<'a>(
    thread: &'a ClientThread<'a, ()>,
    slot: PoolGuard<'a, Slot<()>>,
    begun: Instant,
) -> u64 {
    let table = Arc::new(Table {
        core: Arc::clone(thread.core),
        index: thread.index,
        full: AtomicBool::new(false),
        last_opened: AtomicU64::new(0),
        begun,
        rounds: watch::Sender::new(None),
        opening: thread.core.opening.clone().map(|round| {
            let first = thread.core.first_number(thread.index);
            let window = thread.core.exchanges.per_table;
            Part::new(round, thread.index, first, 0, 0, window)
        }),
    });
    let prepared = runtime().and_then(|runtime| {
        let signal = runtime.block_on(async {
            // The eventfd is the only descriptor that was kept.
            Signal::new(Descriptor::FIRST_OWN)
        })?;
        Ok((runtime, signal))
    });
    let (runtime, signal) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            table.core.ledger.warn(format!(
                "descriptor table {} of the client cannot be used: tokio: {error}",
                thread.index
            ));
            table.core.ramp_part_done(Findings::new(), Duration::ZERO);
            return 0;
        }
    };
    let held = runtime.block_on(table.work(signal, slot));
    let mine = thread
        .core
        .sources
        .part(thread.index, thread.core.layout.count);
    let first = thread.table.first_free();
    let end = u64::from(first.number().unsigned_abs()) + mine.left() + RESERVED_DESCRIPTORS;
    let end = i32::try_from(end.min(thread.core.layout.limit)).unwrap_or(i32::MAX);
    for number in first.up_to(Descriptor::from_number(end)) {
        // Numbers that are no sockets are passed over.
        let _ = socket::reset_on_close(number);
    }
    // Ends every task, and with it closes every connection.
    drop(runtime);
    held
}

/// What the tasks of one table share.
struct Table {
    core: Arc<ClientCore<()>>,
    index: usize,
    begun: Instant,
    /// No descriptor is left.
    full: AtomicBool,
    /// Microseconds from the beginning to the last connection.
    last_opened: AtomicU64,
    rounds: watch::Sender<Option<Arc<Part>>>,
    /// Where connections say something as soon as they are open.
    opening: Option<Part>,
}

impl Table {
    /// Dials, gives the right to dial back, and holds until the drain. Returns how many connections are open then.
    async fn work(self: &Arc<Self>, signal: Signal, slot: PoolGuard<'_, Slot<()>>) -> u64 {
        if !self.core.orders.halted() {
            self.ramp(&signal, &slot.latency).await;
        }
        drop(slot);
        let micros = self.last_opened.load(Ordering::Relaxed);
        let greeted = self
            .opening
            .as_ref()
            .map_or_else(Findings::new, Part::findings);
        self.core
            .ramp_part_done(greeted, Duration::from_micros(micros));
        let mut seen = 0;
        let mut looked = false;
        loop {
            match self.core.orders.next(seen, looked, Instant::now()) {
                Order::Drain => return self.counters().established(),
                Order::LookForLosses => {
                    // Each task notices the end of its connection by itself, once the runtime has come round.
                    sleep(TASKS_NOTICE).await;
                    looked = true;
                    self.core.orders.look_part_done();
                }
                Order::Perform(round) => {
                    seen = round.number;
                    self.perform(&signal, &round).await;
                }
                Order::Hold => signal.wait().await,
            }
        }
    }

    async fn ramp(self: &Arc<Self>, signal: &Signal, latency: &SharedLatency) {
        let window = self.core.window;
        let room = Arc::new(Semaphore::new(window));
        let mut attempts = self.core.sources.part(self.index, self.core.layout.count);
        while let Some(attempt) = attempts.next() {
            while self.core.orders.paused() {
                sleep(PAUSED_LOOK).await;
            }
            self.wait_for_pace().await;
            let due = self.wait_until_due(signal).await;
            let permit = tokio::select! {
                biased;
                permit = Arc::clone(&room).acquire_owned() => permit,
                () = self.until_halted(signal) => break,
            };
            if self.core.orders.halted() {
                break;
            }
            if self.full.load(Ordering::Relaxed) {
                // The table stays full: what is left fails alike, and need not be tried.
                let failure = ConnectFailure::NoDescriptors;
                let count = 1 + attempts.left();
                self.core
                    .count_failure(count, attempt, attempt.port, failure);
                break;
            }
            let (Ok(permit), latency) = (permit, Arc::clone(latency)) else {
                break;
            };
            tokio::spawn(Arc::clone(self).dial(attempt, due, permit, latency));
            self.counters()
                .in_flight
                .set((window - room.available_permits()) as u64);
        }
        let all = u32::try_from(window).unwrap_or(u32::MAX);
        tokio::select! {
            // Every handshake is over when all permits are back.
            _ = room.acquire_many(all) => {}
            () = async {
                self.until_halted(signal).await;
                if !self.core.orders.draining() {
                    sleep(AFTER_STOP).await;
                }
            } => {}
        }
        self.counters().in_flight.set(0);
    }

    /// Waits until the pace that the runner asks for lets one connection through.
    async fn wait_for_pace(&self) {
        while let Err(wait) = self.core.pace.take() {
            if self.core.orders.halted() {
                return;
            }
            sleep(wait.min(PAUSED_LOOK)).await;
        }
    }

    /// Waits for the planned moment of the next connection and returns it. Nothing where there is no plan.
    async fn wait_until_due(&self, signal: &Signal) -> Option<Instant> {
        let due = self.begun + self.core.pacer.next_due()?;
        let left = due.saturating_duration_since(Instant::now());
        if !left.is_zero() {
            tokio::select! {
                () = sleep(left) => {}
                () = self.until_halted(signal) => {}
            }
        }
        Some(due)
    }

    async fn until_halted(&self, signal: &Signal) {
        while !self.core.orders.halted() {
            signal.wait().await;
        }
    }

    /// Opens one connection and leaves it to a task of its own, which is smaller than this one.
    async fn dial(
        self: Arc<Self>,
        attempt: Attempt,
        due: Option<Instant>,
        permit: OwnedSemaphorePermit,
        latency: SharedLatency,
    ) {
        let mut port = attempt.port;
        let connected = match timeout(self.core.timeout, self.connect(attempt, &mut port)).await {
            Ok(Ok(connected)) => Ok(connected),
            Ok(Err(error)) => Err(ConnectFailure::from_error(&error)),
            Err(_) => Err(ConnectFailure::TimedOut),
        };
        let (stream, called) = match connected {
            Ok(connected) => connected,
            Err(failure) => {
                if failure == ConnectFailure::NoDescriptors {
                    self.full.store(true, Ordering::Relaxed);
                }
                return self.core.count_failure(1, attempt, port, failure);
            }
        };
        let now = Instant::now();
        latency
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .record(now.saturating_duration_since(due.unwrap_or(called)));
        let micros = now.duration_since(self.begun).as_micros();
        self.last_opened
            .fetch_max(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Relaxed);
        let position = self.counters().opened.load();
        self.counters().opened.add(1);
        let mut past = Past::New;
        if let Some(part) = &self.opening
            && let Err(reason) = part
                .greet(&stream, position, &mut past, self.counters())
                .await
        {
            if self.core.orders.settled() {
                return pending().await;
            }
            return self.lose(stream, reason);
        }
        let rounds = self.rounds.subscribe();
        tokio::spawn(Arc::clone(&self).hold(stream, position, past, rounds));
        drop(permit);
    }

    /// Counts and closes a connection that has ended.
    fn lose(&self, stream: TcpStream, reason: LossReason) {
        let example = local(&stream);
        let said = words(&stream);
        // Such a connection leaves no TIME_WAIT behind; where that cannot be had, nothing is lost.
        let _ = socket::reset_on_close(Descriptor::from(&stream));
        drop(stream);
        self.core
            .count_loss(self.index, reason, example, said.bytes());
    }

    /// Returns the connection, and when the call was made that opened it.
    async fn connect(&self, attempt: Attempt, port: &mut u16) -> io::Result<(TcpStream, Instant)> {
        let source = self.core.sources.source(attempt.shard);
        loop {
            match self.bound_socket(source, *port) {
                Ok(socket) => {
                    let called = Instant::now();
                    match socket.connect(source.shard.target.into()).await {
                        Err(error) if self.core.sources.is_port_taken(&error) => {
                            *port = source.spare_port().ok_or(error)?;
                        }
                        other => return other.map(|stream| (stream, called)),
                    }
                }
                Err(error) if self.core.sources.is_port_taken(&error) => {
                    *port = source.spare_port().ok_or(error)?;
                }
                Err(error) => return Err(error),
            }
            self.counters().ports_replaced.add(1);
        }
    }

    fn bound_socket(&self, source: &Source, port: u16) -> io::Result<TcpSocket> {
        let socket = TcpSocket::new_v4()?;
        let number = Descriptor::from(&socket);
        if let Some(keepalive) = self.core.keepalive {
            socket::keepalive(number, keepalive)?;
        }
        self.core.sources.bind(number, source, port)?;
        Ok(socket)
    }

    /// One connection: waits for its end, and echoes when asked.
    async fn hold(
        self: Arc<Self>,
        stream: TcpStream,
        position: u64,
        mut before: Past,
        mut rounds: watch::Receiver<Option<Arc<Part>>>,
    ) {
        let reason = loop {
            let asked = tokio::select! {
                // Not `readable`, whose future is larger: it can have several waiters.
                ready = poll_fn(|context| stream.poll_read_ready(context)) => match ready.map_err(|error| LossReason::from_error(&error)).and_then(|()| look(&stream)) {
                    Ok(()) => false,
                    Err(reason) => break reason,
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
            if let Err(reason) = Box::pin(part.ask(&stream, position, &mut before)).await {
                break reason;
            }
        };
        if self.core.orders.settled() {
            // Nothing is lost that is being closed; the end of the runtime ends this task.
            return pending().await;
        }
        // Of a call, so that the buffer is not in the task.
        self.lose(stream, reason);
        if matches!(rounds.has_changed(), Ok(true))
            && let Some(part) = &*rounds.borrow_and_update()
        {
            part.pass();
        }
    }

    /// Has every task of this table take part in a round.
    async fn perform(&self, signal: &Signal, round: &Arc<Round>) {
        let tasks = self.counters().established();
        let opened = self.counters().opened.load();
        let part = Arc::new(Part::new(
            Arc::clone(round),
            self.index,
            self.core.first_number(self.index),
            opened,
            tasks,
            self.core.exchanges.per_table,
        ));
        if tasks > 0 {
            self.rounds.send_replace(Some(Arc::clone(&part)));
        }
        while !part.over() && !self.core.orders.leaving() {
            tokio::select! {
                () = part.until_over() => {}
                () = signal.wait() => {}
            }
        }
        self.rounds.send_modify(|part| *part = None);
        self.core.finish_round(round, part.findings());
    }

    fn counters(&self) -> &TableCounters {
        &self.core.counters[self.index]
    }
}

fn words(stream: &TcpStream) -> ByteText {
    let mut buffer = [0; WrongAnswer::MOST_BYTES];
    ByteText::from_bytes(last_words(Descriptor::from(stream), &mut buffer))
}

/// Whether the connection goes on. Bytes that came stay in the socket for the next exchange: they may be a greeting.
fn look(stream: &TcpStream) -> Result<(), LossReason> {
    let socket = SockRef::from(stream);
    let seen = stream.try_io(Interest::READABLE, || {
        match socket.peek(&mut [MaybeUninit::uninit()]) {
            // This error has the runtime wait until something else happens.
            Ok(1..) => Err(io::ErrorKind::WouldBlock.into()),
            other => other,
        }
    });
    match seen {
        Ok(_) => return Err(LossReason::ClosedByPeer),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
            return Err(LossReason::from_error(&error));
        }
        Err(_) => {}
    }
    // Behind unread bytes, the end of the connection is known by this alone.
    match stream.ready(Interest::READABLE).now_or_never() {
        Some(Ok(ready)) if ready.is_read_closed() => Err(LossReason::from_pending(
            socket::take_error(Descriptor::from(stream)),
        )),
        Some(Err(error)) => Err(LossReason::from_error(&error)),
        _ => Ok(()),
    }
}
