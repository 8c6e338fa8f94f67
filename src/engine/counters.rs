//! Counters of one table, written by its own thread and read by the reporter: each on cache lines of its own, so that
//! counting costs the threads nothing of each other's.

use std::sync::atomic::{AtomicU64, Ordering};

use super::round::Findings;
use crate::domain::{ConnCount, Counters};

/// A number that one thread adds to and others read.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    /// Adds. Only the owning thread does, so that no locked instruction is needed.
    pub(super) fn add(&self, number: u64) {
        self.0
            .store(self.0.load(Ordering::Relaxed) + number, Ordering::Relaxed);
    }

    /// Replaces the number.
    pub(super) fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
    }

    /// The number.
    pub(super) fn load(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one table has done. 128 bytes: two cache lines, because the processor fetches them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct TableCounters {
    /// Opened or accepted.
    pub(super) opened: Count,
    /// Closed again, for whatever reason.
    pub(super) closed: Count,
    /// Of those closed: the ones nobody here asked for.
    pub(super) lost: Count,
    /// Handshakes under way.
    pub(super) in_flight: Count,
    /// Ports replaced by spare ones.
    pub(super) ports_replaced: Count,
    /// Times that this table was full and another took over.
    pub(super) handovers: Count,
    /// Bytes read.
    pub(super) bytes_read: Count,
    /// Answered rightly as they were opened.
    pub(super) answered: Count,
    /// Not answered rightly as they were opened.
    pub(super) unanswered: Count,
}

const _: () = assert!(size_of::<TableCounters>() == 128);

impl TableCounters {
    /// Connections held at this moment.
    pub(super) fn established(&self) -> u64 {
        // Closed first: a connection that is opened and closed between the two looks then counts once, not less.
        let closed = self.closed.load();
        self.opened.load().saturating_sub(closed)
    }

    /// Adds what came of what some connections said as they were opened.
    pub(super) fn greeted(&self, findings: &Findings) {
        self.answered.add(findings.echoed);
        self.unanswered.add(findings.not_answered());
    }

    /// The sum over tables, without the failures, which the ledger has.
    pub(super) fn sum(tables: &[Self]) -> Counters {
        let mut sum = Counters::default();
        for table in tables {
            sum.established += ConnCount::new(table.established());
            sum.opened += ConnCount::new(table.opened.load());
            sum.in_flight += ConnCount::new(table.in_flight.load());
            sum.lost += ConnCount::new(table.lost.load());
            sum.ports_replaced += table.ports_replaced.load();
            sum.handovers += table.handovers.load();
            sum.bytes_read += table.bytes_read.load();
            sum.answered += ConnCount::new(table.answered.load());
            sum.unanswered += ConnCount::new(table.unanswered.load());
        }
        sum
    }
}
