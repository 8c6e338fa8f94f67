//! `c1m limit`: how many connections a server takes before something gives way, what gives way, and whether it holds a few
//! less. Each run is a process of its own, because a server that gave way has to be started anew.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;

use super::caller::caller;
use super::child_run::{ChildRun, directory_in};
use super::progress::ProgressChoice;
use super::run::ResultsArgs;
use super::scenario_args::{ScenarioArgs, connections};
use super::{Exit, Failure, output};
use crate::domain::{ConnCount, RunEvent, RunVerdict, VerifyShare};
use crate::record::{self, REPORT};
use crate::report::{self, LimitFinding, LimitKind, Report};
use crate::run::Interrupt;
use crate::scenario::{self, Scenario};

/// How long a smaller number is held where nobody says how long.
const HOLD: &str = "30s";

/// The shares of the limit that are held afterwards, one after the other, until one is stable. Some servers need more memory
/// for a connection that has been used for a time.
const SHARES: [f64; 4] = [0.9, 0.8, 0.65, 0.5];

/// Finds how many connections a server takes before something gives way, names what does, with its evidence, and holds a few
/// less to see that they stay. For a server that is not the lab's own: -- COMMAND, --image, --pid or --target.
#[derive(Debug, Args)]
pub(super) struct LimitArgs {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// Fewer connections are a miss, and the exit code says so.
    #[arg(long, value_name = "COUNT", value_parser = connections, env = "C1M_AT_LEAST")]
    at_least: Option<String>,
    #[command(flatten)]
    results: ResultsArgs,
}

pub(super) fn run(args: &LimitArgs, quiet: bool) -> Result<Exit, Failure> {
    let scenario = load(args)?;
    let interrupt = Interrupt::listen(Box::new(|_| {})).context("cannot listen for signals")?;
    let runner = Runner {
        results: &args.results,
        quiet,
        interrupt: &interrupt,
    };
    let search = Scenario {
        hold: Duration::ZERO,
        verify: VerifyShare::None,
        name: format!("{}-limit", scenario.name),
        ..scenario.clone()
    };
    let (exit, searched) = runner.run(&search)?;
    let Some(directory) = searched else {
        return Ok(exit);
    };
    let found = finding(&directory)?;
    let Some(found) = found.filter(|_| exit == Exit::Done || exit == Exit::Missed) else {
        // What kept it from looking was told by the run.
        return Ok(exit);
    };
    let held = hold_fewer(&runner, &scenario, &directory, &found)?;
    let good = tell(&directory, args, &found, &held, interrupt.signal())?;
    Ok(match (held.changed_host, interrupt.signal()) {
        (true, _) => Exit::HostChanged,
        (false, Some(signal)) => {
            output::line("interrupted: what was to be held was not held to its end");
            Exit::by_signal(signal)
        }
        (false, None) if good => Exit::Done,
        (false, None) => Exit::Missed,
    })
}

/// What came of holding fewer.
#[derive(Debug, Default)]
struct Held {
    /// How many were held.
    connections: u64,
    /// A run has left the host changed.
    changed_host: bool,
}

/// The scenario of the search, with the flags of the command line.
fn load(args: &LimitArgs) -> Result<Scenario, Failure> {
    let mut defaults = vec![match &args.at_least {
        None => ("limit".to_owned(), "{}".to_owned()),
        Some(count) => ("limit.at_least".to_owned(), format!("\"{count}\"")),
    }];
    if args.scenario.scenario.is_none() {
        // A server may accept connections that it does not serve: each has to be answered before others follow.
        defaults.push(("ramp.speak".to_owned(), "yes".to_owned()));
    }
    if args.scenario.hold.is_none() && args.scenario.scenario.is_none() {
        defaults.push(("hold".to_owned(), HOLD.to_owned()));
    }
    if args.scenario.connections.is_none() && args.scenario.scenario.is_none() {
        // As many as fit here: something else is to give way first.
        defaults.push(("fit".to_owned(), "yes".to_owned()));
        defaults.push(("connections".to_owned(), "1024000".to_owned()));
    }
    args.scenario.load_with(defaults)
}

/// What a search or a run came to; nothing where nothing gave way and nothing was looked for.
fn finding(directory: &Path) -> Result<Option<LimitFinding>, Failure> {
    Ok(report_of(directory)?.limit)
}

fn report_of(directory: &Path) -> Result<Report, Failure> {
    let recording = record::read(directory).map_err(|error| Failure::new(Exit::Failed, error))?;
    Ok(report::analyse(&recording))
}

/// Holds a smaller number in runs of their own, until one is stable.
fn hold_fewer(
    runner: &Runner<'_>,
    scenario: &Scenario,
    search: &Path,
    found: &LimitFinding,
) -> Result<Held, Failure> {
    let mut held = Held::default();
    let reached = found.kind == LimitKind::TargetReached;
    let mut at_most = found.connections;
    let first = if reached { 1.0 } else { SHARES[0] };
    for share in std::iter::once(first).chain(SHARES[1..].iter().copied()) {
        let wanted = part(found.connections, share).min(at_most);
        if wanted == 0 || runner.interrupt.signal().is_some() {
            return Ok(held);
        }
        output::line(&format!(
            "holding {} connections in a run of their own",
            ConnCount::new(wanted)
        ));
        let smaller = Scenario {
            connections: ConnCount::new(wanted),
            fit: false,
            limit: None,
            name: format!("{}-hold", scenario.name),
            ..scenario.clone()
        };
        let (exit, directory) = runner.run(&smaller)?;
        // A server that is gone, and that the run does not start, cannot be asked again: the run has said so.
        let (Exit::Done | Exit::Missed | Exit::Invalid | Exit::TimedOut, Some(directory)) =
            (exit, directory)
        else {
            held.changed_host = exit == Exit::HostChanged;
            return Ok(held);
        };
        let report = report_of(&directory)?;
        let verdict = report.result.verdict;
        note(search, wanted, &report, &directory)?;
        if verdict == RunVerdict::Held {
            held.connections = wanted;
            return Ok(held);
        }
        let answered = report.result.connections.verified;
        if answered == Some(0) && !has_ended(&report) {
            // Not one answers rightly, of a server that is there: fewer would not either.
            return Ok(held);
        }
        at_most = at_most.min(fewer(wanted, answered));
    }
    Ok(held)
}

/// Whether the server was gone in a run.
fn has_ended(report: &Report) -> bool {
    let kind = report.limit.as_ref().map(|limit| limit.kind);
    matches!(
        kind,
        Some(LimitKind::Memory | LimitKind::MachineMemory | LimitKind::Ended)
    )
}

/// What the next try may be at most: as many as answered, where clearly fewer did, because a server may accept more than it
/// serves.
fn fewer(wanted: u64, answered: Option<u64>) -> u64 {
    match answered {
        Some(answered) if answered > 0 && answered < part(wanted, SHARES[0]) => answered,
        _ => wanted,
    }
}

/// A share, in whole connections.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a share of a count
fn part(connections: u64, share: f64) -> u64 {
    (connections as f64 * share) as u64
}

/// Adds to the recording of the search what a smaller number came to.
fn note(search: &Path, connections: u64, report: &Report, directory: &Path) -> Result<(), Failure> {
    let event = RunEvent::Confirmed {
        connections: ConnCount::new(connections),
        verdict: report.result.verdict,
        hold_seconds: report.result.hold_seconds,
        directory: directory
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        limit: why_not_held(report),
    };
    record::add_event(search, caller(), event).map_err(|error| Failure::new(Exit::Failed, error))
}

/// What kept a number from being held: a limit that was recognised, else the verdict's first reason; and what came instead
/// of answers.
fn why_not_held(report: &Report) -> Option<String> {
    let known = report
        .limit
        .as_ref()
        .filter(|limit| limit.kind != LimitKind::Unknown)
        .map(|limit| limit.kind.to_string())
        .or_else(|| report.result.reasons.first().cloned());
    let instead = report.result.unanswered.iter().map(|unanswered| {
        let example = unanswered.examples.first();
        let example = example.map_or_else(String::new, |example| format!(" ({example})"));
        format!("{} {}{example}", unanswered.count, unanswered.reason)
    });
    let parts: Vec<String> = known.into_iter().chain(instead).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Writes the report of the search anew, and tells what came of all. Says whether it is good: enough, and half
/// of them or more held.
fn tell(
    directory: &Path,
    args: &LimitArgs,
    found: &LimitFinding,
    held: &Held,
    interrupted: Option<i32>,
) -> Result<bool, Failure> {
    let report = report::write_all(directory, caller())
        .map_err(|error| Failure::new(Exit::Failed, error))?;
    let (text, page) = (report::limit_text(&report), directory.join(REPORT));
    output::print(&format!("{text}report: {}\n", page.display()))?;
    let enough = args
        .at_least
        .as_deref()
        .and_then(|count| scenario::read_count(count).ok())
        .unwrap_or(0);
    if !report_reaches(&report, enough) {
        output::line(&format!(
            "fewer than the {} connections that were asked for",
            ConnCount::new(enough)
        ));
        return Ok(false);
    }
    if interrupted.is_none() && !is_enough(held.connections, found.connections) {
        output::line("missed: not even half of the connections that were reached were held");
        return Ok(false);
    }
    Ok(true)
}

/// Whether so many are at least the least share of the limit that is tried.
fn is_enough(held: u64, limit: u64) -> bool {
    held > 0 && held >= part(limit, SHARES[SHARES.len() - 1])
}

fn report_reaches(report: &Report, enough: u64) -> bool {
    report
        .limit
        .as_ref()
        .is_some_and(|limit| limit.connections >= enough)
}

/// Starts runs, one after the other.
struct Runner<'a> {
    results: &'a ResultsArgs,
    quiet: bool,
    interrupt: &'a Interrupt,
}

impl Runner<'_> {
    /// Runs a scenario to its end. Returns how it ended, and its directory, where it came to have one.
    fn run(&self, scenario: &Scenario) -> Result<(Exit, Option<PathBuf>), Failure> {
        let (status, said) = ChildRun {
            scenario,
            results: &self.results.results_dir,
            progress: if self.quiet {
                ProgressChoice::None
            } else {
                self.results.progress
            },
            allow_host_settings: self.results.allow_host_settings,
            environment: None,
        }
        .run(self.interrupt)?;
        let exit = match (Exit::of(status), self.interrupt.signal()) {
            // The run was asked to end by a signal of its own.
            (Exit::Terminated, Some(signal)) => Exit::by_signal(signal),
            (exit, _) => exit,
        };
        Ok((exit, directory_in(&said)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_is_enough_and_less_is_not() {
        assert!(is_enough(100, 100) && is_enough(90, 100) && is_enough(50, 100));
        assert!(!is_enough(116, 8_000) && !is_enough(0, 0));
        assert!(is_enough(1, 2));
    }

    #[test]
    fn a_server_that_answers_fewer_than_it_accepts_is_asked_for_those() {
        assert_eq!(fewer(1_000, None), 1_000);
        assert_eq!(fewer(1_000, Some(1_000)), 1_000);
        assert_eq!(fewer(1_000, Some(950)), 1_000);
        assert_eq!(fewer(1_000, Some(97)), 97);
        assert_eq!(fewer(1_000, Some(0)), 1_000);
    }
}
