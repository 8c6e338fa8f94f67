//! The section on memory: the closing sum, kernel objects, processes, control groups, the slope.

use super::page::{Column, Page};
use crate::domain::{MemorySide, Reading, Role};
use crate::report::model::{Account, MemoryDetail, Report};
use crate::report::number::{bytes, bytes_each, figure, grouped};

/// Writes the section.
pub(super) fn section(page: &mut Page, report: &Report) {
    page.heading("Memory per connection");
    let memory = match &report.memory {
        Reading::Present(memory) => memory,
        Reading::Missing(gap) => {
            page.block(&format!("Not known: {}.", gap.gap));
            return;
        }
    };
    sides(page, report);
    slope(page, report, memory);
    closing_sum(page, memory);
    objects(page, memory);
    processes(page, memory);
    groups(page, memory);
    misled(page, memory);
}

fn sides(page: &mut Page, report: &Report) {
    let result = &report.result.memory;
    let row = |name: &str, side: &MemorySide| {
        let shown = |value: Option<f64>| value.map_or_else(|| "unknown".to_owned(), bytes_each);
        vec![
            name.to_owned(),
            shown(side.user_bytes_per_connection),
            shown(side.kernel_bytes_per_connection),
            shown(side.bytes_per_connection),
        ]
    };
    page.table(
        &[
            ("Side", Column::Left),
            ("User", Column::Right),
            ("Kernel", Column::Right),
            ("Sum", Column::Right),
        ],
        &[
            row("server", &result.server),
            row("clients", &result.client),
            row("both", &result.both),
        ],
    );
    let why = [("server", &result.server), ("clients", &result.client)]
        .into_iter()
        .filter(|(_, side)| side.kernel_bytes_per_connection.is_none())
        .filter_map(|(name, side)| {
            let how = side.how.get("kernel_bytes_per_connection")?;
            Some(format!(
                "The kernel's share of the {name} is unknown: {how}."
            ))
        });
    page.list(why);
}

fn slope(page: &mut Page, report: &Report, memory: &MemoryDetail) {
    match &report.slope {
        Reading::Present(slope) => page.block(&format!(
            "Slope of memory over connections, both ends: **{} ± {}** per connection (95 % confidence interval, least squares through {} samples of the ramp). The difference {} is {}.",
            figure(slope.slope),
            bytes_each(slope.half_width),
            slope.points,
            memory.between,
            bytes_each(memory.total() / memory.connections),
        )),
        Reading::Missing(gap) => page.block(&format!(
            "No slope: {}. The difference {} is {}.",
            gap.gap,
            memory.between,
            bytes_each(memory.total() / memory.connections)
        )),
    }
}

fn closing_sum(page: &mut Page, memory: &MemoryDetail) {
    page.subheading("Where it went");
    page.block(&format!(
        "Growth {}, with {} connections at the end, both ends on this machine. What is free must have gone somewhere: the rows add up to the drop of `MemFree`, but for the residual.",
        memory.between,
        grouped(rounded(memory.connections))
    ));
    let row = |name: &str, delta: f64, note: &str| {
        vec![
            name.to_owned(),
            bytes(delta),
            figure(delta / memory.connections),
            note.to_owned(),
        ]
    };
    let mut rows: Vec<Vec<String>> = memory
        .parts
        .iter()
        .map(|part| {
            let note = match part.account {
                Account::Kernel => "kernel",
                Account::Programs => "programs: the workers' own part is counted, others' is not",
                Account::Cache => "page cache, not counted",
                Account::Free => "free, not counted",
            };
            row(part.name, part.delta, note)
        })
        .collect();
    rows.push(match &memory.per_cpu_free {
        Reading::Present(lists) => row("free pages on per-CPU lists", lists.0, "free, not counted"),
        Reading::Missing(gap) => vec![
            "free pages on per-CPU lists".to_owned(),
            "unknown".to_owned(),
            "unknown".to_owned(),
            gap.gap.clone(),
        ],
    });
    rows.push(row(
        "residual",
        memory.residual,
        "in no row; counted as kernel",
    ));
    rows.push(row(
        "**drop of `MemFree`**",
        memory.free_drop,
        "sum of the rows",
    ));
    rows.push(row(
        "**counted as the connections'**",
        memory.total(),
        "kernel and workers",
    ));
    page.table(
        &[
            ("/proc/meminfo", Column::Left),
            ("Growth", Column::Right),
            ("Bytes per connection", Column::Right),
            ("Whose", Column::Left),
        ],
        &rows,
    );
    if let Some(pages) = memory.tcp_memory_pages {
        page.block(&format!(
            "TCP's own accounting of buffers (`mem` in `/proc/net/sockstat`, what `tcp_mem` bounds) stood at {} pages, and is exact to 256 pages for each processor: idle connections do not count there.",
            grouped(pages)
        ));
    }
}

fn objects(page: &mut Page, memory: &MemoryDetail) {
    page.subheading("Kernel objects");
    let rows = match &memory.slabs {
        Reading::Present(rows) => rows,
        Reading::Missing(gap) => {
            page.block(&format!("Not known: {}.", gap.gap));
            return;
        }
    };
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let others: Vec<&str> = row
                .merged
                .iter()
                .filter(|name| **name != row.name)
                .map(String::as_str)
                .collect();
            vec![
                format!("`{}`", row.name),
                format!("{:.3}", row.objects / memory.connections),
                figure(row.bytes / memory.connections),
                match row.side {
                    Some(Role::Client) => "clients only",
                    Some(Role::Server) => "server only",
                    None => "",
                }
                .to_owned(),
                if others.is_empty() {
                    String::new()
                } else {
                    format!("shares its slabs with {}", others.join(", "))
                },
            ]
        })
        .collect();
    page.table(
        &[
            ("Slab cache", Column::Left),
            ("Objects per connection", Column::Right),
            ("Bytes per connection", Column::Right),
            ("Side", Column::Left),
            ("", Column::Left),
        ],
        &cells,
    );
    let sum: f64 = rows.iter().map(|row| row.bytes).sum();
    let slab: f64 = memory
        .parts
        .iter()
        .filter(|part| part.name.ends_with("(slab)"))
        .map(|part| part.delta)
        .sum();
    page.block(&format!(
        "Together {} of the {} per connection by which `Slab` grew; bytes are those of whole slabs, waste included. Two objects per connection are one for each end.",
        bytes_each(sum / memory.connections),
        bytes_each(slab / memory.connections)
    ));
}

fn processes(page: &mut Page, memory: &MemoryDetail) {
    if memory.processes.is_empty() {
        return;
    }
    page.subheading("Processes");
    let rows: Vec<Vec<String>> = memory
        .processes
        .iter()
        .map(|row| {
            let each = |value: f64| {
                if row.connections == 0 {
                    "–".to_owned()
                } else {
                    figure(value / row.connections as f64)
                }
            };
            vec![
                row.worker.to_string(),
                grouped(row.connections),
                grouped(row.threads),
                bytes(row.anonymous),
                bytes(row.page_tables),
                each(row.anonymous + row.page_tables),
            ]
        })
        .collect();
    page.table(
        &[
            ("Worker", Column::Left),
            ("Connections", Column::Right),
            ("Threads", Column::Right),
            ("RssAnon, growth", Column::Right),
            ("VmPTE, growth", Column::Right),
            ("Bytes per connection", Column::Right),
        ],
        &rows,
    );
}

fn groups(page: &mut Page, memory: &MemoryDetail) {
    if memory.cgroups.is_empty() {
        return;
    }
    page.subheading("Control groups");
    let rows: Vec<Vec<String>> = memory
        .cgroups
        .iter()
        .map(|row| {
            let each = |value: f64| {
                if row.connections == 0 {
                    "–".to_owned()
                } else {
                    figure(value / row.connections as f64)
                }
            };
            let read = |reading: &Reading<crate::report::model::FloatBytes>| match reading {
                Reading::Present(value) => each(value.0),
                Reading::Missing(gap) => format!("unknown: {}", gap.gap),
            };
            vec![
                row.worker.to_string(),
                format!("v{}", row.version),
                each(row.charged),
                read(&row.kernel),
                read(&row.sockets),
            ]
        })
        .collect();
    page.table(
        &[
            ("Worker", Column::Left),
            ("Version", Column::Left),
            ("Charged, B per connection", Column::Right),
            ("of it kernel", Column::Right),
            ("of it socket buffers", Column::Right),
        ],
        &rows,
    );
    page.block(
        "A control group is charged the size of each object and 8 B, not its share of the slab's pages, and not the security blobs: the real cost is 6 to 7 % above the charge. Sockets that nobody has accepted yet, and accepted ones before Linux 6.12, are charged to nobody.",
    );
}

fn misled(page: &mut Page, memory: &MemoryDetail) {
    let total = memory.total() / memory.connections;
    page.subheading("Had we believed MemAvailable");
    let drop = match &memory.available_drop {
        Reading::Present(drop) => drop.0,
        Reading::Missing(gap) => {
            page.block(&format!("Not known: {}.", gap.gap));
            return;
        }
    };
    let available = drop / memory.connections;
    let reclaimable: f64 = memory
        .parts
        .iter()
        .filter(|part| part.name.starts_with("SReclaimable"))
        .map(|part| part.delta)
        .sum();
    page.block(&format!(
        "`MemAvailable` fell by {} per connection (with whatever else happened on the machine meanwhile), where the cost is {}. Its formula takes reclaimable slab for available. That grew by {} per connection, {} in all: inodes and directory entries of open sockets, which cannot be reclaimed as long as the connections live.",
        bytes_each(available),
        bytes_each(total),
        bytes_each(reclaimable / memory.connections),
        bytes(reclaimable)
    ));
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count
fn rounded(count: f64) -> u64 {
    count.round() as u64
}
