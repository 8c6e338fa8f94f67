//! `c1m run`: the whole pipeline, from looking at the host to the report.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::pipeline;
use super::progress::ProgressChoice;
use super::runtime_args::RuntimeArgs;
use super::scenario_args::ScenarioArgs;
use super::{Exit, Failure, output};
use crate::record::REPORT;
use crate::run::{self, HostChanges, Prepared};

/// How long the end of a run waits for a reader of its summary.
const SUMMARY_TAKES: Duration = Duration::from_secs(5);

/// Opens, holds, verifies and measures connections, and writes a report.
#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    scenario: ScenarioArgs,
    #[command(flatten)]
    results: ResultsArgs,
    /// Looks and plans only; starts and changes nothing.
    #[arg(long, env = "C1M_DRY_RUN")]
    dry_run: bool,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// Where results go, how they are told, and what may be changed for them.
#[derive(Debug, Args)]
pub(super) struct ResultsArgs {
    /// Where run directories go.
    #[arg(
        long,
        value_name = "DIR",
        default_value = "results",
        env = "C1M_RESULTS_DIR"
    )]
    pub(super) results_dir: PathBuf,
    /// Allows settings of the host to be changed; they are put back afterwards. Needs root.
    #[arg(long, env = "C1M_ALLOW_HOST_SETTINGS")]
    pub(super) allow_host_settings: bool,
    /// How progress is shown.
    #[arg(long, value_enum, default_value_t, env = "C1M_PROGRESS")]
    pub(super) progress: ProgressChoice,
}

pub(super) fn run(args: &RunArgs, quiet: bool) -> Result<Exit, Failure> {
    let scenario = args.scenario.load()?;
    let changes = if args.results.allow_host_settings {
        HostChanges::Allowed
    } else {
        HostChanges::Forbidden
    };
    if args.dry_run {
        let plan = run::preview(&scenario, args.runtime.find()?.as_ref(), changes)?;
        output::print(&plan.to_text())?;
        return Ok(Exit::Done);
    }
    let runtime = args.runtime.open()?;
    let prepared = run::prepare(&scenario, &runtime, changes)?;
    // Whoever reads JSON lines wants nothing else between them.
    if !quiet && args.results.progress != ProgressChoice::Json {
        introduce(&prepared);
    }
    let progress = if quiet {
        ProgressChoice::None
    } else {
        args.results.progress
    };
    let finished = pipeline::conduct(
        prepared,
        &scenario,
        &runtime,
        &args.results.results_dir,
        progress,
    )?;
    let exit = finished.exit;
    for complaint in &finished.complaints {
        output::line(&format!("error: {complaint}"));
    }
    let page = finished.directory.join(REPORT);
    let written = if page.exists() {
        page
    } else {
        // The scenario asks for no page, or there was no room for one.
        finished.directory
    };
    let summary = format!("{}report: {}\n", finished.summary, written.display());
    output::print_within(summary, SUMMARY_TAKES)?;
    Ok(exit)
}

fn introduce(prepared: &Prepared) {
    let plan = &prepared.plan;
    output::line(&format!("place: {}: {}", plan.place.place, plan.place.why));
    if let Some(network) = &plan.place.network {
        output::line(&format!("network: {}: {}", network.driver, network.why));
        for (driver, why) in &network.why_not {
            output::line(&format!("  not {driver}: {why}"));
        }
    }
    for (place, why) in &plan.place.why_not {
        output::line(&format!("  not {place}: {why}"));
    }
    if plan.target < plan.requested {
        output::line(&format!(
            "reduced: {} of {} connections fit here",
            plan.target, plan.requested
        ));
    }
    for note in &plan.notes {
        output::line(&format!("note: {note}"));
    }
}
