//! What `c1m restore` and `c1m clean` do with the leftovers of a crashed run, and with a run that is not crashed at all.

#[path = "../support/engine.rs"]
mod engine;
mod foreign;
mod journal;
mod sockets;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use assert_cmd::cargo::CommandCargoExt;
use c1m::domain::RunId;
use c1m::host::{Durable, JournalOwner, Lock, Readers, Runtime, Tuning};
use c1m::kernel::identity::ProcessIdentity;
use c1m::kernel::sysctl::Sysctl;
use engine::FakeEngine;

/// `clean` ends every orphan of this user, those of other tests too: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The program with a runtime folder and a Docker engine of the test's own.
fn c1m(runtime: &Path, engine: &FakeEngine, arguments: &[&str]) -> assert_cmd::Command {
    let mut command = assert_cmd::Command::cargo_bin("c1m").expect("is built");
    command
        .args(arguments)
        .env("C1M_RUNTIME_DIR", runtime)
        .env("DOCKER_HOST", engine.url());
    command
}

/// The text that a worker's environment and an object's labels have of a runner that is gone: this process, had it begun at
/// another time.
fn dead_runner() -> String {
    let gone = ProcessIdentity {
        start_time: Some(1),
        ..ProcessIdentity::current()
    };
    gone.to_string()
}

/// A worker by hand, of a run whose runner is `runner`. It stays until its stdin ends.
fn worker(runner: &str) -> Child {
    Command::cargo_bin("c1m")
        .expect("is built")
        .arg("worker")
        .env("C1M_RUN", "0badcafe")
        .env("C1M_RUNNER", runner)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts")
}

/// A journal of a crashed run that noted an object nobody knows how to remove.
fn crashed(runtime: &Runtime) {
    let owner = JournalOwner {
        journal: 1,
        run: RunId::from_random(0x0bad_cafe),
        pid: 1,
        start_time: Some(u64::MAX),
        boot_id: None,
        pid_namespace: None,
        time_namespace: None,
        uid: None,
    };
    let mut tuning = Tuning::with_parts(
        runtime,
        owner,
        Box::new(Sysctl::below("/nowhere")),
        |_, _| Ok(()),
        Box::new(|file| Box::new(file) as Box<dyn Durable>),
    );
    tuning.note_object("nothing", "of ours").expect("notes it");
    // A killed process drops nothing.
    std::mem::forget(tuning);
}

#[test]
fn nothing_to_restore_and_nothing_left_is_said_so() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = folder.path().join("c1m");
    let engine = FakeEngine::empty();
    let restore = c1m(&runtime, &engine, &["restore"]).assert().success();
    restore.stdout("nothing to restore\n");
    let clean = c1m(&runtime, &engine, &["clean"]).assert().success();
    clean.stdout("nothing is left\n");
}

#[test]
fn a_run_that_is_under_way_is_left_alone() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("c1m");
    let runtime = Runtime::at(&path, Readers::Owner).expect("makes it");
    crashed(&runtime);
    let run = RunId::from_random(5);
    let lock = Lock::take(&runtime, Some(&run)).expect("takes it");
    let engine = FakeEngine::empty();
    for arguments in [&["restore"][..], &["clean"], &["clean", "--dry-run"]] {
        let refused = c1m(&path, &engine, arguments).assert().code(4);
        let message = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
        assert!(message.contains("run 00000005"), "{message}");
    }
    drop(lock);
    let listed = c1m(&path, &engine, &["clean", "--dry-run"])
        .assert()
        .success();
    let text = String::from_utf8_lossy(&listed.get_output().stdout).into_owned();
    assert!(text.contains("journal of run 0badcafe"), "{text}");
}

#[test]
fn what_cannot_be_removed_ends_with_the_code_of_a_changed_host() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("c1m");
    crashed(&Runtime::at(&path, Readers::Owner).expect("makes it"));
    let engine = FakeEngine::empty();
    for verb in ["restore", "clean"] {
        let left = c1m(&path, &engine, &[verb]).assert().code(9);
        let output = left.get_output();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            text.contains("nothing of ours, which 0badcafe had made"),
            "{text}"
        );
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(message.contains("hint: "), "{message}");
    }
}

#[test]
fn a_worker_without_a_runner_is_ended_and_one_with_a_runner_is_not() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("c1m");
    let engine = FakeEngine::empty();
    let mut orphan = worker(&dead_runner());
    let mut at_work = worker(&ProcessIdentity::current().to_string());
    let said = |dry| {
        let arguments: &[&str] = if dry {
            &["clean", "--dry-run"]
        } else {
            &["clean"]
        };
        let done = c1m(&path, &engine, arguments).assert().success();
        String::from_utf8_lossy(&done.get_output().stdout).into_owned()
    };
    let line = format!("process {} of run 0badcafe\n", orphan.id());
    let dry = said(true);
    assert!(dry.contains(&format!("would remove {line}")), "{dry}");
    let cleaned = said(false);
    assert!(cleaned.contains(&format!("removed {line}")), "{cleaned}");
    assert!(
        !cleaned.contains(&format!("process {} ", at_work.id())),
        "{cleaned}"
    );
    assert!(
        orphan.wait().expect("waits").code().is_none(),
        "ended by a signal"
    );
    assert!(at_work.try_wait().expect("asks").is_none(), "still there");
    drop(at_work.stdin.take());
    at_work.wait().expect("ends with its stdin");
}
