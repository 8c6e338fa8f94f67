//! What one sample reads: everything that is watched, one kernel file after the other, a gap for each that cannot be read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use crate::domain::{
    CgroupSample, HostIndex, KernelMessage, NamespaceSample, ProcessSample, Reading, Sample,
    WorkerId,
};
use crate::kernel::cgroup::MemoryHierarchy;
use crate::kernel::clock::thread_cpu_time;
use crate::kernel::kmsg::KernelLog;
use crate::kernel::procfs::{CacheNames, Procfs};

/// Everything that is watched, and what reading it needs.
#[derive(Debug)]
pub(super) struct Probes {
    /// Network namespaces, by the directory that tells of them.
    pub(super) namespaces: BTreeMap<HostIndex, PathBuf>,
    /// Processes of workers.
    pub(super) processes: BTreeMap<WorkerId, u32>,
    /// Control groups of workers.
    pub(super) cgroups: BTreeMap<WorkerId, String>,
    proc: Procfs,
    caches: CacheNames,
    hierarchy: Option<MemoryHierarchy>,
    log: Result<KernelLog, String>,
}

impl Probes {
    pub(super) fn new(root: PathBuf) -> Self {
        let log = KernelLog::open(&root)
            .map_err(|error| format!("cannot read {}: {error}", root.join("dev/kmsg").display()));
        Self {
            namespaces: BTreeMap::new(),
            processes: BTreeMap::new(),
            cgroups: BTreeMap::new(),
            caches: CacheNames::read(&root),
            hierarchy: MemoryHierarchy::find(&root).ok(),
            log,
            proc: Procfs::new(root),
        }
    }

    /// One look at everything. What costs most time comes last, so that memory and sockets belong to the same moment.
    pub(super) fn sample(&mut self, number: u64, origin: Instant) -> Sample {
        let began = Instant::now();
        let memory = self.proc.meminfo().into();
        let per_cpu_free = self.proc.per_cpu_free().into();
        let slabs = self.proc.slabs(&self.caches).into();
        let processes = self.processes();
        let namespaces = self.namespaces();
        let cgroups = self.cgroups();
        let cpu = self.proc.cpu().into();
        let files = Reading::from(self.proc.open_files()).map(|files| (files.open, files.limit));
        let softnet_dropped = self.proc.softnet_dropped().into();
        let host_conntrack = self.proc.own_conntrack().into();
        let kernel_log = self.kernel_log();
        Sample {
            number,
            at_seconds: began.saturating_duration_since(origin).as_secs_f64(),
            took_seconds: began.elapsed().as_secs_f64(),
            observer_cpu_seconds: Reading::Present(thread_cpu_time().as_secs_f64()),
            memory,
            per_cpu_free,
            slabs,
            cpu,
            files,
            softnet_dropped,
            host_conntrack,
            namespaces,
            processes,
            cgroups,
            kernel_log,
        }
    }

    fn namespaces(&mut self) -> Vec<NamespaceSample> {
        let proc = &mut self.proc;
        self.namespaces
            .iter()
            .map(|(host, net)| NamespaceSample {
                host: *host,
                sockets: proc.sockstat(net).into(),
                tcp: proc.tcp_counters(net).into(),
                conntrack: proc.conntrack(net).into(),
            })
            .collect()
    }

    /// A process that is gone has no row: whoever started it tells how it ended.
    fn processes(&mut self) -> Vec<ProcessSample> {
        let proc = &mut self.proc;
        self.processes
            .iter()
            .filter_map(|(worker, pid)| proc.process(*worker, *pid).ok())
            .collect()
    }

    /// A group that is gone has no row either.
    fn cgroups(&self) -> Vec<CgroupSample> {
        let Some(hierarchy) = &self.hierarchy else {
            return Vec::new();
        };
        self.cgroups
            .iter()
            .filter_map(|(worker, group)| hierarchy.sample(*worker, group).ok())
            .collect()
    }

    fn kernel_log(&mut self) -> Reading<Vec<KernelMessage>> {
        match &mut self.log {
            Ok(log) => log.new_messages().into(),
            Err(why) => Reading::missing(why.clone()),
        }
    }
}
