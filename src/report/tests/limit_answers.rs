//! A server that does not answer as its connections are opened: what it said instead, and what that tells of its limit.

use super::limit::{is, limit};
use crate::domain::{
    ByteText, ConnCount, Counters, GaveWay, LossReason, RunEvent, VerifyReport, WorkerId,
    WrongAnswer,
};
use crate::record::Recording;
use crate::report::model::LimitKind;
use crate::report::test_recordings::trouble::{
    CONNECTIONS, RAMP_ENDS, processes, search, server_ends, tell, tell_loss,
};

/// Connections that were not answered.
const UNANSWERED: u64 = 100;

/// All connections are accepted, and the last of them get this instead of their answer; nothing where it is empty.
fn answers(what: GaveWay, instead: &str) -> Recording {
    let unanswered = ConnCount::new(UNANSWERED);
    let counters = Counters {
        opened: ConnCount::new(CONNECTIONS),
        established: ConnCount::new(CONNECTIONS),
        answered: ConnCount::new(CONNECTIONS - UNANSWERED),
        unanswered,
        ..Counters::default()
    };
    let mut report = VerifyReport {
        asked: ConnCount::new(CONNECTIONS),
        echoed: counters.answered,
        ..VerifyReport::default()
    };
    if instead.is_empty() {
        report.silent = unanswered;
    } else {
        report.failed = vec![(LossReason::WrongBytes, UNANSWERED)];
        report.answers = vec![WrongAnswer {
            reason: LossReason::WrongBytes,
            local: None,
            expected: "+PONG".to_owned(),
            got: ByteText::from_bytes(instead.as_bytes()),
        }];
    }
    let worker = WorkerId::client(1);
    let mut recording = search(what, 0);
    let progress = RunEvent::Progress {
        worker,
        counters,
        latency: None,
    };
    tell(&mut recording, RAMP_ENDS, progress);
    tell(
        &mut recording,
        RAMP_ENDS,
        RunEvent::Greeted { worker, report },
    );
    recording
}

#[test]
fn an_answer_that_says_enough_names_its_own_maximum() {
    for instead in [
        "-ERR max number of clients reached",
        "HTTP/1.1 503 Unavailable",
        "HTTP/1.0 429 Too Many Requests",
    ] {
        let recording = answers(GaveWay::NotAnswered, instead);
        let words = ["7,900 connections were answered", instead];
        is(&recording, LimitKind::OwnMaximum, &words);
        assert_eq!(limit(&recording).connections, CONNECTIONS - UNANSWERED);
    }
    for instead in ["-ERR unknown command", "HTTP/1.1 500 Broken"] {
        let recording = answers(GaveWay::NotAnswered, instead);
        is(&recording, LimitKind::Unknown, &[instead]);
    }
}

#[test]
fn a_server_that_keeps_some_waiting_is_full_or_busy() {
    let recording = answers(GaveWay::NotAnswered, "");
    let words = ["and 100 were not: no answer in time (100)"];
    is(&recording, LimitKind::Stopped, &words);
    let mut busy = recording.clone();
    processes(&mut busy, |second, tree| {
        tree.cpu_seconds = second as f64;
    });
    is(&busy, LimitKind::Cpu, &words);
    let mut ended = recording;
    server_ends(&mut ended, RAMP_ENDS);
    is(&ended, LimitKind::Ended, &[]);
}

/// The last of them are answered, or not, when the ramp has ended.
#[test]
fn a_target_that_is_accepted_and_not_answered_is_not_reached() {
    let said = answers(GaveWay::Nothing, "HTTP/1.1 503 Unavailable");
    is(&said, LimitKind::OwnMaximum, &["100 were not"]);
    let unsaid = answers(GaveWay::Nothing, "-ERR unknown command");
    is(&unsaid, LimitKind::Unknown, &["100 were not"]);
}

/// What it accepts and closes unanswered is beyond the number that it serves.
#[test]
fn a_server_that_accepts_all_and_closes_some_has_its_own_maximum() {
    let mut recording = answers(GaveWay::NotAnswered, "-ERR unknown command");
    tell_loss(&mut recording, RAMP_ENDS, UNANSWERED, "");
    is(
        &recording,
        LimitKind::OwnMaximum,
        &["100 connections ended"],
    );
}
