//! What the host is and has, as it was found before anything was changed.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use super::{Bytes, Limit, PortRange, Reading};

/// Everything that a plan may ask of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostFacts {
    /// `uname -r`.
    pub kernel: String,
    /// `uname -m`.
    pub architecture: String,
    /// The kernel's identity of this boot, `/proc/sys/kernel/random/boot_id`.
    pub boot_id: Reading<String>,
    /// Processors that may be used.
    pub cpus: usize,
    /// The processor's name.
    pub cpu_model: Reading<String>,
    /// Whether a hypervisor runs below.
    pub virtual_machine: bool,
    /// How the hypervisor names itself to programs; absent where it does not, and in older recordings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<String>,
    /// Whether the processors are emulated: each instruction is translated. Rates then say nothing about a real machine.
    #[serde(default)]
    pub emulated: bool,
    /// Bytes in a page.
    pub page_size: Bytes,
    /// The effective user, as the machine numbers it: inside a user namespace of our own, the user outside.
    pub uid: u32,
    /// Effective capabilities, by name without `CAP_`, in lower case.
    pub capabilities: Vec<String>,
    /// Whether the runner is in the user namespace that the machine has booted with. Elsewhere its capabilities do not reach
    /// the network namespaces of an engine's containers.
    #[serde(default = "not_recorded")]
    pub first_user_namespace: Reading<bool>,
    /// Memory.
    pub memory: MemoryFacts,
    /// Descriptors and files.
    pub descriptors: DescriptorFacts,
    /// Bytes of the kernel's objects.
    pub objects: ObjectSizes,
    /// Network limits.
    pub net: NetFacts,
    /// Connection tracking in the namespace that the runner is in.
    pub conntrack: ConntrackFacts,
    /// Whether an ordinary user may make namespaces.
    pub user_namespaces: UserNamespaceFacts,
    /// Whether network namespaces can be made directly (`CAP_SYS_ADMIN`).
    pub network_namespaces: bool,
    /// The Docker engine, where one answers.
    pub docker: Reading<DockerFacts>,
    /// 1 or 2, or both at once on a hybrid: the version that carries the memory controller.
    pub cgroup_version: Reading<u32>,
}

/// What older recordings say of a fact that they do not have.
fn not_recorded() -> Reading<bool> {
    Reading::missing("not recorded")
}

/// Memory as it was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemoryFacts {
    /// `MemTotal`.
    pub total: Bytes,
    /// `MemFree`.
    pub free: Bytes,
    /// What may be dropped: page cache that is neither dirty nor mapped. Never `MemAvailable`, which counts inodes and
    /// directory entries of open sockets as reclaimable.
    pub droppable: Bytes,
    /// `SwapTotal` and `SwapFree`.
    pub swap: (Bytes, Bytes),
    /// The least memory limit of the control groups above us, with what is used of it.
    pub cgroup: Option<CgroupLimit>,
    /// `vm.overcommit_memory`.
    pub overcommit: Reading<u64>,
    /// `vm.min_free_kbytes`, which the kernel keeps for itself.
    pub min_free: Reading<Bytes>,
}

/// A memory limit of a control group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupLimit {
    /// The group, as a path below the controller's mount.
    pub path: String,
    /// Its limit.
    pub limit: Bytes,
    /// What is charged to it.
    pub used: Bytes,
    /// The part of `used` that the kernel can drop at once: clean page cache.
    #[serde(default)]
    pub droppable: Bytes,
}

impl CgroupLimit {
    /// What the group may still take.
    #[must_use]
    pub fn left(&self) -> Bytes {
        self.limit
            .saturating_sub(self.used.saturating_sub(self.droppable))
    }
}

/// Descriptors and files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescriptorFacts {
    /// Soft `RLIMIT_NOFILE`.
    pub soft: u64,
    /// Hard `RLIMIT_NOFILE`; a worker raises its soft limit to it.
    pub hard: Limit<u64>,
    /// `fs.nr_open`, the ceiling of the hard limit.
    pub nr_open: Reading<u64>,
    /// `fs.file-max`.
    pub file_max: Reading<u64>,
    /// Files open now, the first field of `fs.file-nr`.
    pub files_open: Reading<u64>,
    /// `fs.epoll.max_user_watches`.
    pub epoll_watches: Reading<u64>,
    /// `kernel.threads-max`.
    pub threads_max: Reading<u64>,
}

impl DescriptorFacts {
    /// The limit that bounds each descriptor table of a worker, in descriptors. Without a limit nothing bounds it but
    /// numbers.
    #[must_use]
    pub fn table_limit(&self) -> u64 {
        self.hard.bound().unwrap_or(u64::MAX)
    }
}

/// Where sizes of kernel objects come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SizeSource {
    /// `/proc/slabinfo`: exact, with the waste at the end of each slab.
    Slabinfo,
    /// The kernel's own type information, rounded up as the slab allocator does: an estimate.
    BtfEstimate,
    /// Neither could be read: sizes of a recent kernel, a rough estimate.
    Assumed,
}

/// One kind of kernel object: its share of the slab's pages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectSize {
    /// The cache's own name, such as `TCP`, even where the kernel has merged it with others.
    pub name: String,
    /// Bytes of pages for each object, waste included.
    pub bytes: f64,
}

/// Sizes of the objects that a connection is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObjectSizes {
    /// Where they come from.
    pub source: SizeSource,
    /// The objects.
    pub objects: Vec<ObjectSize>,
}

impl ObjectSizes {
    /// The page share of the object called `name`, zero where the kernel has no such cache.
    #[must_use]
    pub fn bytes_of(&self, name: &str) -> f64 {
        self.objects
            .iter()
            .find(|object| object.name == name)
            .map_or(0.0, |object| object.bytes)
    }
}

/// Network limits, of the namespace that the runner is in or of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetFacts {
    /// `net.ipv4.ip_local_port_range`.
    pub port_range: Reading<PortRange>,
    /// `net.core.somaxconn`.
    pub somaxconn: Reading<u64>,
    /// `net.ipv4.tcp_mem`, in pages.
    pub tcp_mem: Reading<String>,
    /// `net.ipv4.tcp_rmem`, in bytes.
    pub tcp_rmem: Reading<String>,
    /// `net.ipv4.tcp_wmem`, in bytes.
    pub tcp_wmem: Reading<String>,
    /// `net.ipv4.tcp_max_orphans`.
    pub tcp_max_orphans: Reading<u64>,
    /// `net.ipv4.neigh.default.gc_thresh3`: entries of the neighbour table, for the whole machine.
    pub neighbour_limit: Reading<u64>,
    /// Buckets of the established hash, `net.ipv4.tcp_ehash_entries`; negative means shared with the initial namespace.
    pub ehash_entries: Reading<i64>,
    /// Networks inside 198.18.0.0/15 that the host routes already.
    pub routes_in_lab_range: Vec<ipnet::Ipv4Net>,
    /// Addresses of this machine inside 198.18.0.0/15.
    pub addresses_in_lab_range: Vec<Ipv4Addr>,
}

/// Connection tracking.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConntrackFacts {
    /// `net.netfilter.nf_conntrack_max`; a gap where the kernel has no connection tracking.
    pub limit: Reading<u64>,
    /// Entries now, in this namespace.
    pub entries: Reading<u64>,
    /// Whether rules of this namespace put loopback traffic under tracking.
    pub tracks_loopback: Reading<bool>,
    /// `net.bridge.bridge-nf-call-iptables`; a gap where the bridge filter is not there.
    pub bridge_calls_iptables: Reading<bool>,
}

/// Whether an ordinary user may make a user namespace with a network of its own: found by trying.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserNamespaceFacts {
    /// Whether a process could make one.
    pub allowed: bool,
    /// What the kernel said when it could not.
    pub why_not: Option<String>,
}

/// A Docker engine that answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DockerFacts {
    /// The engine's version.
    pub engine: String,
    /// The API version that was negotiated.
    pub api: String,
    /// The address that it was reached at.
    pub address: String,
    /// The kernel that its containers run on.
    pub kernel: String,
    /// Whether that is this very kernel: same boot, so that it can be observed from here.
    pub same_kernel: bool,
    /// Why it cannot be used by this runner, where it cannot.
    pub unusable: Option<String>,
    /// Subnets of its networks: taken, even where no route of the host shows them.
    #[serde(default)]
    pub subnets: Vec<ipnet::Ipv4Net>,
}
