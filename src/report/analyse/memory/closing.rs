//! The closing sum: what `MemFree` lost is what the rows of `/proc/meminfo` gained, plus what went to the per-CPU lists of
//! free pages. It checks the account; no figure is taken from it.

use crate::domain::{Bytes, MemInfo, Reading};

use super::Span;
use crate::report::model::{Account, FloatBytes, Part};

/// How each row grew.
pub(super) fn parts(base: &MemInfo, target: &MemInfo) -> Vec<Part> {
    let part = |name, account, field: fn(&MemInfo) -> Bytes| Part {
        name,
        delta: field(target).as_f64() - field(base).as_f64(),
        account,
    };
    let stacks = part("KernelStack", Account::Kernel, |memory| memory.kernel_stack);
    let mut vmalloc = part("VmallocUsed", Account::Kernel, |memory| memory.vmalloc);
    // Stacks that are made by vmalloc (CONFIG_VMAP_STACK) are in both rows, and VmallocUsed is then never the smaller one.
    if base.vmalloc >= base.kernel_stack && target.vmalloc >= target.kernel_stack {
        vmalloc.name = "VmallocUsed, without stacks";
        vmalloc.delta -= stacks.delta;
    }
    let mut parts = vec![
        part("SReclaimable (slab)", Account::Kernel, |memory| {
            memory.slab_reclaimable
        }),
        part("SUnreclaim (slab)", Account::Kernel, |memory| {
            memory.slab_unreclaimable
        }),
        stacks,
        vmalloc,
        part("AnonPages", Account::Programs, |memory| memory.anonymous),
        part("PageTables", Account::Programs, |memory| memory.page_tables),
        part("Cached", Account::Cache, |memory| memory.cached),
        part("Buffers", Account::Cache, |memory| memory.buffers),
    ];
    // Before Linux 5.0 the kernel does not tell it: it is then in the residual.
    if let (Reading::Present(base), Reading::Present(target)) = (&base.per_cpu, &target.per_cpu) {
        parts.push(Part {
            name: "Percpu",
            delta: target.as_f64() - base.as_f64(),
            account: Account::Kernel,
        });
    }
    parts
}

/// The kernel's part.
pub(super) fn kernel(parts: &[Part]) -> f64 {
    let kernel = parts.iter().filter(|part| part.account == Account::Kernel);
    kernel.map(|part| part.delta).sum()
}

/// By how much `Slab` grew.
pub(super) fn slab(parts: &[Part]) -> f64 {
    let slab = parts.iter().filter(|part| part.name.ends_with("(slab)"));
    slab.map(|part| part.delta).sum()
}

/// By how much the free pages on per-CPU lists grew.
pub(super) fn per_cpu_free(span: &Span<'_>) -> Reading<FloatBytes> {
    match (&span.base.per_cpu_free, &span.target.per_cpu_free) {
        (Reading::Present(base), Reading::Present(target)) => Reading::Present(FloatBytes(
            (target.pages() as f64 - base.pages() as f64) * span.page,
        )),
        (Reading::Missing(gap), _) | (_, Reading::Missing(gap)) => Reading::Missing(gap.clone()),
    }
}

/// What the parts do not explain of the drop of `MemFree`.
pub(super) fn residual(
    free_drop: f64,
    parts: &[Part],
    per_cpu_free: &Reading<FloatBytes>,
) -> Reading<FloatBytes> {
    let explained: f64 = parts.iter().map(|part| part.delta).sum();
    per_cpu_free
        .clone()
        .map(|lists| FloatBytes(free_drop - explained - lists.0))
}
