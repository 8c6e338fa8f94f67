//! The figures of a result that a threshold may bound and that two runs are compared by. The list is closed: a figure that
//! is not in it has no name.

mod parts;
mod value;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Phase, Role, TcpState};

pub use parts::{Part, Percentile, Side, Use};

/// A figure of `result.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Figure {
    /// Connections asked for.
    Requested,
    /// Connections planned.
    Target,
    /// The largest number open at once.
    EstablishedPeak,
    /// Held to the end and proved.
    Held,
    /// Established at the clients only.
    Phantom,
    /// Connections that a server which is not the lab's own has taken by accept(2).
    Accepted,
    /// Connections that wait in such a server's accept queue.
    Waiting,
    /// Ended though nobody asked.
    Lost,
    /// Never opened.
    Failed,
    /// Proved alive by an echo.
    Verified,
    /// What such a server used at the target.
    Server(Use),
    /// Length of the ramp.
    RampSeconds,
    /// Connections opened a second.
    RampRate,
    /// A percentile of the connect latency.
    ConnectLatency(Percentile),
    /// Seconds held.
    HoldSeconds,
    /// Memory per connection.
    Memory(Side, Part),
    /// Memory per connection that belongs to neither end alone.
    SharedMemory,
    /// What the drop of `MemFree` has more than all rows explain, per connection.
    FreeResidual,
    /// Slope of memory over connections.
    Slope,
    /// Half of its 95 % confidence interval.
    SlopeConfidence,
    /// Share of the memory that no row explains.
    UnexplainedFraction,
    /// Sockets of one end in one state.
    Counted(Role, TcpState),
    /// Seconds of a phase.
    Elapsed(Phase),
    /// Seconds of the whole run.
    ElapsedTotal,
}

/// The unit that a figure is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FigureUnit {
    /// Bytes for each connection.
    Bytes,
    /// Bytes in all.
    Size,
    /// Connections, or sockets.
    Count,
    /// A share of one.
    Fraction,
    /// Microseconds.
    Microseconds,
    /// Connections a second.
    PerSecond,
    /// Seconds.
    Seconds,
}

/// Which way a threshold bounds, and where. In files: `{"at_least": 5}`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The figure must reach this.
    AtLeast(f64),
    /// The figure must not exceed this.
    AtMost(f64),
}

impl Bound {
    /// Whether `measured` is on the right side.
    #[must_use]
    pub fn holds(self, measured: f64) -> bool {
        match self {
            Self::AtLeast(bound) => measured >= bound,
            Self::AtMost(bound) => measured <= bound,
        }
    }

    /// The bare number.
    #[must_use]
    pub const fn value(self) -> f64 {
        match self {
            Self::AtLeast(bound) | Self::AtMost(bound) => bound,
        }
    }

    /// How far `measured` lies on the good side; negative on the other.
    #[must_use]
    pub fn margin(self, measured: f64) -> f64 {
        match self {
            Self::AtLeast(bound) => measured - bound,
            Self::AtMost(bound) => bound - measured,
        }
    }
}

impl Figure {
    /// Every figure.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let mut all = vec![
            Self::Requested,
            Self::Target,
            Self::EstablishedPeak,
            Self::Held,
            Self::Phantom,
            Self::Accepted,
            Self::Waiting,
            Self::Lost,
            Self::Failed,
            Self::Verified,
            Self::RampSeconds,
            Self::RampRate,
        ];
        all.extend(Use::ALL.map(Self::Server));
        all.extend(Percentile::ALL.map(Self::ConnectLatency));
        all.push(Self::HoldSeconds);
        for side in Side::ALL {
            all.extend(Part::ALL.map(|part| Self::Memory(side, part)));
        }
        all.extend([
            Self::SharedMemory,
            Self::FreeResidual,
            Self::Slope,
            Self::SlopeConfidence,
            Self::UnexplainedFraction,
        ]);
        for role in [Role::Server, Role::Client] {
            all.extend(TcpState::ALL.map(|state| Self::Counted(role, state)));
        }
        all.extend(Phase::ALL.map(Self::Elapsed));
        all.push(Self::ElapsedTotal);
        all
    }

    /// From its name; nothing when there is no such figure.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::all()
            .into_iter()
            .find(|figure| figure.to_string() == name)
    }

    /// Its unit.
    #[must_use]
    pub const fn unit(self) -> FigureUnit {
        match self {
            Self::Requested
            | Self::Target
            | Self::EstablishedPeak
            | Self::Held
            | Self::Phantom
            | Self::Accepted
            | Self::Waiting
            | Self::Lost
            | Self::Failed
            | Self::Verified
            | Self::Counted(..)
            | Self::Server(
                Use::Accepted
                | Use::Waiting
                | Use::Processes
                | Use::Threads
                | Use::Descriptors
                | Use::PerGib,
            ) => FigureUnit::Count,
            Self::Server(Use::Pss) => FigureUnit::Size,
            Self::RampSeconds
            | Self::HoldSeconds
            | Self::Elapsed(_)
            | Self::ElapsedTotal
            | Self::Server(Use::Cpu) => FigureUnit::Seconds,
            Self::RampRate => FigureUnit::PerSecond,
            Self::ConnectLatency(_) => FigureUnit::Microseconds,
            Self::Memory(..)
            | Self::SharedMemory
            | Self::FreeResidual
            | Self::Slope
            | Self::SlopeConfidence => FigureUnit::Bytes,
            Self::UnexplainedFraction => FigureUnit::Fraction,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => out.pad("connections.requested"),
            Self::Target => out.pad("connections.target"),
            Self::EstablishedPeak => out.pad("connections.established_peak"),
            Self::Held => out.pad("connections.held"),
            Self::Phantom => out.pad("connections.phantom"),
            Self::Accepted => out.pad("connections.accepted"),
            Self::Waiting => out.pad("connections.waiting"),
            Self::Lost => out.pad("connections.lost"),
            Self::Failed => out.pad("connections.failed"),
            Self::Verified => out.pad("connections.verified"),
            Self::Server(what) => out.pad(&format!("server.{}", what.name())),
            Self::RampSeconds => out.pad("ramp.seconds"),
            Self::RampRate => out.pad("ramp.rate_per_second"),
            Self::ConnectLatency(percentile) => out.pad(&format!(
                "ramp.connect_latency_microseconds.{}",
                percentile.name()
            )),
            Self::HoldSeconds => out.pad("hold_seconds"),
            Self::Memory(side, part) => out.pad(&format!("memory.{}.{}", side.name(), part.name())),
            Self::SharedMemory => out.pad("memory.shared_bytes_per_connection"),
            Self::FreeResidual => out.pad("memory.free_residual_bytes_per_connection.value"),
            Self::Slope => out.pad("memory.slope_bytes_per_connection.value"),
            Self::SlopeConfidence => out.pad("memory.slope_confidence_bytes"),
            Self::UnexplainedFraction => out.pad("memory.unexplained_fraction"),
            Self::Counted(role, state) => out.pad(&format!("counted.{role}.{state}")),
            Self::Elapsed(phase) => out.pad(&format!("elapsed_seconds.{phase}")),
            Self::ElapsedTotal => out.pad("elapsed_seconds.total"),
        }
    }
}

impl From<Figure> for String {
    fn from(figure: Figure) -> Self {
        figure.to_string()
    }
}

impl TryFrom<String> for Figure {
    type Error = String;
    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::parse(&name).ok_or_else(|| format!("{name} is no figure of a result"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Every number that a result can hold, by the schema of its type, settings and versions left out.
    fn numbers(root: &Value, schema: &Value, path: &str, found: &mut Vec<String>) {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let target = root.pointer(reference.trim_start_matches('#'));
            return numbers(root, target.expect("is there"), path, found);
        }
        let list = |key: &str| schema.get(key).and_then(Value::as_array);
        for branch in list("anyOf").into_iter().flatten() {
            numbers(root, branch, path, found);
        }
        let is = |name: &str| match schema.get("type") {
            Some(Value::String(only)) => only == name,
            Some(Value::Array(several)) => several.iter().any(|one| one == name),
            _ => false,
        };
        if is("number") || is("integer") {
            found.push(path.to_owned());
        }
        let below = |key: &str| {
            if path.is_empty() {
                key.to_owned()
            } else {
                format!("{path}.{key}")
            }
        };
        let map = |key: &str| schema.get(key).and_then(Value::as_object);
        for (key, part) in map("properties").into_iter().flatten() {
            numbers(root, part, &below(key), found);
        }
        if let Some(part) = schema
            .get("additionalProperties")
            .filter(|part| part.is_object())
        {
            numbers(root, part, &below("*"), found);
        }
    }

    #[test]
    fn every_number_of_a_result_is_a_figure() {
        let schema = schemars::schema_for!(crate::domain::RunResult).to_value();
        let mut found = Vec::new();
        numbers(&schema, &schema, "", &mut found);
        found.retain(|path| path != "schema_version");
        assert!(found.len() > 15, "{found:?}");
        let names: Vec<String> = Figure::all().iter().map(ToString::to_string).collect();
        for path in found {
            let head = path.split('*').next().expect("a part");
            assert!(
                names
                    .iter()
                    .any(|name| *name == path || (path.contains('*') && name.starts_with(head))),
                "{path} has no figure"
            );
        }
    }

    #[test]
    fn a_figure_is_found_by_its_name() {
        for figure in Figure::all() {
            assert_eq!(Figure::parse(&figure.to_string()), Some(figure));
        }
        assert_eq!(Figure::parse("ramp.rate"), None);
    }
}
