//! From what the YAML says to what it means: defaults are applied, and what contradicts itself is collected, all of it.

use std::num::NonZeroU32;
use std::time::Duration;

use super::contradiction::Contradiction;
use super::groups::{DEFAULT_CLIENT_HOSTS, capacity, check_size, groups, too_few_four_tuples};
use super::protocol::{check_protocol, default_protocol, protocol};
use super::quantity::Switch;
use super::raw::{
    RawBound, RawLimit, RawNetwork, RawPlace, RawRamp, RawScenario, RawVerify, RawVerifyName,
};
use super::raw_settings::RawSetting;
use super::server::{check_service, keepalive, server, targets_per_address, with_queue};
use super::suggest::did_you_mean;
use super::{NetworkRequest, PlaceRequest, Ramp, Scenario, ServerPart};
use crate::domain::{
    Bound, ConnCount, DescriptorTables, EngineKind, Figure, LimitSearch, NetworkDriver, PlaceKind,
    RemainingOnLoss, ReportFormat, SettingValue, Threshold, VerifyShare,
};

/// Handshakes under way at once: from 256 on more do not make it faster, and the receive queue of a veth holds 1000.
const DEFAULT_IN_FLIGHT: u32 = 1000;

/// Characters of a scenario's name: as many as the name of a file may have bytes, because a file may give the name.
pub(super) const LONGEST_NAME: usize = 255;

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
    // To a server that is not the lab's own one client is enough, and its first source address is the first that is used.
    let most_hosts = if server.subject.is_some() {
        1
    } else {
        DEFAULT_CLIENT_HOSTS
    };
    let groups = groups(&clients, asked, targets, most_hosts, &mut wrong);
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
    let verify = verify(raw.verify.as_ref(), &mut wrong);
    let protocol = match &raw.protocol {
        None => default_protocol(&server),
        Some(_) => protocol(raw.protocol.as_ref(), &mut wrong),
    };
    check_protocol(&protocol, &server, &mut wrong);
    let answers = server.service.answers() && protocol.asks();
    let ramp = ramp(raw.ramp.as_ref(), answers, &mut wrong);
    let client_keepalive = keepalive(clients.keepalive.as_ref(), "clients", &mut wrong);
    if !protocol.asks() && verify != VerifyShare::None && raw.verify.is_some() {
        let what = "the protocol tcp says nothing: no connection can be proved alive by it";
        wrong.push(Contradiction::at(&["verify"], what).with_hint("verify: none"));
    } else if !server.service.answers() && verify != VerifyShare::None && raw.verify.is_some() {
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
        fit: raw.fit.is_some_and(Switch::is_on),
        ramp,
        hold: raw.hold.map_or(Duration::from_secs(60), |hold| hold.0),
        limit: limit(raw.limit.as_ref(), &server, &mut wrong),
        place: place(raw.place),
        network: match raw.network {
            None | Some(RawNetwork::Auto) => NetworkRequest::Auto,
            Some(RawNetwork::Bridge) => NetworkRequest::Only(NetworkDriver::Bridge),
            Some(RawNetwork::Link) => NetworkRequest::Only(NetworkDriver::Link),
            Some(RawNetwork::Macvlan) => NetworkRequest::Only(NetworkDriver::Macvlan),
        },
        // A greeting that has been read in the ramp does not come again.
        verify: if answers && (protocol.repeats() || !ramp.speak) {
            verify
        } else {
            VerifyShare::None
        },
        protocol,
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
        untrack: raw.untrack.is_none_or(Switch::is_on),
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

/// The limit of the lab's own server is known: it is the plan's.
fn limit(
    raw: Option<&RawLimit>,
    server: &ServerPart,
    wrong: &mut Vec<Contradiction>,
) -> Option<LimitSearch> {
    let raw = raw?;
    if server.subject.is_none() {
        wrong.push(
            Contradiction::at(
                &["limit"],
                "the limit of the lab's own server is not looked for: the plan computes it",
            )
            .with_hint("name a server: server.command, image, pid or target; or see `c1m plan`"),
        );
    }
    Some(LimitSearch {
        at_least: raw.at_least.map(|count| ConnCount::new(count.0)),
    })
}

fn check_connections(asked: Option<u64>, wrong: &mut Vec<Contradiction>) {
    if asked == Some(0) {
        wrong.push(Contradiction::at(
            &["connections"],
            "no connections at all: at least 1 is needed",
        ));
    }
}

fn ramp(raw: Option<&RawRamp>, answers: bool, wrong: &mut Vec<Contradiction>) -> Ramp {
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
        speak: answers && raw.and_then(|ramp| ramp.speak).is_some_and(Switch::is_on),
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

const fn place(raw: Option<RawPlace>) -> PlaceRequest {
    match raw {
        None | Some(RawPlace::Auto) => PlaceRequest::Auto,
        Some(RawPlace::Docker) => PlaceRequest::Only(PlaceKind::Docker),
        Some(RawPlace::Host) => PlaceRequest::Only(PlaceKind::Host),
        Some(RawPlace::Loopback) => PlaceRequest::Only(PlaceKind::Loopback),
        Some(RawPlace::Netns) => PlaceRequest::Only(PlaceKind::Netns),
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
