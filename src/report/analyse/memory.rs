//! Memory between the baseline and the target, taken apart. `docs/memory.md` argues each definition.
//!
//! The closing sum (`docs/memory.md`): what `MemFree` lost is what the rows of `/proc/meminfo` gained, plus what went to
//! the per-CPU lists of free pages. The cost of the connections is that sum without page cache, without the per-CPU
//! lists, and without programs that are none of our workers.

use crate::domain::{CgroupSample, MemInfo, Reading, Role, Sample, SlabCache, WorkerId};

use super::processor::process;
use super::story::Story;
use crate::report::model::{
    Account, CgroupRow, FloatBytes, MemoryDetail, Part, ProcessRow, SlabRow,
};

/// What memory is compared between: two samples, with the connections at the second.
pub(super) struct Span<'a> {
    pub(super) base: &'a Sample,
    pub(super) target: &'a Sample,
    pub(super) connections: f64,
    /// The moments, in a sentence.
    pub(super) between: String,
    /// Bytes of a page.
    pub(super) page: f64,
}

/// Takes memory apart.
pub(super) fn detail(span: &Span<'_>, story: &Story) -> Reading<MemoryDetail> {
    let (base, target) = match (&span.base.memory, &span.target.memory) {
        (Reading::Present(base), Reading::Present(target)) => (base, target),
        (Reading::Missing(gap), _) | (_, Reading::Missing(gap)) => {
            return Reading::missing(format!("/proc/meminfo: {}", gap.gap));
        }
    };
    if span.connections < 1.0 {
        return Reading::missing("no connection was open at the target");
    }
    let per_cpu_free = per_cpu_free(span);
    let parts = parts(base, target);
    let of = |account: Account| -> f64 {
        let rows = parts.iter().filter(|part| part.account == account);
        rows.map(|part| part.delta).sum()
    };
    let free_drop = -growth(target.free.as_f64(), base.free.as_f64());
    let on_lists = per_cpu_free.present().map_or(0.0, |bytes| bytes.0);
    let explained = of(Account::Kernel) + of(Account::Programs) + of(Account::Cache) + on_lists;
    let residual = free_drop - explained;
    let processes = processes(span, story);
    let user_of = |server: bool| {
        let rows = processes
            .iter()
            .filter(|row| row.worker.is_server() == server);
        let each: Vec<f64> = rows.map(|row| row.anonymous + row.page_tables).collect();
        (!each.is_empty()).then(|| each.iter().sum::<f64>())
    };
    let server_user = user_of(true);
    let client_user = user_of(false);
    Reading::Present(MemoryDetail {
        connections: span.connections,
        between: span.between.clone(),
        free_drop,
        per_cpu_free,
        // Pages that the kernel took without a row of their own are in the residual: they are the kernel's too.
        kernel: of(Account::Kernel) + residual,
        parts,
        residual,
        user: server_user.unwrap_or(0.0) + client_user.unwrap_or(0.0),
        server_user,
        client_user,
        available_drop: match (&base.available, &target.available) {
            (Reading::Present(base), Reading::Present(target)) => {
                Reading::Present(FloatBytes(base.as_f64() - target.as_f64()))
            }
            (Reading::Missing(gap), _) | (_, Reading::Missing(gap)) => {
                Reading::Missing(gap.clone())
            }
        },
        slabs: slabs(span),
        processes,
        cgroups: cgroups(span, story),
        tcp_memory_pages: span
            .target
            .namespaces
            .first()
            .and_then(|namespace| namespace.sockets.present())
            .map(|sockets| sockets.tcp_memory.pages()),
    })
}

/// Bytes beyond the baseline at any sample: the kernel's and the workers', as [`detail`] counts them.
pub(super) fn beyond(base: &Sample, now: &Sample, page: f64) -> Option<f64> {
    let (then, memory) = (base.memory.present()?, now.memory.present()?);
    let span = Span {
        base,
        target: now,
        connections: 1.0,
        between: String::new(),
        page,
    };
    let lists = per_cpu_free(&span).present().map_or(0.0, |bytes| bytes.0);
    let cache_and_programs: f64 = parts(then, memory)
        .iter()
        .filter(|part| matches!(part.account, Account::Cache | Account::Programs))
        .map(|part| part.delta)
        .sum();
    let workers: f64 = now
        .processes
        .iter()
        .filter_map(|process| own_growth(base, now, process.worker))
        .map(|(anonymous, tables)| anonymous + tables)
        .sum();
    let free_drop = -growth(memory.free.as_f64(), then.free.as_f64());
    Some(free_drop - lists - cache_and_programs + workers)
}

fn growth(now: f64, then: f64) -> f64 {
    now - then
}

fn per_cpu_free(span: &Span<'_>) -> Reading<FloatBytes> {
    match (&span.base.per_cpu_free, &span.target.per_cpu_free) {
        (Reading::Present(base), Reading::Present(target)) => Reading::Present(FloatBytes(
            (target.pages() as f64 - base.pages() as f64) * span.page,
        )),
        (Reading::Missing(gap), _) | (_, Reading::Missing(gap)) => Reading::Missing(gap.clone()),
    }
}

fn parts(base: &MemInfo, target: &MemInfo) -> Vec<Part> {
    let part = |name, account, field: fn(&MemInfo) -> crate::domain::Bytes| Part {
        name,
        delta: growth(field(target).as_f64(), field(base).as_f64()),
        account,
    };
    let mut parts = vec![
        part("SReclaimable (slab)", Account::Kernel, |memory| {
            memory.slab_reclaimable
        }),
        part("SUnreclaim (slab)", Account::Kernel, |memory| {
            memory.slab_unreclaimable
        }),
        part("KernelStack", Account::Kernel, |memory| memory.kernel_stack),
        part("VmallocUsed", Account::Kernel, |memory| memory.vmalloc),
        part("AnonPages", Account::Programs, |memory| memory.anonymous),
        part("PageTables", Account::Programs, |memory| memory.page_tables),
        part("Cached", Account::Cache, |memory| memory.cached),
        part("Buffers", Account::Cache, |memory| memory.buffers),
    ];
    // Where the kernel does not tell it, it is in the residual.
    if let (Reading::Present(base), Reading::Present(target)) = (&base.per_cpu, &target.per_cpu) {
        parts.push(Part {
            name: "Percpu",
            delta: growth(target.as_f64(), base.as_f64()),
            account: Account::Kernel,
        });
    }
    parts
}

/// `RssAnon` and page tables that a worker has gained since the baseline. A worker that was not there yet has gained
/// all that it has.
fn own_growth(base: &Sample, now: &Sample, worker: WorkerId) -> Option<(f64, f64)> {
    let now = process(now, worker)?;
    let then = process(base, worker);
    let before = |field: fn(&crate::domain::ProcessSample) -> crate::domain::Bytes| {
        then.map_or(0.0, |then| field(then).as_f64())
    };
    Some((
        now.anonymous.as_f64() - before(|process| process.anonymous),
        now.page_tables.as_f64() - before(|process| process.page_tables),
    ))
}

fn processes(span: &Span<'_>, story: &Story) -> Vec<ProcessRow> {
    let rows = span.target.processes.iter().filter_map(|process| {
        let (anonymous, page_tables) = own_growth(span.base, span.target, process.worker)?;
        Some(ProcessRow {
            worker: process.worker,
            connections: connections_of(process.worker, span, story),
            anonymous,
            page_tables,
            threads: process.threads,
        })
    });
    rows.collect()
}

/// What a worker held at the target: a client as it says itself, the server as many as there were.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count of connections
fn connections_of(worker: WorkerId, span: &Span<'_>, story: &Story) -> u64 {
    if worker.is_server() {
        return span.connections as u64;
    }
    story
        .counters_at(worker, span.target.at_seconds)
        .map_or(0, |counters| counters.established.count())
}

fn cgroups(span: &Span<'_>, story: &Story) -> Vec<CgroupRow> {
    let rows = span.target.cgroups.iter().filter_map(|now| {
        let mut before = span.base.cgroups.iter();
        let then = before.find(|group| group.worker == now.worker)?;
        let grown = |field: fn(&CgroupSample) -> &Reading<crate::domain::Bytes>| match (
            field(then),
            field(now),
        ) {
            (Reading::Present(then), Reading::Present(now)) => {
                Reading::Present(FloatBytes(now.as_f64() - then.as_f64()))
            }
            (Reading::Missing(gap), _) | (_, Reading::Missing(gap)) => {
                Reading::Missing(gap.clone())
            }
        };
        Some(CgroupRow {
            worker: now.worker,
            version: now.version,
            connections: connections_of(now.worker, span, story),
            charged: now.charged.as_f64() - then.charged.as_f64(),
            kernel: grown(|group| &group.kernel),
            sockets: grown(|group| &group.sockets),
        })
    });
    rows.collect()
}

/// Objects below this number per connection are not of the connections: the largest share of one source address is
/// 1/16, of one page of vectors 1/32.
const FEWEST_PER_CONNECTION: f64 = 0.02;

fn slabs(span: &Span<'_>) -> Reading<Vec<SlabRow>> {
    let (base, target) = match (&span.base.slabs, &span.target.slabs) {
        (Reading::Present(base), Reading::Present(target)) => (base, target),
        (Reading::Missing(gap), _) | (_, Reading::Missing(gap)) => {
            return Reading::Missing(gap.clone());
        }
    };
    let before = |name: &str| base.iter().find(|cache| cache.name == name);
    let mut rows: Vec<SlabRow> = target
        .iter()
        .map(|cache| {
            let then = before(&cache.name);
            let objects = then.map_or(0.0, |then| then.objects as f64);
            let pages = then.map_or(0.0, |then| then.pages.as_f64());
            SlabRow {
                name: cache.name.clone(),
                merged: cache.merged.clone(),
                objects: cache.objects as f64 - objects,
                bytes: cache.pages.as_f64() - pages,
                side: exclusive_side(cache),
            }
        })
        .filter(|row| {
            row.objects / span.connections >= FEWEST_PER_CONNECTION
                && row.bytes / span.connections >= 1.0
        })
        .collect();
    rows.sort_by(|one, other| other.bytes.total_cmp(&one.bytes));
    Reading::Present(rows)
}

/// Which end has objects of this kind, where only one has. Bind buckets are made by bind(2) and connect(2), and those
/// of accepted sockets are the listener's (`net/ipv4/inet_hashtables.c`, 6.12); request socks live until accept(2)
/// (`net/ipv4/inet_connection_sock.c`). A cache that others are merged into belongs to nobody alone.
fn exclusive_side(cache: &SlabCache) -> Option<Role> {
    if cache.merged.iter().any(|name| *name != cache.name) {
        return None;
    }
    match cache.name.as_str() {
        "tcp_bind_bucket" | "tcp_bind2_bucket" => Some(Role::Client),
        "request_sock_TCP" => Some(Role::Server),
        _ => None,
    }
}
