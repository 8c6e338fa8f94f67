//! The messages. The runner writes commands to a worker's stdin and reads events from its stdout; logs go to stderr.
//!
//! The order: the first command is `Start` with the spec. The worker prepares everything that does not need the peer and
//! answers `Ready` (a server listens by then). `Try` is answered by `Tried`. A client opens nothing
//! before `Begin`. `Progress` comes at least every 250 ms while something changes and once more when the ramp ends. `Perform` is answered by `Performed`, `LookForLosses` by
//! `LossesTold`, `Drain` by `Drained`. `Exit`, or the end of stdin, ends the worker at once: a worker whose runner died must not stay.

use serde::{Deserialize, Serialize};

use crate::domain::{
    AcceptState, ConnCount, Conversation, Counters, FailureNote, LatencyCounts, LossNote,
    SettingChange, SettingRecord, SubjectFacts, Task, VerifyReport, WorkerSpec,
};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Version of these messages. It grows when one side would misunderstand the other. Runner and worker are usually the same
/// program; an image may hold another one.
pub const VERSION: u32 = 7;

/// What speakers spoke that did not say which version.
const fn first_version() -> u32 {
    1
}

/// The other side speaks another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the {other} speaks version {theirs} of the control messages, and this program speaks version {VERSION}: both have to be of the same build"
)]
pub struct VersionMismatch {
    /// Who: `runner` or the name of a worker.
    pub other: &'static str,
    /// What the other speaks.
    pub theirs: u32,
}

/// Refuses a speaker of another version.
///
/// # Errors
/// When `theirs` is not [`VERSION`].
pub const fn same_version(other: &'static str, theirs: u32) -> Result<(), VersionMismatch> {
    if theirs == VERSION {
        Ok(())
    } else {
        Err(VersionMismatch { other, theirs })
    }
}

/// What the runner asks of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Inside a container, before `Start`: finish the place from within, then give up the capability that it took.
    Prepare {
        /// The version that the runner speaks: [`VERSION`].
        #[serde(default = "first_version")]
        version: u32,
        /// Addresses to add, each to the interface that holds the address beside it.
        addresses: Vec<(Ipv4Addr, Ipv4Addr)>,
        /// The range to keep out of connection tracking; absent where that is not wanted.
        untrack: Option<ipnet::Ipv4Net>,
        /// Settings of this namespace to read back, and to write where the place has not done so.
        settings: Vec<SettingChange>,
    },
    /// The spec; the first command outside containers.
    Start {
        /// The version that the runner speaks: [`VERSION`].
        #[serde(default = "first_version")]
        version: u32,
        /// What to be.
        spec: WorkerSpec,
    },
    /// A client, before its ramp, says this on one connection, again and again until it is answered rightly.
    Try {
        /// What is said.
        exchange: Conversation,
        /// Milliseconds after which it is given up.
        within_ms: u64,
    },
    /// A client begins its ramp.
    Begin,
    /// The runner is at work. Comes four times a second, from the first command on. A client that has heard it once and
    /// then hears nothing for a second opens nothing more until it hears from the runner again: a runner that stands still
    /// cannot watch memory.
    Alive,
    /// A client stops opening connections and keeps those it has.
    StopRamp,
    /// A client opens at most so many connections a second from now on.
    Pace {
        /// How many: zero stops the ramp for now, absent means as fast as it can.
        per_second: Option<f64>,
    },
    /// A client carries out a task on the connections that it holds, such as an exchange through each of them.
    Perform {
        /// The task.
        task: Task,
    },
    /// Look at every connection once more. What ends after the answer is closed on purpose and not lost.
    LookForLosses,
    /// Close every connection by a reset, so that neither end keeps a trace.
    Drain,
    /// End.
    Exit,
}

impl Command {
    /// The first command of every worker outside containers.
    #[must_use]
    pub const fn start(spec: WorkerSpec) -> Self {
        Self::Start {
            version: VERSION,
            spec,
        }
    }
}

/// What a worker tells the runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The answer to `Prepare`.
    Prepared {
        /// The version that the worker speaks: [`VERSION`].
        #[serde(default = "first_version")]
        version: u32,
        /// What became of each setting.
        settings: Vec<SettingRecord>,
        /// Entries of connection tracking in this namespace; absent where there is none.
        conntrack_entries: Option<u64>,
    },
    /// The answer to `Start`.
    Ready {
        /// The version that the worker speaks: [`VERSION`].
        #[serde(default = "first_version")]
        version: u32,
        /// The worker's process, in its own process namespace.
        pid: u32,
        /// Threads that hold a descriptor table of their own.
        tables: u64,
        /// The limit of one descriptor table.
        descriptors_per_table: u64,
        /// Where a server listens; empty for a client.
        listening: Vec<SocketAddrV4>,
    },
    /// The answer to `Try`.
    Tried {
        /// How the last attempt failed; absent where the server has answered rightly.
        failure: Option<String>,
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
    /// What came of what the connections said as they were opened. Comes before `RampDone`, where the spec has an opening.
    Greeted {
        /// The sum over all of them.
        report: VerifyReport,
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
    /// The answer to `Perform`.
    Performed {
        /// What came of it.
        report: VerifyReport,
    },
    /// The answer to `LookForLosses`.
    LossesTold {
        /// The counters with every loss until now.
        counters: Counters,
    },
    /// The answer to `Drain`.
    Drained {
        /// How many were closed.
        closed: ConnCount,
    },
    /// What is known of a server that is not the lab's own. Comes before `Ready`.
    Subject {
        /// The facts.
        facts: Box<SubjectFacts>,
    },
    /// A line that such a server has written.
    Output {
        /// The line.
        text: String,
    },
    /// How far such a server has accepted its connections. Comes when it has changed, and at each look while connections
    /// come.
    Accepting {
        /// The counts.
        state: AcceptState,
    },
    /// The accept queue of such a server is filling, or has emptied again. The worker decides from where on.
    Queue {
        /// Whether it is filling.
        filling: bool,
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
