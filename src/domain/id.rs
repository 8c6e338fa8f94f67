//! Names of runs, workers and hosts of the topology.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The name of one run, unique on a machine: eight hexadecimal digits. It stands in the name of everything that a run
/// creates, so that orphans can be told and removed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// From a number that the caller drew.
    #[must_use]
    pub fn from_random(number: u32) -> Self {
        Self(format!("{number:08x}"))
    }

    /// From text such as a label; nothing when it is not eight hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 8 && text.bytes().all(hex)).then(|| Self(text.to_owned()))
    }

    /// The eight digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

/// One host of the planned topology: a namespace, a container, or simply the machine. The server's is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostIndex(pub usize);

impl HostIndex {
    /// Where the server runs.
    pub const SERVER: Self = Self(0);

    /// `server`, `client-1`, `client-2` and so on.
    #[must_use]
    pub fn name(self) -> String {
        WorkerId(self.0).to_string()
    }
}

/// One worker of a run. The server is 0; client n runs on host n, or on the only host there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerId(pub usize);

impl WorkerId {
    /// The server.
    pub const SERVER: Self = Self(0);

    /// Whether this is the server.
    #[must_use]
    pub const fn is_server(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_server() {
            out.pad("server")
        } else {
            out.pad(&format!("client-{}", self.0))
        }
    }
}
