//! Workers whose runner is gone. They end by themselves when their stdin does, so there are none; one that was stopped, or
//! that the kernel is still taking apart, is found here by what its environment says.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::domain::RunId;
use crate::kernel::sys::process::{self, ProcessHandle};
use crate::kernel::sys::userns;

use super::child::{RUNNER_VARIABLE, Runner};
use super::{ProvisionError, RUN_VARIABLE};

/// A worker without a runner.
#[derive(Debug)]
pub struct Orphan {
    /// Its process.
    pub pid: u32,
    /// The run that it belonged to.
    pub run: RunId,
    start_time: Option<u64>,
    process: ProcessHandle,
}

impl Orphan {
    /// Ends it, and waits until it is gone.
    ///
    /// # Errors
    /// When it stays.
    pub fn end(&self) -> Result<(), ProvisionError> {
        let what = || format!("end process {} of run {}", self.pid, self.run);
        self.process
            .kill()
            .map_err(|error| ProvisionError::new(what(), error))?;
        let deadline = Instant::now() + LONGEST_EXIT;
        while self.start_time.is_some() && process::start_time(self.pid) == self.start_time {
            if Instant::now() >= deadline {
                let why = format!(
                    "it is still there {} s after SIGKILL",
                    LONGEST_EXIT.as_secs()
                );
                return Err(ProvisionError::new(what(), why).with_hint(
                    "a process with many connections dies slowly: try again in a minute",
                ));
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

/// The orphans of the calling user on this machine, containers left out: those are found by their labels.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn orphans() -> Result<Vec<Orphan>, ProvisionError> {
    find(Path::new("/proc"))
        .map_err(|error| ProvisionError::new("look for orphans in /proc", error))
}

fn find(proc: &Path) -> io::Result<Vec<Orphan>> {
    let own = Seen::of(&proc.join("self"))?;
    let mut found = Vec::new();
    for entry in fs::read_dir(proc)? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // The handle comes first: whatever is read afterwards is either of this process or of none.
        let Ok(handle) = ProcessHandle::open(pid) else {
            continue;
        };
        let Some(run) = orphan_of(proc, pid, &own) else {
            continue;
        };
        found.push(Orphan {
            pid,
            run,
            start_time: process::start_time(pid),
            process: handle,
        });
    }
    Ok(found)
}

/// The run that a process belongs to, if it is an orphan of ours. What may not be looked at is not ours.
fn orphan_of(proc: &Path, pid: u32, own: &Seen) -> Option<RunId> {
    let seen = Seen::of(&proc.join(pid.to_string())).ok()?;
    let run = seen.run?;
    let is_ours = seen.uid == userns::effective_uid()
        && seen.pid_namespace == own.pid_namespace
        && seen.program == own.program;
    (is_ours && !seen.runner?.is_alive()).then_some(run)
}

/// A process as far as it matters here.
struct Seen {
    uid: u32,
    /// The name of the file that it runs; not the file, because a new build is another one.
    program: PathBuf,
    pid_namespace: PathBuf,
    run: Option<RunId>,
    runner: Option<Runner>,
}

impl Seen {
    fn of(folder: &Path) -> io::Result<Self> {
        let program = folder.join("exe").read_link()?;
        let environment = fs::read(folder.join("environ"))?;
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self {
            uid: folder.metadata()?.uid(),
            program: PathBuf::from(name.trim_end_matches(REPLACED)),
            pid_namespace: folder.join("ns/pid").read_link()?,
            run: variable(&environment, RUN_VARIABLE).and_then(RunId::parse),
            runner: variable(&environment, RUNNER_VARIABLE).and_then(Runner::parse),
        })
    }
}

/// The value of a variable in an environment as `/proc/PID/environ` has it: pairs, each ended by a zero.
fn variable<'a>(environment: &'a [u8], name: &str) -> Option<&'a str> {
    environment.split(|byte| *byte == 0).find_map(|pair| {
        let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
        std::str::from_utf8(value).ok()
    })
}

/// What the kernel adds to the name of a file that was removed while it runs.
const REPLACED: &str = " (deleted)";

/// As long as a place waits for its workers.
const LONGEST_EXIT: Duration = Duration::from_secs(60);

const LOOK_EVERY: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_read_from_the_environment() {
        let environment = b"PATH=/bin\0XC1M_RUN=1\0C1M_RUN=0123abcd\0C1M_RUNNER=7:9\0";
        assert_eq!(variable(environment, RUN_VARIABLE), Some("0123abcd"));
        assert_eq!(variable(environment, RUNNER_VARIABLE), Some("7:9"));
        assert_eq!(variable(environment, "C1M"), None);
        assert_eq!(variable(b"", RUN_VARIABLE), None);
    }

    #[test]
    fn this_process_is_no_orphan() {
        let pids: Vec<u32> = orphans()
            .expect("looks")
            .iter()
            .map(|one| one.pid)
            .collect();
        assert!(!pids.contains(&std::process::id()));
    }
}
