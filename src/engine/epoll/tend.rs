//! One table's thread of the client: it opens its part of the connections, holds them, and drains.

use std::time::Instant;

use super::connect::Dialer;
use super::connections::Connections;
use super::handshakes::Handshakes;
use crate::engine::client::{ClientThread, Slot};
use crate::engine::pool::PoolGuard;

/// The work of one thread. Returns how many connections it held at the drain.
pub(super) fn tend<'a>(
    thread: &'a ClientThread<'a, Handshakes>,
    mut slot: PoolGuard<'a, Slot<Handshakes>>,
    begun: Instant,
) -> u64 {
    let first = thread.table.first_free();
    let mut connections = Connections {
        core: thread.core,
        index: thread.index,
        table: thread.table,
        first,
        end: first,
    };
    Dialer::new(&mut connections, &mut slot, begun).ramp();
    drop(slot);
    connections.hold();
    let held = connections.counters().established();
    for socket in first.up_to(connections.end) {
        connections.table.reset(socket);
    }
    held
}
