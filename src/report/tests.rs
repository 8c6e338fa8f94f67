//! What is staged must come out: figures, verdicts, and the page that tells them.

mod limit;
mod limit_answers;
mod limit_evidence;
mod limit_maximum;
mod memory;
mod server;
mod verdict;

use super::test_recordings::{KERNEL_EACH, KERNEL_SERVER, SERVER_EACH, Staged, Until};
use super::{Report, analyse, charts, markdown, text};
use crate::domain::{Bound, Reading, RunVerdict};

fn report(staged: &Staged) -> Report {
    analyse(&staged.recording())
}

fn close(found: Option<f64>, expected: u64) -> bool {
    found.is_some_and(|found| (found - expected as f64).abs() < 0.01)
}

#[test]
fn a_good_run_is_held_and_costs_what_was_staged() {
    let report = report(&Staged::good(8000));
    let result = &report.result;
    assert_eq!(result.verdict, RunVerdict::Held, "{:?}", result.reasons);
    assert_eq!(result.connections.held, Some(8000));
    assert_eq!(result.connections.verified, Some(8000));
    let both = &result.memory.both;
    assert!(
        close(both.kernel_bytes_per_connection, KERNEL_EACH),
        "{both:?}"
    );
    assert!(close(both.bytes_per_connection, KERNEL_EACH + SERVER_EACH));
    assert!(close(
        result.memory.server.user_bytes_per_connection,
        SERVER_EACH
    ));
    let server = &result.memory.server;
    assert!(close(server.kernel_bytes_per_connection, KERNEL_SERVER));
    assert!(close(
        server.bytes_per_connection,
        KERNEL_SERVER + SERVER_EACH
    ));
    assert!(close(
        result.memory.client.kernel_bytes_per_connection,
        KERNEL_EACH - KERNEL_SERVER
    ));
    assert!(close(result.memory.shared_bytes_per_connection, 0));
    assert_eq!(result.memory.disturbed, None);
    assert!(close(
        result.memory.slope_bytes_per_connection.value,
        KERNEL_EACH + SERVER_EACH
    ));
    assert!(result.thresholds.iter().all(|threshold| threshold.held));
}

#[test]
fn the_page_of_a_good_run() {
    let report = report(&Staged::good(8000));
    let drawn = charts(&report).expect("draws");
    insta::assert_snapshot!("good_page", markdown(&report, &drawn));
    insta::assert_snapshot!("good_text", text(&report));
    insta::assert_json_snapshot!("good_result", report.result);
}

#[test]
fn a_reduced_run_says_so_in_its_first_line() {
    let staged = Staged {
        requested: 1_024_000,
        ..Staged::good(8000)
    };
    let report = report(&staged);
    assert_eq!(report.result.verdict, RunVerdict::Held);
    let page = markdown(&report, &[]);
    let first = page.lines().next().expect("a line");
    assert!(
        first.starts_with("**HELD 8,000 of 8,000 (reduced from 1,024,000"),
        "{first}"
    );
}

#[test]
fn losses_phantoms_and_missed_bounds_are_missed_with_their_reason() {
    let lost = Staged {
        lost: 3,
        counted_server: 7997,
        ..Staged::good(8000)
    };
    let phantoms = Staged {
        counted_server: 7990,
        ..Staged::good(8000)
    };
    let mut slow = Staged::good(8000);
    slow.thresholds[0].bound = Bound::AtLeast(1e9);
    for (staged, reason) in [
        (lost, "3 connections were lost"),
        (
            phantoms,
            "7,990 established connections on the server's end",
        ),
        (slow, "threshold ramp.rate_per_second"),
    ] {
        let result = report(&staged).result;
        assert_eq!(result.verdict, RunVerdict::Missed);
        assert!(
            result.reasons.iter().any(|found| found.contains(reason)),
            "{:?}",
            result.reasons
        );
    }
}

#[test]
fn a_missing_sample_at_a_mark_is_invalid_and_never_a_zero() {
    let staged = Staged {
        baseline_there: false,
        ..Staged::good(8000)
    };
    let result = report(&staged).result;
    assert_eq!(result.verdict, RunVerdict::Invalid);
    assert_eq!(result.memory.both.bytes_per_connection, None);
    let how = &result.memory.both.how["bytes_per_connection"];
    assert!(how.contains("not in the recording"), "{how}");
}

#[test]
fn a_run_that_ends_anywhere_is_told_truthfully() {
    for (until, verdict, word) in [
        (
            Until::Preflight,
            RunVerdict::Interrupted,
            "during preflight",
        ),
        (
            Until::ProvisionFailed,
            RunVerdict::Invalid,
            "Operation not permitted",
        ),
        (
            Until::InterruptedRamp,
            RunVerdict::Interrupted,
            "SIGINT ended the run during ramp",
        ),
        (Until::Guard, RunVerdict::Stopped, "would have fitted"),
        (
            Until::PowerLost,
            RunVerdict::Interrupted,
            "stops during hold",
        ),
    ] {
        let report = report(&Staged::good(8000).until(until));
        assert_eq!(report.result.verdict, verdict, "{until:?}");
        let drawn = charts(&report).expect("draws");
        let page = markdown(&report, &drawn);
        assert!(page.contains(word), "{until:?}: {page}");
        assert!(text(&report).starts_with(&verdict.to_string().to_uppercase()));
    }
}

#[test]
fn a_result_obeys_its_published_schema() {
    let schema: serde_json::Value =
        serde_json::from_str(&crate::domain::RunResult::schema()).expect("a schema");
    let validator = jsonschema::validator_for(&schema).expect("a valid schema");
    for until in [
        Until::Preflight,
        Until::ProvisionFailed,
        Until::Guard,
        Until::End,
    ] {
        let result = report(&Staged::good(8000).until(until)).result;
        let document = serde_json::to_value(&result).expect("serialises");
        let errors: Vec<String> = validator
            .iter_errors(&document)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}

/// `C1M_BLESS=1 cargo test published_schema` writes it anew.
#[test]
fn the_published_schema_is_not_stale() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/lab/schema/result.schema.json");
    let now = crate::domain::RunResult::schema();
    if std::env::var_os("C1M_BLESS").is_some() {
        std::fs::write(path, &now).expect("writes");
    }
    let published = std::fs::read_to_string(path).expect("is published");
    assert_eq!(published, now, "lab/schema/result.schema.json is stale");
}

/// An emulated machine is named where the run is, and where the method is.
#[test]
fn an_emulated_machine_is_named() {
    let mut recording = Staged::good(8000).recording();
    let page = markdown(&analyse(&recording), &[]);
    assert!(!page.contains("emulated"), "{page}");
    if let Reading::Present(facts) = &mut recording.facts {
        facts.virtual_machine = true;
        facts.emulated = true;
    }
    let page = markdown(&analyse(&recording), &[]);
    assert!(page.contains("The machine was emulated"), "{page}");
    assert!(page.contains("The processors are emulated"), "{page}");
}
