//! The conductor's picture of each worker: what it was told, what it has said, whether it is alive.

use std::collections::BTreeSet;

use crate::control::{Command, Event};
use crate::domain::{
    AcceptState, ConnCount, Counters, SubjectFacts, VerifyReport, WorkerId, WorkerSpec, exit_text,
};
use crate::provision::{ExitReport, Remote, WorkerHandle};

/// What a worker has reached. None is ever taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Milestone {
    /// It has answered the spec.
    Ready,
    /// Its ramp is over.
    RampDone,
    /// It has looked for losses a last time.
    LossesTold,
    /// Its connections are closed.
    Drained,
    /// The runner has asked it to end: from then on its end is no loss.
    Dismissed,
}

/// One worker under the conductor's eyes.
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) target: ConnCount,
    /// Whether it is a client whose connections say something as soon as they are open.
    pub(super) speaks: bool,
    handle: Box<dyn WorkerHandle>,
    reached: BTreeSet<Milestone>,
    pub(super) counters: Counters,
    /// How the first exchange with the server went, where it was asked for one.
    pub(super) tried: Option<Result<(), String>>,
    pub(super) verified: Option<VerifyReport>,
    /// Of a server that is not the lab's own: what is known of it.
    pub(super) subject: Option<Box<SubjectFacts>>,
    /// Of such a server: how far it has accepted, and how often it was told.
    pub(super) accepting: Option<AcceptState>,
    pub(super) looks: u64,
    pub(super) exited: Option<ExitReport>,
    pub(super) fatal: Option<(String, Option<String>)>,
    /// Its panic, as it told it before it ended.
    pub(super) panicked: Option<String>,
}

impl Worker {
    pub(super) fn new(id: WorkerId, spec: &WorkerSpec, handle: Box<dyn WorkerHandle>) -> Self {
        Self {
            id,
            target: spec.connections(),
            speaks: matches!(spec, WorkerSpec::Client(client) if client.opening.is_some()),
            handle,
            reached: BTreeSet::new(),
            counters: Counters::default(),
            tried: None,
            verified: None,
            subject: None,
            accepting: None,
            looks: 0,
            exited: None,
            fatal: None,
            panicked: None,
        }
    }

    pub(super) fn has(&self, milestone: Milestone) -> bool {
        self.reached.contains(&milestone)
    }

    /// Whether it has reached this, or never will because it is gone.
    pub(super) fn has_or_is_gone(&self, milestone: Milestone) -> bool {
        self.has(milestone) || !self.alive()
    }

    pub(super) const fn alive(&self) -> bool {
        self.exited.is_none()
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.handle.pid()
    }

    pub(super) fn cgroup(&self) -> Option<String> {
        self.handle.cgroup()
    }

    /// Sends a command. A worker that does not take it is about to be reported as gone, which says more than the broken
    /// pipe would.
    pub(super) fn send(&mut self, command: &Command) {
        if self.alive() {
            let _ = self.handle.send(command);
        }
    }

    /// Lets another thread send it commands.
    pub(super) fn remote(&self) -> Remote {
        self.handle.remote()
    }

    pub(super) fn dismiss(&mut self) {
        self.reached.insert(Milestone::Dismissed);
        self.send(&Command::Exit);
    }

    pub(super) fn kill(&mut self) {
        self.reached.insert(Milestone::Dismissed);
        if self.alive() {
            self.handle.kill();
        }
    }

    /// Takes in what the worker said.
    pub(super) fn hear(&mut self, event: &Event) {
        match event {
            Event::Ready { .. } => {
                self.reached.insert(Milestone::Ready);
            }
            Event::Progress { counters, .. } => self.counters = counters.clone(),
            Event::RampDone { counters, .. } => {
                self.counters = counters.clone();
                self.reached.insert(Milestone::RampDone);
            }
            Event::Tried { failure } => self.tried = Some(failure.clone().map_or(Ok(()), Err)),
            Event::Performed { report } => self.verified = Some(report.clone()),
            Event::LossesTold { counters } => {
                self.counters = counters.clone();
                self.reached.insert(Milestone::LossesTold);
            }
            Event::Drained { .. } => {
                self.reached.insert(Milestone::Drained);
            }
            Event::Fatal { error, hint } => self.fatal = Some((error.clone(), hint.clone())),
            Event::Subject { facts } => self.subject = Some(facts.clone()),
            Event::Accepting { state } => {
                self.accepting = Some(state.clone());
                self.looks += 1;
            }
            Event::Prepared { .. }
            | Event::ConnectFailed { .. }
            | Event::Greeted { .. }
            | Event::Lost { .. }
            | Event::Output { .. }
            | Event::Queue { .. }
            | Event::Warning { .. } => {}
        }
    }
}

pub(super) fn describe_exit(
    who: WorkerId,
    report: &ExitReport,
    fatal: Option<&str>,
    panicked: Option<&str>,
) -> String {
    if let Some(panicked) = panicked {
        return format!("{who} panicked: {panicked}");
    }
    // A worker that says why it ends says more than its code, which could be taken for that of the server it looks after.
    if let Some(error) = fatal {
        return format!("{who}: {error}");
    }
    let how = exit_text(report.code, report.signal, report.oom_killed);
    format!("{who} {how}")
}
