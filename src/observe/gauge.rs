//! How much memory is left, for the guard: cheap enough to be asked twenty times a second. Never `MemAvailable`,
//! which counts inodes and directory entries of open sockets as reclaimable: a gigabyte too much at a million.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::domain::{Bytes, CgroupLimit, Reading};
use crate::kernel::cgroup::{CgroupError, MemoryHierarchy};
use crate::kernel::procfs::{ProcError, Procfs};
use crate::kernel::sysctl::{SettingStore, Sysctl};

/// What the memory that is left could not be read from.
pub type GaugeError = ProcError;

/// How often every group is asked whether it has a limit by now: anybody may set one, or lower it, at any time.
const LOOK_FOR_LIMITS_EVERY: Duration = Duration::from_secs(1);

/// Reads what is left of memory.
#[derive(Debug)]
pub struct MemoryGauge {
    proc: Procfs,
    hierarchy: Option<MemoryHierarchy>,
    /// Our own group, those added later, and all above them.
    groups: Vec<Group>,
    /// Those of them that had a limit when that was last looked at.
    limited: Vec<usize>,
    limits_seen: Option<Instant>,
    kept_back: Reading<Bytes>,
}

/// A group whose limit counts.
#[derive(Debug)]
struct Group {
    path: String,
    /// What it is to people.
    name: String,
}

/// What is left of memory at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryLeft {
    /// `MemTotal`.
    pub total: Bytes,
    /// `MemFree`.
    pub free: Bytes,
    /// Page cache that can be dropped at once: clean, and mapped by no program.
    pub droppable: Bytes,
    /// What the kernel keeps back for itself (`vm.min_free_kbytes`); it is part of `free`.
    pub kept_back: Reading<Bytes>,
    /// The control group that leaves least, where any has a limit, with its name for people.
    pub group: Option<(String, CgroupLimit)>,
    /// `Slab`: where the kernel's side of connections lies, undisturbed by what programs take.
    pub slab: Bytes,
}

impl MemoryLeft {
    /// What the machine leaves.
    #[must_use]
    pub fn of_machine(&self) -> Bytes {
        let kept_back = self.kept_back.present().copied().unwrap_or(Bytes::ZERO);
        (self.free + self.droppable).saturating_sub(kept_back)
    }

    /// What may still be taken before the kernel has to kill: the lesser of what the machine and what the groups leave.
    #[must_use]
    pub fn left(&self) -> Bytes {
        match &self.group {
            Some((_, group)) => self.of_machine().min(group.left()),
            None => self.of_machine(),
        }
    }

    /// Whose limit that is: the machine's, or the name of a control group.
    #[must_use]
    pub fn bound_by(&self) -> &str {
        match &self.group {
            Some((name, group)) if group.left() < self.of_machine() => name,
            _ => "the machine",
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
    let mut gauge = MemoryGauge {
        proc: Procfs::new(root),
        hierarchy: MemoryHierarchy::find(root).ok(),
        groups: Vec::new(),
        limited: Vec::new(),
        limits_seen: None,
        kept_back: kept_back.into(),
    };
    let own = gauge.hierarchy.as_ref().and_then(|hierarchy| {
        let own = hierarchy.group_of(None).ok()?;
        Some((own.clone(), format!("control group {own}")))
    });
    if let Some((path, name)) = own {
        gauge.watch_cgroup(&path, &name);
    }
    gauge
}

/// The memory control group of a process, where it has one of its own: a path below the controller's mount.
///
/// # Errors
/// When it cannot be found out.
pub fn cgroup_of_process(root: &Path, pid: u32) -> Result<Option<String>, CgroupError> {
    let group = MemoryHierarchy::find(root)?.group_of(Some(pid))?;
    Ok((group != "/").then_some(group))
}

impl MemoryGauge {
    /// Counts the limits of another control group, such as a container's, and of those above it from now on. `name` is
    /// what the group is to people.
    pub fn watch_cgroup(&mut self, path: &str, name: &str) {
        let Some(hierarchy) = &self.hierarchy else {
            return;
        };
        for level in hierarchy.levels_of(path) {
            if self.groups.iter().all(|known| known.path != level) {
                let name = if level == path {
                    name.to_owned()
                } else {
                    format!("control group {level}")
                };
                self.groups.push(Group { path: level, name });
            }
        }
        self.limits_seen = None;
    }

    /// What is left now.
    ///
    /// # Errors
    /// When `/proc/meminfo` cannot be read.
    pub fn read(&mut self) -> Result<MemoryLeft, GaugeError> {
        let memory = self.proc.meminfo()?;
        self.look_for_limits();
        let group = self.hierarchy.as_ref().and_then(|hierarchy| {
            self.limited
                .iter()
                .filter_map(|index| {
                    let group = self.groups.get(*index)?;
                    Some((group.name.clone(), hierarchy.limit_of(&group.path)?))
                })
                .min_by_key(|(_, limit)| limit.left())
        });
        Ok(MemoryLeft {
            total: memory.total,
            free: memory.free,
            droppable: memory.droppable(),
            kept_back: self.kept_back.clone(),
            group,
            slab: memory.slab,
        })
    }

    fn look_for_limits(&mut self) {
        let seen = self.limits_seen.map(|seen| seen.elapsed());
        let Some(hierarchy) = &self.hierarchy else {
            return;
        };
        if seen.is_none_or(|ago| ago >= LOOK_FOR_LIMITS_EVERY) {
            self.limits_seen = Some(Instant::now());
            let limited = |(_, group): &(usize, &Group)| hierarchy.limit_of(&group.path).is_some();
            self.limited = self
                .groups
                .iter()
                .enumerate()
                .filter(limited)
                .map(|(index, _)| index)
                .collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(cgroup: Option<CgroupLimit>) -> MemoryLeft {
        MemoryLeft {
            total: Bytes::from_mib(1000),
            free: Bytes::from_mib(100),
            droppable: Bytes::from_mib(50),
            kept_back: Reading::Present(Bytes::from_mib(10)),
            group: cgroup.map(|limit| ("the container".to_owned(), limit)),
            slab: Bytes::ZERO,
        }
    }

    #[test]
    fn the_machine_leaves_what_is_free_or_droppable_but_the_kernels_own_reserve() {
        assert_eq!(left(None).left(), Bytes::from_mib(140));
        assert_eq!(left(None).bound_by(), "the machine");
    }

    #[test]
    fn a_tighter_group_binds_and_its_page_cache_does_not_count() {
        let group = |limit| CgroupLimit {
            path: "/lab".into(),
            limit: Bytes::from_mib(limit),
            used: Bytes::from_mib(60),
            droppable: Bytes::from_mib(20),
        };
        assert_eq!(left(Some(group(64))).left(), Bytes::from_mib(24));
        assert_eq!(left(Some(group(64))).bound_by(), "the container");
        assert_eq!(left(Some(group(1000))).left(), Bytes::from_mib(140));
        assert_eq!(left(Some(group(1000))).bound_by(), "the machine");
    }

    #[test]
    fn this_machine_has_some_memory_left() {
        let left = memory_gauge(Path::new("/")).read().unwrap();
        assert!(left.left() > Bytes::ZERO);
    }
}
