//! The value of a figure in a result, or why there is none.

use super::{Figure, Part, Side};
use crate::domain::{MemorySide, RunResult};

impl Figure {
    /// Its value in `result`; nothing where it is not known.
    #[must_use]
    pub fn of(self, result: &RunResult) -> Option<f64> {
        #[allow(clippy::cast_precision_loss)] // counts of connections are far below 2^53
        let count = |number: u64| number as f64;
        let connections = &result.connections;
        match self {
            Self::Requested => connections.requested.map(count),
            Self::Target => connections.target.map(count),
            Self::EstablishedPeak => Some(count(connections.established_peak)),
            Self::Held => connections.held.map(count),
            Self::Phantom => connections.phantom.map(count),
            Self::Accepted => connections.accepted.map(count),
            Self::Waiting => connections.waiting.map(count),
            Self::Lost => Some(count(connections.lost)),
            Self::Failed => Some(count(connections.failed)),
            Self::Verified => connections.verified.map(count),
            Self::Server(what) => what.of(result.server.as_ref()?),
            Self::RampSeconds => result.ramp.seconds,
            Self::RampRate => result.ramp.rate_per_second,
            Self::ConnectLatency(percentile) => result
                .ramp
                .connect_latency_microseconds
                .get(percentile.name())
                .copied(),
            Self::HoldSeconds => Some(result.hold_seconds),
            Self::Memory(side, part) => part_of(side_of(result, side), part),
            Self::SharedMemory => result.memory.shared_bytes_per_connection,
            Self::FreeResidual => result.memory.free_residual_bytes_per_connection.value,
            Self::Slope => result.memory.slope_bytes_per_connection.value,
            Self::SlopeConfidence => result.memory.slope_confidence_bytes,
            Self::UnexplainedFraction => result.memory.unexplained_fraction,
            Self::Counted(role, state) => result
                .counted
                .get(role.name())?
                .as_ref()
                .map(|states| states.get(&state.to_string()).copied().map_or(0.0, count)),
            Self::Elapsed(phase) => result.elapsed_seconds.get(phase.name()).copied(),
            Self::ElapsedTotal => result.elapsed_seconds.get("total").copied(),
        }
    }

    /// Why its value is not known, where the result says so.
    #[must_use]
    pub fn unknown_because(self, result: &RunResult) -> Option<&str> {
        match self {
            Self::Memory(side, part) => side_of(result, side)
                .how
                .get(part.name())
                .map(String::as_str),
            Self::SharedMemory => result
                .memory
                .both
                .how
                .get(Part::Sum.name())
                .map(String::as_str),
            Self::FreeResidual => Some(
                result
                    .memory
                    .free_residual_bytes_per_connection
                    .how
                    .as_str(),
            ),
            Self::Slope | Self::SlopeConfidence => {
                Some(result.memory.slope_bytes_per_connection.how.as_str())
            }
            Self::RampSeconds | Self::RampRate | Self::ConnectLatency(_) => {
                Some("no connection was opened")
            }
            Self::Held | Self::Phantom => Some("an end was not counted"),
            Self::Accepted | Self::Waiting => {
                Some("it is told of servers that are not the lab's own")
            }
            Self::Server(_) if result.server.is_none() => {
                Some("it is told of servers that are not the lab's own")
            }
            Self::Server(_) => Some("it was not observed in this run"),
            Self::Verified => Some("no connection was asked for an echo"),
            Self::Counted(..) => Some("this end was not counted"),
            Self::Elapsed(_) => Some("the run did not come to this phase"),
            _ => None,
        }
    }
}

fn side_of(result: &RunResult, side: Side) -> &MemorySide {
    match side {
        Side::Server => &result.memory.server,
        Side::Client => &result.memory.client,
        Side::Both => &result.memory.both,
    }
}

const fn part_of(side: &MemorySide, part: Part) -> Option<f64> {
    match part {
        Part::User => side.user_bytes_per_connection,
        Part::Kernel => side.kernel_bytes_per_connection,
        Part::Sum => side.bytes_per_connection,
        Part::Charged => side.charged_bytes_per_connection,
    }
}
