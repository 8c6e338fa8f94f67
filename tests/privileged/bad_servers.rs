//! Servers that behave badly, started by a run: each has a clear outcome, and nothing of it is left running.

use std::fs;

use crate::foreign::{CONNECTIONS, Traces, ended, hold, server, signal, start};
use crate::support::Lab;

/// Bytes of events that a flood of a few seconds may add to a recording. A run without output has a hundredth of it.
const MOST_BYTES: u64 = 4_000_000;

#[test]
fn a_server_that_goes_into_the_background_is_held_and_ended() {
    let lab = Lab::new();
    let run = start(&lab, &["--hold", "1s"], &format!("{} &", server()));
    let held = format!("HELD {CONNECTIONS} of {CONNECTIONS}");
    ended(&lab, run, 0, &[&held]);
}

#[test]
fn a_server_that_leaves_a_child_which_does_not_listen_is_told() {
    let lab = Lab::new();
    let soon = ["--set", "server.ready_within=1s"];
    let run = start(&lab, &soon, "sleep 1000 &");
    let says = [
        "does not listen at 127.0.0.1:7801 within 1 s",
        "it went into the background, and its processes run",
    ];
    ended(&lab, run, 5, &says);
}

#[test]
fn a_server_that_ends_in_the_hold_is_told_with_its_own_code_and_last_words() {
    let lab = Lab::new();
    let script = format!("{} & wait; echo out of luck; exit 3", server());
    let mut run = hold(&lab, &script);
    signal(Traces::of(&lab).named("c1m"), "KILL");
    run.await_line("server: sh exited with code 3");
    let said = ended(
        &lab,
        run,
        6,
        &[
            "MISSED: server: sh exited with code 3",
            "LIMIT 200 connections: the server ended",
            "out of luck",
        ],
    );
    // The code of the worker that looked after it is nobody's business.
    assert!(!said.stdout.contains("code 1"), "{}", said.stdout);
    let result = lab.result();
    assert_eq!(result["verdict"], "missed");
    assert_eq!(result["connections"]["accepted"], 200);
}

#[test]
fn a_server_of_which_only_a_child_is_left_in_the_hold_is_gone() {
    let lab = Lab::new();
    let script = format!("sleep 1000 & {} & wait $!; exit 4", server());
    let mut run = hold(&lab, &script);
    signal(Traces::of(&lab).named("c1m"), "KILL");
    let says =
        "sh exited with code 4, and none of its processes that are left listens at 127.0.0.1:7801";
    run.await_line(says);
    ended(
        &lab,
        run,
        6,
        &[says, "LIMIT 200 connections: the server ended"],
    );
    assert_eq!(lab.result()["connections"]["accepted"], 200);
}

#[test]
fn a_server_that_floods_its_output_is_held_and_the_recording_is_bounded() {
    // Many short lines, and none that ends.
    for flood in ["yes", "cat /dev/zero"] {
        let lab = Lab::new();
        let script = format!("{flood} & exec {}", server());
        let run = start(&lab, &["--hold", "2s"], &script);
        let held = format!("HELD {CONNECTIONS} of {CONNECTIONS}");
        ended(&lab, run, 0, &[&held]);
        let events = fs::read_to_string(lab.latest().join("events.jsonl")).expect("events");
        assert!(
            events.contains("lines were left out: the server writes too much"),
            "{flood}"
        );
        let log = fs::metadata(lab.latest().join("workers/server.log")).expect("a log");
        let bytes = events.len() as u64 + log.len();
        assert!(bytes < MOST_BYTES, "{flood}: {bytes} bytes");
    }
}
