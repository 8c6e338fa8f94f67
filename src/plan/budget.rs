//! What a plan needs against what there is: one row for each limit. A row that does not fit comes with the number of
//! connections that this limit alone would let through, and with what cures it.

use super::PlanPlace;
use super::layout::Layout;
use super::memory::{self, MemoryNeed, Surroundings};
use super::shards::{self, Slot};
use crate::domain::{
    Binding, BudgetRow, Bytes, ConnCount, DescriptorTables, HostFacts, Limit, PlaceKind, Reading,
    SettingValue, Shortfall, SizeSource,
};
use crate::scenario::Scenario;

/// Descriptors of a table that are not connections: standard streams, listeners, epoll, files of /proc.
const RESERVED_DESCRIPTORS: u64 = 64;

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
    pub(super) how: PlanPlace,
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
        if !self.scenario.server.accept {
            rows.push(self.accept_queue(n));
        }
        if self.how.kind() != PlaceKind::Loopback {
            rows.push(self.neighbours(n));
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
            PlanPlace::HostLoopback => (0, sources),
            PlanPlace::PrivateLoopback { .. } => (1, sources),
            PlanPlace::Docker => (0, sources / clients.max(1)),
            PlanPlace::Netns { .. } => (clients + 1, sources / clients.max(1)),
        };
        Surroundings {
            workers: clients + 1,
            tables: self.tables(target.count()),
            namespaces,
            hash_entries: super::settings::hash_entries(target),
            sources_per_namespace,
        }
    }

    /// The limit of one descriptor table.
    fn table_limit(&self) -> Option<u64> {
        let descriptors = &self.facts.descriptors;
        let hard = descriptors.hard.bound();
        // A worker that may raise its hard limit can go up to fs.nr_open.
        let may_raise = self
            .facts
            .capabilities
            .iter()
            .any(|name| name == "sys_resource")
            && !self.how.needs_user_namespace();
        match (hard, descriptors.nr_open.present()) {
            (Some(hard), Some(ceiling)) if may_raise => Some(hard.max(*ceiling)),
            (hard, ceiling) => hard.or_else(|| ceiling.copied()),
        }
    }

    /// Threads with a table of their own that `n` connections need, over all workers.
    fn tables(&self, n: u64) -> u64 {
        let clients = self.layout.clients.len() as u64;
        match (self.scenario.descriptor_tables, self.facts.descriptors.hard) {
            (DescriptorTables::Many, Limit::At(limit)) => {
                let each = limit.saturating_sub(RESERVED_DESCRIPTORS).max(1);
                let server = if self.scenario.server.accept {
                    n.div_ceil(each)
                } else {
                    1
                };
                server + clients * n.div_ceil(clients.max(1)).div_ceil(each)
            }
            (DescriptorTables::One, _) | (_, Limit::Unlimited) => clients + 1,
        }
    }

    /// How many ends of a connection an epoll instance watches.
    const fn watched_ends(&self) -> u64 {
        let client = match self.scenario.client_engine {
            crate::domain::EngineKind::Epoll => 0,
            crate::domain::EngineKind::Tokio => 1,
        };
        client + self.scenario.server.accept as u64
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
        let headroom = group.map(|group| group.limit.saturating_sub(group.used));
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

    fn descriptors(&self, n: u64) -> Checked {
        let clients = self.layout.clients.len() as u64;
        let largest = if self.scenario.server.accept {
            n
        } else {
            n.div_ceil(clients.max(1))
        };
        let limit = self.table_limit();
        let shown = limit.map_or_else(
            || "no limit".to_owned(),
            |limit| format!("RLIMIT_NOFILE {limit}"),
        );
        let (need, have, source, note) = match self.scenario.descriptor_tables {
            DescriptorTables::Many => {
                let tables = self.tables(n);
                let hard = match self.facts.descriptors.hard {
                    Limit::At(hard) => format!("{hard} each (hard RLIMIT_NOFILE)"),
                    Limit::Unlimited => "unlimited".to_owned(),
                };
                (
                    largest,
                    None,
                    format!("{tables} descriptor tables, {hard}"),
                    "the limit bounds one table, and each thread has its own".to_owned(),
                )
            }
            DescriptorTables::One => (
                largest + RESERVED_DESCRIPTORS,
                limit,
                format!("one table for the process; {shown}"),
                String::new(),
            ),
        };
        let room = limit.map_or(u64::MAX, |limit| limit.saturating_sub(RESERVED_DESCRIPTORS));
        let fits = if self.scenario.server.accept {
            room
        } else {
            room.saturating_mul(clients)
        };
        Checked {
            row: BudgetRow {
                id: "descriptors".to_owned(),
                name: "descriptors of the largest worker".to_owned(),
                need,
                have,
                unit: "descriptors".to_owned(),
                source,
                binding: Binding::Hard,
                note,
            },
            fits,
            cure: format!(
                "use descriptor_tables: many, or raise the hard limit: ulimit -Hn {need} (at most fs.nr_open)"
            ),
        }
    }

    fn files(&self, n: u64) -> Checked {
        let descriptors = &self.facts.descriptors;
        let per_connection = if self.scenario.server.accept { 2 } else { 1 };
        let open = descriptors.files_open.present().copied().unwrap_or(0);
        let limit = self.host_limit("fs.file-max", &descriptors.file_max);
        let need = open + OTHER_FILES + per_connection * n;
        let exempt = self
            .facts
            .capabilities
            .iter()
            .any(|name| name == "sys_admin")
            && match self.how {
                PlanPlace::HostLoopback => true,
                PlanPlace::Netns { in_user_namespace }
                | PlanPlace::PrivateLoopback { in_user_namespace } => !in_user_namespace,
                // Containers are started without it.
                PlanPlace::Docker => false,
            };
        Checked {
            row: BudgetRow {
                id: "files".to_owned(),
                name: "open files of the machine".to_owned(),
                need,
                have: limit,
                unit: "files".to_owned(),
                source: format!(
                    "{open} open (fs.file-nr), {per_connection} for each connection; fs.file-max {}",
                    limit.map_or_else(|| "unknown".to_owned(), |limit| limit.to_string())
                ),
                binding: if exempt {
                    Binding::Information
                } else {
                    Binding::Hard
                },
                note: if exempt {
                    "a process with CAP_SYS_ADMIN is exempt (alloc_empty_file, fs/file_table.c)"
                        .to_owned()
                } else {
                    String::new()
                },
            },
            fits: limit.map_or(u64::MAX, |limit| {
                limit.saturating_sub(open + OTHER_FILES) / per_connection
            }),
            cure: format!(
                "sudo sysctl fs.file-max={need}, or `fs.file-max: {{at_least: {need}}}` under settings.host as root"
            ),
        }
    }

    fn epoll_watches(&self, n: u64) -> Checked {
        let ends = self.watched_ends();
        let limit = self.host_limit(
            "fs.epoll.max_user_watches",
            &self.facts.descriptors.epoll_watches,
        );
        let need = n * ends;
        Checked {
            row: BudgetRow {
                id: "epoll_watches".to_owned(),
                name: "epoll watches of the user".to_owned(),
                need,
                have: limit,
                unit: "entries".to_owned(),
                source: "fs.epoll.max_user_watches; each connection that an engine watches"
                    .to_owned(),
                binding: Binding::Hard,
                note: String::new(),
            },
            fits: limit.map_or(u64::MAX, |limit| limit / ends.max(1)),
            cure: format!(
                "sudo sysctl fs.epoll.max_user_watches={need}, or `fs.epoll.max_user_watches: {{at_least: {need}}}` under settings.host as root"
            ),
        }
    }

    fn accept_queue(&self, n: u64) -> Checked {
        let listeners = self.layout.listen.len() as u64;
        let backlog = u64::from(self.scenario.server.backlog);
        let somaxconn = match self.how {
            PlanPlace::HostLoopback => self.facts.net.somaxconn.present().copied(),
            // The plan raises it inside the namespace.
            _ => None,
        };
        // The kernel compares with "greater than": one more fits (include/net/sock.h, sk_acceptq_is_full).
        let each = somaxconn.map_or(backlog, |limit| limit.min(backlog)) + 1;
        Checked {
            row: BudgetRow {
                id: "accept_queue".to_owned(),
                name: "accept queues".to_owned(),
                need: n,
                have: Some(each * listeners),
                unit: "connections".to_owned(),
                source: format!("{listeners} listener(s) x (the lesser of backlog and net.core.somaxconn, and one)"),
                binding: Binding::Hard,
                note: "the server does not accept".to_owned(),
            },
            fits: each * listeners,
            cure: "raise server.backlog, give the server more ports, or run where c1m has a network namespace of its own (--place netns)".to_owned(),
        }
    }

    fn neighbours(&self, n: u64) -> Checked {
        // Each address of one end is resolved once in the namespace of the other end.
        let clients: u64 = self
            .layout
            .clients
            .iter()
            .map(|client| client.sources.len() as u64)
            .sum();
        let servers: u64 = self
            .layout
            .hosts
            .iter()
            .skip(1)
            .flat_map(|host| &host.interfaces)
            .map(|_| u64::from(self.scenario.server.addresses))
            .sum();
        let need = clients + servers;
        let limit = self.host_limit(
            "net.ipv4.neigh.default.gc_thresh3",
            &self.facts.net.neighbour_limit,
        );
        let fits = limit.map_or(
            u64::MAX,
            |limit| if limit >= need { n } else { n * limit / need },
        );
        Checked {
            row: BudgetRow {
                id: "neighbours".to_owned(),
                name: "neighbour entries".to_owned(),
                need,
                have: limit,
                unit: "entries".to_owned(),
                source: "one for each address on either end; net.ipv4.neigh.default.gc_thresh3, shared by all namespaces".to_owned(),
                binding: Binding::Hard,
                note: String::new(),
            },
            fits,
            cure: format!(
                "sudo sysctl net.ipv4.neigh.default.gc_thresh3={need}, or `net.ipv4.neigh.default.gc_thresh3: {{at_least: {need}}}` under settings.host as root"
            ),
        }
    }

    /// Whether connection tracking has an entry for each connection; `None` where nothing tracks.
    fn conntrack(&self, n: u64) -> Option<Checked> {
        let tracking = self.tracking();
        let (binding, entries) = match tracking {
            Tracking::Nothing => return None,
            Tracking::KeptOut => (Binding::Information, 0),
            Tracking::InThePath => (
                Binding::Hard,
                self.facts.conntrack.entries.present().copied().unwrap_or(0),
            ),
        };
        let limit = self.host_limit(
            "net.netfilter.nf_conntrack_max",
            &self.facts.conntrack.limit,
        );
        let need = entries + n;
        Some(Checked {
            row: BudgetRow {
                id: "conntrack".to_owned(),
                name: "connection tracking".to_owned(),
                need,
                have: limit,
                unit: "entries".to_owned(),
                source: format!(
                    "{entries} now, one for each connection; net.netfilter.nf_conntrack_max"
                ),
                binding,
                note: tracking.sentence().to_owned(),
            },
            fits: limit.map_or(u64::MAX, |limit| limit.saturating_sub(entries)),
            cure: format!(
                "sudo sysctl net.netfilter.nf_conntrack_max={need} (256 B and more for each entry), or run where c1m has a network namespace of its own (--place netns)"
            ),
        })
    }

    /// What connection tracking does to the connections of this plan.
    pub(super) fn tracking(&self) -> Tracking {
        let facts = &self.facts.conntrack;
        match self.how {
            PlanPlace::Netns { .. } | PlanPlace::PrivateLoopback { .. } => Tracking::Nothing,
            _ if facts.limit.present().is_none() => Tracking::Nothing,
            // Where it could not be found out, the worse is assumed.
            PlanPlace::HostLoopback if facts.tracks_loopback.present() == Some(&false) => {
                Tracking::Nothing
            }
            PlanPlace::HostLoopback => Tracking::InThePath,
            PlanPlace::Docker if self.scenario.untrack => Tracking::KeptOut,
            PlanPlace::Docker => Tracking::InThePath,
        }
    }

    fn threads(&self, n: u64) -> Checked {
        let need = self.tables(n) + OTHER_THREADS;
        let limit = self.host_limit("kernel.threads-max", &self.facts.descriptors.threads_max);
        Checked {
            row: BudgetRow {
                id: "threads".to_owned(),
                name: "threads".to_owned(),
                need,
                have: limit,
                unit: "threads".to_owned(),
                source: "one for each descriptor table; kernel.threads-max".to_owned(),
                binding: Binding::Hard,
                note: String::new(),
            },
            fits: match (limit, self.facts.descriptors.hard) {
                (Some(limit), Limit::At(hard)) => limit.saturating_sub(OTHER_THREADS) / 2 * hard.saturating_sub(RESERVED_DESCRIPTORS),
                _ => u64::MAX,
            },
            cure: "raise the hard limit of descriptors (ulimit -Hn), so that fewer tables are needed, or kernel.threads-max".to_owned(),
        }
    }
}

/// What connection tracking does to the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tracking {
    /// Nothing tracks them.
    Nothing,
    /// Rules would; the plan keeps the lab's range out.
    KeptOut,
    /// Each connection has an entry.
    InThePath,
}

impl Tracking {
    /// In one sentence.
    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::Nothing => "not in the path: nothing tracks the connections",
            Self::KeptOut => {
                "kept out: the lab's range is marked notrack in the containers and on the host"
            }
            Self::InThePath => {
                "in the path: each connection takes an entry, and when the table is full packets are dropped"
            }
        }
    }
}

/// Bytes as they are shown in rows of other units.
pub(super) fn shown(row: &BudgetRow, value: u64) -> String {
    if row.unit == "bytes" {
        Bytes::new(value).to_string()
    } else {
        ConnCount::new(value).to_string()
    }
}
