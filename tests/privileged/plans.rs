//! Plans for the tests of places, as small as they can be.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU32;
use std::time::Duration;

use c1m::domain::{
    Acceptors, ConnCount, Conversation, DescriptorTables, Ends, EngineKind, FourTuples, HostIndex,
    PlaceChoice, PlaceMaking, PlannedWorker, RemainingOnLoss, ServerSpec, Service, SettingChange,
    SettingScope, SettingValue, Stage, VerifyShare, WorkerId, WorkerSpec,
};
use c1m::plan::{HostPlan, Interface, Plan, SettingsPlan};

/// The spec of a server that listens nowhere: the programs of these tests do not read it.
pub(crate) fn any_spec() -> WorkerSpec {
    WorkerSpec::Server(ServerSpec {
        engine: EngineKind::Epoll,
        listen: vec![SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)],
        backlog: 1,
        acceptors: Acceptors::Count(NonZeroU32::MIN),
        service: Service::Echo,
        keepalive: None,
        tables: DescriptorTables::One,
        capacity: ConnCount::new(1),
    })
}

/// A worker of that kind on `host`: 0 is the server, n is client n.
pub(crate) fn any_worker(number: u32, host: usize) -> PlannedWorker {
    PlannedWorker {
        id: match number {
            0 => WorkerId::SERVER,
            client => WorkerId::client(client),
        },
        host: HostIndex(host),
        spec: any_spec(),
    }
}

/// A plan of hosts that are made in a certain way.
pub(crate) fn plan(how: PlaceMaking, hosts: Vec<HostPlan>) -> Plan {
    Plan {
        limit: None,
        scenario: "test".to_owned(),
        place: PlaceChoice {
            place: how.kind(),
            asked: true,
            why: "a test asks for it".to_owned(),
            why_not: Vec::new(),
            network: None,
        },
        how,
        requested: ConnCount::ZERO,
        target: ConnCount::ZERO,
        reduced_by: Vec::new(),
        workers: (0..)
            .zip(&hosts)
            .map(|(number, host)| any_worker(number, host.index.0))
            .collect(),
        hosts,
        ends: Ends::Both,
        stages: Stage::plain(ConnCount::new(1), Duration::ZERO, VerifyShare::All),
        protocol: Conversation::Echo,
        on_worker_loss: RemainingOnLoss::End,
        settings: SettingsPlan::default(),
        four_tuples: FourTuples {
            sources: 1,
            ports_each: 1,
            targets: 1,
        },
        budget: Vec::new(),
        expected_bytes_per_connection: 0.0,
        conntrack: String::new(),
        untrack: false,
        thresholds: Vec::new(),
        formats: Vec::new(),
        notes: Vec::new(),
    }
}

/// A host with one interface on each of the first `networks` networks and `addresses` addresses on each, from
/// `198.18.NETWORK.first` on.
pub(crate) fn host(index: usize, networks: u8, first: u8, addresses: u8) -> HostPlan {
    let interfaces = (0..networks).map(|network| Interface {
        network: usize::from(network),
        subnet: format!("198.18.{network}.0/24").parse().expect("a subnet"),
        addresses: (first..first + addresses)
            .map(|last| Ipv4Addr::new(198, 18, network, last))
            .collect(),
    });
    HostPlan {
        index: HostIndex(index),
        interfaces: interfaces.collect(),
    }
}

/// A setting of a namespace.
pub(crate) fn setting(key: &str, wanted: SettingValue) -> SettingChange {
    SettingChange {
        key: key.to_owned(),
        scope: SettingScope::Namespace,
        wanted,
        reason: "a test wants it".to_owned(),
    }
}
