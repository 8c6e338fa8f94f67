//! The verdict is a proof: what was not counted or not proved is never held, and the first line says so.

use crate::domain::{
    ByteText, ConnCount, Conversation, HostIndex, HttpRequest, LossReason, NamespaceSample, Proof,
    Reading, Role, RunEvent, RunVerdict, Service, SocketStat, Stage, TcpCounters, Unanswered,
    VerifyShare, WorkerId, WorkerSpec, WrongAnswer,
};
use crate::record::Recording;
use crate::report::test_recordings::Staged;
use crate::report::{analyse, markdown, text};

fn good() -> Recording {
    Staged::good(8000).recording()
}

fn first_line(recording: &Recording) -> String {
    let report = analyse(recording);
    let text = text(&report);
    text.lines().next().unwrap_or_default().to_owned()
}

/// Changes what verifying found.
fn verified(recording: &mut Recording, change: impl Fn(&mut crate::domain::Verification)) {
    let mut found = false;
    for envelope in &mut recording.events {
        if let RunEvent::Verified(verification) = &mut envelope.event {
            change(verification);
            found = true;
        }
    }
    assert!(found, "the staged run verifies");
}

#[test]
fn a_client_that_did_not_finish_proving_makes_the_run_invalid() {
    for named in [true, false] {
        let mut recording = good();
        verified(&mut recording, |verification| {
            verification.clients.clear();
            if named {
                verification.unfinished = vec![WorkerId::client(1)];
            }
        });
        let result = analyse(&recording).result;
        assert_eq!(result.verdict, RunVerdict::Invalid, "{:?}", result.reasons);
        let line = first_line(&recording);
        assert!(
            line.starts_with("INVALID: client-1 did not finish proving"),
            "{line}"
        );
    }
}

#[test]
fn fewer_echoes_than_planned_are_no_proof() {
    let mut recording = good();
    verified(&mut recording, |verification| {
        let report = &mut verification.clients[0].1;
        (report.asked, report.echoed) = (ConnCount::new(100), ConnCount::new(100));
    });
    let result = analyse(&recording).result;
    assert_eq!(result.verdict, RunVerdict::Invalid);
    assert!(
        result.reasons[0].contains("100 of 8,000 echoes"),
        "{:?}",
        result.reasons
    );
}

#[test]
fn silent_connections_are_not_held() {
    let mut recording = good();
    verified(&mut recording, |verification| {
        let report = &mut verification.clients[0].1;
        report.echoed = ConnCount::new(0);
        report.silent = report.asked;
    });
    let result = analyse(&recording).result;
    assert_eq!(result.verdict, RunVerdict::Missed);
    assert_eq!(result.connections.held, Some(0));
    let line = first_line(&recording);
    assert!(
        line.starts_with("MISSED: 8,000 of 8,000 connections that were asked for an echo did not give it back; held 0 of 8,000"),
        "{line}"
    );
}

#[test]
fn wrong_answers_are_told_with_an_example_of_each_kind() {
    let mut recording = good();
    verified(&mut recording, |verification| {
        let report = &mut verification.clients[0].1;
        report.echoed = report.asked.saturating_sub(ConnCount::new(5));
        report.silent = ConnCount::new(2);
        report.failed = vec![(LossReason::Status(503), 3)];
        report.answers = vec![WrongAnswer {
            reason: LossReason::Status(503),
            local: "127.1.0.1:1024".parse().ok(),
            expected: "200 to 399".to_owned(),
            got: ByteText::from_bytes(b"HTTP/1.1 503 Unavailable\r\nServer: x"),
        }];
    });
    if let Reading::Present(summary) = &mut recording.summary {
        summary.protocol = Conversation::Http(HttpRequest::default());
    }
    let report = analyse(&recording);
    let example =
        "127.1.0.1:1024: status 503, expected 200 to 399: `HTTP/1.1 503 Unavailable`".to_owned();
    assert_eq!(
        report.result.unanswered,
        [
            Unanswered {
                reason: "no answer in time".to_owned(),
                count: 2,
                examples: Vec::new(),
            },
            Unanswered {
                reason: "status 503".to_owned(),
                count: 3,
                examples: vec![example.clone()],
            },
        ]
    );
    let page = markdown(&report, &[]);
    assert!(page.contains(&example), "{page}");
    assert!(page.contains("Proved alive by an HTTP response"), "{page}");
    let line = first_line(&recording);
    assert!(
        line.starts_with(
            "MISSED: 5 of 8,000 connections did not give an HTTP response as they should"
        ),
        "{line}"
    );
}

#[test]
fn an_end_that_was_not_counted_leaves_the_number_unknown() {
    for role in [Role::Server, Role::Client] {
        let mut recording = good();
        recording.events.retain(|envelope| {
            !matches!(&envelope.event, RunEvent::Counted { role: counted, .. } if *counted == role)
        });
        let report = analyse(&recording);
        assert_eq!(report.result.verdict, RunVerdict::Invalid);
        assert_eq!(report.result.connections.held, None);
        assert!(
            report.result.reasons[0].contains(&format!("the {role}'s end was not counted")),
            "{:?}",
            report.result.reasons
        );
        assert!(markdown(&report, &[]).contains("unknown: an end was not counted"));
    }
}

#[test]
fn what_is_not_proved_is_said_in_the_first_line() {
    let stage = |recording: &mut Recording, share: VerifyShare| {
        let Reading::Present(summary) = &mut recording.summary else {
            panic!("there is a summary");
        };
        for stage in &mut summary.stages {
            if let Stage::Verify { share: planned, .. } = stage {
                *planned = share;
            }
        }
    };
    let mut none = good();
    stage(&mut none, VerifyShare::None);
    none.events
        .retain(|envelope| !matches!(envelope.event, RunEvent::Verified(_)));
    let mut silent = none.clone();
    let Reading::Present(summary) = &mut silent.summary else {
        panic!("there is a summary");
    };
    let WorkerSpec::Server(server) = &mut summary.workers[0].planned.spec else {
        panic!("the first worker is the server");
    };
    server.service = Service::Silent;
    for recording in [none, silent] {
        let result = analyse(&recording).result;
        assert_eq!(result.verdict, RunVerdict::Held, "{:?}", result.reasons);
        assert_eq!(result.connections.proof, Proof::None);
        let line = first_line(&recording);
        assert!(line.contains("0 lost, not proved by an echo"), "{line}");
    }
}

#[test]
fn connections_that_only_the_clients_believe_in_have_a_row() {
    let staged = Staged {
        counted_server: 7990,
        ..Staged::good(8000)
    };
    let report = analyse(&staged.recording());
    assert_eq!(report.result.connections.phantom, Some(10));
    assert_eq!(report.result.connections.held, Some(7990));
    assert!(markdown(&report, &[]).contains("(phantoms) | 10 |"));
}

/// The sample after the tear-down has no namespace any more: what a counter did is in the ones before it.
#[test]
fn a_counter_that_grew_is_doubted_though_its_namespace_is_gone() {
    let mut recording = good();
    let count = recording.samples.len();
    for (number, sample) in recording.samples.iter_mut().enumerate() {
        let mut tcp = TcpCounters::default();
        if number > count / 2 {
            tcp.counters.insert("ListenOverflows".to_owned(), 37_334);
        }
        sample.namespaces = if number + 1 == count {
            Vec::new()
        } else {
            vec![NamespaceSample {
                host: HostIndex::SERVER,
                sockets: Reading::Present(SocketStat::default()),
                tcp: Reading::Present(tcp),
                conntrack: Reading::missing("none"),
            }]
        };
    }
    let doubts = analyse(&recording).result.doubts;
    assert!(
        doubts
            .iter()
            .any(|doubt| doubt.contains("ListenOverflows grew by 37,334 on server")),
        "{doubts:?}"
    );
    for sample in &mut recording.samples {
        for namespace in &mut sample.namespaces {
            namespace.tcp = Reading::missing("no such file");
        }
    }
    let doubts = analyse(&recording).result.doubts;
    assert!(
        doubts
            .iter()
            .any(|doubt| doubt.contains("TCP counters of server could not be read (no such file)")),
        "{doubts:?}"
    );
}

#[test]
fn a_broken_threshold_is_told_with_its_unit() {
    let mut staged = Staged::good(8000);
    staged.thresholds[0].bound = crate::domain::Bound::AtLeast(1e7);
    let line = first_line(&staged.recording());
    assert!(
        line.starts_with("MISSED: threshold ramp.rate_per_second: 1,000/s, and at least 10,000,000/s was asked for; held 8,000 of 8,000"),
        "{line}"
    );
}

#[test]
fn a_threshold_on_an_unknown_figure_says_why_it_is_unknown() {
    use crate::domain::{Bound, Figure, Part, Side, Threshold};
    let mut staged = Staged::good(8000);
    staged.thresholds = vec![Threshold {
        figure: Figure::Memory(Side::Server, Part::Charged),
        bound: Bound::AtMost(9000.0),
    }];
    let result = analyse(&staged.recording()).result;
    let threshold = &result.thresholds[0];
    assert_eq!(threshold.measured, None);
    let why = threshold.unknown_because.clone().expect("a reason");
    assert!(result.reasons[0].contains(&why), "{:?}", result.reasons);
    assert!(!why.is_empty());
}
