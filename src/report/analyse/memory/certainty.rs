//! How sure the figures are: what partly filled slabs make of a small number of connections, and what a machine that is not
//! still makes of any.

use crate::domain::{Mark, MemoryBasis, Reading};

use super::counts::{Counts, kinds};
use super::{Known, Span};
use crate::report::model::{FloatBytes, MemoryDetail};
use crate::report::number::{bytes_each, grouped, percent};

/// Relative uncertainty above which a quotient is not told.
const LARGEST_UNCERTAINTY: f64 = 0.02;

/// Share of the cost above which what `MemFree` does not explain makes the figure doubtful.
const RESIDUAL_SHARE: f64 = 0.01;

/// Bytes of it that say nothing: the kernel sums up its counters of pages once a second, and until then each processor keeps up to
/// 125 pages of each to itself (`mm/vmstat.c`).
const RESIDUAL_NOISE: f64 = 1024.0 * 1024.0;

/// Share of the cost above which what no row explains makes the figure doubtful.
const UNEXPLAINED_SHARE: f64 = 0.02;

/// Share of the sockets by which the growth of their cache may be off.
const OBJECTS_SHARE: f64 = 0.01;

/// By how much the growth of slabs may be off. A processor keeps a slab of each cache to itself, which is filled to any degree, at
/// either moment. Where the caches were not shrunk before, the slabs that wait for a processor or in the cache's own list may
/// have had room that the connections then took without any growth (`mm/slub.c`, `set_cpu_partial`, `set_min_partial`).
pub(super) fn uncertainty(
    span: &Span<'_>,
    known: Known<'_>,
    detail: &MemoryDetail,
) -> Reading<FloatBytes> {
    let Some(facts) = known.facts else {
        return Reading::missing("the number of processors is not known");
    };
    let processors = facts.cpus.max(1) as f64;
    let shrunk = known
        .story
        .shrunk
        .get(&Mark::Baseline)
        .copied()
        .unwrap_or(detail.basis == MemoryBasis::Counted);
    let caches = kinds().filter_map(|kind| {
        let row = detail
            .rows
            .iter()
            .find(|row| row.object.split(", ").any(|name| name == kind))?;
        let share = row.bytes / row.objects.filter(|objects| *objects > 0.0)?;
        let slab = slab_bytes(share, span.page);
        let own = 2.0 * processors;
        let waiting = if shrunk {
            0.0
        } else {
            processors * waiting_slabs(share, slab) + LEAST_PARTIAL
        };
        Some(slab * (own + waiting))
    });
    Reading::Present(FloatBytes(caches.sum()))
}

/// Slabs that a cache's own list keeps though they are empty.
const LEAST_PARTIAL: f64 = 5.0;

/// Slabs that may wait for one processor: those for so many objects, taken for half full.
fn waiting_slabs(share: f64, slab: f64) -> f64 {
    let objects = if share >= 1024.0 {
        24.0
    } else if share >= 256.0 {
        52.0
    } else {
        120.0
    };
    (objects * 2.0 * share / slab).ceil()
}

/// Bytes of a slab of objects with such a share, as the allocator chooses for the caches of a connection.
fn slab_bytes(share: f64, page: f64) -> f64 {
    if share >= 1024.0 {
        page * 8.0
    } else if share >= 512.0 {
        page * 4.0
    } else {
        page
    }
}

/// Why the quotient says nothing.
pub(super) fn not_measurable(detail: &MemoryDetail) -> Option<String> {
    let uncertainty = detail.uncertainty.present()?.0;
    let share = uncertainty / detail.total().abs().max(1.0);
    if share <= LARGEST_UNCERTAINTY {
        return None;
    }
    let each = detail.total().abs() / detail.connections;
    let enough = uncertainty / LARGEST_UNCERTAINTY / each.max(1.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a small positive count
    let enough = (enough / 1000.0).ceil() as u64 * 1000;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count of connections
    let connections = detail.connections as u64;
    Some(format!(
        "not measurable at {} connections: partly filled slabs may make up {} of the growth; from about {} connections on it is less than {}",
        grouped(connections),
        percent(share),
        grouped(enough.max(1000)),
        percent(LARGEST_UNCERTAINTY)
    ))
}

/// What speaks against the figure.
pub(super) fn disturbed(
    span: &Span<'_>,
    counts: &Reading<Counts>,
    detail: &MemoryDetail,
) -> Option<String> {
    let total = detail.total().abs();
    let each = |bytes: f64| bytes_each(bytes / detail.connections);
    let mut reasons = Vec::new();
    if let Some(residual) = detail.residual.present()
        && residual.0.abs() > (RESIDUAL_SHARE * total).max(RESIDUAL_NOISE)
    {
        let (more, less) = if residual.0 > 0.0 {
            ("more", "was taken by something that no row names")
        } else {
            ("less", "came free from something that no row names")
        };
        reasons.push(format!(
            "`MemFree` fell by {} per connection {more} than all rows of /proc/meminfo explain: {} {less} between baseline and target",
            each(residual.0.abs()),
            crate::report::number::bytes(residual.0.abs())
        ));
    }
    if detail.not_split.is_none()
        && detail.unexplained.abs() > UNEXPLAINED_SHARE * total
        && detail.not_measurable.is_none()
    {
        reasons.push(format!(
            "{} per connection, {} of the whole, are in no row of the connections",
            each(detail.unexplained),
            percent(detail.unexplained_fraction().abs())
        ));
    }
    if let Some((grown, known)) = sockets(span, counts)
        && (grown - known).abs() > OBJECTS_SHARE * known + SOCKETS_NOISE
    {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // counts
        let (grown, known) = (grown.max(0.0) as u64, known as u64);
        reasons.push(format!(
            "the slab cache of TCP sockets grew by {} objects, where {} sockets were opened",
            grouped(grown),
            grouped(known)
        ));
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// Objects on the slabs of processors count as used, whether they are or not.
const SOCKETS_NOISE: f64 = 200.0;

/// By how many objects the cache of TCP sockets grew, and how many sockets there are.
fn sockets(span: &Span<'_>, counts: &Reading<Counts>) -> Option<(f64, f64)> {
    let of = |caches: &[crate::domain::SlabCache]| {
        let mut caches = caches.iter();
        caches
            .find(|cache| cache.name == "TCP" && cache.merged.len() < 2)
            .map(|cache| cache.objects as f64)
    };
    let base = of(span.base.slabs.present()?)?;
    let target = of(span.target.slabs.present()?)?;
    Some((target - base, counts.present()?.sockets().both()))
}
