//! The epoll engine: one thread for each descriptor table. A connection costs no memory of this process: its descriptor
//! is a number in a dense table, its port is arithmetic, and epoll gives the number back.

mod buffers;
mod connect;
mod connections;
mod exchange;
mod greet;
mod handshakes;
mod server;
mod sweep;
mod tend;

use super::client::{ClientEngine, ExchangeWindow};
use super::server::ServerEngine;
use crate::domain::EngineKind;

use handshakes::Handshakes;

/// Stack of a table's thread, in bytes. Only the pages that are touched count: three, with the buffers that lie there.
const STACK: usize = 128 * 1024;

/// Most exchanges under way at once in one table: what one look by poll(2) takes without costing more than the answers.
const MOST_EXCHANGES: usize = 256;

/// The server.
pub(super) static SERVER: ServerEngine = ServerEngine {
    kind: EngineKind::Epoll,
    stack: STACK,
    threads_share_a_table: true,
    serve: server::serve,
};

/// The client.
pub(super) static CLIENT: ClientEngine<Handshakes> = ClientEngine {
    kind: EngineKind::Epoll,
    stack: STACK,
    exchanges: |client| {
        let per_table = client.window.clamp(1, MOST_EXCHANGES);
        ExchangeWindow {
            per_table,
            // As many tables ask at once as dial at once.
            total: (per_table * client.dialers.min(client.layout.count)) as u64,
        }
    },
    buffers: Handshakes::new,
    tend: tend::tend,
};
