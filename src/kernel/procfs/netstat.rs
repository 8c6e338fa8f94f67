//! `/proc/net/snmp`, `/proc/net/netstat` and `/proc/net/stat/nf_conntrack` (`net/ipv4/proc.c`,
//! `net/netfilter/nf_conntrack_standalone.c`): pairs of lines, names above and numbers below. Which counters there are
//! depends on the kernel, so they keep their names.

use std::collections::BTreeMap;

use super::{Malformed, number};
use crate::domain::TcpCounters;

/// Columns of the row `Tcp` that are constants or a state of now, not counters.
const NO_COUNTERS: [&str; 5] = ["RtoAlgorithm", "RtoMin", "RtoMax", "MaxConn", "CurrEstab"];

/// The row `Tcp` of `snmp`.
pub(super) fn parse(text: &str) -> Result<TcpCounters, Malformed> {
    let mut established = None;
    let mut counters = BTreeMap::new();
    for (name, value) in columns(text, "Tcp")? {
        if name == "CurrEstab" {
            established = Some(number(Some(value), name)?);
        }
        if !NO_COUNTERS.contains(&name) {
            insert_counter(&mut counters, name, value)?;
        }
    }
    let established = established.ok_or_else(|| Malformed("there is no CurrEstab".into()))?;
    Ok(TcpCounters {
        established,
        counters,
    })
}

/// The row `TcpExt` of `netstat`.
pub(super) fn parse_extension(text: &str) -> Result<BTreeMap<String, u64>, Malformed> {
    let mut counters = BTreeMap::new();
    for (name, value) in columns(text, "TcpExt")? {
        insert_counter(&mut counters, name, value)?;
    }
    Ok(counters)
}

/// The column `entries` of the first processor's row: it is the count of the whole namespace, in hexadecimal, the same in
/// each row.
pub(super) fn conntrack_entries(text: &str) -> Result<u64, Malformed> {
    let mut lines = text.lines();
    let entries = lines
        .next()
        .and_then(|names| {
            names
                .split_ascii_whitespace()
                .position(|name| name == "entries")
        })
        .ok_or_else(|| Malformed("there is no column entries".into()))?;
    let field = lines
        .next()
        .and_then(|row| row.split_ascii_whitespace().nth(entries))
        .ok_or_else(|| Malformed("there is no row of numbers".into()))?;
    u64::from_str_radix(field, 16)
        .map_err(|_| Malformed(format!("entries is {field:?}, not a hexadecimal number")))
}

/// Names and values of the row called `row`. Both lines have the same number of fields.
fn columns<'text>(
    text: &'text str,
    row: &str,
) -> Result<impl Iterator<Item = (&'text str, &'text str)> + use<'text>, Malformed> {
    let mut rows = text
        .lines()
        .filter_map(|line| line.strip_prefix(row)?.strip_prefix(':'));
    match (rows.next(), rows.next()) {
        (Some(names), Some(values)) => {
            let (names, values) = (
                names.split_ascii_whitespace(),
                values.split_ascii_whitespace(),
            );
            Ok(names.zip(values))
        }
        _ => Err(Malformed(format!("there are no two lines {row}"))),
    }
}

fn insert_counter(
    counters: &mut BTreeMap<String, u64>,
    name: &str,
    value: &str,
) -> Result<(), Malformed> {
    let value = number(Some(value), name)?;
    if value != 0 {
        counters.insert(name.to_owned(), value);
    }
    Ok(())
}
