//! The conductor's picture of each worker: what it was told, what it has said, whether it is alive.

use crate::control::{Command, Event};
use crate::domain::{ConnCount, Counters, VerifyReport, WorkerId, WorkerSpec};
use crate::provision::{ExitReport, WorkerHandle};

/// One worker under the conductor's eyes.
pub(super) struct Worker {
    pub(super) id: WorkerId,
    pub(super) target: ConnCount,
    handle: Box<dyn WorkerHandle>,
    pub(super) prepared: bool,
    pub(super) ready: bool,
    pub(super) ramp_done: bool,
    pub(super) counters: Counters,
    pub(super) verified: Option<VerifyReport>,
    pub(super) drained: bool,
    pub(super) exited: Option<ExitReport>,
    /// Whether the runner has asked it to end: from then on its end is no loss.
    pub(super) dismissed: bool,
    pub(super) fatal: Option<(String, Option<String>)>,
}

impl Worker {
    pub(super) fn new(id: WorkerId, spec: &WorkerSpec, handle: Box<dyn WorkerHandle>) -> Self {
        Self {
            id,
            target: match spec {
                WorkerSpec::Client(client) => client.connections(),
                WorkerSpec::Server(server) => server.capacity,
            },
            handle,
            prepared: false,
            ready: false,
            ramp_done: false,
            counters: Counters::default(),
            verified: None,
            drained: false,
            exited: None,
            dismissed: false,
            fatal: None,
        }
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

    pub(super) fn dismiss(&mut self) {
        self.dismissed = true;
        self.send(&Command::Exit);
    }

    pub(super) fn kill(&mut self) {
        self.dismissed = true;
        if self.alive() {
            self.handle.kill();
        }
    }

    /// Takes in what the worker said.
    pub(super) fn hear(&mut self, event: &Event) {
        match event {
            Event::Prepared { .. } => self.prepared = true,
            Event::Ready { .. } => self.ready = true,
            Event::Progress { counters, .. } => self.counters = counters.clone(),
            Event::RampDone { counters, .. } => {
                self.counters = counters.clone();
                self.ramp_done = true;
            }
            Event::Verified { report } => self.verified = Some(report.clone()),
            Event::Drained { .. } => self.drained = true,
            Event::Fatal { error, hint } => self.fatal = Some((error.clone(), hint.clone())),
            Event::ConnectFailed { .. } | Event::Lost { .. } | Event::Warning { .. } => {}
        }
    }
}
