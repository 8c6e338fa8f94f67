//! Whose objects `c1m clean` removes from a real engine: those of runners that are gone, and of no other.

use std::process::Command;

use c1m::kernel::identity::ProcessIdentity;

use crate::support::{Lab, Running};
use crate::{docker, small, traces};

/// A network as a run makes it, of the runner that this text tells.
fn network(name: &str, run: &str, owner: &str) {
    let labels = [
        "io.c1m.managed-by=c1m".to_owned(),
        format!("io.c1m.run={run}"),
        format!("io.c1m.owner={owner}"),
    ];
    let mut arguments = vec!["network", "create", "--internal"];
    for label in &labels {
        arguments.extend(["--label", label]);
    }
    arguments.push(name);
    docker(&arguments);
}

fn names() -> Vec<String> {
    let filter = "label=io.c1m.managed-by=c1m";
    let listed = docker(&["network", "ls", "--filter", filter, "--format", "{{.Name}}"]);
    let mut names: Vec<String> = listed.lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[test]
fn objects_go_with_runners_that_are_gone_and_stay_with_all_others() {
    let lab = Lab::new();
    let current = ProcessIdentity::current();
    let of = |change: &dyn Fn(&mut ProcessIdentity)| {
        let mut owner = current.clone();
        change(&mut owner);
        owner.to_string()
    };
    network("c1m-test-alive", "00000001", &current.to_string());
    network(
        "c1m-test-other-clock",
        "00000002",
        &of(&|it| it.time_namespace = Some(1)),
    );
    network(
        "c1m-test-earlier-version",
        "00000003",
        &format!("{}:1", current.pid),
    );
    network(
        "c1m-test-contained",
        "00000004",
        &of(&|it| {
            it.boot_id = Some("0".to_owned());
            it.pid_namespace = Some(1);
        }),
    );
    let doubtful = [
        "c1m-test-contained",
        "c1m-test-earlier-version",
        "c1m-test-other-clock",
    ];
    network(
        "c1m-test-ended",
        "00000005",
        &of(&|it| it.start_time = Some(1)),
    );
    network(
        "c1m-test-other-boot",
        "00000006",
        &of(&|it| it.boot_id = Some("0".to_owned())),
    );
    network(
        "c1m-test-namespace-is-gone",
        "00000007",
        &of(&|it| it.pid_namespace = Some(1)),
    );
    let gone = [
        "c1m-test-ended",
        "c1m-test-namespace-is-gone",
        "c1m-test-other-boot",
    ];
    let cleaned = lab.run(&["clean"]).expect(9);
    for name in gone {
        assert!(
            cleaned
                .stdout
                .contains(&format!("removed network {name}\n")),
            "{cleaned:?}"
        );
    }
    for name in doubtful {
        let line = format!("may be alive: network {name}: ");
        assert!(cleaned.stderr.contains(&line), "{cleaned:?}");
    }
    let mut kept = vec!["c1m-test-alive"];
    kept.extend(doubtful);
    assert_eq!(names(), kept);
    for name in kept {
        docker(&["network", "rm", name]);
    }
    lab.run(&["clean"]).expect(0);
}

#[test]
fn containers_of_a_run_in_another_time_namespace_survive_a_clean() {
    let before = traces();
    let (lab, elsewhere) = (Lab::new(), Lab::new());
    let scenario = small(&lab, "hold: 5s\n");
    let run = lab.command(&["run", &scenario, "--progress", "plain"]);
    let mut outer = Command::new("unshare");
    outer.args(["--time", "--boottime", "1000000", "--fork"]);
    outer.arg(run.get_program()).args(run.get_args());
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    let mut run = Running::start(outer);
    run.await_line("hold: ");
    let cleaned = elsewhere.run(&["clean"]).expect(9);
    assert!(cleaned.stderr.contains("time namespace"), "{cleaned:?}");
    let ended = run.finish().expect(0);
    assert!(ended.stdout.starts_with("HELD 3,000"), "{}", ended.stdout);
    assert_eq!(before, traces());
}
