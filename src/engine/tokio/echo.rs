//! One table's part of a round of echoes on tokio: each connection's own task sends its token and waits for it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use super::{local, reason_of};
use crate::domain::LossReason;
use crate::engine::verify::{Findings, Round, TOKEN, WRONG_BYTES, chosen};

/// How long an answer is waited for before the next connection may be asked all the same.
const STALL: Duration = Duration::from_millis(100);

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
    findings: Mutex<Findings>,
}

impl Part {
    /// A round among `tasks` tasks, at most `window` echoes under way at once.
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
            findings: Mutex::new(Findings::new()),
        }
    }

    /// A task's part: the echo, if it is among the chosen. An error is the end of the connection.
    pub(super) async fn ask(&self, stream: &TcpStream, position: u64) -> Result<(), LossReason> {
        let quota = self.round.quota(self.table);
        let mut ended = Ok(());
        if quota > 0 && chosen(position, quota, self.opened) {
            ended = self.echo(stream, position).await;
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

    async fn echo(&self, stream: &TcpStream, position: u64) -> Result<(), LossReason> {
        let permit = self.window.acquire().await;
        let planned = Instant::now();
        let connection = u32::try_from(position).unwrap_or(u32::MAX);
        let token = self.round.token(self.table, connection);
        self.found().asked += 1;
        match stream.try_write(&token) {
            Ok(TOKEN) => {}
            Ok(_) => {
                self.found().be_silent(local(stream));
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.found().be_silent(local(stream));
                return Ok(());
            }
            Err(error) => return Err(self.fail(stream, reason_of(&error))),
        }
        let stall = STALL.min(self.round.stall_left()).min(self.round.timeout);
        let answer = if let Ok(answer) = timeout(stall, self.answer(stream, &token)).await {
            Ok(answer)
        } else {
            // Others are asked meanwhile; that this one blocked the window is shared by all that did so with it.
            self.round.spend_stall(stall / 32);
            drop(permit);
            let rest = self.round.timeout.saturating_sub(stall);
            timeout(rest, self.answer(stream, &token)).await
        };
        match answer {
            Ok(Ok(true)) => {
                let mut found = self.found();
                found.echoed += 1;
                found.latency.record(planned.elapsed());
            }
            Ok(Ok(false)) => self.found().fail(WRONG_BYTES, local(stream)),
            Ok(Err(reason)) => return Err(self.fail(stream, reason)),
            Err(_) => self.found().be_silent(local(stream)),
        }
        Ok(())
    }

    /// Whether the answer is the token. Late answers to earlier rounds are thrown away.
    async fn answer(&self, stream: &TcpStream, token: &[u8; TOKEN]) -> Result<bool, LossReason> {
        let mut bytes = [0; TOKEN];
        loop {
            stream.readable().await.map_err(|error| reason_of(&error))?;
            match stream.try_read(&mut bytes) {
                Ok(0) => return Err(LossReason::ClosedByPeer),
                Ok(TOKEN) if bytes == *token => return Ok(true),
                Ok(TOKEN) if self.round.is_stale(&bytes) => {}
                Ok(_) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(reason_of(&error)),
            }
        }
    }

    fn fail(&self, stream: &TcpStream, reason: LossReason) -> LossReason {
        self.found().fail(reason, local(stream));
        reason
    }

    fn found(&self) -> MutexGuard<'_, Findings> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
