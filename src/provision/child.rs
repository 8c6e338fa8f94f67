//! A worker as a child process of our own binary: commands go to its stdin, events come from its stdout, lines of its
//! stderr are logs. It has a process group of its own, so that the terminal's Ctrl-C reaches the runner alone, and next
//! to nothing in its environment.

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::control::{
    CodecError, Command, Event, LineReader, RUN_VARIABLE, RUNNER_VARIABLE, USERS_VARIABLES,
    write_line,
};
use crate::domain::{PlannedWorker, RunId, WorkerId, WorkerSpec};
use crate::kernel::identity::ProcessIdentity;
use crate::kernel::sys::process::ProcessHandle;

use super::{ExitReport, FromWorker, HEARTBEAT, Inbox, ProvisionError, Remote, WorkerHandle};

/// The variable that chooses a worker's allocator (`src/kernel/sys/allocator.rs`). The runner hands its own on.
pub(crate) const ALLOCATOR_VARIABLE: &str = "C1M_ALLOCATOR";

/// What a worker executes.
#[derive(Debug, Clone)]
pub struct WorkerProgram {
    path: PathBuf,
    arguments: Vec<OsString>,
}

impl WorkerProgram {
    /// This very binary as `c1m worker`, even where its file was replaced since it began.
    #[must_use]
    pub fn this_binary() -> Self {
        Self {
            path: own_path(),
            arguments: vec!["worker".into()],
        }
    }

    /// Another program that speaks as a worker does.
    #[must_use]
    pub fn other(path: impl Into<PathBuf>, arguments: Vec<OsString>) -> Self {
        Self {
            path: path.into(),
            arguments,
        }
    }

    /// The file to put into an image; nothing where it is the running program, which knows its own libraries.
    pub(in crate::provision) fn other_file(&self) -> Option<&Path> {
        (self.path != own_path()).then_some(&*self.path)
    }

    /// Starts it in the namespaces of the calling thread.
    pub(super) fn start(
        &self,
        planned: &PlannedWorker,
        run: &RunId,
    ) -> Result<Child, ProvisionError> {
        let worker = planned.id;
        // A server that is not the lab's own gets some of the user's environment from its worker.
        let of_user: &[&str] = match planned.spec {
            WorkerSpec::Subject(_) => &USERS_VARIABLES,
            WorkerSpec::Client(_) | WorkerSpec::Server(_) => &[],
        };
        let mut command = std::process::Command::new(&self.path);
        command
            .args(&self.arguments)
            .env_clear()
            .env(RUN_VARIABLE, run.as_str())
            .env(RUNNER_VARIABLE, ProcessIdentity::current().to_string())
            .envs(
                KEPT_VARIABLES
                    .iter()
                    .chain(of_user)
                    .filter_map(|name| std::env::var_os(name).map(|value| (*name, value))),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        command.spawn().map_err(|error| {
            ProvisionError::new(format!("start {worker} ({})", self.path.display()), error)
        })
    }
}

/// The file that this process runs, under its own name where that still is the same file: tools show that name.
fn own_path() -> PathBuf {
    let link = Path::new("/proc/self/exe");
    let same = |path: &Path| -> io::Result<bool> {
        let (found, running) = (path.metadata()?, link.metadata()?);
        Ok((found.dev(), found.ino()) == (running.dev(), running.ino()))
    };
    match link.read_link() {
        Ok(path) if same(&path).unwrap_or(false) => path,
        _ => link.to_owned(),
    }
}

/// Asks another run of ours to end (SIGTERM), which then puts everything back.
///
/// # Errors
/// When the signal cannot be sent. That the process is gone is no error.
pub fn ask_to_end(pid: u32) -> io::Result<()> {
    match ProcessHandle::open(pid) {
        Ok(run) => run.terminate(),
        Err(_) => Ok(()),
    }
}

/// A child that is watched: what it says goes to the inbox, and how it ended is known to everybody who asks.
#[derive(Debug)]
pub(super) struct WorkerChild {
    worker: WorkerId,
    pid: u32,
    process: ProcessHandle,
    ended: Mutex<Option<ExitReport>>,
    woken: Condvar,
}

impl WorkerChild {
    /// Watches `child` from threads in the namespaces of the caller. Returns the child and the handle to send to it.
    pub(super) fn watch(
        worker: WorkerId,
        mut child: Child,
        inbox: Inbox,
    ) -> Result<(Arc<Self>, ChildHandle), ProvisionError> {
        let pid = child.id();
        let what = || format!("watch {worker} (process {pid})");
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            end_now(&mut child);
            return Err(ProvisionError::new(what(), "a pipe to it is missing"));
        };
        let process = match ProcessHandle::open(pid) {
            Ok(process) => process,
            Err(error) => {
                end_now(&mut child);
                return Err(ProvisionError::new(what(), error));
            }
        };
        let watched = Arc::new(Self {
            worker,
            pid,
            process,
            ended: Mutex::new(None),
            woken: Condvar::new(),
        });
        let (commands, to_write) = mpsc::channel();
        let handle = ChildHandle {
            child: Arc::clone(&watched),
            commands: Some(Arc::new(commands)),
        };
        if let Err(error) =
            spawn_named("commands", worker, move || write_commands(stdin, &to_write))
        {
            end_now(&mut child);
            return Err(ProvisionError::new(what(), error));
        }
        let events = spawn_named("events", worker, {
            let inbox = inbox.clone();
            move || forward_events(worker, stdout, &inbox)
        });
        let logs = spawn_named("log", worker, {
            let inbox = inbox.clone();
            move || forward_log(worker, stderr, &inbox)
        });
        let waiter = spawn_named("exit", worker, {
            let watched = Arc::clone(&watched);
            move || {
                // What it said last comes before its end.
                for reader in [events, logs].into_iter().flatten() {
                    let _ = reader.join();
                }
                let report = exit_report(child.wait());
                watched.note_end(report);
                // Nobody listens when the conductor is gone.
                let _ = inbox.send((worker, FromWorker::Exited(report)));
            }
        });
        match waiter {
            Ok(_) => Ok((watched, handle)),
            Err(error) => {
                // The child went into the thread that could not be made: it lost its pipes and ends by itself.
                let _ = watched.process.kill();
                Err(ProvisionError::new(what(), error))
            }
        }
    }

    /// Which worker it is.
    pub(super) const fn worker(&self) -> WorkerId {
        self.worker
    }

    /// Its process.
    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it is still there.
    pub(super) fn is_running(&self) -> bool {
        self.ended
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
    }

    /// Ends it at once, if it runs.
    pub(super) fn kill(&self) -> io::Result<()> {
        if self.is_running() {
            self.process.kill()
        } else {
            Ok(())
        }
    }

    /// Waits until it is gone and was waited for, at most until `deadline`. Says whether it is.
    pub(super) fn wait_until(&self, deadline: Instant) -> bool {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        while ended.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            ended = self
                .woken
                .wait_timeout(ended, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    fn note_end(&self, report: ExitReport) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
        self.woken.notify_all();
    }
}

/// Ends every child that still runs and waits until all are gone. Returns what did not go.
pub(super) fn end_all(children: &[Arc<WorkerChild>]) -> Vec<ProvisionError> {
    let mut errors = Vec::new();
    for child in children {
        if let Err(error) = child.kill() {
            let what = format!("end {} (process {})", child.worker(), child.pid());
            errors.push(ProvisionError::new(what, error));
        }
    }
    let deadline = Instant::now() + LONGEST_EXIT;
    for child in children {
        if !child.wait_until(deadline) {
            let what = format!("end {} (process {})", child.worker(), child.pid());
            let why = format!(
                "it is still there {} s after SIGKILL",
                LONGEST_EXIT.as_secs()
            );
            errors.push(
                ProvisionError::new(what, why).with_hint("look again in a minute: c1m clean"),
            );
        }
    }
    errors
}

/// The runner's side of a child. Dropping it closes the worker's stdin, and that ends the worker.
#[derive(Debug)]
pub(super) struct ChildHandle {
    child: Arc<WorkerChild>,
    commands: Option<Arc<Sender<Command>>>,
}

impl WorkerHandle for ChildHandle {
    fn send(&mut self, command: &Command) -> io::Result<()> {
        self.commands
            .as_ref()
            .and_then(|commands| commands.send(command.clone()).ok())
            .ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))
    }

    fn remote(&self) -> Remote {
        let commands = self
            .commands
            .as_ref()
            .map_or_else(Weak::new, Arc::downgrade);
        Box::new(move |command| {
            if let Some(commands) = commands.upgrade() {
                // A worker that is gone is reported as gone by its exit.
                let _ = commands.send(command.clone());
            }
        })
    }

    fn pid(&self) -> Option<u32> {
        Some(self.child.pid)
    }

    fn kill(&mut self) {
        self.commands = None;
        // It fails only when the process is gone, or is not ours any more, which it always is.
        let _ = self.child.kill();
    }
}

/// Writes commands to the worker's stdin until nobody can send any more, and a heartbeat while there is none. A worker that
/// reads nothing holds up this thread alone.
fn write_commands(mut stdin: ChildStdin, commands: &Receiver<Command>) {
    let Ok(first) = commands.recv() else { return };
    let mut next = Ok(first);
    loop {
        let command = match next {
            Ok(command) => command,
            Err(RecvTimeoutError::Timeout) => Command::Alive,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        if write_line(&mut stdin, &command).is_err() {
            return;
        }
        next = commands.recv_timeout(HEARTBEAT);
    }
}

fn forward_events(worker: WorkerId, stdout: impl Read, inbox: &Inbox) {
    for message in LineReader::<_, Event>::new(BufReader::new(stdout)) {
        let message = match message {
            Ok(event) => FromWorker::Event(event),
            Err(error @ CodecError::Malformed { .. }) => FromWorker::Log(error.to_string()),
            Err(CodecError::Read(_)) => return,
        };
        if inbox.send((worker, message)).is_err() {
            return;
        }
    }
}

fn forward_log(worker: WorkerId, stderr: impl Read, inbox: &Inbox) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut stderr)
            .take(LONGEST_LOG_LINE)
            .read_until(b'\n', &mut line)
        {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if inbox.send((worker, FromWorker::Log(text))).is_err() {
            return;
        }
    }
}

fn exit_report(status: io::Result<ExitStatus>) -> ExitReport {
    let status = status.ok();
    ExitReport {
        code: status.and_then(|status| status.code()),
        signal: status.and_then(|status| status.signal()),
        oom_killed: None,
    }
}

fn spawn_named(
    what: &str,
    worker: WorkerId,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<thread::JoinHandle<()>> {
    thread::Builder::new()
        .name(format!("{what}-{worker}"))
        .stack_size(SMALL_STACK)
        .spawn(work)
}

/// Ends a child that cannot be watched.
fn end_now(child: &mut Child) {
    // Both fail only when it is gone already.
    let _ = child.kill();
    let _ = child.wait();
}

/// Variables that a worker keeps: they steer its log and the trace of a panic, nothing else.
const KEPT_VARIABLES: [&str; 3] = ["RUST_BACKTRACE", "RUST_LOG", ALLOCATOR_VARIABLE];

/// Bytes of a line of a worker's stderr; what is longer becomes several lines.
const LONGEST_LOG_LINE: u64 = 64 * 1024;

/// Threads that only copy lines need little: 256 KiB.
const SMALL_STACK: usize = 256 * 1024;

/// A killed worker closes its connections one by one: half a million of them keep the kernel busy for seconds.
const LONGEST_EXIT: Duration = Duration::from_secs(60);
