//! Each kind of limit on a made-up recording: a server that accepts what comes, and then one thing that stops it.

use crate::domain::{ConnectFailure, GaveWay, Limit};
use crate::record::Recording;
use crate::report::analyse;
use crate::report::model::{LimitFinding, LimitKind};
use crate::report::test_recordings::subject::of_subject;
use crate::report::test_recordings::trouble::{
    CONNECTIONS, RAMP_ENDS, counter, fails, group, kernel_writes, processes, search, searches,
    server_ends, tell_loss, unexplained, writes,
};
use crate::report::test_recordings::{Staged, Until};

/// Connections that wait where a server accepts no more.
pub(super) const WAITING: u64 = 2000;
/// A server that accepts no more.
pub(super) const NOT_ACCEPTED: GaveWay = GaveWay::NotAccepted { seconds: 5 };

pub(super) fn limit(recording: &Recording) -> LimitFinding {
    analyse(recording).limit.expect("a limit is looked for")
}

/// Asserts the kind, and that the evidence has these words.
pub(super) fn is(recording: &Recording, kind: LimitKind, words: &[&str]) {
    let found = limit(recording);
    let evidence = found.evidence.join("\n");
    assert_eq!(found.kind, kind, "{evidence}");
    for words in words {
        assert!(evidence.contains(words), "{words:?} is not in: {evidence}");
    }
}

#[test]
fn where_every_connection_stays_the_target_is_reached() {
    let recording = search(GaveWay::Nothing, 0);
    is(
        &recording,
        LimitKind::TargetReached,
        &["accepted and stayed"],
    );
    let found = limit(&recording);
    assert_eq!((found.connections, found.next), (CONNECTIONS, None));
}

#[test]
fn a_limit_is_told_of_other_servers_alone() {
    let mut ours = Staged::good(CONNECTIONS).recording();
    searches(&mut ours);
    tell_loss(&mut ours, 20.0, 3, "");
    assert_eq!(analyse(&ours).limit, None);
}

#[test]
fn a_run_that_looks_for_no_limit_and_goes_well_has_none() {
    let mut recording = Staged::good(CONNECTIONS).recording();
    of_subject(&mut recording, 0);
    assert_eq!(analyse(&recording).limit, None);
}

/// A server keeps some descriptors for what it needs beside connections.
#[test]
fn a_process_with_few_descriptors_left_is_at_its_limit() {
    let fullest = |open| {
        let mut recording = search(NOT_ACCEPTED, WAITING);
        processes(&mut recording, |second, tree| {
            let fullest = tree.fullest.as_mut().expect("it is staged");
            if second == 13 {
                (fullest.pid, fullest.open) = (102, open);
            }
        });
        recording
    };
    is(
        &fullest(19_992),
        LimitKind::Descriptors,
        &[
            "process 102 had 19,992 of 20,000 descriptors open",
            "2,000 connections were established and waited",
        ],
    );
    is(&fullest(19_991), LimitKind::Stopped, &["19,991 of 20,000"]);
    let mut unlimited = fullest(20_000);
    processes(&mut unlimited, |_, tree| {
        let fullest = tree.fullest.as_mut().expect("it is staged");
        fullest.limit = Limit::Unlimited;
    });
    is(&unlimited, LimitKind::Stopped, &[]);
}

#[test]
fn a_line_of_its_log_names_descriptors() {
    for line in [
        "accept4() failed (24: Too many open files)",
        "Error: accept EMFILE",
        "OSError: [Errno 24] out of descriptors",
    ] {
        let mut recording = unexplained();
        writes(&mut recording, 14.0, line);
        let words = [line, "of 20,000 descriptors open"];
        is(&recording, LimitKind::Descriptors, &words);
        assert!(limit(&recording).cure.contains("worker_rlimit_nofile"));
    }
}

#[test]
fn a_server_whose_process_ended_has_ended() {
    let mut recording = search(
        GaveWay::ServerGone {
            how: "server was ended by signal 9".to_owned(),
        },
        0,
    );
    server_ends(&mut recording, RAMP_ENDS);
    for line in ["first", "second", "third", "fatal: out of luck"] {
        writes(&mut recording, 12.0, line);
    }
    let words = [
        "server was ended by signal 9",
        "it wrote: `fatal: out of luck`",
    ];
    is(&recording, LimitKind::Ended, &words);
    let evidence = limit(&recording).evidence;
    assert!(!evidence.iter().any(|line| line.contains("first")));
}

#[test]
fn a_process_that_was_killed_for_its_group_names_memory() {
    let mut recording = unexplained();
    group(&mut recording, |second| (30 + second, (second / 14).min(2)));
    let words = [
        "killed 1 of its processes for the memory of their control group",
        "the group may have 64.0 MiB, and had 57.0 MiB at most",
    ];
    is(&recording, LimitKind::Memory, &words);
    let mut alive = unexplained();
    group(&mut alive, |_| (60, 3));
    is(&alive, LimitKind::Unknown, &[]);
}

#[test]
fn a_group_that_is_full_when_nothing_more_is_accepted_names_memory() {
    let mut recording = search(NOT_ACCEPTED, WAITING);
    group(&mut recording, |second| {
        (if second < 11 { 30 } else { 63 }, 0)
    });
    let words = ["63.0 MiB of 64.0 MiB in use", "2,000 connections"];
    is(&recording, LimitKind::Memory, &words);
}

#[test]
fn dropped_handshakes_name_the_accept_queue() {
    let mut recording = search(GaveWay::ConnectFailed, 0);
    fails(&mut recording, ConnectFailure::TimedOut, 40);
    counter(&mut recording, "ListenOverflows", |second| match second {
        0..=5 => 100,
        6..=12 => 150,
        _ => 1334,
    });
    counter(&mut recording, "TCPSynRetrans", |second| second * 10);
    let words = [
        "dropped 1,234 handshakes because the accept queue was full",
        "the accept queue takes 511 connections",
        "sent 210 handshakes again",
    ];
    is(&recording, LimitKind::ListenQueue, &words);
    counter(&mut recording, "ListenOverflows", |_| 100);
    is(&recording, LimitKind::Unknown, &["40 connects failed"]);
}

#[test]
fn a_line_about_threads_names_them_with_their_number() {
    let mut recording = unexplained();
    processes(&mut recording, |_, tree| tree.threads = 7999);
    writes(&mut recording, 14.0, "RuntimeError: can't start new thread");
    let words = [
        "`RuntimeError: can't start new thread`",
        "7,999 threads in 3 processes, and 8,000 connections",
    ];
    is(&recording, LimitKind::Threads, &words);
}

#[test]
fn what_the_clients_lack_is_their_own_limit() {
    for (class, why) in [
        (ConnectFailure::NoPorts, "no source port was left"),
        (ConnectFailure::NoDescriptors, "tables were full"),
        (ConnectFailure::NoMemory, "no memory for them"),
        (ConnectFailure::NoFiles, "no file left"),
    ] {
        let mut recording = search(GaveWay::ConnectFailed, 0);
        fails(&mut recording, class, 37);
        let words = ["37 connects failed", why];
        is(&recording, LimitKind::Clients, &words);
    }
    let mut refused = search(GaveWay::ConnectFailed, 0);
    fails(&mut refused, ConnectFailure::Refused, 37);
    is(&refused, LimitKind::Unknown, &["37 connects failed"]);
}

#[test]
fn the_kernels_word_on_connection_tracking_is_enough() {
    let mut recording = unexplained();
    let line = "nf_conntrack: nf_conntrack: table full, dropping packet";
    kernel_writes(&mut recording, 14, line);
    is(&recording, LimitKind::Conntrack, &[line]);
}

#[test]
fn the_guard_and_the_kernel_name_the_machines_memory() {
    let mut recording = Staged::good(CONNECTIONS).until(Until::Guard).recording();
    of_subject(&mut recording, 0);
    searches(&mut recording);
    let words = ["the guard stopped the ramp: 512 MiB are left"];
    is(&recording, LimitKind::MachineMemory, &words);
    let mut recording = unexplained();
    let line = "Out of memory: Killed process 812 (mc) anon-rss:253056kB";
    kernel_writes(&mut recording, 14, line);
    is(&recording, LimitKind::MachineMemory, &[line]);
}

/// A full table of the machine's files is cured elsewhere than one of the process's.
#[test]
fn a_machine_without_files_is_not_told_to_raise_the_limit_of_a_process() {
    let mut recording = unexplained();
    writes(
        &mut recording,
        RAMP_ENDS,
        "accept: Too many open files in system",
    );
    is(
        &recording,
        LimitKind::Descriptors,
        &["open files in system"],
    );
    assert!(limit(&recording).cure.contains("fs.file-max"));
}
