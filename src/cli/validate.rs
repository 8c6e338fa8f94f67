//! `c1m validate`: whether scenario files say what can be understood. Looks at nothing but the files.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::format::Format;
use super::{Exit, Failure, output};
use crate::domain::ConnCount;
use crate::scenario::{self, Override, Scenario, ScenarioErrors};

/// Checks scenario files: every error of each, with line, column and what was probably meant.
#[derive(Debug, Args)]
pub(super) struct ValidateArgs {
    /// The files, or names of scenarios that come with the program.
    #[arg(value_name = "SCENARIO", required = true)]
    scenarios: Vec<PathBuf>,
    /// Sets a key of each scenario first, such as server.engine=tokio; repeatable.
    #[arg(
        long = "set",
        value_name = "KEY=VALUE",
        env = "C1M_SET",
        value_delimiter = '\n'
    )]
    set: Vec<String>,
    /// The form of the answer.
    #[arg(long, value_enum, default_value = "text", env = "C1M_FORMAT")]
    format: Format,
}

/// What was found in one file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Finding {
    /// It says this.
    Valid(Box<Scenario>),
    /// It cannot be understood.
    Invalid(ScenarioErrors),
}

pub(super) fn run(args: &ValidateArgs) -> Result<Exit, Failure> {
    let overrides = args
        .set
        .iter()
        .map(|text| Override::from_assignment(text))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Failure::new(Exit::Usage, error))?;
    let findings: Vec<Finding> = args
        .scenarios
        .iter()
        .map(|path| match scenario::find(path, &overrides) {
            Ok(scenario) => Finding::Valid(Box::new(scenario)),
            Err(errors) => Finding::Invalid(errors),
        })
        .collect();
    let text = match args.format {
        Format::Json => {
            serde_json::to_string_pretty(&findings).context("cannot write JSON")? + "\n"
        }
        Format::Text => args
            .scenarios
            .iter()
            .zip(&findings)
            .map(|(path, finding)| match finding {
                Finding::Valid(scenario) => format!("{}: {}\n", path.display(), summary(scenario)),
                Finding::Invalid(errors) => format!("{errors}\n"),
            })
            .collect(),
    };
    output::print(&text)?;
    let all_valid = findings
        .iter()
        .all(|finding| matches!(finding, Finding::Valid(_)));
    Ok(if all_valid {
        Exit::Done
    } else {
        Exit::Scenario
    })
}

fn summary(scenario: &Scenario) -> String {
    let hosts: u64 = scenario
        .clients
        .iter()
        .map(|group| u64::from(group.hosts))
        .sum();
    let addresses: u64 = scenario
        .clients
        .iter()
        .map(scenario::ClientGroup::addresses)
        .sum();
    format!(
        "valid: {} connections from {} address(es) of {hosts} client host(s), held for {:?}",
        scenario.connections,
        ConnCount::new(addresses),
        scenario.hold
    )
}
