//! How much memory is left, for the guard of a ramp: cheap enough to be asked twenty times a second. Never `MemAvailable`,
//! which counts inodes and directory entries of open sockets as reclaimable: a gigabyte too much at a million.

use std::path::Path;

use crate::domain::{Bytes, CgroupLimit, Reading};
use crate::kernel::cgroup::MemoryHierarchy;
use crate::kernel::procfs::{ProcError, Procfs};
use crate::kernel::sysctl::{SettingStore, Sysctl};

/// What the memory that is left could not be read from.
pub type GaugeError = ProcError;

/// Reads what is left of memory.
#[derive(Debug)]
pub struct MemoryGauge {
    proc: Procfs,
    hierarchy: Option<MemoryHierarchy>,
    /// Groups above us, and those added later, that have a limit.
    groups: Vec<String>,
    kept_back: Reading<Bytes>,
}

/// What is left of memory at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryLeft {
    /// `MemFree`.
    pub free: Bytes,
    /// Page cache that can be dropped at once: clean, and mapped by no program.
    pub droppable: Bytes,
    /// What the kernel keeps back for itself (`vm.min_free_kbytes`); it is part of `free`.
    pub kept_back: Reading<Bytes>,
    /// The control group that leaves least, where any has a limit.
    pub cgroup: Option<CgroupLimit>,
    /// `Slab`: where the kernel's side of connections lies, undisturbed by what programs take.
    pub slab: Bytes,
}

impl MemoryLeft {
    /// What may still be taken before the kernel has to kill: the lesser of what the machine and what the groups leave.
    #[must_use]
    pub fn left(&self) -> Bytes {
        let kept_back = self.kept_back.present().copied().unwrap_or(Bytes::ZERO);
        let machine = (self.free + self.droppable).saturating_sub(kept_back);
        match &self.cgroup {
            Some(group) => machine.min(group.left()),
            None => machine,
        }
    }
}

/// A gauge for the machine whose files lie below `root`, and for the control groups that this process is in.
#[must_use]
pub fn memory_gauge(root: &Path) -> MemoryGauge {
    let kept_back = Sysctl::below(root.join("proc/sys"))
        .read("vm.min_free_kbytes")
        .map_err(|error| error.to_string())
        .and_then(|text| text.parse().map_err(|_| format!("{text:?} is no number")))
        .map(Bytes::from_kib);
    let hierarchy = MemoryHierarchy::find(root).ok();
    let groups = hierarchy
        .as_ref()
        .and_then(|hierarchy| Some(hierarchy.limited_levels(&hierarchy.group_of(None).ok()?)))
        .unwrap_or_default();
    MemoryGauge {
        proc: Procfs::new(root),
        hierarchy,
        groups,
        kept_back: kept_back.into(),
    }
}

/// The memory control group of a process, where it has one of its own: a path below the controller's mount.
#[must_use]
pub fn cgroup_of_process(root: &Path, pid: u32) -> Option<String> {
    let group = MemoryHierarchy::find(root).ok()?.group_of(Some(pid)).ok()?;
    (group != "/").then_some(group)
}

impl MemoryGauge {
    /// Counts the limits of another control group, such as a container's, and of those above it from now on.
    pub fn watch_cgroup(&mut self, group: &str) {
        if let Some(hierarchy) = &self.hierarchy {
            self.groups.extend(hierarchy.limited_levels(group));
            self.groups.sort();
            self.groups.dedup();
        }
    }

    /// What is left now.
    ///
    /// # Errors
    /// When `/proc/meminfo` cannot be read.
    pub fn read(&mut self) -> Result<MemoryLeft, GaugeError> {
        let memory = self.proc.meminfo()?;
        let cgroup = self.hierarchy.as_ref().and_then(|hierarchy| {
            self.groups
                .iter()
                .filter_map(|group| hierarchy.limit_of(group))
                .min_by_key(CgroupLimit::left)
        });
        Ok(MemoryLeft {
            free: memory.free,
            droppable: memory.droppable(),
            kept_back: self.kept_back.clone(),
            cgroup,
            slab: memory.slab,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(cgroup: Option<CgroupLimit>) -> Bytes {
        MemoryLeft {
            free: Bytes::from_mib(100),
            droppable: Bytes::from_mib(50),
            kept_back: Reading::Present(Bytes::from_mib(10)),
            cgroup,
            slab: Bytes::ZERO,
        }
        .left()
    }

    #[test]
    fn the_machine_leaves_what_is_free_or_droppable_but_the_kernels_own_reserve() {
        assert_eq!(left(None), Bytes::from_mib(140));
    }

    #[test]
    fn a_tighter_group_binds_and_its_page_cache_does_not_count() {
        let group = |limit| CgroupLimit {
            path: "/lab".into(),
            limit: Bytes::from_mib(limit),
            used: Bytes::from_mib(60),
            droppable: Bytes::from_mib(20),
        };
        assert_eq!(left(Some(group(64))), Bytes::from_mib(24));
        assert_eq!(left(Some(group(1000))), Bytes::from_mib(140));
    }

    #[test]
    fn this_machine_has_some_memory_left() {
        let left = memory_gauge(Path::new("/")).read().unwrap();
        assert!(left.left() > Bytes::ZERO);
    }
}
