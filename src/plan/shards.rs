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

/// How connections are spread over source addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    /// Evenly over all.
    Evenly,
    /// Each client fills an address before it takes the next one. A server may treat addresses differently: some serve
    /// 127.0.0.1 and refuse other addresses of the loopback.
    OneAfterTheOther,
}

/// Spreads `target` connections over the slots; one list of shards for each of `clients`, which have parts in proportion to
/// their room. `target` is at most the capacity of the slots.
pub(super) fn spread(
    slots: &[Slot],
    clients: usize,
    target: ConnCount,
    how: Spread,
) -> Vec<Vec<Shard>> {
    let mut shards = vec![Vec::new(); clients];
    let mut give = |slots: &[Slot], counts: Vec<u64>| {
        for (slot, count) in slots.iter().zip(counts) {
            if count > 0 {
                shards[slot.client].push(Shard {
                    source: slot.source,
                    target: slot.target,
                    ports: slot.ports,
                    count: u32::try_from(count).expect("a share is at most the slot's room"),
                });
            }
        }
    };
    match how {
        Spread::Evenly => give(slots, shares(slots.iter().map(room), target.count())),
        Spread::OneAfterTheOther => {
            let of_clients: Vec<&[Slot]> = slots.chunk_by(|a, b| a.client == b.client).collect();
            let parts = shares(
                of_clients.iter().map(|slots| capacity(slots)),
                target.count(),
            );
            for (slots, mut left) in of_clients.into_iter().zip(parts) {
                for of_source in slots.chunk_by(|a, b| a.source == b.source) {
                    let part = left.min(capacity(of_source));
                    left -= part;
                    give(of_source, shares(of_source.iter().map(room), part));
                }
            }
        }
    }
    shards
}

fn room(slot: &Slot) -> u64 {
    u64::from(slot.capacity)
}

/// Divides `all` in proportion to the rooms.
fn shares(rooms: impl Iterator<Item = u64> + Clone, all: u64) -> Vec<u64> {
    let total: u128 = rooms.clone().map(u128::from).sum();
    let (mut room_before, mut given) = (0_u128, 0_u128);
    rooms
        .map(|room| {
            // What the ones up to here shall have together, less what they have: no rounding error adds up.
            room_before += u128::from(room);
            let until_here = u128::from(all) * room_before / total.max(1);
            let share = until_here - given;
            given = until_here;
            u64::try_from(share).expect("a share is at most all")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(client: usize, source: u8, port: u16, capacity: u32) -> Slot {
        Slot {
            client,
            source: Ipv4Addr::new(127, 0, 0, source),
            target: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
            ports: PortRange::UNPRIVILEGED,
            capacity,
        }
    }

    /// Last byte of the source, port of the target, and count of each shard.
    fn spread_of(slots: &[Slot], clients: usize, target: u64, how: Spread) -> Vec<(u8, u16, u32)> {
        spread(slots, clients, ConnCount::new(target), how)
            .into_iter()
            .flatten()
            .map(|shard| {
                let source = shard.source.octets()[3];
                (source, shard.target.port(), shard.count)
            })
            .collect()
    }

    #[test]
    fn an_address_is_filled_before_the_next_one_and_its_targets_alike() {
        let slots = [
            slot(0, 1, 80, 100),
            slot(0, 1, 81, 100),
            slot(0, 2, 80, 100),
            slot(0, 2, 81, 100),
        ];
        let in_turn = Spread::OneAfterTheOther;
        assert_eq!(
            spread_of(&slots, 1, 50, in_turn),
            [(1, 80, 25), (1, 81, 25)]
        );
        assert_eq!(
            spread_of(&slots, 1, 220, in_turn),
            [(1, 80, 100), (1, 81, 100), (2, 80, 10), (2, 81, 10)]
        );
        assert_eq!(spread_of(&slots, 1, 400, in_turn).len(), 4);
        assert_eq!(spread_of(&slots, 1, 4, Spread::Evenly).len(), 4);
    }

    #[test]
    fn clients_have_equal_parts_however_their_addresses_are_filled() {
        let slots = [
            slot(0, 1, 80, 100),
            slot(0, 2, 80, 100),
            slot(1, 3, 80, 100),
            slot(1, 4, 80, 100),
        ];
        assert_eq!(
            spread_of(&slots, 2, 60, Spread::OneAfterTheOther),
            [(1, 80, 30), (3, 80, 30)]
        );
    }
}
