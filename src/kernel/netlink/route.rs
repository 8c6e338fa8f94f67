//! Links, addresses, routes and neighbours of one network namespace, IPv4 only. Follows rtnetlink(7); a veth pair is made
//! with both ends in their places at once (`veth_newlink`, drivers/net/veth.c), so that no end is ever seen elsewhere.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};

use ipnet::Ipv4Net;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
    RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use super::socket::{NetlinkError, Socket};

/// The number of a link in its namespace, never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkIndex(pub u32);

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MacAddress(pub [u8; 6]);

/// A link as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: LinkIndex,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Its Ethernet address, where it has one.
    pub mac: Option<MacAddress>,
    /// Whether somebody set it up.
    pub up: bool,
    /// Whether packets pass: up on both ends, and the kernel has noticed.
    pub operational: bool,
}

/// An IPv4 address as it is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The link that it is on.
    pub link: LinkIndex,
    /// The address, with the length of its prefix.
    pub network: Ipv4Net,
}

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// The destination is on the link itself: each address in it needs a neighbour entry of its own.
    Link(LinkIndex),
    /// Through this neighbour, for the whole block. It is taken to be on the link, whatever the routes say.
    Neighbour(LinkIndex, Ipv4Addr),
    /// To this host itself ("`AnyIP`"): every address of the block may be bound and answers. The link is the loopback.
    Here(LinkIndex),
}

/// A route as it is listed, of the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub destination: Ipv4Net,
    /// Through which neighbour, where there is one.
    pub gateway: Option<Ipv4Addr>,
    /// Over which link, where the route has one only.
    pub link: Option<LinkIndex>,
}

/// How the kernel would send to one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTo {
    /// Whether the address is this namespace's own.
    pub local: bool,
    /// Through which neighbour, where there is one.
    pub gateway: Option<Ipv4Addr>,
    /// Whether it leaves over one end of a veth pair, whose other end is on this kernel too.
    pub over_veth: bool,
}

/// One end of a veth pair that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethEnd {
    /// Its name, at most 15 bytes.
    pub name: String,
    /// Its Ethernet address.
    pub mac: MacAddress,
}

/// Links, addresses, routes and neighbours of the namespace that the opening thread was in.
#[derive(Debug)]
pub struct RouteSocket {
    socket: Socket,
}

impl RouteSocket {
    /// For the namespace of the calling thread; other threads may use it too.
    pub fn open() -> io::Result<Self> {
        Ok(Self {
            socket: Socket::open()?,
        })
    }

    /// Makes a veth pair: `here` in this namespace, `there` in the one that `elsewhere` refers to.
    pub fn add_veth(
        &mut self,
        here: &VethEnd,
        there: &VethEnd,
        elsewhere: &impl AsFd,
    ) -> Result<(), NetlinkError> {
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(there.name.clone()),
            LinkAttribute::Address(there.mac.0.to_vec()),
            LinkAttribute::NetNsFd(elsewhere.as_fd().as_raw_fd()),
        ];
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::IfName(here.name.clone()),
            LinkAttribute::Address(here.mac.0.to_vec()),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        self.socket.change(
            &|| format!("make the veth pair {} and {}", here.name, there.name),
            NLM_F_CREATE | NLM_F_EXCL,
            RouteNetlinkMessage::NewLink(link),
        )
    }

    /// Sets a link up.
    pub fn set_up(&mut self, link: LinkIndex) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = link.0;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.socket.change(
            &|| format!("set link {} up", link.0),
            0,
            RouteNetlinkMessage::SetLink(message),
        )
    }

    /// Gives a link another name. It has to be down for that on kernels before 6.2.
    pub fn rename(&mut self, link: LinkIndex, name: &str) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = link.0;
        message.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        self.socket.change(
            &|| format!("rename link {} to {name}", link.0),
            0,
            RouteNetlinkMessage::SetLink(message),
        )
    }

    /// Removes a link, and with a veth its other end.
    pub fn remove_link(&mut self, link: LinkIndex) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = link.0;
        self.socket.change(
            &|| format!("remove link {}", link.0),
            0,
            RouteNetlinkMessage::DelLink(message),
        )
    }

    /// Gives a link an address. With a prefix shorter than 32 the kernel adds the route to that network.
    pub fn add_address(&mut self, link: LinkIndex, network: Ipv4Net) -> Result<(), NetlinkError> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = network.prefix_len();
        message.header.scope = AddressScope::Universe;
        message.header.index = link.0;
        message.attributes = vec![
            AddressAttribute::Local(IpAddr::V4(network.addr())),
            AddressAttribute::Address(IpAddr::V4(network.addr())),
        ];
        self.socket.change(
            &|| format!("add address {network} to link {}", link.0),
            NLM_F_CREATE | NLM_F_EXCL,
            RouteNetlinkMessage::NewAddress(message),
        )
    }

    /// Adds a route; one to the same destination is refused.
    pub fn add_route(&mut self, destination: Ipv4Net, via: Via) -> Result<(), NetlinkError> {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: AddressFamily::Inet,
            destination_prefix_length: destination.prefix_len(),
            table: RouteHeader::RT_TABLE_MAIN,
            protocol: RouteProtocol::Static,
            scope: RouteScope::Universe,
            kind: RouteType::Unicast,
            ..RouteHeader::default()
        };
        let link = match via {
            Via::Link(link) => {
                message.header.scope = RouteScope::Link;
                link
            }
            Via::Neighbour(link, neighbour) => {
                message.header.flags = RouteFlags::Onlink;
                message
                    .attributes
                    .push(RouteAttribute::Gateway(RouteAddress::Inet(neighbour)));
                link
            }
            Via::Here(link) => {
                message.header.kind = RouteType::Local;
                message.header.scope = RouteScope::Host;
                message.header.table = TABLE_LOCAL;
                link
            }
        };
        message.attributes.extend([
            RouteAttribute::Destination(RouteAddress::Inet(destination.network())),
            RouteAttribute::Oif(link.0),
        ]);
        self.socket.change(
            &|| format!("add the route to {destination} over link {}", link.0),
            NLM_F_CREATE | NLM_F_EXCL,
            RouteNetlinkMessage::NewRoute(message),
        )
    }

    /// Tells the kernel for good which Ethernet address a neighbour has: nobody asks for it by ARP, and the entry does not
    /// count against `net.ipv4.neigh.default.gc_thresh3` (`neigh_alloc`, net/core/neighbour.c, since 5.0).
    pub fn set_neighbour(
        &mut self,
        link: LinkIndex,
        address: Ipv4Addr,
        mac: MacAddress,
    ) -> Result<(), NetlinkError> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = link.0;
        message.header.state = NeighbourState::Permanent;
        message.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)),
            NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
        ];
        self.socket.change(
            &|| format!("set the neighbour {address} of link {}", link.0),
            NLM_F_CREATE | NLM_F_REPLACE,
            RouteNetlinkMessage::NewNeighbour(message),
        )
    }

    /// Every link.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let mut links = Vec::new();
        self.socket.dump(
            &|| "list the links".to_owned(),
            RouteNetlinkMessage::GetLink(LinkMessage::default()),
            &mut |message| {
                if let RouteNetlinkMessage::NewLink(message) = message {
                    links.push(link(&message));
                }
            },
        )?;
        Ok(links)
    }

    /// The link with this name.
    pub fn link_named(&mut self, name: &str) -> Result<Link, NetlinkError> {
        self.links()?
            .into_iter()
            .find(|link| link.name == name)
            .ok_or_else(|| NetlinkError::Absent {
                what: format!("find the link {name}"),
            })
    }

    /// The link that has this address. Names and order of interfaces are random in many places; addresses are not.
    pub fn link_with(&mut self, address: Ipv4Addr) -> Result<LinkIndex, NetlinkError> {
        self.addresses()?
            .into_iter()
            .find(|found| found.network.addr() == address)
            .map(|found| found.link)
            .ok_or_else(|| NetlinkError::Absent {
                what: format!("find the link with address {address}"),
            })
    }

    /// Every IPv4 address.
    pub fn addresses(&mut self) -> Result<Vec<Address>, NetlinkError> {
        let mut addresses = Vec::new();
        let mut request = AddressMessage::default();
        request.header.family = AddressFamily::Inet;
        self.socket.dump(
            &|| "list the addresses".to_owned(),
            RouteNetlinkMessage::GetAddress(request),
            &mut |message| {
                if let RouteNetlinkMessage::NewAddress(message) = message {
                    addresses.extend(address(&message));
                }
            },
        )?;
        Ok(addresses)
    }

    /// How the kernel would send to this address, rules of routing included.
    pub fn route_to(&mut self, address: Ipv4Addr) -> Result<RouteTo, NetlinkError> {
        let what = || format!("find the route to {address}");
        let mut request = RouteMessage::default();
        request.header.address_family = AddressFamily::Inet;
        request.header.destination_prefix_length = 32;
        request.attributes = vec![RouteAttribute::Destination(RouteAddress::Inet(address))];
        let mut found = None;
        self.socket.ask(
            &what,
            RouteNetlinkMessage::GetRoute(request),
            &mut |message| {
                if let RouteNetlinkMessage::NewRoute(message) = message {
                    found = Some(message);
                }
            },
        )?;
        let found = found.ok_or_else(|| NetlinkError::Absent { what: what() })?;
        let (mut gateway, mut link) = (None, None);
        for attribute in &found.attributes {
            match attribute {
                RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(*address),
                RouteAttribute::Oif(index) => link = Some(LinkIndex(*index)),
                _ => {}
            }
        }
        Ok(RouteTo {
            local: found.header.kind == RouteType::Local,
            gateway,
            over_veth: match link {
                Some(link) => self.is_veth(link)?,
                None => false,
            },
        })
    }

    fn is_veth(&mut self, link: LinkIndex) -> Result<bool, NetlinkError> {
        let mut veth = false;
        self.socket.dump(
            &|| "list the links".to_owned(),
            RouteNetlinkMessage::GetLink(LinkMessage::default()),
            &mut |message| {
                if let RouteNetlinkMessage::NewLink(message) = message {
                    veth |= message.header.index == link.0 && kind_is_veth(&message);
                }
            },
        )?;
        Ok(veth)
    }

    /// Every IPv4 route of the main table, without the default route.
    pub fn routes(&mut self) -> Result<Vec<Route>, NetlinkError> {
        let mut routes = Vec::new();
        let mut request = RouteMessage::default();
        request.header.address_family = AddressFamily::Inet;
        self.socket.dump(
            &|| "list the routes".to_owned(),
            RouteNetlinkMessage::GetRoute(request),
            &mut |message| {
                if let RouteNetlinkMessage::NewRoute(message) = message {
                    routes.extend(route(&message));
                }
            },
        )?;
        Ok(routes)
    }
}

fn kind_is_veth(message: &LinkMessage) -> bool {
    message.attributes.iter().any(|attribute| {
        matches!(attribute, LinkAttribute::LinkInfo(infos)
            if infos.iter().any(|info| matches!(info, LinkInfo::Kind(InfoKind::Veth))))
    })
}

fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: LinkIndex(message.header.index),
        name: String::new(),
        mac: None,
        up: message.header.flags.contains(LinkFlags::Up),
        operational: false,
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => {
                link.mac = bytes.as_slice().try_into().ok().map(MacAddress);
            }
            LinkAttribute::OperState(state) => link.operational = *state == State::Up,
            _ => {}
        }
    }
    link
}

fn address(message: &AddressMessage) -> Option<Address> {
    // A link with a peer has the peer in `Address` and its own in `Local`; others have the same in both.
    let own = message.attributes.iter().find_map(|attribute| {
        let AddressAttribute::Local(IpAddr::V4(own)) = attribute else {
            return None;
        };
        Some(*own)
    })?;
    Some(Address {
        link: LinkIndex(message.header.index),
        network: Ipv4Net::new(own, message.header.prefix_len).ok()?,
    })
}

fn route(message: &RouteMessage) -> Option<Route> {
    if message.header.table != RouteHeader::RT_TABLE_MAIN
        || message.header.destination_prefix_length == 0
    {
        return None;
    }
    let (mut destination, mut gateway, mut link) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                destination = Some(*address);
            }
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(*address),
            RouteAttribute::Oif(index) => link = Some(LinkIndex(*index)),
            _ => {}
        }
    }
    Some(Route {
        destination: Ipv4Net::new(destination?, message.header.destination_prefix_length).ok()?,
        gateway,
        link,
    })
}

/// The table of addresses that are this host's own, `RT_TABLE_LOCAL` of rtnetlink(7).
const TABLE_LOCAL: u8 = 255;
