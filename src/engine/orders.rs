//! What a client's threads are asked to do. The hot loops look at a flag; threads that hold wait here.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::ledger::{Ledger, Milestone};
use super::round::Round;

/// The orders, and how far they are carried out.
#[derive(Debug)]
pub(super) struct Orders {
    state: Mutex<State>,
    changed: Condvar,
    halted: AtomicBool,
    paused: AtomicBool,
    /// Every loss was told: what ends now is closed on purpose.
    settled: AtomicBool,
    /// Somebody waits for the last look at losses.
    last_look: AtomicBool,
    draining: AtomicBool,
    /// Tables whose part of the ramp is not over.
    dialing: AtomicUsize,
    /// Microseconds from the beginning to the last connection.
    last_opened: AtomicU64,
    ledger: Ledger,
}

#[derive(Debug)]
struct State {
    begun: Option<Instant>,
    round: Option<Arc<Round>>,
    /// Tables that are not empty yet.
    undrained: usize,
    drained: u64,
    /// Tables that have not had their last look; absent while none was asked for.
    unlooked: Option<usize>,
}

/// What to do next.
#[derive(Debug)]
pub(super) enum Order {
    /// Nothing was asked until the time was up: look after the connections.
    Hold,
    /// Look for losses a last time.
    LookForLosses,
    /// Carry out this table's part of a task.
    Perform(Arc<Round>),
    /// Close them.
    Drain,
}

impl Orders {
    /// Orders for so many tables.
    pub(super) fn new(tables: usize, ledger: Ledger) -> Self {
        Self {
            state: Mutex::new(State {
                begun: None,
                round: None,
                undrained: tables,
                drained: 0,
                unlooked: None,
            }),
            changed: Condvar::new(),
            halted: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            settled: AtomicBool::new(false),
            last_look: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            dialing: AtomicUsize::new(tables),
            last_opened: AtomicU64::new(0),
            ledger,
        }
    }

    /// Begins the ramp.
    pub(super) fn begin(&self) {
        self.state().begun.get_or_insert_with(Instant::now);
        self.changed.notify_all();
    }

    /// Ends the ramp where it is.
    pub(super) fn halt(&self) {
        self.halted.store(true, Ordering::Relaxed);
    }

    /// Holds the ramp up, or lets it go on.
    pub(super) fn pause(&self, pause: bool) {
        self.paused.store(pause, Ordering::Relaxed);
    }

    /// Whether nothing is to be opened for now.
    pub(super) fn paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed) && !self.halted()
    }

    /// Asks for a last look at losses, or answers at once where there is nothing to look at.
    pub(super) fn look_for_losses(&self, tables: usize) {
        self.halt();
        let mut state = self.state();
        if state.begun.is_none() || self.draining() || self.settled() {
            drop(state);
            return self.ledger.reached(Milestone::LossesTold);
        }
        state.unlooked.get_or_insert(tables);
        self.last_look.store(true, Ordering::Relaxed);
        drop(state);
        self.changed.notify_all();
    }

    /// A table has had its last look.
    pub(super) fn look_part_done(&self) {
        let mut state = self.state();
        let left = state.unlooked.map_or(0, |left| left.saturating_sub(1));
        state.unlooked = Some(left);
        if left == 0 {
            self.settled.store(true, Ordering::Relaxed);
            self.ledger.reached(Milestone::LossesTold);
        }
    }

    /// Whether all that ends now is closed on purpose.
    pub(super) fn settled(&self) -> bool {
        self.settled.load(Ordering::Relaxed) || self.draining()
    }

    /// Whether a task is to be broken off.
    pub(super) fn leaving(&self) -> bool {
        self.last_look.load(Ordering::Relaxed) || self.draining()
    }

    /// Asks for a task, or answers at once where there is nobody to ask: before the ramp, and after the drain.
    pub(super) fn perform(&self, round: Round) {
        let mut state = self.state();
        if state.begun.is_none() || self.draining() {
            drop(state);
            let nothing = Milestone::Performed(round.into_report());
            return self.ledger.reached(nothing);
        }
        state.round = Some(Arc::new(round));
        drop(state);
        self.changed.notify_all();
    }

    /// Asks for the drain.
    pub(super) fn drain(&self) {
        self.halt();
        let state = self.state();
        self.draining.store(true, Ordering::Relaxed);
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until every table is empty.
    pub(super) fn wait_drained(&self) {
        drop(
            self.changed
                .wait_while(self.state(), |state| state.undrained > 0)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Whether nothing more is to be opened.
    pub(super) fn halted(&self) -> bool {
        self.halted.load(Ordering::Relaxed)
    }

    /// Whether everything is to be closed: what ends now is not lost.
    pub(super) fn draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Waits for the beginning; nothing when the drain comes first.
    pub(super) fn wait_begin(&self) -> Option<Instant> {
        let state = self
            .changed
            .wait_while(self.state(), |state| {
                state.begun.is_none() && !self.draining()
            })
            .unwrap_or_else(PoisonError::into_inner);
        state.begun
    }

    /// The next order for a table that has done the rounds up to `seen`, and its last look where `looked`; holds at most
    /// until `until`.
    pub(super) fn next(&self, seen: u32, looked: bool, until: Instant) -> Order {
        let unseen = |state: &State| {
            state
                .round
                .as_ref()
                .is_some_and(|round| round.number > seen)
        };
        let patience = until.saturating_duration_since(Instant::now());
        let (state, _) = self
            .changed
            .wait_timeout_while(self.state(), patience, |state| {
                !self.draining() && !unseen(state) && (looked || state.unlooked.is_none())
            })
            .unwrap_or_else(PoisonError::into_inner);
        if self.draining() {
            return Order::Drain;
        }
        if !looked && state.unlooked.is_some() {
            return Order::LookForLosses;
        }
        match &state.round {
            Some(round) if round.number > seen => Order::Perform(Arc::clone(round)),
            _ => Order::Hold,
        }
    }

    /// A table's part of the ramp is over; its last connection was opened so long after the beginning.
    pub(super) fn ramp_part_done(&self, last_opened: Duration) {
        let micros = u64::try_from(last_opened.as_micros()).unwrap_or(u64::MAX);
        self.last_opened.fetch_max(micros, Ordering::Relaxed);
        if self.dialing.fetch_sub(1, Ordering::AcqRel) == 1 {
            let micros = self.last_opened.load(Ordering::Relaxed);
            let seconds = Duration::from_micros(micros).as_secs_f64();
            self.ledger.reached(Milestone::RampDone { seconds });
        }
    }

    /// A table is empty; it held so many.
    pub(super) fn drain_part_done(&self, closed: u64) {
        let mut state = self.state();
        state.undrained = state.undrained.saturating_sub(1);
        state.drained += closed;
        if state.undrained == 0 {
            self.ledger.reached(Milestone::Drained(state.drained));
            drop(state);
            self.changed.notify_all();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
