//! `result.json`: what a run came to, with the unit in the name of each key. Its schema is published.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bound, Figure, FigureUnit, ProtocolKind, RunVerdict};

/// The whole of `result.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunResult {
    /// Version of this format.
    pub schema_version: u32,
    /// Name of the run; null where the recording does not say.
    pub run: Option<String>,
    /// Name of the scenario; null where the recording does not say.
    pub scenario: Option<String>,
    /// Wall clock at the start, RFC 3339, UTC; null where the recording does not say.
    pub started: Option<String>,
    /// Version of the program that ran, with its git revision; null where the recording does not say.
    pub program: Option<String>,
    /// `uname -r`; null where the recording does not say.
    pub kernel: Option<String>,
    /// How it ended.
    pub verdict: RunVerdict,
    /// Each reason for a verdict other than `held`.
    pub reasons: Vec<String>,
    /// Whether fewer connections were planned than asked for, because the machine is smaller.
    pub reduced: bool,
    /// `docker`, `loopback` or `netns`; null when the run ended before it chose.
    pub place: Option<String>,
    /// What joins containers: `bridge`, `link` or `macvlan`; absent in other places, and where the recording does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The server's engine, `epoll` or `tokio`, or what a server is that is not the lab's own; null when there was no plan.
    pub engine: Option<String>,
    /// The clients' engine.
    pub client_engine: Option<String>,
    /// What the clients say on each connection; absent where it is the echo.
    #[serde(default, skip_serializing_if = "ProtocolKind::is_echo")]
    pub protocol: ProtocolKind,
    /// What a server that is not the lab's own used at the target; absent for the lab's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerResult>,
    /// How many.
    pub connections: Connections,
    /// Exchanges that did not give the right answer, by reason; absent where there was none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unanswered: Vec<Unanswered>,
    /// How fast.
    pub ramp: RampResult,
    /// Seconds held at the target.
    pub hold_seconds: f64,
    /// What they cost.
    pub memory: MemoryResult,
    /// Sockets by state, `server` and `client`, as `sock_diag` counted them at the target; null where it was not counted.
    pub counted: BTreeMap<String, Option<BTreeMap<String, u64>>>,
    /// Seconds of each phase, by its name, and `total`.
    pub elapsed_seconds: BTreeMap<String, f64>,
    /// Settings: wanted, found, in force, put back.
    pub settings: Vec<SettingResult>,
    /// What is left that should not be; empty when all is clean.
    pub leftovers: Vec<String>,
    /// What a reader should doubt.
    pub doubts: Vec<String>,
    /// Thresholds of the scenario, each with its measured value.
    pub thresholds: Vec<ThresholdResult>,
}

impl RunResult {
    /// The JSON schema of `result.json`, published as `lab/schema/result.schema.json`.
    #[must_use]
    pub fn schema() -> String {
        format!("{:#}\n", schemars::schema_for!(Self).as_value())
    }
}

/// How many connections.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Connections {
    /// Asked for by the scenario; null when there was no plan.
    pub requested: Option<u64>,
    /// Planned; less than requested only when `reduced`. Null when there was no plan.
    pub target: Option<u64>,
    /// The largest number open at once.
    pub established_peak: u64,
    /// Counted by the kernel on every end that is here at the end of the hold, and proved as far as the scenario plans:
    /// those that were asked and did not answer as they should are not in it. Null where an end was not counted.
    pub held: Option<u64>,
    /// Established at the clients and not at the server: the server's kernel dropped the last packet of the handshake, and
    /// the client does not know. Null where an end was not counted.
    #[serde(default)]
    pub phantom: Option<u64>,
    /// Taken by accept(2), at the end of the hold. Only of a server that is not the lab's own; absent otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<u64>,
    /// Established, and waiting in an accept queue, at the same moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u64>,
    /// Open once, and ended though nobody asked.
    pub lost: u64,
    /// Never opened.
    pub failed: u64,
    /// Proved alive by an exchange of the protocol; null where it was not tried.
    pub verified: Option<u64>,
    /// How far the connections were proved alive.
    #[serde(default)]
    pub proof: Proof,
}

/// What a server that is not the lab's own used at the target, over all its processes.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ServerResult {
    /// Connections taken by accept(2); null where its side was not observed.
    pub accepted: Option<u64>,
    /// Connections that are established and wait in an accept queue; null where its side was not observed.
    pub waiting: Option<u64>,
    /// Processes; null where none is known that is the server's.
    pub processes: Option<u64>,
    /// Threads of all of them.
    pub threads: Option<u64>,
    /// Open descriptors of all of them; null before Linux 6.2 too.
    pub descriptors: Option<u64>,
    /// Seconds of processor time from the first connection to the target.
    pub cpu_seconds: Option<f64>,
    /// Proportional share of memory (PSS): every page once.
    pub pss_bytes: Option<u64>,
    /// Connections that fit into 1 GiB, kernel and user memory of the server's side, beside what it uses without any; null
    /// where that was not measured.
    pub connections_per_gib: Option<u64>,
}

/// Exchanges that failed alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unanswered {
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// For each kind of wrong answer one: the client's end, what was expected, and the first bytes that came, those of the
    /// read that showed the error.
    pub examples: Vec<String>,
}

/// How far connections were proved alive by an exchange.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// Every one was asked.
    All,
    /// Some were asked, the others only counted.
    Sample,
    /// None was asked: the scenario does not want it, or its server does not answer.
    #[default]
    None,
}

/// How fast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RampResult {
    /// From the first connection to the last; null when the ramp did not begin.
    pub seconds: Option<f64>,
    /// Connections divided by those seconds.
    pub rate_per_second: Option<f64>,
    /// Percentiles of the connect latency in microseconds: `p50`, `p90`, `p99`, `p99.9`, `max`.
    pub connect_latency_microseconds: BTreeMap<String, f64>,
}

/// A figure per connection, or the reason why it cannot be known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PerConnection {
    /// The figure; null where it cannot be known.
    pub value: Option<f64>,
    /// Why it is null, or how it was measured.
    pub how: String,
}

/// How the kernel's memory of a side is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemoryBasis {
    /// Objects and pages were counted by the kernel.
    Counted,
    /// Sizes by the kernel's type information, or assumed, and numbers by the plan: not counted.
    Modelled,
}

/// Memory of one side, or of both together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemorySide {
    /// The workers' own memory and its page tables.
    pub user_bytes_per_connection: Option<f64>,
    /// The kernel's memory.
    pub kernel_bytes_per_connection: Option<f64>,
    /// Both.
    pub bytes_per_connection: Option<f64>,
    /// How the kernel's memory is known; null where it is not known.
    pub basis: Option<MemoryBasis>,
    /// A second estimate, from below: kernel memory charged to the control groups of this side. Null without groups of its
    /// own.
    pub charged_bytes_per_connection: Option<f64>,
    /// For each of the figures: how it was measured, or why it is null.
    pub how: BTreeMap<String, String>,
}

/// How a row of the attribution is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RowSource {
    /// Objects and pages of `/proc/slabinfo`.
    Counted,
    /// Sizes by the kernel's type information, or assumed, and numbers by the plan.
    Modelled,
    /// By the kernel's arithmetic from numbers that are known.
    Computed,
    /// A row of `/proc/meminfo`.
    Meminfo,
    /// Files of the worker processes.
    Process,
    /// What is left.
    Remainder,
}

/// One kind of memory that grew with the connections. `bytes` less `server_bytes` less `client_bytes` belongs to neither
/// side alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttributionRow {
    /// What it is.
    pub object: String,
    /// How many more; null for what has no number.
    pub objects: Option<f64>,
    /// More bytes.
    pub bytes: f64,
    /// The server's part.
    pub server_bytes: f64,
    /// The clients' part.
    pub client_bytes: f64,
    /// How it is known.
    pub source: RowSource,
}

/// What connections cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryResult {
    /// The server's side.
    pub server: MemorySide,
    /// The clients' side.
    pub client: MemorySide,
    /// Both sides: server, clients, and what belongs to neither alone.
    pub both: MemorySide,
    /// What belongs to neither side alone, or could not be attributed.
    pub shared_bytes_per_connection: Option<f64>,
    /// The account: its rows add up to `both`, before it is divided by the number of connections.
    pub attribution: Vec<AttributionRow>,
    /// What the lab took before the baseline, such as hash tables of its namespaces: no part of the figures.
    pub outside: Vec<AttributionRow>,
    /// The share of `both` that no row of the attribution explains.
    pub unexplained_fraction: Option<f64>,
    /// Why the figures are not to be trusted; null where nothing speaks against them.
    pub disturbed: Option<String>,
    /// The check: what the drop of `MemFree` has more, or less, than all rows of `/proc/meminfo` explain.
    pub free_residual_bytes_per_connection: PerConnection,
    /// Slope of memory over connections, both sides, fitted to the samples of the ramp.
    pub slope_bytes_per_connection: PerConnection,
    /// Half of the slope's 95 % confidence interval.
    pub slope_confidence_bytes: Option<f64>,
}

/// What became of a setting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SettingResult {
    /// The key.
    pub key: String,
    /// `host` or `namespace`.
    pub scope: String,
    /// Where: `host`, `server`, `client-1` and so on.
    pub place: String,
    /// Found.
    pub before: Option<String>,
    /// Wanted.
    pub wanted: String,
    /// Read back.
    pub in_force: Option<String>,
    /// For a setting of the host that was changed: whether the old value is in force again.
    pub restored: Option<bool>,
    /// Why it is not as wanted.
    pub error: Option<String>,
}

/// A threshold of the scenario and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ThresholdResult {
    /// What is bounded, such as `ramp.rate_per_second`.
    pub name: String,
    /// Which way it bounds.
    pub kind: ThresholdKind,
    /// The bound.
    pub bound: f64,
    /// What was measured; null where it could not be.
    pub measured: Option<f64>,
    /// Why nothing was measured; absent where something was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown_because: Option<String>,
    /// Whether it holds.
    pub held: bool,
}

impl ThresholdResult {
    /// The bound.
    #[must_use]
    pub const fn bound(&self) -> Bound {
        match self.kind {
            ThresholdKind::AtLeast => Bound::AtLeast(self.bound),
            ThresholdKind::AtMost => Bound::AtMost(self.bound),
        }
    }

    /// The unit of the figure that is bounded.
    #[must_use]
    pub fn unit(&self) -> FigureUnit {
        Figure::parse(&self.name).map_or(FigureUnit::Count, Figure::unit)
    }
}

/// Which way a threshold bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdKind {
    /// The figure must reach the bound.
    AtLeast,
    /// The figure must not exceed the bound.
    AtMost,
}
