//! What a report tells of a server that is not the lab's own.

use crate::domain::{AcceptState, Bytes, DescriptorUse, Reading, Subject, SubjectFacts};

use super::Slope;

/// Such a server, as it was seen from outside.
#[derive(Debug, Clone)]
pub struct ServerDetail {
    /// What it is; absent where the plan does not say.
    pub subject: Option<Subject>,
    /// What was found about it once it listened.
    pub facts: Reading<SubjectFacts>,
    /// `net.core.somaxconn` where it ran, which bounds each accept queue.
    pub somaxconn: Reading<String>,
    /// How far it had accepted, at each moment that the run came to.
    pub accepting: Vec<(Moment, Reading<AcceptState>)>,
    /// The most connections that were seen to wait at once, with the time in seconds since the run began.
    pub most_waiting: Option<(f64, u64)>,
    /// What its processes used, at each moment that the run came to.
    pub usage: Vec<(Moment, Reading<Usage>)>,
    /// Processor time while connections were opened and while they were held.
    pub processor: ProcessorUse,
    /// What one connection takes on the server's side.
    pub sizing: Reading<Sizing>,
    /// How many lines it wrote before connections were closed on purpose.
    pub lines_written: usize,
    /// How many it wrote afterwards.
    pub lines_while_closing: usize,
    /// The last of them.
    pub last_lines: Vec<OutputLine>,
    /// The first loss or failure, and what was written around it.
    pub around_trouble: Option<(Trouble, Vec<OutputLine>)>,
}

impl ServerDetail {
    /// How far it had accepted at `moment`.
    #[must_use]
    pub fn accepting_at(&self, moment: Moment) -> Option<&AcceptState> {
        let mut known = self.accepting.iter();
        known.find(|(at, _)| *at == moment)?.1.present()
    }

    /// What its processes used at `moment`.
    #[must_use]
    pub fn usage_at(&self, moment: Moment) -> Option<&Usage> {
        let mut known = self.usage.iter();
        known.find(|(at, _)| *at == moment)?.1.present()
    }
}

/// A moment at which the server is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// It listens, nobody is connected.
    Baseline,
    /// All connections are open, settled.
    Target,
    /// The ramp ended, and the run with it.
    RampEnd,
    /// The hold is over.
    HoldEnd,
    /// After the exchanges that prove connections, before any is closed.
    Proved,
}

impl Moment {
    /// Its name in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Baseline => "baseline",
            Self::Target => "target",
            Self::RampEnd => "end of the ramp",
            Self::HoldEnd => "end of the hold",
            Self::Proved => "before closing",
        }
    }
}

/// What the processes of a server use together.
#[derive(Debug, Clone, PartialEq)]
pub struct Usage {
    /// Processes.
    pub processes: u64,
    /// Threads.
    pub threads: u64,
    /// `RssAnon`. Pages that processes share after fork(2) count once for each.
    pub anonymous: Bytes,
    /// `RssFile` and `RssShmem`, shared pages as often as they are mapped.
    pub file_backed: Bytes,
    /// `VmPTE`.
    pub page_tables: Bytes,
    /// Proportional share (PSS): every page once.
    pub proportional: Reading<Bytes>,
    /// Descriptors that are open.
    pub descriptors: Reading<u64>,
    /// The process with the most descriptors.
    pub fullest: Option<DescriptorUse>,
    /// Seconds of processor time since its start.
    pub cpu_seconds: f64,
}

/// Processor time of a server, in seconds.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessorUse {
    /// From the first connection to the last.
    pub ramp: Reading<f64>,
    /// From the target to the end of the hold.
    pub hold: Reading<f64>,
    /// Connections that it accepted in the ramp and until the target; absent where that is not known.
    pub accepted: Option<u64>,
}

impl ProcessorUse {
    /// Seconds for each connection that was accepted.
    #[must_use]
    pub fn each(&self) -> Option<f64> {
        let accepted = self.accepted.filter(|accepted| *accepted > 0)?;
        Some(self.ramp.present()? / accepted as f64)
    }
}

/// What one connection takes on the server's side.
#[derive(Debug, Clone, PartialEq)]
pub struct Sizing {
    /// Bytes of kernel memory.
    pub kernel: f64,
    /// Bytes of its own memory with page tables.
    pub user: f64,
    /// How the user part is known.
    pub user_by: UserBy,
    /// Bytes of its own memory before the first connection.
    pub fixed: f64,
    /// Descriptors for each connection, with those that are open before the first connection.
    pub descriptors: Reading<DescriptorNeed>,
    /// Registrations with epoll for each connection; absent where that is not known.
    pub watches: Option<f64>,
    /// How many connections it was measured with.
    pub measured_with: u64,
    /// Threads, of whatever process, that it started with the connections, for each of them.
    pub threads: f64,
}

impl Sizing {
    /// Bytes of one connection.
    #[must_use]
    pub fn each(&self) -> f64 {
        self.kernel + self.user
    }

    /// Bytes of `connections`, with what the server takes without any.
    #[must_use]
    pub fn bytes(&self, connections: u64) -> f64 {
        self.each().mul_add(connections as f64, self.fixed)
    }

    /// Connections that fit into `bytes`, beside what the server takes without any.
    #[must_use]
    pub fn connections(&self, bytes: f64) -> u64 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // made positive
        let count = ((bytes - self.fixed) / self.each()).max(0.0) as u64;
        count
    }
}

/// How the user part of a connection is known.
#[derive(Debug, Clone, PartialEq)]
pub enum UserBy {
    /// By the slope of memory over accepted connections, which is fitted to the samples of the ramp.
    Slope(Slope),
    /// By the difference between target and baseline, because the slope does not serve.
    Difference {
        /// Why it does not.
        why: String,
    },
}

/// Descriptors that connections need.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DescriptorNeed {
    /// For each connection.
    pub each: f64,
    /// Open before the first connection, over all processes.
    pub fixed: u64,
    /// The share of all connections that the fullest process had.
    pub fullest_share: f64,
    /// Open before the first connection in the fullest process.
    pub fullest_fixed: u64,
}

impl DescriptorNeed {
    /// Over all processes.
    #[must_use]
    pub fn all(&self, connections: u64) -> u64 {
        self.fixed + ceiling(self.each * connections as f64)
    }

    /// In the fullest process.
    #[must_use]
    pub fn fullest(&self, connections: u64) -> u64 {
        self.fullest_fixed + ceiling(self.each * self.fullest_share * connections as f64)
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count
fn ceiling(number: f64) -> u64 {
    // A thousandth less is rounding of a share, not a descriptor.
    (number - 0.001).ceil().max(0.0) as u64
}

/// A line that the server wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputLine {
    /// When, in seconds since the run began.
    pub at_seconds: f64,
    /// The line, at most so long that it can be read, without control characters.
    pub text: String,
}

/// The first loss or failure.
#[derive(Debug, Clone, PartialEq)]
pub struct Trouble {
    /// When, in seconds since the run began.
    pub at_seconds: f64,
    /// What, as in: the first connection was lost.
    pub what: String,
}
