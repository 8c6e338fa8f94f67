//! The loopback of a network namespace that somebody else has made: a process's own. Nothing is made in it, nothing of it
//! is changed. Workers run in it as children of the runner.

use std::path::PathBuf;
use std::sync::Arc;

use crate::domain::{HostIndex, PlannedWorker, RunId, SettingRecord};
use crate::kernel::sys::netns::NetworkNamespace;

use super::child::{WorkerChild, WorkerProgram, end_all};
use super::inside::inside;
use super::{Inbox, ProvisionError, Testbed, WorkerHandle};

/// Workers in the network namespace of a process.
#[derive(Debug)]
pub(super) struct Joined {
    run: RunId,
    program: WorkerProgram,
    pid: u32,
    /// Absent where it is the runner's own: entering it would need a privilege for nothing.
    namespace: Option<NetworkNamespace>,
    children: Vec<Arc<WorkerChild>>,
}

impl Joined {
    pub(super) fn up(
        pid: u32,
        run: &RunId,
        program: WorkerProgram,
    ) -> Result<Self, ProvisionError> {
        Ok(Self {
            run: run.clone(),
            program,
            pid,
            namespace: other_namespace(pid)?,
            children: Vec::new(),
        })
    }

    /// Does `work` on a thread of its own inside.
    fn inside<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Result<R, ProvisionError> {
        let whose = format!("process {}", self.pid);
        inside(self.namespace.as_ref(), &whose, work)
    }
}

/// The network namespace of a process, where it is not the caller's own.
fn other_namespace(pid: u32) -> Result<Option<NetworkNamespace>, ProvisionError> {
    let failed = |error: std::io::Error| {
        let kind = error.kind();
        let failed = ProvisionError::new(
            format!("find the network namespace of process {pid}"),
            error,
        );
        match kind {
            std::io::ErrorKind::NotFound => failed.with_hint("the process is gone"),
            std::io::ErrorKind::PermissionDenied => {
                failed.with_hint("the process of another user can be measured as root only")
            }
            _ => failed,
        }
    };
    let namespace = NetworkNamespace::of_process(pid).map_err(failed)?;
    let own = NetworkNamespace::current()
        .and_then(|own| own.inode())
        .map_err(failed)?;
    Ok((namespace.inode().map_err(failed)? != own).then_some(namespace))
}

impl Testbed for Joined {
    fn settings(&self) -> Vec<SettingRecord> {
        Vec::new()
    }

    fn spawn(
        &mut self,
        worker: &PlannedWorker,
        inbox: Inbox,
    ) -> Result<Box<dyn WorkerHandle>, ProvisionError> {
        let child = self.inside(|| self.program.start(worker, &self.run))??;
        let (watched, handle) = WorkerChild::watch(worker.id, child, inbox)?;
        self.children.push(watched);
        Ok(Box::new(handle))
    }

    fn enter(&self, _: HostIndex, work: Box<dyn FnOnce() + Send>) -> Result<(), ProvisionError> {
        self.inside(work)
    }

    fn proc_net(&self, _: HostIndex) -> Option<PathBuf> {
        Some(match self.namespace {
            Some(_) => PathBuf::from(format!("/proc/{}/net", self.pid)),
            None => PathBuf::from("/proc/self/net"),
        })
    }

    fn down(self: Box<Self>) -> Vec<ProvisionError> {
        end_all(&self.children)
    }
}

impl Drop for Joined {
    fn drop(&mut self) {
        for child in &self.children {
            // It fails only when the child is gone.
            let _ = child.kill();
        }
    }
}
