//! A server that cannot take more connections for now: counted once for each time that this begins, told once.

use std::io;
use std::time::Duration;

use super::ledger::Ledger;
use crate::domain::ConnectFailure;

/// Wait before accepting again when the machine or the table has no room.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// ENOSPC, which `epoll_ctl(2)` says when a user has no watches left.
const NO_WATCHES: ConnectFailure = ConnectFailure::Other(28);

/// What accepting last failed by.
#[derive(Debug, Default)]
pub(super) struct Exhausted(Option<ConnectFailure>);

impl Exhausted {
    /// A connection was taken.
    pub(super) const fn is_over(&mut self) {
        self.0 = None;
    }

    /// `call` failed with so many connections held in the table.
    pub(super) fn by(&mut self, error: &io::Error, call: &str, held: u64, ledger: &Ledger) {
        let failure = ConnectFailure::from_error(error);
        if self.0 != Some(failure) && ledger.count_failure(failure) == 0 {
            let hint = if failure == NO_WATCHES {
                "raise fs.epoll.max_user_watches"
            } else {
                failure.hint()
            };
            ledger.warn(format!(
                "the server cannot take more connections: {call}: {failure}, with {held} in its table; {hint}"
            ));
        }
        self.0 = Some(failure);
    }
}
