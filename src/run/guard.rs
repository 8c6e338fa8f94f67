//! The guard of a run: from the first connection to the end of the drain it watches memory, on a thread of its own that
//! gives the workers their orders itself. The conductor hears of it afterwards, however long it was held up.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::control::Command;
use crate::domain::{Bytes, ConnCount, Phase, WorkerId};
use crate::observe::{MemoryGauge, MemoryLeft, MemoryWatch, Shortage};
use crate::plan::Plan;
use crate::provision::Remote;

/// Before so many connections are open, noise is larger than what they cost.
const ENOUGH_TO_MEASURE: u64 = 2_000;

pub(super) struct Guard {
    watch: MemoryWatch,
    state: Arc<Mutex<State>>,
    /// `Slab` before the first connection.
    slab_before: Option<Bytes>,
}

/// What the guard saw when it stopped the run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stopped {
    pub(super) reason: String,
    pub(super) phase: Phase,
    pub(super) at: ConnCount,
    /// Known while connections are being opened.
    pub(super) would_fit: Option<ConnCount>,
    pub(super) bytes_per_connection: f64,
}

/// What the guard's thread and the conductor share.
struct State {
    phase: Phase,
    /// Whether clients are opening connections.
    opening: bool,
    established: ConnCount,
    bytes_per_connection: f64,
    /// The workers, the server first.
    workers: Vec<(WorkerId, Remote)>,
    stopped: Option<Stopped>,
    /// Whether the conductor has heard of it.
    told: bool,
    draining: bool,
}

impl Guard {
    /// Begins to watch; nothing is done before the ramp.
    pub(super) fn start(plan: &Plan, gauge: MemoryGauge) -> io::Result<Self> {
        let state = Arc::new(Mutex::new(State {
            phase: Phase::Preflight,
            opening: false,
            established: ConnCount::ZERO,
            bytes_per_connection: plan.expected_bytes_per_connection,
            workers: Vec::new(),
            stopped: None,
            told: false,
            draining: false,
        }));
        let watched = Arc::clone(&state);
        let watch = MemoryWatch::start(gauge, move |shortage| lock(&watched).act(shortage))?;
        Ok(Self {
            watch,
            state,
            slab_before: None,
        })
    }

    /// Counts the limits of a worker's own control group too.
    pub(super) fn watch_cgroup(&self, worker: WorkerId, group: String) {
        self.watch
            .watch_cgroup(group, format!("the {worker} container"));
    }

    /// Lets the guard give this worker orders.
    pub(super) fn watch_worker(&self, worker: WorkerId, remote: Remote) {
        lock(&self.state).workers.push((worker, remote));
    }

    /// A phase began.
    pub(super) fn enter(&self, phase: Phase) {
        lock(&self.state).phase = phase;
    }

    /// Clients begin, or have ceased, to open connections. Takes the machine at the beginning as the state before the
    /// first one.
    pub(super) fn opening(&mut self, opening: bool) {
        if opening {
            self.slab_before = self.watch.latest().map(|now| now.slab);
        }
        lock(&self.state).opening = opening;
    }

    /// What is left of memory, and whose limit that is.
    pub(super) fn left(&self) -> Option<MemoryLeft> {
        self.watch.latest()
    }

    /// So many connections are open.
    pub(super) fn note(&self, established: ConnCount) {
        let cost = self.bytes_per_connection(established);
        let mut state = lock(&self.state);
        state.established = established;
        // The plan also knows what workers take for a connection.
        state.bytes_per_connection = state.bytes_per_connection.max(cost.unwrap_or_default());
    }

    /// What a connection has cost the kernel so far, both ends, once there are enough to tell. Slab memory: what other
    /// programs take meanwhile is not in it.
    pub(super) fn bytes_per_connection(&self, established: ConnCount) -> Option<f64> {
        let (before, now) = (self.slab_before?, self.watch.latest()?);
        (established.count() >= ENOUGH_TO_MEASURE)
            .then(|| (now.slab.as_f64() - before.as_f64()) / established.as_f64())
    }

    /// What the guard did, told once.
    pub(super) fn news(&self) -> Option<Stopped> {
        let mut state = lock(&self.state);
        if state.stopped.is_none() && self.watch.is_dead() && state.watches() {
            // It cannot act any more, so it is done here.
            state.act(&Shortage::Unreadable {
                seconds: 0.0,
                why: "the guard's own thread has ended".to_owned(),
            });
        }
        if state.told {
            return None;
        }
        state.told = state.stopped.is_some();
        state.stopped.clone()
    }

    /// Whether the guard has begun to close connections.
    pub(super) fn drains(&self) -> bool {
        lock(&self.state).draining
    }
}

impl State {
    fn watches(&self) -> bool {
        (Phase::Ramp..Phase::Drain).contains(&self.phase)
    }

    /// Stops the ramp; where nothing is being opened any more, or that does not help, closes all connections.
    fn act(&mut self, shortage: &Shortage) {
        if !self.watches() || self.draining {
            return;
        }
        let again = self.stopped.is_some();
        if self.opening && !again {
            for (worker, remote) in &self.workers {
                if !worker.is_server() {
                    remote(&Command::StopRamp);
                }
            }
        } else if !again || shortage.is_urgent() {
            self.draining = true;
            // The clients' resets free both ends. The server is only told that they are meant, so that neither end takes
            // them for losses; the conductor drains it.
            for (worker, remote) in &self.workers {
                if worker.is_server() {
                    remote(&Command::LookForLosses);
                } else {
                    remote(&Command::Drain);
                }
            }
        }
        if !again {
            self.stopped = Some(Stopped {
                reason: shortage.to_string(),
                phase: self.phase,
                at: self.established,
                would_fit: self.would_fit(shortage),
                bytes_per_connection: self.bytes_per_connection,
            });
        }
    }

    fn would_fit(&self, shortage: &Shortage) -> Option<ConnCount> {
        let spare = shortage.spare().filter(|_| self.opening)?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // positive and far below 2^64
        let more = (spare.as_f64() / self.bytes_per_connection.max(1.0)) as u64;
        Some(self.established + ConnCount::new(more))
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Each field is set in one step.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    fn state(phase: Phase, opening: bool) -> (State, Receiver<(WorkerId, Command)>) {
        let (sender, sent) = channel();
        let remote = |worker: WorkerId| -> (WorkerId, Remote) {
            let sender = sender.clone();
            let remote: Remote = Box::new(move |command| {
                sender.send((worker, command.clone())).unwrap();
            });
            (worker, remote)
        };
        let state = State {
            phase,
            opening,
            established: ConnCount::new(1_000),
            bytes_per_connection: 8_000.0,
            workers: vec![remote(WorkerId::SERVER), remote(WorkerId::client(1))],
            stopped: None,
            told: false,
            draining: false,
        };
        (state, sent)
    }

    fn short(urgent: bool) -> Shortage {
        Shortage::TooLittle {
            left: Bytes::from_mib(200),
            of: "the machine".to_owned(),
            reserve: Bytes::from_mib(250),
            falling: Bytes::ZERO,
            urgent,
        }
    }

    #[test]
    fn a_ramp_is_stopped_first_and_drained_when_that_does_not_help() {
        let (mut state, sent) = state(Phase::Ramp, true);
        state.act(&short(false));
        state.act(&short(false));
        let told: Vec<_> = sent.try_iter().collect();
        assert_eq!(told, [(WorkerId::client(1), Command::StopRamp)]);
        let stopped = state.stopped.clone().unwrap();
        assert!(stopped.would_fit.unwrap() > stopped.at);
        state.act(&short(true));
        let told: Vec<_> = sent.try_iter().map(|(_, command)| command).collect();
        assert_eq!(told, [Command::LookForLosses, Command::Drain]);
        assert_eq!(state.stopped.unwrap().phase, Phase::Ramp);
    }

    #[test]
    fn a_hold_is_drained_at_once_and_the_phase_is_told() {
        let (mut state, sent) = state(Phase::Hold, false);
        state.act(&short(false));
        assert_eq!(sent.try_iter().count(), 2);
        let stopped = state.stopped.unwrap();
        assert_eq!((stopped.phase, stopped.would_fit), (Phase::Hold, None));
    }

    #[test]
    fn nothing_is_done_before_the_ramp_and_from_the_drain_on() {
        for phase in [Phase::Baseline, Phase::Drain, Phase::Teardown] {
            let (mut state, sent) = state(phase, false);
            state.act(&short(true));
            assert_eq!((state.stopped, sent.try_iter().count()), (None, 0));
        }
    }
}
