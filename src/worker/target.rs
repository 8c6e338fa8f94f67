//! Whether a target of load is on this kernel. What is not could be somebody else's machine.
//!
//! An address is here when the kernel itself says so: its route is of the type "local", as of every address of this network
//! namespace. An address of the lab's range, 198.18.0.0/15 (set aside for benchmarks by RFC 2544, routed nowhere in the
//! Internet), is here too when it is reached without a gateway over one end of a veth pair, as between the lab's own
//! namespaces and containers: the other end is on this kernel. Everything else is elsewhere, containers of others included.

use std::io;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::kernel::netlink::NetlinkError;
use crate::kernel::netlink::route::{RouteSocket, RouteTo};

/// The lab's range.
const LAB: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 15);

/// Where a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whereabouts {
    /// In the network namespace of the caller.
    Here,
    /// In another namespace on this kernel that belongs to a lab.
    InLab,
    /// Anywhere else.
    Elsewhere,
}

/// Why that is not known.
#[derive(Debug, thiserror::Error)]
pub enum WhereaboutsError {
    /// Netlink could not be spoken.
    #[error("cannot ask the kernel for the route to {0}: {1}")]
    Netlink(Ipv4Addr, #[source] io::Error),
    /// The kernel gave no route.
    #[error(transparent)]
    Route(#[from] NetlinkError),
}

/// Where this address is.
///
/// # Errors
/// When the kernel gives no route to it.
pub fn whereabouts(target: Ipv4Addr) -> Result<Whereabouts, WhereaboutsError> {
    let mut routes =
        RouteSocket::open().map_err(|error| WhereaboutsError::Netlink(target, error))?;
    Ok(judge(target, &routes.route_to(target)?))
}

fn judge(target: Ipv4Addr, route: &RouteTo) -> Whereabouts {
    if route.local {
        Whereabouts::Here
    } else if LAB.contains(&target) && route.over_veth && route.gateway.is_none() {
        Whereabouts::InLab
    } else {
        Whereabouts::Elsewhere
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(local: bool, over_veth: bool, gateway: Option<Ipv4Addr>) -> RouteTo {
        RouteTo {
            local,
            gateway,
            over_veth,
        }
    }

    #[test]
    fn only_own_addresses_and_the_labs_range_over_veth_are_here() {
        let lab = Ipv4Addr::new(198, 19, 7, 1);
        let other = Ipv4Addr::new(10, 0, 0, 1);
        assert_eq!(judge(other, &route(true, false, None)), Whereabouts::Here);
        assert_eq!(judge(lab, &route(false, true, None)), Whereabouts::InLab);
        for (target, route) in [
            (lab, route(false, false, None)),
            (lab, route(false, true, Some(Ipv4Addr::new(198, 18, 0, 1)))),
            (other, route(false, true, None)),
        ] {
            assert_eq!(judge(target, &route), Whereabouts::Elsewhere);
        }
    }

    #[test]
    fn every_loopback_address_is_here() {
        for last in [1, 77] {
            let found = whereabouts(Ipv4Addr::new(127, 9, 9, last)).unwrap();
            assert_eq!(found, Whereabouts::Here);
        }
    }
}
