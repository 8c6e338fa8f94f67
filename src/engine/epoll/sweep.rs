//! Finding connections that have ended by poll(2) rather than by epoll: registering each socket costs a tenth of the rate of
//! the ramp and 208 bytes of kernel memory for each connection; a sweep costs neither.

use std::time::Duration;

use crate::kernel::sys::fdtable::Descriptor;
use crate::kernel::sys::poll::{Interest, PollEntry, PollTimeout, poll};

/// Time between two sweeps of a table: a loss is to be told within 5 s.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(3);

/// The same where somebody waits for losses.
pub(super) const SWEEP_SOON: Duration = Duration::from_millis(250);

/// Sockets looked at by one call: 4 KiB of the stack.
const CHUNK: usize = 512;

/// Looks once at every number from `first` up to `end`, and names those whose connection has ended.
pub(super) fn sweep(first: Descriptor, end: Descriptor, mut ended: impl FnMut(Descriptor)) {
    let mut entries = [PollEntry::NONE; CHUNK];
    let mut next = first;
    while next < end {
        let mut filled = 0;
        while filled < CHUNK && next < end {
            entries[filled] = PollEntry::new(next, Interest::PeerClosed);
            filled += 1;
            next = next.next();
        }
        let entries = &mut entries[..filled];
        // An error is want of memory, and then the next sweep looks again.
        if !matches!(poll(entries, PollTimeout::Zero), Ok(found) if found > 0) {
            continue;
        }
        for entry in entries.iter().filter(|entry| entry.broken()) {
            ended(entry.descriptor());
        }
    }
}
