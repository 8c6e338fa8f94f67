//! What the suites share: starting the program, following its progress, reading what it wrote. Waits are for events, each
//! with a deadline.

#![allow(dead_code)] // each suite uses its part

pub(crate) mod engine;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Long enough for a debug build on a busy machine; reached only when something hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(180);

/// The program under test with an environment of its own: no `C1M_*` of the caller, a runtime directory for its lock and
/// journal, and a results directory.
pub(crate) struct Lab {
    pub(crate) folder: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    pub(crate) fn results(&self) -> PathBuf {
        self.folder.path().join("results")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_c1m"));
        command
            .args(arguments)
            .env_remove("C1M_SCENARIO")
            .env("C1M_RUNTIME_DIR", self.folder.path().join("runtime"))
            .env("C1M_RESULTS_DIR", self.results())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn scenario(&self, text: &str) -> String {
        let path = self.folder.path().join("scenario.yaml");
        fs::write(&path, text).expect("a scenario file");
        path.to_string_lossy().into_owned()
    }

    /// Runs to the end and brings back what it said.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Running::start(self.command(arguments)).finish()
    }

    /// What `c1m clean` does where no Docker engine has anything of ours: what this host's engine has, and whether this user
    /// may ask it, is not for every suite to know.
    pub(crate) fn clean(&self) -> Ended {
        let engine = engine::FakeEngine::empty();
        let mut command = self.command(&["clean"]);
        command.env("DOCKER_HOST", engine.url());
        Running::start(command).finish()
    }

    pub(crate) fn latest(&self) -> PathBuf {
        self.results().join("latest")
    }

    pub(crate) fn result(&self) -> Value {
        json(&self.latest().join("result.json"))
    }

    pub(crate) fn report(&self) -> String {
        fs::read_to_string(self.latest().join("report.md")).expect("a report")
    }
}

pub(crate) fn json(path: &Path) -> Value {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("JSON")
}

/// A program that is running, its stderr read line by line.
pub(crate) struct Running {
    pub(crate) child: Child,
    lines: Receiver<String>,
    stdout: thread::JoinHandle<String>,
    seen: Vec<String>,
}

/// What a program said and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }

    /// Fails the test with everything the program said unless it ended with `code`.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.status.code(),
            Some(code),
            "stdout:\n{}\nstderr:\n{}",
            self.stdout,
            self.stderr
        );
        self
    }
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = child.stderr.take().expect("a pipe");
        let mut out = child.stdout.take().expect("a pipe");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let stdout = thread::spawn(move || {
            let mut text = String::new();
            let _ = out.read_to_string(&mut text);
            text
        });
        Self {
            child,
            lines,
            stdout,
            seen: Vec::new(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line of stderr that contains `text`.
    #[track_caller]
    pub(crate) fn await_line(&mut self, text: &str) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    panic!("no line with {text:?}; seen:\n{}", self.seen.join("\n"))
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("it ended without {text:?}; seen:\n{}", self.seen.join("\n"))
                }
            }
        }
    }

    /// Sends it a signal by name, as kill(1) does.
    pub(crate) fn signal(&self, name: &str) {
        signal(&self.pid().to_string(), name);
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Ended {
        let until = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            if Instant::now() > until {
                let _ = self.child.kill();
                panic!("it does not end; seen:\n{}", self.seen.join("\n"));
            }
            // Nothing can be waited for with a deadline here but the child itself.
            thread::sleep(Duration::from_millis(10));
        };
        self.seen.extend(self.lines.iter());
        Ended {
            status,
            stdout: self.stdout.join().expect("a reader"),
            stderr: self.seen.join("\n"),
        }
    }
}

/// Sends a signal by name, as kill(1) does: to a process by its number, to a group by its number with a hyphen before it.
pub(crate) fn signal(whom: &str, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), "--", whom])
        .status()
        .expect("kill runs");
    assert!(sent.success(), "kill -{name} {whom}");
}
