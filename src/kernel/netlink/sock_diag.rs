//! The kernel's own list of TCP sockets through `sock_diag(7)` (`net/ipv4/inet_diag.c`), folded as it comes: a million
//! sockets are never held in memory. Without extensions a socket costs half a microsecond or so, all of it in the kernel.
//! Only sockets in the network namespace of the thread that opens the netlink socket are listed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

use super::frame::{self, DONE, DUMP, ERROR, Frames, HEADER, REQUEST};
use crate::domain::TcpState;

/// `SOCK_DIAG_BY_FAMILY` (`linux/sock_diag.h`).
const BY_FAMILY: u16 = 20;
/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// `struct inet_diag_req_v2`.
const BODY: usize = 56;
/// `struct inet_diag_msg`, without the attributes behind it.
const MESSAGE: usize = 72;
/// A dump comes in pieces of at most 32 KiB (`netlink_dump`); a larger buffer makes it no faster.
const BUFFER: usize = 64 * 1024;

/// Why the sockets could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum DiagError {
    /// No netlink socket.
    #[error("cannot open a sock_diag netlink socket: {0}")]
    Open(#[source] io::Error),
    /// The request could not be sent, or the answer not be received.
    #[error("cannot list TCP sockets of {family} through sock_diag: {source}")]
    Dump {
        /// The address family.
        family: Family,
        /// What the kernel said.
        source: io::Error,
    },
    /// The answer is not what it should be.
    #[error("sock_diag answered with a malformed message: {0}")]
    Malformed(&'static str),
}

impl DiagError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Dump { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("the kernel lacks it: modprobe tcp_diag")
            }
            _ => None,
        }
    }
}

/// The family of the listed sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `AF_INET`.
    V4,
    /// `AF_INET6`, sockets with IPv4-mapped addresses among them.
    V6,
}

impl std::fmt::Display for Family {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.pad(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// A set of states to list. The kernel leaves the others out, which saves most of the time where few are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateSet(u32);

impl StateSet {
    /// Every state, `TIME_WAIT` and half-open ones too.
    pub const ALL: Self = Self(0x1ffe);

    /// Only this one.
    #[must_use]
    pub const fn only(state: TcpState) -> Self {
        Self(1 << state.number())
    }

    /// All but this one.
    #[must_use]
    pub const fn all_but(state: TcpState) -> Self {
        Self(Self::ALL.0 & !(1 << state.number()))
    }
}

/// One socket of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedSocket {
    /// Its state.
    pub state: TcpState,
    /// Its own end. An IPv6 address that maps no IPv4 address shows as 0.0.0.0.
    pub local: SocketAddrV4,
    /// The other end.
    pub remote: SocketAddrV4,
    /// Bytes waiting to be read; of a listening socket the connections waiting to be accepted.
    pub receive_queue: u32,
    /// Bytes not acknowledged yet; of a listening socket its backlog.
    pub send_queue: u32,
    /// Its own address as it is, an IPv6 one too.
    pub local_ip: IpAddr,
    /// The inode of its file. 0 where it has none: a connection that was not accepted yet, or that no process holds any
    /// more.
    pub inode: u32,
}

/// A netlink socket for one list after the other.
#[derive(Debug)]
pub struct SockDiag {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl SockDiag {
    /// Opens one in the network namespace of the calling thread; it stays there wherever it is used.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open() -> Result<Self, DiagError> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )
        .map_err(|errno| DiagError::Open(errno.into()))?;
        Ok(Self {
            socket,
            buffer: vec![0; BUFFER],
        })
    }

    /// Shows every TCP socket of `family` in one of `states` to `each`. Sockets that change while the list is made may be
    /// missing, or be there twice.
    ///
    /// # Errors
    /// When the kernel cannot list them.
    pub fn for_each(
        &mut self,
        family: Family,
        states: StateSet,
        mut each: impl FnMut(&ListedSocket),
    ) -> Result<(), DiagError> {
        self.list(family, states, None, &mut each)
    }

    /// The same for sockets whose own port is `port`: the kernel leaves the others out before it describes them.
    ///
    /// # Errors
    /// As [`SockDiag::for_each`].
    pub fn for_each_at_port(
        &mut self,
        family: Family,
        states: StateSet,
        port: u16,
        mut each: impl FnMut(&ListedSocket),
    ) -> Result<(), DiagError> {
        self.list(family, states, Some(port), &mut each)
    }

    fn list(
        &mut self,
        family: Family,
        states: StateSet,
        port: Option<u16>,
        each: &mut impl FnMut(&ListedSocket),
    ) -> Result<(), DiagError> {
        let failed = |source: io::Error| DiagError::Dump { family, source };
        let request = request(family, states, port);
        send(&self.socket, &request, SendFlags::empty()).map_err(|errno| failed(errno.into()))?;
        loop {
            let length = match recv(&self.socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((_, length)) => length,
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(failed(errno.into())),
            };
            match fold_piece(&self.buffer[..length], each)? {
                Progress::More => {}
                Progress::Done => return Ok(()),
                Progress::Refused(errno) => {
                    return Err(failed(io::Error::from_raw_os_error(errno)));
                }
            }
        }
    }
}

/// How a piece of the answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    More,
    Done,
    Refused(i32),
}

/// The request as it travels: header, then `struct inet_diag_req_v2`, whose sockid begins with the own port. A port of 0
/// stands for every one (`inet_diag_dump_icsk` in `net/ipv4/inet_diag.c`).
fn request(family: Family, states: StateSet, port: Option<u16>) -> [u8; HEADER + BODY] {
    let mut bytes = [0; HEADER + BODY];
    bytes[..HEADER].copy_from_slice(&frame::header(BY_FAMILY, REQUEST | DUMP, 0, BODY));
    bytes[HEADER] = match family {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    };
    bytes[HEADER + 1] = TCP;
    bytes[HEADER + 4..HEADER + 8].copy_from_slice(&states.0.to_ne_bytes());
    bytes[HEADER + 8..HEADER + 10].copy_from_slice(&port.unwrap_or(0).to_be_bytes());
    bytes
}

/// `AF_INET` and `AF_INET6`, the same on every architecture.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Shows the sockets of one piece of the answer.
fn fold_piece(piece: &[u8], each: &mut impl FnMut(&ListedSocket)) -> Result<Progress, DiagError> {
    for frame in Frames::of(piece) {
        let frame = frame.map_err(|_| DiagError::Malformed("its length does not fit"))?;
        let body = frame.body();
        match frame.kind {
            BY_FAMILY => {
                if body.len() < MESSAGE {
                    return Err(DiagError::Malformed("it is too short for a socket"));
                }
                if let Some(socket) = socket(body) {
                    each(&socket);
                }
            }
            DONE | ERROR => {
                // Both begin with an errno, negative or 0; a list that ends well may leave it out.
                let errno = body.get(..4).map_or(0, |_| u32_at(body, 0).cast_signed());
                return Ok(match errno {
                    0 => Progress::Done,
                    errno => Progress::Refused(errno.saturating_neg()),
                });
            }
            _ => {}
        }
    }
    Ok(Progress::More)
}

/// `struct inet_diag_msg`: family, state, timer, retransmissions; then the sockid: ports at 4, source at 8, destination at
/// 24; queues at 56 and 60, the inode at 68. Nothing for a state that this program does not know.
fn socket(body: &[u8]) -> Option<ListedSocket> {
    let state = TcpState::from_kernel(body[1])?;
    let address = |at: usize| {
        let bytes = &body[at..at + 16];
        if body[0] == AF_INET6 {
            let mut whole = [0; 16];
            whole.copy_from_slice(bytes);
            IpAddr::V6(Ipv6Addr::from(whole))
        } else {
            IpAddr::V4(Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]))
        }
    };
    let mapped = |address: IpAddr| match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => address.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED),
    };
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    Some(ListedSocket {
        state,
        local: SocketAddrV4::new(mapped(address(8)), port(4)),
        remote: SocketAddrV4::new(mapped(address(24)), port(6)),
        receive_queue: u32_at(body, 56),
        send_queue: u32_at(body, 60),
        local_ip: address(8),
        inode: u32_at(body, 68),
    })
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests;
