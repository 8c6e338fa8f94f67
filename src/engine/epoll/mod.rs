//! The epoll engine: one thread for each descriptor table. A connection costs no memory of this process: its descriptor
//! is a number in a dense table, its port is arithmetic, and epoll gives the number back.

mod accept;
mod connect;
mod echo;
mod hold;
mod serve;

use super::{Dialing, Engine, EngineError, Ledger, Serving};
use crate::domain::{ClientSpec, ServerSpec};

/// Stack of a table's thread, in bytes. Only the pages that are touched count: three, with the buffers that lie there.
const STACK: usize = 128 * 1024;

/// See the module.
#[derive(Debug)]
pub(super) struct EpollEngine;

impl Engine for EpollEngine {
    fn serve(&self, spec: &ServerSpec, ledger: Ledger) -> Result<Box<dyn Serving>, EngineError> {
        Ok(Box::new(serve::Server::start(spec, ledger)?))
    }

    fn dial(&self, spec: &ClientSpec, ledger: Ledger) -> Result<Box<dyn Dialing>, EngineError> {
        Ok(Box::new(hold::Client::start(spec, ledger)?))
    }
}
