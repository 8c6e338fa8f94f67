//! What a run tells while it is under way, for the terminal. The recording has its own, fuller log.

use std::path::PathBuf;

use crate::domain::{Bytes, ConnCount, ConnRate, Phase, WorkerId};

/// News of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// The run directory was made.
    Recording {
        /// Where.
        directory: PathBuf,
    },
    /// A phase began.
    Phase(Phase),
    /// Something worth a line.
    Note(String),
    /// Something that a reader of the report has to know.
    Warning(String),
    /// How far it is; comes about ten times a second.
    Live(Live),
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq)]
pub struct Live {
    /// The phase.
    pub phase: Phase,
    /// Each client: how many it holds, and how many it is to open.
    pub clients: Vec<(WorkerId, ConnCount, ConnCount)>,
    /// All clients together hold this many.
    pub established: ConnCount,
    /// What the server has accepted and holds.
    pub served: ConnCount,
    /// How far a server that is not the lab's own has accepted: what it has taken, and what waits in its accept queues.
    pub accepting: Option<(ConnCount, ConnCount)>,
    /// Connections that were answered as they were opened, where they say something then.
    pub answered: Option<ConnCount>,
    /// The plan's target.
    pub target: ConnCount,
    /// Connections given up.
    pub failed: ConnCount,
    /// Connections lost.
    pub lost: ConnCount,
    /// Rate of the last second or so.
    pub rate: Option<ConnRate>,
    /// Slab memory that has come since the baseline, for each connection; both ends, which are both here.
    pub bytes_per_connection: Option<f64>,
    /// What is left of memory, and in what: the machine, or the control group whose limit leaves less.
    pub memory_left: Option<(Bytes, String)>,
    /// Seconds of the hold that are left, during the hold.
    pub hold_left_seconds: Option<f64>,
}
