//! Files of /proc and /sys as typed values, under a root path (proc(5)). Parsers are pure functions over text and live in
//! one file per kernel file; [`Procfs`] reads into one buffer that is used again. Units are converted here and nowhere
//! else. A file is opened anew for each reading: an open file below `/proc/PID/net` would keep its network namespace alive.

mod files;
mod meminfo;
mod netstat;
mod process;
mod slabinfo;
mod sockstat;
mod softnet;
mod stat;
mod tree;
mod zoneinfo;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::domain::{
    Bytes, ConntrackSample, CpuTicks, Limit, MemInfo, Pages, ProcessSample, SocketStat,
    TcpCounters, WorkerId,
};

use crate::kernel::sysconf::page_size;

pub use files::OpenFiles;
pub use process::ResourceLimits;
pub use slabinfo::{CacheNames, SlabRow, Slabs};
pub use tree::ProcessRow;

/// Text of a kernel file that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// Why a kernel file gave no value.
#[derive(Debug, thiserror::Error)]
pub enum ProcError {
    /// It could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It was read, and is not what it should be.
    #[error("cannot understand {}: {what}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: Malformed,
    },
}

impl ProcError {
    /// Whether the file does not exist, or its process is gone.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        /// What reading a file of a process that is gone ends with (proc(5)).
        const ESRCH: i32 = 3;
        match self {
            Self::Read { source, .. } => {
                source.kind() == io::ErrorKind::NotFound || source.raw_os_error() == Some(ESRCH)
            }
            Self::Parse { .. } => false,
        }
    }
}

/// Reads kernel files below a root, into one buffer.
#[derive(Debug)]
pub struct Procfs {
    root: PathBuf,
    page: Bytes,
    buffer: Vec<u8>,
}

impl Procfs {
    /// Below `root`, which is `/` but in tests.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self::with_page_size(root, page_size())
    }

    /// Below `root`, with files of a kernel whose pages have `page` bytes.
    #[must_use]
    pub fn with_page_size(root: impl Into<PathBuf>, page: Bytes) -> Self {
        Self {
            root: root.into(),
            page,
            buffer: Vec::with_capacity(64 * 1024),
        }
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `/proc/meminfo`.
    pub fn meminfo(&mut self) -> Result<MemInfo, ProcError> {
        self.below("proc/meminfo", meminfo::parse)
    }

    /// Free pages on the per-CPU lists of all zones, from `/proc/zoneinfo`.
    pub fn per_cpu_free(&mut self) -> Result<Pages, ProcError> {
        self.below("proc/zoneinfo", zoneinfo::per_cpu_free)
    }

    /// Every row of `/proc/slabinfo`, for root only.
    pub fn slab_rows(&mut self) -> Result<Vec<SlabRow>, ProcError> {
        self.below("proc/slabinfo", slabinfo::parse)
    }

    /// The rows of `/proc/slabinfo` that connections live in, merged caches resolved, and the sum of the others.
    pub fn slabs(&mut self, names: &CacheNames) -> Result<Slabs, ProcError> {
        let page = self.page;
        self.below("proc/slabinfo", |text| {
            slabinfo::of_connections(text, names, page)
        })
    }

    /// `/proc/stat`.
    pub fn cpu(&mut self) -> Result<CpuTicks, ProcError> {
        self.below("proc/stat", stat::parse)
    }

    /// `fs.file-nr`.
    pub fn open_files(&mut self) -> Result<OpenFiles, ProcError> {
        self.below("proc/sys/fs/file-nr", files::parse)
    }

    /// Packets dropped at the per-CPU backlog since boot, all processors, from `/proc/net/softnet_stat`.
    pub fn softnet_dropped(&mut self) -> Result<u64, ProcError> {
        self.below("proc/net/softnet_stat", softnet::dropped)
    }

    /// `sockstat` in a directory such as `/proc/1234/net`.
    pub fn sockstat(&mut self, net: &Path) -> Result<SocketStat, ProcError> {
        self.at(&net.join("sockstat"), sockstat::parse)
    }

    /// `snmp` and `netstat` in a directory such as `/proc/1234/net`.
    pub fn tcp_counters(&mut self, net: &Path) -> Result<TcpCounters, ProcError> {
        let mut counters = self.at(&net.join("snmp"), netstat::parse)?;
        let extension = self.at(&net.join("netstat"), netstat::parse_extension)?;
        counters.counters.extend(extension);
        Ok(counters)
    }

    /// `CurrEstab` of the namespace whose directory this is: connections in ESTABLISHED and `CLOSE_WAIT`.
    pub fn established(&mut self, net: &Path) -> Result<u64, ProcError> {
        Ok(self.at(&net.join("snmp"), netstat::parse)?.established)
    }

    /// Connection tracking of the namespace whose directory this is, with the limit that all share. `stat/nf_conntrack`
    /// tells it of any namespace, `/proc/sys` only of the reader's own.
    pub fn conntrack(&mut self, net: &Path) -> Result<ConntrackSample, ProcError> {
        let entries = self.at(&net.join("stat/nf_conntrack"), netstat::conntrack_entries)?;
        let limit = self.below(
            "proc/sys/net/netfilter/nf_conntrack_max",
            files::number_alone,
        )?;
        Ok(ConntrackSample { entries, limit })
    }

    /// Entries and limit of connection tracking in the calling thread's namespace.
    pub fn own_conntrack(&mut self) -> Result<ConntrackSample, ProcError> {
        let entries = self.below(
            "proc/sys/net/netfilter/nf_conntrack_count",
            files::number_alone,
        )?;
        let limit = self.below(
            "proc/sys/net/netfilter/nf_conntrack_max",
            files::number_alone,
        )?;
        Ok(ConntrackSample { entries, limit })
    }

    /// What the process uses, from its `status` and `stat`.
    pub fn process(&mut self, worker: WorkerId, pid: u32) -> Result<ProcessSample, ProcError> {
        let status = self.below(&format!("proc/{pid}/status"), process::status)?;
        let times = self.below(&format!("proc/{pid}/stat"), process::times)?;
        let (anonymous, file_backed) = if let Some(parts) = status.resident {
            parts
        } else {
            let page = self.page;
            let parse = |text: &str| process::resident_of_statm(text, page);
            self.below(&format!("proc/{pid}/statm"), parse)?
        };
        Ok(ProcessSample {
            worker,
            anonymous,
            file_backed,
            page_tables: status.page_tables,
            virtual_size: status.virtual_size,
            threads: status.threads,
            user_ticks: times.user,
            system_ticks: times.system,
        })
    }

    /// `Max open files` of a process, soft and hard, from `/proc/PID/limits`.
    pub fn descriptor_limits(&mut self, pid: u32) -> Result<ResourceLimits, ProcError> {
        self.below(&format!("proc/{pid}/limits"), process::descriptor_limits)
    }

    /// `Max processes` of a process (`RLIMIT_NPROC`), the soft limit, from `/proc/PID/limits`. Nothing where it does not bind:
    /// the processes of root are not bound by it (`copy_process` in `kernel/fork.c`).
    pub fn task_limit(&mut self, pid: u32) -> Result<Option<u64>, ProcError> {
        let uid = self.below(&format!("proc/{pid}/status"), |text| {
            process::row(text, "Uid")
        })?;
        let limits = self.below(&format!("proc/{pid}/limits"), process::task_limits)?;
        Ok(match limits.soft {
            Limit::At(limit) if uid != 0 => Some(limit),
            Limit::At(_) | Limit::Unlimited => None,
        })
    }

    fn below<T>(
        &mut self,
        relative: &str,
        parse: impl FnOnce(&str) -> Result<T, Malformed>,
    ) -> Result<T, ProcError> {
        let path = self.root.join(relative);
        self.at(&path, parse)
    }

    fn at<T>(
        &mut self,
        path: &Path,
        parse: impl FnOnce(&str) -> Result<T, Malformed>,
    ) -> Result<T, ProcError> {
        self.buffer.clear();
        File::open(path)
            .and_then(|mut file| file.read_to_end(&mut self.buffer))
            .map_err(|source| ProcError::Read {
                path: path.to_owned(),
                source,
            })?;
        // Names of programs and cgroups may be any bytes; the figures are ASCII.
        let text = String::from_utf8_lossy(&self.buffer);
        parse(&text).map_err(|what| ProcError::Parse {
            path: path.to_owned(),
            what,
        })
    }
}

/// The number in `field`, or what is wrong with it.
fn number(field: Option<&str>, name: &str) -> Result<u64, Malformed> {
    let field = field.ok_or_else(|| Malformed(format!("{name} is missing")))?;
    field
        .parse()
        .map_err(|_| Malformed(format!("{name} is {field:?}, not a number")))
}

#[cfg(test)]
mod tests;
