//! What may belong to somebody else's live run is left alone and told; and so is what could not be looked at.

use std::path::Path;

use c1m::kernel::identity::ProcessIdentity;
use serde_json::{Value, json};

use crate::engine::{Contents, FakeEngine};
use crate::{alone, c1m, dead_runner, worker};

/// What `c1m clean` says on stderr, where it has to end with 9.
fn refused(runtime: &Path, engine: &FakeEngine, arguments: &[&str]) -> String {
    let left = c1m(runtime, engine, arguments).assert().code(9);
    let output = left.get_output();
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn labels(owner: &str) -> Value {
    json!({
        "io.c1m.managed-by": "c1m", "io.c1m.run": "0badcafe", "io.c1m.role": "server",
        "io.c1m.index": "0", "io.c1m.runner": owner,
    })
}

/// A container and a network of a run whose runner is not a process here.
fn of_a_run(kernel: Option<&str>) -> Contents {
    Contents {
        kernel: kernel.map(str::to_owned),
        containers: vec![json!({
            "Id": "aaaa", "Names": ["/c1m-0badcafe-server"], "State": "running",
            "Labels": labels(&dead_runner()),
        })],
        networks: vec![json!({
            "Id": "bbbb", "Name": "c1m-0badcafe-0", "Labels": labels(&dead_runner()),
        })],
    }
}

#[test]
fn objects_of_an_engine_that_is_not_proved_to_be_here_are_left_alone() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    for (kernel, why) in [
        (None, "its socket is held by"),
        (Some("1.2.3"), "kernel 1.2.3"),
    ] {
        let engine = FakeEngine::with(of_a_run(kernel));
        for arguments in [&["clean"][..], &["clean", "--dry-run"]] {
            let said = refused(&folder.path().join("c1m"), &engine, arguments);
            for word in [
                why,
                "container c1m-0badcafe-server",
                "network c1m-0badcafe-0",
            ] {
                assert!(said.contains(word), "{arguments:?}: {said}");
            }
        }
        assert_eq!(engine.changes(), Vec::<String>::new());
    }
}

#[test]
fn an_engine_that_does_not_answer_is_not_called_empty() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = folder.path().join("c1m");
    let engine = FakeEngine::empty();
    for arguments in [&["clean"][..], &["clean", "--dry-run"]] {
        let mut command = c1m(&runtime, &engine, arguments);
        command.env("DOCKER_HOST", "unix:///run/no-such-engine.sock");
        let left = command.assert().code(9);
        let said = String::from_utf8_lossy(&left.get_output().stderr).into_owned();
        assert!(
            said.contains("not looked at: containers and networks of Docker")
                && said.contains("no-such-engine.sock"),
            "{said}"
        );
        assert!(
            said.contains("looked at: ") && said.contains(" of user "),
            "{said}"
        );
        let stdout = String::from_utf8_lossy(&left.get_output().stdout).into_owned();
        assert!(!stdout.contains("nothing is left"), "{stdout}");
    }
}

#[test]
fn a_worker_of_a_runner_that_cannot_be_judged_is_left_alone() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let engine = FakeEngine::empty();
    let current = ProcessIdentity::current();
    // As one that runs here would look in another time namespace.
    let other_clock = ProcessIdentity {
        start_time: Some(1),
        time_namespace: Some(1),
        ..current.clone()
    };
    let unknown_boot = ProcessIdentity {
        boot_id: None,
        start_time: Some(1),
        ..current.clone()
    };
    // As a container is shown that has a boot id of its own.
    let other_boot = ProcessIdentity {
        boot_id: Some("0".to_owned()),
        ..current
    };
    let texts = [
        other_clock.to_string(),
        unknown_boot.to_string(),
        other_boot.to_string(),
        // As an earlier version wrote it.
        "7:99".to_owned(),
    ];
    for runner in texts {
        let mut doubtful = worker(&runner);
        let said = refused(&folder.path().join("c1m"), &engine, &["clean"]);
        let line = format!("process {} of run 0badcafe", doubtful.id());
        assert!(said.contains(&line), "{runner}: {said}");
        assert!(doubtful.try_wait().expect("asks").is_none(), "{runner}");
        drop(doubtful.stdin.take());
        doubtful.wait().expect("ends with its stdin");
    }
}
