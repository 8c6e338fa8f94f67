//! What a report is made of: every figure, computed once, before anything is rendered.

mod limit;
mod memory;
mod server;

use std::collections::BTreeMap;

use crate::domain::{
    HostFacts, Load, Mark, Phase, PhaseTime, PlaceChoice, Reading, RestoreOutcome, RunResult,
    RunSummary, SettingRecord, StateCounts, WorkerId, WorkerSpec,
};

pub use limit::{Confirmation, LimitFinding, LimitKind};
pub use memory::{
    Account, AccountRow, CgroupRow, FloatBytes, MemoryDetail, Part, ProcessRow, Sides,
};
pub use server::{
    DescriptorNeed, Moment, OutputLine, ProcessorUse, ServerDetail, Sizing, Trouble, Usage, UserBy,
};

/// A run, understood.
#[derive(Debug, Clone)]
pub struct Report {
    /// What goes into `result.json`.
    pub result: RunResult,
    /// What was planned.
    pub summary: Reading<RunSummary>,
    /// The host as it was found.
    pub facts: Reading<HostFacts>,
    /// The command as it was typed; empty where it is not known.
    pub command: Vec<String>,
    /// Version of the program that ran, with the git revision.
    pub version: Option<String>,
    /// Name that the run gave to its directory, whatever the directory is called by now.
    pub directory: Option<String>,
    /// The place, and why not the others.
    pub place: Option<PlaceChoice>,
    /// How long each phase took.
    pub phases: Vec<PhaseTime>,
    /// The phase that a signal came in.
    pub interrupted_in: Option<Phase>,
    /// What the guard said would have fitted, and what one more connection would have cost in bytes.
    pub guard: Option<Guard>,
    /// Percentiles of the connect latency, with how many connects were measured.
    pub latency: Option<LatencySummary>,
    /// Percentiles of the echo's round trip.
    pub echo: Option<LatencySummary>,
    /// How the echoes were started, the windows of all clients added up; absent where the recording does not say.
    pub echo_load: Option<Load>,
    /// Sockets by state at the target, with the seconds that counting took.
    pub counted: BTreeMap<&'static str, Reading<Counted>>,
    /// The server, where it is not the lab's own.
    pub server: Option<ServerDetail>,
    /// What stopped a server that is not the lab's own from having more connections.
    pub limit: Option<LimitFinding>,
    /// Memory, taken apart.
    pub memory: Reading<MemoryDetail>,
    /// The slope of memory over connections.
    pub slope: Reading<Slope>,
    /// Settings, each where it was found.
    pub settings: Vec<SettingRecord>,
    /// The moments before which slab caches were asked for their empty slabs, and whether some gave them.
    pub shrunk: BTreeMap<Mark, bool>,
    /// What became of settings of the host.
    pub restored: BTreeMap<String, RestoreOutcome>,
    /// The workers, each with what it had at its disposal.
    pub workers: Vec<WorkerDetail>,
    /// Failed connects by class.
    pub failures: Vec<(String, u64)>,
    /// Losses by time, worker and reason.
    pub losses: Vec<Loss>,
    /// Errors that ended the run, with what to do about them.
    pub errors: Vec<(String, Option<String>)>,
    /// The article's readings, taken here.
    pub article: Reading<ArticleReadings>,
    /// What this method cannot tell, whatever the run: the same in most reports, and no doubt of this one.
    pub limits: Vec<String>,
    /// What limits were really used: by name, how much.
    pub used: BTreeMap<&'static str, u64>,
    /// Entries of connection tracking by place: before the first connection, and at the target.
    pub tracking: Vec<(String, Reading<u64>, Reading<u64>)>,
    /// What charts are drawn from.
    pub series: Series,
}

impl Report {
    /// Whether the clients opened their connections at a rate that the scenario planned.
    #[must_use]
    pub fn rate_is_planned(&self) -> bool {
        let plan = self.summary.present();
        plan.is_some_and(|plan| {
            plan.workers.iter().any(|worker| {
                matches!(&worker.planned.spec, WorkerSpec::Client(client) if client.rate.is_some())
            })
        })
    }

    /// Handshakes that may be under way at once, over all clients.
    #[must_use]
    pub fn window(&self) -> u64 {
        let plan = self.summary.present();
        plan.map_or(0, |plan| {
            let each = plan
                .workers
                .iter()
                .map(|worker| match &worker.planned.spec {
                    WorkerSpec::Client(client) => u64::from(client.in_flight),
                    WorkerSpec::Server(_) | WorkerSpec::Subject(_) => 0,
                });
            each.sum()
        })
    }
}

/// The guard's account.
#[derive(Debug, Clone, PartialEq)]
pub struct Guard {
    /// What it saw.
    pub reason: String,
    /// Open then.
    pub at: u64,
    /// Would have fitted.
    pub would_fit: u64,
    /// Bytes of one more.
    pub bytes_per_connection: f64,
}

/// Percentiles in microseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct LatencySummary {
    /// How many were measured.
    pub count: u64,
    /// The median and the others.
    pub percentiles: Vec<(&'static str, u64)>,
}

/// One end, counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Counted {
    /// By state.
    pub states: StateCounts,
    /// What the counting took, in seconds.
    pub took_seconds: f64,
}

/// A line fitted to memory over connections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slope {
    /// Bytes for each connection.
    pub slope: f64,
    /// Bytes where the line meets no connection.
    pub intercept: f64,
    /// Half of the slope's 95 % confidence interval.
    pub half_width: f64,
    /// How many samples it was fitted to.
    pub points: usize,
    /// Standard error of the residuals, in bytes.
    pub scatter: f64,
    /// Mean number of connections.
    pub mean: f64,
    /// Sum of squares of connections about their mean.
    pub spread: f64,
    /// The quantile of Student's distribution that belongs to 95 % and this many points.
    pub quantile: f64,
}

impl Slope {
    /// The line at `connections`.
    #[must_use]
    pub fn at(&self, connections: f64) -> f64 {
        self.slope.mul_add(connections, self.intercept)
    }

    /// Half of the 95 % confidence band of the line at `connections`.
    #[must_use]
    pub fn band(&self, connections: f64) -> f64 {
        let distance = connections - self.mean;
        let share = 1.0 / self.points as f64 + distance * distance / self.spread;
        self.quantile * self.scatter * share.sqrt()
    }
}

/// A worker and what it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerDetail {
    /// Which.
    pub worker: WorkerId,
    /// Threads that hold a descriptor table.
    pub tables: Option<u64>,
    /// The limit of one table.
    pub descriptors_per_table: Option<u64>,
    /// Connections that it opened or accepted.
    pub opened: u64,
    /// Source ports that were taken elsewhere and replaced.
    pub ports_replaced: u64,
    /// Connections handed to another thread.
    pub handovers: u64,
    /// How it ended, when it ended unasked.
    pub died: Option<String>,
}

/// Connections that were lost.
#[derive(Debug, Clone, PartialEq)]
pub struct Loss {
    /// When it was noticed, in seconds since the run began.
    pub at_seconds: f64,
    /// By whom.
    pub worker: WorkerId,
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// The first few.
    pub examples: Vec<String>,
}

/// The article's figures, read here.
#[derive(Debug, Clone, PartialEq)]
pub struct ArticleReadings {
    /// Connections at the target.
    pub connections: u64,
    /// `free -m` before.
    pub free_before: OldFree,
    /// `free -m` at the target, up to three readings a moment apart.
    pub free_at_target: Vec<OldFree>,
    /// Bytes per connection by the article's formula: used, without buffers and cache, before and at the target.
    pub formula: f64,
    /// `/proc/net/sockstat` of the server's host, as lines.
    pub sockstat: Reading<Vec<String>>,
    /// `fs.file-nr`.
    pub file_nr: Reading<String>,
    /// The server process, as `top` shows it.
    pub top: Option<TopRow>,
    /// The machine during the hold, as `vmstat` shows it.
    pub vmstat: Reading<VmstatRow>,
    /// What kernel messages said during the run.
    pub kernel_log: Vec<String>,
    /// Why these may not be all of them, where that is so.
    pub kernel_log_gap: Option<String>,
}

/// One reading of the old `free -m`, in MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the columns of free(1)
pub struct OldFree {
    pub total: u64,
    pub used: u64,
    pub free: u64,
    pub shared: u64,
    pub buffers: u64,
    pub cached: u64,
    /// Used, without buffers and cache.
    pub used_net: u64,
    /// Free, with buffers and cache.
    pub free_net: u64,
    pub swap_total: u64,
    pub swap_used: u64,
}

/// A row of `top`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TopRow {
    /// Bytes of VIRT.
    pub virtual_bytes: u64,
    /// Bytes of RES.
    pub resident_bytes: u64,
    /// Percent of one processor, over the ramp.
    pub cpu_percent: Option<f64>,
    /// Seconds of CPU since its start, at the target.
    pub cpu_seconds: f64,
    /// Machine during the ramp: user, system, interrupts, softirq, idle, as shares of one.
    pub machine: Option<CpuShares>,
}

/// Shares of the machine's processor time, each between 0 and 1.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
#[allow(missing_docs)] // the columns of /proc/stat
pub struct CpuShares {
    pub user: f64,
    pub system: f64,
    pub irq: f64,
    pub softirq: f64,
    pub steal: f64,
    pub iowait: f64,
    pub idle: f64,
}

/// A row of `vmstat`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VmstatRow {
    /// Could run.
    pub running: u64,
    /// KiB free, in buffers, in cache.
    pub free_kib: u64,
    /// Buffers.
    pub buffers_kib: u64,
    /// Cache.
    pub cached_kib: u64,
    /// KiB of swap in use.
    pub swapped_kib: u64,
    /// Interrupts a second.
    pub interrupts: f64,
    /// Context switches a second.
    pub switches: f64,
    /// Processor time.
    pub shares: CpuShares,
}

/// Connect latencies while about `held` connections were held.
#[derive(Debug, Clone, PartialEq)]
pub struct LatencyAt {
    /// Connections held, at the middle of the bucket.
    pub held: f64,
    /// Microseconds: median, 90th, 99th percentile, and the largest.
    pub percentiles: [f64; 4],
}

/// How far a server that is not the lab's own had accepted at a moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AcceptingAt {
    /// Seconds since the run began.
    pub at_seconds: f64,
    /// Connections that it had accepted.
    pub accepted: f64,
    /// Those that waited in its accept queues.
    pub waiting: f64,
    /// How many may wait in all of them.
    pub limit: f64,
}

/// What charts are drawn from. Times are seconds since the run began.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Series {
    /// Connections held over time.
    pub connections: Vec<(f64, f64)>,
    /// Connections opened a second, over time.
    pub rate: Vec<(f64, f64)>,
    /// Bytes beyond the baseline over time: kernel and workers.
    pub memory: Vec<(f64, f64)>,
    /// Bytes beyond the baseline over connections, during the ramp.
    pub memory_over_connections: Vec<(f64, f64)>,
    /// Connect latency over connections held.
    pub latency: Vec<LatencyAt>,
    /// Processor time over time.
    pub cpu: Vec<(f64, CpuShares)>,
    /// Connections refused by a full accept queue, over time, beyond the baseline.
    pub listen_drops: Vec<(f64, f64)>,
    /// Connections left while they are closed, over seconds since the closing began.
    pub drain: Vec<(f64, f64)>,
    /// How far a server that is not the lab's own had accepted, over time.
    pub accepting: Vec<AcceptingAt>,
    /// Where phases began.
    pub phases: Vec<(Phase, f64)>,
}
