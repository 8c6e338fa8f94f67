//! The verbs that change nothing: plan, validate, doctor, schema. What they print and how they exit, not what this host
//! happens to have.

#[path = "support/engine.rs"]
mod engine;

use std::time::Duration;

use assert_cmd::Command;
use engine::FakeEngine;
use predicates::prelude::*;
use serde_json::Value;

fn c1m(arguments: &[&str]) -> (Command, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::cargo_bin("c1m").expect("the program");
    command
        .args(arguments)
        .env("C1M_RUNTIME_DIR", folder.path().join("runtime"))
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    (command, folder)
}

fn json_of(arguments: &[&str], exit: i32) -> Value {
    let (mut command, _folder) = c1m(arguments);
    let output = command.assert().code(exit).get_output().stdout.clone();
    serde_json::from_slice(&output).expect("JSON on stdout")
}

#[test]
fn validate_says_every_error_and_exits_3() {
    let (mut command, _folder) = c1m(&[
        "validate",
        "lab/scenarios/smoke.yaml",
        "tests/fixtures/scenarios/invalid/many.yaml",
    ]);
    command.assert().code(3).stdout(
        predicate::str::contains("smoke.yaml: valid: 1,000 connections")
            .and(predicate::str::contains("17 errors in")),
    );
    let (mut command, _folder) = c1m(&["validate", "lab/scenarios/1m-netns.yaml"]);
    command.assert().code(0);
    let found = json_of(
        &[
            "validate",
            "--format",
            "json",
            "tests/fixtures/scenarios/invalid/tab.yaml",
        ],
        3,
    );
    assert_eq!(
        found[0]["invalid"]["errors"][0]["origin"]["line"]["line"],
        2
    );
}

#[test]
fn a_wrong_scenario_ends_every_verb_with_3() {
    for verb in ["plan", "doctor", "run"] {
        let (mut command, _folder) = c1m(&[verb, "tests/fixtures/scenarios/invalid/unknown.yaml"]);
        command
            .assert()
            .code(3)
            .stderr(predicate::str::contains("did you mean `connections`?"));
        let (mut command, _folder) = c1m(&[verb, "--set", "hold=60", "--set", "ramp.in_fligth=5"]);
        command.assert().code(3).stderr(predicate::str::contains(
            "2 errors in the built-in scenario",
        ));
    }
}

#[test]
fn a_small_plan_fits_anywhere_and_is_data() {
    let plan = json_of(
        &[
            "plan", "-n", "100", "--place", "loopback", "--format", "json",
        ],
        0,
    );
    assert_eq!(plan["target"], 100);
    assert_eq!(plan["workers"].as_array().map(Vec::len), Some(2));
    let (mut command, _folder) = c1m(&["plan", "-n", "100", "--place", "loopback"]);
    command
        .assert()
        .code(0)
        .stdout(predicate::str::contains("What is needed, what is there"));
    let (mut command, _folder) = c1m(&[
        "plan", "-n", "100", "--place", "loopback", "--emit", "limits",
    ]);
    command
        .assert()
        .code(0)
        .stdout(predicate::str::contains("nofile"));
}

#[test]
fn what_fits_nowhere_is_refused_with_4_and_a_cure() {
    let arguments = ["plan", "-n", "4000000000", "--place", "loopback"];
    let (mut command, _folder) = c1m(&arguments);
    command.assert().code(4).stderr(
        predicate::str::contains("do not fit here; nothing was started")
            .and(predicate::str::contains("cure: ")),
    );
    let refusal = json_of(&[&arguments[..], &["--format", "json"]].concat(), 4);
    let ids: Vec<&str> = refusal["shortfalls"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|short| short["row"]["id"].as_str())
        .collect();
    assert!(ids.contains(&"memory"), "{ids:?}");
}

#[test]
fn doctor_says_what_it_found_as_data() {
    let diagnosis = json_of(
        &[
            "doctor", "-n", "100", "--place", "loopback", "--format", "json",
        ],
        0,
    );
    assert_eq!(diagnosis["can_run"], true);
    assert_eq!(diagnosis["fits"], 100);
    let names: Vec<&str> = diagnosis["checks"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|check| check["name"].as_str())
        .collect();
    for name in [
        "kernel",
        "left by a crashed run",
        "place docker",
        "place netns",
        "place loopback",
        "memory",
    ] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
}

#[test]
fn schema_prints_what_is_published() {
    for (of, file) in [
        ("scenario", "lab/schema/scenario.schema.json"),
        ("result", "lab/schema/result.schema.json"),
    ] {
        let published = std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR")))
            .expect("readable");
        let (mut command, _folder) = c1m(&["schema", of]);
        command.assert().code(0).stdout(published);
    }
}

#[test]
fn the_environment_is_a_flag_and_the_command_line_outranks_it() {
    let (mut command, _folder) = c1m(&["plan", "--place", "loopback", "--format", "json"]);
    let output = command
        .env("C1M_CONNECTIONS", "50")
        .assert()
        .code(0)
        .get_output()
        .stdout
        .clone();
    assert_eq!(
        serde_json::from_slice::<Value>(&output).expect("JSON")["target"],
        50
    );
    let (mut command, _folder) = c1m(&[
        "plan", "--place", "loopback", "--format", "json", "-n", "60",
    ]);
    let output = command
        .env("C1M_CONNECTIONS", "50")
        .assert()
        .code(0)
        .get_output()
        .stdout
        .clone();
    assert_eq!(
        serde_json::from_slice::<Value>(&output).expect("JSON")["target"],
        60
    );
}

/// The value of a key may hold blanks, and a variable holds several assignments, one on each line.
#[test]
fn any_key_is_set_by_flag_and_by_variable() {
    let keepalive = "clients.keepalive={idle: 1s, interval: 2s, probes: 3}";
    let small = [
        "plan", "-n", "100", "--place", "loopback", "--format", "json",
    ];
    let by_flag = json_of(
        &[&small[..], &["--set", keepalive, "--set", "hold=7s"]].concat(),
        0,
    );
    let (mut command, _folder) = c1m(&small);
    command.env("C1M_SET", format!("{keepalive}\nhold=7s"));
    let by_variable = command.assert().code(0).get_output().stdout.clone();
    for plan in [by_flag, serde_json::from_slice(&by_variable).expect("JSON")] {
        assert_eq!(plan["stages"][1]["hold"]["for"]["secs"], 7);
        let client = plan["workers"][1].to_string();
        assert!(client.contains("\"probes\":3"), "{client}");
    }
}

#[test]
fn the_variable_of_a_switch_takes_what_people_write() {
    // What the engine of this host has is not the question.
    let engine = FakeEngine::empty();
    for (value, dry) in [
        ("1", true),
        ("yes", true),
        ("true", true),
        ("0", false),
        ("no", false),
        ("", false),
    ] {
        for verb in ["clean", "restore"] {
            let (mut command, _folder) = c1m(&[verb, "--dry-run"]);
            command.env("DOCKER_HOST", engine.url()).assert().code(0);
            let (mut command, _folder) = c1m(&[verb]);
            command.env("DOCKER_HOST", engine.url());
            let output = command.env("C1M_DRY_RUN", value).assert().code(0);
            let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
            let (would, did) = match verb {
                "clean" => ("nothing is left to remove\n", "nothing is left\n"),
                _ => ("nothing to restore\n", "nothing to restore\n"),
            };
            assert_eq!(
                text,
                if dry { would } else { did },
                "C1M_DRY_RUN={value} c1m {verb}"
            );
        }
    }
}

/// Without a terminal, and with `NO_COLOR` even when it is empty, nothing is coloured.
#[test]
fn nothing_is_coloured_without_a_terminal() {
    for arguments in [
        &["--help"][..],
        &["doctor", "-n", "100", "--place", "loopback"],
        &["plan", "--nonsense"],
    ] {
        let (mut command, _folder) = c1m(arguments);
        let output = command.env("NO_COLOR", "").output().expect("runs");
        assert!(
            !output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b),
            "{arguments:?}"
        );
    }
}

#[test]
fn manual_and_completions_know_every_verb() {
    let (mut command, _folder) = c1m(&["man"]);
    let page = command.assert().code(0).get_output().stdout.clone();
    let page = String::from_utf8(page).expect("text");
    for verb in [
        "bench",
        "clean",
        "count",
        "doctor",
        "init",
        "observe",
        "plan",
        "report",
        "restore",
        "run",
        "scenarios",
        "validate",
    ] {
        assert!(
            page.contains(&format!("c1m\\-{verb}(1)")),
            "the page does not name {verb}"
        );
        for shell in ["bash", "fish", "zsh"] {
            let (mut command, _folder) = c1m(&["completions", shell]);
            command
                .assert()
                .code(0)
                .stdout(predicate::str::contains(verb));
        }
    }
    let pages = tempfile::tempdir().expect("a folder");
    let (mut command, _folder) = c1m(&["man", "--dir"]);
    command.arg(pages.path()).assert().code(0);
    assert!(pages.path().join("c1m-run.1").exists());
    assert!(
        !pages.path().join("c1m-worker.1").exists(),
        "the hidden verb has a page"
    );
}

/// Nobody writes into the pipe: to open it would wait for ever. What the caller itself hands in by stdin is read.
#[test]
fn a_pipe_named_by_its_path_is_refused_and_stdin_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe.yaml");
    std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .expect("mkfifo runs");
    let (mut command, _folder) = c1m(&["validate"]);
    command
        .arg(&pipe)
        .timeout(Duration::from_secs(20))
        .assert()
        .code(3)
        .stdout(predicate::str::contains("this is no regular file"));
    let (mut command, _folder) = c1m(&["validate", "/dev/stdin"]);
    command
        .write_stdin("connections: 2000\n")
        .assert()
        .code(0)
        .stdout(predicate::str::contains("valid: 2,000 connections"));
}
