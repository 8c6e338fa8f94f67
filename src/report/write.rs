//! From a run directory to the files of its report, beside the recording that they are made from.

use std::path::Path;

use super::analyse::analyse;
use super::charts::{Chart, ChartError, charts};
use super::markdown::markdown;
use super::model::Report;
use crate::domain::{Envelope, ReportFormat, RunEvent, RunResult};
use crate::record::{self, CHARTS, Folder, Owner, REPORT, RESULT, RecordError};

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The recording could not be read, or the report not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A chart could not be drawn.
    #[error(transparent)]
    Chart(#[from] ChartError),
}

impl ReportError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Record(error) => error.hint(),
            Self::Chart(_) => None,
        }
    }
}

/// What goes into `result.json`.
#[must_use]
pub const fn result(report: &Report) -> &RunResult {
    &report.result
}

/// Whether the run's scenario asks for `format`. A run whose plan is not known gets everything.
fn wanted(report: &Report, format: ReportFormat) -> bool {
    let plan = report.summary.present();
    plan.is_none_or(|plan| plan.formats.contains(&format))
}

/// Reads a run directory and understands it. Draws no chart where the scenario asks for none. Writes nothing.
///
/// # Errors
/// When the directory holds no recording, or a chart cannot be drawn.
pub fn render(dir: &Path) -> Result<(Report, Vec<Chart>), ReportError> {
    let report = analyse(&record::read(dir)?);
    let drawn = if wanted(&report, ReportFormat::Charts) {
        charts(&report)?
    } else {
        Vec::new()
    };
    Ok((report, drawn))
}

/// What is damaged or missing in the recording of a run directory, one sentence each; empty for a whole one.
///
/// # Errors
/// When the directory holds no recording.
pub fn damage(dir: &Path) -> Result<Vec<String>, ReportError> {
    let recording = record::read(dir)?;
    let gaps = [
        recording.identity.gap(),
        recording.facts.gap(),
        recording.summary.gap(),
    ];
    let gaps = gaps.into_iter().flatten().map(str::to_owned);
    let ended = |envelope: &Envelope| matches!(envelope.event, RunEvent::Ended { .. });
    let stops = (!recording.events.iter().any(ended))
        .then(|| "the recording stops before the end of the run".to_owned());
    Ok(recording
        .damage
        .iter()
        .cloned()
        .chain(gaps)
        .chain(stops)
        .collect())
}

/// Reads a run directory, and writes `result.json` into it, and of `report.md` and the charts what its scenario asks for; what is written is given to
/// `owner`, where one is named.
///
/// # Errors
/// When the directory holds no recording, or the files cannot be written.
pub fn write_all(dir: &Path, owner: Option<Owner>) -> Result<Report, ReportError> {
    let (report, drawn) = render(dir)?;
    write(dir, owner, &report, &drawn)?;
    Ok(report)
}

/// Writes `result.json` into a run directory, and of `report.md` and the charts what its scenario asks for.
///
/// # Errors
/// When they cannot be written.
pub fn write(
    dir: &Path,
    owner: Option<Owner>,
    report: &Report,
    drawn: &[Chart],
) -> Result<(), ReportError> {
    let folder = Folder::open(dir, owner)?;
    // The result first: it is small, and a full disk may leave no room for more.
    folder.write_json(RESULT, result(report))?;
    if !drawn.is_empty() {
        folder.make(CHARTS)?;
    }
    for chart in drawn {
        folder.write_text(&format!("{CHARTS}/{}", chart.file), &chart.svg)?;
    }
    if wanted(report, ReportFormat::Markdown) {
        folder.write_text(REPORT, &markdown(report, drawn))?;
    }
    Ok(())
}
