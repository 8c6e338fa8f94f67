//! The ramp: clients open their connections while the guard watches memory. And the hold: nothing is to happen.

use std::time::{Duration, Instant};

use super::conductor::{Conductor, Heed, Stop, Waited};
use super::workers::Milestone;
use crate::control::Command;
use crate::domain::{ConnCount, GaveWay, Mark};

/// A ramp in which nothing moves for this long is over: handshakes that time out are reported by the clients well before.
const STALLED_AFTER: Duration = Duration::from_secs(90);
/// How long clients may take to finish the handshakes under way once they were told to stop.
const STOPPING_TAKES: Duration = Duration::from_secs(15);
/// How long the server may lag behind the clients: connections wait in its accept queue.
const ACCEPTING_TAKES: Duration = Duration::from_secs(15);
/// Time for freed objects to come back (RCU) and for queues to empty, before figures are taken.
const SETTLE: Duration = Duration::from_secs(2);

/// The same where something gave way: whether connections go on ending tells a timeout from a maximum.
const SETTLE_AFTER_LIMIT: Duration = Duration::from_secs(4);

/// How long after the ramp the server's log files are read: it may write what went wrong a moment later.
const LOGS_AFTER: Duration = Duration::from_secs(1);

impl Conductor<'_> {
    /// Opens the connections. Afterwards `stop` says whether something ended it early.
    pub(super) fn ramp(&mut self) {
        self.guard.opening(true);
        self.mark(Mark::RampStart);
        let began = Instant::now();
        self.watch_server();
        self.tell_clients(&Command::Begin);
        let mut moved = Instant::now();
        let mut before = ConnCount::ZERO;
        loop {
            let slice = Instant::now() + Duration::from_millis(40);
            match self.wait(slice, Heed::Stops, Self::ramp_is_done) {
                Waited::Done | Waited::Stop => break,
                Waited::TimeUp => {}
            }
            let established = self.established();
            if established != before {
                (before, moved) = (established, Instant::now());
            }
            if let Some(what) = self.look_at_server() {
                self.gave_way(what);
                self.stop_ramp();
                break;
            }
            if moved.elapsed() > STALLED_AFTER + self.stood_still {
                self.stop = Some(Stop::Stalled(format!(
                    "no connection was opened for {} s, {established} of {} are open",
                    STALLED_AFTER.as_secs(),
                    self.plan.target
                )));
                break;
            }
        }
        if self.stop.is_some() {
            self.stop_ramp();
        } else if self.plan.limit.is_some() {
            self.gave_way(GaveWay::Nothing);
        }
        self.guard.opening(false);
        self.ramp_took = began.elapsed();
        self.mark(Mark::RampEnd);
    }

    /// Has the clients open nothing more, and waits for the handshakes under way.
    fn stop_ramp(&mut self) {
        self.tell_clients(&Command::StopRamp);
        self.wait(Instant::now() + STOPPING_TAKES, Heed::Nothing, |run| {
            run.ramp_is_done() || run.workers.iter().all(|worker| !worker.alive())
        });
    }

    fn ramp_is_done(&self) -> bool {
        self.clients()
            .all(|worker| worker.has_or_is_gone(Milestone::RampDone))
    }

    /// Lets the machine settle at the target and takes the figures there.
    pub(super) fn settle_at_target(&mut self) {
        if self.server_accepts() && !self.gave_way {
            self.wait(Instant::now() + ACCEPTING_TAKES, Heed::Stops, |run| {
                run.server_established() >= run.established()
            });
        }
        let settle = if self.gave_way {
            SETTLE_AFTER_LIMIT
        } else {
            SETTLE
        };
        let until = Instant::now() + settle;
        // What a server writes to a log of its own belongs to the second in which it is read.
        self.wait(until.min(Instant::now() + LOGS_AFTER), Heed::Stops, |_| {
            false
        });
        self.read_logs();
        self.wait(until, Heed::Stops, |_| false);
        if self.stop.is_none() {
            self.shrink_before(Mark::Target);
        }
        self.mark(Mark::Target);
    }

    /// Keeps the connections open.
    pub(super) fn hold(&mut self, length: Duration) {
        let until = Instant::now() + length;
        self.hold_until = Some(until);
        self.wait(until, Heed::Stops, |_| false);
        self.hold_until = None;
        self.mark(Mark::HoldEnd);
        self.read_logs();
    }
}
