//! `c1m report RUNDIR`: makes the report of a run again, from its recording alone.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::caller::caller;
use super::{Exit, Failure, output};
use crate::record::{REPORT, RESULT};
use crate::report::{self, ReportError};

/// Makes the report of a run again, from its recording alone, and prints it.
#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// The run directory, such as results/latest.
    #[arg(value_name = "RUNDIR", env = "C1M_RUNDIR")]
    directory: PathBuf,
    /// What is printed.
    #[arg(long, value_enum, default_value_t, env = "C1M_FORMAT")]
    format: Format,
    /// Prints only; leaves the files in the directory as they are.
    #[arg(long, env = "C1M_DRY_RUN")]
    dry_run: bool,
    /// Writes over the report that is there, even from a recording that is damaged or stops before the end of the run.
    #[arg(long, env = "C1M_OVERWRITE")]
    overwrite: bool,
}

/// How a report is printed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A summary for the terminal.
    #[default]
    Text,
    /// `result.json`.
    Json,
    /// `report.md`.
    Markdown,
}

pub(super) fn run(args: &ReportArgs) -> Result<Exit, Failure> {
    let (report, drawn) = report::render(&args.directory).map_err(failure)?;
    let damage = report::damage(&args.directory).map_err(failure)?;
    let spoils = !damage.is_empty() && !args.overwrite;
    if spoils
        && !args.dry_run
        && [REPORT, RESULT]
            .iter()
            .any(|name| args.directory.join(name).exists())
    {
        let why = format!(
            "the report in {} was left as it is, because the recording is damaged: {}",
            args.directory.display(),
            damage.join("; ")
        );
        return Err(Failure::new(Exit::Invalid, why).with_hint(Some(
            "print what can be made of it with --dry-run, or write it with --overwrite",
        )));
    }
    if !args.dry_run {
        report::write(&args.directory, caller(), &report, &drawn).map_err(failure)?;
    }
    let text = match args.format {
        Format::Text => report::text(&report),
        Format::Json => {
            let json = serde_json::to_string_pretty(report::result(&report));
            json.context("cannot encode the result")? + "\n"
        }
        Format::Markdown => report::markdown(&report, &drawn),
    };
    output::print(&text)?;
    Ok(if spoils { Exit::Invalid } else { Exit::Done })
}

fn failure(error: ReportError) -> Failure {
    let hint = error.hint();
    Failure::new(Exit::Failed, error).with_hint(hint)
}
