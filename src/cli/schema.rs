//! `c1m schema`: the JSON schemas of the files that users write and read.

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::{Exit, Failure, output};
use crate::domain::RunResult;
use crate::scenario;

/// Prints a JSON schema, for editors and for programs that read results.
#[derive(Debug, Args)]
pub(super) struct SchemaArgs {
    /// Of which file.
    #[arg(value_enum, default_value = "scenario")]
    of: SchemaOf,
}

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SchemaOf {
    /// A scenario.
    Scenario,
    /// `result.json` of a run directory.
    Result,
}

pub(super) fn run(args: &SchemaArgs) -> Result<Exit, Failure> {
    let text = match args.of {
        SchemaOf::Scenario => {
            serde_json::to_string_pretty(&scenario::schema()).context("cannot write JSON")? + "\n"
        }
        SchemaOf::Result => RunResult::schema(),
    };
    output::print(&text)?;
    Ok(Exit::Done)
}
