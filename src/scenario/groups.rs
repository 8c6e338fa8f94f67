//! The client hosts of a scenario, group by group: how many connections they hold, and what is beyond all reason.

use super::ClientGroup;
use super::contradiction::Contradiction;
use super::raw::{RawClients, RawGroup};
use crate::domain::{ConnCount, PORTS_PER_SOURCE, PortChoice, PortRange};

/// What the lab is named after: 16 source addresses with 64,000 connections each.
pub const DEFAULT_CONNECTIONS: u64 = 1_024_000;

/// Without groups the clients are spread over this many hosts, so that each can have a processor to itself.
pub(super) const DEFAULT_CLIENT_HOSTS: u64 = 2;

/// Client hosts of a topology: each is a process and a namespace.
const MOST_HOSTS: u64 = 1000;

/// Interfaces of a topology: each is a veth pair and a network.
const MOST_INTERFACES: u64 = 4000;

/// Source addresses of a topology: with 64,000 connections each, a hundred times what any machine holds.
const MOST_ADDRESSES: u64 = 65_000;

/// Pairs of source and target: each is a shard of a plan.
const MOST_PAIRS: u64 = 500_000;

pub(super) fn groups(
    clients: &RawClients,
    asked: Option<u64>,
    targets: u64,
    most_hosts: u64,
    wrong: &mut Vec<Contradiction>,
) -> Vec<ClientGroup> {
    let ports = clients.ports.unwrap_or(PortChoice::Explicit);
    let Some(groups) = &clients.groups else {
        return default_groups(
            asked.unwrap_or(DEFAULT_CONNECTIONS),
            targets,
            ports,
            most_hosts,
        );
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

/// No plan is made for topologies beyond all reason; `sized_by` is the key that says how large this one is.
pub(super) fn check_size(
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
pub(super) fn capacity(groups: &[ClientGroup], targets: u64) -> u64 {
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

pub(super) fn too_few_four_tuples(
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
fn default_groups(
    connections: u64,
    targets: u64,
    ports: PortChoice,
    most_hosts: u64,
) -> Vec<ClientGroup> {
    let addresses = connections
        .div_ceil(u64::from(PORTS_PER_SOURCE) * targets.max(1))
        .max(1);
    let hosts = addresses.min(most_hosts);
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
