//! The tokio engine: a task for each connection, as an ordinary Rust program has it, and one current-thread runtime for
//! each descriptor table.
//!
//! A runtime wakes itself from another thread by writing to a descriptor, by the number that it has in the table of the
//! runtime's own thread; in any other table that number is something else. So no task is ever woken from another thread:
//! what threads have to say to each other stands in shared memory, and a bell that each table has says when to look.

mod dial;
mod echo;
mod serve;

use std::io;
use std::net::{SocketAddr, SocketAddrV4};

use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};

use super::{Dialing, Engine, EngineError, Ledger, Serving};
use crate::domain::{ClientSpec, LossReason, ServerSpec};
use crate::kernel::sys::fdtable::{self, Descriptor};

/// Stack of a table's thread, in bytes. Only the pages that are touched count.
const STACK: usize = 256 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct TokioEngine;

impl Engine for TokioEngine {
    fn serve(&self, spec: &ServerSpec, ledger: Ledger) -> Result<Box<dyn Serving>, EngineError> {
        Ok(Box::new(serve::Server::start(spec, ledger)?))
    }

    fn dial(&self, spec: &ClientSpec, ledger: Ledger) -> Result<Box<dyn Dialing>, EngineError> {
        Ok(Box::new(dial::Client::start(spec, ledger)?))
    }
}

/// A runtime for the calling thread, in whose table its descriptors are.
fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
}

/// The bell as a task of the calling thread's runtime hears it.
struct Ear(AsyncFd<std::os::fd::OwnedFd>);

impl Ear {
    /// `bell` is the number that it has in this thread's table.
    // What it is deprecated for, an owner that changes its descriptor, an `OwnedFd` cannot do; its replacement asks for
    // unsafe code, which has one home, and that is not here.
    #[allow(deprecated)]
    fn new(bell: Descriptor) -> io::Result<Self> {
        let bell = fdtable::duplicate(bell)?;
        Ok(Self(AsyncFd::with_interest(
            bell,
            tokio::io::Interest::READABLE,
        )?))
    }

    /// Waits for the next ring.
    async fn hear(&self) {
        match self.0.readable().await {
            // The bell is never read; the next ring is a new edge.
            Ok(mut ring) => ring.clear_ready(),
            // Only while the runtime shuts down, which ends this task.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Why a connection ended, from the error that reading or writing brought.
fn reason_of(error: &io::Error) -> LossReason {
    LossReason::from_errno(error.raw_os_error().unwrap_or(0))
}

/// The local end of a connection.
fn local(stream: &TcpStream) -> Option<SocketAddrV4> {
    match stream.local_addr() {
        Ok(SocketAddr::V4(address)) => Some(address),
        _ => None,
    }
}
