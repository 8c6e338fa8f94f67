//! The stages of a run: what is done with the connections, in order. Counters, latencies and losses belong to the stage
//! that they happened in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{ConnCount, ConnRate, Phase, VerifyShare};

/// One stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Open connections until so many are open.
    Ramp {
        /// How many.
        to: ConnCount,
    },
    /// Keep them open.
    Hold {
        /// How long.
        #[serde(rename = "for")]
        length: Duration,
    },
    /// Count both ends and prove connections alive.
    Verify {
        /// Through how many an echo is sent.
        share: VerifyShare,
        /// Echoes a second that are planned, over all clients. Absent means a closed loop.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate: Option<ConnRate>,
    },
    /// Close every connection. What ends in this stage is closed on purpose and is not lost.
    Drain,
}

impl Stage {
    /// The phase of the run that this stage is.
    #[must_use]
    pub const fn phase(self) -> Phase {
        match self {
            Self::Ramp { .. } => Phase::Ramp,
            Self::Hold { .. } => Phase::Hold,
            Self::Verify { .. } => Phase::Verify,
            Self::Drain => Phase::Drain,
        }
    }

    /// The same stage, with its echoes on a planned pace where it has any.
    #[must_use]
    pub const fn at_pace(self, rate: Option<ConnRate>) -> Self {
        match self {
            Self::Verify { share, .. } => Self::Verify { share, rate },
            other => other,
        }
    }

    /// The stages of a plain run.
    #[must_use]
    pub fn plain(to: ConnCount, hold: Duration, share: VerifyShare) -> Vec<Self> {
        vec![
            Self::Ramp { to },
            Self::Hold { length: hold },
            Self::Verify { share, rate: None },
            Self::Drain,
        ]
    }
}

/// How long all holds of `stages` last together.
#[must_use]
pub fn hold_of(stages: &[Stage]) -> Duration {
    stages
        .iter()
        .map(|stage| match stage {
            Stage::Hold { length } => *length,
            _ => Duration::ZERO,
        })
        .sum()
}

/// How many connections the stages prove alive: what the last stage that verifies asks for.
#[must_use]
pub fn verify_of(stages: &[Stage]) -> VerifyShare {
    let mut shares = stages.iter().filter_map(|stage| match stage {
        Stage::Verify { share, .. } => Some(*share),
        _ => None,
    });
    shares.next_back().unwrap_or(VerifyShare::None)
}

/// The pace of that proof, where it is planned.
#[must_use]
pub fn verify_rate_of(stages: &[Stage]) -> Option<ConnRate> {
    let mut rates = stages.iter().filter_map(|stage| match stage {
        Stage::Verify { rate, .. } => Some(*rate),
        _ => None,
    });
    rates.next_back().flatten()
}
