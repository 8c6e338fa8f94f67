//! `/proc/net/softnet_stat` (`net/core/net-procfs.c`): one row of hexadecimal columns for each processor, without names.
//! The second is what was dropped because the backlog (`net.core.netdev_max_backlog`) was full.

use super::Malformed;

/// Dropped packets, all processors together.
pub(super) fn dropped(text: &str) -> Result<u64, Malformed> {
    let mut sum: u64 = 0;
    let mut rows = 0;
    for line in text.lines() {
        let field = line
            .split_ascii_whitespace()
            .nth(1)
            .ok_or_else(|| Malformed("a row has no second column".into()))?;
        let dropped = u64::from_str_radix(field, 16)
            .map_err(|_| Malformed(format!("{field:?} is no hexadecimal number")))?;
        sum = sum.saturating_add(dropped);
        rows += 1;
    }
    if rows == 0 {
        return Err(Malformed("it is empty".into()));
    }
    Ok(sum)
}
