//! The search for a server's limit: what was asked, and what gave way.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ConnCount;

/// A run that opens connections until something gives way.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitSearch {
    /// Fewer connections are a miss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<ConnCount>,
}

/// What was seen first. What it means is found from the recording.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GaveWay {
    /// Nothing: as many are open as were asked for.
    Nothing,
    /// Connections could not be opened.
    ConnectFailed,
    /// Connections that were open have ended.
    Lost,
    /// The server did not answer what connections said as they were opened, or otherwise than expected.
    NotAnswered,
    /// The server took no more out of its accept queue for this long.
    NotAccepted {
        /// Seconds; none where nobody looked for it, and some were left in the end.
        seconds: u32,
    },
    /// The server ended.
    ServerGone {
        /// How.
        how: String,
    },
}

impl fmt::Display for GaveWay {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => out.write_str("nothing gave way"),
            Self::ConnectFailed => out.write_str("connections could not be opened"),
            Self::Lost => out.write_str("connections that were open have ended"),
            Self::NotAnswered => {
                out.write_str("connections were not answered as the protocol expects")
            }
            Self::NotAccepted { seconds: 0 } => {
                out.write_str("the server did not accept every connection")
            }
            Self::NotAccepted { seconds } => {
                write!(out, "the server accepted no connection for {seconds} s")
            }
            Self::ServerGone { how } => write!(out, "the server ended: {how}"),
        }
    }
}
