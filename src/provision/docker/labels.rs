//! The labels that everything of ours carries: clean-up goes by them, and by nothing else.

use std::collections::HashMap;

use crate::domain::{HostIndex, RunId};
use crate::kernel::sys::process;

/// Says that it is ours. Its value is `c1m`; what Compose brings up carries `compose`, because Compose removes it.
pub(super) const MANAGED_BY: &str = "io.c1m.managed-by";
/// The run.
pub(super) const RUN: &str = "io.c1m.run";
/// `server`, `client` or `network`.
const ROLE: &str = "io.c1m.role";
/// Which of them.
const INDEX: &str = "io.c1m.index";
/// The version of c1m that made it.
const VERSION: &str = "io.c1m.version";
/// The runner: its process number and the time it began at, in ticks since the boot.
const OWNER: &str = "io.c1m.owner";

const OURS: &str = "c1m";

/// Labels of an image. No run is in them, because runs share it.
pub(super) fn of_image() -> HashMap<String, String> {
    HashMap::from([
        (MANAGED_BY.to_owned(), OURS.to_owned()),
        (VERSION.to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ])
}

/// Labels of a network of a run.
pub(super) fn of_network(run: &RunId, network: usize) -> HashMap<String, String> {
    of_object(run, "network", network)
}

/// Labels of the container of a host.
pub(super) fn of_container(run: &RunId, host: HostIndex) -> HashMap<String, String> {
    let role = if host == HostIndex::SERVER {
        "server"
    } else {
        "client"
    };
    of_object(run, role, host.0)
}

fn of_object(run: &RunId, role: &str, index: usize) -> HashMap<String, String> {
    let pid = std::process::id();
    let started = process::start_time(pid).unwrap_or_default();
    let mut labels = of_image();
    labels.insert(RUN.to_owned(), run.to_string());
    labels.insert(ROLE.to_owned(), role.to_owned());
    labels.insert(INDEX.to_owned(), index.to_string());
    labels.insert(OWNER.to_owned(), format!("{pid}:{started}"));
    labels
}

/// A filter that lets pass what is ours, of any run.
pub(super) fn filter_ours() -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![format!("{MANAGED_BY}={OURS}")])])
}

/// A filter that lets pass what belongs to `run`.
pub(super) fn filter_run(run: &RunId) -> HashMap<String, Vec<String>> {
    let mut filter = filter_ours();
    for labels in filter.values_mut() {
        labels.push(format!("{RUN}={run}"));
    }
    filter
}

/// The run in an object's labels.
pub(super) fn run_of(labels: &HashMap<String, String>) -> Option<RunId> {
    RunId::parse(labels.get(RUN)?)
}

/// Whether the runner that made the object is alive: the process has its number, and began when it did.
pub(super) fn owner_lives(labels: &HashMap<String, String>) -> bool {
    owner(labels).is_some_and(|(pid, started)| process::start_time(pid) == Some(started))
}

fn owner(labels: &HashMap<String, String>) -> Option<(u32, u64)> {
    let (pid, started) = labels.get(OWNER)?.split_once(':')?;
    Some((pid.parse().ok()?, started.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_made_has_a_living_owner_and_a_run() {
        let run = RunId::from_random(7);
        let labels = of_container(&run, HostIndex(2));
        assert!(owner_lives(&labels));
        assert_eq!(run_of(&labels), Some(run));
        assert_eq!(labels.get(ROLE).map(String::as_str), Some("client"));
    }

    #[test]
    fn a_process_that_only_has_the_number_is_not_the_owner() {
        let mut labels = of_network(&RunId::from_random(7), 0);
        labels.insert(OWNER.to_owned(), format!("{}:1", std::process::id()));
        assert!(!owner_lives(&labels));
        labels.remove(OWNER);
        assert!(!owner_lives(&labels));
    }
}
