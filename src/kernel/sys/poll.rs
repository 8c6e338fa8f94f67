//! poll(2) over descriptors that nobody owns: one look at many sockets, without any memory of the kernel's afterwards.

use std::fmt;
use std::io;
use std::time::Duration;

use super::check;
use super::descriptor::Descriptor;

/// A descriptor to look at, and what was found.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct PollEntry(libc::pollfd);

impl PollEntry {
    /// An entry that is passed over.
    pub const NONE: Self = Self(libc::pollfd {
        fd: -1,
        events: 0,
        revents: 0,
    });

    /// Looks for `interest`; errors and hang-ups are always told.
    #[must_use]
    pub const fn new(descriptor: Descriptor, interest: Interest) -> Self {
        Self(libc::pollfd {
            fd: descriptor.number(),
            events: match interest {
                Interest::Readable => libc::POLLIN,
                Interest::Writable => libc::POLLOUT,
                Interest::PeerClosed => libc::POLLRDHUP,
            },
            revents: 0,
        })
    }

    /// The descriptor.
    #[must_use]
    pub const fn descriptor(&self) -> Descriptor {
        Descriptor::from_number(self.0.fd)
    }

    /// Whether anything was found, the number not being open included.
    #[must_use]
    pub const fn found(&self) -> bool {
        self.0.revents != 0
    }

    /// Whether the descriptor has an error or has hung up, or its peer has closed.
    #[must_use]
    pub const fn broken(&self) -> bool {
        self.0.revents & (libc::POLLERR | libc::POLLHUP | libc::POLLRDHUP) != 0
    }
}

impl fmt::Debug for PollEntry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({:#x} found)", self.0.fd, self.0.revents)
    }
}

/// What to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or a peer that has closed.
    Readable,
    /// Room to write; on a socket that is connecting: the handshake is over.
    Writable,
    /// The peer has closed its end (`POLLRDHUP`).
    PeerClosed,
}

/// How long to wait for the first finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollTimeout {
    /// Look once.
    Zero,
    /// At most this long.
    After(Duration),
    /// Until something is found.
    Infinite,
}

/// Looks at all entries. Returns how many of them have something; a signal counts as nothing found.
///
/// # Errors
/// When there are more entries than `RLIMIT_NOFILE`, or the kernel has no memory.
pub fn poll(entries: &mut [PollEntry], timeout: PollTimeout) -> io::Result<usize> {
    let span = match timeout {
        PollTimeout::Infinite => None,
        PollTimeout::Zero => Some(Duration::ZERO),
        PollTimeout::After(duration) => Some(duration),
    }
    .map(|duration| libc::timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    });
    let timeout = span
        .as_ref()
        .map_or(std::ptr::null(), std::ptr::from_ref::<libc::timespec>);
    let count = entries.len() as libc::nfds_t;
    // SAFETY: `PollEntry` is a transparent `pollfd`, the slice gives as many as `count` says and may be written to;
    // `timeout` is null or points to `span`, which lives until the end of this function; no signal mask is given.
    let returned = unsafe {
        libc::ppoll(
            entries.as_mut_ptr().cast(),
            count,
            timeout,
            std::ptr::null(),
        )
    };
    match check(returned) {
        Ok(found) => Ok(usize::try_from(found).unwrap_or(0)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(error) => Err(error),
    }
}
