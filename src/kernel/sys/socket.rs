//! TCP sockets over IPv4, non-blocking, as bare numbers in the calling thread's table. The calls go through `socket2`, which
//! borrows the number for the length of one call. Raw calls stand here only where `socket2` has none: accept4(2) without
//! an address, connect(2) to an address that is prepared once, and two options of ip(7).

use std::fmt;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::IntoRawFd;
use std::time::Duration;

use socket2::{Domain, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use super::check;
use super::descriptor::Descriptor;
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
    /// It is under way (EINPROGRESS, and EALREADY for a later call). The first call on a non-blocking socket always says
    /// so, although on loopback and veth the handshake is over when it returns. A second call then says `Done`.
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

/// A new socket. Its number has no owner: close it with [`super::fdtable::OwnTable::close`].
///
/// # Errors
/// EMFILE, ENFILE, ENOBUFS, ENOMEM.
pub fn stream() -> io::Result<Descriptor> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new_raw(Domain::IPV4, kind, None)?;
    Ok(Descriptor::from_number(socket.into_raw_fd()))
}

/// Binds to address and port.
///
/// # Errors
/// EADDRINUSE when the port is taken, EADDRNOTAVAIL when the address is not ours, EACCES below port 1024.
pub fn bind(socket: Descriptor, address: SocketAddrV4) -> io::Result<()> {
    with(socket, |socket| socket.bind(&SockAddr::from(address)))
}

/// Starts a handshake, or asks how far one is that was started before.
///
/// # Errors
/// Whatever the kernel knows at once: EADDRNOTAVAIL, ECONNREFUSED, ENETUNREACH and so on.
pub fn connect(socket: Descriptor, target: &RawAddress) -> io::Result<Connecting> {
    let address = (&raw const target.0).cast();
    // SAFETY: `address` points to a sockaddr_in of the given length that lives through the call.
    let returned = unsafe { libc::connect(socket.number(), address, ADDRESS_LENGTH) };
    match check(returned) {
        Ok(_) => Ok(Connecting::Done),
        Err(error) => match error.raw_os_error() {
            Some(libc::EINPROGRESS | libc::EALREADY) => Ok(Connecting::UnderWay),
            _ => Err(error),
        },
    }
}

/// Takes one connection out of the accept queue. Returns nothing when the queue is empty. Connections that died in the
/// queue are passed over, as accept(2) advises.
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

/// The local end. Nothing when the kernel does not tell.
#[must_use]
pub fn local_address(socket: Descriptor) -> Option<SocketAddrV4> {
    with(socket, Socket::local_addr).ok()?.as_socket_ipv4()
}

/// The peer's end. Nothing when the connection has been reset: the kernel does not tell any more.
#[must_use]
pub fn peer_address(socket: Descriptor) -> Option<SocketAddrV4> {
    with(socket, Socket::peer_addr).ok()?.as_socket_ipv4()
}

/// Takes the error that waits at a socket (`SO_ERROR`). Nothing when there is none.
///
/// # Errors
/// EBADF, ENOTSOCK.
pub fn take_error(socket: Descriptor) -> io::Result<Option<io::Error>> {
    with(socket, Socket::take_error)
}

/// Writes without raising SIGPIPE. Returns how many bytes the socket took. That is 0 when it has no room.
///
/// # Errors
/// ECONNRESET, EPIPE, EBADF.
pub fn send(socket: Descriptor, bytes: &[u8]) -> io::Result<usize> {
    match with(socket, |socket| {
        socket.send_with_flags(bytes, libc::MSG_NOSIGNAL)
    }) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

/// Reads what is there.
///
/// # Errors
/// ECONNRESET, ETIMEDOUT, EBADF.
pub fn receive(socket: Descriptor, buffer: &mut [u8]) -> io::Result<Received> {
    // SAFETY: a `MaybeUninit<u8>` has the layout of a `u8`, and recv(2) writes nothing but initialised bytes.
    let buffer = unsafe { &mut *(std::ptr::from_mut::<[u8]>(buffer) as *mut [MaybeUninit<u8>]) };
    match with(socket, |socket| socket.recv(buffer)) {
        Ok(0) => Ok(Received::Closed),
        Ok(count) => Ok(Received::Bytes(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
        Err(error) => Err(error),
    }
}

/// Makes a later close(2), by whomever, a reset (`SO_LINGER` with zero seconds). Accepted sockets have it from their
/// listener.
///
/// # Errors
/// EBADF, ENOTSOCK.
pub fn reset_on_close(socket: Descriptor) -> io::Result<()> {
    with(socket, |socket| socket.set_linger(Some(Duration::ZERO)))
}

/// Lets several sockets share a local port (`SO_REUSEADDR`): those that go to different targets, and a listener whose
/// predecessor has just ended.
///
/// # Errors
/// EBADF, ENOTSOCK.
pub fn reuse_address(socket: Descriptor) -> io::Result<()> {
    with(socket, |socket| socket.set_reuse_address(true))
}

/// Puts the choice of a port off until connect(2) (`IP_BIND_ADDRESS_NO_PORT`, Linux 4.2).
///
/// # Errors
/// EBADF, ENOTSOCK, ENOPROTOOPT on an older kernel.
pub fn bind_address_only(socket: Descriptor) -> io::Result<()> {
    set_ip_option(socket, libc::IP_BIND_ADDRESS_NO_PORT, 1)
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
    set_ip_option(socket, IP_LOCAL_PORT_RANGE, value)
}

/// Switches keepalive on. Accepted sockets have it from their listener, timer and all
/// (`tcp_create_openreq_child`, Linux 6.12).
///
/// # Errors
/// EINVAL for values that tcp(7) does not allow.
pub fn keepalive(socket: Descriptor, keepalive: Keepalive) -> io::Result<()> {
    let seconds = |number| Duration::from_secs(u64::from(number));
    let values = TcpKeepalive::new()
        .with_time(seconds(keepalive.idle_seconds))
        .with_interval(seconds(keepalive.interval_seconds))
        .with_retries(keepalive.probes);
    with(socket, |socket| socket.set_tcp_keepalive(&values))
}

/// Gives a socket to `socket2` for one call.
fn with<T>(socket: Descriptor, call: impl FnOnce(&Socket) -> io::Result<T>) -> io::Result<T> {
    let borrowed = socket
        .borrow()
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
    call(&SockRef::from(&borrowed))
}

fn set_ip_option(socket: Descriptor, option: libc::c_int, value: u32) -> io::Result<()> {
    #[allow(clippy::cast_possible_truncation)] // 4
    let length = size_of::<u32>() as libc::socklen_t;
    // SAFETY: `value` is a plain C value of the given length that lives through the call.
    check(unsafe {
        libc::setsockopt(
            socket.number(),
            libc::IPPROTO_IP,
            option,
            (&raw const value).cast(),
            length,
        )
    })
    .map(drop)
}
