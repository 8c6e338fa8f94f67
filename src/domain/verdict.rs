//! What a run came to.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunVerdict {
    /// As many as planned were open at once, for as long as asked, and both ends agree.
    Held,
    /// It ran to its end, and a target or a threshold was missed.
    Missed,
    /// The guard stopped the ramp.
    Stopped,
    /// A signal ended it.
    Interrupted,
    /// It could not be measured: what is reported cannot be trusted.
    Invalid,
}

impl fmt::Display for RunVerdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Held => "held",
            Self::Missed => "missed",
            Self::Stopped => "stopped",
            Self::Interrupted => "interrupted",
            Self::Invalid => "invalid",
        })
    }
}
