//! What the tests of servers that are not the lab's own share: a run that starts one, all that belongs to such a run, and
//! that nothing of it is left. Who belongs to it is read from the kernel, not asked of the program.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use c1m::kernel::sys::netns::inodes_in_use;

use crate::support::{self, DEADLINE, Ended, Lab, Running, json};

/// The port of each server that a run starts: each has a network namespace of its own.
pub(crate) const PORT: &str = "7801";

/// Connections of a run.
pub(crate) const CONNECTIONS: &str = "200";

/// The line with which a run says that it holds.
pub(crate) const HOLDS: &str = "{\"phase\":\"hold\"}";

/// The words of a shell that start a server which serves well.
pub(crate) fn server() -> String {
    let program = env!("CARGO_BIN_EXE_c1m");
    format!("'{program}' server --listen 127.0.0.1:{PORT}")
}

/// A run with this script of a shell as its server, and these words of its own.
pub(crate) fn start(lab: &Lab, options: &[&str], script: &str) -> Running {
    let common = [
        "run",
        "--progress",
        "json",
        "--port",
        PORT,
        "-n",
        CONNECTIONS,
    ];
    let command = ["--", "sh", "-c", script];
    Running::start(lab.command(&[&common[..], options, &command].concat()))
}

/// The same, once it holds.
pub(crate) fn hold(lab: &Lab, script: &str) -> Running {
    let mut run = start(lab, &["--hold", "100s"], script);
    run.await_line(HOLDS);
    run
}

/// What belongs to a run, besides its runner.
pub(crate) struct Traces {
    run: String,
    runtime: PathBuf,
    /// The memory control group of its server.
    pub(crate) group: PathBuf,
}

impl Traces {
    /// Of the latest run of this lab.
    pub(crate) fn of(lab: &Lab) -> Self {
        let identity = json(&lab.latest().join("run.json"));
        let run = identity["run"].as_str().expect("a name").to_owned();
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let mount = if v1.is_dir() {
            v1
        } else {
            Path::new("/sys/fs/cgroup")
        };
        Self {
            group: mount.join(format!("c1m-{run}")),
            runtime: lab.folder.path().join("runtime"),
            run,
        }
    }

    /// Its processes, by what their environment says: workers, and those of the server.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mark = format!("C1M_RUN={}", self.run);
        let is_marked = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|variable| variable == mark.as_bytes())
        };
        fs::read_dir("/proc")
            .expect("/proc is there")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(is_marked)
            .collect()
    }

    /// The processes of the server, which are in its group.
    pub(crate) fn of_server(&self) -> Vec<u32> {
        let listed = fs::read_to_string(self.group.join("cgroup.procs")).expect("a group");
        listed
            .lines()
            .map(|line| line.parse().expect("a number"))
            .collect()
    }

    /// The process of the server that runs this program.
    pub(crate) fn named(&self, name: &str) -> u32 {
        let is_it = |pid: &u32| {
            let found = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            found.trim() == name
        };
        let found = self.of_server().into_iter().find(is_it);
        found.unwrap_or_else(|| panic!("no {name} among the server's processes"))
    }

    /// The journal of its changes, where one is there.
    pub(crate) fn journal(&self) -> Option<String> {
        fs::read_to_string(self.runtime.join(format!("journal-{}.jsonl", self.run))).ok()
    }

    /// Fails unless the run is gone with all that it had.
    #[track_caller]
    pub(crate) fn are_gone(&self) {
        let left = self.processes();
        assert!(left.is_empty(), "{left:?} of run {}", self.run);
        assert!(!self.group.exists(), "{} is there", self.group.display());
        assert_eq!(self.journal(), None, "a journal of run {}", self.run);
    }
}

/// Fails unless the run ended with this code, said each of these, and left nothing.
#[track_caller]
pub(crate) fn ended(lab: &Lab, run: Running, code: i32, says: &[&str]) -> Ended {
    let ended = run.finish().expect(code);
    let all = format!("{}{}", ended.stdout, ended.stderr);
    for text in says {
        assert!(all.contains(text), "no {text:?} in:\n{all}");
    }
    assert!(!all.contains("left behind"), "{all}");
    Traces::of(lab).are_gone();
    ended
}

/// The network namespace that a process is in, by its inode.
pub(crate) fn namespace_of(pid: u32) -> u64 {
    let namespace = fs::metadata(format!("/proc/{pid}/ns/net"));
    namespace.expect("the process lives").ino()
}

pub(crate) fn is_in_use(namespace: u64) -> bool {
    let in_use = inodes_in_use().expect("reads /proc");
    in_use.contains(&namespace)
}

/// Sends a signal by name to a process that is no child of this one.
pub(crate) fn signal(pid: u32, name: &str) {
    support::signal(&pid.to_string(), name);
}

/// Waits for what nobody tells, and so has to be looked for again and again.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut happens: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !happens() {
        assert!(Instant::now() < until, "{what}: not within {DEADLINE:?}");
        thread::sleep(Duration::from_millis(10));
    }
}
