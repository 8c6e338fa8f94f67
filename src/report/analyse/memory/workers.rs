//! The workers: their own memory, their control groups, and what of it could not be read.

use crate::domain::{
    Bytes, CgroupSample, ProcessSample, Reading, Role, Sample, WorkerGap, WorkerId,
};

use super::{Known, Span};
use crate::report::analyse::processor::process;
use crate::report::analyse::server::tree;
use crate::report::analyse::story::Story;
use crate::report::model::{CgroupRow, FloatBytes, ProcessRow, Sides};

/// `RssAnon` and page tables that a worker has gained since the baseline. A worker that was not there yet has gained all that it
/// has.
fn own_growth(base: &Sample, now: &Sample, worker: WorkerId) -> Option<(f64, f64)> {
    let now = process(now, worker)?;
    let then = process(base, worker);
    let before = |field: fn(&ProcessSample) -> Bytes| then.map_or(0.0, |then| field(then).as_f64());
    Some((
        now.anonymous.as_f64() - before(|process| process.anonymous),
        now.page_tables.as_f64() - before(|process| process.page_tables),
    ))
}

/// Whether the server has other processes than before: those that fork(2) has made share their pages with the first one, and
/// `RssAnon` counts such a page once for each of them.
pub(super) fn has_forked(base: &Sample, now: &Sample) -> bool {
    let processes = |sample| tree(sample).map(|tree| tree.processes);
    match (processes(base), processes(now)) {
        (Some(then), Some(now)) => now != then,
        _ => false,
    }
}

/// By how much the server's own memory has grown, where it has forked: its proportional share, in which every page counts
/// once, as far as that is less. Nothing where it was not read.
fn by_share(base: &Sample, now: &Sample, anonymous: f64) -> Option<f64> {
    let share = |sample| {
        let share = tree(sample)?.proportional.as_ref()?;
        Some(share.present()?.as_f64())
    };
    Some(anonymous.min(share(now)? - share(base)?))
}

/// `RssAnon` and page tables that a worker has gained, every page once; nothing where that is not known.
pub(super) fn growth(base: &Sample, now: &Sample, worker: WorkerId) -> Option<(f64, f64)> {
    let (anonymous, tables) = own_growth(base, now, worker)?;
    if worker.is_server() && has_forked(base, now) {
        return Some((by_share(base, now, anonymous)?, tables));
    }
    Some((anonymous, tables))
}

/// Each worker process that was read.
pub(super) fn processes(span: &Span<'_>, story: &Story) -> Vec<ProcessRow> {
    let rows = span.target.processes.iter().filter_map(|now| {
        let (anonymous, page_tables) = growth(span.base, span.target, now.worker)?;
        let then = process(span.base, now.worker);
        Some(ProcessRow {
            worker: now.worker,
            connections: connections_of(now.worker, span, story),
            anonymous,
            page_tables,
            threads: now.threads,
            threads_grown: now.threads as f64 - then.map_or(0.0, |then| then.threads as f64),
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

/// Each side's own memory, or which of its processes is not known.
pub(super) fn user(span: &Span<'_>, known: Known<'_>, processes: &[ProcessRow]) -> Sides {
    let side = |role: Role| -> Reading<FloatBytes> {
        let workers = workers_of(span, known, role);
        if workers.is_empty() {
            return Reading::missing("none of its processes is in the samples");
        }
        let mut sum = 0.0;
        for worker in workers {
            if let Some(gap) = unread(&span.base.process_gaps, worker) {
                return Reading::missing(format!("{worker} at the baseline: {gap}"));
            }
            match processes.iter().find(|row| row.worker == worker) {
                Some(row) => sum += row.anonymous + row.page_tables,
                None => {
                    return Reading::missing(match unread(&span.target.process_gaps, worker) {
                        Some(gap) => format!("{worker}: {gap}"),
                        None if has_forked(span.base, span.target) => {
                            "it started processes, which share pages, and their proportional share was not read".to_owned()
                        }
                        None => format!("{worker} is not in the sample of the target"),
                    });
                }
            }
        }
        Reading::Present(FloatBytes(sum))
    };
    Sides {
        server: side(Role::Server),
        client: side(Role::Client),
    }
}

/// The workers of one role that should be in the samples: those of the story and of the target, without those that had died.
fn workers_of(span: &Span<'_>, known: Known<'_>, role: Role) -> Vec<WorkerId> {
    let story = known.story;
    let mut workers: Vec<WorkerId> = story
        .workers
        .iter()
        .filter(|(_, told)| told.died.is_none())
        .map(|(worker, _)| *worker)
        .chain(span.target.processes.iter().map(|process| process.worker))
        .filter(|worker| worker.is_server() == (role == Role::Server))
        .collect();
    workers.sort_unstable();
    workers.dedup();
    workers
}

fn unread(gaps: &[WorkerGap], worker: WorkerId) -> Option<&str> {
    let mut gaps = gaps.iter();
    gaps.find(|gap| gap.worker == worker)
        .map(|gap| gap.gap.as_str())
}

/// Each control group that was read.
pub(super) fn cgroups(span: &Span<'_>, story: &Story) -> Vec<CgroupRow> {
    let rows = span.target.cgroups.iter().filter_map(|now| {
        let mut before = span.base.cgroups.iter();
        let then = before.find(|group| group.worker == now.worker)?;
        let grown = |field: fn(&CgroupSample) -> &Reading<Bytes>| match (field(then), field(now)) {
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

/// A `tcp_sock` alone is larger than this, on every 64-bit kernel from 5.9 on: a smaller charge lacks it.
const LEAST_CHARGE_WITH_SOCKET: f64 = 2000.0;

/// Kernel memory charged to the control groups of each side, without page tables, or why it says nothing.
pub(super) fn charged(span: &Span<'_>, known: Known<'_>, processes: &[ProcessRow]) -> Sides {
    let groups = cgroups(span, known.story);
    let side = |role: Role| -> Reading<FloatBytes> {
        let mut charged = 0.0;
        for worker in workers_of(span, known, role) {
            for sample in [span.base, span.target] {
                if let Some(gap) = unread(&sample.cgroup_gaps, worker) {
                    return Reading::missing(format!("the control group of {worker}: {gap}"));
                }
            }
            let Some(group) = groups.iter().find(|group| group.worker == worker) else {
                return Reading::missing("its processes have no control group of their own here");
            };
            match &group.kernel {
                Reading::Present(bytes) => charged += bytes.0,
                Reading::Missing(gap) => return Reading::Missing(gap.clone()),
            }
            let own = processes.iter().find(|row| row.worker == worker);
            charged -= own.map_or(0.0, |row| row.page_tables);
        }
        let each = charged / span.connections;
        if each < LEAST_CHARGE_WITH_SOCKET {
            return Reading::missing(format!(
                "only {each:.0} B per connection are charged: this kernel does not charge the sockets themselves there (before Linux 6.12, or control groups of version 1 without a limit on TCP memory)"
            ));
        }
        Reading::Present(FloatBytes(charged))
    };
    Sides {
        server: side(Role::Server),
        client: side(Role::Client),
    }
}

/// What could not be read of the two samples, each with its reason.
pub(super) fn gaps(span: &Span<'_>) -> Vec<String> {
    let mut gaps = Vec::new();
    for (sample, when) in [(span.base, "baseline"), (span.target, "target")] {
        if let Some(gap) = sample.slabs.gap() {
            gaps.push(format!("kernel objects at the {when}: {gap}"));
        }
        if let Some(gap) = sample.per_cpu_free.gap() {
            gaps.push(format!("free pages on per-CPU lists at the {when}: {gap}"));
        }
        if let Some(why) = &sample.merging_unknown {
            gaps.push(format!(
                "which slab caches share their slabs at the {when}: {why}"
            ));
        }
        for gap in &sample.process_gaps {
            gaps.push(format!(
                "the process of {} at the {when}: {}",
                gap.worker, gap.gap
            ));
        }
        for gap in &sample.cgroup_gaps {
            gaps.push(format!(
                "the control group of {} at the {when}: {}",
                gap.worker, gap.gap
            ));
        }
    }
    gaps
}
