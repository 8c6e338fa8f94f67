//! Memory between the baseline and the target: what connections cost, by attribution, and how sure that is.
//! `docs/memory.md` argues each definition.

mod account;
mod certainty;
mod closing;
mod counts;
mod figures;
mod ground;
mod tables;
mod vectors;
mod workers;

use crate::domain::{HostFacts, MemoryBasis, Reading, RunSummary, Sample, WorkerId};

use super::story::Story;
use crate::report::model::{FloatBytes, MemoryDetail};

pub(super) use figures::memory_result;

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

/// What else the account is made from.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) story: &'a Story,
    pub(super) summary: Option<&'a RunSummary>,
    pub(super) facts: Option<&'a HostFacts>,
}

/// Takes memory apart.
pub(super) fn detail(span: &Span<'_>, known: Known<'_>) -> Reading<MemoryDetail> {
    let (base, target) = match (&span.base.memory, &span.target.memory) {
        (Reading::Present(base), Reading::Present(target)) => (base, target),
        (Reading::Missing(gap), _) | (_, Reading::Missing(gap)) => {
            return Reading::missing(format!("/proc/meminfo: {}", gap.gap));
        }
    };
    if span.connections < 1.0 {
        return Reading::missing("no connection was open at the target");
    }
    let parts = closing::parts(base, target);
    let free_drop = base.free.as_f64() - target.free.as_f64();
    let per_cpu_free = closing::per_cpu_free(span);
    let residual = closing::residual(free_drop, &parts, &per_cpu_free);
    let counts = counts::of(span, known);
    let processes = workers::processes(span, known.story);
    let built = account::build(&ground::Ground {
        span,
        known,
        parts: &parts,
        counts: &counts,
        processes: &processes,
    });
    let mut detail = MemoryDetail {
        connections: span.connections,
        between: span.between.clone(),
        rows: built.rows,
        outside: tables::outside(known.summary),
        basis: if span.base.slabs.present().is_some() && span.target.slabs.present().is_some() {
            MemoryBasis::Counted
        } else {
            MemoryBasis::Modelled
        },
        not_split: counts.gap().map(str::to_owned),
        unexplained: built.unexplained,
        reused: built.reused,
        user: workers::user(span, known, &processes),
        by_share: workers::has_forked(span.base, span.target),
        charged: workers::charged(span, known, &processes),
        uncertainty: Reading::missing("not computed"),
        not_measurable: None,
        disturbed: None,
        free_drop,
        per_cpu_free,
        parts,
        residual,
        available_drop: match (&base.available, &target.available) {
            (Reading::Present(base), Reading::Present(target)) => {
                Reading::Present(FloatBytes(base.as_f64() - target.as_f64()))
            }
            (Reading::Missing(gap), _) | (_, Reading::Missing(gap)) => {
                Reading::Missing(gap.clone())
            }
        },
        file_cache_growth: target.file_cache.as_f64() - base.file_cache.as_f64(),
        processes,
        cgroups: workers::cgroups(span, known.story),
        gaps: workers::gaps(span),
        tcp_memory_pages: span
            .target
            .namespaces
            .first()
            .and_then(|namespace| namespace.sockets.present())
            .map(|sockets| sockets.tcp_memory.pages()),
    };
    detail.uncertainty = certainty::uncertainty(span, known, &detail);
    detail.not_measurable = certainty::not_measurable(&detail);
    detail.disturbed = certainty::disturbed(span, &counts, &detail);
    Reading::Present(detail)
}

/// Bytes by which the server's own memory and its page tables have grown; nothing where they could not be read.
pub(super) fn server_growth(base: &Sample, now: &Sample) -> Option<f64> {
    let (anonymous, tables) = workers::growth(base, now, WorkerId::SERVER)?;
    Some(anonymous + tables)
}

/// Bytes beyond the baseline at any sample: the kernel's and the workers', as [`detail`] counts them. Nothing where a
/// worker could not be read.
pub(super) fn beyond(base: &Sample, now: &Sample) -> Option<f64> {
    let parts = closing::parts(base.memory.present()?, now.memory.present()?);
    if !now.process_gaps.is_empty() {
        return None;
    }
    let mut workers = 0.0;
    for process in &now.processes {
        let (anonymous, tables) = workers::growth(base, now, process.worker)?;
        workers += anonymous + tables;
    }
    Some(closing::kernel(&parts) + workers)
}
