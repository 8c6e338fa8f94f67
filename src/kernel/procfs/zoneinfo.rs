//! `/proc/zoneinfo` (`mm/vmstat.c`): of it only the free pages that each processor keeps for itself. They are part of neither
//! `MemFree` nor any user of memory, and some 40 MB of them would otherwise be put down to the connections.

use super::{Malformed, number};
use crate::domain::Pages;

/// The sum of `count:` in all pagesets.
pub(super) fn per_cpu_free(text: &str) -> Result<Pages, Malformed> {
    let mut sum: u64 = 0;
    let mut pagesets = 0;
    for line in text.lines() {
        if let Some(count) = line.trim_start().strip_prefix("count:") {
            let pages = number(count.split_ascii_whitespace().next(), "count")?;
            sum = sum.saturating_add(pages);
            pagesets += 1;
        }
    }
    if pagesets == 0 {
        return Err(Malformed("there is no pageset".into()));
    }
    Ok(Pages::new(sum))
}
