//! A program that was started for a run, with its whole process tree: ended with it, whatever became of its processes.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::output::Output;
use super::user::User;
use super::{Outbox, SubjectError};
use crate::control::{RUN_VARIABLE, RUNNER_VARIABLE, SUBJECT_VARIABLE, USERS_VARIABLES};
use crate::domain::{CommandSubject, TreeRoot, signal_text};
use crate::kernel::procfs::Procfs;
use crate::kernel::sys::process::{self, Confinement, Ended, ProcessHandle};

/// How long the program may take to end by itself once it is asked to (SIGTERM).
const GRACE: Duration = Duration::from_secs(2);

/// How long its processes may take to be gone once they are killed.
const LONGEST_EXIT: Duration = Duration::from_secs(30);

/// Time between two looks at what is left.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Where programs are where the environment does not say so.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program that runs, or has run.
#[derive(Debug)]
pub(super) struct Program {
    name: String,
    pid: u32,
    output: Output,
    ended: Option<Ended>,
}

impl Program {
    /// Starts it. The calling thread has to live as long as the program: the kernel ends the one with the other.
    pub(super) fn start(subject: &CommandSubject, outbox: &Outbox) -> Result<Self, SubjectError> {
        let Some((name, arguments)) = subject.words.split_first() else {
            return Err(SubjectError::new("the command has no words"));
        };
        let mut command = Command::new(name);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", USUAL_PATH)
            .envs(kept(USERS_VARIABLES))
            .envs(&subject.options.environment)
            .envs(kept([RUN_VARIABLE, RUNNER_VARIABLE]))
            .env(SUBJECT_VARIABLE, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(folder) = &subject.options.working_folder {
            if !Path::new(folder).is_dir() {
                return Err(SubjectError::new(format!(
                    "the server's working folder {folder} is not there"
                )));
            }
            command.current_dir(folder);
        }
        if let Some(name) = &subject.options.user {
            let user = User::find(name)?;
            command.uid(user.uid).gid(user.gid).env("HOME", user.home);
        }
        let confinement = Confinement {
            nofile: subject.options.nofile,
            groups: groups(&subject.groups)?,
        };
        process::confine(&mut command, confinement);
        let mut child = command.spawn().map_err(|error| {
            let failed = SubjectError::new(format!("cannot start {name}: {error}"));
            match error.kind() {
                std::io::ErrorKind::NotFound => {
                    failed.with_hint("give its path, or set PATH in server.environment")
                }
                std::io::ErrorKind::PermissionDenied => failed.with_hint(
                    "the file has to be executable, its folder readable for the user that runs it, and a limit no higher than one's own",
                ),
                _ => failed,
            }
        })?;
        let output = Output::read(child.stdout.take(), child.stderr.take(), outbox)
            .map_err(|error| SubjectError::new(format!("cannot read what {name} writes: {error}")));
        // Waiting is done for all descendants at once.
        let pid = child.id();
        let mut program = Self {
            name: name.clone(),
            pid,
            output: Output::none(),
            ended: None,
        };
        program.output = output?;
        Ok(program)
    }

    /// How it has ended, once none of its processes is left; nothing while one runs.
    pub(super) fn end(&mut self) -> Option<String> {
        self.reap();
        let ended = self.ended?;
        // A program that goes into the background ends well, and leaves a process behind.
        if !processes().is_empty() {
            return None;
        }
        self.output.finish();
        Some(self.how(ended))
    }

    fn how(&self, ended: Ended) -> String {
        let name = &self.name;
        match (ended.code, ended.signal) {
            (Some(code), _) => format!("{name} exited with code {code}"),
            (None, Some(signal)) => format!("{name} was ended by {}", signal_text(signal)),
            (None, None) => format!("{name} ended"),
        }
    }

    /// How the program itself has ended, where processes of it are left.
    pub(super) fn left_processes(&self) -> Option<String> {
        let ended = self.ended?;
        (!processes().is_empty()).then(|| self.how(ended))
    }

    pub(super) fn last_lines(&self) -> Vec<String> {
        self.output.last_lines()
    }

    /// Every descendant is waited for, adopted ones too.
    fn reap(&mut self) {
        while let Some(ended) = process::reap() {
            if ended.pid == self.pid {
                self.ended = Some(ended);
            }
        }
    }

    /// Ends the whole tree: asks first, because a program may have files of its own to put away.
    fn end_all(&mut self) {
        for pid in processes() {
            if let Ok(handle) = ProcessHandle::open(pid) {
                // A process that is gone needs no signal, and one that cannot be asked is killed below.
                let _ = handle.terminate();
            }
        }
        self.wait_until_gone(Instant::now() + GRACE);
        let deadline = Instant::now() + LONGEST_EXIT;
        let mut killed = BTreeSet::new();
        // Again and again, because a process may start others until it is killed.
        loop {
            let left = processes();
            if left.is_empty() || Instant::now() >= deadline {
                break;
            }
            for pid in left {
                if killed.insert(pid)
                    && let Ok(handle) = ProcessHandle::open(pid)
                {
                    let _ = handle.kill();
                }
            }
            self.wait_until_gone(Instant::now() + LOOK_EVERY);
        }
        self.reap();
    }

    fn wait_until_gone(&mut self, deadline: Instant) {
        loop {
            self.reap();
            if processes().is_empty() || Instant::now() >= deadline {
                return;
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// The descendants of this process.
fn processes() -> Vec<u32> {
    let rows = Procfs::new("/").tree(TreeRoot::Below(std::process::id()));
    rows.map_or_else(
        |_| Vec::new(),
        |rows| rows.iter().map(|row| row.pid).collect(),
    )
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end_all();
    }
}

fn kept<const N: usize>(
    names: [&'static str; N],
) -> impl Iterator<Item = (&'static str, std::ffi::OsString)> {
    names
        .into_iter()
        .filter_map(|name| std::env::var_os(name).map(|value| (name, value)))
}

fn groups(paths: &[String]) -> Result<Vec<std::fs::File>, SubjectError> {
    paths
        .iter()
        .map(|path| {
            OpenOptions::new().write(true).open(path).map_err(|error| {
                SubjectError::new(format!("cannot put the server into {path}: {error}"))
            })
        })
        .collect()
}
