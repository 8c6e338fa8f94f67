//! The section on memory, its second half: the closing sum, processes, control groups, and what `MemAvailable` would say.

use super::page::{Column, Page};
use crate::domain::Reading;
use crate::report::model::{Account, FloatBytes, MemoryDetail, Report};
use crate::report::number::{bytes, bytes_each, figure, grouped, percent};

/// The check: what is free no more must be somewhere.
pub(super) fn closing_sum(page: &mut Page, memory: &MemoryDetail) {
    page.subheading("Check: where free memory went");
    page.block(
        "What is free no more must have gone somewhere. The rows add up to the drop of `MemFree`, but for the residual. No figure is taken from here: a residual above 1 % of the cost would say that something else moved, and that the figures are disturbed.",
    );
    let row = |name: &str, delta: f64, note: &str| {
        vec![
            name.to_owned(),
            bytes(delta),
            figure(delta / memory.connections),
            note.to_owned(),
        ]
    };
    let unknown = |name: &str, why: &str| {
        vec![
            name.to_owned(),
            "unknown".to_owned(),
            "unknown".to_owned(),
            why.to_owned(),
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
            };
            row(part.name, part.delta, note)
        })
        .collect();
    let lists = "free pages on per-CPU lists";
    rows.push(match &memory.per_cpu_free {
        Reading::Present(bytes) => row(lists, bytes.0, "free, not counted"),
        Reading::Missing(gap) => unknown(lists, &gap.gap),
    });
    rows.push(match &memory.residual {
        Reading::Present(bytes) => row("residual", bytes.0, "in no row, not counted"),
        Reading::Missing(gap) => unknown("residual", &gap.gap),
    });
    rows.push(row(
        "**drop of `MemFree`**",
        memory.free_drop,
        "sum of the rows",
    ));
    rows.push(row(
        "**counted as the connections'**",
        memory.total(),
        "kernel and workers, and objects that found room in slabs which were there before",
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

/// The worker processes.
pub(super) fn processes(page: &mut Page, memory: &MemoryDetail) {
    if memory.processes.is_empty() {
        return;
    }
    page.subheading("Processes");
    let rows: Vec<Vec<String>> = memory
        .processes
        .iter()
        .map(|row| {
            let each = |value: f64| share(value, row.connections);
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

/// Bytes for each connection; a dash where there was none.
fn share(bytes: f64, connections: u64) -> String {
    if connections == 0 {
        "–".to_owned()
    } else {
        figure(bytes / connections as f64)
    }
}

/// Control groups: a second estimate, from below.
pub(super) fn groups(page: &mut Page, report: &Report, memory: &MemoryDetail) {
    if memory.cgroups.is_empty() {
        return;
    }
    page.subheading("Control groups");
    let rows: Vec<Vec<String>> = memory
        .cgroups
        .iter()
        .map(|row| {
            let each = |value: f64| share(value, row.connections);
            let read = |reading: &Reading<FloatBytes>| match reading {
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
    let result = &report.result.memory;
    let sides = [("server", &result.server), ("clients", &result.client)];
    let beside = sides.into_iter().filter_map(|(name, side)| {
        let charged = side.charged_bytes_per_connection?;
        let attributed = side.kernel_bytes_per_connection?;
        Some(format!(
            "{name}: charged {}, attributed {} per connection, {} more than the charge.",
            bytes_each(charged),
            bytes_each(attributed),
            percent(attributed / charged - 1.0)
        ))
    });
    page.list(beside);
    page.block(
        "The charge is a second estimate, from below. A control group is charged the size of each object and 8 B, not its share of the slab's pages, and not the data of security modules. So the real cost is above the charge. Sockets that nobody has accepted yet, and accepted ones before Linux 6.12, are charged to nobody.",
    );
}

/// What somebody would have believed who looked at `MemAvailable`, and what makes the difference.
pub(super) fn misled(page: &mut Page, memory: &MemoryDetail) {
    page.subheading("Had we believed MemAvailable");
    let drop = match &memory.available_drop {
        Reading::Present(drop) => drop.0,
        Reading::Missing(gap) => {
            page.block(&format!("Not known: {}.", gap.gap));
            return;
        }
    };
    let each = |value: f64| bytes_each(value.abs() / memory.connections);
    let moved = if drop < 0.0 { "rose" } else { "fell" };
    page.block(&format!(
        "`MemAvailable` {moved} by {} per connection, where the cost is {}. Its formula takes the page cache and reclaimable slab for available. Inodes and directory entries of open sockets are in reclaimable slab, and cannot be reclaimed as long as the connections live.",
        each(drop),
        each(memory.total())
    ));
    let reclaimable: f64 = memory
        .parts
        .iter()
        .filter(|part| part.name.starts_with("SReclaimable"))
        .map(|part| part.delta)
        .sum();
    let lists = memory.per_cpu_free.present().map_or(0.0, |bytes| bytes.0);
    let residual = memory.residual.present().map_or(0.0, |bytes| bytes.0);
    let cache = memory.of(Account::Cache) - memory.file_cache_growth;
    let named = [
        ("cost of the connections", memory.total()),
        ("of it in slabs that were there before", -memory.reused),
        ("reclaimable slab, taken for available", -reclaimable),
        ("free pages that moved to per-CPU lists", lists),
        ("memory of other programs", memory.others()),
        ("page cache that is not on the lists of files", cache),
        ("residual of `MemFree`", residual),
    ];
    let rest = drop - named.iter().map(|(_, value)| value).sum::<f64>();
    let rows: Vec<Vec<String>> = named
        .into_iter()
        .chain([
            ("margins of the formula, and what was not read", rest),
            ("**drop of `MemAvailable`**", drop),
        ])
        .map(|(name, value)| {
            vec![
                name.to_owned(),
                bytes(value),
                figure(value / memory.connections),
            ]
        })
        .collect();
    page.table(
        &[
            ("What", Column::Left),
            ("Bytes", Column::Right),
            ("Bytes per connection", Column::Right),
        ],
        &rows,
    );
}
