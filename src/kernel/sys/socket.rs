//! TCP sockets over IPv4, non-blocking, as bare numbers in the calling thread's table: socket(2), bind(2), connect(2),
//! accept4(2), and the options of socket(7), ip(7) and tcp(7) that the lab uses.

use std::fmt;
use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::check;
use super::fdtable::{Descriptor, close};
use crate::domain::{Keepalive, PortRange};

/// An address as the kernel takes it, made once and used for many connections.
#[derive(Clone, Copy)]
pub struct RawAddress(libc::sockaddr_in);

impl RawAddress {
    /// From address and port.
    #[must_use]
    pub fn new(address: SocketAddrV4) -> Self {
        Self(libc::sockaddr_in {
            #[allow(clippy::cast_possible_truncation)] // AF_INET is 2
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: address.port().to_be(),
            sin_addr: libc::in_addr {
                s_addr: u32::from(*address.ip()).to_be(),
            },
            sin_zero: [0; 8],
        })
    }

    /// As the rest of the program has it.
    #[must_use]
    pub fn to_address(self) -> SocketAddrV4 {
        SocketAddrV4::new(
            Ipv4Addr::from(u32::from_be(self.0.sin_addr.s_addr)),
            u16::from_be(self.0.sin_port),
        )
    }
}

impl fmt::Debug for RawAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_address().fmt(out)
    }
}

#[allow(clippy::cast_possible_truncation)] // 16
const ADDRESS_LENGTH: libc::socklen_t = size_of::<libc::sockaddr_in>() as libc::socklen_t;

/// How far connect(2) got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connecting {
    /// The handshake is over.
    Done,
    /// It is under way (EINPROGRESS). On loopback and veth it is over by then, but the kernel does not say so.
    UnderWay,
}

/// What reading brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// So many bytes.
    Bytes(usize),
    /// The peer has closed.
    Closed,
    /// Nothing is there.
    Nothing,
}

/// A new socket.
///
/// # Errors
/// EMFILE, ENFILE, ENOBUFS, ENOMEM.
pub fn stream() -> io::Result<Descriptor> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket takes three numbers and touches no memory of ours.
    check(unsafe { libc::socket(libc::AF_INET, kind, 0) }).map(Descriptor::from_number)
}

/// Binds to address and port.
///
/// # Errors
/// EADDRINUSE when the port is taken, EADDRNOTAVAIL when the address is not ours, EACCES below port 1024.
pub fn bind(socket: Descriptor, address: &RawAddress) -> io::Result<()> {
    let address = (&raw const address.0).cast();
    // SAFETY: `address` points to a sockaddr_in of the given length that lives through the call.
    check(unsafe { libc::bind(socket.number(), address, ADDRESS_LENGTH) }).map(drop)
}

/// Starts a handshake.
///
/// # Errors
/// Whatever the kernel knows at once: EADDRNOTAVAIL, ECONNREFUSED, ENETUNREACH and so on.
pub fn connect(socket: Descriptor, target: &RawAddress) -> io::Result<Connecting> {
    let address = (&raw const target.0).cast();
    // SAFETY: `address` points to a sockaddr_in of the given length that lives through the call.
    let returned = unsafe { libc::connect(socket.number(), address, ADDRESS_LENGTH) };
    match check(returned) {
        Ok(_) => Ok(Connecting::Done),
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => Ok(Connecting::UnderWay),
        Err(error) => Err(error),
    }
}

/// Makes a socket listen.
///
/// # Errors
/// EADDRINUSE.
pub fn listen(socket: Descriptor, backlog: u32) -> io::Result<()> {
    let backlog = libc::c_int::try_from(backlog).unwrap_or(libc::c_int::MAX);
    // SAFETY: listen takes two numbers and touches no memory of ours.
    check(unsafe { libc::listen(socket.number(), backlog) }).map(drop)
}

/// Takes one connection out of the accept queue; nothing when it is empty. Connections that died in the queue are passed
/// over, as accept(2) advises.
///
/// # Errors
/// EMFILE, ENFILE, ENOBUFS, ENOMEM, EPERM.
pub fn accept(listener: Descriptor) -> io::Result<Option<Descriptor>> {
    let (none, flags) = (
        std::ptr::null_mut(),
        libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
    );
    loop {
        // SAFETY: without room for an address accept4 touches no memory of ours.
        let returned =
            unsafe { libc::accept4(listener.number(), none, std::ptr::null_mut(), flags) };
        let error = match check(returned) {
            Ok(number) => return Ok(Some(Descriptor::from_number(number))),
            Err(error) => error,
        };
        match error.raw_os_error() {
            Some(libc::EAGAIN) => return Ok(None),
            Some(
                libc::EINTR
                | libc::ECONNABORTED
                | libc::ENETDOWN
                | libc::EPROTO
                | libc::ENOPROTOOPT
                | libc::EHOSTDOWN
                | libc::ENONET
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH,
            ) => {}
            _ => return Err(error),
        }
    }
}

/// The local end.
///
/// # Errors
/// EBADF.
pub fn local_address(socket: Descriptor) -> io::Result<SocketAddrV4> {
    let mut address = RawAddress::new(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
    let mut length = ADDRESS_LENGTH;
    // SAFETY: both point to locals that live through the call, and `length` says how much room there is.
    check(unsafe {
        libc::getsockname(
            socket.number(),
            (&raw mut address.0).cast(),
            &raw mut length,
        )
    })?;
    Ok(address.to_address())
}

/// The peer's end.
///
/// # Errors
/// ENOTCONN when the connection has been reset: the kernel does not tell any more.
pub fn peer_address(socket: Descriptor) -> io::Result<SocketAddrV4> {
    let mut address = RawAddress::new(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
    let mut length = ADDRESS_LENGTH;
    // SAFETY: both point to locals that live through the call, and `length` says how much room there is.
    check(unsafe {
        libc::getpeername(
            socket.number(),
            (&raw mut address.0).cast(),
            &raw mut length,
        )
    })?;
    Ok(address.to_address())
}

/// Takes the error that waits at a socket (`SO_ERROR`) as an errno; 0 when there is none.
///
/// # Errors
/// EBADF, ENOTSOCK.
pub fn take_error(socket: Descriptor) -> io::Result<i32> {
    let mut errno: libc::c_int = 0;
    #[allow(clippy::cast_possible_truncation)] // 4
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: both point to locals that live through the call, and `length` says how much room there is.
    check(unsafe {
        libc::getsockopt(
            socket.number(),
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut errno).cast(),
            &raw mut length,
        )
    })?;
    Ok(errno)
}

/// Writes without raising SIGPIPE. Returns how many bytes the socket took; 0 when it has no room.
///
/// # Errors
/// ECONNRESET, EPIPE, EBADF.
pub fn send(socket: Descriptor, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the slice is valid for reading over its length.
    let returned = unsafe {
        libc::send(
            socket.number(),
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_NOSIGNAL,
        )
    };
    usize::try_from(returned).or_else(|_| match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        error => Err(error),
    })
}

/// Reads what is there.
///
/// # Errors
/// ECONNRESET, ETIMEDOUT, EBADF.
pub fn receive(socket: Descriptor, buffer: &mut [u8]) -> io::Result<Received> {
    // SAFETY: the slice is valid for writing over its length.
    let returned =
        unsafe { libc::recv(socket.number(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    match usize::try_from(returned) {
        Ok(0) => Ok(Received::Closed),
        Ok(count) => Ok(Received::Bytes(count)),
        Err(_) => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
            error => Err(error),
        },
    }
}

/// Closes by a reset: no FIN, no TIME_WAIT, no orphan, on neither end. A million FINs at once would be a million orphans.
pub fn reset(socket: Descriptor) {
    // A number that is not a socket is closed all the same.
    let _ = reset_on_close(socket);
    close(socket);
}

/// Makes a later close(2), by whomever, a reset (`SO_LINGER` with zero seconds). Accepted sockets have it from their
/// listener.
///
/// # Errors
/// EBADF, ENOTSOCK.
pub fn reset_on_close(socket: Descriptor) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    set(socket, libc::SOL_SOCKET, libc::SO_LINGER, &linger)
}

/// Lets several sockets share a local port (`SO_REUSEADDR`): those that go to different targets, and a listener whose
/// predecessor has just ended.
///
/// # Errors
/// EBADF, ENOTSOCK.
pub fn reuse_address(socket: Descriptor) -> io::Result<()> {
    set(socket, libc::SOL_SOCKET, libc::SO_REUSEADDR, &1_i32)
}

/// Puts the choice of a port off until connect(2) (`IP_BIND_ADDRESS_NO_PORT`, Linux 4.2).
///
/// # Errors
/// EBADF, ENOTSOCK, ENOPROTOOPT on an older kernel.
pub fn bind_address_only(socket: Descriptor) -> io::Result<()> {
    set(
        socket,
        libc::IPPROTO_IP,
        libc::IP_BIND_ADDRESS_NO_PORT,
        &1_i32,
    )
}

/// Narrows the ports that the kernel chooses from (`IP_LOCAL_PORT_RANGE`, Linux 6.3; from 6.8 the choice is quick to the
/// last port). What lies outside `net.ipv4.ip_local_port_range` is ignored.
///
/// # Errors
/// ENOPROTOOPT on an older kernel.
pub fn local_port_range(socket: Descriptor, range: PortRange) -> io::Result<()> {
    /// `include/uapi/linux/in.h`, Linux 6.3.
    const IP_LOCAL_PORT_RANGE: libc::c_int = 51;
    let value = u32::from(range.first()) | (u32::from(range.last()) << 16);
    set(socket, libc::IPPROTO_IP, IP_LOCAL_PORT_RANGE, &value)
}

/// Switches keepalive on. Accepted sockets have it from their listener, timer and all
/// (`tcp_create_openreq_child`, Linux 6.12).
///
/// # Errors
/// EINVAL for values that tcp(7) does not allow.
pub fn keepalive(socket: Descriptor, keepalive: Keepalive) -> io::Result<()> {
    let value = |number: u32| libc::c_int::try_from(number).unwrap_or(libc::c_int::MAX);
    let tcp = libc::IPPROTO_TCP;
    set(socket, libc::SOL_SOCKET, libc::SO_KEEPALIVE, &1_i32)?;
    set(
        socket,
        tcp,
        libc::TCP_KEEPIDLE,
        &value(keepalive.idle_seconds),
    )?;
    set(
        socket,
        tcp,
        libc::TCP_KEEPINTVL,
        &value(keepalive.interval_seconds),
    )?;
    set(socket, tcp, libc::TCP_KEEPCNT, &value(keepalive.probes))
}

fn set<T>(
    socket: Descriptor,
    level: libc::c_int,
    option: libc::c_int,
    value: &T,
) -> io::Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: `value` is a plain C value of the given length that lives through the call.
    check(unsafe {
        libc::setsockopt(
            socket.number(),
            level,
            option,
            std::ptr::from_ref(value).cast(),
            length,
        )
    })
    .map(drop)
}
