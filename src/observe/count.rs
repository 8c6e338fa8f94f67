//! Sockets by state, from the kernel's own list, told apart by the end of the connection that they are.

use std::collections::{BTreeMap, HashSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{io, thread};

use serde::Serialize;

use crate::domain::{ConnCount, StateCounts, TcpState};
use crate::kernel::netlink::sock_diag::{DiagError, Family, ListedSocket, SockDiag, StateSet};
use crate::kernel::procfs::{ProcError, Procfs};
use crate::kernel::sys::netns::NetworkNamespace;

/// Sockets of one network namespace by state.
#[derive(Debug, Default, Clone, PartialEq, Serialize)]
pub struct SocketCount {
    /// The server's end: the local address is one that is listened at. The listening sockets are here too.
    pub server: StateCounts,
    /// The clients' end: the remote address is one that is listened at.
    pub client: StateCounts,
    /// Neither.
    pub other: StateCounts,
    /// What counting took, in seconds.
    pub took_seconds: f64,
}

/// Why sockets could not be counted.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    /// The kernel gave no list.
    #[error(transparent)]
    Diag(#[from] DiagError),
    /// A network namespace could not be entered.
    #[error("cannot enter the network namespace {}: {source}", path.display())]
    Enter {
        /// The namespace's file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// No thread could be started for it.
    #[error("cannot start a thread that enters a network namespace: {0}")]
    Thread(#[source] io::Error),
}

impl CountError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Diag(error) => error.hint(),
            Self::Enter { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("entering a network namespace needs CAP_SYS_ADMIN: run as root")
            }
            Self::Enter { .. } | Self::Thread(_) => None,
        }
    }
}

/// Counts the sockets in the calling thread's network namespace. `listen` are the addresses of the server; 0.0.0.0 stands
/// for every address with its port.
///
/// # Errors
/// When the kernel gives no list.
pub fn count_sockets(listen: &[SocketAddrV4]) -> Result<SocketCount, CountError> {
    let began = Instant::now();
    let ends = Ends::of(listen);
    let mut all = tally(&ends)?;
    all.resolve();
    Ok(SocketCount {
        server: all.server.states(),
        client: all.client.states(),
        other: all.other.states(),
        took_seconds: began.elapsed().as_secs_f64(),
    })
}

/// Counts the sockets in the calling thread's network namespace by the end whose port is `port`: the local one makes a
/// socket the server's, the remote one the client's.
///
/// # Errors
/// When the kernel gives no list.
pub fn count_sockets_at_port(port: u16) -> Result<SocketCount, CountError> {
    count_sockets(&[SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)])
}

/// Connections that wait in the accept queues of those who listen at `target` in the calling thread's network namespace.
///
/// # Errors
/// When the kernel gives no list.
pub fn waiting_to_be_accepted(target: SocketAddrV4) -> Result<ConnCount, CountError> {
    let mut waiting = 0;
    SockDiag::open()?.for_each(Family::V4, StateSet::ALL, |socket| {
        let listens = socket.state == TcpState::Listen
            && socket.local.port() == target.port()
            && (socket.local.ip().is_unspecified() || socket.local.ip() == target.ip());
        if listens {
            waiting += u64::from(socket.receive_queue);
        }
    })?;
    Ok(ConnCount::new(waiting))
}

/// Connections in ESTABLISHED or `CLOSE_WAIT` in the calling thread's network namespace, from a counter: it costs nothing.
///
/// # Errors
/// When `/proc/thread-self/net/snmp` cannot be read.
pub fn current_established() -> Result<ConnCount, ProcError> {
    Procfs::new("/")
        .established(Path::new("/proc/thread-self/net"))
        .map(ConnCount::new)
}

/// Runs `work` inside the network namespace whose file is `path` (`/run/netns/NAME`, `/proc/PID/ns/net`), on a thread that
/// ends with it.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn inside_namespace<T: Send>(
    path: &Path,
    work: impl FnOnce() -> Result<T, CountError> + Send,
) -> Result<T, CountError> {
    thread::scope(|scope| {
        let entered = move || {
            NetworkNamespace::open(path)
                .and_then(|namespace| namespace.enter())
                .map_err(|source| CountError::Enter {
                    path: path.to_owned(),
                    source,
                })?;
            work()
        };
        let thread = thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, entered)
            .map_err(CountError::Thread)?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Which end of a connection a socket is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Server,
    Client,
    Other,
    /// Both addresses are listened at: a client's own port happens to be the server's too.
    Either,
}

/// How an address fits those that are listened at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    No,
    /// By its port alone.
    Port,
    Exact,
}

/// The addresses of the server, as they are looked up.
#[derive(Debug)]
struct Ends {
    /// Sorted.
    exact: Vec<SocketAddrV4>,
    /// Sorted ports of 0.0.0.0.
    any_address: Vec<u16>,
}

impl Ends {
    fn of(listen: &[SocketAddrV4]) -> Self {
        let (any, mut exact): (Vec<_>, Vec<_>) = listen
            .iter()
            .copied()
            .partition(|address| address.ip().is_unspecified());
        exact.sort_unstable();
        let mut any_address: Vec<_> = any.iter().map(SocketAddrV4::port).collect();
        any_address.sort_unstable();
        Self { exact, any_address }
    }

    fn fit(&self, address: SocketAddrV4) -> Fit {
        if self.exact.binary_search(&address).is_ok() {
            Fit::Exact
        } else if self.any_address.binary_search(&address.port()).is_ok() {
            Fit::Port
        } else {
            Fit::No
        }
    }

    fn end_of(&self, socket: &ListedSocket) -> End {
        match (self.fit(socket.local), self.fit(socket.remote)) {
            (Fit::No, Fit::No) => End::Other,
            (local, remote) if local > remote => End::Server,
            (local, remote) if local < remote => End::Client,
            _ => End::Either,
        }
    }
}

/// What one list had.
#[derive(Debug, Default)]
struct Tallies {
    server: Tally,
    client: Tally,
    other: Tally,
    /// Sockets whose addresses do not tell which end they are: at most one for each source address.
    either: Vec<ListedSocket>,
    /// Whether the server listens in this namespace.
    listens_here: bool,
}

impl Tallies {
    fn add(&mut self, socket: &ListedSocket, end: End) {
        match end {
            End::Server => {
                self.listens_here |= socket.state == TcpState::Listen;
                self.server.add(socket.state);
            }
            End::Client => self.client.add(socket.state),
            End::Other => self.other.add(socket.state),
            End::Either => self.either.push(*socket),
        }
    }

    /// Of two sockets that are each other's peers one is the server's. One whose peer is elsewhere is the server's where
    /// the server listens, else the client's.
    fn resolve(&mut self) {
        let either = std::mem::take(&mut self.either);
        let pairs: HashSet<_> = either
            .iter()
            .map(|socket| (socket.local, socket.remote))
            .collect();
        for socket in &either {
            let has_peer = pairs.contains(&(socket.remote, socket.local));
            let is_servers = if has_peer {
                // Which of the two is arbitrary; one of them is.
                socket.local < socket.remote
            } else {
                self.listens_here
            };
            let tally = if is_servers {
                &mut self.server
            } else {
                &mut self.client
            };
            tally.add(socket.state);
        }
    }
}

/// Sockets of one end by the kernel's number of their state: a map would cost as much as the kernel's own work.
#[derive(Debug, Default)]
struct Tally([u64; 16]);

impl Tally {
    fn add(&mut self, state: TcpState) {
        self.0[usize::from(state.number())] += 1;
    }

    fn states(&self) -> StateCounts {
        let named = (1_u8..).zip(&self.0[1..]).filter(|(_, count)| **count > 0);
        let states: BTreeMap<_, _> = named
            .filter_map(|(number, count)| Some((TcpState::from_kernel(number)?, *count)))
            .collect();
        StateCounts(states)
    }
}

/// Lists all sockets. A server of another kind may listen on an IPv6 socket and have IPv4 connections there.
fn tally(ends: &Ends) -> Result<Tallies, DiagError> {
    let mut diag = SockDiag::open()?;
    let mut tallies = Tallies::default();
    for family in [Family::V4, Family::V6] {
        diag.for_each(family, StateSet::ALL, |socket| {
            tallies.add(socket, ends.end_of(socket));
        })?;
    }
    Ok(tallies)
}

#[cfg(test)]
mod tests;
