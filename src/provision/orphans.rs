//! Workers whose runner is gone. They end by themselves when their stdin does, so there are none; one that was stopped, or
//! that the kernel is still taking apart, is found here by what its environment says.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::control::{RUN_VARIABLE, RUNNER_VARIABLE, SUBJECT_VARIABLE};
use crate::domain::RunId;
use crate::kernel::identity::{self, Life, ProcessIdentity};
use crate::kernel::process::Environment;
use crate::kernel::sys::process::ProcessHandle;
use crate::kernel::sys::userns;

use super::{ProvisionError, Unsure};

/// A worker without a runner.
#[derive(Debug)]
pub struct Orphan {
    /// Its process.
    pub pid: u32,
    /// The run that it belonged to.
    pub run: RunId,
    process: ProcessHandle,
}

impl Orphan {
    /// Ends it, and waits until its last thread is gone, and with it every socket that a thread held.
    ///
    /// # Errors
    /// When it stays.
    pub fn end(&self) -> Result<(), ProvisionError> {
        let what = || format!("end process {} of run {}", self.pid, self.run);
        let failed = |error| ProvisionError::new(what(), error);
        self.process.kill().map_err(failed)?;
        let ended = self
            .process
            .wait_until(Instant::now() + LONGEST_EXIT)
            .map_err(failed)?;
        if ended {
            return Ok(());
        }
        let why = format!(
            "it is still there {} s after SIGKILL",
            LONGEST_EXIT.as_secs()
        );
        Err(ProvisionError::new(what(), why)
            .with_hint("a process with many connections dies slowly: try again in a minute"))
    }
}

/// Workers of the calling user in this process namespace, as far as their runners are not alive.
#[derive(Debug, Default)]
pub struct Orphans {
    /// Their runners are gone.
    pub gone: Vec<Orphan>,
    /// It cannot be told whether their runners are alive.
    pub unsure: Vec<Unsure>,
}

/// The orphans of the calling user in this process namespace, containers left out: those are found by their labels.
///
/// # Errors
/// When `/proc` cannot be read, or is not that of this process namespace.
pub fn orphans() -> Result<Orphans, ProvisionError> {
    let failed = |why: &dyn std::fmt::Display| {
        ProvisionError::new("look for orphans in /proc", why)
            .with_hint("mount /proc for this process namespace: unshare --mount-proc")
    };
    // Its numbers would be taken for those of other processes.
    identity::proc_is_ours().map_err(|why| failed(&why))?;
    find(Path::new("/proc")).map_err(|error| failed(&error))
}

fn find(proc: &Path) -> io::Result<Orphans> {
    let own = Seen::of(&proc.join("self"))?;
    let mut found = Orphans::default();
    for entry in fs::read_dir(proc)? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // The handle comes first: whatever is read afterwards is either of this process or of none.
        let Ok(process) = ProcessHandle::open(pid) else {
            continue;
        };
        let Some((run, life)) = worker(proc, pid, &own) else {
            continue;
        };
        match life {
            Life::Alive => {}
            Life::Gone => found.gone.push(Orphan { pid, run, process }),
            Life::GoneWithItsBoot => found.unsure.push(Unsure {
                what: format!("process {pid} of run {run}"),
                why: "its runner is of another boot, and it is not".to_owned(),
            }),
            Life::Unknown(why) => found.unsure.push(Unsure {
                what: format!("process {pid} of run {run}"),
                why,
            }),
        }
    }
    Ok(found)
}

/// The run that a process belongs to, if it is a worker of ours, and whether its runner is alive. What may not be looked
/// at is not ours.
fn worker(proc: &Path, pid: u32, own: &Seen) -> Option<(RunId, Life)> {
    let seen = Seen::of(&proc.join(pid.to_string())).ok()?;
    let (run, runner) = (seen.run?, seen.runner?);
    let user = userns::effective_uid();
    // A server that a run has started is any program, and runs as another user where root has said so.
    let is_ours = seen.pid_namespace == own.pid_namespace
        && if seen.subject {
            seen.uid == user || user == 0
        } else {
            seen.uid == user && seen.program == own.program
        };
    is_ours.then(|| {
        let life = ProcessIdentity::parse(&runner).map_or_else(
            || {
                Life::Unknown(format!(
                    "what it says of its runner is not understood: {runner:?}"
                ))
            },
            |runner| runner.life(),
        );
        (run, life)
    })
}

/// A process as far as it matters here.
struct Seen {
    uid: u32,
    /// The name of the file that it runs; not the file, because a new build is another one.
    program: PathBuf,
    pid_namespace: PathBuf,
    run: Option<RunId>,
    /// Whether it is of a server that a run has started and that is not the lab's own.
    subject: bool,
    /// What it says of its runner.
    runner: Option<String>,
}

impl Seen {
    fn of(folder: &Path) -> io::Result<Self> {
        let program = folder.join("exe").read_link()?;
        let environment = Environment::of(folder)?;
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            uid: folder.metadata()?.uid(),
            program: PathBuf::from(name.trim_end_matches(REPLACED)),
            pid_namespace: folder.join("ns/pid").read_link()?,
            subject: environment.variable(SUBJECT_VARIABLE).is_some(),
            run: environment.variable(RUN_VARIABLE).and_then(RunId::parse),
            runner: environment.variable(RUNNER_VARIABLE).map(str::to_owned),
        })
    }
}

/// What the kernel adds to the name of a file that was removed while it runs.
const REPLACED: &str = " (deleted)";

/// As long as a place waits for its workers.
const LONGEST_EXIT: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_no_orphan() {
        let pids: Vec<u32> = orphans()
            .expect("looks")
            .gone
            .iter()
            .map(|one| one.pid)
            .collect();
        assert!(!pids.contains(&std::process::id()));
    }
}
