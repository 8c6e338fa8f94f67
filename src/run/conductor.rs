//! The conductor itself: one thread, one inbox. It hears the workers, watches memory and the clock, tells the terminal, and
//! visits the phases in order. What a phase does is in a file of its own; here is what they share.

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::event::{Live, Progress};
use super::guard::{Guard, Stopped};
use super::interrupt::Interrupt;
use super::log::Log;
use super::workers::{Milestone, Worker, describe_exit};
use crate::control::{Command, Event, PANICKED, same_version};
use crate::domain::{
    ConnCount, ConnRate, GaveWay, Mark, Phase, PhaseTime, RemainingOnLoss, RunEvent, WorkerId,
};
use crate::observe::Observer;
use crate::plan::Plan;
use crate::provision::{ExitReport, FromWorker, Inbox, Testbed};

/// How often the terminal hears how far the run is.
const LIVE_EVERY: Duration = Duration::from_millis(100);
/// How long the inbox is waited for before clock, memory and signals are looked at again.
const TURN: Duration = Duration::from_millis(20);
/// A turn that took so much longer means that this process did not run: it was stopped, or the machine was too busy.
const STOOD_STILL: Duration = Duration::from_secs(2);

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    /// What was waited for is there.
    Done,
    /// The time is up.
    TimeUp,
    /// The run has to stop; `Conductor::stop` says why.
    Stop,
}

/// What ends a wait early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heed {
    /// Whatever stops the run.
    Stops,
    /// Nothing: tear-down must come to its end.
    Nothing,
}

/// Why a run stops before its end.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Stop {
    /// A signal asked.
    Interrupted,
    /// The guard saw memory run out.
    Guard,
    /// A worker is gone that the run cannot do without.
    WorkerGone(String),
    /// The recording cannot be written.
    RecordingBroken(String),
    /// Nothing moved for too long.
    Stalled(String),
}

pub(super) struct Conductor<'a> {
    pub(super) plan: &'a Plan,
    pub(super) log: Log,
    pub(super) interrupt: &'a Interrupt,
    pub(super) tell: &'a mut dyn FnMut(Progress),
    pub(super) testbed: Option<Box<dyn Testbed>>,
    pub(super) workers: Vec<Worker>,
    pub(super) observer: Option<Observer>,
    pub(super) guard: Guard,
    pub(super) phase: Phase,
    pub(super) stop: Option<Stop>,
    pub(super) hold_until: Option<Instant>,
    /// How long the ramp took: what this machine needs for so many connections.
    pub(super) ramp_took: Duration,
    pub(super) lost_noticed: ConnCount,
    /// What the ramp sees of a server that is not the lab's own.
    pub(super) watch: Option<super::watch::Watch>,
    /// Files that the server writes its log to, with the length up to which they are known.
    pub(super) server_logs: Vec<(std::path::PathBuf, u64)>,
    /// The last line that such a server has written.
    pub(super) last_output: Option<String>,
    /// Whether it was recorded that something gave way.
    pub(super) gave_way: bool,
    /// How long this process did not run.
    pub(super) stood_still: Duration,
    /// Whether every loss was told, and what ends now is meant.
    pub(super) closing: bool,
    inbox: Inbox,
    letters: Receiver<(WorkerId, FromWorker)>,
    last_live: Instant,
    recent: Vec<(Instant, ConnCount)>,
}

impl<'a> Conductor<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        guard: Guard,
        log: Log,
        interrupt: &'a Interrupt,
        tell: &'a mut dyn FnMut(Progress),
    ) -> Self {
        let (inbox, letters) = channel();
        Self {
            plan,
            log,
            interrupt,
            tell,
            testbed: None,
            workers: Vec::new(),
            observer: None,
            guard,
            phase: Phase::Preflight,
            stop: None,
            hold_until: None,
            ramp_took: Duration::ZERO,
            lost_noticed: ConnCount::ZERO,
            watch: None,
            server_logs: Vec::new(),
            last_output: None,
            gave_way: false,
            stood_still: Duration::ZERO,
            closing: false,
            inbox,
            letters,
            last_live: Instant::now(),
            recent: Vec::new(),
        }
    }

    pub(super) fn inbox(&self) -> Inbox {
        self.inbox.clone()
    }

    /// Begins a phase, does it, and records how long it took, whatever comes of it.
    pub(super) fn phase<T>(&mut self, phase: Phase, work: impl FnOnce(&mut Self) -> T) -> T {
        self.phase = phase;
        self.guard.enter(phase);
        self.log.event(RunEvent::PhaseBegan { phase });
        (self.tell)(Progress::Phase(phase));
        let began = Instant::now();
        let outcome = work(self);
        self.log.event(RunEvent::PhaseEnded(PhaseTime {
            phase,
            seconds: began.elapsed().as_secs_f64(),
        }));
        outcome
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        (self.tell)(Progress::Note(text.into()));
    }

    pub(super) fn warn(&mut self, text: impl Into<String>) {
        let text = text.into();
        self.log.event(RunEvent::Warning { text: text.clone() });
        (self.tell)(Progress::Warning(text));
    }

    /// Takes a sample and marks it as the one of this moment.
    pub(super) fn mark(&mut self, mark: Mark) {
        if let Some(observer) = &self.observer {
            match observer.sample_now() {
                Ok(sample) => self.log.event(RunEvent::Marked {
                    mark,
                    sample: sample.number,
                }),
                Err(error) => self.warn(format!("nothing was measured at {mark:?}: {error}")),
            }
        }
    }

    /// Serves the inbox until `done` says so, the time is up, or, where the wait heeds that, the run has to stop. While it
    /// waits it looks at signals, at memory and at the recording, and tells the terminal.
    pub(super) fn wait(
        &mut self,
        until: Instant,
        heed: Heed,
        mut done: impl FnMut(&Self) -> bool,
    ) -> Waited {
        loop {
            // What has come while this process did not run counts before the time that has run out meanwhile.
            while let Ok((worker, letter)) = self.letters.try_recv() {
                self.take(worker, letter);
            }
            if done(self) {
                return Waited::Done;
            }
            if heed == Heed::Stops && self.stop.is_some() {
                return Waited::Stop;
            }
            let now = Instant::now();
            if now >= until {
                return Waited::TimeUp;
            }
            match self.letters.recv_timeout(TURN.min(until - now)) {
                Ok((worker, letter)) => self.take(worker, letter),
                // The conductor holds a sender itself, so the channel never closes.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            let turn = now.elapsed();
            if turn > STOOD_STILL {
                self.stood_still += turn;
                self.warn(format!(
                    "the runner stood still for {:.0} s: it was stopped, or the machine was too busy to run it",
                    turn.as_secs_f64()
                ));
            }
            self.look_around();
        }
    }

    fn look_around(&mut self) {
        self.guard.note(self.established());
        if let Some(stopped) = self.guard.news() {
            self.take_stop_of_guard(stopped);
        }
        if self.stop.is_none() {
            if self.interrupt.signal().is_some() {
                self.stop = Some(Stop::Interrupted);
            } else if let Some(why) = self.log.broken() {
                self.stop = Some(Stop::RecordingBroken(why));
            }
        }
        if self.last_live.elapsed() >= LIVE_EVERY {
            self.last_live = Instant::now();
            let live = self.live();
            (self.tell)(Progress::Live(live));
        }
    }

    fn take_stop_of_guard(&mut self, stopped: Stopped) {
        let Stopped { phase, reason, .. } = &stopped;
        self.warn(if *phase == Phase::Ramp {
            format!("the guard stopped the ramp: {reason}")
        } else {
            format!("the guard ended the {phase}: {reason}")
        });
        self.log.event(RunEvent::GuardStopped {
            reason: stopped.reason,
            phase: stopped.phase,
            at: stopped.at,
            would_fit: stopped.would_fit,
            bytes_per_connection: stopped.bytes_per_connection,
        });
        self.stop.get_or_insert(Stop::Guard);
    }

    fn take(&mut self, from: WorkerId, letter: FromWorker) {
        match letter {
            FromWorker::Event(event) => self.take_event(from, event),
            FromWorker::Log(line) => {
                if let (Some(text), Some(worker)) =
                    (line.strip_prefix(PANICKED), self.worker_mut(from))
                {
                    worker.panicked = Some(text.to_owned());
                }
                let written = self.log.directory().worker_log(from, &line);
                self.log.remember(written);
            }
            FromWorker::Exited(report) => self.take_exit(from, report),
        }
    }

    fn take_event(&mut self, from: WorkerId, event: Event) {
        if let Some(worker) = self.worker_mut(from) {
            worker.hear(&event);
        }
        match event {
            Event::Prepared { settings, .. } => {
                for record in settings {
                    self.log.event(RunEvent::Setting(record));
                }
            }
            Event::Ready {
                version,
                pid,
                tables,
                descriptors_per_table,
                ..
            } => {
                if let Err(mismatch) = same_version("worker", version) {
                    let error = format!("{from}: {mismatch}");
                    self.stop.get_or_insert(Stop::WorkerGone(error));
                }
                let pid = self.worker(from).and_then(Worker::pid).unwrap_or(pid);
                self.log.event(RunEvent::WorkerReady {
                    worker: from,
                    pid,
                    tables,
                    descriptors_per_table,
                });
            }
            Event::Progress { counters, latency } => {
                self.log.event(RunEvent::Progress {
                    worker: from,
                    counters,
                    latency,
                });
            }
            Event::RampDone { counters, .. } => {
                self.log.event(RunEvent::Progress {
                    worker: from,
                    counters,
                    latency: None,
                });
            }
            Event::ConnectFailed { note } => {
                self.log
                    .event(RunEvent::ConnectFailed { worker: from, note });
            }
            // Once connections are being closed, an end is meant, whatever a worker takes it for.
            Event::Lost { .. } if self.closing => {}
            Event::Lost { note } => {
                self.lost_noticed += ConnCount::new(note.count);
                if !from.is_server() {
                    (self.tell)(Progress::Warning(format!(
                        "{from} lost {} connections: {}",
                        ConnCount::new(note.count),
                        note.reason
                    )));
                }
                self.log.event(RunEvent::Lost { worker: from, note });
            }
            Event::Subject { facts } => {
                self.know_logs(&facts.logs);
                self.log.event(RunEvent::Subject { facts });
            }
            Event::Output { text } => {
                let written = self.log.directory().worker_log(from, &text);
                self.log.remember(written);
                self.last_output = Some(text.clone());
                self.log.event(RunEvent::Output { text });
            }
            Event::Queue { filling } => self.queue_is(filling),
            Event::Accepting { state } => self.log.event(RunEvent::Accepting { state }),
            Event::Warning { text } => self.warn(format!("{from}: {text}")),
            Event::Fatal { error, hint } => self.log.event(RunEvent::Failed {
                error: format!("{from}: {error}"),
                hint,
            }),
            Event::LossesTold { counters } => self.log.event(RunEvent::Progress {
                worker: from,
                counters,
                latency: None,
            }),
            Event::Greeted { report } => self.log.event(RunEvent::Greeted {
                worker: from,
                report,
            }),
            Event::Tried { .. } | Event::Performed { .. } | Event::Drained { .. } => {}
        }
    }

    fn take_exit(&mut self, from: WorkerId, report: ExitReport) {
        let Some(worker) = self.worker_mut(from) else {
            return;
        };
        if !worker.alive() {
            return;
        }
        worker.exited = Some(report);
        let expected = worker.has(Milestone::Dismissed);
        let fatal = worker.fatal.clone();
        let panicked = worker.panicked.clone();
        self.log.event(RunEvent::WorkerExited {
            worker: from,
            code: report.code,
            signal: report.signal,
            oom_killed: report.oom_killed,
            expected,
        });
        if expected {
            return;
        }
        if let Some(observer) = &self.observer {
            observer.forget_process(from);
        }
        let how = describe_exit(
            from,
            &report,
            fatal.as_ref().map(|(error, _)| error.as_str()),
            panicked.as_deref(),
        );
        let bed = self.testbed.as_ref().filter(|_| from.is_server());
        let how = match bed.and_then(|bed| bed.container_end()) {
            Some(end) => format!("{how}: its container {end}"),
            None => how,
        };
        // Before the ramp nothing works without every worker; later the scenario may want to go on with the other clients.
        let goes_on = self.plan.on_worker_loss == RemainingOnLoss::Continue
            && !from.is_server()
            && self.phase >= Phase::Ramp;
        if goes_on {
            self.warn(format!("{how}; the run goes on without it"));
        } else {
            (self.tell)(Progress::Warning(how.clone()));
            if from.is_server() && self.plan.limit.is_some() && self.phase >= Phase::Ramp {
                let how = fatal.map_or_else(|| how.clone(), |(error, _)| error);
                self.gave_way(GaveWay::ServerGone { how });
            }
            self.stop.get_or_insert(Stop::WorkerGone(how));
        }
    }

    pub(super) fn worker(&self, id: WorkerId) -> Option<&Worker> {
        self.workers.iter().find(|worker| worker.id == id)
    }

    fn worker_mut(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.workers.iter_mut().find(|worker| worker.id == id)
    }

    pub(super) fn clients(&self) -> impl Iterator<Item = &Worker> {
        self.workers.iter().filter(|worker| !worker.id.is_server())
    }

    pub(super) fn tell_clients(&mut self, command: &Command) {
        for worker in self
            .workers
            .iter_mut()
            .filter(|worker| !worker.id.is_server())
        {
            worker.send(command);
        }
    }

    /// Connections that the clients hold, as they know it. A client that is gone holds none.
    pub(super) fn established(&self) -> ConnCount {
        self.clients()
            .filter(|worker| worker.alive())
            .map(|worker| worker.counters.established)
            .sum()
    }

    /// Connections that were answered as they were opened, where they say something then.
    fn answered(&self) -> Option<ConnCount> {
        self.clients()
            .any(|worker| worker.speaks)
            .then(|| self.clients().map(|worker| worker.counters.answered).sum())
    }

    fn live(&mut self) -> Live {
        let established = self.established();
        let now = Instant::now();
        self.recent.push((now, established));
        self.recent
            .retain(|(when, _)| now.duration_since(*when) <= Duration::from_millis(1500));
        let rate = self.recent.first().and_then(|(when, then)| {
            let seconds = now.duration_since(*when).as_secs_f64();
            (seconds > 0.4)
                .then(|| ConnRate::new((established.as_f64() - then.as_f64()).max(0.0) / seconds))
        });
        let left = self.guard.left();
        Live {
            phase: self.phase,
            clients: self
                .clients()
                .map(|worker| (worker.id, worker.counters.established, worker.target))
                .collect(),
            established,
            served: self
                .worker(WorkerId::SERVER)
                .map_or(ConnCount::ZERO, |server| server.counters.established),
            accepting: self
                .worker(WorkerId::SERVER)
                .and_then(|server| server.accepting.as_ref())
                .map(|state| {
                    let (accepted, waiting) = (state.accepted, state.waiting);
                    (ConnCount::new(accepted), ConnCount::new(waiting))
                }),
            answered: self.answered(),
            target: self.plan.target,
            failed: self
                .clients()
                .map(|worker| worker.counters.failed_total())
                .sum(),
            lost: self.clients().map(|worker| worker.counters.lost).sum(),
            rate: rate.filter(|_| self.phase == Phase::Ramp),
            // While connections are closed, a falling total says nothing of one.
            bytes_per_connection: self
                .guard
                .bytes_per_connection(established)
                .filter(|_| self.phase < Phase::Drain),
            memory_left: left.map(|left| (left.left(), left.bound_by().to_owned())),
            hold_left_seconds: self
                .hold_until
                .map(|until| until.saturating_duration_since(now).as_secs_f64()),
        }
    }
}
