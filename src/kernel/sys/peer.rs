//! Who is at the other end of a Unix socket: `SO_PEERCRED`, see unix(7). rustix 1.1 reads the process number into a type
//! that cannot be 0, and 0 is what the kernel says of a process outside of our process namespace; so this call is our own.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// The process that listens at the socket, as our process namespace numbers it; nothing where it is outside of it.
///
/// # Errors
/// When nobody listens there, or this user may not connect.
pub fn listener_of(socket: &Path) -> io::Result<Option<u32>> {
    let stream = UnixStream::connect(socket)?;
    let mut credentials = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut length =
        libc::socklen_t::try_from(size_of::<libc::ucred>()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open as long as `stream` lives, the value points to a `ucred` that may be written, and the
    // length is its size; the kernel writes no more than that (`sk_getsockopt`, net/core/sock.c, 6.18).
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u32::try_from(credentials.pid).ok().filter(|pid| *pid != 0))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_listener_of_ours_is_told_by_our_own_number() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let _listener = UnixListener::bind(&path).expect("listens");
        let found = listener_of(&path).expect("asks");
        assert_eq!(found, Some(std::process::id()));
    }
}
