//! What is no evidence of a limit, and which evidence explains the other: made-up recordings.

use super::limit::{is, limit};
use crate::domain::{GaveWay, RunEvent, WorkerId};
use crate::report::model::LimitKind;
use crate::report::test_recordings::trouble::{
    CONNECTIONS, accepts, counter, group, kernel_writes, loses, processes, search, server_ends,
    unexplained, writes,
};

const KILLED: &str = "Memory cgroup out of memory: Killed process 101 (nginx) anon-rss:26380kB";

#[test]
fn a_single_connection_that_ended_explains_nothing() {
    let words = ["1 connection ended", "its fullest process had", "cores"];
    is(&unexplained(), LimitKind::Unknown, &words);
}

#[test]
fn half_of_the_connections_gone_explain_nothing() {
    let mut recording = search(GaveWay::Lost, 0);
    loses(&mut recording, 13.0, 4000, CONNECTIONS / 2);
    is(&recording, LimitKind::Unknown, &["4,000 connections ended"]);
}

/// A line that the server or the kernel wrote, and what it names.
#[test]
fn each_line_counts_from_the_ramp_on_and_none_before_it() {
    for (line, kind) in [
        ("24: Too many open files", LimitKind::Descriptors),
        ("ERR max number of clients reached", LimitKind::OwnMaximum),
        (
            "512 worker_connections are not enough",
            LimitKind::OwnMaximum,
        ),
        ("could not fork new process", LimitKind::Threads),
    ] {
        for (at, kind) in [(4.8, LimitKind::Unknown), (5.0, kind), (14.0, kind)] {
            let mut recording = unexplained();
            writes(&mut recording, at, line);
            let found = limit(&recording);
            assert_eq!(found.kind, kind, "{line} at {at} s: {:?}", found.evidence);
        }
    }
    for (line, kind) in [
        (KILLED, LimitKind::Memory),
        (
            "Out of memory: Killed process 8 (x)",
            LimitKind::MachineMemory,
        ),
        ("nf_conntrack: table full, dropping", LimitKind::Conntrack),
    ] {
        // The sample of the ramp's beginning has what was written before it.
        for (second, kind) in [(4, LimitKind::Unknown), (5, LimitKind::Unknown), (6, kind)] {
            let mut recording = unexplained();
            kernel_writes(&mut recording, second, line);
            let found = limit(&recording);
            assert_eq!(found.kind, kind, "{line} at {second} s");
        }
    }
}

#[test]
fn a_kill_before_the_ramp_stopped_no_connection() {
    let mut recording = unexplained();
    group(&mut recording, |second| (40, u64::from(second >= 3)));
    is(&recording, LimitKind::Unknown, &[]);
}

#[test]
fn a_kill_in_another_group_is_not_the_servers() {
    let mut recording = unexplained();
    let line = "Memory cgroup out of memory: Killed process 812 (postgres) anon-rss:26380kB";
    kernel_writes(&mut recording, 14, line);
    is(&recording, LimitKind::Unknown, &[]);
    for envelope in &mut recording.events {
        if let RunEvent::Subject { facts } = &mut envelope.event {
            facts.processes.clear();
        }
    }
    // Whose it is cannot be told where no name is known.
    is(&recording, LimitKind::Memory, &[line]);
}

#[test]
fn a_code_within_a_longer_word_is_not_that_code() {
    for line in ["cannot OpenFile /var/cache/a", "using the MemFile backend"] {
        let mut recording = unexplained();
        writes(&mut recording, 14.0, line);
        is(&recording, LimitKind::Unknown, &[]);
    }
}

#[test]
fn a_group_that_was_full_long_before_names_nothing() {
    let what = || GaveWay::NotAccepted { seconds: 5 };
    let full_until = |last| {
        let mut recording = search(what(), 2000);
        group(&mut recording, |second| {
            (if second <= last { 63 } else { 30 }, 0)
        });
        recording
    };
    is(&full_until(10), LimitKind::Stopped, &["6,000 connections"]);
    is(&full_until(11), LimitKind::Memory, &[]);
    // A full group of a server that goes on accepting is a cache, as often as not.
    let mut accepts = unexplained();
    group(&mut accepts, |_| (63, 0));
    is(&accepts, LimitKind::Unknown, &[]);
    let mut another = search(what(), 2000);
    group(&mut another, |_| (63, 0));
    for sample in &mut another.samples {
        sample.cgroups[0].worker = WorkerId::client(1);
    }
    is(&another, LimitKind::Stopped, &[]);
}

#[test]
fn a_kill_for_memory_explains_lost_connections_and_the_end() {
    let how = "server was ended by signal 9".to_owned();
    for what in [GaveWay::Lost, GaveWay::ServerGone { how }] {
        let mut recording = search(what, 0);
        loses(&mut recording, 13.0, CONNECTIONS, 0);
        server_ends(&mut recording, 13.0);
        writes(&mut recording, 13.0, "worker: too many connections");
        let gone = recording.clone();
        assert_ne!(limit(&gone).kind, LimitKind::Memory);
        kernel_writes(&mut recording, 14, KILLED);
        is(&recording, LimitKind::Memory, &[KILLED]);
        let mut counted = gone;
        group(&mut counted, |second| (60, u64::from(second > 12)));
        is(&counted, LimitKind::Memory, &["killed 1 of its processes"]);
    }
}

/// Whoever watches sees lost connections or the end first, as it happens.
#[test]
fn a_server_that_ended_has_ended_though_its_connections_were_lost_first() {
    let mut recording = search(GaveWay::Lost, 0);
    loses(&mut recording, 13.0, CONNECTIONS, 0);
    server_ends(&mut recording, 13.0);
    is(&recording, LimitKind::Ended, &["was ended by signal 9"]);
    recording
        .events
        .retain(|told| !matches!(told.event, RunEvent::GaveWay { .. }));
    is(&recording, LimitKind::Ended, &["was ended by signal 9"]);
    // After the connections were closed on purpose nothing is stopped any more.
    let mut late = unexplained();
    server_ends(&mut late, 27.0);
    is(&late, LimitKind::Unknown, &["1 connection ended"]);
}

#[test]
fn what_stopped_nothing_is_no_limit() {
    let mut recording = search(GaveWay::Nothing, 0);
    counter(&mut recording, "ListenOverflows", |second| second * 10);
    writes(
        &mut recording,
        8.0,
        "the maximum number of connections is 9000",
    );
    processes(&mut recording, |_, tree| {
        let fullest = tree.fullest.as_mut().expect("it is staged");
        fullest.open = 19_999;
    });
    is(&recording, LimitKind::TargetReached, &[]);
}

/// The ramp to a target ends with the handshakes, which need no doing of the server.
#[test]
fn a_target_that_is_established_and_not_accepted_is_not_reached() {
    let recording = search(GaveWay::Nothing, 2000);
    let words = [
        "never had more than 6,000",
        "2,000 connections were established",
    ];
    is(&recording, LimitKind::Stopped, &words);
    // One that still accepts when connections are closed has met nothing yet.
    let mut slow = search(GaveWay::Nothing, 2000);
    accepts(&mut slow, 25.0, CONNECTIONS - 1000);
    is(
        &slow,
        LimitKind::Unknown,
        &["did not accept every", "1,000 connections were"],
    );
}

#[test]
fn a_target_whose_connections_end_afterwards_is_not_reached() {
    let mut lost = search(GaveWay::Nothing, 0);
    loses(&mut lost, 20.0, 4000, CONNECTIONS / 2);
    is(&lost, LimitKind::Unknown, &["4,000 connections ended"]);
    let mut ended = search(GaveWay::Nothing, 0);
    server_ends(&mut ended, 20.0);
    is(&ended, LimitKind::Ended, &["was ended by signal 9"]);
}

#[test]
fn a_counter_whose_beginning_is_not_known_has_not_grown() {
    let mut recording = unexplained();
    counter(&mut recording, "ListenOverflows", |_| 100);
    recording.samples.retain(|sample| sample.number != 5);
    is(&recording, LimitKind::Unknown, &[]);
}

#[test]
fn the_servers_own_word_explains_a_busy_core_and_a_full_queue() {
    let mut recording = search(GaveWay::NotAccepted { seconds: 5 }, 2000);
    counter(&mut recording, "ListenOverflows", |second| second * 10);
    is(&recording, LimitKind::Stopped, &["0.02 cores"]);
    processes(&mut recording, |second, tree| {
        tree.cpu_seconds = second as f64;
    });
    is(&recording, LimitKind::Cpu, &["1.00 cores"]);
    writes(&mut recording, 13.0, "FATAL: too many clients already");
    is(&recording, LimitKind::OwnMaximum, &["too many clients"]);
}
