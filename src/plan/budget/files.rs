//! Limits on descriptors, files, watches and threads.

use super::{Checked, Ground, OTHER_FILES, OTHER_THREADS};
use crate::domain::{
    Binding, BudgetRow, DescriptorTables, Limit, PlaceMaking, RESERVED_DESCRIPTORS,
    connections_per_table,
};

impl Ground<'_> {
    pub(super) fn descriptors(&self, n: u64) -> Checked {
        let clients = self.layout.clients.len() as u64;
        let largest = self.accepted_by_worker(n).max(n.div_ceil(clients.max(1)));
        let limit = self.facts.descriptors.hard.bound();
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
        let fits = if self.accepted_by_worker(n) > 0 {
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

    pub(super) fn files(&self, n: u64) -> Checked {
        let descriptors = &self.facts.descriptors;
        let per_connection = if self.scenario.server.service.accepts() {
            2
        } else {
            1
        };
        let open = descriptors.files_open.present().copied().unwrap_or(0);
        let limit = self.host_limit("fs.file-max", &descriptors.file_max);
        let need = open + OTHER_FILES + per_connection * n;
        // The exemption asks for the capability in the initial user namespace.
        let exempt = self.facts.uid == 0
            && self
                .facts
                .capabilities
                .iter()
                .any(|name| name == "sys_admin")
            && match self.how {
                PlaceMaking::HostLoopback | PlaceMaking::Joined { .. } => true,
                PlaceMaking::Netns { in_user_namespace }
                | PlaceMaking::PrivateLoopback { in_user_namespace } => !in_user_namespace,
                // Containers are started without it.
                PlaceMaking::Docker | PlaceMaking::Container => false,
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

    pub(super) fn epoll_watches(&self, n: u64) -> Checked {
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

    pub(super) fn threads(&self, n: u64) -> Checked {
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
            fits: limit.map_or(u64::MAX, |limit| {
                let each = connections_per_table(self.facts.descriptors.table_limit());
                (limit.saturating_sub(OTHER_THREADS) / 2).saturating_mul(each)
            }),
            cure: "raise the hard limit of descriptors (ulimit -Hn), so that fewer tables are needed, or kernel.threads-max".to_owned(),
        }
    }
}
