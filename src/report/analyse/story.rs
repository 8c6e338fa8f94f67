//! The events of a run, sorted by what they tell.

use std::collections::BTreeMap;

use crate::domain::{
    AcceptState, ConnCount, Counters, Envelope, FailureNote, GaveWay, HostIndex, LatencyCounts,
    LossNote, Mark, Phase, PhaseTime, PlaceChoice, RestoreOutcome, Role, RunEvent, RunVerdict,
    Sample, SettingRecord, StateCounts, SubjectFacts, Verification, VerifyReport, WorkerId,
    exit_text,
};

/// What one worker did.
#[derive(Debug, Default)]
pub(super) struct WorkerStory {
    /// Threads that hold a descriptor table, and the limit of one table.
    pub(super) tables: Option<(u64, u64)>,
    /// Its counters over time.
    pub(super) progress: Vec<(f64, Counters)>,
    /// How it ended, when it ended though nobody had asked it to.
    pub(super) died: Option<String>,
    /// When that was.
    pub(super) died_at: Option<f64>,
}

/// Seconds after the first of its connections ended within which the end of a server is noticed: a look at its listeners
/// that has to be sure takes longest.
pub(super) const END_IS_SEEN_WITHIN: f64 = 3.0;

/// The guard's word.
#[derive(Debug, Clone)]
pub(super) struct GuardStop {
    pub(super) reason: String,
    pub(super) phase: Phase,
    pub(super) at: ConnCount,
    pub(super) would_fit: Option<ConnCount>,
    pub(super) bytes_per_connection: f64,
}

/// Everything that the events tell.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) started: Option<(String, Vec<String>, String)>,
    pub(super) place: Option<PlaceChoice>,
    pub(super) phases: Vec<PhaseTime>,
    pub(super) began: Vec<(Phase, f64)>,
    pub(super) settings: Vec<SettingRecord>,
    pub(super) restored: BTreeMap<String, RestoreOutcome>,
    pub(super) workers: BTreeMap<WorkerId, WorkerStory>,
    /// When, from which number held on, and what.
    pub(super) latencies: Vec<(f64, ConnCount, LatencyCounts)>,
    pub(super) losses: Vec<(f64, WorkerId, LossNote)>,
    pub(super) failures: Vec<(WorkerId, FailureNote)>,
    /// When a connection first failed to open.
    pub(super) first_failure: Option<f64>,
    pub(super) marks: BTreeMap<Mark, (f64, u64)>,
    pub(super) counted: BTreeMap<(Role, HostIndex), (StateCounts, f64)>,
    pub(super) verification: Option<Verification>,
    /// What came of what connections said as they were opened, of each client.
    pub(super) greeted: Vec<VerifyReport>,
    pub(super) guard: Option<GuardStop>,
    pub(super) interrupted: Option<(String, Phase)>,
    pub(super) warnings: Vec<String>,
    pub(super) failed: Vec<(String, Option<String>)>,
    pub(super) leftovers: Vec<String>,
    pub(super) ended: Option<RunVerdict>,
    /// Connections held by all clients, whenever that changed.
    pub(super) held: Vec<(f64, u64)>,
    /// Connections opened by all clients, whenever that changed.
    pub(super) opened: Vec<(f64, u64)>,
    /// Whether slab caches were shrunk before a mark; not known in recordings that do not tell.
    pub(super) shrunk: BTreeMap<Mark, bool>,
    /// What is known of a server that is not the lab's own.
    pub(super) subject: Option<SubjectFacts>,
    /// What gave way: when, what, how many the clients held, how many were accepted.
    pub(super) gave_way: Option<(f64, GaveWay, ConnCount, ConnCount)>,
    /// Runs that held a smaller number, in their order.
    pub(super) confirmed: Vec<RunEvent>,
    /// Lines that it has written, and when.
    pub(super) output: Vec<(f64, String)>,
    /// How far it had accepted, whenever that changed.
    pub(super) accepting: Vec<(f64, AcceptState)>,
    /// When the last event happened.
    pub(super) last_seconds: f64,
}

impl Story {
    /// Reads the events in order.
    pub(super) fn of(events: &[Envelope]) -> Self {
        let mut story = Self::default();
        for event in events {
            story.last_seconds = story.last_seconds.max(event.at_seconds);
            story.take(event.at_seconds, &event.event);
        }
        story
    }

    fn take(&mut self, at: f64, event: &RunEvent) {
        match event {
            RunEvent::Started {
                wall_clock,
                command,
                version,
            } => self.started = Some((wall_clock.clone(), command.clone(), version.clone())),
            RunEvent::Place(choice) => self.place = Some(choice.clone()),
            RunEvent::PhaseBegan { phase } => self.began.push((*phase, at)),
            RunEvent::PhaseEnded(time) => self.phases.push(*time),
            RunEvent::Setting(record) => self.settings.push(record.clone()),
            RunEvent::SettingRestored { key, outcome } => {
                self.restored.insert(key.clone(), outcome.clone());
            }
            RunEvent::WorkerReady {
                worker,
                tables,
                descriptors_per_table,
                ..
            } => {
                self.workers.entry(*worker).or_default().tables =
                    Some((*tables, *descriptors_per_table));
            }
            RunEvent::Progress {
                worker,
                counters,
                latency,
            } => self.progress(at, *worker, counters, latency.as_ref()),
            RunEvent::Lost { worker, note } => self.losses.push((at, *worker, note.clone())),
            RunEvent::ConnectFailed { worker, note } => {
                self.failures.push((*worker, note.clone()));
                self.first_failure.get_or_insert(at);
            }
            RunEvent::WorkerExited {
                worker,
                code,
                signal,
                oom_killed,
                expected: false,
            } => self.died(at, *worker, *code, *signal, *oom_killed),
            RunEvent::WorkerExited { .. } => {}
            RunEvent::Marked { mark, sample } => {
                self.marks.insert(*mark, (at, *sample));
            }
            RunEvent::Settled(settled) => {
                self.shrunk
                    .insert(settled.before, !settled.shrunk.is_empty());
            }
            RunEvent::Counted {
                host,
                role,
                states,
                took_seconds,
            } => {
                // What is counted while or after connections are closed proves that they are gone, not that they were.
                if self.began(Phase::Drain).is_some() {
                    return;
                }
                self.counted
                    .insert((*role, *host), (states.clone(), *took_seconds));
            }
            RunEvent::Subject { facts } => self.subject = Some((**facts).clone()),
            RunEvent::Output { text } => self.output.push((at, text.clone())),
            RunEvent::GaveWay {
                what,
                established,
                accepted,
            } => {
                self.gave_way
                    .get_or_insert_with(|| (at, what.clone(), *established, *accepted));
            }
            RunEvent::Confirmed { .. } => self.confirmed.push(event.clone()),
            RunEvent::Accepting { state } => self.accepting.push((at, state.clone())),
            RunEvent::Greeted { report, .. } => self.greeted.push(report.clone()),
            RunEvent::Verified(verification) => self.verification = Some(verification.clone()),
            RunEvent::GuardStopped {
                reason,
                phase,
                at,
                would_fit,
                bytes_per_connection,
            } => {
                self.guard = Some(GuardStop {
                    reason: reason.clone(),
                    phase: *phase,
                    at: *at,
                    would_fit: *would_fit,
                    bytes_per_connection: *bytes_per_connection,
                });
            }
            RunEvent::Interrupted { signal, phase } => {
                self.interrupted
                    .get_or_insert_with(|| (signal.clone(), *phase));
            }
            RunEvent::Warning { text } => self.warnings.push(text.clone()),
            RunEvent::Failed { error, hint } => self.failed(error, hint.as_deref()),
            RunEvent::Leftover { what } => self.leftovers.push(what.clone()),
            RunEvent::Ended { verdict } => self.ended = Some(*verdict),
        }
    }

    fn progress(
        &mut self,
        at: f64,
        worker: WorkerId,
        counters: &Counters,
        latency: Option<&LatencyCounts>,
    ) {
        let known = &mut self.workers.entry(worker).or_default().progress;
        known.push((at, counters.clone()));
        if worker.is_server() {
            return;
        }
        let held = self.clients_now(|counters| counters.established);
        let opened = self.clients_now(|counters| counters.opened);
        self.held.push((at, held.count()));
        self.opened.push((at, opened.count()));
        if let Some(latency) = latency {
            self.latencies.push((at, held, latency.clone()));
        }
    }

    /// How far a server that is not the lab's own had accepted at this moment.
    pub(super) fn accepting_at(&self, at: f64) -> Option<&AcceptState> {
        let known = self.accepting.iter().rev();
        known
            .filter(|(when, _)| *when <= at)
            .map(|(_, state)| state)
            .next()
    }

    /// A worker says why it ends, and then the run does.
    fn failed(&mut self, error: &str, hint: Option<&str>) {
        let known = |(known, _): &(String, Option<String>)| error.ends_with(known.as_str());
        if !self.failed.iter().any(known) {
            self.failed
                .push((error.to_owned(), hint.map(str::to_owned)));
        }
    }

    /// What a worker said of its end.
    pub(super) fn why_it_ended(&self, worker: WorkerId) -> Option<&str> {
        let name = format!("{worker}: ");
        let mut failed = self.failed.iter();
        failed.find_map(|(error, _)| error.strip_prefix(name.as_str()))
    }

    fn died(
        &mut self,
        at: f64,
        worker: WorkerId,
        code: Option<i32>,
        signal: Option<i32>,
        oom_killed: Option<bool>,
    ) {
        // Its code says nothing to somebody who knows why it ended.
        let how = match self.why_it_ended(worker) {
            Some(_) => "ended".to_owned(),
            None => exit_text(code, signal, oom_killed),
        };
        let story = self.workers.entry(worker).or_default();
        story.died = Some(format!("{worker} {how} at {at:.1} s"));
        story.died_at = Some(at);
        // What a dead worker held is gone, though nobody is left to say so.
        if let Some((_, last)) = story.progress.last().cloned() {
            let gone = Counters {
                established: ConnCount::ZERO,
                in_flight: ConnCount::ZERO,
                ..last
            };
            self.progress(at, worker, &gone, None);
        }
        if worker.is_server() {
            self.forget_what_its_end_took(at);
        }
    }

    /// Sockets of a server go before its process does, and a look in between says nothing of how far it had accepted.
    fn forget_what_its_end_took(&mut self, at: f64) {
        let known = &mut self.accepting;
        let recent = known.partition_point(|(when, _)| when + END_IS_SEEN_WITHIN < at);
        let states = known.iter().skip(recent.saturating_sub(1));
        let most = states.map(|(_, state)| state.accepted).max();
        while known.last().map(|(_, last)| last.accepted) < most {
            known.pop();
        }
    }

    fn clients_now(&self, what: impl Fn(&Counters) -> ConnCount) -> ConnCount {
        self.workers
            .iter()
            .filter(|(worker, _)| !worker.is_server())
            .filter_map(|(_, story)| story.progress.last())
            .map(|(_, counters)| what(counters))
            .sum()
    }

    /// Whether a worker ended though nobody had asked it to.
    pub(super) fn has_died(&self, worker: WorkerId) -> bool {
        let known = self.workers.get(&worker);
        known.is_some_and(|story| story.died.is_some())
    }

    /// How the server ended before connections were closed on purpose, where it did.
    pub(super) fn server_died(&self) -> Option<&str> {
        let server = self.workers.get(&WorkerId::SERVER)?;
        let early = server.died_at? <= self.drain_began();
        server.died.as_deref().filter(|_| early)
    }

    /// When a worker ended though nobody had asked it to.
    pub(super) fn death(&self, worker: WorkerId) -> Option<f64> {
        self.workers.get(&worker)?.died_at
    }

    /// Connections that the clients held at `at`.
    pub(super) fn held_at(&self, at: f64) -> ConnCount {
        let known = self.held.iter().rev().find(|(time, _)| *time <= at);
        ConnCount::new(known.map_or(0, |(_, held)| *held))
    }

    /// The largest number that the clients held at once.
    pub(super) fn peak(&self) -> ConnCount {
        ConnCount::new(self.held.iter().map(|(_, held)| *held).max().unwrap_or(0))
    }

    /// The counters of one worker, last heard of before `at`.
    pub(super) fn counters_at(&self, worker: WorkerId, at: f64) -> Option<&Counters> {
        let progress = &self.workers.get(&worker)?.progress;
        let last = progress.iter().rev().find(|(time, _)| *time <= at);
        last.map(|(_, counters)| counters)
    }

    /// The clients that were heard of.
    pub(super) fn clients(&self) -> impl Iterator<Item = WorkerId> {
        let workers = self.workers.keys().copied();
        workers.filter(|worker| !worker.is_server())
    }

    /// When a phase began.
    pub(super) fn began(&self, phase: Phase) -> Option<f64> {
        let found = self.began.iter().find(|(began, _)| *began == phase);
        found.map(|(_, at)| *at)
    }

    /// How long a phase took, when it ended.
    pub(super) fn length(&self, phase: Phase) -> Option<f64> {
        let found = self.phases.iter().find(|time| time.phase == phase);
        found.map(|time| time.seconds)
    }

    /// When connections began to be closed on purpose, or the end of what is known.
    pub(super) fn drain_began(&self) -> f64 {
        self.began(Phase::Drain)
            .or_else(|| self.began(Phase::Teardown))
            .unwrap_or(self.last_seconds)
    }

    /// The span of the ramp, from the first connection to the last.
    pub(super) fn ramp(&self) -> Option<(f64, f64)> {
        let mark = |mark| self.marks.get(&mark).map(|(at, _)| *at);
        let from = mark(Mark::RampStart).or_else(|| self.began(Phase::Ramp))?;
        let until = mark(Mark::RampEnd)
            .or_else(|| Some(from + self.length(Phase::Ramp)?))
            .unwrap_or_else(|| self.drain_began());
        Some((from, until))
    }

    /// The samples of the ramp: from the one taken for its beginning to the one taken for its end.
    pub(super) fn during_ramp<'a>(&self, samples: &'a [Sample]) -> &'a [Sample] {
        let Some((from, until)) = self.ramp() else {
            return &[];
        };
        let marked = |mark| self.marks.get(&mark).map(|(_, number)| *number);
        let after = |sample: &Sample| match marked(Mark::RampStart) {
            Some(first) => sample.number >= first,
            None => sample.at_seconds >= from,
        };
        let before = |sample: &Sample| match marked(Mark::RampEnd) {
            Some(last) => sample.number <= last,
            None => sample.at_seconds <= until,
        };
        let first = samples.iter().position(after).unwrap_or(samples.len());
        let count = samples[first..]
            .iter()
            .take_while(|sample| before(sample))
            .count();
        &samples[first..first + count]
    }

    /// Sockets of one end by state, over all hosts, with the seconds that counting took; nothing where it was not counted.
    pub(super) fn counted(&self, role: Role) -> Option<(StateCounts, f64)> {
        let mut all = StateCounts::default();
        let mut took = 0.0;
        let mut any = false;
        for (states, seconds) in self
            .counted
            .iter()
            .filter(|((of, _), _)| *of == role)
            .map(|(_, counted)| counted)
        {
            any = true;
            took += seconds;
            for (state, count) in &states.0 {
                *all.0.entry(*state).or_default() += count;
            }
        }
        any.then_some((all, took))
    }
}
