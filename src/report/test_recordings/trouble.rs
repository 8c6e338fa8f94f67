//! What goes wrong in a staged search for a server's limit: each function adds one thing to the recording. Before any of them
//! 8,000 connections are opened and held, and nothing points at a limit.

use super::Staged;
use super::subject::of_subject;
use crate::domain::*;
use crate::record::Recording;

/// Connections that are asked for.
pub(in crate::report) const CONNECTIONS: u64 = 8000;

/// Seconds at which the ramp ends.
pub(in crate::report) const RAMP_ENDS: f64 = 13.0;

/// A search in which `what` gave way at the end of the ramp, and so many connections wait in the accept queue.
pub(in crate::report) fn search(what: GaveWay, waiting: u64) -> Recording {
    let mut recording = Staged::good(CONNECTIONS).recording();
    of_subject(&mut recording, waiting);
    searches(&mut recording);
    let event = RunEvent::GaveWay {
        what,
        established: ConnCount::new(CONNECTIONS),
        accepted: ConnCount::new(CONNECTIONS - waiting),
    };
    tell(&mut recording, RAMP_ENDS, event);
    recording
}

/// A search in which connections ended, and no word says why: one of them, 20 s after the beginning.
pub(in crate::report) fn unexplained() -> Recording {
    let mut recording = search(GaveWay::Lost, 0);
    loses(&mut recording, 20.0, 1, CONNECTIONS - 1);
    recording
}

/// Makes a recording one of a search.
pub(in crate::report) fn searches(recording: &mut Recording) {
    let Reading::Present(summary) = &mut recording.summary else {
        panic!("the staged run has a summary");
    };
    summary.limit = Some(LimitSearch::default());
}

/// An event, behind those of the same moment.
pub(in crate::report) fn tell(recording: &mut Recording, at_seconds: f64, event: RunEvent) {
    let events = &mut recording.events;
    let place = events.partition_point(|told| told.at_seconds <= at_seconds);
    let stage = None;
    events.insert(
        place,
        Envelope {
            at_seconds,
            stage,
            event,
        },
    );
}

/// A line that the server wrote.
pub(in crate::report) fn writes(recording: &mut Recording, at_seconds: f64, line: &str) {
    let text = line.to_owned();
    tell(recording, at_seconds, RunEvent::Output { text });
}

/// A line that the kernel wrote in the second before this one: a sample has what is new since the last.
pub(in crate::report) fn kernel_writes(recording: &mut Recording, second: u64, line: &str) {
    let message = KernelMessage {
        boot_seconds: 1000.0 + second as f64,
        text: line.to_owned(),
    };
    for sample in &mut recording.samples {
        if sample.number == second {
            sample.kernel_log = Reading::Present(vec![message.clone()]);
        }
    }
}

/// The server closes so many connections, and so many are left.
pub(in crate::report) fn loses(recording: &mut Recording, at: f64, count: u64, left: u64) {
    tell_loss(recording, at, count, "");
    let counters = Counters {
        opened: ConnCount::new(CONNECTIONS),
        established: ConnCount::new(left),
        lost: ConnCount::new(CONNECTIONS - left),
        ..Counters::default()
    };
    progress(recording, at, counters);
    has_accepted(recording, at, left, 0);
}

/// The server has so many connections, and the others wait in its accept queue.
pub(in crate::report) fn accepts(recording: &mut Recording, at: f64, accepted: u64) {
    has_accepted(recording, at, accepted, CONNECTIONS - accepted);
}

fn has_accepted(recording: &mut Recording, at: f64, accepted: u64, waiting: u64) {
    let state = AcceptState {
        accepted,
        waiting,
        half_open: 0,
        closed_by_client: 0,
        queues: Vec::new(),
    };
    tell(recording, at, RunEvent::Accepting { state });
}

/// The clients find so many connections closed, on which the server has said something before.
pub(in crate::report) fn tell_loss(recording: &mut Recording, at: f64, count: u64, said: &str) {
    let note = LossNote {
        reason: LossReason::ClosedByPeer,
        count,
        examples: Vec::new(),
        said: ByteText::from_bytes(said.as_bytes()),
    };
    let worker = WorkerId::client(1);
    tell(recording, at, RunEvent::Lost { worker, note });
}

/// So many connections could not be opened.
pub(in crate::report) fn fails(recording: &mut Recording, class: ConnectFailure, count: u64) {
    let left = ConnCount::new(CONNECTIONS - count);
    let counters = Counters {
        opened: left,
        established: left,
        failed: [(class, count)].into(),
        ..Counters::default()
    };
    progress(recording, RAMP_ENDS, counters);
}

fn progress(recording: &mut Recording, at: f64, counters: Counters) {
    let event = RunEvent::Progress {
        worker: WorkerId::client(1),
        counters,
        latency: None,
    };
    tell(recording, at, event);
}

/// The server's process ends, though nobody has asked it to.
pub(in crate::report) fn server_ends(recording: &mut Recording, at: f64) {
    let event = RunEvent::WorkerExited {
        worker: WorkerId::SERVER,
        code: None,
        signal: Some(9),
        oom_killed: None,
        expected: false,
    };
    tell(recording, at, event);
}

/// The server's control group, which may have 64 MiB: how many MiB of them it has in use at each second, and how many of its
/// processes were killed until then.
pub(in crate::report) fn group(recording: &mut Recording, at: impl Fn(u64) -> (u64, u64)) {
    for sample in &mut recording.samples {
        let (charged, kills) = at(sample.number);
        sample.cgroups.push(CgroupSample {
            worker: WorkerId::SERVER,
            version: 2,
            charged: Bytes::from_mib(charged),
            kernel: Reading::missing("not staged"),
            sockets: Reading::missing("not staged"),
            anonymous: Reading::missing("not staged"),
            limit: Limit::At(Bytes::from_mib(64)),
            oom_kills: Reading::Present(kills),
        });
    }
}

/// Changes what the server's processes have at each second.
pub(in crate::report) fn processes(
    recording: &mut Recording,
    change: impl Fn(u64, &mut TreeSample),
) {
    for sample in &mut recording.samples {
        for (_, tree) in &mut sample.trees {
            change(sample.number, tree);
        }
    }
}

/// A counter of TCP at each second.
pub(in crate::report) fn counter(recording: &mut Recording, name: &str, at: impl Fn(u64) -> u64) {
    for sample in &mut recording.samples {
        for namespace in &mut sample.namespaces {
            if let Reading::Present(tcp) = &mut namespace.tcp {
                tcp.counters.insert(name.to_owned(), at(sample.number));
            }
        }
    }
}
