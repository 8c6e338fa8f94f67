//! What accepts and opens connections: epoll and tokio behind one interface.
//!
//! An engine is given a spec and a [`Ledger`]. It makes its descriptor tables and threads before it returns, and from then
//! on everything is asked of it without waiting: what comes of it stands in the ledger, which the worker reads. Only
//! `end` waits.
//!
//! What every server and every client has stands once, in `server.rs` and `client.rs`. An engine adds how a thread waits,
//! accepts, reads, writes and closes. What the bytes mean is none of its business, see [`crate::protocol`].

mod client;
mod closing;
mod counters;
mod epoll;
mod exhausted;
mod latency;
mod ledger;
mod listen;
mod orders;
mod pace;
mod pacer;
mod pasts;
mod pool;
mod round;
mod server;
mod source;
mod spawn;
mod table;
mod tokio;
mod trial;
mod turn;

use std::io;
use std::net::SocketAddrV4;

use crate::domain::{ClientSpec, Counters, EngineKind, LatencyCounts, ServerSpec, Service, Task};

pub use ledger::{Ledger, Milestone, News};
pub use trial::try_until;

/// Listens, and accepts from now on.
///
/// # Errors
/// When the tables or threads cannot be made, or an address cannot be listened on.
pub fn serve(spec: &ServerSpec, ledger: Ledger) -> Result<Box<dyn Serving>, EngineError> {
    let engine = match spec.engine {
        EngineKind::Epoll => &epoll::SERVER,
        EngineKind::Tokio => &tokio::SERVER,
    };
    Ok(Box::new(server::Server::start(engine, spec, ledger)?))
}

/// Makes everything ready to dial, and opens nothing yet.
///
/// # Errors
/// When the tables or threads cannot be made.
pub fn dial(spec: &ClientSpec, ledger: Ledger) -> Result<Box<dyn Dialing>, EngineError> {
    Ok(match spec.engine {
        EngineKind::Epoll => Box::new(client::Client::start(&epoll::CLIENT, spec, ledger)?),
        EngineKind::Tokio => Box::new(client::Client::start(&tokio::CLIENT, spec, ledger)?),
    })
}

/// What both roles have.
pub trait Running: Sync {
    /// How many descriptor tables there are.
    fn tables(&self) -> Tables;

    /// What has been done so far.
    fn counters(&self) -> Counters;

    /// Looks at every connection once more, so that each loss until now is in the counters. What ends from then on is
    /// closed on purpose and not lost. [`Milestone::LossesTold`] follows.
    fn look_for_losses(&self);

    /// Begins to close every connection by a reset. [`Milestone::Drained`] follows. Nothing can be asked afterwards.
    fn drain(&self);

    /// Leaves off whatever is under way, closes every connection by a reset, and returns when that is done.
    fn end(&self);
}

/// A server at work.
pub trait Serving: Running {
    /// Where it listens.
    fn listening(&self) -> Vec<SocketAddrV4>;
}

/// A client at work.
pub trait Dialing: Running {
    /// Begins the ramp. [`Milestone::RampDone`] follows.
    fn begin(&self);

    /// Opens nothing more; what is open stays. Handshakes under way have a second to end.
    fn stop_ramp(&self);

    /// Opens nothing while this is asked for, and goes on where it was afterwards. Handshakes under way end as they do.
    fn pause_ramp(&self, pause: bool);

    /// Opens at most so many connections a second from now on. Zero: none. Absent: as fast as it can.
    fn pace_ramp(&self, per_second: Option<f64>);

    /// Carries out a task on connections. [`Milestone::Performed`] follows.
    fn perform(&self, task: &Task);

    /// Connect latencies since this was last asked.
    fn take_latency(&self) -> Option<LatencyCounts>;
}

/// Descriptor tables of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tables {
    /// How many.
    pub count: u64,
    /// The limit of each, in descriptors.
    pub limit: u64,
}

/// Why an engine could not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The limit of a table leaves no room.
    #[error(
        "RLIMIT_NOFILE is {limit}: a descriptor table of that size has no room for connections"
    )]
    LimitTooSmall {
        /// The limit, in descriptors.
        limit: u64,
    },
    /// The limit could not be raised.
    #[error("cannot raise the soft RLIMIT_NOFILE to the hard one: {0}")]
    Limit(#[source] io::Error),
    /// A thread could not be started.
    #[error("cannot start thread {index} of {wanted}, one for each descriptor table: {why}")]
    Thread {
        /// Which, from 0.
        index: usize,
        /// Of how many.
        wanted: usize,
        /// What came back.
        why: io::Error,
    },
    /// A thread got no table of its own.
    #[error("cannot make descriptor table {index} of {wanted}: {why}")]
    Table {
        /// Which, from 0.
        index: usize,
        /// Of how many.
        wanted: usize,
        /// What came back.
        why: io::Error,
    },
    /// The eventfd that wakes threads could not be made.
    #[error("cannot make the eventfd that wakes the worker's threads: {why}")]
    EventFd {
        /// What came back.
        why: io::Error,
    },
    /// The engine does not offer the service.
    #[error("the {engine} engine does not offer the service `{service}`")]
    Service {
        /// The engine.
        engine: EngineKind,
        /// The service.
        service: Service,
    },
    /// Several threads would look after the same unwatched connections.
    #[error(
        "the service `accept` leaves connections to one thread for each table, and here {threads} share a table"
    )]
    SharedSweep {
        /// How many threads.
        threads: usize,
    },
    /// An address could not be listened on.
    #[error("cannot listen on {address}: {what}: {why}")]
    Listen {
        /// The address.
        address: SocketAddrV4,
        /// Which call.
        what: &'static str,
        /// What came back.
        why: io::Error,
    },
    /// There is nowhere to listen.
    #[error("the spec of the server has no address to listen on")]
    NoAddress,
    /// A shard asks for more connections than it has ports.
    #[error("{count} connections from {from} do not fit into its {ports} ports")]
    ShardTooLarge {
        /// Its source address.
        from: std::net::Ipv4Addr,
        /// Its connections.
        count: u32,
        /// Its ports.
        ports: u32,
    },
}

impl EngineError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::LimitTooSmall { .. } => "raise the hard limit to 1,024 or more: ulimit -Hn",
            Self::Limit(_) => "a filter of system calls or a security module forbids it",
            Self::Thread { .. } => {
                "raise the hard limit of descriptors (ulimit -Hn), so that fewer tables are needed, or the number of \
                 threads allowed: ulimit -u, kernel.threads-max, the pids control group"
            }
            Self::Table { .. } => {
                "a filter of system calls forbids close_range(2) and unshare(2): use `descriptor_tables: one`"
            }
            Self::Listen { why, .. } => match why.kind() {
                io::ErrorKind::AddrInUse => "something listens there already: ss -ltnp",
                io::ErrorKind::AddrNotAvailable => {
                    "the address is not one of this host: ip address"
                }
                io::ErrorKind::PermissionDenied => {
                    "ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE"
                }
                _ => return None,
            },
            Self::EventFd { .. } => "raise the limit of descriptors (ulimit -n) or fs.file-max",
            Self::Service { .. } => {
                "tokio watches every socket from the moment that it is made: use the epoll engine, or the service \
                 `silent`"
            }
            Self::SharedSweep { .. } => {
                "use `descriptor_tables: many`, one acceptor, or the service `silent`"
            }
            Self::NoAddress | Self::ShardTooLarge { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
