//! Memory of control groups, version 1 (`Documentation/admin-guide/cgroup-v1/memory.rst`), version 2
//! (`Documentation/admin-guide/cgroup-v2.rst`) and hybrids, where version 1 has the memory controller and version 2 is there
//! without it. All below a root path. A group is named by its path below the controller's mount, such as `/docker/0123`.

mod hierarchy;
mod pids;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::domain::{Bytes, CgroupLimit, CgroupSample, Limit, Reading, WorkerId};

pub use pids::most_tasks;

use hierarchy::Hierarchy;

/// Version 1 has no word for "no limit" but a number close to 2^63, which depends on the size of a page.
const V1_UNLIMITED: u64 = 1 << 62;

/// What is written to switch the accounting of socket buffers on: a limit that binds nothing (1 TiB).
const V1_SOCKET_LIMIT: u64 = 1 << 40;

/// Why a control group told nothing.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A controller is not mounted.
    #[error("no {controller} controller is mounted: {} names none", path.display())]
    NoController {
        /// Which.
        controller: &'static str,
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {value} to {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The value.
        value: u64,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file does not have what it should.
    #[error("{} has no {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
}

/// Which interface a hierarchy has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupVersion {
    /// One hierarchy for each controller.
    V1,
    /// One hierarchy for all.
    V2,
}

impl CgroupVersion {
    /// 1 or 2.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }
}

/// Whether charging socket buffers and accepted sockets had to be switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketAccounting {
    /// It is always on in version 2.
    Always,
    /// It was off in this group and is on now, until the group is removed.
    SwitchedOn,
    /// It had been switched on before.
    WasOn,
}

/// The hierarchy that has the memory controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryHierarchy(Hierarchy);

impl MemoryHierarchy {
    /// Looks for it in `proc/self/mountinfo` below `root`.
    ///
    /// # Errors
    /// When there is none, or the file cannot be read.
    pub fn find(root: &Path) -> Result<Self, CgroupError> {
        Hierarchy::find(root, "memory").map(Self)
    }

    /// The version of its interface.
    #[must_use]
    pub const fn version(&self) -> CgroupVersion {
        self.0.version
    }

    /// The group of a process, or of ours where `pid` is absent.
    ///
    /// # Errors
    /// When `/proc/PID/cgroup` cannot be read, or does not name the hierarchy.
    pub fn group_of(&self, pid: Option<u32>) -> Result<String, CgroupError> {
        self.0.group_of(pid)
    }

    /// The directory of a group.
    #[must_use]
    pub fn directory(&self, group: &str) -> PathBuf {
        self.0.directory(group)
    }

    /// What a group tells.
    ///
    /// # Errors
    /// When it is gone, or has no memory controller.
    pub fn sample(&self, worker: WorkerId, group: &str) -> Result<CgroupSample, CgroupError> {
        let directory = self.directory(group);
        let names = self.names();
        let charged = Bytes::new(number(&directory.join(names.charged))?);
        let stat_path = directory.join("memory.stat");
        let stat = read(&stat_path);
        let stat_row = |name: &'static str| -> Reading<Bytes> {
            match &stat {
                Ok(text) => row(text, name, &stat_path).into(),
                Err(error) => Reading::missing(error.to_string()),
            }
        };
        let bytes = |name: &str| Reading::from(number(&directory.join(name)).map(Bytes::new));
        let (kernel, sockets, anonymous) = match self.0.version {
            CgroupVersion::V1 => (
                bytes("memory.kmem.usage_in_bytes"),
                bytes("memory.kmem.tcp.usage_in_bytes"),
                stat_row("total_rss"),
            ),
            CgroupVersion::V2 => (stat_row("kernel"), stat_row("sock"), stat_row("anon")),
        };
        let events = directory.join(names.events);
        let oom_kills = read(&events).and_then(|text| row(&text, "oom_kill", &events));
        Ok(CgroupSample {
            worker,
            version: self.0.version.number(),
            charged,
            kernel,
            sockets,
            anonymous,
            limit: limit(&directory.join(names.limit))?,
            oom_kills: Reading::from(oom_kills.map(Bytes::bytes)),
        })
    }

    /// Of the limits of `group` and of all groups above it, the one that leaves least; nothing where none has a limit.
    /// Above the mount point only version 1 can look, and only at the least limit.
    #[must_use]
    pub fn least_limit(&self, group: &str) -> Option<CgroupLimit> {
        let mut limits: Vec<CgroupLimit> = self
            .levels(group)
            .filter_map(|level| self.limit_of(&level))
            .collect();
        let least_seen = limits.iter().map(|level| level.limit).min();
        let hidden = self.hidden_limit(group);
        limits.extend(hidden.filter(|hidden| least_seen.is_none_or(|seen| hidden.limit < seen)));
        limits.into_iter().min_by_key(CgroupLimit::left)
    }

    /// `group` and the groups above it whose limits bind it too, whether they have one or not.
    #[must_use]
    pub fn levels_of(&self, group: &str) -> Vec<String> {
        self.levels(group).collect()
    }

    /// The limit of one group, where it has one, with what is used of it.
    #[must_use]
    pub fn limit_of(&self, group: &str) -> Option<CgroupLimit> {
        let directory = self.directory(group);
        let names = self.names();
        let limit = limit(&directory.join(names.limit)).ok()?.bound()?;
        let used = Bytes::new(number(&directory.join(names.charged)).ok()?);
        let stat_path = directory.join("memory.stat");
        let stat = read(&stat_path).unwrap_or_default();
        let row = |name| row(&stat, name, &stat_path).unwrap_or(Bytes::ZERO);
        // Missing rows make the estimate of what can be dropped smaller: on the safe side, except for the last two.
        let [active, inactive, dirty, writeback] = names.file_rows;
        let droppable = (row(active) + row(inactive)).saturating_sub(row(dirty) + row(writeback));
        Some(CgroupLimit {
            path: group.to_owned(),
            limit,
            used,
            droppable,
        })
    }

    /// Charges accepted sockets and socket buffers to the group, where that is not done by itself. In version 1 nothing
    /// of it is charged until the group's own limit on TCP buffers has been written, before the sockets are accepted
    /// (`mm/memcontrol-v1.c`, `memcg_update_tcp_max`). The value binds nothing, and only this group is touched.
    ///
    /// # Errors
    /// When the limit cannot be read or written.
    pub fn enable_socket_accounting(&self, group: &str) -> Result<SocketAccounting, CgroupError> {
        if self.0.version == CgroupVersion::V2 {
            return Ok(SocketAccounting::Always);
        }
        let path = self.directory(group).join("memory.kmem.tcp.limit_in_bytes");
        if number(&path)? < V1_UNLIMITED {
            return Ok(SocketAccounting::WasOn);
        }
        fs::write(&path, format!("{V1_SOCKET_LIMIT}\n")).map_err(|source| CgroupError::Write {
            path,
            value: V1_SOCKET_LIMIT,
            source,
        })?;
        Ok(SocketAccounting::SwitchedOn)
    }

    /// From `group` up to the mount point. In version 1 a group above that does not account hierarchically binds nobody.
    fn levels(&self, group: &str) -> impl Iterator<Item = String> {
        Hierarchy::levels(group).filter(move |level| {
            self.0.version == CgroupVersion::V2
                || level == group
                || number(&self.directory(level).join("memory.use_hierarchy")).ok() != Some(0)
        })
    }

    /// The least limit of the group and of all above it, beyond the mount point too, as version 1 tells it in each group.
    /// What others use of it is not to be seen from here.
    fn hidden_limit(&self, group: &str) -> Option<CgroupLimit> {
        if self.0.version == CgroupVersion::V2 {
            return None;
        }
        let directory = self.directory(group);
        let stat_path = directory.join("memory.stat");
        let stat = read(&stat_path).ok()?;
        let limit = row(&stat, "hierarchical_memory_limit", &stat_path).ok()?;
        let used = Bytes::new(number(&directory.join(self.names().charged)).ok()?);
        (limit.bytes() < V1_UNLIMITED).then(|| CgroupLimit {
            path: format!("above {group}"),
            limit,
            used,
            droppable: Bytes::ZERO,
        })
    }

    const fn names(&self) -> &'static Names {
        match self.0.version {
            CgroupVersion::V1 => &V1,
            CgroupVersion::V2 => &V2,
        }
    }
}

/// Names of files and rows of one version.
struct Names {
    charged: &'static str,
    limit: &'static str,
    events: &'static str,
    /// Active, inactive, dirty, under writeback.
    file_rows: [&'static str; 4],
}

const V1: Names = Names {
    charged: "memory.usage_in_bytes",
    limit: "memory.limit_in_bytes",
    events: "memory.oom_control",
    file_rows: [
        "total_active_file",
        "total_inactive_file",
        "total_dirty",
        "total_writeback",
    ],
};

const V2: Names = Names {
    charged: "memory.current",
    limit: "memory.max",
    events: "memory.events",
    file_rows: [
        "active_file",
        "inactive_file",
        "file_dirty",
        "file_writeback",
    ],
};

fn limit(path: &Path) -> Result<Limit<Bytes>, CgroupError> {
    let text = read(path)?;
    if text.trim() == "max" {
        return Ok(Limit::Unlimited);
    }
    let bytes = parse_number(&text, path)?;
    Ok(if bytes >= V1_UNLIMITED {
        Limit::Unlimited
    } else {
        Limit::At(Bytes::new(bytes))
    })
}

fn number(path: &Path) -> Result<u64, CgroupError> {
    parse_number(&read(path)?, path)
}

fn parse_number(text: &str, path: &Path) -> Result<u64, CgroupError> {
    text.trim().parse().map_err(|_| CgroupError::Content {
        path: path.to_owned(),
        what: "number",
    })
}

/// The row `name number`.
fn row(text: &str, name: &'static str, path: &Path) -> Result<Bytes, CgroupError> {
    text.lines()
        .find_map(|line| {
            let (key, value) = line.split_once(' ')?;
            (key == name).then(|| value.trim().parse().ok().map(Bytes::new))?
        })
        .ok_or_else(|| CgroupError::Content {
            path: path.to_owned(),
            what: name,
        })
}

fn read(path: &Path) -> Result<String, CgroupError> {
    let text = fs::read(path).map_err(|source| CgroupError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests;
