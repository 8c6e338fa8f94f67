//! Shards: how many connections from which source address to which target, with which ports. Spread evenly, never more
//! than there are four-tuples.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::layout::Layout;
pub use crate::domain::PORTS_PER_SOURCE;
use crate::domain::{ConnCount, FourTuples, NetFacts, PlaceMaking, PortChoice, PortRange, Shard};

/// The range of ports where a kernel's own choice has not been widened (`net/ipv4/af_inet.c`, `inet_init_net`).
const KERNEL_DEFAULT_PORTS: (u16, u16) = (32_768, 60_999);

/// A source address and one of its targets, with room for connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    /// The client, counted from 0.
    pub(super) client: usize,
    /// The source address.
    pub(super) source: Ipv4Addr,
    /// Where its connections go.
    pub(super) target: SocketAddrV4,
    /// The ports that may be used.
    pub(super) ports: PortRange,
    /// How many connections at most.
    pub(super) capacity: u32,
}

/// Every slot of a topology.
pub(super) fn slots(layout: &Layout, how: PlaceMaking, net: &NetFacts) -> Vec<Slot> {
    let mut slots = Vec::new();
    for (client, part) in layout.clients.iter().enumerate() {
        let ports = usable_ports(part.group.ports, how, net);
        for source in &part.sources {
            let targets = u32::try_from(source.targets.len())
                .unwrap_or(u32::MAX)
                .max(1);
            // bind(2) to port 0 takes the port from every target at once; the other ways share it between targets.
            let room = match part.group.ports {
                PortChoice::Kernel => ports.len() / targets,
                PortChoice::Explicit | PortChoice::NoPort | PortChoice::Range => ports.len(),
            };
            slots.extend(source.targets.iter().map(|target| Slot {
                client,
                source: source.address,
                target: *target,
                ports,
                capacity: room.min(part.group.connections_per_address),
            }));
        }
    }
    slots
}

/// The ports that a client may use. An explicit bind may take any that needs no privilege; the kernel's own choice keeps
/// to `ip_local_port_range`, which the plan widens wherever there is a namespace of our own.
fn usable_ports(choice: PortChoice, how: PlaceMaking, net: &NetFacts) -> PortRange {
    match (choice, how) {
        (PortChoice::Explicit, _)
        | (
            _,
            PlaceMaking::Docker | PlaceMaking::Netns { .. } | PlaceMaking::PrivateLoopback { .. },
        ) => PortRange::UNPRIVILEGED,
        (_, PlaceMaking::HostLoopback | PlaceMaking::Joined { .. } | PlaceMaking::Container) => {
            net.port_range.present().copied().unwrap_or_else(|| {
                PortRange::new(KERNEL_DEFAULT_PORTS.0, KERNEL_DEFAULT_PORTS.1)
                    .expect("the kernel's default is a range")
            })
        }
    }
}

/// How many connections the slots hold.
pub(super) fn capacity(slots: &[Slot]) -> u64 {
    slots.iter().map(|slot| u64::from(slot.capacity)).sum()
}

/// What the addresses and ports could tell apart.
pub(super) fn four_tuples(layout: &Layout, slots: &[Slot]) -> FourTuples {
    let sources = layout
        .clients
        .iter()
        .map(|client| client.sources.len() as u64)
        .sum();
    let targets = layout
        .clients
        .iter()
        .flat_map(|client| &client.sources)
        .map(|source| source.targets.len() as u64)
        .max();
    FourTuples {
        sources,
        ports_each: slots
            .iter()
            .map(|slot| u64::from(slot.ports.len()))
            .min()
            .unwrap_or(0),
        targets: targets.unwrap_or(0),
    }
}

/// Spreads `target` connections over the slots in proportion to their room; one list of shards for each of `clients`.
/// `target` is at most the capacity of the slots.
pub(super) fn spread(slots: &[Slot], clients: usize, target: ConnCount) -> Vec<Vec<Shard>> {
    let mut shards = vec![Vec::new(); clients];
    let total = u128::from(capacity(slots));
    let (mut room_before, mut given) = (0_u128, 0_u128);
    for slot in slots {
        // What the slots up to here shall have together, less what they have: no rounding error adds up.
        room_before += u128::from(slot.capacity);
        let until_here = u128::from(target.count()) * room_before / total.max(1);
        let count = u32::try_from(until_here - given).expect("a share is at most the slot's room");
        given = until_here;
        if count > 0 {
            shards[slot.client].push(Shard {
                source: slot.source,
                target: slot.target,
                ports: slot.ports,
                count,
            });
        }
    }
    shards
}
