//! `c1m scenarios`: the scenarios that come with the program.

use std::fmt::Write as _;

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use super::format::Format;
use super::{Exit, Failure, output};
use crate::domain::ConnCount;
use crate::scenario::{PlaceRequest, SHIPPED, Scenario, Shipped};

/// Lists the scenarios that come with the program; `c1m run NAME` runs one from any folder.
#[derive(Debug, Args)]
pub(super) struct ScenariosArgs {
    /// Prints the file of this scenario instead, as a beginning for one of your own.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// The form of the list.
    #[arg(long, value_enum, default_value = "text", env = "C1M_FORMAT")]
    format: Format,
}

/// A line of the list.
#[derive(Debug, Serialize)]
struct Row {
    name: &'static str,
    connections: u64,
    place: &'static str,
    hold_seconds: f64,
    minutes: u64,
    description: String,
}

/// Connections that are opened, proved and reset in a second when nothing bounds the rate: the least of the three in the
/// committed runs of `docs/results/` on two processors. It is for the column of minutes alone.
const USUAL_PER_SECOND: f64 = 50_000.0;

/// A connection is opened, proved alive, and reset.
const PASSES: f64 = 3.0;

pub(super) fn run(args: &ScenariosArgs) -> Result<Exit, Failure> {
    let text = match &args.name {
        Some(name) => file(name)?.to_owned(),
        None => list(args.format)?,
    };
    output::print(&text)?;
    Ok(Exit::Done)
}

fn file(name: &str) -> Result<&'static str, Failure> {
    Shipped::named(name)
        .map(|shipped| shipped.text)
        .ok_or_else(|| {
            Failure::new(Exit::Usage, format!("no scenario is called `{name}`"))
                .with_hint(Some("c1m scenarios"))
        })
}

fn list(format: Format) -> Result<String, Failure> {
    let rows = SHIPPED
        .iter()
        .map(|shipped| {
            let scenario = shipped
                .load(&[])
                .map_err(|errors| Failure::new(Exit::Scenario, errors))?;
            Ok(row(shipped.name, scenario))
        })
        .collect::<Result<Vec<Row>, Failure>>()?;
    Ok(match format {
        Format::Json => serde_json::to_string_pretty(&rows).context("cannot write JSON")? + "\n",
        Format::Text => table(&rows),
    })
}

fn row(name: &'static str, scenario: Scenario) -> Row {
    Row {
        name,
        connections: scenario.connections.count(),
        place: match scenario.place {
            PlaceRequest::Auto => "auto",
            PlaceRequest::Only(place) => place.name(),
        },
        hold_seconds: scenario.hold.as_secs_f64(),
        minutes: minutes(&scenario),
        description: scenario.description,
    }
}

/// Whole minutes that a run takes, upwards rounded.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // some minutes
fn minutes(scenario: &Scenario) -> u64 {
    let connections = scenario.connections.as_f64();
    let ramp = scenario.ramp.rate.map_or(USUAL_PER_SECOND, |rate| {
        rate.per_second().min(USUAL_PER_SECOND)
    });
    let passes = (PASSES - 1.0) * connections / USUAL_PER_SECOND + connections / ramp;
    ((scenario.hold.as_secs_f64() + passes) / 60.0).ceil() as u64
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<12} {:>11}  {:<9} {:>7}  {}\n",
        "scenario", "connections", "place", "minutes", "what it is"
    );
    for row in rows {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{:<12} {:>11}  {:<9} {:>7}  {}",
            row.name,
            ConnCount::new(row.connections),
            row.place,
            row.minutes,
            row.description.trim()
        );
    }
    text
}
