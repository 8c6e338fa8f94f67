//! One table's thread of the client: it opens its part of the connections, holds them, and drains.

use std::time::Instant;

use super::connect::Dialer;
use super::connections::Connections;
use super::greet::Greeter;
use super::handshakes::Handshakes;
use crate::engine::client::{ClientThread, Slot};
use crate::engine::pasts::Pasts;
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
    let mut pasts = Pasts::default();
    let opening = thread.core.opening.as_ref();
    let greeter = opening.map(|round| Greeter::new(round, &mut pasts));
    Dialer::new(&mut connections, &mut slot, greeter, begun).ramp();
    drop(slot);
    connections.hold(&mut pasts);
    let counters = connections.counters();
    let held = counters.established();
    let mut left = held;
    for socket in first.up_to(connections.end) {
        connections.table.reset(socket);
        // Counted one by one, so that the report can show how fast they go. A few numbers are free or were handshakes: the
        // sum is right all the same.
        if left > 0 {
            left -= 1;
            counters.closed.add(1);
        }
    }
    held
}
