//! The plan: complete and feasible. It prints, it can be stored, and everything after it only carries it out.

use std::net::Ipv4Addr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{
    BudgetRow, ConnCount, FourTuples, HostIndex, NetworkDriver, PlaceChoice, PlaceKind,
    SettingChange, Shortfall, VerifyShare, WorkerSpec,
};
use crate::scenario::{RemainingOnLoss, ReportFormat, Threshold};

/// A plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The scenario's name.
    pub scenario: String,
    /// Where, and why there.
    pub place: PlaceChoice,
    /// How the place is to be made.
    pub how: PlanPlace,
    /// What the networks between containers are made of; the other places have none.
    #[serde(default)]
    pub network_driver: NetworkDriver,
    /// Connections asked for.
    pub requested: ConnCount,
    /// Connections planned: fewer than asked for only when the plan was made to fit.
    pub target: ConnCount,
    /// What made it fewer.
    pub reduced_by: Vec<Shortfall>,
    /// The hosts of the topology; the server's is the first. With one host all workers share it.
    pub hosts: Vec<HostPlan>,
    /// The workers: the server, then the clients. Worker n runs on host n, or on the only host.
    pub workers: Vec<WorkerSpec>,
    /// How long to hold.
    pub hold: Duration,
    /// How many connections to prove alive.
    pub verify: VerifyShare,
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
    #[serde(default = "every_format")]
    pub formats: Vec<ReportFormat>,
    /// What a reader should know beforehand.
    pub notes: Vec<String>,
}

/// What plans that name no format ask for.
fn every_format() -> Vec<ReportFormat> {
    vec![ReportFormat::Charts, ReportFormat::Markdown]
}

/// How a place is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanPlace {
    /// Containers and networks of the Docker engine.
    Docker,
    /// The host's own loopback: nothing is made.
    HostLoopback,
    /// One private network namespace with nothing but a loopback.
    PrivateLoopback {
        /// Made inside a user namespace of our own, because the user may not make it otherwise.
        in_user_namespace: bool,
    },
    /// A network namespace for each host, joined by veth pairs.
    Netns {
        /// Made inside a user namespace of our own, because the user may not make them otherwise.
        in_user_namespace: bool,
    },
}

impl PlanPlace {
    /// The kind of place.
    #[must_use]
    pub const fn kind(self) -> PlaceKind {
        match self {
            Self::Docker => PlaceKind::Docker,
            Self::HostLoopback | Self::PrivateLoopback { .. } => PlaceKind::Loopback,
            Self::Netns { .. } => PlaceKind::Netns,
        }
    }

    /// Whether the runner has to move into a user namespace of its own first.
    #[must_use]
    pub const fn needs_user_namespace(self) -> bool {
        matches!(
            self,
            Self::PrivateLoopback {
                in_user_namespace: true
            } | Self::Netns {
                in_user_namespace: true
            }
        )
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
