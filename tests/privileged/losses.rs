//! Connections that are lost in a hold: who notices, when, and what the report says of it.

use std::process::Command;

use super::support::{Lab, Running};

/// Half of the connections are reset behind both programs' backs, as a firewall or a peer's crash does it.
#[test]
fn connections_that_are_reset_are_counted_with_time_and_reason() {
    let lab = Lab::new();
    let scenario = lab.scenario("connections: 2000\nhold: 8s\nplace: loopback\n");
    let mut run = Running::start(lab.command(&["run", &scenario, "--progress", "json"]));
    run.await_line("{\"phase\":\"hold\"}");
    let children = Command::new("pgrep")
        .args(["-P", &run.pid().to_string()])
        .output()
        .expect("pgrep runs");
    let children = String::from_utf8(children.stdout).expect("text");
    let worker = children.lines().next().expect("a worker");
    let killed = Command::new("nsenter")
        .args([
            "-t",
            worker,
            "-n",
            "ss",
            "-K",
            "-tnH",
            "dport < 2024 and sport > 2024",
        ])
        .output()
        .expect("nsenter and ss run");
    assert!(killed.status.success(), "{killed:?}");
    let killed = String::from_utf8(killed.stdout)
        .expect("text")
        .lines()
        .count();
    assert_eq!(killed, 1000, "ports 1024 to 2023 are the first thousand");

    let ended = run.finish().expect(6);
    assert!(
        ended
            .stdout
            .starts_with("MISSED: 1,000 connections were lost; held 1,000 of 2,000"),
        "{}",
        ended.stdout
    );
    let result = lab.result();
    assert_eq!(result["verdict"], "missed");
    assert_eq!(result["connections"]["lost"], 1000);
    assert_eq!(result["connections"]["held"], 1000);
    let events = std::fs::read_to_string(lab.latest().join("events.jsonl")).expect("recorded");
    let events = events
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let (mut holding, mut noticed) = (None, 0);
    for event in events {
        match event["event"].as_str() {
            Some("phase_began") if event["phase"] == "hold" => {
                holding = event["at_seconds"].as_f64();
            }
            Some("phase_ended") if event["phase"] == "hold" => break,
            Some("lost") if event["worker"] != "server" => {
                assert_eq!(event["note"]["reason"], "reset");
                assert!(event["note"]["examples"][0].is_string(), "{event}");
                noticed += event["note"]["count"].as_u64().expect("a count");
            }
            _ => {}
        }
    }
    assert!(holding.is_some(), "the hold was recorded");
    assert_eq!(
        noticed, 1000,
        "noticed while they were held, not at the end"
    );
    let report = lab.report();
    assert!(report.contains("### Lost connections"), "{report}");
    assert!(report.contains("reset by the peer (RST)"), "{report}");
}
