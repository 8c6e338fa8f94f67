//! From nothing to the baseline: settings of the host, the place, the workers, the observer. Then the phases that need
//! them, in their order.

use std::path::Path;
use std::time::{Duration, Instant};

use super::conductor::{Conductor, Heed, Stop, Waited};
use super::workers::{Milestone, Worker};
use crate::control::Command;
use crate::domain::{
    HostIndex, Mark, Phase, RunEvent, RunId, Settling, Stage, Subject, SubjectSpec, WorkerSpec,
};
use crate::host::Tuning;
use crate::observe::{
    Observer, ObserverConfig, SETTLING_PAUSE, SETTLING_TAKES_AT_MOST, SETTLING_TURN, Stillness,
    shrink_caches,
};
use crate::provision::{self, ProvisionError, Testbed};

/// How long workers may take to be ready: a container's start is the slowest part.
const READY_TAKES: Duration = Duration::from_secs(60);

/// Beside the time that a server has: one more answer, and the messages.
const LAST_ANSWER_TAKES: Duration = Duration::from_secs(10);

impl Conductor<'_> {
    /// All phases up to the point from which everything is only taken down again.
    pub(super) fn all_phases(
        &mut self,
        run: &RunId,
        origin: Instant,
        tuning: &mut Tuning,
    ) -> Result<(), ProvisionError> {
        self.phase(Phase::Tune, |conductor| conductor.tune(tuning));
        self.phase(Phase::Provision, |conductor| {
            conductor.provision(run, tuning)
        })?;
        if self.stop.is_some() {
            return Ok(());
        }
        self.phase(Phase::Baseline, |conductor| conductor.baseline(origin));
        if self.stop.is_some() {
            return Ok(());
        }
        self.stages();
        Ok(())
    }

    /// The stages in their order, up to the drain, which comes in every case and is not left to this list.
    fn stages(&mut self) {
        let stages: Vec<Stage> = self.plan.stages.clone();
        for (number, stage) in stages.into_iter().enumerate() {
            if stage == Stage::Drain {
                return;
            }
            self.log.enter_stage(Some(number));
            self.phase(stage.phase(), |conductor| conductor.stage(stage));
            match self.stop {
                None => {}
                // Nothing is left to count where the guard closes connections.
                Some(Stop::Guard) if self.guard.drains() => return,
                // What is open is counted all the same: the report says how many there were, by the kernel's own count.
                Some(Stop::Guard | Stop::Stalled(_)) => {
                    self.log.enter_stage(None);
                    self.phase(Phase::Verify, Self::count_both_ends);
                    return;
                }
                Some(_) => return,
            }
        }
    }

    fn stage(&mut self, stage: Stage) {
        match stage {
            Stage::Ramp { .. } => {
                self.ramp();
                if !matches!(self.stop, Some(Stop::Interrupted)) {
                    self.settle_at_target();
                }
            }
            Stage::Hold { length } => self.hold(length),
            Stage::Verify { share, rate } => self.verify(share, rate),
            Stage::Drain => self.drain(),
        }
    }

    fn tune(&mut self, tuning: &mut Tuning) {
        for record in tuning.apply(&self.plan.settings.host) {
            if let Some(error) = &record.error {
                self.warn(format!("{} is not as wanted: {error}", record.change.key));
            }
            self.log.event(RunEvent::Setting(record));
        }
    }

    fn provision(&mut self, run: &RunId, tuning: &mut Tuning) -> Result<(), ProvisionError> {
        self.testbed = Some(provision::up(self.plan, run, tuning)?);
        for planned in &self.plan.workers {
            let inbox = self.inbox();
            let Some(testbed) = &mut self.testbed else {
                break;
            };
            let handle = testbed.spawn(planned, inbox)?;
            let mut worker = Worker::new(planned.id, &planned.spec, handle);
            let spec = with_place(&planned.spec, testbed.as_ref());
            worker.send(&Command::start(spec));
            self.guard.watch_worker(planned.id, worker.remote());
            self.workers.push(worker);
            if planned.id.is_server() {
                // Clients may prepare by reaching for the server, so it listens first.
                self.await_ready()?;
            }
        }
        self.await_ready()?;
        self.await_answer()?;
        let settings = self
            .testbed
            .as_ref()
            .map(|testbed| testbed.settings())
            .unwrap_or_default();
        for record in settings {
            if let Some(error) = &record.error {
                let place = record
                    .host
                    .map_or_else(|| "host".to_owned(), HostIndex::name);
                let text = format!("{} on {place} is not as wanted: {error}", record.change.key);
                self.warn(text);
            }
            self.log.event(RunEvent::Setting(record));
        }
        Ok(())
    }

    fn await_ready(&mut self) -> Result<(), ProvisionError> {
        let within = READY_TAKES + self.server_takes();
        let waited = self.wait(Instant::now() + within, Heed::Stops, |run| {
            run.workers
                .iter()
                .all(|worker| worker.has(Milestone::Ready))
        });
        let late: Vec<String> = self
            .workers
            .iter()
            .filter(|worker| !worker.has(Milestone::Ready))
            .map(|worker| worker.id.to_string())
            .collect();
        match waited {
            Waited::Done => Ok(()),
            Waited::TimeUp => Err(ProvisionError {
                what: format!("waiting for {} to be ready", late.join(", ")),
                why: format!("no answer within {} s", within.as_secs()),
                hint: None,
            }),
            Waited::Stop => self.stopped_while("starting the workers"),
        }
    }

    /// An error where a worker is gone; a signal and others stop the run by themselves.
    fn stopped_while(&self, what: &str) -> Result<(), ProvisionError> {
        let Some(Stop::WorkerGone(how)) = self.stop.clone() else {
            return Ok(());
        };
        let mut fatal = self
            .workers
            .iter()
            .filter_map(|worker| worker.fatal.as_ref());
        Err(ProvisionError {
            what: what.to_owned(),
            why: how,
            hint: fatal.find_map(|(_, hint)| hint.clone()),
        })
    }

    /// How long a server that is not the lab's own may take until it is ready.
    fn server_takes(&self) -> Duration {
        let specs = self.plan.workers.iter().map(|worker| &worker.spec);
        let seconds = specs.filter_map(|spec| match spec {
            WorkerSpec::Subject(subject) => Some(subject.ready_seconds),
            WorkerSpec::Client(_) | WorkerSpec::Server(_) => None,
        });
        Duration::from_secs(seconds.max().unwrap_or(0).into())
    }

    /// Waits until a server that is not the lab's own answers what the protocol says: that it listens is not enough.
    fn await_answer(&mut self) -> Result<(), ProvisionError> {
        let asks =
            self.plan.protocol.asks() && self.workers.iter().any(|worker| worker.subject.is_some());
        let Some(number) = self
            .workers
            .iter()
            .position(|worker| !worker.id.is_server())
        else {
            return Ok(());
        };
        if !asks || self.stop.is_some() {
            return Ok(());
        }
        let within = self.server_takes();
        #[allow(clippy::cast_possible_truncation)] // at most 2^32 seconds
        let within_ms = within.as_millis() as u64;
        self.workers[number].send(&Command::Try {
            exchange: self.plan.protocol.clone(),
            within_ms,
        });
        let until = Instant::now() + within + LAST_ANSWER_TAKES;
        let waited = self.wait(until, Heed::Stops, |run| {
            let client = &run.workers[number];
            client.tried.is_some() || !client.alive()
        });
        if waited == Waited::Stop {
            return self.stopped_while("waiting for the server's first answer");
        }
        match &self.workers[number].tried {
            Some(Ok(())) => Ok(()),
            tried => {
                let why = match tried {
                    Some(Err(why)) => why.clone(),
                    _ => "the client that asked did not come back".to_owned(),
                };
                let wrote = self.last_output.as_ref().map_or_else(String::new, |line| {
                    format!("; the last line that it wrote: {line}")
                });
                Err(ProvisionError {
                    what: format!(
                        "the server listens, and its answer is not what the protocol {} expects",
                        self.plan.protocol.kind()
                    ),
                    why,
                    hint: Some(format!(
                        "does it speak this protocol, with these addresses? see --protocol, --path, --status, --send and --expect{wrote}"
                    )),
                })
            }
        }
    }

    fn baseline(&mut self, origin: Instant) {
        let log = self.log.clone();
        let observer = Observer::start(
            ObserverConfig::every_second(origin),
            Box::new(move |sample| log.sample(&sample)),
        );
        let observer = match observer {
            Ok(observer) => observer,
            Err(error) => {
                self.warn(format!("nothing is observed: {error}"));
                return;
            }
        };
        for host in self.plan.hosts.iter().map(|host| host.index) {
            let files = self.testbed.as_ref().and_then(|bed| bed.proc_net(host));
            if let Some(files) = files {
                observer.watch_namespace(host, files);
            }
        }
        let mut unseen = false;
        for worker in &self.workers {
            match (&worker.subject, worker.pid()) {
                (Some(facts), _) => match facts.tree {
                    Some(root) => observer.watch_tree(worker.id, root),
                    None => unseen = true,
                },
                (None, Some(pid)) => observer.watch_process(worker.id, pid),
                (None, None) => {}
            }
            if let Some(group) = worker.cgroup() {
                // A server that is not the lab's own may meet the limit of its group: that is what is measured.
                if worker.subject.is_none() {
                    self.guard.watch_cgroup(worker.id, group.clone());
                }
                observer.watch_cgroup(worker.id, group);
            }
        }
        self.observer = Some(observer);
        if unseen {
            self.warn("the server's processes were not found: its own memory, descriptors and CPU are not observed");
        }
        self.settle_at_baseline();
        // What the server has written until now belongs to its start.
        self.read_logs();
        self.mark(Mark::Baseline);
    }

    /// Waits until the kernel's memory is at rest, for a bounded time.
    fn settle_at_baseline(&mut self) {
        let root = Path::new("/");
        let began = Instant::now();
        self.wait(began + SETTLING_PAUSE, Heed::Stops, |_| false);
        let (shrunk, not_shrunk) = shrink_caches(root);
        if let Some(why) = &not_shrunk {
            self.note(format!("slab caches keep their empty pages: {why}"));
        }
        let mut stillness = Stillness::new(root);
        while !stillness.look() && began.elapsed() < SETTLING_TAKES_AT_MOST {
            let waited = self.wait(Instant::now() + SETTLING_TURN, Heed::Stops, |_| false);
            if waited == Waited::Stop {
                break;
            }
        }
        let unsettled = stillness.moved().map(str::to_owned);
        if let (Some(moved), None) = (&unsettled, &self.stop) {
            self.warn(format!(
                "the machine was not still before the first connection, after {:.0} s: {moved}; memory of something else may be taken for the connections'",
                began.elapsed().as_secs_f64()
            ));
        }
        self.log.event(RunEvent::Settled(Settling {
            before: Mark::Baseline,
            seconds: began.elapsed().as_secs_f64(),
            shrunk: shrunk.into_iter().map(str::to_owned).collect(),
            not_shrunk,
            unsettled,
        }));
    }
}

impl Conductor<'_> {
    /// Has slab caches give back their empty slabs before a mark, so that both ends of a difference are settled alike.
    pub(super) fn shrink_before(&mut self, before: Mark) {
        let began = Instant::now();
        let (shrunk, not_shrunk) = shrink_caches(Path::new("/"));
        self.log.event(RunEvent::Settled(Settling {
            before,
            seconds: began.elapsed().as_secs_f64(),
            shrunk: shrunk.into_iter().map(str::to_owned).collect(),
            not_shrunk,
            unsettled: None,
        }));
    }
}

/// What a worker is told, with what the place has made for a server that is not the lab's own.
fn with_place(spec: &WorkerSpec, testbed: &dyn Testbed) -> WorkerSpec {
    let WorkerSpec::Subject(subject) = spec else {
        return spec.clone();
    };
    let mut subject: SubjectSpec = subject.clone();
    subject.container_pid = testbed.container_pid();
    if let Subject::Command(command) = &mut subject.subject {
        command.groups = testbed.server_groups();
    }
    WorkerSpec::Subject(subject)
}
