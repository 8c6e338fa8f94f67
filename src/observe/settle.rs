//! Quiet before a measurement. Freed sockets come back late, and a slab stays while one processor keeps it for itself: after
//! a pause the caches of connections are asked to give their empty slabs back (`/sys/kernel/slab/NAME/shrink`, root only).
//! Nothing else is touched: no setting, no page cache, no inode or directory entry that anybody uses.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::domain::Bytes;
use crate::kernel::procfs::{ProcError, Procfs};
use crate::kernel::sysconf::page_size;

/// The caches that are asked. `dentry` is left out: it is the whole machine's, and shrinking a large one takes long.
const CACHES: [&str; 9] = [
    "TCP",
    "tw_sock_TCP",
    "request_sock_TCP",
    "sock_inode_cache",
    "filp",
    "eventpoll_epi",
    "eventpoll_pwq",
    "tcp_bind_bucket",
    "tcp_bind2_bucket",
];

/// Within this time after a close the kernel has freed what waits for RCU, and delayed work has run.
pub const SETTLING_PAUSE: Duration = Duration::from_secs(2);

/// Two looks are so far apart.
pub const SETTLING_TURN: Duration = Duration::from_millis(500);

/// A machine that is not still after this time is measured all the same, and the report says so.
pub const SETTLING_TAKES_AT_MOST: Duration = Duration::from_secs(20);

/// What may move between two looks at a machine that counts as still. Its counters alone move by some hundred KiB while
/// programs come and go, because each processor adds up its own and hands them over once a second (`mm/vmstat.c`).
const STILL_BYTES: f64 = 1024.0 * 1024.0;

/// Waits for kernel memory to come to rest: memory of an earlier run that still comes free would be taken for a part of this
/// one. What programs take and give meanwhile does not matter, and a machine where they do is still all the same: looked at
/// are slabs that cannot be reclaimed, and what `MemFree` and all rows of `/proc/meminfo` do not explain together.
#[derive(Debug)]
pub struct Stillness {
    proc: Procfs,
    page: Bytes,
    last: Option<Look>,
    moved: Option<String>,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    slab: f64,
    named: f64,
}

impl Stillness {
    /// Begins to look at the machine whose files lie below `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            proc: Procfs::new(root),
            page: page_size(),
            last: None,
            moved: Some("it was looked at only once".to_owned()),
        }
    }

    /// Looks again. Returns whether nothing has moved since the last look. A machine that cannot be looked at is not waited
    /// for: [`Stillness::moved`] says why.
    pub fn look(&mut self) -> bool {
        let look = match self.read() {
            Ok(look) => look,
            Err(error) => {
                self.moved = Some(error.to_string());
                return true;
            }
        };
        let moved = self.last.replace(look).map(|last| {
            let by = |name: &str, now: f64, then: f64| {
                let difference = now - then;
                (difference.abs() > STILL_BYTES)
                    .then(|| format!("{name} moved by {:.1} MiB", difference / 1024.0 / 1024.0))
            };
            by("SUnreclaim", look.slab, last.slab).or_else(|| {
                by(
                    "memory that no row of /proc/meminfo names",
                    look.named,
                    last.named,
                )
            })
        });
        match moved {
            // The first look has nothing to be compared with.
            None => false,
            Some(moved) => {
                self.moved = moved;
                self.moved.is_none()
            }
        }
    }

    /// What moved between the last two looks, or why they could not be taken; nothing where the machine is still.
    #[must_use]
    pub fn moved(&self) -> Option<&str> {
        self.moved.as_deref()
    }

    fn read(&mut self) -> Result<Look, ProcError> {
        let memory = self.proc.meminfo()?;
        let lists = self.proc.per_cpu_free()?;
        let stacks_in_vmalloc = memory.vmalloc >= memory.kernel_stack;
        let stacks = if stacks_in_vmalloc {
            0.0
        } else {
            memory.kernel_stack.as_f64()
        };
        let per_cpu = memory.per_cpu.present().map_or(0.0, |bytes| bytes.as_f64());
        let named = [
            memory.free,
            memory.slab,
            memory.vmalloc,
            memory.anonymous,
            memory.page_tables,
            memory.cached,
            memory.buffers,
        ];
        Ok(Look {
            slab: memory.slab_unreclaimable.as_f64(),
            named: named.iter().map(|bytes| bytes.as_f64()).sum::<f64>()
                + stacks
                + per_cpu
                + lists.pages() as f64 * self.page.as_f64(),
        })
    }
}

/// Asks the caches of connections to give back their empty slabs, where that is allowed. `root` is `/` but in tests. Returns
/// those that were asked, and the first reason why another was not.
#[must_use]
pub fn shrink_caches(root: &Path) -> (Vec<&'static str>, Option<String>) {
    let mut shrunk = Vec::new();
    let mut not_shrunk = None;
    for cache in CACHES {
        let file = root.join("sys/kernel/slab").join(cache).join("shrink");
        // Opened without creating: in a test a missing cache must be as missing as in /sys.
        let written = fs::OpenOptions::new()
            .write(true)
            .open(&file)
            .and_then(|mut open| open.write_all(b"1\n"));
        match written {
            Ok(()) => shrunk.push(cache),
            // Not every kernel has each of them.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !shrunk.is_empty() => {}
            Err(error) => {
                not_shrunk.get_or_insert_with(|| format!("{}: {error}", file.display()));
            }
        }
    }
    (shrunk, not_shrunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_that_are_there_are_shrunk_and_others_are_not_missed() {
        let root = tempfile::tempdir().unwrap();
        let tcp = root.path().join("sys/kernel/slab/TCP");
        fs::create_dir_all(&tcp).unwrap();
        fs::write(tcp.join("shrink"), "").unwrap();
        assert_eq!(shrink_caches(root.path()), (vec!["TCP"], None));
        assert_eq!(fs::read(tcp.join("shrink")).unwrap(), b"1\n");
    }

    /// A machine with so many KiB free and in slabs that cannot be reclaimed.
    fn machine(root: &Path, free: u64, slab: u64, anonymous: u64) {
        let rows = [
            ("MemTotal", 8_000_000),
            ("MemFree", free),
            ("Buffers", 0),
            ("Cached", 0),
            ("AnonPages", anonymous),
            ("Shmem", 0),
            ("Slab", slab),
            ("SReclaimable", 0),
            ("SUnreclaim", slab),
            ("KernelStack", 0),
            ("PageTables", 0),
            ("VmallocUsed", 0),
            ("Active(file)", 0),
            ("Inactive(file)", 0),
            ("Dirty", 0),
            ("Writeback", 0),
            ("Mapped", 0),
            ("SwapTotal", 0),
            ("SwapFree", 0),
        ];
        let lines: Vec<String> = rows
            .iter()
            .map(|(name, kib)| format!("{name}: {kib} kB\n"))
            .collect();
        let text = lines.concat();
        fs::create_dir_all(root.join("proc")).unwrap();
        fs::write(root.join("proc/meminfo"), text).unwrap();
        fs::write(root.join("proc/zoneinfo"), "  count: 0\n").unwrap();
    }

    #[test]
    fn memory_that_comes_free_from_an_earlier_run_is_waited_for_and_programs_are_not() {
        let root = tempfile::tempdir().unwrap();
        machine(root.path(), 4_000_000, 200_000, 100_000);
        let mut still = Stillness::new(root.path());
        assert!(!still.look(), "one look says nothing");
        // 128 MiB come free that no row had named.
        machine(root.path(), 4_131_072, 200_000, 100_000);
        assert!(!still.look());
        assert!(still.moved().unwrap().contains("128.0 MiB"));
        // A program takes 100 MiB meanwhile: that is in a row.
        machine(root.path(), 4_028_672, 200_000, 202_400);
        assert!(still.look());
        assert_eq!(still.moved(), None);
        // Slabs are given back.
        machine(root.path(), 4_031_672, 197_000, 202_400);
        assert!(!still.look());
        assert!(still.moved().unwrap().contains("SUnreclaim"));
    }

    #[test]
    fn a_machine_that_cannot_be_looked_at_is_not_waited_for_and_says_why() {
        let root = tempfile::tempdir().unwrap();
        let mut still = Stillness::new(root.path());
        assert!(still.look());
        assert!(still.moved().unwrap().contains("proc/meminfo"));
    }

    #[test]
    fn a_machine_that_lets_nothing_be_shrunk_says_why() {
        let root = tempfile::tempdir().unwrap();
        let (shrunk, not_shrunk) = shrink_caches(root.path());
        assert!(shrunk.is_empty());
        assert!(not_shrunk.unwrap().contains("TCP/shrink"));
    }
}
