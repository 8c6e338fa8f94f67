//! What joins containers: links of our own where this runner may make them, else the engine's bridges. With the reason for it
//! and for what was passed over.

use crate::domain::{HostFacts, NetworkChoice, NetworkDriver};
use crate::scenario::NetworkRequest;

/// Why something cannot be had, and what would cure it.
type Refused = (String, String);

/// Chooses what the networks between containers are made of, on a machine where containers can be had.
pub(super) fn choose_network(
    request: NetworkRequest,
    facts: &HostFacts,
) -> Result<NetworkChoice, Refused> {
    let asked_for = |driver: NetworkDriver, why: &str| NetworkChoice {
        driver,
        asked: true,
        why: format!("asked for; {why}"),
        why_not: Vec::new(),
    };
    let not_asked = |driver: NetworkDriver, why: &str, why_not| NetworkChoice {
        driver,
        asked: false,
        why: why.to_owned(),
        why_not,
    };
    match request {
        NetworkRequest::Auto => Ok(match no_link(facts) {
            None => not_asked(NetworkDriver::Link, LINK, Vec::new()),
            Some(why) => not_asked(
                NetworkDriver::Bridge,
                BRIDGE,
                vec![(NetworkDriver::Link, why)],
            ),
        }),
        NetworkRequest::Only(NetworkDriver::Link) => match no_link(facts) {
            None => Ok(asked_for(NetworkDriver::Link, LINK)),
            Some(why) => Err((
                format!("`network: link`: {why}"),
                "run it with sudo on the machine itself, or use `network: bridge`".to_owned(),
            )),
        },
        NetworkRequest::Only(NetworkDriver::Bridge) => Ok(asked_for(NetworkDriver::Bridge, BRIDGE)),
        NetworkRequest::Only(NetworkDriver::Macvlan) => {
            Ok(asked_for(NetworkDriver::Macvlan, MACVLAN))
        }
    }
}

/// Why containers cannot be joined by links from here, where that is so. That the engine's containers run on this kernel and
/// are seen from this process namespace is a condition of the place itself.
fn no_link(facts: &HostFacts) -> Option<String> {
    if let Some((_, name)) = NEEDED
        .iter()
        .find(|(needed, _)| !facts.capabilities.iter().any(|held| held == needed))
    {
        return Some(format!(
            "this runner has no {name}, and joining the network namespaces of containers takes it"
        ));
    }
    match facts.first_user_namespace.present() {
        Some(true) => None,
        Some(false) => Some(
            "this runner is in a user namespace, whose capabilities do not reach the network namespaces of containers"
                .to_owned(),
        ),
        // Where it could not be found out, the worse is assumed.
        None => Some(format!(
            "it cannot be told whether this runner's capabilities reach the network namespaces of containers: {}",
            facts.first_user_namespace.gap().unwrap_or_default()
        )),
    }
}

/// What entering a container's network namespace and making links in it takes.
const NEEDED: [(&str, &str); 2] = [
    ("sys_admin", "CAP_SYS_ADMIN"),
    ("net_admin", "CAP_NET_ADMIN"),
];

const LINK: &str = "this runner joins the containers by veth pairs: no bridge, no packet rules of the host and no connection tracking in the path";

const BRIDGE: &str = "the engine makes a bridge for each network";

const MACVLAN: &str = "the engine makes macvlan links on a veth pair of ours for each network";
