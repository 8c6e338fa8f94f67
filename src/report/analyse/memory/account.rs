//! The account: every kind of memory that grew with the connections, split between the ends by how many objects each end
//! has. The rows add up to the whole; what no row explains is the last one.

use crate::domain::{Reading, RowSource, SizeSource, SlabCache};

use super::closing;
use super::counts::{Counts, Expected, is_bind_bucket, kinds};
use super::ground::Ground;
use super::tables::{self, Tables};
use super::vectors::{Vectors, is_charged, slots_by_share};
use crate::report::model::{AccountRow, ProcessRow};

/// Objects below this number per connection are not of the connections: the largest share of one source address is 1/16.
const FEWEST_PER_CONNECTION: f64 = 0.02;

/// A number of objects this close to one for each socket is taken for that.
const CLOSE: f64 = 0.02;

/// Bytes that a charged object's entry in a vector takes at most, where vectors are not counted: 8, and what a vector's cache
/// is larger than the vector.
const ENTRY_AT_MOST: f64 = 10.0;

/// The rows, and what none of them explains.
pub(super) struct Built {
    pub(super) rows: Vec<AccountRow>,
    pub(super) unexplained: f64,
    /// Bytes of objects that found room in slabs which were there before.
    pub(super) reused: f64,
}

/// Builds it.
pub(super) fn build(ground: &Ground<'_>) -> Built {
    let (mut rows, tables, reused) = if let (Reading::Present(base), Reading::Present(target)) =
        (&ground.span.base.slabs, &ground.span.target.slabs)
    {
        counted(ground, base, target)
    } else {
        let (rows, tables) = modelled(ground);
        (rows, tables, 0.0)
    };
    let in_vmalloc = tables.as_ref().map_or(0.0, |tables| tables.in_vmalloc);
    rows.extend(tables.map(|tables| tables.row));
    others(ground, in_vmalloc, &mut rows);
    let total = closing::kernel(ground.parts)
        + reused
        + ground
            .processes
            .iter()
            .map(|row| row.anonymous + row.page_tables)
            .sum::<f64>();
    let unexplained = total - rows.iter().map(|row| row.bytes).sum::<f64>();
    rows.push(shared(
        "not attributed",
        None,
        unexplained,
        RowSource::Remainder,
    ));
    Built {
        rows,
        unexplained,
        reused,
    }
}

fn shared(object: &str, objects: Option<f64>, bytes: f64, source: RowSource) -> AccountRow {
    AccountRow {
        object: object.to_owned(),
        objects,
        bytes,
        server: 0.0,
        client: 0.0,
        source,
    }
}

/// A row whose bytes belong to the ends by the number of objects of each.
fn split(object: &str, of: Expected, bytes: f64, source: RowSource) -> AccountRow {
    let share = |count: f64| {
        if of.both() > 0.0 {
            bytes * count / of.both()
        } else {
            0.0
        }
    };
    AccountRow {
        object: object.to_owned(),
        objects: Some(of.both()),
        bytes,
        server: share(of.server),
        client: share(of.client),
        source,
    }
}

/// How a cache grew.
struct Growth<'a> {
    cache: &'a SlabCache,
    objects: f64,
    bytes: f64,
}

impl Growth<'_> {
    /// Which kinds of objects of a connection lie in its slabs.
    fn kinds(&self) -> Vec<&'static str> {
        let cache = self.cache;
        kinds()
            .filter(|kind| cache.name == *kind || cache.merged.iter().any(|name| name == kind))
            .collect()
    }

    /// One object's share of the pages of a full slab, where the recording tells how many a slab has. A slab has a power of two
    /// of pages.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a few pages
    fn share(&self, page: f64) -> Option<f64> {
        let slots = self.cache.slots_per_slab.filter(|slots| *slots > 0)? as f64;
        let pages = (self.cache.slot.as_f64() * slots / page).ceil() as u64;
        Some(pages.next_power_of_two() as f64 * page / slots)
    }

    fn slots(&self, page: f64) -> Option<u64> {
        self.cache
            .slots_per_slab
            .or_else(|| slots_by_share(self.cache.slot.as_f64(), self.bytes / self.objects, page))
    }
}

/// From slabinfo: objects and pages, split by the numbers that each end is known to have.
fn counted(
    ground: &Ground<'_>,
    base: &[SlabCache],
    target: &[SlabCache],
) -> (Vec<AccountRow>, Option<Tables>, f64) {
    let grown: Vec<Growth<'_>> = target
        .iter()
        .map(|cache| {
            let then = base.iter().find(|then| then.name == cache.name);
            let before = |field: fn(&SlabCache) -> f64| then.map_or(0.0, field);
            Growth {
                cache,
                objects: cache.objects as f64 - before(|then| then.objects as f64),
                bytes: cache.pages.as_f64() - before(|then| then.pages.as_f64()),
            }
        })
        .collect();
    let listed: f64 = grown.iter().map(|growth| growth.bytes).sum();
    let mut rows = Vec::new();
    let mut vectors = Vectors::default();
    let mut reused = 0.0;
    for growth in &grown {
        match ground.counts {
            Reading::Present(counts) => {
                reused += kinds_of(growth, counts, ground.span.page, &mut vectors, &mut rows);
            }
            // Without the counts nothing is split, but it is still what grew.
            Reading::Missing(_) if !growth.kinds().is_empty() => rows.push(shared(
                &growth.cache.name,
                Some(growth.objects),
                growth.bytes,
                RowSource::Counted,
            )),
            Reading::Missing(_) => {}
        }
    }
    let mut owners = split("vectors of charged objects", NONE, 0.0, RowSource::Counted);
    for growth in grown.iter().filter(|growth| growth.kinds().is_empty()) {
        let mut rest = growth.objects;
        if let Some(expected) = vectors.in_cache(&growth.cache.name) {
            let (vectors, room) = owners_in(growth, expected, ground.span.page, &mut owners);
            rest -= vectors;
            reused += room;
        }
        if let Reading::Present(counts) = ground.counts
            && let Some(row) = one_each(growth, rest, counts.sockets())
        {
            rows.push(row);
        } else if !growth.cache.name.starts_with("kmalloc")
            && growth.objects / ground.span.connections >= FEWEST_PER_CONNECTION
        {
            rows.push(shared(
                &growth.cache.name,
                Some(growth.objects),
                growth.bytes,
                RowSource::Counted,
            ));
        }
    }
    if owners.bytes > 0.0 {
        rows.push(owners);
    }
    rows.sort_by(|one, other| other.bytes.total_cmp(&one.bytes));
    let outside = match (
        &ground.span.base.other_slabs,
        &ground.span.target.other_slabs,
    ) {
        (Reading::Present(base), Reading::Present(target)) => target.as_f64() - base.as_f64(),
        _ => 0.0,
    };
    let large = closing::slab(ground.parts) - listed - outside;
    (rows, tables::grown(ground, large), reused)
}

const NONE: Expected = Expected {
    server: 0.0,
    client: 0.0,
};

/// The rows of one cache: one for each kind in it whose number is known, and one for bind buckets, which are what is left.
/// What neither explains stays out, and so comes to be unexplained. Returns the bytes of objects that found room in slabs which
/// were there before.
fn kinds_of(
    growth: &Growth<'_>,
    counts: &Counts,
    page: f64,
    vectors: &mut Vectors,
    rows: &mut Vec<AccountRow>,
) -> f64 {
    if growth.objects <= 0.0 || growth.bytes <= 0.0 {
        return 0.0;
    }
    let kinds = growth.kinds();
    let expected = |kind: &str| counts.of_kind(kind).unwrap_or(NONE);
    let mut found: Vec<(String, Expected)> = kinds
        .iter()
        .filter(|kind| !is_bind_bucket(kind))
        .map(|kind| ((*kind).to_owned(), expected(kind)))
        .collect();
    let exact: f64 = found.iter().map(|(_, of)| of.both()).sum();
    let buckets: Vec<&str> = kinds
        .iter()
        .copied()
        .filter(|kind| is_bind_bucket(kind))
        .collect();
    if !buckets.is_empty() {
        // At most one of each kind for each socket.
        let most = counts.client_sockets * buckets.len() as f64 * (1.0 + CLOSE);
        let client = (growth.objects - exact).clamp(0.0, most);
        found.push((
            buckets.join(", "),
            Expected {
                server: 0.0,
                client,
            },
        ));
    }
    found.retain(|(_, of)| of.both() > 0.0);
    let all: f64 = found.iter().map(|(_, of)| of.both()).sum();
    let by_growth = growth.bytes / growth.objects.max(all);
    let each = growth.share(page).map_or(by_growth, |share| {
        by_growth.max(share * growth.objects.min(all) / all.max(1.0))
    });
    for (name, of) in found {
        let bytes = each * of.both();
        rows.push(split(&name, of, bytes, RowSource::Counted));
        if is_charged(&name)
            && let Some(slots) = growth.slots(page)
        {
            vectors.add(slots, of);
        }
    }
    (each - by_growth) * all
}

/// Adds the vectors in one general cache to their row. Returns how many of its objects they are, and the bytes of those that found
/// room in slabs which were there before.
fn owners_in(
    growth: &Growth<'_>,
    expected: Expected,
    page: f64,
    owners: &mut AccountRow,
) -> (f64, f64) {
    let vectors = growth.objects.min(expected.both());
    if vectors <= 0.0 {
        return (0.0, 0.0);
    }
    let by_growth = growth.bytes.max(0.0) / growth.objects * vectors;
    let bytes = growth
        .share(page)
        .map_or(by_growth, |share| by_growth.max(share * vectors));
    owners.bytes += bytes;
    owners.server += bytes * expected.server / expected.both();
    owners.client += bytes * expected.client / expected.both();
    owners.objects = owners.objects.map(|objects| objects + vectors);
    (vectors, bytes - by_growth)
}

/// A general cache with a whole number of objects for each socket, such as the data of a security module.
fn one_each(growth: &Growth<'_>, objects: f64, sockets: Expected) -> Option<AccountRow> {
    let each = objects / sockets.both();
    if each < 1.0 - CLOSE || (each - each.round()).abs() > CLOSE || growth.bytes <= 0.0 {
        return None;
    }
    let name = format!(
        "{} ({:.0} for each socket)",
        growth.cache.name,
        each.round()
    );
    let bytes = growth.bytes * objects / growth.objects;
    let whole = Expected {
        server: sockets.server * each.round(),
        client: sockets.client * each.round(),
    };
    Some(split(&name, whole, bytes, RowSource::Counted))
}

/// Where slabinfo cannot be read: the sizes that the plan was made with, and the numbers that each end is known to have.
fn modelled(ground: &Ground<'_>) -> (Vec<AccountRow>, Option<Tables>) {
    let (Reading::Present(counts), Some(facts)) = (ground.counts, ground.known.facts) else {
        return (Vec::new(), None);
    };
    let source = match facts.objects.source {
        SizeSource::Slabinfo => RowSource::Computed,
        SizeSource::BtfEstimate | SizeSource::Assumed => RowSource::Modelled,
    };
    let mut rows: Vec<AccountRow> = kinds()
        .filter_map(|kind| {
            let of = counts.of_kind(kind)?;
            let bytes = of.both() * facts.objects.bytes_of(kind);
            (bytes > 0.0).then(|| split(kind, of, bytes, source))
        })
        .collect();
    let mut rest = closing::slab(ground.parts) - rows.iter().map(|row| row.bytes).sum::<f64>();
    let tables = tables::grown(ground, rest);
    rest -= tables
        .as_ref()
        .map_or(0.0, |tables| tables.row.bytes - tables.in_vmalloc);
    let charged = kinds()
        .filter(|kind| is_charged(kind))
        .filter_map(|kind| counts.of_kind(kind))
        .fold(NONE, |sum, of| Expected {
            server: sum.server + of.server,
            client: sum.client + of.client,
        });
    let vectors = rest.clamp(0.0, charged.both() * ENTRY_AT_MOST);
    if vectors > 0.0 {
        let mut row = split("vectors of charged objects", charged, vectors, source);
        row.objects = None;
        rows.push(row);
    }
    rows.sort_by(|one, other| other.bytes.total_cmp(&one.bytes));
    (rows, tables)
}

/// What is no slab: the kernel's other memory, and the workers' own.
fn others(ground: &Ground<'_>, in_vmalloc: f64, rows: &mut Vec<AccountRow>) {
    let part = |name: &str| {
        let mut parts = ground.parts.iter();
        parts
            .find(|part| part.name.starts_with(name))
            .map(|part| part.delta)
    };
    let summary = ground.known.summary;
    let has_subject = summary.is_some_and(|summary| summary.subject().is_some());
    for (name, object, less) in [
        ("KernelStack", "kernel stacks", 0.0),
        ("VmallocUsed", "vmalloc", in_vmalloc),
        ("Percpu", "per-CPU memory", 0.0),
    ] {
        if let Some(delta) = part(name) {
            let mut row = shared(object, None, delta - less, RowSource::Meminfo);
            if name == "KernelStack" && has_subject {
                row.server = stacks_of_server(ground, delta);
            }
            rows.push(row);
        }
    }
    let sum = |server: bool, field: fn(&ProcessRow) -> f64| -> f64 {
        let rows = ground.processes.iter();
        rows.filter(|row| row.worker.is_server() == server)
            .map(field)
            .sum()
    };
    let whose = if has_subject {
        "server and clients"
    } else {
        "the workers"
    };
    for (object, field) in [
        (
            "page tables of",
            (|row| row.page_tables) as fn(&ProcessRow) -> f64,
        ),
        ("memory of", |row| row.anonymous),
    ] {
        let (server, client) = (sum(true, field), sum(false, field));
        rows.push(AccountRow {
            object: format!("{object} {whose}"),
            objects: None,
            bytes: server + client,
            server,
            client,
            source: RowSource::Process,
        });
    }
}

/// What of the stacks belongs to threads that a server which is not ours has started: four pages each, as on x86-64 and Arm
/// (`THREAD_SIZE`). Many servers have one thread for each connection.
fn stacks_of_server(ground: &Ground<'_>, grown: f64) -> f64 {
    let mut rows = ground.processes.iter();
    let threads = rows
        .find(|row| row.worker.is_server())
        .map_or(0.0, |row| row.threads_grown);
    (threads * 4.0 * ground.span.page).clamp(0.0, grown.max(0.0))
}
