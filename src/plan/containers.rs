//! What a plan grants to containers: bounds on memory and processes, and the range that is kept out of connection tracking.

use ipnet::Ipv4Net;

use super::Plan;
use crate::domain::{Bytes, ConnCount, HostIndex, WorkerSpec};

/// Memory beside the connections': the program, its threads' stacks, its tables, and above all the reserve that the
/// runner's guard keeps free, so that it is the guard that stops a ramp and never the bound that kills a worker.
const BESIDE_CONNECTIONS: Bytes = Bytes::from_mib(2048);

/// What a connection is granted at the least, in bytes, whatever the plan expects of it.
const LEAST_PER_CONNECTION: f64 = 8192.0;

/// Threads that a worker has beside those that hold descriptor tables.
const OTHER_THREADS: u64 = 64;

/// The fewest connections that one thread's descriptor table holds: the common limit of 1,024, less what is open anyway.
const FEWEST_PER_TABLE: u64 = 512;

/// Bounds of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContainerBounds {
    /// Memory, the kernel's for its sockets included.
    pub memory: Bytes,
    /// Processes and threads.
    pub processes: u64,
}

impl Plan {
    /// What the container of a host may use: each end of a connection is granted what both ends are expected to cost.
    #[must_use]
    pub fn container_bounds(&self, host: HostIndex) -> ContainerBounds {
        let connections: u64 = self
            .workers_on(host)
            .map(|worker| capacity(&worker.spec).count())
            .sum();
        let each = self
            .expected_bytes_per_connection
            .max(LEAST_PER_CONNECTION)
            .ceil();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // a positive price in bytes
        let each = Bytes::new(each as u64);
        ContainerBounds {
            memory: BESIDE_CONNECTIONS + each.times(connections),
            processes: OTHER_THREADS + connections.div_ceil(FEWEST_PER_TABLE),
        }
    }

    /// The smallest network that all networks of the plan are in, where the lab is to be kept out of connection tracking.
    /// Rules name it rather than the whole range of benchmarks, so that they touch nothing but the lab.
    #[must_use]
    pub fn untracked_range(&self) -> Option<Ipv4Net> {
        if !self.untrack {
            return None;
        }
        let mut subnets = self
            .hosts
            .iter()
            .flat_map(|host| &host.interfaces)
            .map(|interface| interface.subnet);
        let first = subnets.next()?;
        Some(subnets.fold(first, |covering, subnet| {
            let mut covering = covering;
            while !covering.contains(&subnet) {
                match covering.supernet() {
                    Some(wider) => covering = wider,
                    None => break,
                }
            }
            covering
        }))
    }
}

fn capacity(worker: &WorkerSpec) -> ConnCount {
    worker.connections()
}
