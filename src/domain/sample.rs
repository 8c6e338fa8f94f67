//! One look at the machine: raw counters as the kernel gives them, each present or a gap. Rates are derived elsewhere.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Bytes, HostIndex, Limit, Pages, Reading, TreeSample, WorkerId};

/// One sample, taken within a millisecond or so once a second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Number of the sample, from 0.
    pub number: u64,
    /// Seconds since the run began, on the monotonic clock, at the start of the reading.
    pub at_seconds: f64,
    /// What reading it took, in seconds of wall clock.
    pub took_seconds: f64,
    /// CPU that the observer's thread has used so far, in seconds.
    pub observer_cpu_seconds: Reading<f64>,
    /// `/proc/meminfo`.
    pub memory: Reading<MemInfo>,
    /// Free pages on per-CPU lists (`/proc/zoneinfo`), which are part of neither `MemFree` nor any user.
    pub per_cpu_free: Reading<Pages>,
    /// `/proc/slabinfo`, the caches that connections live in, merged caches resolved.
    pub slabs: Reading<Vec<SlabCache>>,
    /// Bytes of the pages of all other caches in `/proc/slabinfo`, together.
    #[serde(default)]
    pub other_slabs: Reading<Bytes>,
    /// Why it is not known which caches share their slabs: a row of `slabs` may then hold objects of several kinds. Absent
    /// where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merging_unknown: Option<String>,
    /// `/proc/stat`, all processors together.
    pub cpu: Reading<CpuTicks>,
    /// The first and the third field of `fs.file-nr`: files open, and the limit.
    pub files: Reading<(u64, u64)>,
    /// Packets dropped because a processor's backlog was full (`/proc/net/softnet_stat`), whole machine.
    pub softnet_dropped: Reading<u64>,
    /// Connection tracking in the runner's own namespace: the host's table, which bridges may lead through.
    #[serde(default)]
    pub host_conntrack: Reading<ConntrackSample>,
    /// What each network namespace of the topology tells.
    pub namespaces: Vec<NamespaceSample>,
    /// What each worker uses.
    pub processes: Vec<ProcessSample>,
    /// What the processes of a server that is not the lab's own use; `processes` has their sum.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trees: Vec<(WorkerId, TreeSample)>,
    /// What each worker's control group tells; empty where workers have none of their own.
    pub cgroups: Vec<CgroupSample>,
    /// Workers whose process could not be read, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub process_gaps: Vec<WorkerGap>,
    /// Workers whose control group could not be read, with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cgroup_gaps: Vec<WorkerGap>,
    /// Kernel messages since the last sample that name TCP, memory, files, conntrack or neighbours.
    pub kernel_log: Reading<Vec<KernelMessage>>,
    /// Whether the kernel wrote over messages before they were read: `kernel_log` is then not complete.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kernel_log_overrun: bool,
}

/// Something of a worker that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerGap {
    /// Which worker.
    pub worker: WorkerId,
    /// What was tried and what came back.
    pub gap: String,
}

/// `/proc/meminfo`, in bytes.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemInfo {
    /// `MemTotal`.
    pub total: Bytes,
    /// `MemFree`.
    pub free: Bytes,
    /// `MemAvailable`: recorded to show how far off it is, never used. A gap before Linux 3.14.
    pub available: Reading<Bytes>,
    /// `Buffers`.
    pub buffers: Bytes,
    /// `Cached`.
    pub cached: Bytes,
    /// `AnonPages`.
    pub anonymous: Bytes,
    /// `Shmem`.
    pub shared: Bytes,
    /// `Slab`, with its two parts.
    pub slab: Bytes,
    /// `SReclaimable`.
    pub slab_reclaimable: Bytes,
    /// `SUnreclaim`.
    pub slab_unreclaimable: Bytes,
    /// `KernelStack`.
    pub kernel_stack: Bytes,
    /// `PageTables`.
    pub page_tables: Bytes,
    /// `VmallocUsed`.
    pub vmalloc: Bytes,
    /// `Percpu`; a gap before Linux 5.0.
    pub per_cpu: Reading<Bytes>,
    /// `Active(file)` and `Inactive(file)`: page cache that is not shared memory.
    pub file_cache: Bytes,
    /// `Dirty` and `Writeback`: page cache that cannot be dropped yet.
    pub dirty: Bytes,
    /// `Mapped`: page cache and shared memory that programs have mapped, running programs among them.
    #[serde(default)]
    pub mapped: Bytes,
    /// `SwapTotal`.
    pub swap_total: Bytes,
    /// `SwapFree`.
    pub swap_free: Bytes,
}

impl MemInfo {
    /// What the kernel can drop at once, estimated from below: page cache that is neither dirty nor mapped. Reclaimable
    /// slab is left out, because directory entries and inodes of open sockets are in it and cannot be reclaimed.
    #[must_use]
    pub fn droppable(&self) -> Bytes {
        self.file_cache.saturating_sub(self.dirty + self.mapped)
    }
}

/// One slab cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlabCache {
    /// The cache's own name.
    pub name: String,
    /// Names of caches that the kernel keeps in the same slabs, this one included, when it has merged any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merged: Vec<String>,
    /// Objects in use, as the allocator counts them.
    pub objects: u64,
    /// Bytes of one slot.
    pub slot: Bytes,
    /// Slots in one slab; absent in recordings of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots_per_slab: Option<u64>,
    /// Bytes of all its pages, waste included.
    pub pages: Bytes,
}

/// Processor time of the whole machine since boot, in ticks of `USER_HZ` (100 a second), from `/proc/stat`.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuTicks {
    /// Programs.
    pub user: u64,
    /// Programs of low priority.
    pub nice: u64,
    /// The kernel.
    pub system: u64,
    /// Nothing.
    pub idle: u64,
    /// Nothing, with I/O outstanding.
    pub iowait: u64,
    /// Hardware interrupts.
    pub irq: u64,
    /// Software interrupts: most of the network stack.
    pub softirq: u64,
    /// Taken by the hypervisor.
    pub steal: u64,
    /// Context switches since boot.
    pub context_switches: u64,
    /// Interrupts since boot.
    pub interrupts: u64,
    /// Processes and threads that could run at this moment.
    pub running: u64,
    /// Network receive softirqs since boot.
    pub net_rx_softirqs: u64,
}

/// What one network namespace tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceSample {
    /// Which host of the topology.
    pub host: HostIndex,
    /// `/proc/net/sockstat`.
    pub sockets: Reading<SocketStat>,
    /// `/proc/net/snmp` and `/proc/net/netstat`.
    pub tcp: Reading<TcpCounters>,
    /// Connection tracking; a gap where the namespace or the kernel has none.
    pub conntrack: Reading<ConntrackSample>,
}

/// `/proc/net/sockstat`. `orphan`, `alloc` and `mem` are of the whole machine, the rest of the namespace.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketStat {
    /// Sockets of all kinds with a file, in the namespace (whole machine before Linux 4.16).
    pub sockets_used: u64,
    /// TCP sockets in the namespace, `TIME_WAIT` left out.
    pub tcp_in_use: u64,
    /// TCP sockets that no process holds, whole machine.
    pub orphans: u64,
    /// TCP sockets in `TIME_WAIT`, in the namespace.
    pub time_wait: u64,
    /// TCP sockets allocated, whole machine.
    pub tcp_allocated: u64,
    /// What `tcp_mem` counts: buffer pages of TCP, whole machine.
    pub tcp_memory: Pages,
}

/// Counters of TCP in one namespace, named as in `/proc/net/snmp` and `/proc/net/netstat`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpCounters {
    /// `CurrEstab`: connections in ESTABLISHED or `CLOSE_WAIT` now.
    pub established: u64,
    /// All other counters that are not zero, by name: `ActiveOpens`, `ListenDrops`, `TCPTimeouts` and so on. A counter
    /// that the kernel has and that stands at zero is left out.
    pub counters: BTreeMap<String, u64>,
}

/// Connection tracking in one namespace.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConntrackSample {
    /// Entries now.
    pub entries: u64,
    /// The limit, shared by all namespaces.
    pub limit: u64,
}

/// What one worker process uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSample {
    /// Which worker.
    pub worker: WorkerId,
    /// `RssAnon`.
    pub anonymous: Bytes,
    /// `RssFile` and `RssShmem`: mostly the program itself.
    pub file_backed: Bytes,
    /// `VmPTE`, page tables.
    pub page_tables: Bytes,
    /// `VmSize`.
    pub virtual_size: Bytes,
    /// Threads.
    pub threads: u64,
    /// User time since its start, in ticks of `USER_HZ`.
    pub user_ticks: u64,
    /// System time since its start, in ticks of `USER_HZ`.
    pub system_ticks: u64,
}

/// What one worker's control group tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupSample {
    /// Which worker.
    pub worker: WorkerId,
    /// 1 or 2.
    pub version: u32,
    /// Memory charged in all: `memory.current`, or `memory.usage_in_bytes`.
    pub charged: Bytes,
    /// Kernel memory in it: `kernel` of `memory.stat`, or `memory.kmem.usage_in_bytes`.
    pub kernel: Reading<Bytes>,
    /// Buffers of sockets: `sock` of `memory.stat`, or `memory.kmem.tcp.usage_in_bytes`.
    pub sockets: Reading<Bytes>,
    /// Anonymous memory: `anon`, or `rss`.
    pub anonymous: Reading<Bytes>,
    /// The limit.
    pub limit: Limit<Bytes>,
    /// Kills for memory so far.
    pub oom_kills: Reading<u64>,
}

/// One line of the kernel's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KernelMessage {
    /// Seconds since boot.
    pub boot_seconds: f64,
    /// The text.
    pub text: String,
}
