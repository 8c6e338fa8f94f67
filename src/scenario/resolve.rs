//! From what the YAML says to what it means: defaults are applied, and what contradicts itself is collected, all of it.

use std::num::NonZeroU32;
use std::time::Duration;

use super::raw::{
    RawAcceptors, RawBound, RawClients, RawGroup, RawKeepalive, RawNetwork, RawPlace, RawProbes,
    RawRamp, RawScenario, RawServer, RawSetting, RawVerify, RawVerifyName,
};
use super::suggest::did_you_mean;
use super::{ClientGroup, PlaceWish, Ramp, Scenario, ServerPart};
use crate::domain::{
    Acceptors, Bound, ConnCount, DescriptorTables, EngineKind, Figure, Keepalive, NetworkDriver,
    PORTS_PER_SOURCE, PlaceKind, PortChoice, PortRange, RemainingOnLoss, ReportFormat, Service,
    SettingValue, Threshold, VerifyShare,
};

/// What the lab is named after: 16 source addresses with 64,000 connections each.
pub const DEFAULT_CONNECTIONS: u64 = 1_024_000;

/// Without groups the clients are spread over this many hosts, so that each can have a processor to itself.
const DEFAULT_CLIENT_HOSTS: u64 = 2;

/// The port of a server that names none.
const DEFAULT_PORT: u16 = 9000;

/// Handshakes under way at once: from 256 on more do not make it faster, and the receive queue of a veth holds 1000.
const DEFAULT_IN_FLIGHT: u32 = 1000;

/// As large a backlog as net.core.somaxconn is ever set to here.
const DEFAULT_BACKLOG: u32 = 65_535;

/// The argument of listen(2) is a C int.
const LARGEST_BACKLOG: u32 = i32::MAX.unsigned_abs();

/// Characters of a scenario's name: as many as the name of a file may have bytes, because a file may give the name.
pub(super) const LONGEST_NAME: usize = 255;

/// Client hosts of a topology: each is a process and a namespace.
const MOST_HOSTS: u64 = 1000;

/// Interfaces of a topology: each is a veth pair and a network.
const MOST_INTERFACES: u64 = 4000;

/// Source addresses of a topology: with 64,000 connections each, a hundred times what any machine holds.
const MOST_ADDRESSES: u64 = 65_000;

/// Pairs of source and target: each is a shard of a plan.
const MOST_PAIRS: u64 = 500_000;

/// Something that contradicts itself, with the path of the key that says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contradiction {
    /// The keys from the top, such as `server`, `ports`.
    pub(super) path: Vec<String>,
    /// What is wrong, and why.
    pub(super) message: String,
    /// What to do.
    pub(super) hint: Option<String>,
}

impl Contradiction {
    pub(super) fn at(path: &[&str], message: impl Into<String>) -> Self {
        Self {
            path: path.iter().map(ToString::to_string).collect(),
            message: message.into(),
            hint: None,
        }
    }

    fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Applies defaults to `raw` and checks what no schema can say.
pub(super) fn resolve(raw: RawScenario, name: &str) -> Result<Scenario, Vec<Contradiction>> {
    let mut wrong = Vec::new();
    let server = server(&raw, &mut wrong);
    let targets = targets_per_address(&server);
    let clients = raw.clients.clone().unwrap_or_default();
    let asked = raw.connections.map(|count| count.0);
    check_name(&raw, &mut wrong);
    check_thresholds(&raw, &mut wrong);
    check_connections(asked, &mut wrong);
    let groups = groups(&clients, asked, targets, &mut wrong);
    let sized_by: &[&str] = if clients.groups.is_some() {
        &["clients", "groups"]
    } else {
        &["connections"]
    };
    check_size(&groups, targets, sized_by, &mut wrong);
    let holds = capacity(&groups, targets);
    let connections = asked.unwrap_or(holds);
    if clients.groups.is_some() && connections > holds && asked.is_some() {
        wrong.push(too_few_four_tuples(connections, holds, &groups, targets));
    }
    let server = with_queue(
        server,
        raw.server.as_ref().and_then(|s| s.backlog),
        connections,
    );
    let ramp = ramp(raw.ramp.as_ref(), &mut wrong);
    let verify = verify(raw.verify.as_ref(), &mut wrong);
    let client_keepalive = keepalive(clients.keepalive.as_ref(), "clients", &mut wrong);
    if !server.service.answers() && verify != VerifyShare::None && raw.verify.is_some() {
        let what = format!(
            "connections are proved alive by an echo, and this server does not answer (its service is {})",
            server.service
        );
        wrong.push(Contradiction::at(&["verify"], what).with_hint("verify: none"));
    }
    check_service(&server, raw.descriptor_tables, &mut wrong);
    let settings = raw.settings.unwrap_or_default();
    let scenario = Scenario {
        name: raw.name.unwrap_or_else(|| name.to_owned()),
        description: raw.description.unwrap_or_default(),
        connections: ConnCount::new(connections),
        fit: raw.fit.is_some_and(super::quantity::Switch::is_on),
        ramp,
        hold: raw.hold.map_or(Duration::from_secs(60), |hold| hold.0),
        place: place(raw.place),
        network: match raw.network {
            None | Some(RawNetwork::Bridge) => NetworkDriver::Bridge,
            Some(RawNetwork::Macvlan) => NetworkDriver::Macvlan,
        },
        verify: if server.service.answers() {
            verify
        } else {
            VerifyShare::None
        },
        verify_rate: match &raw.verify {
            Some(RawVerify::Paced(paced)) => paced.rate.as_ref().and_then(|rate| rate.0),
            _ => None,
        },
        server,
        clients: groups,
        client_engine: clients.engine.unwrap_or(EngineKind::Epoll),
        client_keepalive,
        descriptor_tables: raw.descriptor_tables.unwrap_or(DescriptorTables::Many),
        on_worker_loss: raw.on_worker_loss.unwrap_or(RemainingOnLoss::End),
        untrack: raw.untrack.is_none_or(super::quantity::Switch::is_on),
        namespace_settings: settings.namespace.into_iter().map(setting).collect(),
        host_settings: settings.host.into_iter().map(setting).collect(),
        thresholds: raw
            .thresholds
            .unwrap_or_default()
            .into_iter()
            .filter_map(threshold)
            .collect(),
        formats: raw
            .formats
            .unwrap_or_else(|| vec![ReportFormat::Charts, ReportFormat::Markdown]),
    };
    if wrong.is_empty() {
        Ok(scenario)
    } else {
        Err(wrong)
    }
}

fn check_connections(asked: Option<u64>, wrong: &mut Vec<Contradiction>) {
    if asked == Some(0) {
        wrong.push(Contradiction::at(
            &["connections"],
            "no connections at all: at least 1 is needed",
        ));
    }
}

/// A server that does not accept keeps all of `connections` in its queue, unless the scenario says how long that is.
fn with_queue(server: ServerPart, said: Option<u32>, connections: u64) -> ServerPart {
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

fn ramp(raw: Option<&RawRamp>, wrong: &mut Vec<Contradiction>) -> Ramp {
    let connect_timeout = raw
        .and_then(|ramp| ramp.connect_timeout)
        .map_or(Duration::from_secs(10), |timeout| timeout.0);
    if connect_timeout.is_zero() || u32::try_from(connect_timeout.as_millis()).is_err() {
        wrong.push(Contradiction::at(
            &["ramp", "connect_timeout"],
            "a handshake needs at least 1ms and gets at most 1000h",
        ));
    }
    Ramp {
        rate: raw.and_then(|ramp| ramp.rate).and_then(|rate| rate.0),
        in_flight: raw
            .and_then(|ramp| ramp.in_flight)
            .unwrap_or(DEFAULT_IN_FLIGHT),
        connect_timeout,
    }
}

/// A name stands on one line of a report and in the name of a directory.
fn check_name(raw: &RawScenario, wrong: &mut Vec<Contradiction>) {
    let Some(name) = &raw.name else { return };
    let characters = name.chars().count();
    if characters == 0 || characters > LONGEST_NAME || name.chars().any(char::is_control) {
        wrong.push(Contradiction::at(
            &["name"],
            format!("a name has 1 to {LONGEST_NAME} characters and no control characters"),
        ));
    }
}

/// A threshold bounds a figure of result.json.
fn check_thresholds(raw: &RawScenario, wrong: &mut Vec<Contradiction>) {
    let figures: Vec<String> = Figure::all().iter().map(ToString::to_string).collect();
    for name in raw.thresholds.iter().flatten().map(|(name, _)| name) {
        if Figure::parse(name).is_none() {
            let near = did_you_mean(name, figures.iter().map(String::as_str));
            let hint = near.map_or_else(
                || "`c1m schema result` has them all".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            wrong.push(
                Contradiction::at(
                    &["thresholds", name],
                    format!("result.json has no figure `{name}`"),
                )
                .with_hint(hint),
            );
        }
    }
}

/// No plan is made for topologies beyond all reason; `sized_by` is the key that says how large this one is.
fn check_size(
    groups: &[ClientGroup],
    targets: u64,
    sized_by: &[&str],
    wrong: &mut Vec<Contradiction>,
) {
    let hosts: u64 = groups.iter().map(|group| u64::from(group.hosts)).sum();
    let interfaces: u64 = groups
        .iter()
        .map(|group| u64::from(group.hosts) * u64::from(group.interfaces))
        .sum();
    let addresses: u64 = groups.iter().map(ClientGroup::addresses).sum();
    for (what, count, most) in [
        ("hosts", hosts, MOST_HOSTS),
        ("interfaces", interfaces, MOST_INTERFACES),
        ("source addresses", addresses, MOST_ADDRESSES),
        (
            "pairs of source and target",
            addresses.saturating_mul(targets),
            MOST_PAIRS,
        ),
    ] {
        if count > most {
            wrong.push(Contradiction::at(
                sized_by,
                format!(
                    "{} {what} are more than c1m plans for ({})",
                    ConnCount::new(count),
                    ConnCount::new(most)
                ),
            ));
        }
    }
}

/// Connections that the groups hold together when each address reaches `targets` targets.
fn capacity(groups: &[ClientGroup], targets: u64) -> u64 {
    groups
        .iter()
        .map(|group| {
            group
                .addresses()
                .saturating_mul(u64::from(group.connections_per_address))
                .saturating_mul(targets)
        })
        .fold(0, u64::saturating_add)
}

/// Targets that one source address can reach: every address and port of the server on its network.
fn targets_per_address(server: &ServerPart) -> u64 {
    u64::from(server.addresses) * server.ports.len() as u64
}

fn too_few_four_tuples(
    asked: u64,
    holds: u64,
    groups: &[ClientGroup],
    targets: u64,
) -> Contradiction {
    let addresses: u64 = groups.iter().map(ClientGroup::addresses).sum();
    let more = (asked - holds).div_ceil(u64::from(PORTS_PER_SOURCE) * targets);
    Contradiction::at(
        &["connections"],
        format!(
            "{} connections are more than the client groups can open: {} from {} addresses to {targets} target(s) each",
            ConnCount::new(asked), ConnCount::new(holds), ConnCount::new(addresses),
        ),
    )
    .with_hint(format!(
        "a connection is told apart by its four-tuple: add {more} source address(es) (hosts, interfaces or addresses_per_interface of a group), raise connections_per_address up to {}, or give the server more ports or addresses",
        PortRange::UNPRIVILEGED.len(),
    ))
}

fn server(raw: &RawScenario, wrong: &mut Vec<Contradiction>) -> ServerPart {
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
    ServerPart {
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
fn check_service(
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

fn keepalive(
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

fn groups(
    clients: &RawClients,
    asked: Option<u64>,
    targets: u64,
    wrong: &mut Vec<Contradiction>,
) -> Vec<ClientGroup> {
    let ports = clients.ports.unwrap_or(PortChoice::Explicit);
    let Some(groups) = &clients.groups else {
        return default_groups(asked.unwrap_or(DEFAULT_CONNECTIONS), targets, ports);
    };
    let mut resolved = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let group = ClientGroup {
            ports: group.ports.unwrap_or(ports),
            ..client_group(group, index, wrong)
        };
        resolved.push(group);
    }
    resolved
}

fn client_group(group: &RawGroup, index: usize, wrong: &mut Vec<Contradiction>) -> ClientGroup {
    let ports = PortRange::UNPRIVILEGED.len();
    let each = group
        .connections_per_address
        .map_or_else(|| u64::from(PORTS_PER_SOURCE), |count| count.0);
    if each == 0 || each > u64::from(ports) {
        wrong.push(
            Contradiction::at(
                &["clients", "groups", &index.to_string(), "connections_per_address"],
                format!("one address has {} usable ports (1024 to 65535), so it opens between 1 and {ports} connections to one target, not {}",
                    ConnCount::new(u64::from(ports)), ConnCount::new(each)),
            )
            .with_hint("add addresses, or ports of the server"),
        );
    }
    ClientGroup {
        hosts: group.hosts.unwrap_or(1),
        interfaces: group.interfaces.unwrap_or(1),
        addresses_per_interface: group.addresses_per_interface.unwrap_or(1),
        connections_per_address: u32::try_from(each).unwrap_or(ports).clamp(1, ports),
        ports: PortChoice::Explicit,
    }
}

/// As many addresses as `connections` need, spread over at most [`DEFAULT_CLIENT_HOSTS`] hosts.
fn default_groups(connections: u64, targets: u64, ports: PortChoice) -> Vec<ClientGroup> {
    let addresses = connections
        .div_ceil(u64::from(PORTS_PER_SOURCE) * targets.max(1))
        .max(1);
    let hosts = addresses.min(DEFAULT_CLIENT_HOSTS);
    let group = |hosts: u64, addresses: u64| ClientGroup {
        hosts: u32::try_from(hosts).unwrap_or(u32::MAX),
        interfaces: 1,
        addresses_per_interface: u32::try_from(addresses).unwrap_or(u32::MAX),
        connections_per_address: PORTS_PER_SOURCE,
        ports,
    };
    let (each, over) = (addresses / hosts, addresses % hosts);
    let mut groups = vec![group(hosts - over, each)];
    if over > 0 {
        groups.push(group(over, each + 1));
    }
    groups
}

fn verify(raw: Option<&RawVerify>, wrong: &mut Vec<Contradiction>) -> VerifyShare {
    match raw {
        None | Some(RawVerify::Named(RawVerifyName::All)) => VerifyShare::All,
        Some(RawVerify::Named(RawVerifyName::None)) => VerifyShare::None,
        Some(RawVerify::Paced(paced)) => {
            let Some(sample) = &paced.sample else {
                return VerifyShare::All;
            };
            let count = u32::try_from(sample.0).ok().and_then(NonZeroU32::new);
            if count.is_none() {
                wrong.push(
                    Contradiction::at(
                        &["verify", "sample"],
                        "a sample has between 1 and 4294967295 connections",
                    )
                    .with_hint("verify: none"),
                );
            }
            count.map_or(VerifyShare::None, VerifyShare::Sample)
        }
    }
}

const fn place(raw: Option<RawPlace>) -> PlaceWish {
    match raw {
        None | Some(RawPlace::Auto) => PlaceWish::Auto,
        Some(RawPlace::Docker) => PlaceWish::Only(PlaceKind::Docker),
        Some(RawPlace::Host) => PlaceWish::Only(PlaceKind::Host),
        Some(RawPlace::Loopback) => PlaceWish::Only(PlaceKind::Loopback),
        Some(RawPlace::Netns) => PlaceWish::Only(PlaceKind::Netns),
    }
}

fn setting((key, value): (String, RawSetting)) -> (String, SettingValue) {
    let value = match value {
        RawSetting::Exactly(text) => SettingValue::Exactly(text.0),
        RawSetting::AtLeast(bound) => SettingValue::AtLeast(bound.at_least.0),
    };
    (key, value)
}

/// A name that is no figure was refused by [`check_thresholds`].
fn threshold((name, bound): (String, RawBound)) -> Option<Threshold> {
    Some(Threshold {
        figure: Figure::parse(&name)?,
        bound: match bound {
            RawBound::AtLeast(bound) => Bound::AtLeast(bound),
            RawBound::AtMost(bound) => Bound::AtMost(bound),
        },
    })
}
