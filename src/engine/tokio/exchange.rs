//! One table's part of a task on tokio: each connection's own task begins its exchange and waits for the end of it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{sleep_until, timeout};

use super::local;
use crate::domain::LossReason;
use crate::engine::counters::TableCounters;
use crate::engine::round::{Findings, Round, STALL, TICK, chosen};
use crate::kernel::sys::fdtable::Descriptor;
use crate::kernel::sys::socket::{self, Received};
use crate::protocol::{
    ClientSide, Connection, ConnectionEnds, Mistake, Output, Past, Protocol, Step,
};

/// Bytes read at once, on the stack of whichever task runs.
const INPUT: usize = 1024;

/// Reads after which the protocol is told the time, so that an answer without end ends.
const MOST_READS: usize = 64;

/// A round in one table.
pub(super) struct Part {
    round: Arc<Round>,
    table: usize,
    /// Number of the first connection of this table among all of the client.
    first_number: u32,
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
        first_number: u32,
        opened: u64,
        tasks: u64,
        window: usize,
    ) -> Self {
        // Where all are asked, the number of a connection does not matter: some before it may have been lost.
        let quota = round.quota(table);
        Self {
            table,
            first_number,
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
    pub(super) async fn ask(
        &self,
        stream: &TcpStream,
        position: u64,
        past: &mut Past,
    ) -> Result<(), LossReason> {
        let quota = self.round.quota(self.table);
        let mut ended = Ok(());
        if quota > 0 && chosen(position, quota, self.opened) {
            ended = self.talk(stream, position, past).await;
        }
        self.pass();
        ended
    }

    /// The exchange of a connection that has just been opened. An error is the end of the connection.
    pub(super) async fn greet(
        &self,
        stream: &TcpStream,
        position: u64,
        past: &mut Past,
        counters: &TableCounters,
    ) -> Result<(), LossReason> {
        let ended = self.talk(stream, position, past).await;
        let found = self.found();
        counters.answered.set(found.echoed);
        counters.unanswered.set(found.not_answered());
        ended
    }

    async fn talk(
        &self,
        stream: &TcpStream,
        position: u64,
        past: &mut Past,
    ) -> Result<(), LossReason> {
        match &self.round.side {
            ClientSide::Tcp => Ok(()),
            ClientSide::Echo(protocol) => self.exchange(stream, protocol, position, past).await,
            ClientSide::Http(protocol) => self.exchange(stream, protocol, position, past).await,
            ClientSide::Script(protocol) => self.exchange(stream, protocol, position, past).await,
        }
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

    async fn exchange<P: Protocol>(
        &self,
        stream: &TcpStream,
        protocol: &P,
        position: u64,
        past: &mut Past,
    ) -> Result<(), LossReason> {
        let due = self.round.next_due();
        if let Some(due) = due {
            sleep_until(due.into()).await;
        }
        let permit = self.window.acquire().await;
        let connection = self.connection(stream, protocol, position, *past);
        let mut state = protocol.begin(&connection);
        let start = due.unwrap_or_else(Instant::now);
        self.found().asked += 1;
        let talk = Talk {
            stream,
            protocol,
            start,
            findings: &self.findings,
        };
        let mut outcome = talk.open(&connection, &mut state);
        if P::IN_ORDER && *past == Past::New {
            *past = Past::Used;
        }
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
                Ok(Ok(())) => talk.read(&mut state),
                Ok(Err(error)) => Err(LossReason::from_error(&error)),
                Err(_) => talk.tick(&mut state),
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
            // What it was stands in the findings.
            Ok(Step::Failed(_)) => {
                if P::IN_ORDER {
                    *past = Past::Failed;
                }
            }
            Err(reason) => {
                self.found().fail(reason, local(stream));
                return Err(reason);
            }
        }
        Ok(())
    }

    fn connection<P: Protocol>(
        &self,
        stream: &TcpStream,
        protocol: &P,
        position: u64,
        past: Past,
    ) -> Connection {
        let socket = Descriptor::from(stream);
        let ends = || {
            Some(ConnectionEnds {
                source: *local(stream)?.ip(),
                target: socket::peer_address(socket)?,
            })
        };
        Connection {
            table: u32::try_from(self.table).unwrap_or(u32::MAX),
            number: socket.number().unsigned_abs(),
            index: u32::try_from(position)
                .map_or(u32::MAX, |position| self.first_number + position),
            past,
            ends: protocol.names_ends().then(ends).flatten(),
        }
    }

    fn found(&self) -> MutexGuard<'_, Findings> {
        found(&self.findings)
    }
}

fn found(findings: &Mutex<Findings>) -> MutexGuard<'_, Findings> {
    findings.lock().unwrap_or_else(PoisonError::into_inner)
}

fn share(window: usize) -> u32 {
    u32::try_from(window).unwrap_or(u32::MAX).max(1)
}

/// One exchange under way.
struct Talk<'a, P> {
    stream: &'a TcpStream,
    protocol: &'a P,
    /// From when its latency counts.
    start: Instant,
    findings: &'a Mutex<Findings>,
}

impl<P: Protocol> Talk<'_, P> {
    /// Begins the conversation.
    fn open(&self, connection: &Connection, state: &mut P::State) -> Result<Step, LossReason> {
        let mut out = Output::new();
        let step = self.protocol.on_open(connection, state, &mut out);
        match self.conclude(&out, step, &[])? {
            // The runtime may have told of these bytes before, and does not tell again.
            Step::Wait if P::IN_ORDER => self.catch_up(state),
            step => Ok(step),
        }
    }

    /// Reads everything that is there, whether the runtime knows of it or not.
    fn catch_up(&self, state: &mut P::State) -> Result<Step, LossReason> {
        let mut buffer = [0; INPUT];
        let mut reads = 0;
        loop {
            let step = match socket::receive(Descriptor::from(self.stream), &mut buffer) {
                Ok(Received::Bytes(count)) => self.take(state, &buffer[..count])?,
                Ok(Received::Nothing) => return Ok(Step::Wait),
                Ok(Received::Closed) => return Err(LossReason::ClosedByPeer),
                Err(error) => return Err(LossReason::from_error(&error)),
            };
            reads += 1;
            let step = if step == Step::Wait && reads % MOST_READS == 0 {
                self.tick(state)?
            } else {
                step
            };
            if step != Step::Wait {
                return Ok(step);
            }
        }
    }

    /// Reads what is there and gives it to the protocol.
    fn read(&self, state: &mut P::State) -> Result<Step, LossReason> {
        let mut buffer = [0; INPUT];
        for _ in 0..MOST_READS {
            let step = match self.stream.try_read(&mut buffer) {
                Ok(0) => return Err(LossReason::ClosedByPeer),
                Ok(count) => self.take(state, &buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Step::Wait),
                Err(error) => return Err(LossReason::from_error(&error)),
            };
            if step != Step::Wait {
                return Ok(step);
            }
        }
        self.tick(state)
    }

    fn take(&self, state: &mut P::State, bytes: &[u8]) -> Result<Step, LossReason> {
        let mut out = Output::new();
        let step = self.protocol.on_bytes(state, bytes, &mut out);
        self.conclude(&out, step, bytes)
    }

    /// Tells the protocol that time has passed.
    fn tick(&self, state: &mut P::State) -> Result<Step, LossReason> {
        let mut out = Output::new();
        let step = self.protocol.on_tick(state, self.start.elapsed(), &mut out);
        self.conclude(&out, step, &[])
    }

    /// Sends what the protocol has said, and writes down a mistake with the bytes that showed it.
    fn conclude(&self, out: &Output, step: Step, read: &[u8]) -> Result<Step, LossReason> {
        let step = send_out(self.stream, out, step)?;
        if let Step::Failed(mistake) = step {
            let local = local(self.stream);
            found(self.findings).mistake(self.protocol, mistake, read, local);
        }
        Ok(step)
    }
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
