//! The tokio engine: a task for each connection, as an ordinary Rust program has it, and one current-thread runtime for
//! each descriptor table.
//!
//! A runtime wakes itself from another thread by writing to a descriptor, by the number that it has in the table of the
//! runtime's own thread; in any other table that number is something else. So no task is ever woken from another thread:
//! what threads have to say to each other stands in shared memory, and an eventfd that each table has says when to look.

mod client;
mod exchange;
mod server;

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;

use tokio::io::{Interest, unix::AsyncFd};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use super::client::{ClientEngine, ExchangeWindow};
use super::server::ServerEngine;
use crate::domain::EngineKind;
use crate::kernel::sys::fdtable::{self, Descriptor};

/// Stack of a table's thread, in bytes. Only the pages that are touched count.
const STACK: usize = 256 * 1024;

/// The server.
pub(super) static SERVER: ServerEngine = ServerEngine {
    kind: EngineKind::Tokio,
    stack: STACK,
    threads_share_a_table: false,
    serve: server::serve,
};

/// The client.
pub(super) static CLIENT: ClientEngine<()> = ClientEngine {
    kind: EngineKind::Tokio,
    stack: STACK,
    exchanges: |client| {
        let per_table = (client.window / 4).max(1);
        ExchangeWindow {
            per_table,
            // The tasks of all tables ask at once.
            total: (per_table * client.layout.count) as u64,
        }
    },
    buffers: |_| (),
    tend: client::tend,
};

/// A runtime for the calling thread, in whose table its descriptors are.
fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
}

/// The eventfd of a table, as tasks of its runtime wait for it.
struct Signal(AsyncFd<OwnedFd>);

impl Signal {
    /// `eventfd` is the number that it has in this thread's table.
    // What it is deprecated for, an owner that changes its descriptor, an `OwnedFd` cannot do; its replacement asks for
    // unsafe code, which has one home, and that is not here.
    #[allow(deprecated)]
    fn new(eventfd: Descriptor) -> io::Result<Self> {
        let eventfd = fdtable::duplicate(eventfd)?;
        Ok(Self(AsyncFd::with_interest(eventfd, Interest::READABLE)?))
    }

    /// Waits until the eventfd is written to.
    async fn wait(&self) {
        match self.0.readable().await {
            // It is never read; the next write is a new edge.
            Ok(mut ready) => ready.clear_ready(),
            // Only while the runtime shuts down, which ends this task.
            Err(_) => std::future::pending().await,
        }
    }
}

/// The local end of a connection.
fn local(stream: &TcpStream) -> Option<SocketAddrV4> {
    match stream.local_addr() {
        Ok(SocketAddr::V4(address)) => Some(address),
        _ => None,
    }
}
