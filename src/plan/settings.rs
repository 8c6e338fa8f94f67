//! Which settings, which value, why. The plan asks for as little as it can: what a scenario says, and what the planned
//! connections cannot do without. Settings of the host come from the scenario alone.

use super::SettingsPlan;
use crate::domain::{
    ConnCount, PlaceMaking, PortChoice, PortRange, SettingChange, SettingScope, SettingValue,
};
use crate::scenario::Scenario;

/// Enough for any burst that the clients' window allows, and the largest value that all kernels take.
const QUEUE: u64 = 65_535;

/// The kernel's own bounds of `tcp_child_ehash_entries` (`net/ipv4/sysctl_net_ipv4.c`).
const MOST_HASH_ENTRIES: u64 = 16 * 1024 * 1024;

/// Below this a hash of one's own is not worth the memory.
const FEWEST_HASH_ENTRIES: u64 = 64 * 1024;

/// Buckets of the established hash for `target` connections: at most one socket in two buckets, so that chains stay short.
pub(super) fn hash_entries(target: ConnCount) -> u64 {
    target
        .count()
        .saturating_mul(2)
        .max(1)
        .checked_next_power_of_two()
        .unwrap_or(MOST_HASH_ENTRIES)
        .clamp(FEWEST_HASH_ENTRIES, MOST_HASH_ENTRIES)
}

/// The settings for `target` connections, with what a reader should know about them.
pub(super) fn settings(
    scenario: &Scenario,
    how: PlaceMaking,
    target: ConnCount,
    notes: &mut Vec<String>,
) -> SettingsPlan {
    let host = scenario
        .host_settings
        .iter()
        .map(|(key, wanted)| SettingChange {
            key: key.clone(),
            scope: SettingScope::Host,
            wanted: wanted.clone(),
            reason: "the scenario says so".to_owned(),
        })
        .collect();
    if how.is_found() {
        if !scenario.namespace_settings.is_empty() {
            notes.push(
                "settings.namespace is not applied: on the host's own loopback there is no namespace of ours, and no setting of the host is changed for it".to_owned(),
            );
        }
        return SettingsPlan {
            namespace: Vec::new(),
            host,
            established_hash_entries: None,
        };
    }
    let hash = match how {
        PlaceMaking::Netns { .. } | PlaceMaking::PrivateLoopback { .. } => {
            Some(hash_entries(target))
        }
        PlaceMaking::Docker
        | PlaceMaking::HostLoopback
        | PlaceMaking::Joined { .. }
        | PlaceMaking::Container => None,
    };
    SettingsPlan {
        namespace: namespace(scenario, target),
        host,
        established_hash_entries: hash,
    }
}

fn namespace(scenario: &Scenario, target: ConnCount) -> Vec<SettingChange> {
    let queue = if scenario.server.service.accepts() {
        QUEUE
    } else {
        target.count().max(QUEUE)
    };
    // What a server that is not the lab's own meets is what its user would have, unless the scenario says otherwise.
    let own = scenario.server.subject.is_none();
    let mut wanted = Vec::new();
    if own {
        wanted.extend([
            change(
                "net.core.somaxconn",
                SettingValue::AtLeast(queue),
                "the accept queue holds the lesser of it and the backlog",
            ),
            change(
                "net.ipv4.tcp_max_syn_backlog",
                SettingValue::AtLeast(QUEUE),
                "handshakes under way, before SYN cookies replace them",
            ),
        ]);
    }
    if scenario
        .clients
        .iter()
        .any(|group| group.ports != PortChoice::Explicit)
    {
        let range = PortRange::UNPRIVILEGED;
        wanted.push(change(
            "net.ipv4.ip_local_port_range",
            SettingValue::Exactly(format!("{} {}", range.first(), range.last())),
            "the kernel chooses source ports inside it",
        ));
    }
    wanted.retain(|change| !scenario.namespace_settings.contains_key(&change.key));
    wanted.extend(
        scenario
            .namespace_settings
            .iter()
            .map(|(key, value)| change(key, value.clone(), "the scenario says so")),
    );
    wanted.sort_by(|a, b| a.key.cmp(&b.key));
    wanted
}

fn change(key: &str, wanted: SettingValue, reason: &str) -> SettingChange {
    SettingChange {
        key: key.to_owned(),
        scope: SettingScope::Namespace,
        wanted,
        reason: reason.to_owned(),
    }
}
