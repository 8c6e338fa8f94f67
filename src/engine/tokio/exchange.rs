//! One table's part of a task on tokio: each connection's own task begins its exchange and waits for the end of it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep_until, timeout};

use super::local;
use crate::domain::LossReason;
use crate::engine::round::{Findings, Round, STALL, TICK, chosen};
use crate::kernel::sys::fdtable::Descriptor;
use crate::protocol::{Connection, Mistake, Output, Protocol, Step};

/// Bytes read at once, on the stack of whichever task runs.
const INPUT: usize = 256;

/// A round in one table.
pub(super) struct Part {
    round: Arc<Round>,
    table: usize,
    /// Connections that the quota is spread over.
    opened: u64,
    /// Tasks that have not taken part yet.
    left: AtomicU64,
    over: Notify,
    window: Semaphore,
    window_size: usize,
    findings: Mutex<Findings>,
}

impl Part {
    /// A round among `tasks` tasks, at most `window` exchanges under way at once.
    pub(super) fn new(
        round: Arc<Round>,
        table: usize,
        opened: u64,
        tasks: u64,
        window: usize,
    ) -> Self {
        // Where all are asked, the number of a connection does not matter: some before it may have been lost.
        let quota = round.quota(table);
        Self {
            table,
            opened: if quota >= tasks { quota } else { opened },
            round,
            left: AtomicU64::new(tasks),
            over: Notify::new(),
            window: Semaphore::new(window),
            window_size: window,
            findings: Mutex::new(Findings::new()),
        }
    }

    /// A task's part: the exchange, if it is among the chosen. An error is the end of the connection.
    pub(super) async fn ask(&self, stream: &TcpStream, position: u64) -> Result<(), LossReason> {
        let quota = self.round.quota(self.table);
        let mut ended = Ok(());
        if quota > 0 && chosen(position, quota, self.opened) {
            ended = self.exchange(stream).await;
        }
        self.pass();
        ended
    }

    /// A task has done its part.
    pub(super) fn pass(&self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.over.notify_one();
        }
    }

    /// Whether every task has done its part.
    pub(super) fn over(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// Waits until it is over.
    pub(super) async fn until_over(&self) {
        self.over.notified().await;
    }

    /// What was found; leaves nothing.
    pub(super) fn findings(&self) -> Findings {
        std::mem::replace(&mut self.found(), Findings::new())
    }

    async fn exchange(&self, stream: &TcpStream) -> Result<(), LossReason> {
        let due = self.round.next_due();
        if let Some(due) = due {
            sleep_until(due.into()).await;
        }
        let permit = self.window.acquire().await;
        let protocol = &self.round.protocol;
        let mut state = protocol.begin(Connection {
            table: u32::try_from(self.table).unwrap_or(u32::MAX),
            number: Descriptor::from(stream).number().unsigned_abs(),
        });
        let start = due.unwrap_or_else(Instant::now);
        self.found().asked += 1;
        let mut outcome = open(stream, protocol, &mut state);
        let mut permit = Some(permit);
        let sent = Instant::now();
        while outcome == Ok(Step::Wait) {
            let stall = STALL.min(self.round.stall_left());
            let waited = sent.elapsed();
            if permit.is_some() && waited >= stall {
                // Others are asked meanwhile; that this one blocked the window is shared by all that did so with it.
                self.round.spend_stall(waited / share(self.window_size));
                permit = None;
            }
            let longest = if permit.is_some() {
                TICK.min(stall.saturating_sub(waited))
            } else {
                TICK
            };
            outcome = match timeout(longest, stream.readable()).await {
                Ok(Ok(())) => read(stream, protocol, &mut state),
                Ok(Err(error)) => Err(LossReason::from_error(&error)),
                Err(_) => tick(stream, protocol, &mut state, start.elapsed()),
            };
        }
        match outcome {
            Ok(Step::Wait) => {}
            Ok(Step::Done) => {
                self.round.restore_stall(1, self.window_size);
                let mut found = self.found();
                found.echoed += 1;
                found.latency.record(start.elapsed());
            }
            Ok(Step::Failed(mistake)) => self.found().mistake(mistake, local(stream)),
            Err(reason) => {
                self.found().fail(reason, local(stream));
                return Err(reason);
            }
        }
        Ok(())
    }

    fn found(&self) -> MutexGuard<'_, Findings> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn share(window: usize) -> u32 {
    u32::try_from(window).unwrap_or(u32::MAX).max(1)
}

/// Begins the conversation.
fn open<P: Protocol>(
    stream: &TcpStream,
    protocol: &P,
    state: &mut P::State,
) -> Result<Step, LossReason> {
    let mut out = Output::new();
    let step = protocol.on_open(state, &mut out);
    send_out(stream, &out, step)
}

/// Reads what is there and gives it to the protocol.
fn read<P: Protocol>(
    stream: &TcpStream,
    protocol: &P,
    state: &mut P::State,
) -> Result<Step, LossReason> {
    let mut buffer = [0; INPUT];
    match stream.try_read(&mut buffer) {
        Ok(0) => Err(LossReason::ClosedByPeer),
        Ok(count) => {
            let mut out = Output::new();
            let step = protocol.on_bytes(state, &buffer[..count], &mut out);
            send_out(stream, &out, step)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Step::Wait),
        Err(error) => Err(LossReason::from_error(&error)),
    }
}

/// Tells the protocol that time has passed.
fn tick<P: Protocol>(
    stream: &TcpStream,
    protocol: &P,
    state: &mut P::State,
    elapsed: Duration,
) -> Result<Step, LossReason> {
    let mut out = Output::new();
    let step = protocol.on_tick(state, elapsed, &mut out);
    send_out(stream, &out, step)
}

/// Sends what the protocol has said with this verdict. A socket without room has unread bytes before it: that peer does not
/// answer.
fn send_out(stream: &TcpStream, out: &Output, step: Step) -> Result<Step, LossReason> {
    let bytes = out.bytes();
    if bytes.is_empty() || matches!(step, Step::Failed(_)) {
        return Ok(step);
    }
    match stream.try_write(bytes) {
        Ok(sent) if sent == bytes.len() => Ok(step),
        Ok(_) => Ok(Step::Failed(Mistake::Silence)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Ok(Step::Failed(Mistake::Silence))
        }
        Err(error) => Err(LossReason::from_error(&error)),
    }
}
