//! `c1m plan`: what a scenario needs and whether it fits here. Starts nothing, changes nothing.

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::format::Format;
use super::scenario_args::ScenarioArgs;
use super::{Exit, Failure, output};
use crate::domain::{NetworkDriver, PlaceKind};
use crate::plan::{self, DockerSupport, Emit};
use crate::run;
use crate::scenario::{NetworkRequest, Scenario};

/// Prints the plan of a scenario on this host, or why it does not fit, with what cures it.
#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    scenario: ScenarioArgs,
    /// The form of the plan, or of the refusal.
    #[arg(long, value_enum, default_value = "text", env = "C1M_FORMAT")]
    format: Format,
    /// Prints the plan as a file of another program instead.
    #[arg(long, value_enum, env = "C1M_EMIT")]
    emit: Option<EmitArg>,
}

/// A file of another program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EmitArg {
    /// For Compose, of a plan in containers.
    Compose,
    /// For /etc/security/limits.d.
    Limits,
    /// For /etc/sysctl.d.
    Sysctl,
}

pub(super) fn run(args: &PlanArgs) -> Result<Exit, Failure> {
    let scenario = args.scenario.load()?;
    let facts = run::look()?;
    let network = match (args.emit, scenario.network) {
        // Compose has no links: its containers are joined by bridges instead.
        (
            Some(EmitArg::Compose),
            NetworkRequest::Auto | NetworkRequest::Only(NetworkDriver::Link),
        ) => NetworkRequest::Only(NetworkDriver::Bridge),
        (_, network) => network,
    };
    let scenario = Scenario {
        network,
        ..scenario
    };
    let decision = match plan::choose_place_of(&scenario, &facts, DockerSupport::Available) {
        Ok(decision) => decision,
        Err(refusal) if args.format == Format::Json => return refused(&refusal),
        Err(refusal) => {
            let cure = refusal.cure.clone();
            return Err(Failure::new(Exit::HostCannot, refusal).with_hint(Some(cure)));
        }
    };
    if args.emit == Some(EmitArg::Compose) && decision.choice.place != PlaceKind::Docker {
        let why = format!(
            "a Compose file is for containers, and the place is {}",
            decision.choice.place
        );
        return Err(Failure::new(Exit::HostCannot, why).with_hint(Some("--place docker")));
    }
    let plan = match plan::plan(&scenario, &facts, &decision) {
        Ok(plan) => plan,
        Err(refusal) if args.format == Format::Json => return refused(&refusal),
        Err(refusal) => return Err(Failure::new(Exit::HostCannot, refusal.to_text())),
    };
    let text = match (args.emit, args.format) {
        (Some(EmitArg::Compose), _) => plan::emit(&plan, Emit::Compose),
        (Some(EmitArg::Limits), _) => plan::emit(&plan, Emit::Limits),
        (Some(EmitArg::Sysctl), _) => plan::emit(&plan, Emit::Sysctl),
        (None, Format::Text) => plan.to_text(),
        (None, Format::Json) => json(&plan)?,
    };
    output::print(&text)?;
    Ok(Exit::Done)
}

/// For programs a refusal is data too.
fn refused(refusal: &impl serde::Serialize) -> Result<Exit, Failure> {
    output::print(&json(refusal)?)?;
    Ok(Exit::HostCannot)
}

fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
    Ok(text + "\n")
}
