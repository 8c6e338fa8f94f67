//! From a scenario to a report on loopback, with a thousand connections, as whoever runs the tests: outcomes, exit codes,
//! and that nothing stays. The same pipeline at full size is a scenario, not a test.

#[path = "../support/mod.rs"]
mod support;

mod bad_luck;
mod blocked;
mod interrupts;
mod proof;

use support::Lab;

const SMALL: &str = "connections: 1000\nhold: 1s\nplace: loopback\n";

#[test]
fn a_small_run_holds_and_reports() {
    let lab = Lab::new();
    let scenario = lab.scenario(SMALL);
    let ended = lab
        .run(&["run", &scenario, "--progress", "plain"])
        .expect(0);
    assert!(
        ended.stdout.starts_with("HELD 1,000 of 1,000"),
        "{}",
        ended.stdout
    );
    let result = lab.result();
    assert_eq!(result["verdict"], "held");
    assert_eq!(result["connections"]["target"], 1000);
    assert_eq!(result["connections"]["held"], 1000);
    assert_eq!(result["connections"]["lost"], 0);
    assert_eq!(result["connections"]["verified"], 1000);
    assert_eq!(result["counted"]["server"]["ESTABLISHED"], 1000);
    assert_eq!(result["counted"]["client"]["ESTABLISHED"], 1000);
    assert_eq!(result["leftovers"], serde_json::json!([]));
    assert!(lab.report().starts_with("**HELD 1,000 of 1,000"));
}

#[test]
fn both_engines_hold() {
    for engine in ["epoll", "tokio"] {
        let lab = Lab::new();
        let scenario = lab.scenario(SMALL);
        lab.run(&[
            "run",
            &scenario,
            "--set",
            &format!("server.engine={engine}"),
            "--set",
            &format!("clients.engine={engine}"),
        ])
        .expect(0);
        assert_eq!(lab.result()["connections"]["verified"], 1000, "{engine}");
    }
}

#[test]
fn an_ordinary_program_that_never_accepts_leaves_connections_in_the_queue() {
    let lab = Lab::new();
    let scenario = lab.scenario(
        "connections: 500\nhold: 0s\nplace: loopback\nserver:\n  accept: no\n  backlog: 1000\n",
    );
    lab.run(&["run", &scenario]).expect(0);
    let result = lab.result();
    assert_eq!(result["connections"]["held"], 500);
    assert_eq!(result["connections"]["verified"], serde_json::Value::Null);
}

#[test]
fn a_threshold_that_is_missed_says_so_by_its_exit_code() {
    let lab = Lab::new();
    let scenario = lab.scenario(
        "connections: 500\nhold: 0s\nplace: loopback\nthresholds:\n  ramp.rate_per_second:\n    at_least: 100000000\n",
    );
    lab.run(&["run", &scenario]).expect(6);
    let result = lab.result();
    assert_eq!(result["verdict"], "missed");
    assert_eq!(result["thresholds"][0]["held"], false);
}

#[test]
fn a_dry_run_starts_nothing() {
    let lab = Lab::new();
    let scenario = lab.scenario(SMALL);
    let ended = lab.run(&["run", &scenario, "--dry-run"]).expect(0);
    assert!(ended.stdout.contains("1,000"), "{}", ended.stdout);
    assert!(
        !lab.results().exists(),
        "a dry run made a results directory"
    );
}

#[test]
fn a_stored_run_can_be_reported_again() {
    let lab = Lab::new();
    let scenario = lab.scenario(SMALL);
    lab.run(&["run", &scenario]).expect(0);
    let first = lab.report();
    let run = lab.latest().canonicalize().expect("a run directory");
    std::fs::remove_file(run.join("report.md")).expect("removed");
    lab.run(&["report", &run.to_string_lossy()]).expect(0);
    assert_eq!(
        lab.report(),
        first,
        "a report is a function of its recording"
    );
}
