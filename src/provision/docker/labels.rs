//! The labels that everything of ours carries: clean-up goes by them, and by nothing else.

use std::collections::HashMap;

use crate::domain::{HostIndex, RunId};
use crate::kernel::identity::{Life, ProcessIdentity};

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
/// The runner: the text of its [`ProcessIdentity`], with its boot, its namespaces and its user.
const RUNNER: &str = "io.c1m.runner";
/// The runner as earlier versions write and read it, number and start time alone. A `clean` of such a version removes
/// everything whose label of this name it cannot read.
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
    let mut labels = of_image();
    labels.insert(RUN.to_owned(), run.to_string());
    labels.insert(ROLE.to_owned(), role.to_owned());
    labels.insert(INDEX.to_owned(), index.to_string());
    let runner = ProcessIdentity::current();
    if let Some(start) = runner.start_time {
        labels.insert(OWNER.to_owned(), format!("{}:{start}", runner.pid));
    }
    labels.insert(RUNNER.to_owned(), runner.to_string());
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

/// Whether the runner that made the object is alive. To be asked only where the engine runs on this kernel: elsewhere the
/// number is that of another machine's process.
pub(super) fn life_of_owner(labels: &HashMap<String, String>) -> Life {
    let Some(text) = labels.get(RUNNER).or_else(|| labels.get(OWNER)) else {
        return Life::Unknown("it does not say who its runner is".to_owned());
    };
    ProcessIdentity::parse(text).map_or_else(
        || {
            Life::Unknown(format!(
                "what it says of its runner is not understood: {text:?}"
            ))
        },
        |runner| runner.life(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_owner(change: impl FnOnce(&mut ProcessIdentity)) -> HashMap<String, String> {
        let mut owner = ProcessIdentity::current();
        change(&mut owner);
        let mut labels = of_network(&RunId::from_random(7), 0);
        labels.insert(RUNNER.to_owned(), owner.to_string());
        labels
    }

    #[test]
    fn what_this_process_made_has_a_living_owner_and_a_run() {
        let run = RunId::from_random(7);
        let labels = of_container(&run, HostIndex(2));
        assert_eq!(life_of_owner(&labels), Life::Alive);
        // As an earlier version looks at it.
        let own = ProcessIdentity::current();
        let number_and_time = format!("{}:{}", own.pid, own.start_time.expect("has begun"));
        assert_eq!(labels.get(OWNER), Some(&number_and_time));
        assert_eq!(run_of(&labels), Some(run));
        assert_eq!(labels.get(ROLE).map(String::as_str), Some("client"));
    }

    #[test]
    fn a_process_that_only_has_the_number_is_not_the_owner() {
        let labels = with_owner(|owner| owner.start_time = Some(1));
        assert_eq!(life_of_owner(&labels), Life::Gone);
    }

    #[test]
    fn an_owner_of_an_earlier_boot_is_gone_with_it() {
        let labels = with_owner(|owner| owner.boot_id = Some("another".to_owned()));
        assert_eq!(life_of_owner(&labels), Life::GoneWithItsBoot);
    }

    #[test]
    fn an_owner_that_cannot_be_told_is_not_called_gone() {
        let mut nobody = with_owner(|_| ());
        nobody.remove(OWNER);
        nobody.remove(RUNNER);
        let mut short = with_owner(|_| ());
        short.remove(RUNNER);
        short.insert(OWNER.to_owned(), format!("{}:1", std::process::id()));
        let elsewhere = with_owner(|owner| owner.time_namespace = Some(1));
        for labels in [nobody, short, elsewhere] {
            let life = life_of_owner(&labels);
            assert!(matches!(life, Life::Unknown(_)), "{life:?}");
        }
    }
}
