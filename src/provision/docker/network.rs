//! The networks of the topology: internal, so that nothing leads out of them, with the subnets that the plan has chosen,
//! over a bridge or, where the scenario asks for it, over macvlan. Where the runner joins the containers, there are none.

use std::collections::{BTreeMap, HashMap};

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest};
use ipnet::Ipv4Net;

use super::engine::{Engine, failed};
use super::{labels, untrack};
use crate::domain::{NetworkDriver, RunId};
use crate::host::Tuning;
use crate::kernel::netlink::route::{MacAddress, RouteSocket, VethEnd};
use crate::kernel::sys::netns::NetworkNamespace;
use crate::plan::Plan;
use crate::provision::ProvisionError;

/// Networks that are up: the name of each, by its number in the plan.
pub(super) type Networks = BTreeMap<usize, String>;

/// Makes the networks of the plan.
pub(super) fn make_all(
    engine: &Engine,
    plan: &Plan,
    run: &RunId,
    host: &mut Tuning,
) -> Result<Networks, ProvisionError> {
    let driver = plan.network_driver();
    if driver == NetworkDriver::Link {
        return Ok(Networks::new());
    }
    subnets(plan)
        .into_iter()
        .map(|(number, subnet)| {
            let parent = match driver {
                NetworkDriver::Macvlan => Some(make_parent(run, number, host)?),
                NetworkDriver::Bridge | NetworkDriver::Link => None,
            };
            let name = name_of(run, number);
            let request = request(&name, subnet, driver, parent, run, number)?;
            make(engine, request, subnet)?;
            Ok((number, name))
        })
        .collect()
}

/// The subnet of each network of the plan.
pub(super) fn subnets(plan: &Plan) -> BTreeMap<usize, Ipv4Net> {
    plan.hosts
        .iter()
        .flat_map(|host| &host.interfaces)
        .map(|interface| (interface.network, interface.subnet))
        .collect()
}

/// The name of a network.
fn name_of(run: &RunId, number: usize) -> String {
    format!("c1m-{run}-net-{number}")
}

fn request(
    name: &str,
    subnet: Ipv4Net,
    driver: NetworkDriver,
    parent: Option<String>,
    run: &RunId,
    number: usize,
) -> Result<NetworkCreateRequest, ProvisionError> {
    // The plan leaves the first address of each network to the engine.
    let gateway = subnet.hosts().next().ok_or_else(|| {
        ProvisionError::new(
            format!("make network {name}"),
            format!("{subnet} has no address"),
        )
    })?;
    Ok(NetworkCreateRequest {
        name: name.to_owned(),
        driver: Some(driver.name().to_owned()),
        internal: Some(true),
        enable_ipv6: Some(false),
        ipam: Some(Ipam {
            config: Some(vec![IpamConfig {
                subnet: Some(subnet.to_string()),
                gateway: Some(gateway.to_string()),
                ..IpamConfig::default()
            }]),
            ..Ipam::default()
        }),
        options: parent.map(|parent| HashMap::from([("parent".to_owned(), parent)])),
        labels: Some(labels::of_network(run, number)),
        ..NetworkCreateRequest::default()
    })
}

fn make(
    engine: &Engine,
    request: NetworkCreateRequest,
    subnet: Ipv4Net,
) -> Result<(), ProvisionError> {
    let what = format!("cannot make network {} ({subnet})", request.name);
    let macvlan = request.driver.as_deref() == Some(NetworkDriver::Macvlan.name());
    let docker = engine.docker();
    engine
        .wait(async move { docker.create_network(request).await })
        .map(drop)
        .map_err(failed(what))
        .map_err(|error| {
            if macvlan {
                error.with_hint(
                    "macvlan needs the kernel's module: modprobe macvlan, or use `network: bridge`",
                )
            } else {
                error
            }
        })
}

/// A macvlan network hangs on a link of the host. A veth pair of our own serves: its other end leads nowhere, and the
/// kernel hands frames between the containers on it by itself. It is noted in the journal before it is made.
fn make_parent(run: &RunId, number: usize, host: &mut Tuning) -> Result<String, ProvisionError> {
    let name = format!("c1m{run}p{number}");
    let what = || format!("make the veth pair {name}, which a macvlan network is to hang on");
    let failed = |error: &dyn std::fmt::Display| ProvisionError::new(what(), error);
    host.note_object(untrack::VETH, &name)
        .map_err(|error| failed(&error))?;
    let peer = format!("c1m{run}q{number}");
    let mut route = RouteSocket::open().map_err(|error| failed(&error))?;
    let here = NetworkNamespace::current().map_err(|error| failed(&error))?;
    let end = |name: &str, side: u8| VethEnd {
        name: name.to_owned(),
        // The second lowest bit of the first byte says that it is administered here (IEEE 802).
        mac: MacAddress([
            0x02,
            0xc1,
            0x3a,
            0xff,
            side,
            u8::try_from(number).unwrap_or(0xff),
        ]),
    };
    route
        .add_veth(&end(&name, 0), &end(&peer, 1), &here)
        .map_err(|error| failed(&error))?;
    for end in [&name, &peer] {
        let link = route.link_named(end).map_err(|error| failed(&error))?;
        route.set_up(link.index).map_err(|error| failed(&error))?;
    }
    Ok(name)
}
