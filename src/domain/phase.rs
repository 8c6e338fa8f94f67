//! The phases of a run, in the order of life.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a run is doing. Every run that got past `Preflight` ends with `Restore`, whatever happens in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Look at the host, plan, take the lock. Nothing is changed.
    Preflight,
    /// Write settings of the host, through the journal.
    Tune,
    /// Make the places and start the workers.
    Provision,
    /// Take the baseline: what the machine uses before the first connection.
    Baseline,
    /// Open connections.
    Ramp,
    /// Keep them open.
    Hold,
    /// Count both ends and send an echo through each connection.
    Verify,
    /// Reset the connections.
    Drain,
    /// Stop the workers and unmake the places.
    Teardown,
    /// Put settings of the host back.
    Restore,
}

impl Phase {
    /// All phases in order.
    pub const ALL: [Self; 10] = [
        Self::Preflight,
        Self::Tune,
        Self::Provision,
        Self::Baseline,
        Self::Ramp,
        Self::Hold,
        Self::Verify,
        Self::Drain,
        Self::Teardown,
        Self::Restore,
    ];

    /// The name in files and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Tune => "tune",
            Self::Provision => "provision",
            Self::Baseline => "baseline",
            Self::Ramp => "ramp",
            Self::Hold => "hold",
            Self::Verify => "verify",
            Self::Drain => "drain",
            Self::Teardown => "teardown",
            Self::Restore => "restore",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}
