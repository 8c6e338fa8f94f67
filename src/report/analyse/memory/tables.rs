//! Descriptor tables, and the hash tables that the lab's namespaces have: computed from the kernel's own arithmetic, because
//! no file counts them.

use std::collections::BTreeSet;

use crate::domain::{DescriptorTables, PlaceMaking, RowSource, RunSummary, WorkerId, WorkerSpec};

use super::Span;
use super::ground::Ground;
use crate::report::analyse::server::tree;
use crate::report::model::AccountRow;

/// Descriptors of a table that connections do not get (`src/engine/table.rs`).
const RESERVED: u64 = 64;
/// No table is made for more descriptors than this (`src/engine/table.rs`).
const LARGEST: u64 = 65_536;
/// Bytes of a bucket of the established hash (`struct inet_ehash_bucket`).
const HASH_BUCKET: f64 = 8.0;

/// Descriptor tables that grew with the connections.
pub(super) struct Tables {
    pub(super) row: AccountRow,
    /// What of it lies in vmalloc: where there are no free pages side by side, the kernel takes it from there.
    pub(super) in_vmalloc: f64,
}

/// The tables, as far as that much memory has really grown: `in_slab` is what grew of `Slab` outside of all other rows, where
/// blocks above 8 KiB are.
pub(super) fn grown(ground: &Ground<'_>, in_slab: f64) -> Option<Tables> {
    let summary = ground.known.summary?;
    let (mut server, mut client, mut number) = (0.0, 0.0, 0.0);
    for (worker, told) in &ground.known.story.workers {
        let (Some((tables, limit)), Some(spec)) = (told.tables, spec_of(summary, *worker)) else {
            continue;
        };
        let counters = ground
            .known
            .story
            .counters_at(*worker, ground.span.target.at_seconds);
        let held = counters.map_or(0, |counters| counters.established.count());
        let (count, bytes) = match spec {
            WorkerSpec::Server(server) if server.service.accepts() => {
                of_server(held, server.tables, limit)
            }
            WorkerSpec::Server(_) => (0, 0),
            WorkerSpec::Subject(_) => of_subject(ground.span),
            WorkerSpec::Client(client) => of_client(held, client.tables, tables, limit),
        };
        number += count as f64;
        if worker.is_server() {
            server += bytes as f64;
        } else {
            client += bytes as f64;
        }
    }
    let computed = server + client;
    if computed <= 0.0 {
        return None;
    }
    let vmalloc = ground
        .parts
        .iter()
        .find(|part| part.name.starts_with("VmallocUsed"))
        .map_or(0.0, |part| part.delta);
    let in_slab = in_slab.clamp(0.0, computed);
    let in_vmalloc = vmalloc.clamp(0.0, computed - in_slab);
    let found = (in_slab + in_vmalloc) / computed;
    Some(Tables {
        row: AccountRow {
            object: "descriptor tables".to_owned(),
            objects: Some(number),
            bytes: computed * found,
            server: server * found,
            client: client * found,
            source: RowSource::Computed,
        },
        in_vmalloc,
    })
}

fn spec_of(summary: &RunSummary, worker: WorkerId) -> Option<&WorkerSpec> {
    let mut workers = summary.workers.iter();
    workers
        .find(|planned| planned.planned.id == worker)
        .map(|planned| &planned.planned.spec)
}

/// Tables of the server beyond those that it had at the baseline: the first one has its full size before the first connection.
fn of_server(held: u64, tables: DescriptorTables, limit: u64) -> (u64, u64) {
    match tables {
        DescriptorTables::Many => {
            let room = (limit.min(LARGEST)).saturating_sub(RESERVED).max(1);
            let more = held.div_ceil(room).saturating_sub(1);
            (more, more * bytes_of(room + RESERVED / 2))
        }
        DescriptorTables::One => (1, bytes_of(held)),
    }
}

/// Tables of a server that is not ours: one for each process that holds connections, as an ordinary program has. How many
/// those are follows from how many descriptors the fullest has of all.
fn of_subject(span: &Span<'_>) -> (u64, u64) {
    let of = |sample| {
        let tree = tree(sample)?;
        Some((*tree.descriptors.present()?, tree.fullest?.open))
    };
    let (Some((before, fullest_before)), Some((after, fullest))) = (of(span.base), of(span.target))
    else {
        return (0, 0);
    };
    let grown = after.saturating_sub(before);
    let most = fullest.saturating_sub(fullest_before);
    if grown == 0 || most == 0 {
        return (0, 0);
    }
    let count = grown.div_ceil(most);
    let each = bytes_of(grown.div_ceil(count) + fullest_before);
    // The first 64 descriptors are in the process's own structure.
    let already = if fullest_before < RESERVED {
        0
    } else {
        bytes_of(fullest_before)
    };
    (count, count * each.saturating_sub(already))
}

/// Tables of a client: each grows in the ramp, to what falls to it.
fn of_client(held: u64, tables: DescriptorTables, count: u64, limit: u64) -> (u64, u64) {
    match tables {
        DescriptorTables::Many => {
            let count = count.max(1);
            let each = (held.div_ceil(count) + RESERVED / 2).min(limit);
            (count, count * bytes_of(each))
        }
        DescriptorTables::One => (1, bytes_of(held)),
    }
}

/// Bytes of a table for descriptors below `size` (`alloc_fdtable`, `fs/file.c`, Linux 6.12): a pointer for each slot, two bits
/// for each slot and one for each 64, in blocks of a power of two.
const fn bytes_of(size: u64) -> u64 {
    /// Slots of the smallest table.
    const LEAST: u64 = 128;
    let slots = (size / LEAST + 1).next_power_of_two() * LEAST;
    let bitmaps = slots / 4 + slots / 512;
    slots * 8 + bitmaps.next_power_of_two()
}

/// Hash tables of the namespaces that were made with one of their own. They are there before the baseline.
pub(super) fn outside(summary: Option<&RunSummary>) -> Vec<AccountRow> {
    let Some((summary, entries)) =
        summary.and_then(|summary| Some((summary, summary.established_hash_entries?)))
    else {
        return Vec::new();
    };
    let hosts: BTreeSet<_> = summary
        .workers
        .iter()
        .map(|worker| worker.planned.host)
        .collect();
    let namespaces = match summary.how {
        PlaceMaking::HostLoopback | PlaceMaking::Joined { .. } | PlaceMaking::Container => {
            return Vec::new();
        }
        PlaceMaking::PrivateLoopback { .. } => 1,
        PlaceMaking::Docker | PlaceMaking::Netns { .. } => hosts.len(),
    };
    let each = entries as f64 * HASH_BUCKET;
    // With one namespace for both ends its table is neither's alone.
    let (server, clients) = if namespaces > 1 {
        (each, each * (namespaces as f64 - 1.0))
    } else {
        (0.0, 0.0)
    };
    vec![AccountRow {
        object: "hash tables of the lab's namespaces".to_owned(),
        objects: Some(namespaces as f64),
        bytes: each * namespaces as f64,
        server,
        client: clients,
        source: RowSource::Computed,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_20000_descriptors_has_32768_slots() {
        assert_eq!(bytes_of(20_000), 32_768 * 8 + 16_384);
        assert_eq!(bytes_of(1000), 1024 * 8 + 512);
    }

    #[test]
    fn the_servers_first_table_is_there_before_the_baseline() {
        assert_eq!(of_server(19_000, DescriptorTables::Many, 20_000), (0, 0));
        let (more, bytes) = of_server(1_024_000, DescriptorTables::Many, 20_000);
        assert_eq!((more, bytes), (51, 51 * bytes_of(19_968)));
    }
}
