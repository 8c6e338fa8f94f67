//! The limit of a server that is not the lab's own, as the report tells it.

use std::fmt;

use crate::domain::RunVerdict;

/// What a server's number of connections was bound by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKind {
    /// Nothing: as many as were asked for.
    TargetReached,
    /// Its descriptors.
    Descriptors,
    /// A maximum of its own, by its words, its log, or connections that it closes.
    OwnMaximum,
    /// It takes or serves no more, says nothing, and lacks nothing.
    Stopped,
    /// It waits for a request before it accepts.
    Deferred,
    /// Threads or processes.
    Threads,
    /// The accept queue.
    ListenQueue,
    /// The memory of its control group.
    Memory,
    /// The memory of the machine.
    MachineMemory,
    /// Processor time.
    Cpu,
    /// It ends idle connections.
    IdleTimeout,
    /// Connection tracking.
    Conntrack,
    /// The clients.
    Clients,
    /// It ended.
    Ended,
    /// Not known.
    Unknown,
}

impl LimitKind {
    /// The name in `result.json`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TargetReached => "target_reached",
            Self::Descriptors => "descriptors",
            Self::OwnMaximum => "own_maximum",
            Self::Stopped => "stopped",
            Self::Deferred => "deferred_accept",
            Self::Threads => "threads",
            Self::ListenQueue => "listen_queue",
            Self::Memory => "memory",
            Self::MachineMemory => "machine_memory",
            Self::Cpu => "cpu",
            Self::IdleTimeout => "idle_timeout",
            Self::Conntrack => "conntrack",
            Self::Clients => "clients",
            Self::Ended => "ended",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for LimitKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::TargetReached => "none up to the number that was asked for",
            Self::Descriptors => "descriptors of the server",
            Self::OwnMaximum => "a maximum of the server's own",
            Self::Stopped => "the server took no more: a maximum of its own, or it was blocked",
            Self::Deferred => "the server waits for a request before it accepts (TCP_DEFER_ACCEPT)",
            Self::Threads => "threads or processes",
            Self::ListenQueue => "the accept queue",
            Self::Memory => "memory of the server's control group",
            Self::MachineMemory => "memory of the machine",
            Self::Cpu => "processor time of the server",
            Self::IdleTimeout => "the server ends idle connections",
            Self::Conntrack => "connection tracking",
            Self::Clients => "the clients themselves",
            Self::Ended => "the server ended",
            Self::Unknown => "unknown",
        })
    }
}

/// The limit, with what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitFinding {
    /// Its kind.
    pub kind: LimitKind,
    /// Connections that the server had accepted at most; of those, where some were not answered as they were opened, only
    /// the ones that were.
    pub connections: u64,
    /// Connections that were answered as they were opened; nothing where nothing was said then.
    pub answered: Option<u64>,
    /// What was seen first.
    pub seen: Option<String>,
    /// When, in seconds since the run began.
    pub at_seconds: Option<f64>,
    /// The evidence, a sentence each.
    pub evidence: Vec<String>,
    /// What to do about it.
    pub cure: String,
    /// Which limit comes next, and where.
    pub next: Option<String>,
    /// Whether the run looked for a limit, rather than ask for a number.
    pub searched: bool,
    /// Runs that held a smaller number afterwards.
    pub confirmations: Vec<Confirmation>,
}

/// A run that held a smaller number.
#[derive(Debug, Clone, PartialEq)]
pub struct Confirmation {
    /// How many.
    pub connections: u64,
    /// How it ended.
    pub verdict: RunVerdict,
    /// For how long, in seconds.
    pub hold_seconds: f64,
    /// Its directory.
    pub directory: String,
    /// What stopped it from being held.
    pub limit: Option<String>,
}
