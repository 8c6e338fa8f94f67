//! Memory between the baseline and the target: the account of what connections cost, and the checks of it.

use crate::domain::{MemoryBasis, Reading, RowSource, WorkerId};

/// Whose a part of memory is, in the closing sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// The kernel's, on behalf of the connections.
    Kernel,
    /// Programs': the workers', and whatever else runs.
    Programs,
    /// Page cache: not the connections'.
    Cache,
}

/// A part of the closing sum: how it grew from the baseline to the target.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The row of `/proc/meminfo`.
    pub name: &'static str,
    /// Growth in bytes; negative where it shrank.
    pub delta: f64,
    /// Whose it is.
    pub account: Account,
}

/// One row of the account: a kind of memory that grew with the connections.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountRow {
    /// What it is.
    pub object: String,
    /// How many there are more; absent for what has no number.
    pub objects: Option<f64>,
    /// More bytes.
    pub bytes: f64,
    /// The part of these bytes that is the server's.
    pub server: f64,
    /// The part that is the clients'. What is neither's is shared.
    pub client: f64,
    /// How the bytes are known.
    pub source: RowSource,
}

/// Something that each side has, or the reason why it is not known.
#[derive(Debug, Clone, PartialEq)]
pub struct Sides {
    /// The server's.
    pub server: Reading<FloatBytes>,
    /// All clients'.
    pub client: Reading<FloatBytes>,
}

/// Memory of one worker process, beyond its baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessRow {
    /// Which.
    pub worker: WorkerId,
    /// Connections that it held.
    pub connections: u64,
    /// `RssAnon`, in bytes.
    pub anonymous: f64,
    /// Page tables, in bytes.
    pub page_tables: f64,
    /// Threads.
    pub threads: u64,
    /// Threads more than at the baseline.
    pub threads_grown: f64,
}

/// Memory charged to one worker's control group, beyond its baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct CgroupRow {
    /// Which.
    pub worker: WorkerId,
    /// 1 or 2.
    pub version: u32,
    /// Connections that it held.
    pub connections: u64,
    /// All that is charged, in bytes.
    pub charged: f64,
    /// The kernel's part, in bytes, or why it is not known.
    pub kernel: Reading<FloatBytes>,
    /// Buffers of sockets, in bytes, or why they are not known.
    pub sockets: Reading<FloatBytes>,
}

/// A difference in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FloatBytes(pub f64);

/// Memory between the baseline and the target, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryDetail {
    /// Connections at the target.
    pub connections: f64,
    /// Which moments were compared, in a sentence.
    pub between: String,
    /// What connections cost, row by row. The rows add up to the whole; the last one is what no other row explains.
    pub rows: Vec<AccountRow>,
    /// What the lab takes for the connections before the baseline: no part of the figure for each connection.
    pub outside: Vec<AccountRow>,
    /// Whether the rows of kernel objects are counted or modelled.
    pub basis: MemoryBasis,
    /// Why the kernel's memory could not be split between the ends, where it could not.
    pub not_split: Option<String>,
    /// Bytes that no row explains.
    pub unexplained: f64,
    /// Bytes of objects that found room in slabs which were there before the baseline: no growth, but taken all the same.
    pub reused: f64,
    /// The workers' own memory and page tables, for each side.
    pub user: Sides,
    /// Whether the server's own memory is taken from its proportional share (PSS), because it started or ended processes.
    pub by_share: bool,
    /// Kernel memory charged to the control groups of each side.
    pub charged: Sides,
    /// By how much the whole may be off, because slabs are partly filled; a gap where that is not known.
    pub uncertainty: Reading<FloatBytes>,
    /// Why the quotient says nothing at this number of connections, where it says nothing.
    pub not_measurable: Option<String>,
    /// Why the figure is not to be trusted, where it is not.
    pub disturbed: Option<String>,
    /// How much less is free: the drop of `MemFree`.
    pub free_drop: f64,
    /// What of it lies on the per-CPU lists of free pages; a gap where they could not be read.
    pub per_cpu_free: Reading<FloatBytes>,
    /// The parts of the closing sum.
    pub parts: Vec<Part>,
    /// What the parts do not explain of the drop of `MemFree`; a gap where a part is not known.
    pub residual: Reading<FloatBytes>,
    /// The drop of `MemAvailable`.
    pub available_drop: Reading<FloatBytes>,
    /// By how much the page cache that `MemAvailable` counts has grown.
    pub file_cache_growth: f64,
    /// The worker processes.
    pub processes: Vec<ProcessRow>,
    /// Their control groups.
    pub cgroups: Vec<CgroupRow>,
    /// What could not be read, each with its reason.
    pub gaps: Vec<String>,
    /// Pages that `tcp_mem` counted at the target.
    pub tcp_memory_pages: Option<u64>,
}

impl MemoryDetail {
    /// Growth of all parts of one account.
    #[must_use]
    pub fn of(&self, account: Account) -> f64 {
        let parts = self.parts.iter().filter(|part| part.account == account);
        parts.map(|part| part.delta).sum()
    }

    /// The kernel's memory on behalf of the connections, both ends.
    #[must_use]
    pub fn kernel(&self) -> f64 {
        self.of(Account::Kernel) + self.reused
    }

    /// The workers' own memory and page tables, both ends, as far as they are known.
    #[must_use]
    pub fn user(&self) -> f64 {
        let each = self.processes.iter();
        each.map(|row| row.anonymous + row.page_tables).sum()
    }

    /// What all of it costs, kernel and workers, as far as the workers are known.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.kernel() + self.user()
    }

    /// By how much anonymous memory and page tables of programs changed that are none of our workers.
    #[must_use]
    pub fn others(&self) -> f64 {
        self.of(Account::Programs) - self.user()
    }

    /// The share of the whole that no row explains.
    #[must_use]
    pub fn unexplained_fraction(&self) -> f64 {
        self.unexplained / self.total()
    }

    /// The row called `object`.
    #[must_use]
    pub fn row(&self, object: &str) -> Option<&AccountRow> {
        self.rows.iter().find(|row| row.object == object)
    }
}
