//! What a client is asked to do with the connections that it holds, and what came of it. Proving connections alive by an
//! exchange through each is one such task.

use std::fmt;
use std::net::SocketAddrV4;

use serde::{Deserialize, Serialize};

use super::{ByteText, ConnCount, ConnRate, Conversation, LatencyCounts, LossReason, VerifyShare};

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// What is said on each connection.
    pub exchange: Conversation,
    /// Through how many of the connections.
    pub share: VerifyShare,
    /// Milliseconds after which an exchange without an answer counts as silent.
    pub timeout_ms: u64,
    /// Exchanges a second that are planned. Absent means a closed loop: the next exchange begins when another one is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<ConnRate>,
}

impl Task {
    /// Proving connections alive by an exchange through each, in a closed loop.
    #[must_use]
    pub const fn verify(exchange: Conversation, share: VerifyShare, timeout_ms: u64) -> Self {
        Self {
            exchange,
            share,
            timeout_ms,
            rate: None,
        }
    }
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
    /// Connections through which an exchange was begun.
    pub asked: ConnCount,
    /// Those through which the right answer came back.
    pub echoed: ConnCount,
    /// How those that failed did, with how many of each.
    pub failed: Vec<(LossReason, u64)>,
    /// Those that neither answered nor failed before the time was up.
    pub silent: ConnCount,
    /// The local ends of the first few that failed or were silent.
    pub examples: Vec<SocketAddrV4>,
    /// One example of each kind of wrong answer, as far as there is room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<WrongAnswer>,
    /// Round-trip times. In a closed loop they count from the moment the bytes were sent, with a planned rate from the
    /// planned moment.
    pub latency: LatencyCounts,
    /// How the exchanges were started. Absent in recordings of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
}

/// A wrong answer, or none in time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrongAnswer {
    /// What was wrong.
    pub reason: LossReason,
    /// The client's end of the connection.
    pub local: Option<SocketAddrV4>,
    /// What was to come; empty where the reason says all.
    pub expected: String,
    /// The first bytes of the part that showed the error, as it was read from the socket: at most
    /// [`WrongAnswer::MOST_BYTES`]. Empty where nothing came.
    pub got: ByteText,
}

impl WrongAnswer {
    /// Bytes that are kept of an answer.
    pub const MOST_BYTES: usize = 64;

    /// Whether `other` is of the same kind: one example of both is enough.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.reason == other.reason && self.expected == other.expected
    }
}

impl fmt::Display for WrongAnswer {
    /// What was expected and the first line of what came, such as: expected `+PONG`, got `-ERR unknown command`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let got = self.got.first_line();
        match self.reason {
            LossReason::WrongBytes if !self.expected.is_empty() => {
                return write!(out, "expected {}, got `{got}`", self.expected);
            }
            LossReason::TimedOut => out.write_str("no answer in time")?,
            reason => write!(out, "{reason}")?,
        }
        if !self.expected.is_empty() {
            write!(out, ", expected {}", self.expected)?;
        }
        if self.got.bytes().is_empty() {
            Ok(())
        } else {
            write!(out, ": `{got}`")
        }
    }
}
