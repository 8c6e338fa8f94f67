//! The plan: complete and feasible. It prints, it can be stored, and everything after it only carries it out.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::domain::{
    BudgetRow, ConnCount, ConnRate, Conversation, Ends, FourTuples, HostIndex, LimitSearch,
    NetworkDriver, PlaceChoice, PlaceMaking, PlannedWorker, RemainingOnLoss, ReportFormat,
    RunSummary, SettingChange, Shortfall, Stage, Threshold, WorkerId, WorkerSpec, WorkerSummary,
};

/// A plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The scenario's name.
    pub scenario: String,
    /// Where, and why there.
    pub place: PlaceChoice,
    /// How the place is to be made.
    pub how: PlaceMaking,
    /// Connections asked for.
    pub requested: ConnCount,
    /// Connections planned: fewer than asked for only when the plan was made to fit.
    pub target: ConnCount,
    /// What made it fewer.
    pub reduced_by: Vec<Shortfall>,
    /// The hosts of the topology; the server's is the first.
    pub hosts: Vec<HostPlan>,
    /// Which ends of the connections have kernel sockets on this kernel.
    pub ends: Ends,
    /// The workers: the server first, because clients may reach for it as soon as they start.
    pub workers: Vec<PlannedWorker>,
    /// What is done with the connections, in order.
    pub stages: Vec<Stage>,
    /// What the clients say on each connection.
    #[serde(default, skip_serializing_if = "Conversation::is_echo")]
    pub protocol: Conversation,
    /// Whether connections are opened until something gives way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitSearch>,
    /// What to do when a worker dies.
    pub on_worker_loss: RemainingOnLoss,
    /// Settings to be made.
    pub settings: SettingsPlan,
    /// The four-tuple budget.
    pub four_tuples: FourTuples,
    /// What is needed and what is there.
    pub budget: Vec<BudgetRow>,
    /// Bytes that one connection is expected to cost, both ends, with where the figure comes from.
    pub expected_bytes_per_connection: f64,
    /// Whether connection tracking is in the path of the connections, and what is done about it.
    pub conntrack: String,
    /// Whether the lab's range is to be kept out of connection tracking.
    pub untrack: bool,
    /// Thresholds to hold the result against.
    pub thresholds: Vec<Threshold>,
    /// What is written beside `result.json`.
    #[serde(default = "ReportFormat::all")]
    pub formats: Vec<ReportFormat>,
    /// What a reader should know beforehand.
    pub notes: Vec<String>,
}

impl Plan {
    /// What the report must know of it.
    #[must_use]
    pub fn summary(&self) -> RunSummary {
        RunSummary {
            scenario: self.scenario.clone(),
            how: self.how,
            ends: self.ends,
            requested: self.requested,
            target: self.target,
            reduced_by: self.reduced_by.clone(),
            workers: self
                .workers
                .iter()
                .map(|planned| WorkerSummary {
                    planned: planned.clone(),
                    networks: self.networks_of(planned.host),
                })
                .collect(),
            stages: self.stages.clone(),
            limit: self.limit,
            protocol: self.protocol.clone(),
            four_tuples: self.four_tuples,
            budget: self.budget.clone(),
            expected_bytes_per_connection: self.expected_bytes_per_connection,
            conntrack: self.conntrack.clone(),
            established_hash_entries: self.settings.established_hash_entries,
            thresholds: self.thresholds.clone(),
            formats: self.formats.clone(),
            notes: self.notes.clone(),
        }
    }

    fn networks_of(&self, host: HostIndex) -> Vec<String> {
        let host = self.hosts.iter().find(|known| known.index == host);
        host.map_or_else(Vec::new, |host| {
            let each = host.interfaces.iter();
            each.map(|interface| interface.subnet.to_string()).collect()
        })
    }

    /// What the networks between containers are made of. The other places have none, and it says nothing there.
    #[must_use]
    pub fn network_driver(&self) -> NetworkDriver {
        super::joined_by(&self.place)
    }

    /// The first server that the plan starts.
    #[must_use]
    pub fn server(&self) -> Option<(WorkerId, &crate::domain::ServerSpec)> {
        self.workers.iter().find_map(|worker| match &worker.spec {
            WorkerSpec::Server(server) => Some((worker.id, server)),
            WorkerSpec::Client(_) | WorkerSpec::Subject(_) => None,
        })
    }

    /// The server that is not the lab's own, where the run has one.
    #[must_use]
    pub fn subject(&self) -> Option<&crate::domain::SubjectSpec> {
        self.workers.iter().find_map(|worker| match &worker.spec {
            WorkerSpec::Subject(subject) => Some(subject),
            WorkerSpec::Client(_) | WorkerSpec::Server(_) => None,
        })
    }

    /// Connections a second that were planned, over all clients; absent where they are opened as fast as they can be.
    #[must_use]
    pub fn planned_rate(&self) -> Option<ConnRate> {
        self.workers.iter().find_map(|worker| match &worker.spec {
            WorkerSpec::Client(client) => client.rate,
            WorkerSpec::Server(_) | WorkerSpec::Subject(_) => None,
        })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn listen(&self) -> &[std::net::SocketAddrV4] {
        self.workers
            .iter()
            .find(|worker| worker.id.is_server())
            .map_or(&[], |worker| worker.spec.listen())
    }

    /// The workers that run on `host`.
    pub fn workers_on(&self, host: HostIndex) -> impl Iterator<Item = &PlannedWorker> {
        self.workers
            .iter()
            .filter(move |worker| worker.host == host)
    }
}

/// One host of the topology.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPlan {
    /// Which: 0 is the server's.
    pub index: HostIndex,
    /// Its interfaces. Empty on loopback.
    pub interfaces: Vec<Interface>,
}

/// One interface with its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Which network of the topology it is on: two interfaces with the same number are joined.
    pub network: usize,
    /// The network's subnet.
    pub subnet: ipnet::Ipv4Net,
    /// Its addresses; the first is the one that the interface is told by.
    pub addresses: Vec<Ipv4Addr>,
}

/// A veth pair that joins a client's interface to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VethPair {
    /// The network that it is.
    pub network: usize,
    /// The client.
    pub client: HostIndex,
}

/// Settings to be made, with reasons.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsPlan {
    /// In each network namespace of the topology.
    pub namespace: Vec<SettingChange>,
    /// On the host, through the journal.
    pub host: Vec<SettingChange>,
    /// Buckets of the established hash of each namespace, given through a parent namespace of our own; absent means the
    /// kernel's default.
    pub established_hash_entries: Option<u64>,
}
