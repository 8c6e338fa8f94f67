//! Which veth pairs a topology needs, and which addresses and routes lie at their ends: pure, no system call.
//!
//! One pair joins each interface of a client with the server. However many addresses an end has, the other reaches them
//! all through the first one: a link route to that one, and routes through it to the rest. So there is one neighbour
//! entry at each end of a pair, never one per address; the neighbour table is the whole machine's and ends at
//! `net.ipv4.neigh.default.gc_thresh3`, 1,024 by default. All addresses are /32, so that no end believes the others on
//! its link, and a server on a network that several clients share has its addresses on the end of each pair.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::domain::HostIndex;
use crate::kernel::netlink::route::{MacAddress, VethEnd};
use crate::plan::{HostPlan, Interface};

use crate::provision::ProvisionError;

/// One veth pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    /// The client that it leads to.
    pub(super) client: HostIndex,
    /// The end in the client's namespace.
    pub(super) client_end: End,
    /// The end in the server's.
    pub(super) server_end: End,
}

/// One end of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    /// Its name and Ethernet address.
    pub(super) veth: VethEnd,
    /// Its addresses; the first is the one that the other end's routes go through.
    pub(super) first: Ipv4Addr,
    /// The other addresses.
    pub(super) others: Vec<Ipv4Addr>,
}

impl End {
    /// Every address.
    pub(super) fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }

    /// The other addresses in as few blocks as hold exactly them.
    pub(super) fn blocks(&self) -> Vec<Ipv4Net> {
        let others: Vec<Ipv4Net> = self.others.iter().copied().map(Ipv4Net::from).collect();
        Ipv4Net::aggregate(&others)
    }
}

/// The pairs of a topology.
pub(super) fn pairs(hosts: &[HostPlan]) -> Result<Vec<Pair>, ProvisionError> {
    let Some((server, clients)) = hosts.split_first() else {
        return Err(ProvisionError::new(
            "lay out the veth pairs",
            "the plan has no host",
        ));
    };
    clients
        .iter()
        .flat_map(|client| {
            client
                .interfaces
                .iter()
                .enumerate()
                .map(move |(position, interface)| pair(server, client.index, position, interface))
        })
        .collect()
}

fn pair(
    server: &HostPlan,
    client: HostIndex,
    position: usize,
    interface: &Interface,
) -> Result<Pair, ProvisionError> {
    let what = || {
        format!(
            "join interface {position} of {} to the server",
            client.name()
        )
    };
    let facing = server
        .interfaces
        .iter()
        .find(|facing| facing.network == interface.network)
        .ok_or_else(|| {
            let why = format!(
                "the server has no interface on network {}",
                interface.network
            );
            ProvisionError::new(what(), why)
        })?;
    let end = |name: String, side: u8, interface: &Interface| {
        let (first, others) = interface
            .addresses
            .split_first()
            .ok_or_else(|| ProvisionError::new(what(), "an end has no address"))?;
        Ok(End {
            veth: VethEnd {
                name,
                mac: mac(side, client, position),
            },
            first: *first,
            others: others.to_vec(),
        })
    };
    Ok(Pair {
        client,
        client_end: end(format!("eth{position}"), CLIENT_SIDE, interface)?,
        server_end: end(format!("c{}e{position}", client.0), SERVER_SIDE, facing)?,
    })
}

/// An Ethernet address out of the locally administered ones (02:…): known beforehand, so that nobody has to ask for it.
fn mac(side: u8, client: HostIndex, position: usize) -> MacAddress {
    let low = |number: usize| {
        u16::try_from(number % 65_536)
            .unwrap_or(u16::MAX)
            .to_be_bytes()
    };
    let ([client_high, client_low], [high, position_low]) = (low(client.0), low(position));
    MacAddress([0x02, side, client_high, client_low, high, position_low])
}

const SERVER_SIDE: u8 = 0;
const CLIENT_SIDE: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(network: usize, addresses: impl IntoIterator<Item = u8>) -> Interface {
        let third = u8::try_from(network).expect("few networks");
        Interface {
            network,
            subnet: format!("198.18.{third}.0/24").parse().expect("a subnet"),
            addresses: addresses
                .into_iter()
                .map(|last| Ipv4Addr::new(198, 18, third, last))
                .collect(),
        }
    }

    fn host(index: usize, interfaces: Vec<Interface>) -> HostPlan {
        HostPlan {
            index: HostIndex(index),
            interfaces,
        }
    }

    #[test]
    fn the_topology_of_the_article_has_sixteen_pairs_with_distinct_names_and_macs() {
        let server = host(0, (0..7).map(|network| interface(network, [1])).collect());
        let client = |index: usize, interfaces: usize| {
            let last = u8::try_from(10 + index).expect("few clients");
            host(
                index,
                (0..interfaces)
                    .map(|network| interface(network, [last]))
                    .collect(),
            )
        };
        let hosts = [
            server,
            client(1, 1),
            client(2, 1),
            client(3, 7),
            client(4, 7),
        ];
        let pairs = pairs(&hosts).expect("lays out");
        assert_eq!(pairs.len(), 16);
        let mut names: Vec<&str> = pairs
            .iter()
            .map(|pair| pair.server_end.veth.name.as_str())
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 16);
        assert!(names.iter().all(|name| name.len() <= 15));
        let mut macs: Vec<[u8; 6]> = pairs
            .iter()
            .flat_map(|pair| [pair.client_end.veth.mac.0, pair.server_end.veth.mac.0])
            .collect();
        macs.sort_unstable();
        macs.dedup();
        assert_eq!(macs.len(), 32);
    }

    #[test]
    fn a_block_of_addresses_needs_few_routes_and_covers_nothing_else() {
        let server = host(0, vec![interface(0, [1])]);
        let client = host(1, vec![interface(0, 2..=201)]);
        let pairs = pairs(&[server, client]).expect("lays out");
        let end = &pairs[0].client_end;
        let blocks = end.blocks();
        assert!(blocks.len() <= 12, "{blocks:?}");
        let covered: usize = blocks
            .iter()
            .map(|block| 1 << (32 - block.prefix_len()))
            .sum();
        assert_eq!(covered, 199);
        assert!(end.others.iter().all(|address| {
            blocks
                .iter()
                .filter(|block| block.contains(address))
                .count()
                == 1
        }));
    }

    /// Where clients share a network, as containers do, each has a pair of its own, and the server has its address on all.
    #[test]
    fn clients_that_share_a_network_have_a_pair_each() {
        let server = host(0, vec![interface(0, [2])]);
        let first = host(1, vec![interface(0, [3])]);
        let second = host(2, vec![interface(0, [4])]);
        let pairs = pairs(&[server, first, second]).expect("lays out");
        let ends: Vec<(Ipv4Addr, Ipv4Addr)> = pairs
            .iter()
            .map(|pair| (pair.server_end.first, pair.client_end.first))
            .collect();
        let address = |last| Ipv4Addr::new(198, 18, 0, last);
        assert_eq!(ends, [(address(2), address(3)), (address(2), address(4))]);
    }

    #[test]
    fn a_network_that_the_server_is_not_on_is_refused() {
        let server = host(0, vec![interface(0, [1])]);
        let client = host(1, vec![interface(5, [2])]);
        let error = pairs(&[server, client]).expect_err("refused");
        assert!(error.why.contains("network 5"), "{error}");
    }
}
