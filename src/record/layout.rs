//! Names of the files in a run directory, and the version of their formats.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::{RunId, WorkerId};

/// Version of the recording's format. It grows when an old reader would misread a new recording; new fields and new
/// kinds of events do not count.
pub const SCHEMA_VERSION: u32 = 2;

/// Which run this is: [`RunIdentity`].
pub const RUN: &str = "run.json";
/// The report, for people.
pub const REPORT: &str = "report.md";
/// The result, for programs: `lab/schema/result.schema.json`.
pub const RESULT: &str = "result.json";
/// One [`crate::domain::Sample`] a line.
pub const SAMPLES: &str = "samples.jsonl";
/// One [`crate::domain::Envelope`] a line.
pub const EVENTS: &str = "events.jsonl";
/// The scenario with every default applied.
pub const SCENARIO: &str = "scenario.resolved.yaml";
/// What the report must know of the plan: [`crate::domain::RunSummary`].
pub const SUMMARY: &str = "summary.json";
/// The plan, whole.
pub const PLAN: &str = "plan.json";
/// The host as it was found.
pub const FACTS: &str = "facts.json";
/// Charts, as SVG.
pub const CHARTS: &str = "charts";
/// What each worker wrote to its stderr.
pub const WORKERS: &str = "workers";
/// The name of the link to the newest run, beside the run directories.
pub const LATEST: &str = "latest";

/// Which run a directory belongs to, whatever the directory is called by now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunIdentity {
    /// [`SCHEMA_VERSION`] of the program that wrote it.
    pub schema_version: u32,
    /// The run.
    pub run: RunId,
    /// Its scenario.
    pub scenario: String,
    /// Wall clock at the start, RFC 3339, UTC.
    pub started: String,
}

impl RunIdentity {
    /// The name that the run gave to its directory; nothing where the time of its start cannot be read.
    #[must_use]
    pub fn directory(&self) -> Option<String> {
        let started = self.started.parse().ok()?;
        Some(directory_name(started, &self.scenario, &self.run))
    }
}

/// `20261123T055004Z-1m-netns-0123abcd`: sorts by time, and says what it is.
#[must_use]
pub fn directory_name(started: Timestamp, scenario: &str, run: &RunId) -> String {
    let safe = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    let scenario: String = scenario
        .chars()
        .map(|letter| if safe(letter) { letter } else { '_' })
        .take(LONGEST_NAME)
        .collect();
    format!("{}-{scenario}-{run}", started.strftime("%Y%m%dT%H%M%SZ"))
}

/// Letters of a scenario's name that a directory is named with: a file name has at most 255 bytes.
const LONGEST_NAME: usize = 100;

/// `workers/server.log`, `workers/client-1.log`.
#[must_use]
pub fn worker_log(worker: WorkerId) -> String {
    format!("{WORKERS}/{worker}.log")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_named_by_time_scenario_and_run() {
        let started: Timestamp = "2026-11-23T05:50:04Z".parse().expect("a time");
        let run = RunId::from_random(0x0123_abcd);
        assert_eq!(
            directory_name(started, "1m-netns", &run),
            "20261123T055004Z-1m-netns-0123abcd"
        );
        assert_eq!(
            directory_name(started, "../a b", &run),
            "20261123T055004Z-.._a_b-0123abcd"
        );
    }
}
