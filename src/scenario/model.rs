//! What a scenario means once defaults are applied: the value that planning starts from. What the YAML may say is in
//! `raw.rs`; how one becomes the other in `resolve.rs`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domain::{
    Acceptors, ConnCount, ConnRate, Conversation, DescriptorTables, EngineCost, EngineKind,
    Keepalive, LimitSearch, NetworkDriver, PlaceKind, PortChoice, RemainingOnLoss, ReportFormat,
    Service, SettingValue, Subject, Threshold, VerifyShare,
};

/// A scenario with every default applied.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// Its name: the file's stem, or `default`.
    pub name: String,
    /// What it is for, in a sentence.
    pub description: String,
    /// How many connections in all.
    pub connections: ConnCount,
    /// Whether to reduce that number to what fits, rather than refuse.
    pub fit: bool,
    /// How fast.
    pub ramp: Ramp,
    /// How long to hold them.
    pub hold: Duration,
    /// Whether connections are opened until something gives way, rather than a number held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<LimitSearch>,
    /// Where to run.
    pub place: PlaceRequest,
    /// What the networks between containers are made of.
    pub network: NetworkRequest,
    /// The server.
    pub server: ServerPart,
    /// The client hosts, group by group.
    pub clients: Vec<ClientGroup>,
    /// What opens connections.
    pub client_engine: EngineKind,
    /// `SO_KEEPALIVE` of the clients.
    pub client_keepalive: Option<Keepalive>,
    /// Whether each worker has many descriptor tables, or one as an ordinary program.
    pub descriptor_tables: DescriptorTables,
    /// What the clients say on each connection.
    #[serde(default, skip_serializing_if = "Conversation::is_echo")]
    pub protocol: Conversation,
    /// How many connections to prove alive.
    pub verify: VerifyShare,
    /// Exchanges a second that are planned, over all clients. Absent means a closed loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_rate: Option<ConnRate>,
    /// What to do when a worker dies.
    pub on_worker_loss: RemainingOnLoss,
    /// Whether the lab's own traffic is kept out of connection tracking (`true`), where anything tracks it.
    pub untrack: bool,
    /// Settings of each network namespace, by key.
    pub namespace_settings: BTreeMap<String, SettingValue>,
    /// Settings of the host, by key. Written only when the user allows it.
    pub host_settings: BTreeMap<String, SettingValue>,
    /// Bounds on what is measured.
    pub thresholds: Vec<Threshold>,
    /// What is written beside `result.json`.
    pub formats: Vec<ReportFormat>,
}

/// How fast to open connections.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ramp {
    /// A planned rate over all clients; absent means as fast as possible.
    pub rate: Option<ConnRate>,
    /// Handshakes under way at once, over all clients.
    pub in_flight: u32,
    /// After this long a handshake counts as timed out.
    pub connect_timeout: Duration,
    /// Whether each connection says what the protocol says as soon as it is open.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub speak: bool,
}

/// Where a scenario wants to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaceRequest {
    /// Docker where an engine answers on this kernel and may be used, else namespaces, else loopback.
    Auto,
    /// This one, or refuse.
    Only(PlaceKind),
}

/// What a scenario wants the networks between containers to be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkRequest {
    /// Links where they can be had, else bridges.
    Auto,
    /// This, or refuse.
    Only(NetworkDriver),
}

/// The server of a scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerPart {
    /// The server that is measured, where it is not the lab's own. The rest but `ports` then says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// How long such a server may take until it listens; absent means [`ServerPart::READY_WITHIN`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_within: Option<Duration>,
    /// What accepts.
    pub engine: EngineKind,
    /// How many addresses to listen on, on each of its networks.
    pub addresses: u32,
    /// The ports to listen on, at each address.
    pub ports: Vec<u16>,
    /// The argument of listen(2).
    pub backlog: u32,
    /// How many threads wait for connections at the same time.
    pub acceptors: Acceptors,
    /// What it does with connections.
    pub service: Service,
    /// `SO_KEEPALIVE` of accepted sockets.
    pub keepalive: Option<Keepalive>,
}

impl ServerPart {
    /// How long a server may take until it listens, where the scenario does not say it.
    pub const READY_WITHIN: Duration = Duration::from_secs(30);

    /// What its end of a connection costs beside the kernel's socket, as far as that is known before a run: of a server
    /// that is not the lab's own nothing is, but that it has a descriptor and most likely one epoll watch.
    #[must_use]
    pub const fn cost(&self) -> EngineCost {
        match self.subject {
            Some(_) => EngineCost {
                user_bytes: 0.0,
                watches: 1,
                descriptors: 1,
            },
            None => self.engine.server_cost(self.service),
        }
    }
}

/// Client hosts of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientGroup {
    /// How many such hosts.
    pub hosts: u32,
    /// Interfaces of each.
    pub interfaces: u32,
    /// Addresses of each interface.
    pub addresses_per_interface: u32,
    /// Connections from each address, to each target where there are several: at most this many.
    pub connections_per_address: u32,
    /// How source ports are chosen.
    pub ports: PortChoice,
}

impl ClientGroup {
    /// Source addresses of all its hosts together.
    #[must_use]
    pub fn addresses(&self) -> u64 {
        u64::from(self.hosts) * u64::from(self.interfaces) * u64::from(self.addresses_per_interface)
    }
}
