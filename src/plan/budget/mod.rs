//! What a plan needs against what there is: one row for each limit. A row that does not fit comes with the number of
//! connections that this limit alone would let through, and with what cures it.

mod files;
mod network;

use super::layout::Layout;
use super::memory::{self, MemoryNeed, Surroundings};
use super::shards::{self, Slot};
use crate::domain::{
    Binding, BudgetRow, CgroupLimit, ConnCount, DescriptorTables, HostFacts, NetworkDriver,
    PlaceKind, PlaceMaking, Reading, SettingValue, Shortfall, SizeSource, tables_for,
};
use crate::scenario::Scenario;

pub(super) use network::Tracking;

/// Threads of a run that hold no table: runner, observer, readers.
const OTHER_THREADS: u64 = 64;

/// Files of a run that are no connections.
const OTHER_FILES: u64 = 1024;

/// A row with what is to be said when it does not fit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Checked {
    pub(super) row: BudgetRow,
    /// How many connections this limit alone lets through.
    pub(super) fits: u64,
    pub(super) cure: String,
}

impl Checked {
    /// The shortfall, where the row does not fit.
    pub(super) fn shortfall(&self) -> Option<Shortfall> {
        (!self.row.fits()).then(|| Shortfall {
            row: self.row.clone(),
            fits: self.fits,
            cure: self.cure.clone(),
        })
    }
}

/// Everything that rows are computed from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ground<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) facts: &'a HostFacts,
    pub(super) how: PlaceMaking,
    /// What joins containers.
    pub(super) joined_by: NetworkDriver,
    pub(super) layout: &'a Layout,
    pub(super) slots: &'a [Slot],
}

impl Ground<'_> {
    /// Every row for `target` connections.
    pub(super) fn rows(&self, target: ConnCount) -> Vec<Checked> {
        let n = target.count();
        let mut rows = vec![
            self.four_tuples(n),
            self.memory(n),
            self.descriptors(n),
            self.files(n),
        ];
        if self.watched_ends() > 0 {
            rows.push(self.epoll_watches(n));
        }
        if !self.scenario.server.service.accepts() {
            rows.push(self.accept_queue(n));
        }
        if self.how.kind() != PlaceKind::Loopback {
            rows.push(self.neighbours());
        }
        rows.extend(self.conntrack(n));
        rows.push(self.threads(n));
        rows
    }

    /// What memory is needed for `target` connections.
    pub(super) fn memory_need(&self, target: ConnCount) -> MemoryNeed {
        memory::need(self.scenario, self.facts, self.surroundings(target))
    }

    fn surroundings(&self, target: ConnCount) -> Surroundings {
        let sources: u64 = self
            .layout
            .clients
            .iter()
            .map(|client| client.sources.len() as u64)
            .sum();
        let clients = self.layout.clients.len() as u64;
        let (namespaces, sources_per_namespace) = match self.how {
            PlaceMaking::HostLoopback | PlaceMaking::Joined { .. } | PlaceMaking::Container => {
                (0, sources)
            }
            PlaceMaking::PrivateLoopback { .. } => (1, sources),
            PlaceMaking::Docker => (0, sources / clients.max(1)),
            PlaceMaking::Netns { .. } => (clients + 1, sources / clients.max(1)),
        };
        Surroundings {
            workers: clients + 1,
            tables: self.tables(target.count()),
            namespaces,
            hash_entries: super::settings::hash_entries(target),
            sources_per_namespace,
            tracked: match (self.tracking(), self.how) {
                (Tracking::Nothing | Tracking::KeptOut, _) => 0,
                // The server's namespace, the client's, and the host's.
                (Tracking::InThePath, PlaceMaking::Docker) => 3,
                (Tracking::InThePath, _) => 1,
            },
        }
    }

    /// Threads with a table of their own that `n` connections need, over all workers.
    fn tables(&self, n: u64) -> u64 {
        let clients = self.layout.clients.len() as u64;
        match self.scenario.descriptor_tables {
            DescriptorTables::Many => {
                let limit = self.facts.descriptors.table_limit();
                tables_for(self.accepted_by_worker(n), limit)
                    + clients * tables_for(n.div_ceil(clients.max(1)), limit)
            }
            DescriptorTables::One => clients + 1,
        }
    }

    /// Of `n` connections those whose server's end is in a descriptor table of a worker: none of a server that only queues
    /// them, or that is not the lab's own.
    const fn accepted_by_worker(&self, n: u64) -> u64 {
        let server = &self.scenario.server;
        if server.service.accepts() && server.subject.is_none() {
            n
        } else {
            0
        }
    }

    /// How many ends of a connection an epoll instance watches.
    const fn watched_ends(&self) -> u64 {
        let server = &self.scenario.server;
        let client = self.scenario.client_engine.client_cost();
        client.watches + server.cost().watches
    }

    /// A limit of the host, or what the scenario's own setting of the host makes of it.
    fn host_limit(&self, key: &str, found: &Reading<u64>) -> Option<u64> {
        let found = found.present().copied();
        if self.facts.uid != 0 || self.how.needs_user_namespace() {
            return found;
        }
        match self.scenario.host_settings.get(key) {
            Some(SettingValue::AtLeast(wanted)) => found.map(|found| found.max(*wanted)),
            Some(SettingValue::Exactly(text)) => text.parse().ok().or(found),
            None => found,
        }
    }

    fn four_tuples(&self, n: u64) -> Checked {
        let tuples = shards::four_tuples(self.layout, self.slots);
        let fits = shards::capacity(self.slots);
        let have = if fits < n { fits } else { tuples.total() };
        Checked {
            row: BudgetRow {
                id: "four_tuples".to_owned(),
                name: "four-tuples".to_owned(),
                need: n,
                have: Some(have),
                unit: "connections".to_owned(),
                source: format!(
                    "{} source address(es) x {} ports x {} target(s)",
                    ConnCount::new(tuples.sources), ConnCount::new(tuples.ports_each), tuples.targets
                ),
                binding: Binding::Hard,
                note: String::new(),
            },
            fits,
            cure: "add source addresses (clients.groups: hosts, interfaces, addresses_per_interface) or ports of the server (server.ports)".to_owned(),
        }
    }

    fn memory(&self, n: u64) -> Checked {
        let need = self.memory_need(ConnCount::new(n));
        let memory = &self.facts.memory;
        let machine = memory.free + memory.droppable;
        // Containers are charged to groups of the engine's, not to ours.
        let group = memory
            .cgroup
            .as_ref()
            .filter(|_| self.how.kind() != PlaceKind::Docker);
        let headroom = group.map(CgroupLimit::left);
        let have = headroom.map_or(machine, |headroom| headroom.min(machine));
        let there = match (group, headroom) {
            (Some(group), Some(headroom)) if headroom < machine => {
                format!(
                    "the memory limit of control group {} less what it uses",
                    group.path
                )
            }
            _ => format!(
                "MemFree {} and {} that may be dropped",
                memory.free, memory.droppable
            ),
        };
        let sizes = match self.facts.objects.source {
            SizeSource::Slabinfo => "object sizes of /proc/slabinfo",
            SizeSource::BtfEstimate => "object sizes estimated from the kernel's BTF",
            SizeSource::Assumed => "object sizes assumed from a recent kernel",
        };
        Checked {
            row: BudgetRow {
                id: "memory".to_owned(),
                name: "memory".to_owned(),
                need: need.total(n).bytes(),
                have: Some(have.bytes()),
                unit: "bytes".to_owned(),
                source: format!(
                    "{:.0} B per connection, both ends ({sizes}), 3 % margin, {} fixed, {} kept free; there: {there}",
                    need.per_connection, need.fixed, need.reserve
                ),
                binding: Binding::Hard,
                note: String::new(),
            },
            fits: need.fits(have),
            cure: format!(
                "free {} (end what uses memory; sync; sysctl vm.drop_caches=3), or ask for fewer connections (-n, or --fit)",
                need.total(n).saturating_sub(have)
            ),
        }
    }
}
