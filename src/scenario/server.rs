//! The server of a scenario: what it listens on, and what it does with connections.

use std::num::NonZeroU32;
use std::time::Duration;

use super::ServerPart;
use super::contradiction::Contradiction;
use super::raw::{RawAcceptors, RawKeepalive, RawProbes, RawScenario, RawServer};
use super::subject::subject;
use crate::domain::{Acceptors, DescriptorTables, EngineKind, Keepalive, Service, Subject};

/// The port of a server that names none.
const DEFAULT_PORT: u16 = 9000;

/// As large a backlog as net.core.somaxconn is ever set to here.
const DEFAULT_BACKLOG: u32 = 65_535;

/// The argument of listen(2) is a C int.
const LARGEST_BACKLOG: u32 = i32::MAX.unsigned_abs();

pub(super) fn server(raw: &RawScenario, wrong: &mut Vec<Contradiction>) -> ServerPart {
    let server = raw.server.clone().unwrap_or_default();
    let ports = server.ports.clone().unwrap_or_else(|| vec![DEFAULT_PORT]);
    for (index, port) in ports.iter().enumerate() {
        if ports[..index].contains(port) {
            wrong.push(Contradiction::at(
                &["server", "ports", &index.to_string()],
                format!("port {port} is listed twice"),
            ));
        }
    }
    let subject = subject(&server, wrong);
    let ports = match &subject {
        Some(Subject::Target { address }) => vec![address.port()],
        _ => ports,
    };
    ServerPart {
        subject,
        ready_within: server.ready_within.map(|within| within.0),
        engine: server.engine.unwrap_or(EngineKind::Epoll),
        addresses: server.addresses.unwrap_or(1),
        ports,
        backlog: server.backlog.unwrap_or(DEFAULT_BACKLOG),
        acceptors: match server.acceptors {
            None | Some(RawAcceptors::Named(_)) => Acceptors::Auto,
            Some(RawAcceptors::Count(count)) => {
                NonZeroU32::new(count).map_or(Acceptors::Auto, Acceptors::Count)
            }
        },
        service: service(&server, wrong),
        keepalive: keepalive(server.keepalive.as_ref(), "server", wrong),
    }
}

/// A server that does not accept keeps all of `connections` in its queue, unless the scenario says how long that is.
pub(super) fn with_queue(server: ServerPart, said: Option<u32>, connections: u64) -> ServerPart {
    if server.service.accepts() || said.is_some() {
        return server;
    }
    let all = u32::try_from(connections)
        .unwrap_or(LARGEST_BACKLOG)
        .min(LARGEST_BACKLOG);
    ServerPart {
        backlog: server.backlog.max(all),
        ..server
    }
}

/// Targets that one source address can reach: every address and port of the server on its network.
pub(super) fn targets_per_address(server: &ServerPart) -> u64 {
    u64::from(server.addresses) * server.ports.len() as u64
}

/// What the server does, from the key of today or from the two older ones.
fn service(server: &RawServer, wrong: &mut Vec<Contradiction>) -> Service {
    let older = [("accept", server.accept), ("read", server.read)];
    let Some(service) = server.service else {
        let is_on = |switch: Option<super::quantity::Switch>| {
            switch.is_none_or(super::quantity::Switch::is_on)
        };
        return Service::from_switches(is_on(server.accept), is_on(server.read));
    };
    for (name, switch) in older {
        if switch.is_some() {
            let what = format!("`service` says it already: `{name}` is an older form of it");
            wrong.push(
                Contradiction::at(&["server", name], what)
                    .with_hint(format!("keep `service: {service}` alone")),
            );
        }
    }
    service
}

/// Not every engine and every kind of tables has every service.
pub(super) fn check_service(
    server: &ServerPart,
    tables: Option<DescriptorTables>,
    wrong: &mut Vec<Contradiction>,
) {
    if !server.engine.offers(server.service) {
        let what = format!(
            "the {} engine watches every connection that it accepts",
            server.engine
        );
        wrong.push(
            Contradiction::at(&["server", "service"], what)
                .with_hint("engine: epoll, or service: silent"),
        );
    }
    if server.service == Service::Accept
        && tables == Some(DescriptorTables::One)
        && server.acceptors != Acceptors::Auto
    {
        wrong.push(
            Contradiction::at(
                &["server", "service"],
                "unwatched connections are looked after by the one thread of their table, and here several threads share it",
            )
            .with_hint("descriptor_tables: many, or service: silent"),
        );
    }
}

pub(super) fn keepalive(
    raw: Option<&RawKeepalive>,
    part: &str,
    wrong: &mut Vec<Contradiction>,
) -> Option<Keepalive> {
    let RawProbes {
        idle,
        interval,
        probes,
    } = match raw? {
        RawKeepalive::Probes(probes) => probes,
        RawKeepalive::Switch(switch) => {
            if switch.is_on() {
                wrong.push(
                    Contradiction::at(&[part, "keepalive"], "yes does not say when to probe")
                        .with_hint("keepalive: {idle: 60s, interval: 10s, probes: 6}"),
                );
            }
            return None;
        }
    };
    // tcp(7): the kernel takes 1 to 32767 seconds.
    let mut seconds = |key: &str, duration: Duration| {
        let whole = duration.as_secs();
        if duration.subsec_nanos() != 0 || !(1..=32_767).contains(&whole) {
            wrong.push(Contradiction::at(
                &[part, "keepalive", key],
                "the kernel takes whole seconds, from 1s to 32767s",
            ));
        }
        u32::try_from(whole).unwrap_or(32_767)
    };
    Some(Keepalive {
        idle_seconds: seconds("idle", idle.0),
        interval_seconds: seconds("interval", interval.0),
        probes: *probes,
    })
}
