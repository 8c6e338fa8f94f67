//! What is left when the runner is killed: nothing of its places, and of its settings what the journal can put back. Each
//! process that dies here is this program again, told to run one of the ignored tests below.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use c1m::domain::{RunId, SettingChange, SettingScope, SettingValue};
use c1m::host::{Durable, JournalOwner, Lock, Readers, Recovery, Runtime, Tuning, recover_with};
use c1m::kernel::sys::netns::inodes_in_use;
use c1m::kernel::sysctl::{SettingStore, Sysctl};
use c1m::provision::{WorkerProgram, up_with};

use crate::places::netns;
use crate::plans;

/// How long something may take that should come at once.
const SOON: Duration = Duration::from_secs(30);

/// Where the runtime folder of a child lies.
const RUNTIME: &str = "C1M_TEST_RUNTIME";

/// After how many operations a child kills itself.
const KILL_AFTER: &str = "C1M_TEST_KILL_AFTER";

/// Settings of the whole machine that do no harm when they are a little larger for a moment.
const HARMLESS: [&str; 2] = ["kernel.printk_ratelimit_burst", "net.ipv4.tcp_max_orphans"];

/// This program, as a process that runs one ignored test.
fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command
        .args(["--exact", test, "--ignored", "--nocapture"])
        .stdin(Stdio::null());
    command
}

#[test]
#[ignore = "a process for another test to kill"]
fn holds_a_place() {
    let hosts = vec![plans::host(0, 1, 1, 1), plans::host(1, 1, 2, 1)];
    let program = WorkerProgram::other("/bin/cat", Vec::<OsString>::new());
    let run = RunId::from_random(3);
    let mut place = up_with(&netns(hosts), &run, program).expect("is made");
    let (inbox, _events) = mpsc::channel();
    let workers: Vec<_> = (0..2)
        .map(|worker| {
            place
                .spawn(&plans::any_worker(worker, worker as usize), inbox.clone())
                .expect("starts")
        })
        .collect();
    let pids: Vec<u32> = workers.iter().filter_map(|worker| worker.pid()).collect();
    println!("up {} {}", pids[0], pids[1]);
    // In a loop: a channel that was waited on may have left a token with which park comes back at once.
    loop {
        thread::park();
    }
}

#[test]
fn a_runner_that_is_killed_leaves_no_namespace_and_no_worker() {
    let before = inodes_in_use().expect("reads /proc");
    let mut holder = child("crashes::holds_a_place")
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let pids = pids_of_workers(&mut holder);
    let namespaces: Vec<u64> = pids
        .iter()
        .map(|pid| {
            use std::os::unix::fs::MetadataExt;
            fs::metadata(format!("/proc/{pid}/ns/net"))
                .expect("lives")
                .ino()
        })
        .collect();
    assert_eq!(namespaces.len(), 2);
    assert!(namespaces.iter().all(|inode| !before.contains(inode)));
    holder.kill().expect("kills");
    holder.wait().expect("waits");
    wait_until("the workers are gone", || {
        pids.iter()
            .all(|pid| !fs::exists(format!("/proc/{pid}/exe")).unwrap_or(true))
    });
    wait_until("the namespaces are gone", || {
        let in_use = inodes_in_use().expect("reads /proc");
        !namespaces.iter().any(|inode| in_use.contains(inode))
    });
}

fn pids_of_workers(holder: &mut Child) -> Vec<u32> {
    let stdout = BufReader::new(holder.stdout.take().expect("a pipe"));
    let line = stdout
        .lines()
        .map(|line| line.expect("reads"))
        .find_map(|line| line.split_once("up ").map(|(_, pids)| pids.to_owned()))
        .expect("says that it is up");
    line.split_whitespace()
        .map(|pid| pid.parse().expect("a number"))
        .collect()
}

fn wait_until(what: &str, mut happens: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !happens() {
        assert!(Instant::now() < deadline, "{what}: not within {SOON:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Kills this process at one of its operations on the outside world.
#[derive(Clone)]
struct Killer(Arc<AtomicUsize>);

impl Killer {
    fn strike(&self) {
        if self.0.fetch_sub(1, Ordering::Relaxed) == 0 {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).expect("kills");
        }
    }
}

struct KillingStore(Killer);

impl SettingStore for KillingStore {
    fn read(&self, key: &str) -> io::Result<String> {
        self.0.strike();
        Sysctl::system().read(key)
    }

    fn write(&self, key: &str, value: &str) -> io::Result<()> {
        self.0.strike();
        Sysctl::system().write(key, value)
    }
}

struct KillingFile(fs::File, Killer);

impl io::Write for KillingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.strike();
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Durable for KillingFile {
    fn sync(&mut self) -> io::Result<()> {
        self.1.strike();
        self.0.sync()
    }
}

#[test]
#[ignore = "a process that kills itself for another test"]
fn changes_the_host_until_it_is_killed() {
    let folder = std::env::var_os(RUNTIME).expect("is told");
    let after: usize = std::env::var(KILL_AFTER)
        .expect("is told")
        .parse()
        .expect("a number");
    let runtime = Runtime::at(folder, Readers::Owner).expect("makes it");
    let run = RunId::from_random(4);
    let _lock = Lock::take(&runtime, Some(&run)).expect("takes it");
    let killer = Killer(Arc::new(AtomicUsize::new(after)));
    let file_killer = killer.clone();
    let store = KillingStore(killer);
    let mut tuning = Tuning::with_parts(
        &runtime,
        JournalOwner::current(&run, &Sysctl::system()),
        Box::new(store),
        |kind, name| Err(format!("nobody made {kind} {name}")),
        Box::new(move |file| Box::new(KillingFile(file, file_killer.clone()))),
    );
    let changes: Vec<_> = HARMLESS.iter().map(|key| one_more(key)).collect();
    let records = tuning.apply(&changes);
    assert!(
        records
            .iter()
            .all(|record| record.changed && record.error.is_none()),
        "{records:?}"
    );
    assert!(tuning.restore().is_complete());
}

fn one_more(key: &str) -> SettingChange {
    let now: u64 = Sysctl::system()
        .read(key)
        .expect("reads")
        .parse()
        .expect("a number");
    SettingChange {
        key: key.to_owned(),
        scope: SettingScope::Host,
        wanted: SettingValue::AtLeast(now + 1),
        reason: "a test wants one more".to_owned(),
    }
}

/// Puts the values back whatever the test finds.
struct Originals(Vec<(&'static str, String)>);

impl Originals {
    fn read() -> Self {
        let read = |key: &&'static str| (*key, Sysctl::system().read(key).expect("reads"));
        Self(HARMLESS.iter().map(read).collect())
    }
}

impl Drop for Originals {
    fn drop(&mut self) {
        for (key, value) in &self.0 {
            Sysctl::system().write(key, value).expect("writes");
        }
    }
}

#[test]
fn a_run_that_is_killed_at_any_step_is_undone_by_the_next_command() {
    let originals = Originals::read();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("runtime");
    let (mut killed, mut undone) = (0, 0);
    for after in 0.. {
        let status = child("crashes::changes_the_host_until_it_is_killed")
            .env(RUNTIME, &path)
            .env(KILL_AFTER, after.to_string())
            .stdout(Stdio::null())
            .status()
            .expect("runs");
        let runtime = Runtime::at(&path, Readers::Owner).expect("finds it");
        let none = |kind: &str, name: &str| Err(format!("nobody made {kind} {name}"));
        let recovery = recover_with(&runtime, &Sysctl::system(), none).expect("recovers");
        assert!(!recovery.leaves_something(), "{recovery:?}");
        if let Recovery::Done(all) = recovery {
            undone += all.iter().filter(|one| !one.restoration.is_empty()).count();
        }
        assert_eq!(
            Originals::read().0,
            originals.0,
            "killed after {after} operations"
        );
        if status.success() {
            break;
        }
        assert_eq!(status.signal(), Some(9), "killed after {after} operations");
        killed += 1;
    }
    // Each setting: read, two journal writes and syncs, write, read back; then the way back.
    assert!(killed >= 10, "killed at {killed} steps only");
    assert!(undone >= 4, "something to undo at {undone} steps only");
}
