//! The committed runs below `docs/results/`: each holds its whole recording, and today's program makes of it, byte for byte,
//! the report that lies beside it. `C1M_BLESS=1 cargo test --test committed` writes the reports anew after their wording was
//! changed on purpose.

use std::fs;
use std::path::{Path, PathBuf};

use c1m::{record, report};

fn committed() -> Vec<PathBuf> {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/results");
    let mut runs: Vec<PathBuf> = fs::read_dir(&results)
        .expect("there are committed runs")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    runs.sort();
    assert!(!runs.is_empty(), "{} is empty", results.display());
    runs
}

#[test]
fn every_committed_run_holds_its_whole_recording() {
    for run in committed() {
        for name in [
            record::RUN,
            record::FACTS,
            record::SUMMARY,
            record::EVENTS,
            record::SAMPLES,
            record::RESULT,
            record::REPORT,
        ] {
            assert!(run.join(name).is_file(), "{} has no {name}", run.display());
        }
        let recording = record::read(&run).expect("reads");
        assert!(
            recording.damage.is_empty(),
            "{}: {:?}",
            run.display(),
            recording.damage
        );
    }
}

#[test]
fn every_committed_report_is_made_again_byte_for_byte() {
    for run in committed() {
        let (now, drawn) = report::render(&run).expect("renders");
        let mut files = vec![(record::REPORT.to_owned(), report::markdown(&now, &drawn))];
        for chart in &drawn {
            files.push((
                format!("{}/{}", record::CHARTS, chart.file),
                chart.svg.clone(),
            ));
        }
        let result = serde_json::to_string_pretty(report::result(&now)).expect("encodes");
        files.push((record::RESULT.to_owned(), result + "\n"));
        for (name, text) in files {
            let path = run.join(&name);
            if std::env::var_os("C1M_BLESS").is_some() {
                fs::write(&path, &text).expect("writes");
            }
            let there = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                there == text,
                "{} is not what its recording makes today: {}",
                path.display(),
                first_difference(&there, &text)
            );
        }
    }
}

/// Each block of a page that names a run is what the program says today of that run's limit.
#[test]
fn blocks_of_limits_are_made_from_the_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in ["README.md", "docs/limits.md"] {
        blocks_are_made_from_runs(root, page);
    }
}

fn blocks_are_made_from_runs(root: &Path, page: &str) {
    let path = root.join(page);
    let there = fs::read_to_string(&path).expect("the page");
    let mut now = String::new();
    let mut rest = there.as_str();
    let mut blocks = 0;
    while let Some((before, behind)) = rest.split_once("<!-- limit of ") {
        let (name, behind) = behind.split_once(" -->\n").expect("a name");
        let (_, behind) = behind.split_once("```text\n").expect("a block");
        let (_, behind) = behind.split_once("```\n").expect("the end of the block");
        let recording = record::read(&root.join("docs/results").join(name)).expect("a run");
        let text = report::limit_text(&report::analyse(&recording));
        assert!(!text.is_empty(), "{name} has no limit");
        now = format!("{now}{before}<!-- limit of {name} -->\n```text\n{text}```\n");
        rest = behind;
        blocks += 1;
    }
    now.push_str(rest);
    assert!(blocks > 0);
    if std::env::var_os("C1M_BLESS").is_some() {
        fs::write(&path, &now).expect("writes");
        return;
    }
    assert!(there == now, "{}", first_difference(&there, &now));
}

fn first_difference(there: &str, now: &str) -> String {
    let mut lines = there.lines().zip(now.lines());
    match lines.find(|(there, now)| there != now) {
        Some((there, now)) => format!("\n  there: {there}\n  today: {now}"),
        None => "one is longer".to_owned(),
    }
}
