//! Reports of recorded runs: what they say, that they obey the published schema, and that a recording cut off anywhere
//! still makes a report.

use std::fs;
use std::path::{Path, PathBuf};

use c1m::domain::{RunEvent, RunVerdict};
use c1m::record::{self, EVENTS, PLAN, Recording, SAMPLES};
use c1m::report;
use proptest::prelude::*;
use tempfile::TempDir;

const ARTICLE: &str = "20261123T063951Z-article-f79a8027";

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/runs")
        .join(name)
}

/// A fixture to write into.
fn copied(name: &str) -> TempDir {
    let run = tempfile::tempdir().expect("a directory");
    for entry in fs::read_dir(fixture(name)).expect("is there") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), run.path().join(entry.file_name())).expect("copies");
    }
    run
}

#[test]
fn the_recorded_run_makes_the_report_that_it_made() {
    let (report, drawn) = report::render(&fixture(ARTICLE)).expect("renders");
    assert_eq!(report.result.verdict, RunVerdict::Held);
    insta::assert_snapshot!("article_page", report::markdown(&report, &drawn));
    insta::assert_json_snapshot!("article_result", report::result(&report));
    let names: Vec<&str> = drawn.iter().map(|chart| chart.file).collect();
    assert_eq!(
        names,
        [
            "connections.svg",
            "rate.svg",
            "memory.svg",
            "memory-over-connections.svg",
            "latency.svg",
            "cpu.svg",
            "drain.svg"
        ]
    );
}

#[test]
fn its_result_obeys_the_published_schema() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("lab/schema/result.schema.json");
    let schema = fs::read_to_string(path).expect("is published");
    let schema = serde_json::from_str(&schema).expect("is JSON");
    let validator = jsonschema::validator_for(&schema).expect("is a schema");
    let (report, _) = report::render(&fixture(ARTICLE)).expect("renders");
    let document = serde_json::to_value(report::result(&report)).expect("encodes");
    let errors: Vec<String> = validator
        .iter_errors(&document)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
}

/// The parts of the closing sum, the residual included, are the drop of `MemFree`: on a machine where other programs took
/// hundreds of megabytes meanwhile.
#[test]
fn the_sum_closes() {
    let (report, _) = report::render(&fixture(ARTICLE)).expect("renders");
    let memory = report.memory.present().expect("measured");
    let lists = memory.per_cpu_free.present().expect("read").0;
    let rows: f64 = memory.parts.iter().map(|part| part.delta).sum();
    let residual = memory.residual.present().expect("known").0;
    assert!((rows + lists + residual - memory.free_drop).abs() < 1.0);
    let both = &report.result.memory.both;
    let sum = both.user_bytes_per_connection.expect("known")
        + both.kernel_bytes_per_connection.expect("known");
    assert!((sum - both.bytes_per_connection.expect("known")).abs() < 1e-6);
}

#[test]
fn the_verb_writes_what_it_prints() {
    let run = copied(ARTICLE);
    let printed = |format: &str| {
        let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_c1m"))
            .args(["report", "--format", format])
            .arg(run.path())
            .output()
            .expect("runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("is text")
    };
    let read = |name: &str| fs::read_to_string(run.path().join(name)).expect("is written");
    assert_eq!(printed("json"), read("result.json"));
    assert_eq!(printed("markdown"), read("report.md"));
    assert!(printed("text").starts_with("HELD 12,000 of 12,000"));
    for line in read("report.md").lines() {
        if let Some(chart) = line
            .split_once("](charts/")
            .and_then(|(_, rest)| rest.strip_suffix(')'))
        {
            assert!(read(&format!("charts/{chart}")).starts_with("<svg"));
        }
    }
}

/// What a scenario's `formats` leave out is not written; the result always is.
#[test]
fn only_the_formats_of_the_scenario_are_written() {
    for (formats, page, charts) in [
        ("[]", false, false),
        (r#"["markdown"]"#, true, false),
        (r#"["charts"]"#, false, true),
    ] {
        let run = copied(ARTICLE);
        let path = run.path().join(PLAN);
        let text = fs::read_to_string(&path).expect("reads");
        let mut plan: serde_json::Value = serde_json::from_str(&text).expect("is JSON");
        plan["formats"] = serde_json::from_str(formats).expect("is JSON");
        fs::write(&path, plan.to_string()).expect("writes");
        assert_cmd::Command::new(env!("CARGO_BIN_EXE_c1m"))
            .arg("report")
            .arg(run.path())
            .assert()
            .success();
        let there = |name: &str| run.path().join(name).exists();
        assert!(there("result.json"), "{formats}");
        assert_eq!(there("report.md"), page, "{formats}");
        assert_eq!(there("charts/connections.svg"), charts, "{formats}");
        if page {
            let text = fs::read_to_string(run.path().join("report.md")).expect("reads");
            assert!(
                !text.contains("](charts/"),
                "shows charts that are not there"
            );
        }
    }
}

#[test]
fn the_verb_refuses_what_is_no_run() {
    let empty = tempfile::tempdir().expect("a directory");
    let output = assert_cmd::Command::new(env!("CARGO_BIN_EXE_c1m"))
        .arg("report")
        .arg(empty.path())
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).expect("is text");
    assert!(message.contains("is not a run directory"), "{message}");
    assert!(message.contains("hint: "), "{message}");
}

fn verb(directory: &Path, more: &[&str]) -> assert_cmd::assert::Assert {
    assert_cmd::Command::new(env!("CARGO_BIN_EXE_c1m"))
        .arg("report")
        .arg(directory)
        .args(more)
        .assert()
}

/// A good report is worth more than what a damaged recording still says.
#[test]
fn a_damaged_recording_overwrites_no_report() {
    let torn = |bytes: &[u8]| bytes[..bytes.len() * 2 / 3].to_vec();
    let cut = |bytes: &[u8]| {
        let end = torn(bytes).iter().rposition(|byte| *byte == b'\n');
        bytes[..=end.expect("a line")].to_vec()
    };
    for (name, between_lines) in [
        (EVENTS, false),
        (EVENTS, true),
        (SAMPLES, false),
        (PLAN, false),
    ] {
        let run = copied(ARTICLE);
        verb(run.path(), &[]).code(0);
        let read = |name: &str| fs::read_to_string(run.path().join(name)).expect("is there");
        let (page, result) = (read("report.md"), read("result.json"));
        let path = run.path().join(name);
        let bytes = fs::read(&path).expect("reads");
        let damaged = if between_lines {
            cut(&bytes)
        } else {
            torn(&bytes)
        };
        fs::write(&path, damaged).expect("writes");
        let refused = verb(run.path(), &[]).code(7);
        let said = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
        assert!(said.contains("was left as it is"), "{name}: {said}");
        verb(run.path(), &["--dry-run"]).code(7);
        assert_eq!(
            (read("report.md"), read("result.json")),
            (page.clone(), result),
            "{name}"
        );
        verb(run.path(), &["--overwrite"]).code(0);
        assert_ne!(read("report.md"), page, "{name}");
    }
}

/// A report that was never written is made of what there is, and the exit code says that it is not whole.
#[test]
fn a_run_that_did_not_end_gets_its_report() {
    let run = copied(ARTICLE);
    let path = run.path().join(EVENTS);
    let bytes = fs::read(&path).expect("reads");
    fs::write(&path, &bytes[..bytes.len() / 2]).expect("writes");
    verb(run.path(), &[]).code(7);
    assert!(run.path().join("report.md").exists());
}

/// Copied elsewhere and called something else, a run has the same report.
#[test]
fn a_report_does_not_depend_on_where_its_directory_is() {
    let run = copied(ARTICLE);
    let (here, drawn) = report::render(run.path()).expect("renders");
    let (there, _) = report::render(&fixture(ARTICLE)).expect("renders");
    let page = report::markdown(&here, &drawn);
    assert_eq!(page, report::markdown(&there, &drawn));
    assert!(page.contains(ARTICLE), "{page}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Power is lost at any byte: the report is made, and never claims that the run was held unless it came to its end.
    #[test]
    fn a_recording_cut_off_anywhere_makes_an_honest_report(events in 0.0..1.0_f64, samples in 0.0..1.0_f64) {
        let run = copied(ARTICLE);
        for (name, share) in [(EVENTS, events), (SAMPLES, samples)] {
            let path = run.path().join(name);
            let mut bytes = fs::read(&path).expect("reads");
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
            bytes.truncate((bytes.len() as f64 * share) as usize);
            fs::write(&path, &bytes).expect("writes");
        }
        let recording: Recording = record::read(run.path()).expect("reads");
        let report = report::analyse(&recording);
        let drawn = report::charts(&report).expect("draws");
        let page = report::markdown(&report, &drawn);
        prop_assert!(page.starts_with("**"));
        prop_assert!(!page.contains("NaN") && !page.contains("inf "), "{}", page);
        let text = report::text(&report);
        prop_assert!(!text.is_empty());
        let text = fs::read_to_string(run.path().join(EVENTS)).expect("reads");
        if report.result.verdict == RunVerdict::Held {
            prop_assert!(text.contains("\"verified\"") && text.contains("\"event\":\"ended\""), "{text}");
        }
    }
}

/// Every line of the events may be the last one that reached the disk. Only with all of them was the run held.
#[test]
fn only_a_recording_that_says_how_the_run_ended_is_held() {
    let whole = record::read(&fixture(ARTICLE)).expect("reads");
    assert_eq!(report::analyse(&whole).result.verdict, RunVerdict::Held);
    let ends_of = |phase: &str| {
        whole.events.iter().position(|envelope| {
            matches!(&envelope.event, RunEvent::PhaseEnded(time) if time.phase.name() == phase)
        })
    };
    let drained = ends_of("drain").expect("it was drained");
    for kept in 0..whole.events.len() {
        let mut cut = whole.clone();
        cut.events.truncate(kept);
        let result = report::analyse(&cut).result;
        let expected = if kept > drained {
            RunVerdict::Invalid
        } else {
            RunVerdict::Interrupted
        };
        assert_eq!(
            result.verdict, expected,
            "with {kept} events: {:?}",
            result.reasons
        );
        assert!(
            result
                .reasons
                .iter()
                .any(|reason| reason.contains("the recording stops")),
            "with {kept} events: {:?}",
            result.reasons
        );
    }
}
