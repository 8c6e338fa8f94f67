//! A server that is not the lab's own: what is told of it, and what is said where its side was not seen.

use super::close;
use crate::domain::{
    AcceptState, Bytes, DescriptorUse, Figure, Reading, RunEvent, RunVerdict, Subject, Use,
    WorkerId, WorkerSpec,
};
use crate::record::Recording;
use crate::report::test_recordings::subject::{CPU_MICROS_EACH, PSS, REQUEST, of_subject};
use crate::report::test_recordings::{KERNEL_SERVER, SERVER_EACH, Staged};
use crate::report::{LimitKind, UserBy, analyse, charts, markdown, text};

const CONNECTIONS: u64 = 8000;

fn recording(waiting: u64) -> Recording {
    let mut recording = Staged::good(CONNECTIONS).recording();
    of_subject(&mut recording, waiting);
    recording
}

/// Lines that the server wrote, at so many seconds.
fn writes(recording: &mut Recording, lines: &[(f64, String)]) {
    let end = recording.events.pop().expect("the run ends");
    for (at_seconds, line) in lines {
        recording.events.push(crate::domain::Envelope {
            at_seconds: *at_seconds,
            stage: None,
            event: RunEvent::Output { text: line.clone() },
        });
    }
    recording.events.push(end);
}

#[test]
fn the_page_of_a_server_that_is_not_ours() {
    let mut recording = recording(0);
    writes(&mut recording, &[(2.0, "notice: ready | `go`".to_owned())]);
    let report = analyse(&recording);
    assert_eq!(
        report.result.verdict,
        RunVerdict::Held,
        "{:?}",
        report.result.reasons
    );
    let drawn = charts(&report).expect("draws");
    assert!(drawn.iter().any(|chart| chart.file == "accepted.svg"));
    insta::assert_snapshot!("subject_page", markdown(&report, &drawn));
    insta::assert_snapshot!("subject_text", text(&report));
    insta::assert_json_snapshot!("subject_server", report.result.server);
}

#[test]
fn what_it_used_is_what_was_staged() {
    let report = analyse(&recording(0));
    let result = &report.result;
    let of = |what| Figure::Server(what).of(result);
    assert!(close(of(Use::Accepted), CONNECTIONS));
    assert!(close(of(Use::Waiting), 0));
    assert!(close(of(Use::Processes), 3));
    assert!(close(of(Use::Descriptors), CONNECTIONS + 30));
    let cpu = (CONNECTIONS * CPU_MICROS_EACH) as f64 / 1e6;
    assert!((of(Use::Cpu).expect("known") - cpu).abs() < 1e-9);
    assert!(close(of(Use::Pss), PSS.bytes() + CONNECTIONS * SERVER_EACH));
    let server = report.server.as_ref().expect("a subject");
    let sizing = server.sizing.present().expect("measured");
    assert!((sizing.user - SERVER_EACH as f64).abs() < 0.01);
    // A descriptor table of 64 KiB and a little may be the server's.
    let kernel = sizing.kernel - KERNEL_SERVER as f64;
    assert!((0.0..9.0).contains(&kernel), "{kernel}");
    let need = sizing.descriptors.present().expect("known");
    assert_eq!(need.all(100_000), 100_030);
    assert_eq!(need.fullest(100_000), 50_010);
    assert_eq!(sizing.watches.map(f64::round), Some(1.0));
    let fits = sizing.connections(1_073_741_824.0);
    assert_eq!(
        result
            .server
            .as_ref()
            .and_then(|server| server.connections_per_gib),
        Some(fits)
    );
    assert!(sizing.bytes(fits) <= 1_073_741_824.0);
    assert!(sizing.bytes(fits + 1) > 1_073_741_824.0);
    let memory = report.memory.present().expect("measured");
    let rows: f64 = memory.rows.iter().map(|row| row.bytes).sum();
    assert!((rows - memory.total()).abs() < 1.0);
}

/// A connection in the accept queue has a socket and a request, and neither file nor inode nor registration.
#[test]
fn what_waits_costs_a_socket_and_a_request() {
    const WAITING: u64 = 2000;
    let report = analyse(&recording(WAITING));
    let memory = report.memory.present().expect("measured");
    let server = |object: &str| {
        let row = memory.row(object).expect("a row");
        row.server
    };
    let near = |found: f64, expected: u64| (found - expected as f64).abs() < 20_000.0;
    assert!(near(server("TCP"), CONNECTIONS * 2520));
    assert!(near(server("filp"), (CONNECTIONS - WAITING) * 195));
    assert!(near(server("eventpoll_epi"), (CONNECTIONS - WAITING) * 128));
    assert!(near(server("request_sock_TCP"), WAITING * REQUEST));
    assert_eq!(report.result.verdict, RunVerdict::Missed);
    assert_eq!(report.result.connections.held, Some(CONNECTIONS - WAITING));
    let page = markdown(&report, &[]);
    assert!(
        page.contains("| target | 6,000 | 2,000 | 0 | 0 |"),
        "{page}"
    );
    assert!(
        page.contains("Not known: 2,000 connections waited"),
        "{page}"
    );
}

/// A server with a process for each connection: `RssAnon` has the pages that they share once for each.
#[test]
fn pages_that_forked_processes_share_count_once() {
    const SHARED: u64 = 5 << 20;
    const OWN: u64 = 100_000;
    let mut recording = recording(0);
    for sample in &mut recording.samples {
        let [(_, tree)] = &mut sample.trees[..] else {
            panic!("one tree is staged");
        };
        let accepted = tree.descriptors.present().copied().unwrap_or(0) - 30;
        tree.fullest = tree.fullest.map(|fullest| DescriptorUse {
            open: 10,
            ..fullest
        });
        tree.processes += accepted;
        tree.threads += accepted;
        tree.proportional = Some(Reading::Present(PSS + Bytes::new(accepted * OWN)));
        let server = &mut sample.processes[0];
        server.threads = tree.threads;
        server.anonymous += Bytes::new(accepted * (OWN + SHARED));
        if let Reading::Present(memory) = &mut sample.memory {
            memory.kernel_stack += Bytes::new(accepted * (16 << 10));
        }
    }
    let report = analyse(&recording);
    let server = &report.result.memory.server;
    assert!(close(server.user_bytes_per_connection, OWN), "{server:?}");
    let how = &server.how["user_bytes_per_connection"];
    assert!(how.contains("PSS"), "{how}");
    let memory = report.memory.present().expect("measured");
    let stacks = memory.row("kernel stacks").expect("a row");
    assert!(close(Some(stacks.server), CONNECTIONS * (16 << 10)));
    let sizing = &report.server.as_ref().expect("a subject").sizing;
    let sizing = sizing.present().expect("measured");
    assert!((sizing.user - OWN as f64).abs() < 0.01);
    assert!(matches!(sizing.user_by, UserBy::Difference { .. }));
    let need = sizing.descriptors.present().expect("known");
    assert_eq!((need.all(10_000), need.fullest(10_000)), (10_030, 10));
    assert!(markdown(&report, &[]).contains("1.00 threads for each connection"));
}

/// Many kernels keep registrations in the slabs of bind buckets. What else epoll has for each tells how many there are.
#[test]
fn a_server_without_epoll_is_charged_for_no_watch() {
    let mut recording = recording(0);
    for sample in &mut recording.samples {
        if let Reading::Present(slabs) = &mut sample.slabs {
            slabs.retain(|cache| !cache.name.starts_with("eventpoll"));
            for cache in slabs {
                match cache.name.as_str() {
                    "ep_head" => cache.objects = 10,
                    "tcp_bind2_bucket" => {
                        cache.merged = vec!["eventpoll_epi".to_owned(), cache.name.clone()];
                    }
                    _ => {}
                }
            }
        }
    }
    let report = analyse(&recording);
    let memory = report.memory.present().expect("measured");
    assert_eq!(memory.row("eventpoll_epi"), None);
    let buckets = memory.row("tcp_bind2_bucket").expect("a row");
    assert!((buckets.client - (CONNECTIONS * 128) as f64).abs() < 20_000.0);
    let sizing = report.server.expect("a subject").sizing;
    assert_eq!(
        sizing.present().and_then(|sizing| sizing.watches),
        Some(0.0)
    );
}

#[test]
fn a_side_that_was_not_seen_is_said_to_be_so() {
    let mut recording = recording(0);
    for envelope in &mut recording.events {
        if let RunEvent::Subject { facts } = &mut envelope.event {
            facts.pid = None;
            facts.tree = None;
            facts.processes.clear();
            facts.program = Reading::missing("no process is known");
            facts.nofile = Reading::missing("no process is known");
        }
    }
    recording
        .events
        .retain(|envelope| !matches!(envelope.event, RunEvent::Accepting { .. }));
    for sample in &mut recording.samples {
        sample.trees.clear();
        sample
            .processes
            .retain(|process| !process.worker.is_server());
    }
    if let Reading::Present(summary) = &mut recording.summary
        && let WorkerSpec::Subject(spec) = &mut summary.workers[0].planned.spec
    {
        spec.subject = Subject::Target {
            address: "127.0.0.1:8080".parse().expect("an address"),
        };
    }
    let report = analyse(&recording);
    let server = report.result.server.as_ref().expect("a subject");
    assert_eq!((server.accepted, server.processes), (None, None));
    assert_eq!((server.cpu_seconds, server.pss_bytes), (None, None));
    assert_eq!(server.connections_per_gib, None);
    let page = markdown(&report, &[]);
    for words in [
        "whatever listens at `127.0.0.1:8080`",
        "what the server itself uses was not observed",
        "| target | the server's side was not observed |",
        "Not known: the server's side was not observed.",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(!page.contains("Processes | 0"), "{page}");
}

#[test]
fn the_last_lines_are_shown_as_they_are_and_those_around_a_loss() {
    let staged = Staged {
        lost: 3,
        counted_server: CONNECTIONS - 3,
        ..Staged::good(CONNECTIONS)
    };
    let mut recording = staged.recording();
    of_subject(&mut recording, 0);
    let lost_at = recording
        .events
        .iter()
        .find(|envelope| matches!(envelope.event, RunEvent::Lost { .. }))
        .map(|envelope| envelope.at_seconds)
        .expect("a loss is staged");
    let mut lines: Vec<(f64, String)> = (0..50)
        .map(|number| (3.0, format!("line {number}")))
        .collect();
    lines.push((
        lost_at + 1.5,
        "[alert] ```too many open files```".to_owned(),
    ));
    lines.push((lost_at + 2.0, "later \u{7}".to_owned()));
    lines.push((lost_at + 5.0, "connection reset".to_owned()));
    writes(&mut recording, &lines);
    let report = analyse(&recording);
    let page = markdown(&report, &[]);
    assert!(page.contains("The last 20 of 52 lines"), "{page}");
    assert!(
        !page.contains("line 31\n") && page.contains("line 32\n"),
        "{page}"
    );
    assert!(page.contains("\n````text\n"), "{page}");
    assert!(page.contains("later \u{fffd}\n"), "{page}");
    assert!(
        page.contains(" 1 came while connections were reset"),
        "{page}"
    );
    assert!(!page.contains("connection reset\n"), "{page}");
    let (trouble, near) = report
        .server
        .as_ref()
        .and_then(|server| server.around_trouble.as_ref())
        .expect("a loss");
    assert!((trouble.at_seconds - lost_at).abs() < 1e-9);
    assert_eq!(near.len(), 2, "{near:?}");
    assert!(page.contains("The first connection was lost at"), "{page}");
}

#[test]
fn the_labs_own_server_has_none_of_it() {
    let report = analyse(&Staged::good(CONNECTIONS).recording());
    assert!(report.server.is_none() && report.result.server.is_none());
    let json = serde_json::to_value(&report.result).expect("encodes");
    assert_eq!(json.get("server"), None);
    let page = markdown(&report, &[]);
    assert!(!page.contains("## The server") && !page.contains("## Sizing"));
}

/// All connections of one age, as with a timeout: they were opened at once and ended with the server.
#[test]
fn a_server_that_ends_is_not_taken_for_one_with_a_timeout() {
    let mut staged = Staged::good(CONNECTIONS);
    staged.lost = CONNECTIONS;
    let mut recording = staged.recording();
    of_subject(&mut recording, 0);
    let why = "sh exited with code 3";
    let failed = |error: String| RunEvent::Failed { error, hint: None };
    let events = &mut recording.events;
    let lost = events
        .iter()
        .position(|told| matches!(told.event, RunEvent::Lost { .. }))
        .expect("connections end");
    let end = [
        RunEvent::Accepting {
            state: AcceptState::default(),
        },
        failed(format!("server: {why}")),
        RunEvent::WorkerExited {
            worker: WorkerId::SERVER,
            code: Some(1),
            signal: None,
            oom_killed: None,
            expected: false,
        },
        failed(format!("server: {why}")),
    ];
    let at_seconds = events[lost].at_seconds + 0.3;
    let end = end.map(|event| crate::domain::Envelope {
        at_seconds,
        stage: None,
        event,
    });
    events.splice(lost + 1..=lost, end);
    let report = analyse(&recording);
    let limit = report.limit.as_ref().expect("it gave way");
    assert_eq!(limit.kind, LimitKind::Ended, "{:?}", limit.evidence);
    assert_eq!(limit.evidence[0], why);
    let result = &report.result;
    assert_eq!(result.connections.accepted, Some(CONNECTIONS));
    let said = |reason: &&String| reason.contains(why) || reason.contains("code 1");
    assert_eq!(
        result.reasons.iter().filter(said).collect::<Vec<_>>(),
        [&format!("server: {why}")],
        "once, and not as a code of the lab's own process"
    );
}

/// Other memory came free while the connections took theirs.
#[test]
fn no_machine_is_sized_by_connections_that_cost_nothing() {
    let mut recording = recording(0);
    let first = recording.samples[0].slabs.clone();
    for sample in &mut recording.samples {
        sample.slabs = first.clone();
    }
    let report = analyse(&recording);
    let sizing = report.server.expect("a subject").sizing;
    let gap = sizing.gap().expect("a gap");
    assert!(gap.contains("came out as nothing"), "{gap}");
}
