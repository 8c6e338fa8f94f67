//! A scenario as YAML in the words of a scenario file, so that what a run has recorded can be checked and run again. What
//! is written here and read again by `load.rs` is the same scenario; `tests/scenarios.rs` holds both to it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::protocol::ProtocolText;
use super::{ClientGroup, NetworkRequest, PlaceRequest, Scenario, ServerPart};
use crate::domain::{
    Acceptors, Bound, ConnCount, ConnRate, DescriptorTables, EngineKind, Keepalive, PortChoice,
    RemainingOnLoss, ReportFormat, Service, SettingValue, StartOptions, Subject, Threshold,
    VerifyShare,
};

/// A scenario with every default applied, as a scenario file.
///
/// # Errors
/// When the YAML writer refuses, which it does for no scenario.
pub fn to_yaml(scenario: &Scenario) -> Result<String, serde_yaml::ser::Error> {
    serde_yaml::to_string(&File::of(scenario))
}

/// The file, in the order in which a reader asks.
#[derive(Serialize)]
struct File<'s> {
    name: &'s str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'s str,
    connections: u64,
    fit: &'static str,
    hold: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
    place: &'static str,
    network: &'static str,
    ramp: Ramp,
    server: Server<'s>,
    clients: Clients,
    descriptor_tables: DescriptorTables,
    protocol: ProtocolText<'s>,
    verify: Verify,
    on_worker_loss: RemainingOnLoss,
    untrack: &'static str,
    #[serde(skip_serializing_if = "Settings::is_empty")]
    settings: Settings<'s>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    thresholds: BTreeMap<String, BoundText>,
    formats: &'s [ReportFormat],
}

#[derive(Serialize)]
struct Limit {
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<u64>,
}

#[derive(Serialize)]
struct Ramp {
    rate: String,
    in_flight: u32,
    connect_timeout: String,
    speak: &'static str,
}

/// The lab's own server, or another one: each has keys that the other has not.
#[derive(Serialize)]
#[serde(untagged)]
enum Server<'s> {
    Own(OwnServer<'s>),
    Subject(Box<SubjectServer<'s>>),
}

#[derive(Serialize)]
struct OwnServer<'s> {
    engine: EngineKind,
    addresses: u32,
    ports: &'s [u16],
    backlog: u32,
    acceptors: AcceptorsText,
    service: Service,
    keepalive: KeepaliveText,
}

#[derive(Default, Serialize)]
struct SubjectServer<'s> {
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    command: &'s [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(skip_serializing_if = "<[u16]>::is_empty")]
    ports: &'s [u16],
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<&'s BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_folder: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'s str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<Limits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    mounts: &'s [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    ready_within: Option<String>,
}

#[derive(Serialize)]
struct Limits {
    nofile: u64,
}

#[derive(Serialize)]
struct Clients {
    engine: EngineKind,
    keepalive: KeepaliveText,
    groups: Vec<Group>,
}

#[derive(Serialize)]
struct Group {
    hosts: u32,
    interfaces: u32,
    addresses_per_interface: u32,
    connections_per_address: u32,
    ports: PortChoice,
}

#[derive(Serialize)]
#[serde(untagged)]
enum AcceptorsText {
    Auto(&'static str),
    Count(u32),
}

#[derive(Serialize)]
#[serde(untagged)]
enum KeepaliveText {
    No(&'static str),
    Probes {
        idle: String,
        interval: String,
        probes: u32,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
enum Verify {
    Named(&'static str),
    Paced {
        #[serde(skip_serializing_if = "Option::is_none")]
        sample: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        rate: Option<String>,
    },
}

#[derive(Serialize)]
struct Settings<'s> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    namespace: BTreeMap<&'s str, Setting<'s>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    host: BTreeMap<&'s str, Setting<'s>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Setting<'s> {
    Exactly(&'s str),
    AtLeast { at_least: u64 },
}

#[derive(Serialize)]
#[serde(untagged)]
enum BoundText {
    AtLeast { at_least: f64 },
    AtMost { at_most: f64 },
}

impl<'s> File<'s> {
    fn of(scenario: &'s Scenario) -> Self {
        Self {
            name: &scenario.name,
            description: &scenario.description,
            connections: scenario.connections.count(),
            fit: switch(scenario.fit),
            hold: duration(scenario.hold),
            limit: scenario.limit.map(|limit| Limit {
                at_least: limit.at_least.map(ConnCount::count),
            }),
            place: match scenario.place {
                PlaceRequest::Auto => "auto",
                PlaceRequest::Only(place) => place.name(),
            },
            network: match scenario.network {
                NetworkRequest::Auto => "auto",
                NetworkRequest::Only(driver) => driver.name(),
            },
            ramp: Ramp {
                rate: scenario
                    .ramp
                    .rate
                    .map_or_else(|| "as_fast_as_possible".to_owned(), rate),
                in_flight: scenario.ramp.in_flight,
                connect_timeout: duration(scenario.ramp.connect_timeout),
                speak: switch(scenario.ramp.speak),
            },
            server: Server::of(&scenario.server),
            clients: Clients {
                engine: scenario.client_engine,
                keepalive: keepalive(scenario.client_keepalive),
                groups: scenario.clients.iter().map(Group::of).collect(),
            },
            descriptor_tables: scenario.descriptor_tables,
            protocol: ProtocolText::of(&scenario.protocol),
            verify: verify(scenario),
            on_worker_loss: scenario.on_worker_loss,
            untrack: switch(scenario.untrack),
            settings: Settings {
                namespace: settings(&scenario.namespace_settings),
                host: settings(&scenario.host_settings),
            },
            thresholds: scenario.thresholds.iter().map(bound).collect(),
            formats: &scenario.formats,
        }
    }
}

impl<'s> Server<'s> {
    fn of(server: &'s ServerPart) -> Self {
        if let Some(subject) = &server.subject {
            return Self::Subject(Box::new(SubjectServer::of(subject, server)));
        }
        Self::Own(OwnServer {
            engine: server.engine,
            addresses: server.addresses,
            ports: &server.ports,
            backlog: server.backlog,
            acceptors: match server.acceptors {
                Acceptors::Auto => AcceptorsText::Auto("auto"),
                Acceptors::Count(count) => AcceptorsText::Count(count.get()),
            },
            service: server.service,
            keepalive: keepalive(server.keepalive),
        })
    }
}

impl<'s> SubjectServer<'s> {
    fn of(subject: &'s Subject, server: &'s ServerPart) -> Self {
        let started = |options: &'s StartOptions| Self {
            ports: &server.ports,
            environment: Some(&options.environment).filter(|map| !map.is_empty()),
            working_folder: options.working_folder.as_deref(),
            user: options.user.as_deref(),
            limits: options.nofile.map(|nofile| Limits { nofile }),
            memory: options.memory.map(|memory| format!("{}B", memory.bytes())),
            ready_within: server.ready_within.map(duration),
            ..Self::default()
        };
        match subject {
            Subject::Command(command) => Self {
                command: &command.words,
                ..started(&command.options)
            },
            Subject::Image(image) => Self {
                image: Some(&image.image),
                command: &image.words,
                mounts: &image.mounts,
                ..started(&image.options)
            },
            Subject::Process { pid } => Self {
                pid: Some(*pid),
                ports: &server.ports,
                ..Self::default()
            },
            Subject::Target { address } => Self {
                target: Some(address.to_string()),
                ..Self::default()
            },
        }
    }
}

impl Group {
    const fn of(group: &ClientGroup) -> Self {
        Self {
            hosts: group.hosts,
            interfaces: group.interfaces,
            addresses_per_interface: group.addresses_per_interface,
            connections_per_address: group.connections_per_address,
            ports: group.ports,
        }
    }
}

impl Settings<'_> {
    fn is_empty(&self) -> bool {
        self.namespace.is_empty() && self.host.is_empty()
    }
}

fn verify(scenario: &Scenario) -> Verify {
    let paced = scenario.verify_rate.map(rate);
    match scenario.verify {
        VerifyShare::None => Verify::Named("none"),
        VerifyShare::All if paced.is_none() => Verify::Named("all"),
        VerifyShare::All => Verify::Paced {
            sample: None,
            rate: paced,
        },
        VerifyShare::Sample(sample) => Verify::Paced {
            sample: Some(sample.get()),
            rate: paced,
        },
    }
}

fn rate(rate: ConnRate) -> String {
    format!("{}/s", rate.per_second())
}

const fn switch(on: bool) -> &'static str {
    if on { "yes" } else { "no" }
}

/// The largest unit that says it in a whole number; else seconds with as many decimals as it takes.
fn duration(time: Duration) -> String {
    if time.subsec_nanos() == 0 {
        return format!("{}s", time.as_secs());
    }
    if time.subsec_nanos().is_multiple_of(1_000_000) {
        return format!("{}ms", time.as_millis());
    }
    let decimals = format!("{:09}", time.subsec_nanos());
    format!("{}.{}s", time.as_secs(), decimals.trim_end_matches('0'))
}

fn keepalive(keepalive: Option<Keepalive>) -> KeepaliveText {
    keepalive.map_or(KeepaliveText::No("no"), |keepalive| KeepaliveText::Probes {
        idle: format!("{}s", keepalive.idle_seconds),
        interval: format!("{}s", keepalive.interval_seconds),
        probes: keepalive.probes,
    })
}

fn settings(settings: &BTreeMap<String, SettingValue>) -> BTreeMap<&str, Setting<'_>> {
    settings
        .iter()
        .map(|(key, value)| {
            let value = match value {
                SettingValue::Exactly(text) => Setting::Exactly(text),
                SettingValue::AtLeast(bound) => Setting::AtLeast { at_least: *bound },
            };
            (key.as_str(), value)
        })
        .collect()
}

fn bound(threshold: &Threshold) -> (String, BoundText) {
    let bound = match threshold.bound {
        Bound::AtLeast(at_least) => BoundText::AtLeast { at_least },
        Bound::AtMost(at_most) => BoundText::AtMost { at_most },
    };
    (threshold.figure.to_string(), bound)
}
