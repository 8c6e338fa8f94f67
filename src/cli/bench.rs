//! `c1m bench`: engines and variants side by side, alternating, so that a noisy machine disturbs all of them alike. Each run is
//! a process of its own; ratios are best against best and median against median.

use std::fmt::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::{env, fs};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::child_run::ChildRun;
use super::progress::ProgressChoice;
use super::scenario_args::{PlaceArg, connections};
use super::{Exit, Failure, output};
use crate::domain::RunResult;
use crate::record::RESULT;
use crate::run::{self, Interrupt};
use crate::scenario::{self, Override, Scenario};

/// Measures engines and variants side by side, alternating, and prints ratios to the first.
#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    /// How many connections in each run.
    #[arg(
        short = 'n',
        long,
        value_name = "COUNT",
        default_value = "200000",
        value_parser = connections,
        env = "C1M_CONNECTIONS"
    )]
    connections: String,
    /// How often each variant runs.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100), env = "C1M_ROUNDS")]
    rounds: u32,
    /// Where to run.
    #[arg(long, value_enum, default_value = "auto", env = "C1M_PLACE")]
    place: PlaceArg,
    /// The variants, by name; the first is what the others are compared with.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Variant::Epoll, Variant::Tokio], env = "C1M_VARIANTS")]
    variants: Vec<Variant>,
    /// A variant of your own: a name, and keys of the scenario to set; repeatable. In the environment: one on each line.
    #[arg(
        long,
        value_name = "NAME:KEY=VALUE,…",
        env = "C1M_VARIANT",
        value_delimiter = '\n'
    )]
    variant: Vec<String>,
    /// Another program to alternate with: a shell command that prints its rate as a number followed by "/s".
    #[arg(long, value_name = "COMMAND", env = "C1M_BESIDE")]
    beside: Option<String>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t, env = "C1M_FORMAT")]
    format: Format,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A table.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// A variant that is known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Variant {
    /// The epoll engine as it is.
    Epoll,
    /// The tokio engine at both ends.
    Tokio,
    /// The tokio engine at both ends, with slabs for what it aligns to 128 bytes in place of the system's allocator.
    TokioSlabs,
    /// The kernel chooses source ports within `IP_LOCAL_PORT_RANGE`.
    PortRange,
    /// Connections stay in the accept queue.
    AcceptQueue,
    /// Two threads wait for connections at the same time.
    TwoAcceptors,
    /// Eight threads wait for connections at the same time.
    EightAcceptors,
}

impl Variant {
    const fn name(self) -> &'static str {
        match self {
            Self::Epoll => "epoll",
            Self::Tokio => "tokio",
            Self::TokioSlabs => "tokio-slabs",
            Self::PortRange => "port-range",
            Self::AcceptQueue => "accept-queue",
            Self::TwoAcceptors => "two-acceptors",
            Self::EightAcceptors => "eight-acceptors",
        }
    }

    fn sets(self) -> Vec<String> {
        let sets: &[&str] = match self {
            Self::Epoll => &[],
            Self::Tokio | Self::TokioSlabs => &["server.engine=tokio", "clients.engine=tokio"],
            Self::PortRange => &["clients.ports=range"],
            Self::AcceptQueue => &["server.accept=no"],
            Self::TwoAcceptors => &["server.acceptors=2"],
            Self::EightAcceptors => &["server.acceptors=8"],
        };
        sets.iter().map(|set| (*set).to_owned()).collect()
    }

    /// What is set in the environment of its runs.
    const fn environment(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::TokioSlabs => Some(("C1M_ALLOCATOR", "slabs")),
            _ => None,
        }
    }
}

/// What every run of a variant sets: no hold and no proof, because the ramp is what is measured.
const FIXED_SETS: [&str; 2] = ["hold=0s", "verify=none"];

/// What is run in turn.
enum Entrant {
    Ours {
        name: String,
        scenario: Box<Scenario>,
        environment: Option<(&'static str, &'static str)>,
    },
    Other {
        command: String,
    },
}

/// What one entrant came to.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    rates_per_second: Vec<f64>,
    best_per_second: f64,
    median_per_second: f64,
    best_ratio: f64,
    median_ratio: f64,
    server_user_bytes_per_connection: Option<f64>,
    client_user_bytes_per_connection: Option<f64>,
    bytes_per_connection: Option<f64>,
}

pub(super) fn run(args: &BenchArgs) -> Result<Exit, Failure> {
    let entrants = entrants(args)?;
    check(&entrants)?;
    let interrupt = Interrupt::listen(Box::new(|_| {})).context("cannot listen for signals")?;
    let mut rates: Vec<Vec<f64>> = vec![Vec::new(); entrants.len()];
    let mut results: Vec<Option<RunResult>> = vec![None; entrants.len()];
    for round in 1..=args.rounds {
        for (index, entrant) in entrants.iter().enumerate() {
            let rate = match entrant {
                Entrant::Ours {
                    name,
                    scenario,
                    environment,
                } => {
                    let result = one_run(name, scenario, *environment, &interrupt)?;
                    let rate = result
                        .ramp
                        .rate_per_second
                        .with_context(|| format!("{name} has no rate"))?;
                    results[index] = Some(result);
                    rate
                }
                Entrant::Other { command } => other_rate(command)?,
            };
            output::line(&format!("round {round}: {} {rate:.0}/s", entrant.name()));
            rates[index].push(rate);
            if let Some(signal) = interrupt.signal() {
                return Ok(Exit::by_signal(signal));
            }
        }
    }
    let rows = rows(&entrants, rates, &results);
    let text = match args.format {
        Format::Text => table(&rows),
        Format::Json => {
            let mut text = serde_json::to_string_pretty(&rows).context("cannot write JSON")?;
            text.push('\n');
            text
        }
    };
    output::print(&text)?;
    Ok(Exit::Done)
}

/// Every variant fits before the first of them runs: the last may be the wrong one, and it would come to light after half an
/// hour.
fn check(entrants: &[Entrant]) -> Result<(), Failure> {
    let facts = run::look()?;
    for entrant in entrants {
        if let Entrant::Ours { name, scenario, .. } = entrant {
            run::plan_for(scenario, &facts).map_err(|error| {
                let failure = Failure::from(error);
                wrong(name, failure.exit(), &failure)
            })?;
        }
    }
    Ok(())
}

fn wrong(variant: &str, exit: Exit, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(exit, format!("variant {variant}: {why}"))
}

fn entrants(args: &BenchArgs) -> Result<Vec<Entrant>, Failure> {
    let mut entrants = Vec::new();
    for variant in &args.variants {
        let sets = variant.sets();
        entrants.push(Entrant::Ours {
            name: variant.name().to_owned(),
            scenario: scenario_of(args, variant.name(), sets.iter().map(String::as_str))?,
            environment: variant.environment(),
        });
    }
    for text in &args.variant {
        let (name, sets) = text.split_once(':').ok_or_else(|| {
            Failure::new(
                Exit::Usage,
                format!("expected NAME:KEY=VALUE,… for --variant, not `{text}`"),
            )
        })?;
        entrants.push(Entrant::Ours {
            name: name.to_owned(),
            scenario: scenario_of(args, name, sets.split(','))?,
            environment: None,
        });
    }
    entrants.extend(args.beside.iter().map(|command| Entrant::Other {
        command: command.clone(),
    }));
    Ok(entrants)
}

/// The scenario of a variant.
fn scenario_of<'a>(
    args: &BenchArgs,
    name: &str,
    sets: impl Iterator<Item = &'a str>,
) -> Result<Box<Scenario>, Failure> {
    let mut changes = vec![
        Override::from_flag("-n", "connections", &args.connections),
        Override::from_flag("--place", "place", args.place.name()),
    ];
    for set in FIXED_SETS.into_iter().chain(sets) {
        let change =
            Override::from_assignment(set).map_err(|why| wrong(name, Exit::Usage, &why))?;
        changes.push(change);
    }
    scenario::built_in(&changes)
        .map(Box::new)
        .map_err(|errors| wrong(name, Exit::Scenario, &errors))
}

impl Entrant {
    fn name(&self) -> &str {
        match self {
            Self::Ours { name, .. } => name,
            Self::Other { .. } => "beside",
        }
    }
}

/// One run without hold and proof.
fn one_run(
    name: &str,
    scenario: &Scenario,
    environment: Option<(&'static str, &'static str)>,
    interrupt: &Interrupt,
) -> Result<RunResult, Failure> {
    let results = env::temp_dir().join(format!("c1m-bench-{:08x}", run::random_number()));
    // Made here, for its owner alone: a folder that somebody else has put there is no place for results.
    fs::DirBuilder::new()
        .mode(0o700)
        .create(&results)
        .with_context(|| format!("cannot make {}", results.display()))?;
    // What its summary says stands in `result.json` too.
    let (status, _) = ChildRun {
        scenario,
        results: &results,
        progress: ProgressChoice::None,
        allow_host_settings: false,
        // Each variant has what it names and nothing else, whatever was set when the comparison was started.
        environment,
    }
    .run(interrupt)
    .with_context(|| format!("cannot run {name}"))?;
    let outcome = if status.success() {
        read_result(&results).map_err(Failure::from)
    } else {
        Err(Failure::new(
            // A host that cannot is no failure of the program.
            interrupt
                .signal()
                .map_or_else(|| Exit::of(status), Exit::by_signal),
            format!("a run of {name} ended with {status}"),
        ))
    };
    let removed = fs::remove_dir_all(&results)
        .with_context(|| format!("cannot remove {}", results.display()));
    let result = outcome?;
    removed?;
    Ok(result)
}

fn read_result(results: &Path) -> anyhow::Result<RunResult> {
    let path = results.join("latest").join(RESULT);
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("cannot understand {}", path.display()))
}

/// Runs another program and takes the number before "/s" from what it prints.
fn other_rate(command: &str) -> anyhow::Result<f64> {
    let output = Command::new("sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {command}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    rate_in(&text).with_context(|| format!("{command} printed no rate (a number before \"/s\")"))
}

fn rate_in(text: &str) -> Option<f64> {
    text.split_whitespace()
        .filter_map(|word| word.strip_suffix("/s"))
        .find_map(|number| number.replace(',', "").parse().ok())
}

fn rows(entrants: &[Entrant], rates: Vec<Vec<f64>>, results: &[Option<RunResult>]) -> Vec<Row> {
    let first = rates.first().cloned().unwrap_or_default();
    let (first_best, first_median) = (best(&first), median(&first));
    entrants
        .iter()
        .zip(rates)
        .zip(results)
        .map(|((entrant, rates), result)| {
            let memory = result.as_ref().map(|result| &result.memory);
            Row {
                name: entrant.name().to_owned(),
                best_per_second: best(&rates),
                median_per_second: median(&rates),
                best_ratio: best(&rates) / first_best,
                median_ratio: median(&rates) / first_median,
                server_user_bytes_per_connection: memory
                    .and_then(|memory| memory.server.user_bytes_per_connection),
                client_user_bytes_per_connection: memory
                    .and_then(|memory| memory.client.user_bytes_per_connection),
                bytes_per_connection: memory.and_then(|memory| memory.both.bytes_per_connection),
                rates_per_second: rates,
            }
        })
        .collect()
}

fn best(rates: &[f64]) -> f64 {
    rates.iter().copied().fold(0.0, f64::max)
}

fn median(rates: &[f64]) -> f64 {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<16} {:>10} {:>10} {:>7} {:>7} {:>14} {:>14} {:>12}\n",
        "variant",
        "best/s",
        "median/s",
        "best",
        "median",
        "server user B",
        "client user B",
        "both ends B"
    );
    for row in rows {
        let shown =
            |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |n| format!("{n:.1}"));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<16} {:>10.0} {:>10.0} {:>7.2} {:>7.2} {:>14} {:>14} {:>12}",
            row.name,
            row.best_per_second,
            row.median_per_second,
            row.best_ratio,
            row.median_ratio,
            shown(row.server_user_bytes_per_connection),
            shown(row.client_user_bytes_per_connection),
            shown(row.bytes_per_connection),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_found_in_what_another_program_prints() {
        assert_eq!(rate_in("ok=10 fail=0 0.13s 76923/s\n"), Some(76923.0));
        assert_eq!(rate_in("81,000/s"), Some(81000.0));
        assert_eq!(rate_in("no figure"), None);
    }

    #[test]
    fn a_median_of_an_even_number_lies_between() {
        assert!((median(&[4.0, 1.0, 3.0, 2.0]) - 2.5).abs() < 1e-9);
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
    }
}
