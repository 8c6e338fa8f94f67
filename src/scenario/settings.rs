//! Which kernel setting binds whom: a network namespace, or the whole machine. A scenario has a map for each, and a key in
//! the wrong one is refused with the reason.
//!
//! Source: `net/ipv4/sysctl_net_ipv4.c`, `net/core/sysctl_net_core.c` of Linux 6.18, tried in a fresh network namespace.

use super::suggest::did_you_mean;
use crate::domain::SettingScope;

/// A setting that a scenario may name.
#[derive(Debug, Clone, Copy)]
pub struct KnownSetting {
    /// The key, as sysctl(8) writes it.
    pub key: &'static str,
    /// Whom it binds.
    pub scope: SettingScope,
    /// Why it cannot stand in the other map, or what else is to be known.
    pub note: &'static str,
}

const fn namespace(key: &'static str) -> KnownSetting {
    KnownSetting {
        key,
        scope: SettingScope::Namespace,
        note: "each network namespace has its own, which vanishes with it",
    }
}

const fn host(key: &'static str, note: &'static str) -> KnownSetting {
    KnownSetting {
        key,
        scope: SettingScope::Host,
        note,
    }
}

const ABSENT: &str =
    "it is one for the whole machine and does not exist inside a network namespace";
const READ_ONLY: &str = "it is one for the whole machine and read-only inside a network namespace";
const MACHINE: &str = "it is one for the whole machine";

/// Every setting that a scenario may name, by key.
pub const KNOWN_SETTINGS: &[KnownSetting] = &[
    host(
        "fs.epoll.max_user_watches",
        "it bounds each user, whatever the namespace",
    ),
    host(
        "fs.file-max",
        "it is one for the whole machine; a process with CAP_SYS_ADMIN is exempt",
    ),
    host(
        "fs.nr_open",
        "it is the ceiling of every process's RLIMIT_NOFILE",
    ),
    host("kernel.pid_max", MACHINE),
    host("kernel.threads-max", MACHINE),
    host("net.core.default_qdisc", ABSENT),
    host("net.core.mem_pcpu_rsv", ABSENT),
    host("net.core.netdev_budget", ABSENT),
    host("net.core.netdev_max_backlog", ABSENT),
    host("net.core.rmem_default", READ_ONLY),
    host("net.core.rmem_max", READ_ONLY),
    host("net.core.rps_sock_flow_entries", ABSENT),
    namespace("net.core.somaxconn"),
    host("net.core.wmem_default", READ_ONLY),
    host("net.core.wmem_max", READ_ONLY),
    namespace("net.ipv4.ip_autobind_reuse"),
    namespace("net.ipv4.ip_local_port_range"),
    namespace("net.ipv4.ip_local_reserved_ports"),
    namespace("net.ipv4.ip_unprivileged_port_start"),
    host("net.ipv4.neigh.default.gc_interval", ABSENT),
    host("net.ipv4.neigh.default.gc_thresh1", ABSENT),
    host("net.ipv4.neigh.default.gc_thresh2", ABSENT),
    host("net.ipv4.neigh.default.gc_thresh3", ABSENT),
    namespace("net.ipv4.tcp_abort_on_overflow"),
    namespace("net.ipv4.tcp_fastopen"),
    namespace("net.ipv4.tcp_fin_timeout"),
    namespace("net.ipv4.tcp_keepalive_intvl"),
    namespace("net.ipv4.tcp_keepalive_probes"),
    namespace("net.ipv4.tcp_keepalive_time"),
    host("net.ipv4.tcp_max_orphans", ABSENT),
    namespace("net.ipv4.tcp_max_syn_backlog"),
    namespace("net.ipv4.tcp_max_tw_buckets"),
    host("net.ipv4.tcp_mem", ABSENT),
    namespace("net.ipv4.tcp_no_metrics_save"),
    namespace("net.ipv4.tcp_rmem"),
    namespace("net.ipv4.tcp_syn_retries"),
    namespace("net.ipv4.tcp_synack_retries"),
    namespace("net.ipv4.tcp_syncookies"),
    namespace("net.ipv4.tcp_tw_reuse"),
    namespace("net.ipv4.tcp_wmem"),
    host("net.ipv4.udp_mem", ABSENT),
    host("net.netfilter.nf_conntrack_buckets", READ_ONLY),
    host("net.netfilter.nf_conntrack_max", READ_ONLY),
    host("vm.min_free_kbytes", MACHINE),
    host("vm.overcommit_memory", MACHINE),
    host("vm.overcommit_ratio", MACHINE),
    host("vm.swappiness", MACHINE),
];

/// What is known about `key`.
#[must_use]
pub fn known_setting(key: &str) -> Option<&'static KnownSetting> {
    KNOWN_SETTINGS.iter().find(|known| known.key == key)
}

/// What is wrong with the unknown key at the end of `path`, and what to do; nothing when it is no setting.
pub(super) fn problem(path: &[String]) -> Option<(String, String)> {
    let [top, map, key] = path else { return None };
    let (this, other) = match (top.as_str(), map.as_str()) {
        ("settings", "namespace") => ("a network namespace", "settings.host"),
        ("settings", "host") => ("the host", "settings.namespace"),
        _ => return None,
    };
    if matches!(
        key.as_str(),
        "net.ipv4.tcp_child_ehash_entries" | "net.ipv4.tcp_ehash_entries"
    ) {
        return Some((
            format!(
                "`{key}` is not for a scenario: the plan sizes the established hash of each namespace by the connections it holds"
            ),
            "remove it".to_owned(),
        ));
    }
    Some(known_setting(key).map_or_else(
        || {
            let near = did_you_mean(key, KNOWN_SETTINGS.iter().map(|known| known.key));
            let hint = near.map_or_else(
                || {
                    "the schema lists the settings that a scenario may name: c1m schema scenario"
                        .to_owned()
                },
                |near| format!("did you mean `{near}`?"),
            );
            (format!("unknown setting `{key}`"), hint)
        },
        |known| {
            (
                format!("`{key}` is not a setting of {this}: {}", known.note),
                format!("move it to {other}"),
            )
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_unique() {
        assert!(
            KNOWN_SETTINGS
                .windows(2)
                .all(|pair| pair[0].key < pair[1].key)
        );
    }
}
