//! Where to run: the place that a scenario asks for, or the first of docker, netns and loopback that can be used; `host` is
//! taken only when it is asked for. With the reason for it and for each one that was passed over.

use serde::Serialize;

use super::network::choose_network;
use crate::domain::{HostFacts, PlaceChoice, PlaceKind, PlaceMaking, Subject};
use crate::scenario::{NetworkRequest, PlaceRequest, Scenario};

/// Which places this program can make at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DockerSupport {
    /// It can make containers.
    Available,
    /// This build cannot.
    Absent,
}

/// A place that was chosen, how it is to be made, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlaceDecision {
    /// How it is to be made.
    pub how: PlaceMaking,
    /// The choice with its reasons.
    pub choice: PlaceChoice,
}

/// The place that was asked for cannot be had here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("place {place} cannot be had here: {why}")]
pub struct PlaceRefusal {
    /// What was asked for.
    pub place: PlaceKind,
    /// Why it cannot be had.
    pub why: String,
    /// What to do about it.
    pub cure: String,
}

/// A place that can be used, and why; or why not, and what would cure it.
type Offer = Result<(PlaceMaking, String), (String, String)>;

/// Chooses the place, and for containers what joins them. The requests are the scenario's, or the user's where they were given
/// on the command line.
///
/// # Errors
/// When the place or the network that was asked for cannot be had. `auto` for both always ends at loopback.
pub fn choose_place(
    request: PlaceRequest,
    network: NetworkRequest,
    facts: &HostFacts,
    docker: DockerSupport,
) -> Result<PlaceDecision, PlaceRefusal> {
    let mut decision = choose(request, facts, docker)?;
    if decision.how == PlaceMaking::Docker {
        let chosen = choose_network(network, facts).map_err(|(why, cure)| PlaceRefusal {
            place: PlaceKind::Docker,
            why,
            cure,
        })?;
        decision.choice.network = Some(chosen);
    }
    Ok(decision)
}

fn choose(
    request: PlaceRequest,
    facts: &HostFacts,
    docker: DockerSupport,
) -> Result<PlaceDecision, PlaceRefusal> {
    if let PlaceRequest::Only(place) = request {
        return match offer(place, facts, docker) {
            Ok((how, why)) => Ok(PlaceDecision {
                how,
                choice: PlaceChoice {
                    place,
                    asked: true,
                    why: format!("asked for; {why}"),
                    why_not: Vec::new(),
                    network: None,
                },
            }),
            Err((why, cure)) => Err(PlaceRefusal { place, why, cure }),
        };
    }
    let mut why_not = Vec::new();
    for place in [PlaceKind::Docker, PlaceKind::Netns] {
        match offer(place, facts, docker) {
            Ok((how, why)) => return Ok(decision(place, how, why, why_not)),
            Err((why, _)) => why_not.push((place, why)),
        }
    }
    let (how, why) = loopback(facts);
    Ok(decision(PlaceKind::Loopback, how, why, why_not))
}

/// Chooses the place of a scenario: for a server that is not the lab's own, where that server is.
///
/// # Errors
/// As [`choose_place`], and when the place that was asked for does not go with the server.
pub fn choose_place_of(
    scenario: &Scenario,
    facts: &HostFacts,
    docker: DockerSupport,
) -> Result<PlaceDecision, PlaceRefusal> {
    let Some(subject) = &scenario.server.subject else {
        return choose_place(scenario.place, scenario.network, facts, docker);
    };
    let asked = match scenario.place {
        PlaceRequest::Auto => None,
        PlaceRequest::Only(place) => Some(place),
    };
    let refuse = |place: PlaceKind, why: &str, cure: &str| PlaceRefusal {
        place,
        why: why.to_owned(),
        cure: cure.to_owned(),
    };
    let of_subject = |how: PlaceMaking, place: PlaceKind, why: String| PlaceDecision {
        how,
        choice: PlaceChoice {
            place,
            asked: true,
            why,
            why_not: Vec::new(),
            network: None,
        },
    };
    match (subject, asked) {
        (Subject::Command(_), None) => {
            let (how, why) = loopback(facts);
            Ok(of_subject(how, PlaceKind::Loopback, why))
        }
        (Subject::Command(_), Some(PlaceKind::Docker)) => Err(refuse(
            PlaceKind::Docker,
            "a command is started on this machine, not in a container",
            "name an image that has it (server.image, --image), or use --place netns",
        )),
        (Subject::Command(_), Some(_)) => {
            choose_place(scenario.place, scenario.network, facts, docker)
        }
        (Subject::Image(_), None | Some(PlaceKind::Docker)) => {
            let (_, why) = docker_offer(facts, docker).map_err(|(why, cure)| PlaceRefusal {
                place: PlaceKind::Docker,
                why,
                cure,
            })?;
            let why = format!("an image runs in a container; {why}");
            Ok(of_subject(PlaceMaking::Container, PlaceKind::Docker, why))
        }
        (Subject::Image(_), Some(place)) => Err(refuse(
            place,
            "an image runs in a container",
            "leave the place out",
        )),
        (Subject::Process { pid }, None) => Ok(of_subject(
            PlaceMaking::Joined { pid: *pid },
            PlaceKind::Host,
            format!("the network namespace that process {pid} is in"),
        )),
        (Subject::Process { .. }, Some(place)) => Err(refuse(
            place,
            "a process is measured in the network namespace that it is in",
            "leave the place out",
        )),
        (Subject::Target { address }, None | Some(PlaceKind::Host)) => Ok(of_subject(
            PlaceMaking::HostLoopback,
            PlaceKind::Host,
            format!("{address} is reached from this network namespace"),
        )),
        (Subject::Target { .. }, Some(place)) => Err(refuse(
            place,
            "a server that runs already is reached from where the runner is",
            "leave the place out",
        )),
    }
}

const fn decision(
    place: PlaceKind,
    how: PlaceMaking,
    why: String,
    why_not: Vec<(PlaceKind, String)>,
) -> PlaceDecision {
    PlaceDecision {
        how,
        choice: PlaceChoice {
            place,
            asked: false,
            why,
            why_not,
            network: None,
        },
    }
}

fn offer(place: PlaceKind, facts: &HostFacts, docker: DockerSupport) -> Offer {
    match place {
        PlaceKind::Docker => docker_offer(facts, docker),
        PlaceKind::Host => Ok((
            PlaceMaking::HostLoopback,
            "the host's own loopback, in the host's own network namespace".to_owned(),
        )),
        PlaceKind::Loopback => Ok(loopback(facts)),
        PlaceKind::Netns => netns(facts),
    }
}

fn docker_offer(facts: &HostFacts, docker: DockerSupport) -> Offer {
    if docker == DockerSupport::Absent {
        return Err((
            "this build of c1m makes no containers".to_owned(),
            "use --place netns".to_owned(),
        ));
    }
    let Some(engine) = facts.docker.present() else {
        let gap = facts.docker.gap().unwrap_or("no engine answers");
        return Err((
            format!("no Docker engine to use: {gap}"),
            "put that right, or use --place netns".to_owned(),
        ));
    };
    if let Some(why) = &engine.unusable {
        return Err((
            format!(
                "Docker {} at {} cannot be used: {why}",
                engine.engine, engine.address
            ),
            "use --place netns".to_owned(),
        ));
    }
    if !engine.same_kernel {
        return Err((
            format!(
                "Docker {} at {} runs on another kernel ({}), which cannot be observed from here",
                engine.engine, engine.address, engine.kernel
            ),
            "run c1m on the machine that runs the engine".to_owned(),
        ));
    }
    if facts.uid != 0 {
        return Err((
            "looking into the network namespaces of containers needs root".to_owned(),
            "run it with sudo, or use --place netns".to_owned(),
        ));
    }
    Ok((
        PlaceMaking::Docker,
        format!(
            "Docker {} answers at {} and runs on this kernel",
            engine.engine, engine.address
        ),
    ))
}

fn netns(facts: &HostFacts) -> Offer {
    if facts.network_namespaces {
        return Ok((
            PlaceMaking::Netns {
                in_user_namespace: false,
            },
            "network namespaces can be made here (CAP_SYS_ADMIN)".to_owned(),
        ));
    }
    if facts.user_namespaces.allowed {
        return Ok((
            PlaceMaking::Netns {
                in_user_namespace: true,
            },
            "network namespaces can be made inside a user namespace of our own, without privilege"
                .to_owned(),
        ));
    }
    Err((
        format!(
            "neither CAP_SYS_ADMIN nor a user namespace of our own: {}",
            why_no_user_namespace(facts)
        ),
        "run it with sudo, or allow user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)".to_owned(),
    ))
}

/// Loopback can always be had; how depends on what may be made.
fn loopback(facts: &HostFacts) -> (PlaceMaking, String) {
    if facts.network_namespaces {
        return (
            PlaceMaking::PrivateLoopback {
                in_user_namespace: false,
            },
            "the loopback of a network namespace of our own: no connection tracking, no firewall"
                .to_owned(),
        );
    }
    if facts.user_namespaces.allowed {
        return (
            PlaceMaking::PrivateLoopback {
                in_user_namespace: true,
            },
            "the loopback of a user and network namespace of our own: no privilege, no connection tracking, no firewall".to_owned(),
        );
    }
    (
        PlaceMaking::HostLoopback,
        format!(
            "the host's own loopback, because no namespace can be made: {}",
            why_no_user_namespace(facts)
        ),
    )
}

fn why_no_user_namespace(facts: &HostFacts) -> &str {
    facts
        .user_namespaces
        .why_not
        .as_deref()
        .unwrap_or("the kernel refuses it")
}
