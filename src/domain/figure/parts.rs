//! What figures come in: percentiles, sides, parts of memory, and what a server that is not the lab's own uses.

use crate::domain::ServerResult;

/// A percentile that is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // their names say it
pub enum Percentile {
    P50,
    P90,
    P99,
    P999,
    Max,
}

impl Percentile {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::P50, Self::P90, Self::P99, Self::P999, Self::Max];

    /// Its key in `result.json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::Max => "max",
        }
    }

    /// The share of all values that do not exceed it.
    #[must_use]
    pub const fn share(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P90 => 0.9,
            Self::P99 => 0.99,
            Self::P999 => 0.999,
            Self::Max => 1.0,
        }
    }
}

/// Whose memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The server's.
    Server,
    /// The clients'.
    Client,
    /// Both together.
    Both,
}

impl Side {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Server, Self::Client, Self::Both];

    /// Its key in `result.json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Both => "both",
        }
    }
}

/// Which part of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The workers' own memory.
    User,
    /// The kernel's.
    Kernel,
    /// Both.
    Sum,
    /// The kernel's, as control groups are charged.
    Charged,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::User, Self::Kernel, Self::Sum, Self::Charged];

    /// Its key in `result.json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user_bytes_per_connection",
            Self::Kernel => "kernel_bytes_per_connection",
            Self::Sum => "bytes_per_connection",
            Self::Charged => "charged_bytes_per_connection",
        }
    }
}

/// Something that a server which is not the lab's own uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
    /// Connections that it had accepted.
    Accepted,
    /// Connections that waited in its accept queues.
    Waiting,
    /// Processes.
    Processes,
    /// Threads.
    Threads,
    /// Open descriptors.
    Descriptors,
    /// Processor time from the first connection to the target.
    Cpu,
    /// Proportional share of memory.
    Pss,
    /// Connections that fit into 1 GiB.
    PerGib,
}

impl Use {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Accepted,
        Self::Waiting,
        Self::Processes,
        Self::Threads,
        Self::Descriptors,
        Self::Cpu,
        Self::Pss,
        Self::PerGib,
    ];

    /// Its key in `result.json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Waiting => "waiting",
            Self::Processes => "processes",
            Self::Threads => "threads",
            Self::Descriptors => "descriptors",
            Self::Cpu => "cpu_seconds",
            Self::Pss => "pss_bytes",
            Self::PerGib => "connections_per_gib",
        }
    }

    #[allow(clippy::cast_precision_loss)] // far below 2^53
    pub(super) fn of(self, server: &ServerResult) -> Option<f64> {
        let count = |number: Option<u64>| number.map(|number| number as f64);
        match self {
            Self::Accepted => count(server.accepted),
            Self::Waiting => count(server.waiting),
            Self::Processes => count(server.processes),
            Self::Threads => count(server.threads),
            Self::Descriptors => count(server.descriptors),
            Self::Cpu => server.cpu_seconds,
            Self::Pss => count(server.pss_bytes),
            Self::PerGib => count(server.connections_per_gib),
        }
    }
}
