//! What a report must know of the plan: the part of it that is recorded beside the events and samples. A recording needs
//! no planner to be understood.

use serde::{Deserialize, Serialize};

use super::{
    Bound, BudgetRow, ConnCount, Conversation, Ends, Figure, FourTuples, LimitSearch, PlaceMaking,
    PlannedWorker, ReportFormat, Role, ServerSpec, Shortfall, Stage, SubjectSpec, WorkerSpec,
};

/// The plan as the report sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// The scenario's name.
    pub scenario: String,
    /// How the place was made.
    pub how: PlaceMaking,
    /// Which ends of the connections are on this kernel.
    #[serde(default)]
    pub ends: Ends,
    /// Connections asked for.
    pub requested: ConnCount,
    /// Connections planned.
    pub target: ConnCount,
    /// What made it fewer.
    #[serde(default)]
    pub reduced_by: Vec<Shortfall>,
    /// The workers, the server first.
    pub workers: Vec<WorkerSummary>,
    /// The stages, in order.
    pub stages: Vec<Stage>,
    /// Whether connections were opened until something gave way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitSearch>,
    /// What the clients say on each connection.
    #[serde(default, skip_serializing_if = "Conversation::is_echo")]
    pub protocol: Conversation,
    /// The four-tuple budget.
    pub four_tuples: FourTuples,
    /// What was needed and what was there.
    #[serde(default)]
    pub budget: Vec<BudgetRow>,
    /// Bytes that one connection was expected to cost, both ends.
    pub expected_bytes_per_connection: f64,
    /// Whether connection tracking is in the path of the connections, and what was done about it.
    #[serde(default)]
    pub conntrack: String,
    /// Buckets of the hash of established connections of each namespace of the lab; absent where it has the kernel's.
    #[serde(default)]
    pub established_hash_entries: Option<u64>,
    /// Thresholds to hold the result against.
    #[serde(default)]
    pub thresholds: Vec<Threshold>,
    /// What is written beside `result.json`.
    #[serde(default = "ReportFormat::all")]
    pub formats: Vec<ReportFormat>,
    /// What a reader should know beforehand.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A worker of the plan and the networks that it is on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkerSummary {
    /// The worker.
    #[serde(flatten)]
    pub planned: PlannedWorker,
    /// Subnets of its host's interfaces; empty on loopback.
    #[serde(default)]
    pub networks: Vec<String>,
}

/// A bound on something that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// What is bounded.
    pub figure: Figure,
    /// Which way, and where.
    pub bound: Bound,
}

impl RunSummary {
    /// What the server was told.
    #[must_use]
    pub fn server(&self) -> Option<&ServerSpec> {
        self.workers
            .iter()
            .find_map(|worker| match &worker.planned.spec {
                WorkerSpec::Server(server) => Some(server),
                WorkerSpec::Client(_) | WorkerSpec::Subject(_) => None,
            })
    }

    /// The server that is not the lab's own, where the run has one.
    #[must_use]
    pub fn subject(&self) -> Option<&SubjectSpec> {
        self.workers
            .iter()
            .find_map(|worker| match &worker.planned.spec {
                WorkerSpec::Subject(subject) => Some(subject),
                WorkerSpec::Client(_) | WorkerSpec::Server(_) => None,
            })
    }

    /// The workers of one role.
    pub fn workers_of(&self, role: Role) -> impl Iterator<Item = &WorkerSummary> {
        self.workers
            .iter()
            .filter(move |worker| worker.planned.id.role == role)
    }
}
