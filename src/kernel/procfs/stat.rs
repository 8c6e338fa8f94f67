//! `/proc/stat` (`fs/proc/stat.c`): processor time in ticks of `USER_HZ`, interrupts, context switches, softirqs.

use super::{Malformed, number};
use crate::domain::CpuTicks;

/// Where received packets stand in the row `softirq`, behind the total: `HI TIMER NET_TX NET_RX` (`linux/interrupt.h`, the
/// same order since 2.6.31).
const NET_RX_COLUMN: usize = 4;

/// The rows of all processors together.
pub(super) fn parse(text: &str) -> Result<CpuTicks, Malformed> {
    let mut times = row(text, "cpu")?;
    let mut ticks = |name: &str| number(times.next(), name);
    Ok(CpuTicks {
        user: ticks("user")?,
        nice: ticks("nice")?,
        system: ticks("system")?,
        idle: ticks("idle")?,
        iowait: ticks("iowait")?,
        irq: ticks("irq")?,
        softirq: ticks("softirq")?,
        steal: ticks("steal")?,
        context_switches: number(row(text, "ctxt")?.next(), "ctxt")?,
        interrupts: number(row(text, "intr")?.next(), "intr")?,
        running: number(row(text, "procs_running")?.next(), "procs_running")?,
        net_rx_softirqs: number(row(text, "softirq")?.nth(NET_RX_COLUMN), "NET_RX")?,
    })
}

/// The fields of the row called `name`.
fn row<'text>(
    text: &'text str,
    name: &str,
) -> Result<std::str::SplitAsciiWhitespace<'text>, Malformed> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .map(str::split_ascii_whitespace)
        .ok_or_else(|| Malformed(format!("there is no row {name}")))
}
