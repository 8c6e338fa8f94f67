//! `/proc/net/sockstat` (`net/ipv4/proc.c`): sockets in use. The column `mem` is in pages.

use super::{Malformed, number};
use crate::domain::{Pages, SocketStat};

/// The rows `sockets:` and `TCP:`.
pub(super) fn parse(text: &str) -> Result<SocketStat, Malformed> {
    let used = row(text, "sockets")?;
    let tcp = row(text, "TCP")?;
    Ok(SocketStat {
        sockets_used: column(used, "used")?,
        tcp_in_use: column(tcp, "inuse")?,
        orphans: column(tcp, "orphan")?,
        time_wait: column(tcp, "tw")?,
        tcp_allocated: column(tcp, "alloc")?,
        tcp_memory: Pages::new(column(tcp, "mem")?),
    })
}

fn row<'text>(text: &'text str, name: &str) -> Result<&'text str, Malformed> {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .ok_or_else(|| Malformed(format!("there is no row {name}")))
}

/// The number behind the word `name`. The counters are sums over processors without a lock: the kernel shows a negative
/// sum as 0, but very old kernels did not.
fn column(row: &str, name: &str) -> Result<u64, Malformed> {
    let mut words = row.split_ascii_whitespace();
    words
        .by_ref()
        .find(|word| *word == name)
        .ok_or_else(|| Malformed(format!("there is no column {name}")))?;
    number(words.next(), name)
}
