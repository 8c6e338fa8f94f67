//! Sockets by state, from the kernel's own list, told apart by the end of the connection that they are.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
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
    let ends = Ends::of(listen);
    count(|socket| ends.end_of(socket))
}

/// Counts the sockets in the calling thread's network namespace by the end whose port is `port`: the local one makes a
/// socket the server's, the remote one the client's.
///
/// # Errors
/// When the kernel gives no list.
pub fn count_sockets_at_port(port: u16) -> Result<SocketCount, CountError> {
    count(|socket| {
        if socket.local.port() == port {
            End::Server
        } else if socket.remote.port() == port {
            End::Client
        } else {
            End::Other
        }
    })
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

    fn is_listened_at(&self, address: SocketAddrV4) -> bool {
        self.any_address.binary_search(&address.port()).is_ok()
            || self.exact.binary_search(&address).is_ok()
    }

    fn end_of(&self, socket: &ListedSocket) -> End {
        if self.is_listened_at(socket.local) {
            End::Server
        } else if self.is_listened_at(socket.remote) {
            End::Client
        } else {
            End::Other
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

fn count(end_of: impl Fn(&ListedSocket) -> End) -> Result<SocketCount, CountError> {
    let began = Instant::now();
    let (mut server, mut client, mut other) = <(Tally, Tally, Tally)>::default();
    let mut diag = SockDiag::open()?;
    // A server of another kind may listen on an IPv6 socket and have IPv4 connections there.
    for family in [Family::V4, Family::V6] {
        diag.for_each(family, StateSet::ALL, |socket| {
            match end_of(socket) {
                End::Server => &mut server,
                End::Client => &mut client,
                End::Other => &mut other,
            }
            .add(socket.state);
        })?;
    }
    Ok(SocketCount {
        server: server.states(),
        client: client.states(),
        other: other.states(),
        took_seconds: began.elapsed().as_secs_f64(),
    })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn socket(local: &str, remote: &str) -> ListedSocket {
        ListedSocket {
            state: TcpState::Established,
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            receive_queue: 0,
            send_queue: 0,
        }
    }

    #[test]
    fn the_listening_address_tells_the_ends_apart() {
        let ends = Ends::of(&[
            "127.0.0.1:9000".parse().unwrap(),
            "0.0.0.0:9001".parse().unwrap(),
        ]);
        let end = |local, remote| ends.end_of(&socket(local, remote));
        assert_eq!(end("127.0.0.1:9000", "127.0.0.2:1024"), End::Server);
        assert_eq!(end("127.0.0.2:1024", "127.0.0.1:9000"), End::Client);
        // The port alone does not make it the server's.
        assert_eq!(end("127.0.0.2:9000", "127.0.0.1:9000"), End::Client);
        assert_eq!(end("127.0.0.9:9001", "127.0.0.2:1024"), End::Server);
        assert_eq!(end("127.0.0.2:22", "127.0.0.1:80"), End::Other);
    }

    #[test]
    fn both_ends_of_a_connection_on_this_machine_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address: SocketAddrV4 = listener.local_addr().unwrap().to_string().parse().unwrap();
        let streams: Vec<_> = (0..5)
            .map(|_| {
                (
                    TcpStream::connect(address).unwrap(),
                    listener.accept().unwrap(),
                )
            })
            .collect();
        for count in [
            count_sockets(&[address]).unwrap(),
            count_sockets_at_port(address.port()).unwrap(),
        ] {
            assert_eq!(count.server.of(TcpState::Established), ConnCount::new(5));
            assert_eq!(count.client.of(TcpState::Established), ConnCount::new(5));
            assert_eq!(count.server.of(TcpState::Listen), ConnCount::new(1));
        }
        assert!(current_established().unwrap() >= ConnCount::new(10));
        drop(streams);
    }
}
