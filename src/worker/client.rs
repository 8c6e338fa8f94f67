//! A worker that dials.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use super::heartbeat::Heartbeat;
use super::{Outbox, WorkerError, refuse, report};
use crate::control::{Command, Event, VERSION};
use crate::domain::ClientSpec;
use crate::engine::{self, Ledger};

/// Dials and holds until it is told to end.
pub(super) fn run(
    spec: &ClientSpec,
    inbox: &Receiver<Command>,
    outbox: &Outbox,
) -> Result<(), WorkerError> {
    let ledger = Ledger::new();
    let dialing = engine::dial(spec, ledger.clone())?;
    let tables = dialing.tables();
    outbox.tell(Event::Ready {
        version: VERSION,
        pid: std::process::id(),
        tables: tables.count,
        descriptors_per_table: tables.limit,
        listening: Vec::new(),
    });
    let over = AtomicBool::new(false);
    let latency = || dialing.take_latency();
    thread::scope(|scope| {
        scope.spawn(|| report::report(&*dialing, latency, &ledger, outbox, &over));
        let mut runner = Heartbeat::default();
        while let Some(command) = runner.next(inbox, |pause| dialing.pause_ramp(pause)) {
            match command {
                Command::Alive => {}
                Command::Try {
                    exchange,
                    within_ms,
                } => {
                    let over = &over;
                    scope.spawn(move || {
                        let within = Duration::from_millis(within_ms);
                        let failure = engine::try_until(spec, &exchange, within, over);
                        outbox.tell(Event::Tried { failure });
                    });
                }
                Command::Begin => dialing.begin(),
                Command::StopRamp => dialing.stop_ramp(),
                Command::Pace { per_second } => dialing.pace_ramp(per_second),
                Command::Perform { task } => dialing.perform(&task),
                Command::LookForLosses => dialing.look_for_losses(),
                Command::Drain => dialing.drain(),
                Command::Exit => break,
                other => refuse(outbox, "client", &other),
            }
        }
        dialing.end();
        over.store(true, Ordering::Release);
        ledger.wake();
    });
    Ok(())
}
