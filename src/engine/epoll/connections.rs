//! The connections of one table, while they are held: losses are noticed and tasks carried out.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use super::handshakes::Handshakes;
use super::sweep::{SWEEP_EVERY, SWEEP_SOON, sweep};
use crate::domain::{LossReason, WrongAnswer};
use crate::engine::client::{ClientCore, last_words};
use crate::engine::counters::TableCounters;
use crate::engine::orders::Order;
use crate::engine::pasts::Pasts;
use crate::kernel::sys::fdtable::{Descriptor, OwnTable};
use crate::kernel::sys::socket;

/// The connections of one table. Their numbers begin at `first` and have no gap.
pub(super) struct Connections<'a> {
    pub(super) core: &'a ClientCore<Handshakes>,
    /// The table's number.
    pub(super) index: usize,
    pub(super) table: &'a OwnTable,
    pub(super) first: Descriptor,
    /// One above the highest number that a socket of this table has had.
    pub(super) end: Descriptor,
}

/// Which connections of a table speak.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked<'a> {
    /// As many as the round wants of this table, spread evenly.
    Quota,
    /// These. Their thread dials, and so has the right to.
    These(&'a [Descriptor]),
}

impl<'a> Connections<'a> {
    /// Looks after the connections until they are to be closed.
    pub(super) fn hold(&self, pasts: &mut Pasts) {
        let mut round_done = 0;
        let mut looked = false;
        let mut next_sweep = Instant::now() + self.sweep_every();
        loop {
            match self.core.orders.next(round_done, looked, next_sweep) {
                Order::Drain => return,
                Order::LookForLosses => {
                    self.sweep(|_| false);
                    looked = true;
                    self.core.orders.look_part_done();
                }
                Order::Perform(round) => {
                    round_done = round.number;
                    let findings = self.perform(&round, pasts, Asked::Quota);
                    self.core.finish_round(&round, findings);
                }
                Order::Hold => {
                    self.sweep(|_| false);
                    next_sweep = Instant::now() + self.sweep_every();
                }
            }
        }
    }

    /// Time between two sweeps. Where the runner sets the pace it waits for what gives way.
    pub(super) fn sweep_every(&self) -> Duration {
        if self.core.pace.was_set() {
            SWEEP_SOON
        } else {
            SWEEP_EVERY
        }
    }

    /// Looks once at every socket of the table, and closes and counts those whose connection has ended. `passed_over` names
    /// those that are still being opened.
    pub(super) fn sweep(&self, passed_over: impl Fn(Descriptor) -> bool) {
        sweep(self.first, self.end, |socket| {
            if !passed_over(socket) {
                self.lose(socket, LossReason::from_pending(socket::take_error(socket)));
            }
        });
    }

    /// Counts and closes a connection that has ended, unless what ends now is closed on purpose. Returns its local end
    /// where it was counted.
    pub(super) fn lose(&self, socket: Descriptor, reason: LossReason) -> Option<Ended> {
        if self.core.orders.settled() {
            return None;
        }
        let local = socket::local_address(socket);
        let mut buffer = [0; WrongAnswer::MOST_BYTES];
        let said = last_words(socket, &mut buffer);
        self.table.reset(socket);
        self.core.count_loss(self.index, reason, local, said);
        Some(Ended { reason, local })
    }

    pub(super) fn counters(&self) -> &'a TableCounters {
        &self.core.counters[self.index]
    }
}

/// A connection that was lost.
pub(super) struct Ended {
    pub(super) reason: LossReason,
    pub(super) local: Option<SocketAddrV4>,
}
