//! The host's own loopback: nothing is made, no setting is changed, sources in 127/8 are there already. Connection
//! tracking may be in the path; that is the plan's to say.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use crate::domain::{HostIndex, PlannedWorker, RunId, SettingRecord};
use crate::host;
use crate::kernel::sysctl::Sysctl;
use crate::plan::Plan;

use super::child::{WorkerChild, WorkerProgram, end_all};
use super::{Inbox, ProvisionError, Testbed, WorkerHandle};

/// Workers as plain children of the runner, in its own network namespace.
#[derive(Debug)]
pub(super) struct HostLoopback {
    run: RunId,
    program: WorkerProgram,
    settings: Vec<SettingRecord>,
    children: Vec<Arc<WorkerChild>>,
}

impl HostLoopback {
    pub(super) fn new(plan: &Plan, run: &RunId, program: WorkerProgram) -> Self {
        Self {
            run: run.clone(),
            program,
            settings: host::look_at_all(&plan.settings.namespace, None, &Sysctl::system()),
            children: Vec::new(),
        }
    }
}

impl Testbed for HostLoopback {
    fn settings(&self) -> Vec<SettingRecord> {
        self.settings.clone()
    }

    fn spawn(
        &mut self,
        worker: &PlannedWorker,
        inbox: Inbox,
    ) -> Result<Box<dyn WorkerHandle>, ProvisionError> {
        let child = self.program.start(worker, &self.run)?;
        let (watched, handle) = WorkerChild::watch(worker.id, child, inbox)?;
        self.children.push(watched);
        Ok(Box::new(handle))
    }

    fn enter(&self, host: HostIndex, work: Box<dyn FnOnce() + Send>) -> Result<(), ProvisionError> {
        thread::spawn(work).join().map_err(|_| {
            ProvisionError::new(format!("work on host {}", host.name()), "the work panicked")
        })
    }

    fn proc_net(&self, _host: HostIndex) -> Option<PathBuf> {
        Some(PathBuf::from("/proc/self/net"))
    }

    fn down(self: Box<Self>) -> Vec<ProvisionError> {
        end_all(&self.children)
    }
}

impl Drop for HostLoopback {
    fn drop(&mut self) {
        for child in &self.children {
            // It fails only when the child is gone.
            let _ = child.kill();
        }
    }
}
