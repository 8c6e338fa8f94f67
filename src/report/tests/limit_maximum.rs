//! A maximum of the server's own, a timeout, and what looks like them: made-up recordings.

use super::limit::{NOT_ACCEPTED, WAITING, is, limit};
use crate::domain::{ConnCount, ConnectFailure, GaveWay, RunEvent};
use crate::record::Recording;
use crate::report::model::LimitKind;
use crate::report::test_recordings::Staged;
use crate::report::test_recordings::subject::of_subject;
use crate::report::test_recordings::trouble::{
    CONNECTIONS, fails, loses, processes, search, server_ends, tell_loss, unexplained, writes,
};

#[test]
fn a_server_that_takes_no_more_and_lacks_nothing_has_a_maximum_only_by_its_word() {
    let mut recording = search(NOT_ACCEPTED, WAITING);
    let stopped = [
        "never had more than 6,000 connections",
        "2,000 connections were established and waited",
        "0.02 cores",
    ];
    is(&recording, LimitKind::Stopped, &stopped);
    let line = "Proxy front reached its configured maximum connections";
    writes(&mut recording, 14.0, line);
    is(&recording, LimitKind::OwnMaximum, &stopped);
    is(&recording, LimitKind::OwnMaximum, &[line]);
}

#[test]
fn a_server_that_does_not_keep_up_and_uses_a_core_lacks_processor_time() {
    let uses = |mut recording: Recording, cores: f64| {
        processes(&mut recording, |second, tree| {
            tree.cpu_seconds = second as f64 * cores;
        });
        recording
    };
    let stops = || search(NOT_ACCEPTED, WAITING);
    let words = ["1.00 cores", "2,000 connections were established"];
    is(&uses(stops(), 1.0), LimitKind::Cpu, &words);
    is(&uses(stops(), 0.7), LimitKind::Unknown, &["0.70 cores"]);
    let mut late = uses(search(GaveWay::ConnectFailed, 0), 1.0);
    fails(&mut late, ConnectFailure::TimedOut, 3);
    is(&late, LimitKind::Cpu, &["1.00 cores"]);
    // One that keeps up lacks nothing, however busy it is.
    is(&uses(unexplained(), 1.0), LimitKind::Unknown, &[]);
}

#[test]
fn a_server_that_says_why_it_closes_has_its_own_maximum() {
    const SAYS: &str = "-ERR max number of clients reached\r\n";
    let refuses = |says: &str| {
        let mut recording = search(GaveWay::Lost, 0);
        loses(&mut recording, 12.0, 2, CONNECTIONS - 3);
        tell_loss(&mut recording, 12.0, 1, says);
        recording
    };
    is(
        &refuses(SAYS),
        LimitKind::OwnMaximum,
        &[
            "3 connections ended: closed by the peer (FIN)",
            "said before it closed them: `-ERR max number of clients reached`",
        ],
    );
    is(&refuses(""), LimitKind::Unknown, &["3 connections ended"]);
}

/// A server that has so many connections at most. At each of these seconds it closes so many, and does not say why.
fn refuses(most: u64, seconds: &[u64], count: u64) -> Recording {
    let mut recording = search(GaveWay::Lost, 0);
    for envelope in &mut recording.events {
        match &mut envelope.event {
            RunEvent::Progress { counters, .. } => {
                counters.established = counters.established.min(ConnCount::new(most));
            }
            RunEvent::Accepting { state } => state.accepted = state.accepted.min(most),
            _ => {}
        }
    }
    for second in seconds {
        tell_loss(&mut recording, *second as f64, count, "");
    }
    recording
}

#[test]
fn a_server_that_closes_what_comes_beyond_a_number_has_its_own_maximum() {
    let words = ["more than 6,000 connections", "2,000 connections ended"];
    is(
        &refuses(6000, &[12, 13], 1000),
        LimitKind::OwnMaximum,
        &words,
    );
}

/// Ten at least, and a hundredth of what it has.
#[test]
fn single_connections_that_end_are_not_refused() {
    for (most, fewest) in [(500, 10), (6000, 60)] {
        let fewer = refuses(most, &[13], fewest - 1);
        is(&fewer, LimitKind::Unknown, &["connections ended"]);
        let enough = refuses(most, &[13], fewest);
        is(&enough, LimitKind::OwnMaximum, &["connections ended"]);
    }
}

#[test]
fn a_server_that_does_not_keep_what_it_has_met_no_maximum() {
    for (left, kind) in [
        (5400, LimitKind::OwnMaximum),
        (5399, LimitKind::Unknown),
        (3000, LimitKind::Unknown),
    ] {
        let mut recording = refuses(6000, &[12], 1000);
        loses(&mut recording, 13.0, 6000 - left, left);
        assert_eq!(limit(&recording).kind, kind, "{left} are left");
    }
    let mut ended = refuses(6000, &[12, 13], 1000);
    server_ends(&mut ended, 20.0);
    is(&ended, LimitKind::Ended, &[]);
}

/// A maximum is a number beyond which something was refused: here all that were asked for were accepted.
#[test]
fn connections_that_end_after_all_were_accepted_met_no_maximum() {
    let mut recording = search(GaveWay::Lost, 0);
    loses(&mut recording, 13.0, 400, CONNECTIONS - 400);
    is(&recording, LimitKind::Unknown, &["400 connections ended"]);
    tell_loss(&mut recording, 13.0, 1, "too many, go away");
    is(&recording, LimitKind::OwnMaximum, &["too many, go away"]);
}

/// Opened at 1,000 a second, and ended so 10 s later, also when none were opened any more.
#[test]
fn connections_that_end_at_the_same_age_met_a_timeout() {
    let mut recording = search(GaveWay::Nothing, 0);
    for second in 1..=8 {
        let left = CONNECTIONS - second * 1000;
        loses(&mut recording, 15.0 + second as f64, 1000, left);
    }
    let words = ["8,000 connections ended at nearly the same age: half of them at 10 s"];
    is(&recording, LimitKind::IdleTimeout, &words);
    assert!(limit(&recording).cure.contains("client_header_timeout"));
}

/// Each that comes ends the oldest, which are all of one age then. When none come any more none ends.
#[test]
fn a_server_that_closes_its_oldest_for_what_comes_has_a_maximum() {
    let recording = refuses(4000, &[10, 11, 12, 13], 1000);
    let words = ["more than 4,000 connections", "4,000 connections ended"];
    is(&recording, LimitKind::OwnMaximum, &words);
}

/// The clients had them for a while, and the server never.
#[test]
fn connections_that_never_add_up_at_the_server_were_refused() {
    let mut recording = refuses(1000, &[], 0);
    for second in 16..=23 {
        tell_loss(&mut recording, f64::from(second), 1000, "");
    }
    for envelope in &mut recording.events {
        if let RunEvent::Progress { counters, .. } = &mut envelope.event {
            counters.established = counters.opened;
        }
    }
    is(&recording, LimitKind::OwnMaximum, &["more than 1,000"]);
}

/// Half of them, all at once.
#[test]
fn connections_that_end_at_all_ages_met_no_timeout() {
    let mut recording = search(GaveWay::Lost, 0);
    loses(&mut recording, 20.0, 4000, CONNECTIONS / 2);
    is(&recording, LimitKind::Unknown, &["4,000 connections ended"]);
}

/// A run of 400, which are proved from 18 s on, in which all of them end at once.
fn all_end_at(seconds: f64) -> Recording {
    let mut recording = Staged::good(400).recording();
    of_subject(&mut recording, 0);
    tell_loss(&mut recording, seconds, 400, "");
    recording
}

/// A process that ends takes those along that it has. They are taken for the oldest, which are all of one age where they are
/// few.
#[test]
fn a_few_connections_that_end_at_once_met_no_timeout() {
    let mut recording = search(GaveWay::Lost, 0);
    loses(&mut recording, 20.0, 400, CONNECTIONS - 400);
    is(&recording, LimitKind::Unknown, &["400 connections ended"]);
    // Where they go on ending in their order, and where none is left, it is a timeout.
    let words = ["400 connections ended at nearly"];
    is(&all_end_at(12.0), LimitKind::IdleTimeout, &words);
    let mut some = search(GaveWay::Nothing, 0);
    for second in 1..=4 {
        let left = CONNECTIONS - second * 1000;
        loses(&mut some, 20.0 + second as f64, 1000, left);
    }
    let words = ["4,000 connections ended at nearly"];
    is(&some, LimitKind::IdleTimeout, &words);
}

#[test]
fn connections_that_end_while_something_is_said_are_not_idle() {
    is(&all_end_at(17.9), LimitKind::IdleTimeout, &[]);
    let words = ["400 connections ended: closed by the peer"];
    is(&all_end_at(18.1), LimitKind::Unknown, &words);
}
