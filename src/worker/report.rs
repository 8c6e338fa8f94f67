//! What a worker tells while it works: progress at a steady pace, and what its engine writes into the ledger.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Outbox;
use crate::control::Event;
use crate::domain::{ConnCount, Counters, LatencyCounts};
use crate::engine::{Ledger, Milestone, Running};

/// Time between two looks, and so between two messages of progress.
const EVERY: Duration = Duration::from_millis(250);

/// Tells what happens until `over`, and what is left then.
pub(super) fn report(
    running: &dyn Running,
    latency: impl Fn() -> Option<LatencyCounts>,
    ledger: &Ledger,
    outbox: &Outbox,
    over: &AtomicBool,
) {
    let mut told = Counters::default();
    loop {
        // Looked at before the ledger is taken, so that what is written before the end is told.
        let last = over.load(Ordering::Acquire);
        let news = ledger.take(if last { Duration::ZERO } else { EVERY });
        let counters = running.counters();
        let latency = latency();
        if counters != told || latency.is_some() || !news.milestones.is_empty() {
            outbox.tell(Event::Progress {
                counters: counters.clone(),
                latency,
            });
            told = counters.clone();
        }
        for note in news.failures {
            outbox.tell(Event::ConnectFailed { note });
        }
        for note in news.losses {
            outbox.tell(Event::Lost { note });
        }
        for text in news.warnings {
            outbox.tell(Event::Warning { text });
        }
        for milestone in news.milestones {
            outbox.tell(match milestone {
                Milestone::RampDone { seconds } => Event::RampDone {
                    counters: counters.clone(),
                    seconds,
                },
                Milestone::LossesTold => Event::LossesTold {
                    counters: counters.clone(),
                },
                Milestone::Greeted(report) => Event::Greeted { report },
                Milestone::Performed(report) => Event::Performed { report },
                Milestone::Drained(closed) => Event::Drained {
                    closed: ConnCount::new(closed),
                },
            });
        }
        if last {
            return;
        }
    }
}
