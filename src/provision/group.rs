//! The memory control group of a server that a run starts: made for it, removed after it. What the server uses is charged
//! to it, and its limit binds the server and nothing of the lab.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::control::Command;
use crate::domain::{Bytes, HostIndex, PlannedWorker, RunId, SettingRecord};
use crate::host::Tuning;
use crate::kernel::cgroup::{CgroupVersion, MemoryHierarchy};
use crate::kernel::sys::process::ProcessHandle;
use crate::kernel::sys::userns;

use super::{Inbox, ProvisionError, Remote, Testbed, WorkerHandle};

/// How long a group may have processes still, once they were ended.
const LONGEST_END: Duration = Duration::from_secs(5);

/// Time between two tries to remove a group.
const TRY_EVERY: Duration = Duration::from_millis(20);

/// What a journal calls it.
pub(super) const KIND: &str = "cgroup";

/// The file of a group that takes processes and lists them.
const PROCESSES: &str = "cgroup.procs";

/// What the name of such a group begins with; the name of the run follows.
const PREFIX: &str = "c1m-";

/// A group.
#[derive(Debug)]
struct Group {
    /// Its path below the mount of the controller.
    name: String,
    directory: PathBuf,
}

impl Group {
    /// Makes it, below the mount point.
    fn make(
        run: &RunId,
        memory: Option<Bytes>,
        tuning: &mut Tuning,
    ) -> Result<Self, ProvisionError> {
        let failed = |error: &dyn std::fmt::Display| {
            ProvisionError::new("make a memory control group for the server", error)
        };
        let hierarchy = MemoryHierarchy::find(Path::new("/")).map_err(|error| failed(&error))?;
        let name = format!("/{PREFIX}{run}");
        let directory = hierarchy.directory(&name);
        tuning
            .note_object(KIND, &directory.display().to_string())
            .map_err(|error| failed(&error))?;
        fs::create_dir(&directory).map_err(|error| failed(&error))?;
        let group = Self { name, directory };
        if let Some(memory) = memory {
            group.bound(hierarchy.version(), memory)?;
        }
        // In version 1 buffers are charged only after this; without it the group still tells the rest.
        let _ = hierarchy.enable_socket_accounting(&group.name);
        Ok(group)
    }

    fn bound(&self, version: CgroupVersion, memory: Bytes) -> Result<(), ProvisionError> {
        let (limit, swap, of_swap) = match version {
            CgroupVersion::V1 => (
                "memory.limit_in_bytes",
                "memory.memsw.limit_in_bytes",
                memory.bytes(),
            ),
            CgroupVersion::V2 => ("memory.max", "memory.swap.max", 0),
        };
        let path = self.directory.join(limit);
        fs::write(&path, memory.bytes().to_string()).map_err(|error| {
            ProvisionError::new(format!("write {memory} to {}", path.display()), error).with_hint(
                "the memory controller has to be enabled: cgroup.subtree_control of the root group",
            )
        })?;
        // A kernel that does not account swap has no such file, and then nothing of the group is swapped by its limit.
        let _ = fs::write(self.directory.join(swap), of_swap.to_string());
        Ok(())
    }

    /// The file that takes processes.
    fn processes(&self) -> String {
        self.directory.join(PROCESSES).display().to_string()
    }

    /// Ends the processes in it: they are those of the server, and nobody looks after it any more.
    fn end_processes(&self) {
        let listed = || -> BTreeSet<u32> {
            let text = fs::read_to_string(self.directory.join(PROCESSES)).unwrap_or_default();
            text.lines().filter_map(|line| line.parse().ok()).collect()
        };
        let open = |pid| Some((pid, ProcessHandle::open(pid).ok()?));
        let opened: Vec<(u32, ProcessHandle)> = listed().into_iter().filter_map(open).collect();
        // A number that is listed still is of the process that was opened, and not of a later one elsewhere.
        let still = listed();
        for (_, process) in opened.iter().filter(|(pid, _)| still.contains(pid)) {
            // One that is gone meanwhile needs no signal; another's cannot be in this group.
            let _ = process.kill();
        }
    }

    /// Removes it, with the processes in it.
    fn remove(&self) -> Result<(), ProvisionError> {
        let deadline = Instant::now() + LONGEST_END;
        loop {
            match fs::remove_dir(&self.directory) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                Err(_) if Instant::now() < deadline => {
                    // Again and again, because a process may start others until it is killed.
                    self.end_processes();
                    thread::sleep(TRY_EVERY);
                }
                Err(error) => {
                    let what = format!("remove control group {}", self.directory.display());
                    return Err(ProvisionError::new(what, error).with_hint("c1m clean"));
                }
            }
        }
    }
}

/// Removes the group that a journal names, with the processes in it: they are those of a server that a run has started, and
/// the run is over. That it is gone already is no error.
///
/// # Errors
/// When it cannot be removed.
pub(super) fn remove(directory: &str) -> Result<(), ProvisionError> {
    let directory = PathBuf::from(directory);
    let is_ours = directory
        .file_name()
        .and_then(|name| name.to_str()?.strip_prefix(PREFIX).and_then(RunId::parse))
        .is_some();
    if !is_ours {
        let what = format!("remove control group {}", directory.display());
        return Err(ProvisionError::new(what, "its name is not one of a run"));
    }
    let group = Group {
        name: String::new(),
        directory,
    };
    group.remove()
}

/// A place with a control group for its server.
pub(super) struct WithGroup {
    inner: Option<Box<dyn Testbed>>,
    group: Group,
}

impl WithGroup {
    /// Around a place that is up. Where no group can be made and no limit is asked for, the place as it is.
    pub(super) fn around(
        inner: Box<dyn Testbed>,
        run: &RunId,
        memory: Option<Bytes>,
        tuning: &mut Tuning,
    ) -> Result<Box<dyn Testbed>, ProvisionError> {
        if userns::outer_uid() != 0 {
            return match memory {
                None => Ok(inner),
                Some(_) => Err(
                    ProvisionError::new("bound the server's memory", "that needs root")
                        .with_hint("run it with sudo, or leave server.memory out"),
                ),
            };
        }
        match Group::make(run, memory, tuning) {
            Ok(group) => Ok(Box::new(Self {
                inner: Some(inner),
                group,
            })),
            Err(error) if memory.is_some() => Err(error.with_hint(
                "a limit on memory needs root, and control groups that may be written; leave server.memory out",
            )),
            Err(error) => {
                tracing::info!("{error}");
                Ok(inner)
            }
        }
    }

    fn inner(&self) -> Result<&dyn Testbed, ProvisionError> {
        self.inner
            .as_deref()
            .ok_or_else(|| ProvisionError::new("use the place", "it is unmade"))
    }
}

impl Testbed for WithGroup {
    fn settings(&self) -> Vec<SettingRecord> {
        self.inner().map(Testbed::settings).unwrap_or_default()
    }

    fn spawn(
        &mut self,
        worker: &PlannedWorker,
        inbox: Inbox,
    ) -> Result<Box<dyn WorkerHandle>, ProvisionError> {
        let Some(inner) = self.inner.as_mut() else {
            return Err(ProvisionError::new("use the place", "it is unmade"));
        };
        let handle = inner.spawn(worker, inbox)?;
        if worker.id.is_server() {
            return Ok(Box::new(InGroup {
                handle,
                group: self.group.name.clone(),
            }));
        }
        Ok(handle)
    }

    fn enter(&self, host: HostIndex, work: Box<dyn FnOnce() + Send>) -> Result<(), ProvisionError> {
        self.inner()?.enter(host, work)
    }

    fn container_pid(&self) -> Option<u32> {
        self.inner().ok()?.container_pid()
    }

    fn server_groups(&self) -> Vec<String> {
        vec![self.group.processes()]
    }

    fn proc_net(&self, host: HostIndex) -> Option<PathBuf> {
        self.inner().ok()?.proc_net(host)
    }

    fn down(mut self: Box<Self>) -> Vec<ProvisionError> {
        // The worker ends the server. Where it was killed, what is left of it would keep the namespace of the place.
        self.group.end_processes();
        let mut errors = self.inner.take().map_or_else(Vec::new, Testbed::down);
        errors.extend(self.group.remove().err());
        errors
    }
}

impl Drop for WithGroup {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.take() {
            drop(inner);
            if let Err(error) = self.group.remove() {
                tracing::error!("{error}");
            }
        }
    }
}

/// The worker of a server that has a group of its own.
pub(super) struct InGroup {
    /// The worker.
    pub(super) handle: Box<dyn WorkerHandle>,
    /// The server's group, as a path below the controller's mount.
    pub(super) group: String,
}

impl WorkerHandle for InGroup {
    fn send(&mut self, command: &Command) -> std::io::Result<()> {
        self.handle.send(command)
    }

    fn remote(&self) -> Remote {
        self.handle.remote()
    }

    fn pid(&self) -> Option<u32> {
        self.handle.pid()
    }

    fn cgroup(&self) -> Option<String> {
        Some(self.group.clone())
    }

    fn kill(&mut self) {
        self.handle.kill();
    }
}
