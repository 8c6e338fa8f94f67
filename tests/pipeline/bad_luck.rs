//! Bad input and bad luck that need no privilege: each has its message and its exit code, and starts nothing.

use std::fs;

use super::SMALL;
use super::support::{Lab, Running};

#[test]
fn a_wrong_scenario_is_shown_with_its_place_and_every_error_at_once() {
    let lab = Lab::new();
    let scenario = lab.scenario("conections: 1000\nhold: 5 parsecs\nplace: moon\n");
    let ended = lab.run(&["run", &scenario]).expect(3);
    for part in [
        "scenario.yaml:1:",
        "connections",
        "scenario.yaml:2:",
        "scenario.yaml:3:",
        "^",
    ] {
        assert!(
            ended.stderr.contains(part),
            "{part} missing:\n{}",
            ended.stderr
        );
    }
    assert!(!lab.results().exists());
}

#[test]
fn a_missing_scenario_names_the_file() {
    let lab = Lab::new();
    let ended = lab.run(&["run", "/nowhere/at-all.yaml"]).expect(3);
    assert!(
        ended.stderr.contains("/nowhere/at-all.yaml"),
        "{}",
        ended.stderr
    );
}

#[test]
fn more_than_fits_is_refused_with_need_have_and_cure() {
    let lab = Lab::new();
    let ended = lab
        .run(&["run", "-n", "4000000000", "--place", "loopback"])
        .expect(4);
    assert!(ended.stderr.contains("memory"), "{}", ended.stderr);
    assert!(ended.stderr.contains("--fit"), "{}", ended.stderr);
    assert!(!lab.results().exists(), "nothing may be started");
}

#[test]
fn an_unknown_verb_and_an_unknown_flag_are_usage_errors() {
    let lab = Lab::new();
    lab.run(&["fly"]).expect(2);
    lab.run(&["run", "--sideways"]).expect(2);
}

#[test]
fn results_that_cannot_be_written_are_refused_before_anything_starts() {
    let lab = Lab::new();
    let scenario = lab.scenario(SMALL);
    let blocked = lab.folder.path().join("blocked");
    fs::write(&blocked, "a file where a directory should be").expect("a file");
    let ended = lab
        .run(&[
            "run",
            &scenario,
            "--results-dir",
            &blocked.to_string_lossy(),
        ])
        .expect(1);
    assert!(ended.stderr.contains("blocked"), "{}", ended.stderr);
}

#[test]
fn a_second_run_is_refused_while_the_first_lives() {
    let lab = Lab::new();
    let scenario = lab.scenario("connections: 1000\nhold: 100s\nplace: loopback\n");
    let mut first = Running::start(lab.command(&["run", &scenario, "--progress", "json"]));
    first.await_line("\"hold\"");
    let second = lab.run(&["run", &scenario]).expect(4);
    assert!(
        second.stderr.contains(&first.pid().to_string()),
        "the holder is named: {}",
        second.stderr
    );
    first.signal("INT");
    first.finish().expect(130);
}

#[test]
fn a_terminal_that_is_too_narrow_gets_plain_lines() {
    let lab = Lab::new();
    let scenario = lab.scenario(SMALL);
    // script(1) gives the program a terminal; stty makes it narrow.
    let command = format!(
        "stty rows 24 cols 20; exec {} run {scenario}",
        env!("CARGO_BIN_EXE_c1m")
    );
    let mut inside = lab.command(&[]);
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &command, "/dev/null"]);
    for (key, value) in inside.get_envs() {
        if let Some(value) = value {
            script.env(key, value);
        }
    }
    inside.stdin(std::process::Stdio::null());
    script.current_dir(env!("CARGO_MANIFEST_DIR"));
    let ended = Running::start(script).finish().expect(0);
    assert!(
        ended.stdout.contains("HELD 1,000 of 1,000"),
        "{}",
        ended.stdout
    );
    assert!(
        !ended.stdout.contains("[="),
        "bars in 20 columns: {}",
        ended.stdout
    );
}
