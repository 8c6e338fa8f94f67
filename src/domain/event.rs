//! What happened in a run, in order: the log that a report is made from, together with the samples.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    AcceptState, ConnCount, Counters, FailureNote, GaveWay, HostIndex, LatencyCounts, LossNote,
    NetworkDriver, Phase, PlaceKind, RestoreOutcome, RunVerdict, SettingRecord, SubjectFacts,
    VerifyReport, WorkerId,
};

/// One event with its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Seconds since the run began, on the monotonic clock.
    pub at_seconds: f64,
    /// The stage that was under way, by its number in the list of the plan's stages; absent outside the stages, and in
    /// recordings of schema version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<usize>,
    /// What happened.
    #[serde(flatten)]
    pub event: RunEvent,
}

/// A state of a TCP socket, as `include/net/tcp_states.h` numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)] // the names of RFC 9293
pub enum TcpState {
    Established,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    NewSynRecv,
}

impl TcpState {
    /// Every state.
    pub const ALL: [Self; 12] = [
        Self::Established,
        Self::SynSent,
        Self::SynRecv,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Close,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
        Self::NewSynRecv,
    ];

    /// From the kernel's number.
    #[must_use]
    pub const fn from_kernel(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 => Self::SynRecv,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Close,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            12 => Self::NewSynRecv,
            _ => return None,
        })
    }

    /// The kernel's number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8 + 1
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
            Self::NewSynRecv => "NEW_SYN_RECV",
        })
    }
}

/// Sockets by state, of one end of the planned connections.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StateCounts(pub BTreeMap<TcpState, u64>);

impl StateCounts {
    /// How many are in `state`.
    #[must_use]
    pub fn of(&self, state: TcpState) -> ConnCount {
        ConnCount::new(self.0.get(&state).copied().unwrap_or(0))
    }
}

/// A moment that figures are taken at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Workers are up, nobody is connected, the machine has settled.
    Baseline,
    /// The first connection is about to be opened.
    RampStart,
    /// The last connection is open, or the ramp ended otherwise.
    RampEnd,
    /// After the ramp, the machine has settled.
    Target,
    /// The hold is over.
    HoldEnd,
    /// Everything is down again.
    After,
}

/// The place that was chosen, and why not the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceChoice {
    /// The place.
    pub place: PlaceKind,
    /// Whether the scenario or the user named it, rather than the runner.
    pub asked: bool,
    /// One sentence: why this one.
    pub why: String,
    /// The places that were not taken, each with its reason.
    pub why_not: Vec<(PlaceKind, String)>,
    /// What joins the containers; absent in other places, and in older recordings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkChoice>,
}

/// What the networks between containers are made of, and why not of something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkChoice {
    /// What.
    pub driver: NetworkDriver,
    /// Whether the scenario or the user named it, rather than the runner.
    pub asked: bool,
    /// One sentence: why this one.
    pub why: String,
    /// Those that were not taken, each with its reason.
    pub why_not: Vec<(NetworkDriver, String)>,
}

/// How long a phase took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PhaseTime {
    /// Which.
    pub phase: Phase,
    /// Its length in seconds.
    pub seconds: f64,
}

/// What verifying found, over all clients.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// Each client's part.
    pub clients: Vec<(WorkerId, VerifyReport)>,
    /// The clients that did not come to an end of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unfinished: Vec<WorkerId>,
}

const fn ramp() -> Phase {
    Phase::Ramp
}

const fn baseline() -> Mark {
    Mark::Baseline
}

/// How the machine was waited for before a mark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settling {
    /// Before which. Older recordings have the baseline alone.
    #[serde(default = "baseline")]
    pub before: Mark,
    /// Seconds that it took.
    pub seconds: f64,
    /// Slab caches that were asked to give back their empty slabs.
    pub shrunk: Vec<String>,
    /// Why others were not, the first reason.
    pub not_shrunk: Option<String>,
    /// What was still moving when the time was up; absent where the machine came to rest.
    pub unsettled: Option<String>,
}

/// Something that happened in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum RunEvent {
    /// The run began.
    Started {
        /// Wall clock, RFC 3339, UTC.
        wall_clock: String,
        /// The command as it was typed.
        command: Vec<String>,
        /// Version of the program, with the git revision where it is known.
        version: String,
    },
    /// The place was chosen.
    Place(PlaceChoice),
    /// A phase began.
    PhaseBegan {
        /// Which.
        phase: Phase,
    },
    /// A phase ended.
    PhaseEnded(PhaseTime),
    /// A setting was read, and written where it had to be.
    Setting(SettingRecord),
    /// A setting of the host was put back.
    SettingRestored {
        /// Its key.
        key: String,
        /// What came of it.
        outcome: RestoreOutcome,
    },
    /// A worker is ready.
    WorkerReady {
        /// Which.
        worker: WorkerId,
        /// Its process, as the runner's process namespace numbers it.
        pid: u32,
        /// Its threads that hold a descriptor table of their own.
        tables: u64,
        /// The limit of one descriptor table.
        descriptors_per_table: u64,
    },
    /// What a worker has done so far.
    Progress {
        /// Which.
        worker: WorkerId,
        /// Its counters.
        counters: Counters,
        /// Connect latencies since its last progress, client only.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        latency: Option<LatencyCounts>,
    },
    /// Connections were lost.
    Lost {
        /// Who noticed.
        worker: WorkerId,
        /// What was lost.
        note: LossNote,
    },
    /// A connection could not be opened.
    ConnectFailed {
        /// Whose.
        worker: WorkerId,
        /// The connection.
        note: FailureNote,
    },
    /// A worker ended.
    WorkerExited {
        /// Which.
        worker: WorkerId,
        /// Its exit code, where it exited.
        code: Option<i32>,
        /// The signal, where one ended it.
        signal: Option<i32>,
        /// Whether it was killed for memory, where that is known.
        oom_killed: Option<bool>,
        /// Whether it had been asked to.
        expected: bool,
    },
    /// A moment that figures are taken at.
    Marked {
        /// Which moment.
        mark: Mark,
        /// The sample that belongs to it.
        sample: u64,
    },
    /// Sockets of one end were counted through `sock_diag`.
    Counted {
        /// Which host of the topology.
        host: HostIndex,
        /// Which end of the planned connections.
        role: super::Role,
        /// By state.
        states: StateCounts,
        /// What the counting took.
        took_seconds: f64,
    },
    /// What is known of a server that is not the lab's own, once it listens.
    Subject {
        /// The facts.
        facts: Box<SubjectFacts>,
    },
    /// Such a server has written a line.
    Output {
        /// The line.
        text: String,
    },
    /// How far such a server has accepted its connections.
    Accepting {
        /// The counts.
        state: AcceptState,
    },
    /// The ramp to a server that is not the lab's own ended early, or at its target where a limit is looked for.
    GaveWay {
        /// What was seen.
        what: GaveWay,
        /// Connections that the clients held.
        established: ConnCount,
        /// Connections that the server had accepted.
        accepted: ConnCount,
    },
    /// A smaller number was held by another run.
    Confirmed {
        /// How many connections were asked of it.
        connections: ConnCount,
        /// How it ended.
        verdict: RunVerdict,
        /// For how long they were held, in seconds.
        hold_seconds: f64,
        /// Its directory, below that of the results.
        directory: String,
        /// What stopped it from being held, where something did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<String>,
    },
    /// What came of what a client's connections said as they were opened.
    Greeted {
        /// The client.
        worker: WorkerId,
        /// The sum over all of them.
        report: VerifyReport,
    },
    /// Connections were proved alive.
    Verified(Verification),
    /// The guard stopped the run before memory ran out.
    GuardStopped {
        /// What it saw, in one sentence.
        reason: String,
        /// In which phase. Older recordings do not say it: their guard watched the ramp alone.
        #[serde(default = "ramp")]
        phase: Phase,
        /// How many connections were open.
        at: ConnCount,
        /// How many would have fitted; absent where none were being opened.
        would_fit: Option<ConnCount>,
        /// Bytes that one more connection costs, as measured so far.
        bytes_per_connection: f64,
    },
    /// A signal asked the run to end.
    Interrupted {
        /// Its name, such as `SIGINT`.
        signal: String,
        /// In which phase.
        phase: Phase,
    },
    /// The machine was waited for before the baseline.
    Settled(Settling),
    /// Something that a reader of the report has to know.
    Warning {
        /// What.
        text: String,
    },
    /// The run failed.
    Failed {
        /// What was tried, on what, and what came back.
        error: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Something is left that should not be.
    Leftover {
        /// What.
        what: String,
    },
    /// The run is over.
    Ended {
        /// How.
        verdict: RunVerdict,
    },
}
