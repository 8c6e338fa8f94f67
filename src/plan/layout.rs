//! Which worker on which host with which addresses: networks out of the range that RFC 2544 sets apart for benchmarks,
//! 198.18.0.0/15, clear of what this machine routes already; or, on loopback, addresses of 127/8.

use std::net::{Ipv4Addr, SocketAddrV4};

use ipnet::Ipv4Net;

use super::{HostPlan, Interface};
use crate::domain::{HostFacts, HostIndex, PlaceKind, PlaceMaking, Subject};
use crate::scenario::{ClientGroup, Scenario};

/// The lab's range: RFC 2544, section C.2.2.
pub const LAB_RANGE: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15);

/// Networks are at least this large, so that addresses are easily read.
const SMALLEST_PREFIX: u8 = 24;

/// Sources on loopback begin here, far from 127.0.0.1 and 127.0.0.53, where services listen. All of 127/8 is local.
const LOOPBACK_SOURCES: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 1);

/// The server's first address on loopback.
const LOOPBACK_SERVER: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// The topology: hosts with their addresses, and for each client its sources with what they can reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// The hosts, the server's first. One only on loopback.
    pub(super) hosts: Vec<HostPlan>,
    /// Where the server listens.
    pub(super) listen: Vec<SocketAddrV4>,
    /// The clients, in the order of their hosts.
    pub(super) clients: Vec<ClientLayout>,
    /// Networks that join hosts.
    pub(super) networks: usize,
}

/// A client with its sources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientLayout {
    /// The group that it belongs to.
    pub(super) group: ClientGroup,
    /// Its source addresses.
    pub(super) sources: Vec<SourceLayout>,
}

/// A source address and its targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceLayout {
    /// The address.
    pub(super) address: Ipv4Addr,
    /// Every address and port of the server on its network.
    pub(super) targets: Vec<SocketAddrV4>,
}

/// No room for the networks of the topology.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NoRoom {
    /// Addresses that the topology asks for, with network and broadcast addresses.
    pub(super) need: u64,
    /// Addresses that are free in the lab's range, in networks large enough.
    pub(super) have: u64,
    /// What takes up the range.
    pub(super) taken: Vec<Ipv4Net>,
}

/// Lays the topology of `scenario` out in a place of kind `how`.
pub(super) fn lay_out(
    scenario: &Scenario,
    how: PlaceMaking,
    taken: Vec<Ipv4Net>,
) -> Result<Layout, NoRoom> {
    match how.kind() {
        PlaceKind::Host | PlaceKind::Loopback => on_loopback(scenario),
        PlaceKind::Docker => on_networks(scenario, taken, Wiring::Shared),
        PlaceKind::Netns => on_networks(scenario, taken, Wiring::Pairs),
    }
}

/// What this machine has of the lab's range: routes, addresses, networks of a Docker engine.
pub(super) fn taken(facts: &HostFacts) -> Vec<Ipv4Net> {
    let net = &facts.net;
    let docker = facts
        .docker
        .present()
        .map_or(&[][..], |docker| &docker.subnets);
    net.routes_in_lab_range
        .iter()
        .copied()
        .chain(
            net.addresses_in_lab_range
                .iter()
                .map(|address| Ipv4Net::from(*address)),
        )
        .chain(
            docker
                .iter()
                .copied()
                .filter(|subnet| overlap(*subnet, LAB_RANGE)),
        )
        .collect()
}

/// How interfaces of clients share networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wiring {
    /// The n-th interface of every client is on the n-th network; the network's first address is the engine's gateway.
    Shared,
    /// Each interface of a client has a veth pair to the server, which is a network of its own.
    Pairs,
}

fn client_hosts(scenario: &Scenario) -> impl Iterator<Item = ClientGroup> {
    scenario
        .clients
        .iter()
        .flat_map(|group| (0..group.hosts).map(|_| *group))
}

fn on_loopback(scenario: &Scenario) -> Result<Layout, NoRoom> {
    let addresses: u64 = scenario.clients.iter().map(ClientGroup::addresses).sum();
    // 127.64.0.1 to 127.255.255.254.
    let have =
        u64::from(u32::from(Ipv4Addr::new(127, 255, 255, 254)) - u32::from(LOOPBACK_SOURCES)) + 1;
    if addresses > have {
        return Err(NoRoom {
            need: addresses,
            have,
            taken: Vec::new(),
        });
    }
    let listen = if let Some(Subject::Target { address }) = scenario.server.subject {
        vec![address]
    } else {
        let servers = consecutive(LOOPBACK_SERVER, scenario.server.addresses);
        with_ports(&servers, &scenario.server.ports)
    };
    // Some servers take what comes from 127.0.0.1 for local, and nothing else of 127/8.
    let first = scenario.server.subject.as_ref().map(|_| LOOPBACK_SERVER);
    let mut sources = first
        .into_iter()
        .chain((u32::from(LOOPBACK_SOURCES)..).map(Ipv4Addr::from));
    let clients = client_hosts(scenario)
        .map(|group| {
            let addresses = group.interfaces as usize * group.addresses_per_interface as usize;
            ClientLayout {
                group,
                sources: sources
                    .by_ref()
                    .take(addresses)
                    .map(|address| SourceLayout {
                        address,
                        targets: listen.clone(),
                    })
                    .collect(),
            }
        })
        .collect();
    Ok(Layout {
        hosts: vec![HostPlan {
            index: HostIndex::SERVER,
            interfaces: Vec::new(),
        }],
        listen,
        clients,
        networks: 0,
    })
}

fn on_networks(scenario: &Scenario, taken: Vec<Ipv4Net>, wiring: Wiring) -> Result<Layout, NoRoom> {
    let groups: Vec<ClientGroup> = client_hosts(scenario).collect();
    let members = members(&groups, wiring);
    let servers = scenario.server.addresses;
    // The network's own address and its broadcast address, and under an engine its gateway.
    let reserved = match wiring {
        Wiring::Shared => 3,
        Wiring::Pairs => 2,
    };
    let sizes = members.iter().map(|clients| {
        let addresses: u32 = clients
            .iter()
            .map(|client| groups[*client].addresses_per_interface)
            .sum();
        u64::from(addresses) + u64::from(servers) + reserved
    });
    let subnets = allocate(&sizes.collect::<Vec<_>>(), taken)?;

    let mut layout = Layout {
        hosts: (0..=groups.len())
            .map(|index| HostPlan {
                index: HostIndex(index),
                interfaces: Vec::new(),
            })
            .collect(),
        listen: Vec::new(),
        clients: groups
            .iter()
            .map(|group| ClientLayout {
                group: *group,
                sources: Vec::new(),
            })
            .collect(),
        networks: members.len(),
    };
    for (network, (subnet, clients)) in subnets.into_iter().zip(&members).enumerate() {
        let first = match wiring {
            Wiring::Shared => 2,
            Wiring::Pairs => 1,
        };
        let mut free = (u32::from(subnet.network()) + first..).map(Ipv4Addr::from);
        let addresses: Vec<Ipv4Addr> = free.by_ref().take(servers as usize).collect();
        let targets = with_ports(&addresses, &scenario.server.ports);
        layout.listen.extend(&targets);
        layout.hosts[0].interfaces.push(Interface {
            network,
            subnet,
            addresses,
        });
        for client in clients {
            let addresses: Vec<Ipv4Addr> = free
                .by_ref()
                .take(groups[*client].addresses_per_interface as usize)
                .collect();
            layout.clients[*client]
                .sources
                .extend(addresses.iter().map(|address| SourceLayout {
                    address: *address,
                    targets: targets.clone(),
                }));
            layout.hosts[client + 1].interfaces.push(Interface {
                network,
                subnet,
                addresses,
            });
        }
    }
    Ok(layout)
}

/// Which clients are on each network.
fn members(groups: &[ClientGroup], wiring: Wiring) -> Vec<Vec<usize>> {
    match wiring {
        Wiring::Shared => {
            let networks = groups
                .iter()
                .map(|group| group.interfaces)
                .max()
                .unwrap_or(0);
            (0..networks)
                .map(|network| {
                    (0..groups.len())
                        .filter(|client| groups[*client].interfaces > network)
                        .collect()
                })
                .collect()
        }
        Wiring::Pairs => groups
            .iter()
            .enumerate()
            .flat_map(|(client, group)| (0..group.interfaces).map(move |_| vec![client]))
            .collect(),
    }
}

/// A free network for each of `sizes`, none overlapping another or what this machine has in the range.
fn allocate(sizes: &[u64], taken: Vec<Ipv4Net>) -> Result<Vec<Ipv4Net>, NoRoom> {
    let mut allocated = Vec::with_capacity(sizes.len());
    let mut cursor = u64::from(u32::from(LAB_RANGE.network()));
    let end = u64::from(u32::from(LAB_RANGE.broadcast())) + 1;
    for size in sizes {
        let prefix = prefix_for(*size);
        let length = 1_u64 << (32 - u32::from(prefix));
        let subnet = loop {
            cursor = cursor.next_multiple_of(length);
            if cursor + length > end {
                return Err(no_room(sizes, taken, &allocated));
            }
            let start = u32::try_from(cursor).expect("an address of the range has 32 bits");
            let candidate = Ipv4Net::new_assert(Ipv4Addr::from(start), prefix);
            cursor += length;
            if !taken.iter().any(|other| overlap(*other, candidate)) {
                break candidate;
            }
        };
        allocated.push(subnet);
    }
    Ok(allocated)
}

fn no_room(sizes: &[u64], taken: Vec<Ipv4Net>, allocated: &[Ipv4Net]) -> NoRoom {
    let length = |prefix: u8| 1_u64 << (32 - u32::from(prefix));
    NoRoom {
        need: sizes.iter().map(|size| length(prefix_for(*size))).sum(),
        have: allocated.iter().map(|net| length(net.prefix_len())).sum(),
        taken,
    }
}

/// The longest prefix, at most /24, whose network has `size` addresses.
fn prefix_for(size: u64) -> u8 {
    let bits = size.max(1).next_power_of_two().trailing_zeros();
    u8::try_from(32 - bits.min(32))
        .unwrap_or(0)
        .min(SMALLEST_PREFIX)
}

fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}

fn consecutive(first: Ipv4Addr, count: u32) -> Vec<Ipv4Addr> {
    (u32::from(first)..)
        .map(Ipv4Addr::from)
        .take(count as usize)
        .collect()
}

fn with_ports(addresses: &[Ipv4Addr], ports: &[u16]) -> Vec<SocketAddrV4> {
    addresses
        .iter()
        .flat_map(|address| ports.iter().map(|port| SocketAddrV4::new(*address, *port)))
        .collect()
}
