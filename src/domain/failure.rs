//! Why a connection could not be opened, or was lost: the errno's class and the knob that cures it.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

/// Why a connection could not be opened. Classes, not errno values, so that they can be counted and explained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectFailure {
    /// EADDRINUSE or EADDRNOTAVAIL: no source port is left, or the address is not ours.
    NoPorts,
    /// EMFILE: the descriptor table is full.
    NoDescriptors,
    /// ENFILE: the machine has no file left.
    NoFiles,
    /// ENOBUFS or ENOMEM: the kernel has no memory for it.
    NoMemory,
    /// ECONNREFUSED: nobody listens there.
    Refused,
    /// ETIMEDOUT: nobody answered.
    TimedOut,
    /// ECONNRESET: the peer gave up on it.
    Reset,
    /// ENETUNREACH or EHOSTUNREACH: no route.
    Unreachable,
    /// EPERM or EACCES: a firewall or a policy forbids it.
    Forbidden,
    /// Any other errno.
    Other(i32),
    /// An error that came without an errno.
    NoErrno,
}

impl ConnectFailure {
    /// The class of an error of a system call.
    #[must_use]
    pub fn from_error(error: &io::Error) -> Self {
        error.raw_os_error().map_or(Self::NoErrno, Self::from_errno)
    }

    /// The class of a Linux errno.
    #[must_use]
    pub const fn from_errno(errno: i32) -> Self {
        // The generic numbers of include/uapi/asm-generic/errno.h, which x86 and Arm share.
        match errno {
            98 | 99 => Self::NoPorts,
            24 => Self::NoDescriptors,
            23 => Self::NoFiles,
            105 | 12 => Self::NoMemory,
            111 => Self::Refused,
            110 => Self::TimedOut,
            104 => Self::Reset,
            101 | 113 => Self::Unreachable,
            1 | 13 => Self::Forbidden,
            other => Self::Other(other),
        }
    }

    /// What to turn, in one sentence.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::NoPorts => {
                "one source address has 64,512 ports for each target: add source addresses or targets, or end what holds the ports"
            }
            Self::NoDescriptors => {
                "RLIMIT_NOFILE bounds one descriptor table: use `descriptor_tables: many`, or raise the hard limit (ulimit -Hn)"
            }
            Self::NoFiles => "raise fs.file-max (sysctl -w fs.file-max=N); both ends count",
            Self::NoMemory => {
                "the kernel had no memory for a socket: fewer connections, or a larger memory limit"
            }
            Self::Refused => "nobody listens on that address and port: is the server up?",
            Self::TimedOut => {
                "no answer to the SYN: a full accept queue (raise net.core.somaxconn and the backlog), a full connection-tracking table, or a firewall"
            }
            Self::Reset => {
                "the peer reset it during the handshake: tcp_abort_on_overflow, or a server that ended"
            }
            Self::Unreachable => "no route to the target from that source address",
            Self::Forbidden => "a firewall rule or a security policy forbids it",
            Self::Other(_) => "see errno(3)",
            Self::NoErrno => "the error did not come from the kernel: see the worker's log",
        }
    }
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPorts => out.pad("no source port (EADDRINUSE, EADDRNOTAVAIL)"),
            Self::NoDescriptors => out.pad("no descriptor (EMFILE)"),
            Self::NoFiles => out.pad("no file in the system (ENFILE)"),
            Self::NoMemory => out.pad("no kernel memory (ENOBUFS, ENOMEM)"),
            Self::Refused => out.pad("refused (ECONNREFUSED)"),
            Self::TimedOut => out.pad("timed out (ETIMEDOUT)"),
            Self::Reset => out.pad("reset (ECONNRESET)"),
            Self::Unreachable => out.pad("unreachable (ENETUNREACH, EHOSTUNREACH)"),
            Self::Forbidden => out.pad("forbidden (EPERM, EACCES)"),
            Self::Other(errno) => write!(out, "errno {errno}"),
            Self::NoErrno => out.pad("an error without an errno"),
        }
    }
}

/// How an established connection ended that should have stayed, or why an exchange on it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossReason {
    /// The peer closed it (FIN).
    ClosedByPeer,
    /// The peer reset it (RST, ECONNRESET).
    Reset,
    /// Nothing came back (ETIMEDOUT).
    TimedOut,
    /// Bytes came back that are not those that were to come.
    WrongBytes,
    /// More bytes came than the answer has.
    Excess,
    /// What came is not a response of HTTP/1.
    NotHttp,
    /// A response of HTTP that has another status than is expected.
    Status(u16),
    /// A response of HTTP that breaks the rules of its format.
    Malformed(HttpFault),
    /// A response of HTTP that ends by closing the connection.
    Closes(ClosingSign),
    /// An earlier exchange on this connection failed: what comes next on it cannot be told from a late answer.
    AfterFailure,
    /// Any other errno.
    Other(i32),
    /// An error that came without an errno.
    NoErrno,
}

impl LossReason {
    /// The class of an error on an established socket.
    #[must_use]
    pub fn from_error(error: &io::Error) -> Self {
        error.raw_os_error().map_or(Self::NoErrno, Self::from_errno)
    }

    /// The class of what waits at a socket whose connection has ended (`SO_ERROR`). No error means that the peer closed it.
    #[must_use]
    pub fn from_pending(error: io::Result<Option<io::Error>>) -> Self {
        match error {
            Ok(None) => Self::ClosedByPeer,
            Ok(Some(error)) | Err(error) => Self::from_error(&error),
        }
    }

    /// The class of a Linux errno found on an established socket.
    #[must_use]
    pub const fn from_errno(errno: i32) -> Self {
        match errno {
            104 | 32 => Self::Reset,
            110 => Self::TimedOut,
            other => Self::Other(other),
        }
    }
}

impl fmt::Display for LossReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClosedByPeer => out.pad("closed by the peer (FIN)"),
            Self::Reset => out.pad("reset by the peer (RST)"),
            Self::TimedOut => out.pad("timed out"),
            Self::WrongBytes => out.pad("wrong bytes came back"),
            Self::Excess => out.pad("more came than the answer has"),
            Self::NotHttp => out.pad("not HTTP"),
            Self::Status(status) => write!(out, "status {status}"),
            Self::Malformed(fault) => write!(out, "malformed HTTP: {fault}"),
            Self::Closes(sign) => write!(out, "closed: {sign}"),
            Self::AfterFailure => out.pad("an earlier exchange on it failed"),
            Self::Other(errno) => write!(out, "errno {errno}"),
            Self::NoErrno => out.pad("an error without an errno"),
        }
    }
}

/// What is wrong with a response of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HttpFault {
    /// A line of the head that is no header.
    HeaderLine,
    /// A `Content-Length` that is no number, or stands there twice.
    Length,
    /// A chunk whose size or end is not as it has to be.
    Chunk,
}

impl fmt::Display for HttpFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::HeaderLine => "a line of the head is no header",
            Self::Length => "Content-Length is no number, or stands there twice",
            Self::Chunk => "a chunk has no size, or no end where its size says",
        })
    }
}

/// By what a response of HTTP says that the server closes the connection after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClosingSign {
    /// `Connection: close`.
    ConnectionClose,
    /// HTTP/1.0 without `Connection: keep-alive`.
    OldVersion,
    /// Neither `Content-Length` nor `Transfer-Encoding`: the body ends with the connection.
    NoLength,
    /// `Transfer-Encoding` whose last coding is not `chunked`.
    NotChunked,
}

impl fmt::Display for ClosingSign {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::ConnectionClose => "the response says `Connection: close`",
            Self::OldVersion => "HTTP/1.0 without `Connection: keep-alive`",
            Self::NoLength => "no Content-Length and no Transfer-Encoding",
            Self::NotChunked => "Transfer-Encoding does not end in `chunked`",
        })
    }
}
