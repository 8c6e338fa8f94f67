//! The messages. The runner writes commands to a worker's stdin and reads events from its stdout; logs go to stderr.
//!
//! The order: the first command is `Start` with the spec. The worker prepares everything that does not need the peer and
//! answers `Ready` (a server listens by then). A client opens nothing before `Begin`. `Progress` comes at least every
//! 250 ms while something changes and once more when the ramp ends. `Verify` is answered by `Verified`, `Drain` by
//! `Drained`. `Exit`, or the end of stdin, ends the worker at once: a worker whose runner died must not stay.

use serde::{Deserialize, Serialize};

use crate::domain::{
    ConnCount, Counters, FailureNote, LatencyCounts, LossNote, SettingChange, SettingRecord,
    VerifyReport, VerifyShare, WorkerSpec,
};
use std::net::{Ipv4Addr, SocketAddrV4};

/// What the runner asks of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Inside a container, before `Start`: finish the place from within, then give up the capability that it took.
    Prepare {
        /// Addresses to add, each to the interface that holds the address beside it.
        addresses: Vec<(Ipv4Addr, Ipv4Addr)>,
        /// The range to keep out of connection tracking; absent where that is not wanted.
        untrack: Option<ipnet::Ipv4Net>,
        /// Settings of this namespace to read back, and to write where the place has not done so.
        settings: Vec<SettingChange>,
    },
    /// The spec; the first command outside containers.
    Start {
        /// What to be.
        spec: WorkerSpec,
    },
    /// A client begins its ramp.
    Begin,
    /// A client stops opening connections and keeps those it has.
    StopRamp,
    /// A client sends an echo through its connections.
    Verify {
        /// Through how many.
        share: VerifyShare,
        /// Milliseconds until what has not answered counts as silent.
        timeout_ms: u64,
    },
    /// Close every connection by a reset, so that neither end keeps a trace.
    Drain,
    /// End.
    Exit,
}

/// What a worker tells the runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The answer to `Prepare`.
    Prepared {
        /// What became of each setting.
        settings: Vec<SettingRecord>,
        /// Entries of connection tracking in this namespace; absent where there is none.
        conntrack_entries: Option<u64>,
    },
    /// The answer to `Start`.
    Ready {
        /// The worker's process, in its own process namespace.
        pid: u32,
        /// Threads that hold a descriptor table of their own.
        tables: u64,
        /// The limit of one descriptor table.
        descriptors_per_table: u64,
        /// Where a server listens; empty for a client.
        listening: Vec<SocketAddrV4>,
    },
    /// What has been done so far.
    Progress {
        /// The counters.
        counters: Counters,
        /// Connect latencies since the last progress, client only.
        latency: Option<LatencyCounts>,
    },
    /// A client's ramp is over: each connection is open, or given up, or the ramp was stopped.
    RampDone {
        /// The counters at that moment.
        counters: Counters,
        /// Seconds from `Begin` to the last connection.
        seconds: f64,
    },
    /// A connection could not be opened. The first ones of each class only; the counters have all.
    ConnectFailed {
        /// The connection.
        note: FailureNote,
    },
    /// Connections were lost.
    Lost {
        /// What was lost.
        note: LossNote,
    },
    /// The answer to `Verify`.
    Verified {
        /// What came of it.
        report: VerifyReport,
    },
    /// The answer to `Drain`.
    Drained {
        /// How many were closed.
        closed: ConnCount,
    },
    /// Something that a reader of the report has to know.
    Warning {
        /// What.
        text: String,
    },
    /// The worker cannot go on; it exits next.
    Fatal {
        /// What was tried, on what, and what came back.
        error: String,
        /// What to do about it.
        hint: Option<String>,
    },
}
