//! Whose objects `c1m clean` removes from a real engine: those of runners that are gone, and of no other.

use std::process::Command;

use c1m::kernel::identity::ProcessIdentity;

use crate::support::{Lab, Running};
use crate::{Network, docker, small, traces};

/// A network as a run makes it, of the runner that this text tells.
fn network(name: &'static str, run: &str, owner: &str) -> Network {
    let labels = [
        "io.c1m.managed-by=c1m".to_owned(),
        format!("io.c1m.run={run}"),
        format!("io.c1m.runner={owner}"),
    ];
    let mut arguments = vec!["network", "create", "--internal"];
    for label in &labels {
        arguments.extend(["--label", label]);
    }
    arguments.push(name);
    docker(&arguments);
    Network(name)
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
    let kinds = [
        ("c1m-test-alive", current.to_string()),
        (
            "c1m-test-contained",
            of(&|it| {
                it.boot_id = Some("0".to_owned());
                it.pid_namespace = Some(1);
            }),
        ),
        ("c1m-test-earlier-version", format!("{}:1", current.pid)),
        (
            "c1m-test-other-clock",
            of(&|it| it.time_namespace = Some(1)),
        ),
        ("c1m-test-ended", of(&|it| it.start_time = Some(1))),
        (
            "c1m-test-namespace-is-gone",
            of(&|it| it.pid_namespace = Some(1)),
        ),
        (
            "c1m-test-other-boot",
            of(&|it| it.boot_id = Some("0".to_owned())),
        ),
    ];
    let made: Vec<Network> = (1..)
        .zip(&kinds)
        .map(|(run, (name, owner))| network(name, &format!("{run:08x}"), owner))
        .collect();
    let names_of = |kinds: &[(&'static str, String)]| -> Vec<&'static str> {
        kinds.iter().map(|(name, _)| *name).collect()
    };
    let (kept, gone) = (names_of(&kinds[..4]), names_of(&kinds[4..]));
    let doubtful = &kept[1..];
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
    assert_eq!(names(), kept);
    drop(made);
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
