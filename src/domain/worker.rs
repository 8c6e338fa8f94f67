//! What a worker is told (its spec) and what it tells (counters, losses, failures, the result of verifying).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use serde::{Deserialize, Serialize};

use super::{
    Acceptors, ByteText, ConnCount, ConnRate, ConnectFailure, Conversation, DescriptorTables,
    EngineKind, HostIndex, LossReason, PortChoice, Role, Service, Shard, SubjectSpec, WorkerId,
};

/// `SO_KEEPALIVE` with its three values (tcp(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keepalive {
    /// Seconds of silence before the first probe (`TCP_KEEPIDLE`).
    pub idle_seconds: u32,
    /// Seconds between probes (`TCP_KEEPINTVL`).
    pub interval_seconds: u32,
    /// Unanswered probes that end the connection (`TCP_KEEPCNT`).
    pub probes: u32,
}

/// What a server is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredServerSpec")]
pub struct ServerSpec {
    /// What accepts.
    pub engine: EngineKind,
    /// Where to listen. Port 0 lets the kernel choose; the `ready` event says what it chose.
    pub listen: Vec<SocketAddrV4>,
    /// The argument of listen(2); the kernel takes the lesser of it and net.core.somaxconn.
    pub backlog: u32,
    /// How many threads wait for connections at the same time.
    pub acceptors: Acceptors,
    /// What is done with connections.
    pub service: Service,
    /// `SO_KEEPALIVE` on accepted sockets.
    pub keepalive: Option<Keepalive>,
    /// One descriptor table per thread, or one for the process.
    pub tables: DescriptorTables,
    /// How many connections to be ready for; decides the number of tables.
    pub capacity: ConnCount,
}

/// A server's spec as it may stand in a recording. Older versions wrote two switches, where there is one service now.
#[derive(Deserialize)]
struct StoredServerSpec {
    engine: EngineKind,
    listen: Vec<SocketAddrV4>,
    backlog: u32,
    acceptors: Acceptors,
    service: Option<Service>,
    accept: Option<bool>,
    read: Option<bool>,
    keepalive: Option<Keepalive>,
    tables: DescriptorTables,
    capacity: ConnCount,
}

impl From<StoredServerSpec> for ServerSpec {
    fn from(stored: StoredServerSpec) -> Self {
        let switches =
            Service::from_switches(stored.accept.unwrap_or(true), stored.read.unwrap_or(true));
        Self {
            engine: stored.engine,
            listen: stored.listen,
            backlog: stored.backlog,
            acceptors: stored.acceptors,
            service: stored.service.unwrap_or(switches),
            keepalive: stored.keepalive,
            tables: stored.tables,
            capacity: stored.capacity,
        }
    }
}

/// What a client is told. Three knobs that are easily tangled stay three values: how many (`shards`), how fast (`rate`,
/// `in_flight`), until when (the runner says so).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClientSpec {
    /// What opens.
    pub engine: EngineKind,
    /// Source addresses, ports and targets, with how many connections each.
    pub shards: Vec<Shard>,
    /// How source ports are chosen.
    pub ports: PortChoice,
    /// How many handshakes may be under way at once.
    pub in_flight: u32,
    /// A planned rate; absent means as fast as possible.
    pub rate: Option<ConnRate>,
    /// One descriptor table per thread, or one for the process.
    pub tables: DescriptorTables,
    /// How many threads dial at the same time; absent means as many as are fastest on this machine.
    pub dialers: Option<u32>,
    /// Milliseconds after which a handshake counts as timed out.
    pub connect_timeout_ms: u32,
    /// `SO_KEEPALIVE` on the sockets.
    pub keepalive: Option<Keepalive>,
    /// What is said on each connection as soon as it is open. Absent means nothing: it is silent until a task comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opening: Option<Opening>,
}

/// What is said on each connection as soon as it is open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opening {
    /// What.
    pub exchange: Conversation,
    /// Milliseconds after which a connection without an answer counts as silent.
    pub timeout_ms: u64,
}

impl ClientSpec {
    /// How many connections are wanted in all.
    #[must_use]
    pub fn connections(&self) -> ConnCount {
        ConnCount::new(self.shards.iter().map(|shard| u64::from(shard.count)).sum())
    }
}

/// What a worker is told: the first line that it reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerSpec {
    /// Open connections.
    Client(ClientSpec),
    /// Accept connections.
    Server(ServerSpec),
    /// Look after a server that is not the lab's own.
    Subject(SubjectSpec),
}

impl WorkerSpec {
    /// What the worker does.
    #[must_use]
    pub const fn role(&self) -> Role {
        match self {
            Self::Client(_) => Role::Client,
            Self::Server(_) | Self::Subject(_) => Role::Server,
        }
    }

    /// How many connections the worker is to open or to have.
    #[must_use]
    pub fn connections(&self) -> ConnCount {
        match self {
            Self::Client(client) => client.connections(),
            Self::Server(server) => server.capacity,
            Self::Subject(subject) => subject.capacity,
        }
    }

    /// Where the server's side is listened at; empty for a client.
    #[must_use]
    pub fn listen(&self) -> &[SocketAddrV4] {
        match self {
            Self::Client(_) => &[],
            Self::Server(server) => &server.listen,
            Self::Subject(subject) => &subject.listen,
        }
    }

    /// Whether the server may answer to what clients say. What another server than the lab's own answers is found out.
    #[must_use]
    pub const fn answers(&self) -> bool {
        match self {
            Self::Client(_) => false,
            Self::Server(server) => server.service.answers(),
            Self::Subject(_) => true,
        }
    }

    /// Whether the server takes connections out of its accept queue; a client does not.
    #[must_use]
    pub const fn accepts(&self) -> bool {
        match self {
            Self::Client(_) => false,
            Self::Server(server) => server.service.accepts(),
            Self::Subject(_) => true,
        }
    }
}

/// A worker of a plan: which, on which host of the topology, and what it is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedWorker {
    /// Which.
    pub id: WorkerId,
    /// Where it runs. Several workers may share a host.
    pub host: HostIndex,
    /// What it is told.
    pub spec: WorkerSpec,
}

/// What a worker has done since it began. All but `established` and `in_flight` only ever grow.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Client: handshakes that ended well. Server: connections accepted.
    pub opened: ConnCount,
    /// Held at this moment, as the worker knows it.
    pub established: ConnCount,
    /// Client: handshakes under way at this moment.
    pub in_flight: ConnCount,
    /// Client: connections given up after every attempt, by class.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        with = "failures_as_pairs"
    )]
    pub failed: BTreeMap<ConnectFailure, u64>,
    /// Connections that were established and ended though nobody here asked for it.
    pub lost: ConnCount,
    /// Client: connections whose server has answered rightly what was said as they were opened.
    #[serde(default, skip_serializing_if = "ConnCount::is_zero")]
    pub answered: ConnCount,
    /// Client: connections whose server has answered that otherwise, or not in time, or has closed them instead.
    #[serde(default, skip_serializing_if = "ConnCount::is_zero")]
    pub unanswered: ConnCount,
    /// Client: source ports that were in use elsewhere and were replaced by spare ones.
    #[serde(default)]
    pub ports_replaced: u64,
    /// Server: connections handed to another thread because a table was full.
    #[serde(default)]
    pub handovers: u64,
    /// Bytes read from connections.
    #[serde(default)]
    pub bytes_read: u64,
}

impl Counters {
    /// Connections given up, of all classes.
    #[must_use]
    pub fn failed_total(&self) -> ConnCount {
        ConnCount::new(self.failed.values().sum())
    }
}

/// JSON has only text as keys: classes of failures are written as a list of pairs.
mod failures_as_pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::ConnectFailure;

    pub(super) fn serialize<S: Serializer>(
        map: &BTreeMap<ConnectFailure, u64>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        map.iter().collect::<Vec<_>>().serialize(out)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<ConnectFailure, u64>, D::Error> {
        Ok(Vec::<(ConnectFailure, u64)>::deserialize(from)?
            .into_iter()
            .collect())
    }
}

/// A latency histogram as it travels: pairs of (microseconds, how many), ascending, zeros left out. Histograms are merged
/// before a percentile is taken; percentiles are never averaged.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LatencyCounts(pub Vec<(u64, u64)>);

/// A connection that could not be opened. Workers send the first ones of each class; the counters have all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureNote {
    /// The class.
    pub failure: ConnectFailure,
    /// From where, as far as it was known.
    pub source: Ipv4Addr,
    /// The source port, where one was chosen.
    pub port: Option<u16>,
    /// To where.
    pub target: SocketAddrV4,
}

/// Connections that were lost, seen together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LossNote {
    /// Why.
    pub reason: LossReason,
    /// How many were found at this moment.
    pub count: u64,
    /// The client's ends of the first few, as far as they are known: a server is not told of those that were reset.
    pub examples: Vec<SocketAddrV4>,
    /// The first bytes that lay unread at the client's end of one of them, at most [`WrongAnswer::MOST_BYTES`](super::WrongAnswer::MOST_BYTES): what its
    /// server said before it ended the connection. Empty where there were none.
    #[serde(default, skip_serializing_if = "ByteText::is_empty")]
    pub said: ByteText,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_of_older_recordings_mean_a_service() {
        let read = |switches: &str| -> ServerSpec {
            serde_json::from_str(&format!(
                r#"{{"engine":"epoll","listen":["127.0.0.1:9000"],"backlog":1,"acceptors":"auto",{switches}
                    "keepalive":null,"tables":"many","capacity":5}}"#
            ))
            .expect("a spec")
        };
        for (switches, service) in [
            (r#""accept":true,"read":true,"#, Service::Echo),
            (r#""accept":true,"read":false,"#, Service::Silent),
            (r#""accept":false,"read":true,"#, Service::Queue),
            (r#""service":"accept","#, Service::Accept),
            ("", Service::Echo),
        ] {
            let spec = read(switches);
            assert_eq!(spec.service, service);
            let stored = serde_json::to_string(&spec).expect("JSON");
            assert_eq!(
                serde_json::from_str::<ServerSpec>(&stored).expect("a spec"),
                spec
            );
        }
    }
}
