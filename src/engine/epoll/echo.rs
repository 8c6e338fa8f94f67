//! Echoes through the connections of one table, a bounded number at once: a token goes out, the same bytes must come back.

use std::time::{Duration, Instant};

use super::hold::Shared;
use crate::domain::LossReason;
use crate::engine::verify::{Findings, Round, TOKEN, WRONG_BYTES, chosen};
use crate::kernel::sys::fdtable::Descriptor;
use crate::kernel::sys::poll::{Interest, Patience, PollEntry, poll};
use crate::kernel::sys::socket::{self, Received};

/// How long a window that does not move is waited for before its echoes are put aside, to be looked for again at the end.
const STALL: Duration = Duration::from_millis(100);

/// Time between two looks at what was put aside.
const LATE_LOOK: Duration = Duration::from_millis(50);

/// Echoes under way.
struct Window {
    entries: Vec<PollEntry>,
    planned: Vec<Instant>,
}

impl Window {
    fn remove(&mut self, index: usize) -> (Descriptor, Instant) {
        let entry = self.entries.swap_remove(index);
        (entry.descriptor(), self.planned.swap_remove(index))
    }

    fn push(&mut self, socket: Descriptor, planned: Instant) {
        self.entries
            .push(PollEntry::new(socket, Interest::Readable));
        self.planned.push(planned);
    }
}

/// What reading a token brought.
enum Answer {
    Right,
    Wait,
    Ended(LossReason),
    Wrong,
}

impl Shared {
    /// This table's part of a round.
    pub(super) fn echo(
        &self,
        index: usize,
        first: Descriptor,
        end: Descriptor,
        round: &Round,
    ) -> Findings {
        let mut findings = Findings::new();
        let quota = round.quota(index);
        if quota == 0 {
            return findings;
        }
        let held = self.counters[index].established();
        let mut late = {
            // As many tables at once as may dial at once; what is put aside is waited for by all at the same time.
            let _bench = self.benches.lend();
            self.ask(index, (first, end), (quota, held), round, &mut findings)
        };
        let deadline = Instant::now() + round.timeout;
        while !late.entries.is_empty() && !self.orders.leaving() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(LATE_LOOK));
            self.collect(index, &mut late, Patience::None, round, &mut findings);
        }
        for entry in &late.entries {
            findings.be_silent(socket::local_address(entry.descriptor()).ok());
        }
        findings
    }

    /// Sends through the chosen connections and takes what comes back. Returns those that did not answer while asking.
    fn ask(
        &self,
        index: usize,
        (first, end): (Descriptor, Descriptor),
        (quota, held): (u64, u64),
        round: &Round,
        findings: &mut Findings,
    ) -> Window {
        let empty = || Window {
            entries: Vec::new(),
            planned: Vec::new(),
        };
        let (mut window, mut late) = (empty(), empty());
        let (mut socket, mut position) = (first, 0);
        while socket < end && findings.asked < quota && !self.orders.leaving() {
            let this = socket;
            socket = socket.next();
            // Numbers that are closed by now are passed over: a loss has been counted before.
            if !chosen(position, quota, held) {
                position += 1;
                continue;
            }
            let planned = Instant::now();
            let token = round.token(index, this.number().unsigned_abs());
            match socket::send(this, &token) {
                Ok(TOKEN) => window.push(this, planned),
                // No room: what was sent before lies unread. It cannot answer.
                Ok(_) => findings.be_silent(socket::local_address(this).ok()),
                Err(error) if is_not_open(&error) => continue,
                Err(error) => {
                    let reason = LossReason::from_errno(error.raw_os_error().unwrap_or(0));
                    self.fail(index, this, reason, findings);
                }
            }
            position += 1;
            findings.asked += 1;
            if window.entries.len() >= self.echo_window {
                self.make_room(index, &mut window, &mut late, round, findings);
            }
        }
        while !window.entries.is_empty() && !self.orders.leaving() {
            self.make_room(index, &mut window, &mut late, round, findings);
        }
        late
    }

    /// Waits until something came back; when nothing does, puts the whole window aside.
    fn make_room(
        &self,
        index: usize,
        window: &mut Window,
        late: &mut Window,
        round: &Round,
        findings: &mut Findings,
    ) {
        let patience = STALL.min(round.stall_left());
        let began = Instant::now();
        if self.collect(index, window, Patience::For(patience), round, findings) > 0 {
            return;
        }
        round.spend_stall(began.elapsed());
        late.entries.append(&mut window.entries);
        late.planned.append(&mut window.planned);
    }

    /// Takes the answers that are there. Returns how many echoes were settled.
    fn collect(
        &self,
        index: usize,
        window: &mut Window,
        patience: Patience,
        round: &Round,
        findings: &mut Findings,
    ) -> usize {
        let mut settled = 0;
        // Not more than the limit of a table at once: poll(2) refuses more. A window is far smaller, what was put aside
        // is at most the table.
        if !matches!(poll(&mut window.entries, patience), Ok(found) if found > 0) {
            return 0;
        }
        for place in (0..window.entries.len()).rev() {
            if !window.entries[place].found() {
                continue;
            }
            let socket = window.entries[place].descriptor();
            let token = round.token(index, socket.number().unsigned_abs());
            match answer(socket, &token, round) {
                Answer::Wait => continue,
                Answer::Right => {
                    let (_, planned) = window.remove(place);
                    findings.echoed += 1;
                    findings.latency.record(planned.elapsed());
                }
                Answer::Ended(reason) => {
                    window.remove(place);
                    self.fail(index, socket, reason, findings);
                }
                Answer::Wrong => {
                    window.remove(place);
                    findings.fail(WRONG_BYTES, socket::local_address(socket).ok());
                }
            }
            settled += 1;
        }
        settled
    }

    /// A connection that ended while it was asked is lost, and has failed.
    fn fail(&self, index: usize, socket: Descriptor, reason: LossReason, findings: &mut Findings) {
        if let Some((reason, example)) = self.lose_for(index, socket, reason) {
            findings.fail(reason, example);
        }
    }
}

/// Reads one token. Late answers to earlier rounds are thrown away.
fn answer(socket: Descriptor, token: &[u8; TOKEN], round: &Round) -> Answer {
    let mut bytes = [0; TOKEN];
    loop {
        match socket::receive(socket, &mut bytes) {
            Ok(Received::Bytes(TOKEN)) if bytes == *token => return Answer::Right,
            Ok(Received::Bytes(TOKEN)) if round.is_stale(&bytes) => {}
            Ok(Received::Bytes(_)) => return Answer::Wrong,
            Ok(Received::Nothing) => return Answer::Wait,
            Ok(Received::Closed) => return Answer::Ended(LossReason::ClosedByPeer),
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(0);
                return Answer::Ended(LossReason::from_errno(errno));
            }
        }
    }
}

/// Whether a number is not open (EBADF) or not a socket (ENOTSOCK).
fn is_not_open(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(9 | 88))
}
