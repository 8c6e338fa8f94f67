//! How many objects of each kind each end has: by the plan and by what was counted, never by the memory that they take.

use std::collections::BTreeMap;

use crate::domain::socket_objects::{ADDRESS_BUCKET, OWNED, PORT_BUCKET, QUEUED, SOCKET, WATCHED};
use crate::domain::{HostIndex, Reading, Role, RunSummary, Sample, TcpState, WorkerSpec};

use super::{Known, Span};

/// How many sockets each end has, and what belongs to them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Counts {
    /// The server's sockets, those in the accept queue too.
    pub(super) server_sockets: f64,
    /// Those of them that were accepted.
    pub(super) accepted: f64,
    /// Handshakes of the server that are not over: each has a request, and no socket yet.
    pub(super) half_open: f64,
    /// Those of the accepted ones that epoll watches.
    pub(super) server_watched: f64,
    /// The clients' sockets.
    pub(super) client_sockets: f64,
    /// Those of them that epoll watches.
    pub(super) client_watched: f64,
    /// Different ports that the clients' sockets are bound to, in each namespace by itself.
    pub(super) client_ports: f64,
}

/// Objects of one kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Expected {
    pub(super) server: f64,
    pub(super) client: f64,
}

impl Expected {
    pub(super) const fn both(self) -> f64 {
        self.server + self.client
    }
}

/// The kinds that have a number for each end, as the kernel makes them (`docs/memory.md` names the sources).
pub(super) fn kinds() -> impl Iterator<Item = &'static str> {
    [SOCKET]
        .into_iter()
        .chain(OWNED)
        .chain(WATCHED)
        .chain([QUEUED, PORT_BUCKET, ADDRESS_BUCKET])
}

/// Whether a kind is a bind bucket. Only clients have them: those of accepted sockets are the listener's. How many there are
/// is what the kernel counts, because ports that it chose itself are not in the plan.
pub(super) fn is_bind_bucket(kind: &str) -> bool {
    matches!(kind, PORT_BUCKET | ADDRESS_BUCKET)
}

impl Counts {
    /// How many objects of a kind each end has.
    pub(super) fn of_kind(&self, kind: &str) -> Option<Expected> {
        let (server, client) = match kind {
            SOCKET => (self.server_sockets, self.client_sockets),
            // It lives from the SYN until accept(2).
            QUEUED => (self.server_sockets - self.accepted + self.half_open, 0.0),
            ADDRESS_BUCKET => (0.0, self.client_sockets),
            PORT_BUCKET => (0.0, self.client_ports),
            kind if OWNED.contains(&kind) => (self.accepted, self.client_sockets),
            kind if WATCHED.contains(&kind) => (self.server_watched, self.client_watched),
            _ => return None,
        };
        Some(Expected { server, client })
    }

    /// Sockets of both ends.
    pub(super) const fn sockets(&self) -> Expected {
        Expected {
            server: self.server_sockets,
            client: self.client_sockets,
        }
    }
}

/// The counts at the target, or why they are not known.
pub(super) fn of(span: &Span<'_>, known: Known<'_>) -> Reading<Counts> {
    let Some(summary) = known.summary else {
        return Reading::missing(
            "the plan is not known, and with it neither the engines nor whether the server accepts",
        );
    };
    let story = known.story;
    let at = span.target.at_seconds;
    let clients = span.connections;
    let here = |role: Role, count: f64| if summary.ends.here(role) { count } else { 0.0 };
    // A server that is not ours accepts, as far as we know.
    let accepts = summary
        .server()
        .is_none_or(|server| server.service.accepts());
    let counted = story
        .counted(Role::Server)
        .map(|(states, _)| states.of(TcpState::Established).as_f64());
    let told = story
        .workers
        .keys()
        .filter(|worker| worker.is_server())
        .filter_map(|worker| story.counters_at(*worker, at))
        .map(|counters| counters.established.as_f64())
        .reduce(|one, other| one + other);
    let state = summary.subject().and_then(|_| story.accepting_at(at));
    // What was accepted is known of the moment itself. What was counted later may be less, where some were lost meanwhile,
    // or more, where some wait to be accepted.
    let (server_sockets, accepted) = match (accepts, told, counted) {
        // The kernel's own list of sockets tells them apart.
        _ if state.is_some() => state.map_or((0.0, 0.0), |state| {
            let accepted = state.accepted as f64;
            (accepted + state.waiting as f64, accepted)
        }),
        (true, Some(told), counted) => (told.max(counted.unwrap_or(told).min(clients)), told),
        (true, None, counted) => {
            let sockets = counted.unwrap_or(clients);
            (sockets, sockets)
        }
        (false, _, counted) => (counted.unwrap_or(clients), 0.0),
    };
    let client_watched = here(Role::Client, clients * watched_share(summary));
    Reading::Present(Counts {
        server_sockets: here(Role::Server, server_sockets),
        accepted: here(Role::Server, accepted),
        half_open: here(
            Role::Server,
            state.map_or(0.0, |state| state.half_open as f64),
        ),
        server_watched: here(
            Role::Server,
            accepted * server_watches(summary, span, accepted, client_watched),
        ),
        client_sockets: here(Role::Client, clients),
        client_watched,
        client_ports: here(Role::Client, ports(summary)),
    })
}

/// How often epoll watches each accepted connection: what the plan too takes from the engine and its service. Of a server that
/// is not ours nobody knows it beforehand, so it is taken from what has grown of epoll; once where that cannot be told.
fn server_watches(
    summary: &RunSummary,
    span: &Span<'_>,
    accepted: f64,
    client_watched: f64,
) -> f64 {
    if let Some(server) = summary.server() {
        return server.engine.server_cost(server.service).watches as f64;
    }
    let Some(grown) = registrations(span).filter(|_| accepted > 0.0) else {
        return 1.0;
    };
    let each = ((grown - client_watched) / accepted).max(0.0);
    if (each - each.round()).abs() < WHOLE {
        each.round()
    } else {
        each
    }
}

/// A number of registrations this close to a whole one for each connection is taken for that: what lies on the slabs of a
/// processor counts as used.
const WHOLE: f64 = 0.1;

/// How many registrations with epoll there are more. Their cache tells it, where it holds nothing else. Otherwise there are at most
/// as many as the least of the caches has grown by that hold what belongs to one.
fn registrations(span: &Span<'_>) -> Option<f64> {
    let grown = |kind: &str| {
        let of = |sample: &Sample| {
            let mut caches = sample.slabs.present()?.iter();
            caches
                .find(|cache| cache.name == kind || cache.merged.iter().any(|name| name == kind))
                .map(|cache| (cache.objects as f64, cache.merged.len() < 2))
        };
        let (after, alone) = of(span.target)?;
        Some((
            after - of(span.base).map_or(0.0, |(before, _)| before),
            alone,
        ))
    };
    match grown(WATCHED[0]) {
        Some((grown, true)) => Some(grown),
        _ => WATCHED
            .into_iter()
            .filter_map(|kind| Some(grown(kind)?.0))
            .reduce(f64::min),
    }
}

/// The share of the clients' connections whose engine watches them while they are idle.
fn watched_share(summary: &RunSummary) -> f64 {
    let (mut all, mut watched) = (0.0, 0.0);
    for worker in summary.workers_of(Role::Client) {
        if let WorkerSpec::Client(client) = &worker.planned.spec {
            let connections = client.connections().as_f64();
            all += connections;
            watched += connections * client.engine.client_cost().watches as f64;
        }
    }
    if all > 0.0 { watched / all } else { 0.0 }
}

/// Different ports, in each namespace by itself: sources in one namespace share them, and so do targets of one source.
fn ports(summary: &RunSummary) -> f64 {
    let mut most: BTreeMap<HostIndex, u32> = BTreeMap::new();
    for worker in summary.workers_of(Role::Client) {
        if let WorkerSpec::Client(client) = &worker.planned.spec {
            let largest = client.shards.iter().map(|shard| shard.count).max();
            let known = most.entry(worker.planned.host).or_default();
            *known = (*known).max(largest.unwrap_or(0));
        }
    }
    most.values().map(|count| f64::from(*count)).sum()
}
