//! What connections cost in memory: the kernel's objects on either side, by their sizes on the running kernel, and our own
//! state. Object by object as counted in `/proc/slabinfo` on Linux 6.12 and 6.18 with up to 200,000 connections.

use crate::domain::socket_objects::{ADDRESS_BUCKET, OWNED, PORT_BUCKET, QUEUED, SOCKET, WATCHED};
use crate::domain::{Bytes, DescriptorTables, HostFacts, MemoryFacts, ObjectSizes, table_size};
use crate::scenario::Scenario;

/// Vectors that hold the owner of each accounted object (`struct obj_cgroup *` per slab slot): 8 to 10 bytes an object,
/// measured 57 bytes for each end of a connection.
const OWNER_VECTORS: f64 = 57.0;

/// What an entry of connection tracking has beside `struct nf_conn`: its extensions, such as the address translation.
const TRACKING_EXTENSIONS: f64 = 128.0;

/// What a worker needs before its first connection: its code, its threads' stacks.
const WORKER_BASE: Bytes = Bytes::from_mib(4);

/// What each thread with a descriptor table needs: the touched part of its stack, its buffers, the kernel's side.
const TABLE_BASE: Bytes = Bytes::from_kib(64);

/// Sizes of slab objects are exact to a fraction of a percent; how full slabs and page lists are is not.
const MARGIN_PERCENT: u64 = 3;

/// Kept free at least, beside what the kernel keeps for itself: a machine that runs out of memory is no measurement.
const RESERVE_AT_LEAST: Bytes = Bytes::from_mib(256);

/// Kept free of a large machine.
const RESERVE_PERCENT: u64 = 2;

/// Bytes of a bucket of the established hash (`struct inet_ehash_bucket`).
const HASH_BUCKET: u64 = 8;

/// What the memory need is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct MemoryNeed {
    /// Bytes of one connection, both ends, as expected.
    pub(super) per_connection: f64,
    /// Bytes that do not grow with connections.
    pub(super) fixed: Bytes,
    /// Bytes to keep free.
    pub(super) reserve: Bytes,
}

impl MemoryNeed {
    /// What `connections` need, with margin and reserve.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // positive, and below 2^53
    pub(super) fn total(self, connections: u64) -> Bytes {
        let grows =
            self.per_connection * connections as f64 * (100 + MARGIN_PERCENT) as f64 / 100.0;
        Bytes::new(grows.ceil() as u64) + self.fixed + self.reserve
    }

    /// How many connections fit into `have`.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // positive, and below 2^53
    pub(super) fn fits(self, have: Bytes) -> u64 {
        let room = have.saturating_sub(self.fixed + self.reserve).as_f64();
        (room / (self.per_connection * (100 + MARGIN_PERCENT) as f64 / 100.0)).floor() as u64
    }
}

/// What surrounds the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Surroundings {
    /// Workers, the server included.
    pub(super) workers: u64,
    /// Threads with a descriptor table, of all workers.
    pub(super) tables: u64,
    /// Network namespaces, each with a hash of its own.
    pub(super) namespaces: u64,
    /// Buckets of each such hash.
    pub(super) hash_entries: u64,
    /// Source addresses that share one port table, so that they share the bucket of each port.
    pub(super) sources_per_namespace: u64,
    /// Tables of connection tracking that have an entry for each connection.
    pub(super) tracked: u32,
}

/// The need of `scenario`.
pub(super) fn need(scenario: &Scenario, facts: &HostFacts, around: Surroundings) -> MemoryNeed {
    let sizes = &facts.objects;
    let per_connection = server_kernel(scenario, sizes)
        + client_kernel(scenario, sizes, around.sources_per_namespace)
        + user(scenario)
        + f64::from(around.tracked) * (sizes.bytes_of("nf_conntrack") + TRACKING_EXTENSIONS)
        + descriptor_slots(scenario, facts);
    MemoryNeed {
        per_connection,
        fixed: WORKER_BASE.times(around.workers)
            + TABLE_BASE.times(around.tables)
            + Bytes::new(HASH_BUCKET * around.hash_entries * around.namespaces),
        reserve: reserve(&facts.memory),
    }
}

/// What is kept free: a fixed part, and what the kernel keeps for itself.
pub(super) fn reserve(memory: &MemoryFacts) -> Bytes {
    let share = Bytes::new(memory.total.bytes() / 100 * RESERVE_PERCENT);
    share.max(RESERVE_AT_LEAST) + memory.min_free.present().copied().unwrap_or(Bytes::ZERO)
}

fn sum(sizes: &ObjectSizes, names: &[&str]) -> f64 {
    names.iter().map(|name| sizes.bytes_of(name)).sum()
}

fn server_kernel(scenario: &Scenario, sizes: &ObjectSizes) -> f64 {
    if scenario.server.service.accepts() {
        let server = &scenario.server;
        let watches = server.cost().watches;
        sizes.bytes_of(SOCKET)
            + sum(sizes, &OWNED)
            + watches as f64 * sum(sizes, &WATCHED)
            + OWNER_VECTORS
    } else {
        // In the accept queue: no descriptor, no inode, but the request stays.
        sum(sizes, &[SOCKET, QUEUED])
    }
}

fn client_kernel(scenario: &Scenario, sizes: &ObjectSizes, sources: u64) -> f64 {
    let watches = scenario.client_engine.client_cost().watches;
    sizes.bytes_of(SOCKET)
        + sum(sizes, &OWNED)
        + sizes.bytes_of(ADDRESS_BUCKET)
        + sizes.bytes_of(PORT_BUCKET) / sources.max(1) as f64
        + watches as f64 * sum(sizes, &WATCHED)
        + OWNER_VECTORS
}

fn user(scenario: &Scenario) -> f64 {
    scenario.server.cost().user_bytes + scenario.client_engine.client_cost().user_bytes
}

/// Slots of descriptor tables: 8 bytes and 3 bits each, the table a power of two large (`alloc_fdtable`, `fs/file.c`).
fn descriptor_slots(scenario: &Scenario, facts: &HostFacts) -> f64 {
    const SLOT: f64 = 8.375;
    let waste = match scenario.descriptor_tables {
        DescriptorTables::Many => {
            let size = table_size(facts.descriptors.table_limit()).max(1);
            size.next_power_of_two() as f64 / size as f64
        }
        // Nearly twice as many slots as descriptors, at worst.
        DescriptorTables::One => 2.0,
    };
    let ends = if scenario.server.service.accepts() {
        2.0
    } else {
        1.0
    };
    SLOT * waste * ends
}
