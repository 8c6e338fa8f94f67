//! Files of one process: `status`, `stat`, `statm`, `limits` (proc(5), `fs/proc/array.c`, `fs/proc/task_mmu.c`).

use super::{Malformed, number};
use crate::domain::{Bytes, Limit};

/// What `status` tells.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// Anonymous memory, and memory with a file behind it or shared; absent before Linux 4.5, where `statm` has it.
    pub(super) resident: Option<(Bytes, Bytes)>,
    pub(super) page_tables: Bytes,
    pub(super) virtual_size: Bytes,
    pub(super) threads: u64,
}

/// Ticks of `USER_HZ` that the process has used, threads that ended included.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) user: u64,
    pub(super) system: u64,
}

/// `Max open files`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResourceLimits {
    /// What binds now, for each descriptor table.
    pub soft: Limit<u64>,
    /// What the process may raise it to.
    pub hard: Limit<u64>,
}

pub(super) fn status(text: &str) -> Result<Status, Malformed> {
    let kib = |name: &str| row(text, name).map(Bytes::from_kib);
    let resident = match (kib("RssAnon"), kib("RssFile"), kib("RssShmem")) {
        (Ok(anonymous), Ok(file), Ok(shared)) => Some((anonymous, file + shared)),
        _ => None,
    };
    Ok(Status {
        resident,
        page_tables: kib("VmPTE")?,
        virtual_size: kib("VmSize")?,
        threads: row(text, "Threads")?,
    })
}

/// The second field is the name in brackets and may contain anything, brackets and spaces too: the fields begin behind
/// the last bracket.
pub(super) fn times(text: &str) -> Result<Times, Malformed> {
    let (_, behind_name) = text
        .rsplit_once(')')
        .ok_or_else(|| Malformed("there is no name in brackets".into()))?;
    // Field 3 (state) comes first here; utime and stime are fields 14 and 15.
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    Ok(Times {
        user: number(fields.next(), "utime")?,
        system: number(fields.next(), "stime")?,
    })
}

/// Resident and shared are the second and third column, in pages; shared is what has a file behind it, shared memory too.
pub(super) fn resident_of_statm(text: &str, page: Bytes) -> Result<(Bytes, Bytes), Malformed> {
    let mut fields = text.split_ascii_whitespace().skip(1);
    let resident = page.times(number(fields.next(), "resident")?);
    let shared = page.times(number(fields.next(), "shared")?);
    Ok((resident.saturating_sub(shared), shared))
}

pub(super) fn descriptor_limits(text: &str) -> Result<ResourceLimits, Malformed> {
    limits(text, "Max open files")
}

/// `Max processes`, which counts all tasks of the process's real user.
pub(super) fn task_limits(text: &str) -> Result<ResourceLimits, Malformed> {
    limits(text, "Max processes")
}

fn limits(text: &str, row: &str) -> Result<ResourceLimits, Malformed> {
    let mut fields = text
        .lines()
        .find_map(|line| line.strip_prefix(row))
        .ok_or_else(|| Malformed(format!("there is no row {row}")))?
        .split_ascii_whitespace();
    let mut limit = |name: &str| match fields.next() {
        Some("unlimited") => Ok(Limit::Unlimited),
        field => number(field, name).map(Limit::At),
    };
    Ok(ResourceLimits {
        soft: limit("the soft limit")?,
        hard: limit("the hard limit")?,
    })
}

pub(super) fn row(text: &str, name: &str) -> Result<u64, Malformed> {
    let rest = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .ok_or_else(|| Malformed(format!("there is no {name}")))?;
    number(rest.split_ascii_whitespace().next(), name)
}
