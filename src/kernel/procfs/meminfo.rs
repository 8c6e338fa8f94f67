//! `/proc/meminfo` (`fs/proc/meminfo.c`): lines `Name: number kB`. Rows that every kernel since 2.6.32 has must be there;
//! those that came later (`MemAvailable` in 3.14, `Percpu` in 5.0) are gaps where they are missing.

use super::{Malformed, number};
use crate::domain::{Bytes, MemInfo, Reading};

/// Every row that is recorded.
pub(super) fn parse(text: &str) -> Result<MemInfo, Malformed> {
    let row = |name: &str| row(text, name);
    let later = |name: &str| match row(name) {
        Ok(bytes) => Reading::Present(bytes),
        Err(what) => Reading::missing(what.to_string()),
    };
    Ok(MemInfo {
        total: row("MemTotal")?,
        free: row("MemFree")?,
        available: later("MemAvailable"),
        buffers: row("Buffers")?,
        cached: row("Cached")?,
        anonymous: row("AnonPages")?,
        shared: row("Shmem")?,
        slab: row("Slab")?,
        slab_reclaimable: row("SReclaimable")?,
        slab_unreclaimable: row("SUnreclaim")?,
        kernel_stack: row("KernelStack")?,
        page_tables: row("PageTables")?,
        vmalloc: row("VmallocUsed")?,
        per_cpu: later("Percpu"),
        file_cache: row("Active(file)")? + row("Inactive(file)")?,
        dirty: row("Dirty")? + row("Writeback")?,
        mapped: row("Mapped")?,
        swap_total: row("SwapTotal")?,
        swap_free: row("SwapFree")?,
    })
}

/// The row called `name`. The file has some sixty lines: looking through them for each costs less than a table would.
fn row(text: &str, name: &str) -> Result<Bytes, Malformed> {
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .ok_or_else(|| Malformed(format!("there is no {name}")))?;
    Ok(Bytes::from_kib(number(
        rest.split_ascii_whitespace().next(),
        name,
    )?))
}
