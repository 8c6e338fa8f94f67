//! Joins network namespaces by veth pairs, with addresses, routes and neighbours at both ends: namespaces of our own and those
//! of containers. A pair is made from within the client's namespace with its other end in the server's, so that no end is
//! ever in the host's.

mod pairs;

use std::thread;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;

use crate::kernel::netlink::NetlinkError;
use crate::kernel::netlink::route::{LinkIndex, RouteSocket, Via};
use crate::kernel::sys::netns::NetworkNamespace;
use crate::plan::HostPlan;

use super::ProvisionError;
use pairs::{End, Pair};

/// A namespace that is to be joined with others.
#[derive(Debug)]
pub(super) struct Joint<'a> {
    /// Its name in messages.
    pub(super) name: &'a str,
    /// What refers to it.
    pub(super) namespace: &'a NetworkNamespace,
    /// A socket that was opened inside.
    pub(super) route: RouteSocket,
}

/// Joins the namespaces of `hosts`, which `joints` has in the same order, and waits until packets pass.
///
/// # Errors
/// When a pair cannot be made or comes up without a carrier. What was made goes away with the namespaces.
pub(super) fn join_all(hosts: &[HostPlan], joints: &mut [Joint<'_>]) -> Result<(), ProvisionError> {
    for pair in pairs::pairs(hosts)? {
        join(&pair, joints)?;
    }
    await_links(joints)
}

/// Makes a pair, with addresses, routes and neighbours at both ends.
fn join(pair: &Pair, joints: &mut [Joint<'_>]) -> Result<(), ProvisionError> {
    let what = || {
        format!(
            "join {} ({}) to the server ({})",
            pair.client.name(),
            pair.client_end.veth.name,
            pair.server_end.veth.name
        )
    };
    let failed = |error: NetlinkError| ProvisionError::new(what(), error);
    let Some((server, clients)) = joints.split_first_mut() else {
        return Err(ProvisionError::new(what(), "there is no server"));
    };
    let client = pair
        .client
        .0
        .checked_sub(1)
        .and_then(|behind_server| clients.get_mut(behind_server))
        .ok_or_else(|| ProvisionError::new(what(), "there is no such client"))?;
    client
        .route
        .add_veth(
            &pair.client_end.veth,
            &pair.server_end.veth,
            server.namespace,
        )
        .map_err(failed)?;
    dress(&mut client.route, &pair.client_end, &pair.server_end).map_err(failed)?;
    dress(&mut server.route, &pair.server_end, &pair.client_end).map_err(failed)
}

/// Gives one end its addresses and its way to the other end's.
fn dress(route: &mut RouteSocket, own: &End, facing: &End) -> Result<(), NetlinkError> {
    let link: LinkIndex = route.link_named(&own.veth.name)?.index;
    for address in own.addresses() {
        route.add_address(link, Ipv4Net::from(address))?;
    }
    route.set_up(link)?;
    route.set_neighbour(link, facing.first, facing.veth.mac)?;
    route.add_route(Ipv4Net::from(facing.first), Via::Link(link))?;
    for block in facing.blocks() {
        route.add_route(block, Via::Neighbour(link, facing.first))?;
    }
    Ok(())
}

/// Waits until packets pass on every link: the kernel notices a carrier from a work queue, and drops what is sent before.
fn await_links(joints: &mut [Joint<'_>]) -> Result<(), ProvisionError> {
    let deadline = Instant::now() + LONGEST_CARRIER;
    for joint in joints {
        loop {
            let what = || format!("see the links of {} come up", joint.name);
            let links = joint
                .route
                .links()
                .map_err(|error| ProvisionError::new(what(), error))?;
            let Some(waiting) = links
                .iter()
                .find(|link| link.up && link.name != "lo" && !link.operational)
            else {
                break;
            };
            if Instant::now() >= deadline {
                let why = format!("{} has no carrier after {LONGEST_CARRIER:?}", waiting.name);
                return Err(ProvisionError::new(what(), why));
            }
            thread::sleep(LOOK_EVERY);
        }
    }
    Ok(())
}

const LONGEST_CARRIER: Duration = Duration::from_secs(10);

const LOOK_EVERY: Duration = Duration::from_millis(2);
