//! Properties of the machine that never change while it runs: the size of a page, the processors that may ever be there.

use std::path::Path;

use crate::domain::Bytes;

/// Bytes in a page of memory.
#[must_use]
pub fn page_size() -> Bytes {
    Bytes::new(rustix::param::page_size() as u64)
}

/// How many processors this kernel may ever have (`/sys/devices/system/cpu/possible` below `root`); one where it cannot
/// be read. The slab allocator sizes its slabs by it.
#[must_use]
pub fn possible_cpus(root: &Path) -> u64 {
    std::fs::read_to_string(root.join("sys/devices/system/cpu/possible"))
        .ok()
        .and_then(|text| cpus_in_list(&text))
        .unwrap_or(1)
}

/// Counts the processors of a list such as `0-3,8`.
fn cpus_in_list(text: &str) -> Option<u64> {
    text.trim().split(',').try_fold(0, |sum: u64, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_counted() {
        assert_eq!(cpus_in_list("0-1\n"), Some(2));
        assert_eq!(cpus_in_list("0\n"), Some(1));
        assert_eq!(cpus_in_list("0-3,8,10-11\n"), Some(7));
        assert_eq!(cpus_in_list("3-1"), None);
        assert_eq!(cpus_in_list(""), None);
    }
}
