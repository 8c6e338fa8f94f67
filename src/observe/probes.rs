//! What one sample reads: everything that is watched, one kernel file after the other, a gap for each that cannot be read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use crate::domain::{
    CgroupSample, HostIndex, NamespaceSample, ProcessSample, Reading, Sample, TreeRoot, TreeSample,
    WorkerGap, WorkerId,
};
use crate::kernel::cgroup::MemoryHierarchy;
use crate::kernel::clock::thread_cpu_time;
use crate::kernel::kmsg::{KernelLog, NewMessages};
use crate::kernel::procfs::{CacheNames, Procfs};

/// Everything that is watched, and what reading it needs.
#[derive(Debug)]
pub(super) struct Probes {
    /// Network namespaces, by the directory that tells of them.
    pub(super) namespaces: BTreeMap<HostIndex, PathBuf>,
    /// Processes of workers.
    pub(super) processes: BTreeMap<WorkerId, Watched>,
    /// Control groups of workers.
    pub(super) cgroups: BTreeMap<WorkerId, String>,
    proc: Procfs,
    caches: CacheNames,
    hierarchy: Result<MemoryHierarchy, String>,
    log: Result<KernelLog, String>,
}

/// What stands for a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watched {
    /// A process of the lab's own.
    Process(u32),
    /// The processes of a server that is not.
    Tree(TreeRoot),
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
            hierarchy: MemoryHierarchy::find(&root).map_err(|error| error.to_string()),
            log,
            proc: Procfs::new(root),
        }
    }

    /// One look at everything. What costs most time comes last, so that memory and sockets belong to the same moment.
    /// At a mark more is read that takes longer.
    pub(super) fn sample(&mut self, number: u64, origin: Instant, mark: bool) -> Sample {
        let began = Instant::now();
        let memory = self.proc.meminfo().into();
        let per_cpu_free = self.proc.per_cpu_free().into();
        let slabs = Reading::from(self.proc.slabs(&self.caches));
        let other_slabs = slabs.clone().map(|slabs| slabs.others);
        let slabs = slabs.map(|slabs| slabs.of_connections);
        let (processes, process_gaps, trees) = self.processes(mark);
        let namespaces = self.namespaces();
        let (cgroups, cgroup_gaps) = self.cgroups();
        let cpu = self.proc.cpu().into();
        let files = Reading::from(self.proc.open_files()).map(|files| (files.open, files.limit));
        let softnet_dropped = self.proc.softnet_dropped().into();
        let host_conntrack = self.proc.own_conntrack().into();
        let log = self.kernel_log();
        let kernel_log_overrun = log.present().is_some_and(|new| new.overrun);
        Sample {
            number,
            at_seconds: began.saturating_duration_since(origin).as_secs_f64(),
            took_seconds: began.elapsed().as_secs_f64(),
            observer_cpu_seconds: Reading::Present(thread_cpu_time().as_secs_f64()),
            memory,
            per_cpu_free,
            slabs,
            other_slabs,
            merging_unknown: self.caches.unknown().map(str::to_owned),
            cpu,
            files,
            softnet_dropped,
            host_conntrack,
            namespaces,
            processes,
            trees,
            cgroups,
            process_gaps,
            cgroup_gaps,
            kernel_log: log.map(|new| new.messages),
            kernel_log_overrun,
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

    /// What each process uses, and why others tell nothing. That one is gone is a reason too: whoever started it tells
    /// how it ended.
    fn processes(
        &mut self,
        mark: bool,
    ) -> (
        Vec<ProcessSample>,
        Vec<WorkerGap>,
        Vec<(WorkerId, TreeSample)>,
    ) {
        let proc = &mut self.proc;
        let mut trees = Vec::new();
        let of_workers = self
            .processes
            .iter()
            .map(|(worker, process)| match process {
                Watched::Process(pid) => (*worker, proc.process(*worker, *pid)),
                Watched::Tree(root) => {
                    let read = proc.tree_sample(*worker, *root, mark);
                    let sum = read.map(|(sum, tree)| {
                        trees.push((*worker, tree));
                        sum
                    });
                    (*worker, sum)
                }
            });
        let (samples, gaps) = apart(of_workers);
        (samples, gaps, trees)
    }

    /// What each control group tells, and why others tell nothing.
    fn cgroups(&self) -> (Vec<CgroupSample>, Vec<WorkerGap>) {
        apart(self.cgroups.iter().map(|(worker, group)| {
            let sample = match &self.hierarchy {
                Ok(hierarchy) => hierarchy
                    .sample(*worker, group)
                    .map_err(|error| error.to_string()),
                Err(why) => Err(why.clone()),
            };
            (*worker, sample)
        }))
    }

    fn kernel_log(&mut self) -> Reading<NewMessages> {
        match &mut self.log {
            Ok(log) => log.new_messages().into(),
            Err(why) => Reading::missing(why.clone()),
        }
    }
}

/// What was read, and why the rest was not.
fn apart<T, E: std::fmt::Display>(
    readings: impl Iterator<Item = (WorkerId, Result<T, E>)>,
) -> (Vec<T>, Vec<WorkerGap>) {
    let (mut read, mut gaps) = (Vec::new(), Vec::new());
    for (worker, reading) in readings {
        match reading {
            Ok(value) => read.push(value),
            Err(error) => gaps.push(WorkerGap {
                worker,
                gap: error.to_string(),
            }),
        }
    }
    (read, gaps)
}
