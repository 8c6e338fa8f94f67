//! What is written is read again, whatever the file was cut down to.

use proptest::prelude::*;

use super::*;
use crate::domain::{ConnCount, Phase, Reading, RunEvent};
use crate::record::{Recording, read};

fn started() -> Timestamp {
    "2026-11-23T05:50:04Z".parse().expect("a time")
}

fn create(root: &Path) -> Result<RunDir, RecordError> {
    RunDir::create(root, started(), "smoke", &RunId::from_random(7))
}

fn event(number: u32) -> Envelope {
    Envelope {
        at_seconds: f64::from(number),
        stage: Some(1),
        event: RunEvent::GuardStopped {
            reason: format!("line\nbreak {number}"),
            phase: Phase::Hold,
            at: ConnCount::new(1),
            would_fit: Some(ConnCount::new(2)),
            bytes_per_connection: 0.5,
        },
    }
}

fn sample(number: u64) -> Sample {
    let why = "not read in this test";
    Sample {
        number,
        at_seconds: 1.0,
        took_seconds: 0.001,
        observer_cpu_seconds: Reading::missing(why),
        memory: Reading::missing(why),
        per_cpu_free: Reading::missing(why),
        slabs: Reading::missing(why),
        other_slabs: Reading::missing(why),
        merging_unknown: None,
        cpu: Reading::missing(why),
        files: Reading::Present((3, 9)),
        softnet_dropped: Reading::missing(why),
        host_conntrack: Reading::missing(why),
        namespaces: Vec::new(),
        processes: Vec::new(),
        trees: Vec::new(),
        cgroups: Vec::new(),
        process_gaps: Vec::new(),
        cgroup_gaps: Vec::new(),
        kernel_log: Reading::missing(why),
        kernel_log_overrun: false,
    }
}

#[test]
fn what_is_written_is_read_again() {
    let root = tempfile::tempdir().expect("a directory");
    let run = create(&root.path().join("results")).expect("creates");
    for number in 0..3 {
        run.event(&event(number)).expect("writes");
        run.sample(&sample(u64::from(number))).expect("writes");
    }
    run.write_json(crate::record::SUMMARY, &"no summary")
        .expect("writes");
    run.worker_log(WorkerId::SERVER, "hello").expect("writes");
    run.sync().expect("syncs");
    let latest = root.path().join("results/latest");
    let back: Recording = read(&latest).expect("reads");
    assert_eq!(back.events, [event(0), event(1), event(2)]);
    assert_eq!(back.samples, [sample(0), sample(1), sample(2)]);
    let gap = back.summary.gap().expect("is none");
    assert!(gap.contains("summary.json cannot be read"), "{gap}");
    assert!(back.facts.gap().is_some());
    assert!(back.damage.is_empty());
    assert_eq!(
        fs::read_to_string(latest.join("workers/server.log")).expect("reads"),
        "hello\n"
    );
    assert!(!latest.join("reserve").exists());
}

#[test]
fn a_log_ends_at_its_bound_and_says_so() {
    let root = tempfile::tempdir().expect("a directory");
    let run = create(root.path()).expect("creates");
    let line = "x".repeat(100_000);
    for _ in 0..20 {
        run.worker_log(WorkerId::client(1), &line).expect("writes");
    }
    let log = fs::read_to_string(run.path().join("workers/client-1.log")).expect("reads");
    assert!(log.len() as u64 <= LONGEST_LOG_BYTES + 1);
    assert_eq!(log.matches("the rest is left out").count(), 1);
}

#[test]
fn a_place_that_cannot_take_results_is_named() {
    let root = tempfile::tempdir().expect("a directory");
    let file = root.path().join("file");
    fs::write(&file, "").expect("writes");
    assert!(matches!(
        create(&file),
        Err(RecordError::NotADirectory { .. })
    ));
    assert!(matches!(
        create(&root.path().join("no/such")),
        Err(RecordError::NoParent { .. })
    ));
    // /proc refuses new directories to everybody, root included.
    let refused = create(Path::new("/proc/c1m-results")).expect_err("is refused");
    assert!(matches!(
        refused,
        RecordError::Make { .. } | RecordError::NoParent { .. }
    ));
}

#[test]
fn a_directory_without_a_recording_is_refused() {
    let empty = tempfile::tempdir().expect("a directory");
    assert!(matches!(
        read(empty.path()),
        Err(RecordError::NotARun { .. })
    ));
}

#[test]
fn fields_and_events_of_a_later_version_do_no_harm() {
    let root = tempfile::tempdir().expect("a directory");
    let run = create(root.path()).expect("creates");
    let later = concat!(
        r#"{"at_seconds":1.0,"event":"phase_began","phase":"ramp","new_field":[1]}"#,
        "\n",
        r#"{"at_seconds":2.0,"event":"never_heard_of"}"#,
        "\n",
    );
    fs::write(run.path().join(EVENTS), later).expect("writes");
    let back: Recording = read(run.path()).expect("reads");
    let known = RunEvent::PhaseBegan { phase: Phase::Ramp };
    assert_eq!(back.events.len(), 1);
    assert_eq!(back.events[0].event, known);
    assert_eq!(back.damage.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_recording_survives_any_truncation(events_left in 0_usize..2000, samples_left in 0_usize..4000) {
        let root = tempfile::tempdir().expect("a directory");
        let run = create(root.path()).expect("creates");
        for number in 0..8 {
            run.event(&event(number)).expect("writes");
            run.sample(&sample(u64::from(number))).expect("writes");
        }
        for (name, left) in [(EVENTS, events_left), (SAMPLES, samples_left)] {
            let path = run.path().join(name);
            let mut bytes = fs::read(&path).expect("reads");
            bytes.truncate(left);
            fs::write(&path, &bytes).expect("writes");
        }
        let back: Recording = read(run.path()).expect("reads");
        for (number, read) in back.events.iter().enumerate() {
            prop_assert_eq!(read, &event(u32::try_from(number).expect("is small")));
        }
        for (number, read) in back.samples.iter().enumerate() {
            prop_assert_eq!(read, &sample(number as u64));
        }
    }
}
