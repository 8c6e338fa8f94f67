//! Limits of the network: accept queues, neighbour entries, connection tracking.

use super::{Checked, Ground};
use crate::domain::{Binding, BudgetRow, NetworkDriver, PlaceMaking};
use crate::plan::HostPlan;

/// Of the host's own table of connection tracking, this share is left to others.
const KEPT_FREE_PERCENT: u64 = 10;

impl Ground<'_> {
    pub(super) fn accept_queue(&self, n: u64) -> Checked {
        let listeners = self.layout.listen.len() as u64;
        let backlog = u64::from(self.scenario.server.backlog);
        let somaxconn = match self.how {
            PlaceMaking::HostLoopback => self.facts.net.somaxconn.present().copied(),
            // The plan raises it inside the namespace.
            _ => None,
        };
        // The kernel compares with "greater than": one more fits (include/net/sock.h, sk_acceptq_is_full).
        let each = somaxconn.map_or(backlog, |limit| limit.min(backlog)) + 1;
        Checked {
            row: BudgetRow {
                id: "accept_queue".to_owned(),
                name: "accept queues".to_owned(),
                need: n,
                have: Some(each * listeners),
                unit: "connections".to_owned(),
                source: format!("{listeners} listener(s) x (the lesser of backlog and net.core.somaxconn, and one)"),
                binding: Binding::Hard,
                note: "the server does not accept".to_owned(),
            },
            fits: each * listeners,
            cure: "raise server.backlog, give the server more ports, or run where c1m has a network namespace of its own (--place netns)".to_owned(),
        }
    }

    pub(super) fn neighbours(&self) -> Checked {
        let hosts = &self.layout.hosts;
        let count = |hosts: &[HostPlan]| -> u64 {
            hosts.iter().map(|host| host.interfaces.len() as u64).sum()
        };
        // Each end of a pair routes the other's addresses through one neighbour. On a bridge each address of one end is
        // resolved in the namespace of the other.
        let (need, source) = if self.is_joined_by_pairs() {
            // A pair leads from each interface of a client to the server.
            (
                2 * count(hosts.get(1..).unwrap_or_default()),
                "one for each end of a veth pair",
            )
        } else {
            let interfaces = count(hosts);
            let addresses: u64 = self
                .layout
                .hosts
                .iter()
                .flat_map(|host| &host.interfaces)
                .map(|interface| interface.addresses.len() as u64)
                .sum();
            (addresses + interfaces, "one for each address on either end")
        };
        let limit = self.host_limit(
            "net.ipv4.neigh.default.gc_thresh3",
            &self.facts.net.neighbour_limit,
        );
        // With fewer connections the topology is the same.
        let fits = match limit {
            Some(limit) if limit < need => 0,
            _ => u64::MAX,
        };
        Checked {
            row: BudgetRow {
                id: "neighbours".to_owned(),
                name: "neighbour entries".to_owned(),
                need,
                have: limit,
                unit: "entries".to_owned(),
                source: format!(
                    "{source}; net.ipv4.neigh.default.gc_thresh3, shared by all namespaces"
                ),
                binding: Binding::Hard,
                note: String::new(),
            },
            fits,
            cure: format!(
                "sudo sysctl net.ipv4.neigh.default.gc_thresh3={need}, or `net.ipv4.neigh.default.gc_thresh3: {{at_least: {need}}}` under settings.host as root"
            ),
        }
    }

    /// Whether veth pairs lead from each client's interfaces to the server.
    fn is_joined_by_pairs(&self) -> bool {
        match self.how {
            PlaceMaking::Netns { .. } => true,
            PlaceMaking::Docker => self.joined_by == NetworkDriver::Link,
            PlaceMaking::PrivateLoopback { .. }
            | PlaceMaking::HostLoopback
            | PlaceMaking::Joined { .. }
            | PlaceMaking::Container => false,
        }
    }

    /// Whether connection tracking has an entry for each connection; `None` where nothing tracks.
    pub(super) fn conntrack(&self, n: u64) -> Option<Checked> {
        let tracking = self.tracking();
        let (binding, entries) = match tracking {
            Tracking::Nothing => return None,
            Tracking::KeptOut => (Binding::Information, 0),
            Tracking::InThePath => (
                Binding::Hard,
                self.facts.conntrack.entries.present().copied().unwrap_or(0),
            ),
        };
        let limit = self.host_limit(
            "net.netfilter.nf_conntrack_max",
            &self.facts.conntrack.limit,
        );
        // On the host's own loopback the table is everybody's: once it is full, packets of others are dropped too.
        let kept_free = if self.how == PlaceMaking::HostLoopback && tracking == Tracking::InThePath
        {
            limit.unwrap_or(0) / 100 * KEPT_FREE_PERCENT
        } else {
            0
        };
        let need = entries.saturating_add(n).saturating_add(kept_free);
        Some(Checked {
            row: BudgetRow {
                id: "conntrack".to_owned(),
                name: "connection tracking".to_owned(),
                need,
                have: limit,
                unit: "entries".to_owned(),
                source: if kept_free > 0 {
                    format!(
                        "{entries} now, one for each connection, {kept_free} kept free for others; net.netfilter.nf_conntrack_max"
                    )
                } else {
                    format!(
                        "{entries} now, one for each connection; net.netfilter.nf_conntrack_max"
                    )
                },
                binding,
                note: tracking.sentence().to_owned(),
            },
            fits: limit.map_or(u64::MAX, |limit| {
                limit.saturating_sub(entries).saturating_sub(kept_free)
            }),
            cure: format!(
                "sudo sysctl net.netfilter.nf_conntrack_max={need} (256 B and more for each entry), or run where c1m has a network namespace of its own (--place netns)"
            ),
        })
    }

    /// What connection tracking does to the connections of this plan.
    pub(in crate::plan) fn tracking(&self) -> Tracking {
        let facts = &self.facts.conntrack;
        match self.how {
            PlaceMaking::Netns { .. } | PlaceMaking::PrivateLoopback { .. } => Tracking::Nothing,
            // A container without a network of the engine has no rules that would switch tracking on.
            PlaceMaking::Docker if self.joined_by == NetworkDriver::Link => Tracking::Nothing,
            _ if facts.limit.present().is_none() => Tracking::Nothing,
            // Where it could not be found out, the worse is assumed.
            // A namespace of somebody else's has rules of its own, which are not known here. One of ours has none.
            PlaceMaking::Container => Tracking::Nothing,
            PlaceMaking::HostLoopback if facts.tracks_loopback.present() == Some(&false) => {
                Tracking::Nothing
            }
            PlaceMaking::Docker if self.scenario.untrack => Tracking::KeptOut,
            PlaceMaking::HostLoopback | PlaceMaking::Joined { .. } | PlaceMaking::Docker => {
                Tracking::InThePath
            }
        }
    }
}

/// What connection tracking does to the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::plan) enum Tracking {
    /// Nothing tracks them.
    Nothing,
    /// Rules would; the plan keeps the lab's range out.
    KeptOut,
    /// Each connection has an entry.
    InThePath,
}

impl Tracking {
    /// In one sentence.
    pub(in crate::plan) const fn sentence(self) -> &'static str {
        match self {
            Self::Nothing => "not in the path: nothing tracks the connections",
            Self::KeptOut => {
                "kept out: the lab's range is marked notrack in the containers and on the host"
            }
            Self::InThePath => {
                "in the path: each connection takes an entry, and when the table is full packets are dropped"
            }
        }
    }
}
