//! `c1m doctor`: can this host do it, what is missing, and the command that cures it. Undoes nothing and sets nothing; with a
//! Docker engine that can be used it starts small containers, says so, and removes them again.

use std::fmt::Write as _;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::format::Format;
use super::runtime_args::{RuntimeArgs, host_cannot};
use super::scenario_args::ScenarioArgs;
use super::{Exit, Failure, output};
use crate::domain::{
    Binding, BudgetRow, ConnCount, HostFacts, Limit, PlaceKind, RunId, SizeSource,
};
use crate::host;
use crate::plan::{self, DockerSupport, PlaceDecision, choose_place};
use crate::provision::{WorkerProgram, docker};
use crate::run::{look, random_number};
use crate::scenario::{NetworkRequest, PlaceRequest, Scenario};

/// Looks whether this host can hold the connections, names what is missing, and the exact command that cures it. Changes
/// no setting and undoes nothing. Where a Docker engine can be used, it makes the image of this binary, which stays, and
/// starts small containers to find their limits, which are removed again.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// The form of the answer.
    #[arg(long, value_enum, default_value = "text", env = "C1M_FORMAT")]
    format: Format,
    #[command(flatten)]
    runtime: RuntimeArgs,
}

/// How one thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// As it should be.
    Good,
    /// Worth knowing; nothing fails because of it.
    Note,
    /// The scenario cannot run like this.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    /// What.
    name: String,
    state: State,
    /// What was found.
    found: String,
    /// The command or the change that cures it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cure: Option<String>,
}

/// What doctor says.
#[derive(Debug, Serialize)]
struct Diagnosis {
    /// Whether the scenario can run here.
    can_run: bool,
    scenario: String,
    /// Connections asked for.
    connections: u64,
    /// How many of them fit.
    fits: u64,
    checks: Vec<Check>,
    facts: HostFacts,
}

pub(super) fn run(args: &DoctorArgs) -> Result<Exit, Failure> {
    let scenario = args.scenario.load()?;
    let (leftovers, leaves_something) = leftovers(&args.runtime)?;
    let facts = look()?;
    let mut checks = vec![kernel(&facts)];
    checks.extend(leftovers);
    checks.extend(
        [
            PlaceKind::Docker,
            PlaceKind::Netns,
            PlaceKind::Loopback,
            PlaceKind::Host,
        ]
        .map(|kind| place(kind, &scenario, &facts)),
    );
    checks.extend(network(&scenario, &facts));
    checks.extend(container_limits(&facts));
    checks.push(tables(&facts));
    checks.push(sizes(&facts));
    let (limits, fits) = fit(&scenario, &facts);
    checks.extend(limits);
    let can_run = checks.iter().all(|check| check.state != State::Bad);
    let diagnosis = Diagnosis {
        can_run,
        scenario: scenario.name.clone(),
        connections: scenario.connections.count(),
        fits,
        checks,
        facts,
    };
    let text = match args.format {
        Format::Json => {
            serde_json::to_string_pretty(&diagnosis).context("cannot write JSON")? + "\n"
        }
        Format::Text => diagnosis.to_text(),
    };
    output::print(&text)?;
    Ok(match (leaves_something, can_run) {
        (true, _) => Exit::HostChanged,
        (false, true) => Exit::Done,
        (false, false) => Exit::HostCannot,
    })
}

/// How many descriptors a container may have: tried with a real one, because an engine that asks for more than it may give
/// says so only when the container starts.
fn container_limits(facts: &HostFacts) -> Option<Check> {
    choose_place(
        PlaceRequest::Only(PlaceKind::Docker),
        NetworkRequest::Auto,
        facts,
        DockerSupport::Available,
    )
    .ok()?;
    let run = RunId::from_random(random_number());
    let (state, found) = match docker::try_limits(&run, &WorkerProgram::this_binary()) {
        Ok(limits) => {
            let hard = match limits.given.1 {
                Limit::At(hard) => hard.to_string(),
                Limit::Unlimited => "unlimited".to_owned(),
            };
            let most = limits.most.map_or_else(
                || "asking for more was refused each time".to_owned(),
                |most| format!("{most} can be had by asking"),
            );
            (
                State::Good,
                format!(
                    "{} soft, {hard} hard without asking; {most}; a worker needs no raised limit (tried with containers, which are removed again)",
                    limits.given.0
                ),
            )
        }
        Err(error) => (State::Note, format!("not tried to the end: {error}")),
    };
    Some(Check {
        name: "descriptors of a container".to_owned(),
        state,
        found,
        cure: None,
    })
}

/// What a crashed run has left, and whether there is something. Nothing is undone.
fn leftovers(runtime: &RuntimeArgs) -> Result<(Vec<Check>, bool), Failure> {
    let found = match runtime.find()? {
        Some(runtime) => host::look(&runtime).map_err(host_cannot)?,
        None => host::LeftOnHost::default(),
    };
    let check = |name: &str, state, found, cure: Option<&str>| Check {
        name: name.to_owned(),
        state,
        found,
        cure: cure.map(str::to_owned),
    };
    if let Some(who) = found.live_run {
        return Ok((
            vec![check("a run under way", State::Note, who, None)],
            false,
        ));
    }
    let name = "left by a crashed run";
    let leaves_something = !found.journals.is_empty();
    let mut checks: Vec<Check> = found
        .journals
        .into_iter()
        .map(|journal| check(name, State::Bad, journal, Some("c1m restore")))
        .collect();
    if checks.is_empty() {
        checks.push(check(name, State::Good, "nothing".to_owned(), None));
    }
    Ok((checks, leaves_something))
}

/// The oldest kernel that gives a thread a descriptor table of its own by `close_range`(2).
const OLDEST_KERNEL: (u64, u64) = (5, 9);

/// The oldest kernel whose `IP_LOCAL_PORT_RANGE` spares the search through the taken half of the ports.
const FAST_PORT_RANGE: (u64, u64) = (6, 8);

fn kernel(facts: &HostFacts) -> Check {
    let mut numbers = facts
        .kernel
        .split(['.', '-'])
        .map(|part| part.parse::<u64>().ok());
    let version = numbers.next().flatten().zip(numbers.next().flatten());
    let (state, remark, cure) = match version {
        Some(version) if version < OLDEST_KERNEL => (
            State::Bad,
            "older than 5.9: no descriptor table for each thread",
            Some("run a newer kernel, or use descriptor_tables: one with a high hard limit (ulimit -Hn)".to_owned()),
        ),
        Some(version) if version < FAST_PORT_RANGE => {
            (State::Note, "ports: range is slow beyond half of the ports before 6.8; explicit is not", None)
        }
        Some(_) => (State::Good, "has all that is used", None),
        None => (State::Note, "a version that cannot be told", None),
    };
    Check {
        name: "kernel".to_owned(),
        state,
        found: format!(
            "{} on {}, {} processor(s): {remark}",
            facts.kernel, facts.architecture, facts.cpus
        ),
        cure,
    }
}

/// A place that cannot be had is bad only for a scenario that asks for it.
fn place(kind: PlaceKind, scenario: &Scenario, facts: &HostFacts) -> Check {
    let asked = scenario.place == PlaceRequest::Only(kind);
    let request = PlaceRequest::Only(kind);
    match choose_place(
        request,
        NetworkRequest::Auto,
        facts,
        DockerSupport::Available,
    ) {
        Ok(PlaceDecision { choice, .. }) => Check {
            name: format!("place {kind}"),
            state: State::Good,
            found: choice.why.trim_start_matches("asked for; ").to_owned(),
            cure: None,
        },
        Err(refusal) => Check {
            name: format!("place {kind}"),
            state: if asked { State::Bad } else { State::Note },
            found: refusal.why,
            cure: Some(refusal.cure),
        },
    }
}

/// What would join the containers, where there can be some.
fn network(scenario: &Scenario, facts: &HostFacts) -> Option<Check> {
    let in_docker = PlaceRequest::Only(PlaceKind::Docker);
    let choose = |network| choose_place(in_docker, network, facts, DockerSupport::Available);
    choose(NetworkRequest::Auto).ok()?;
    let (state, found, cure) = match choose(scenario.network) {
        Ok(decision) => {
            let network = decision.choice.network?;
            let passed_over = network
                .why_not
                .iter()
                .map(|(driver, why)| format!("; not {driver}: {why}"));
            let state = if network.why_not.is_empty() {
                State::Good
            } else {
                State::Note
            };
            let why = network.why.trim_start_matches("asked for; ");
            let found = format!("{}: {why}", network.driver) + &passed_over.collect::<String>();
            (state, found, None)
        }
        Err(refusal) => {
            let state = match scenario.place {
                PlaceRequest::Auto | PlaceRequest::Only(PlaceKind::Docker) => State::Bad,
                PlaceRequest::Only(_) => State::Note,
            };
            (state, refusal.why, Some(refusal.cure))
        }
    };
    Some(Check {
        name: "network of containers".to_owned(),
        state,
        found,
        cure,
    })
}

fn tables(facts: &HostFacts) -> Check {
    let found = match facts.descriptors.hard {
        Limit::At(hard) => format!(
            "hard limit {hard} for each table; each thread has its own, so that it bounds no run"
        ),
        Limit::Unlimited => "no limit".to_owned(),
    };
    Check {
        name: "descriptors".to_owned(),
        state: State::Good,
        found,
        cure: None,
    }
}

fn sizes(facts: &HostFacts) -> Check {
    let (state, found, cure) = match facts.objects.source {
        SizeSource::Slabinfo => (State::Good, "exact, from /proc/slabinfo", None),
        SizeSource::BtfEstimate => (
            State::Note,
            "estimated from the kernel's type information",
            Some("run it as root: only root may read /proc/slabinfo".to_owned()),
        ),
        SizeSource::Assumed => (
            State::Note,
            "assumed from Linux 6.18",
            Some("run it as root, or with a kernel that has /sys/kernel/btf/vmlinux".to_owned()),
        ),
    };
    Check {
        name: "sizes of kernel objects".to_owned(),
        state,
        found: found.to_owned(),
        cure,
    }
}

/// Every limit of the scenario's plan in the place that would be chosen, and how many connections they let through.
fn fit(scenario: &Scenario, facts: &HostFacts) -> (Vec<Check>, u64) {
    let Ok(decision) = plan::choose_place_of(scenario, facts, DockerSupport::Available) else {
        // Said of the place already.
        return (Vec::new(), 0);
    };
    let whole = Scenario {
        fit: false,
        ..scenario.clone()
    };
    match plan::plan(&whole, facts, &decision) {
        Ok(plan) => {
            let checks = plan
                .budget
                .iter()
                .map(|row| row_check(row, None, State::Bad));
            (checks.collect(), plan.target.count())
        }
        Err(refusal) => {
            // A scenario that may be reduced runs all the same, unless nothing at all fits.
            let state = if scenario.fit && refusal.fits.count() > 0 {
                State::Note
            } else {
                State::Bad
            };
            let short = |row: &BudgetRow| {
                refusal
                    .shortfalls
                    .iter()
                    .find(|shortfall| shortfall.row.id == row.id)
            };
            let mut checks: Vec<Check> = refusal
                .budget
                .iter()
                .map(|row| {
                    row_check(
                        row,
                        short(row).map(|shortfall| shortfall.cure.clone()),
                        state,
                    )
                })
                .collect();
            checks.push(Check {
                name: "how many fit".to_owned(),
                state,
                found: format!("{} of {}", refusal.fits, refusal.requested),
                cure: (refusal.fits.count() > 0)
                    .then(|| format!("--fit, or -n {}", refusal.fits.count())),
            });
            (checks, refusal.fits.count())
        }
    }
}

fn row_check(row: &BudgetRow, cure: Option<String>, when_short: State) -> Check {
    let state = match (row.fits(), row.binding) {
        (false, _) => when_short,
        (true, Binding::Hard) => State::Good,
        (true, Binding::Information) => State::Note,
    };
    let have = row
        .have
        .map_or_else(|| "no limit".to_owned(), |have| row.shown(have));
    let note = if row.note.is_empty() {
        String::new()
    } else {
        format!(" ({})", row.note)
    };
    Check {
        name: row.name.clone(),
        state,
        found: format!("{} needed, {have} there{note}", row.shown(row.need)),
        cure,
    }
}

impl Diagnosis {
    fn to_text(&self) -> String {
        let mut out = String::new();
        for check in &self.checks {
            let mark = match check.state {
                State::Good => "ok  ",
                State::Note => "note",
                State::Bad => "BAD ",
            };
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{mark}  {:<34} {}", check.name, check.found);
            if let Some(cure) = &check.cure {
                let _ = writeln!(out, "      {:<34} cure: {cure}", "");
            }
        }
        let asked = ConnCount::new(self.connections);
        let verdict = match (self.can_run, ConnCount::new(self.fits)) {
            (true, fits) if fits < asked => {
                format!("{fits} of {asked} connections can run here, reduced to what fits")
            }
            (true, _) => format!("{asked} connections can run here"),
            (false, _) => format!("{asked} connections cannot run here as it is"),
        };
        let _ = writeln!(out, "\n{}: {verdict}", self.scenario);
        out
    }
}
