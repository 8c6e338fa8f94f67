//! What a client is asked to do with the connections that it holds, and what came of it. Proving connections alive by an
//! echo is one such task.

use std::net::SocketAddrV4;

use serde::{Deserialize, Serialize};

use super::{ConnCount, ConnRate, LatencyCounts, LossReason, VerifyShare};

/// A task.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// What is said on each connection.
    pub exchange: Exchange,
    /// Through how many of the connections.
    pub share: VerifyShare,
    /// Milliseconds after which an exchange without an answer counts as silent.
    pub timeout_ms: u64,
    /// Exchanges a second that are planned. Absent means a closed loop: the next exchange begins when another one is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<ConnRate>,
}

impl Task {
    /// Proving connections alive by an echo, in a closed loop.
    #[must_use]
    pub const fn verify(share: VerifyShare, timeout_ms: u64) -> Self {
        Self {
            exchange: Exchange::Echo,
            share,
            timeout_ms,
            rate: None,
        }
    }
}

/// What is said on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exchange {
    /// 16 bytes that no other connection and no other round has, which must come back unchanged.
    Echo,
}

/// How the exchanges of a task were started.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// The next one began when another one was over. So a slow answer delays the questions after it.
    ClosedLoop {
        /// Most exchanges under way at once, over all tables of the client.
        window: u64,
    },
    /// Each one had a planned moment, and its latency counts from that moment.
    Planned {
        /// Exchanges a second.
        rate: ConnRate,
    },
}

/// What came of proving connections alive.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Connections through which an echo was sent.
    pub asked: ConnCount,
    /// Those through which the right bytes came back.
    pub echoed: ConnCount,
    /// How those that failed did, with how many of each.
    pub failed: Vec<(LossReason, u64)>,
    /// Those that neither answered nor failed before the time was up.
    pub silent: ConnCount,
    /// The local ends of the first few that failed or were silent.
    pub examples: Vec<SocketAddrV4>,
    /// Round-trip times. In a closed loop they count from the moment the bytes were sent, with a planned rate from the
    /// planned moment.
    pub latency: LatencyCounts,
    /// How the echoes were started. Absent in recordings of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
}
