//! A worker that serves.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;

use super::{Outbox, WorkerError, refuse, report};
use crate::control::{Command, Event, VERSION};
use crate::domain::ServerSpec;
use crate::engine::{self, Ledger};

/// Serves until it is told to end.
pub(super) fn run(
    spec: &ServerSpec,
    inbox: &Receiver<Command>,
    outbox: &Outbox,
) -> Result<(), WorkerError> {
    let ledger = Ledger::new();
    let serving = engine::serve(spec, ledger.clone())?;
    let tables = serving.tables();
    outbox.tell(Event::Ready {
        version: VERSION,
        pid: std::process::id(),
        tables: tables.count,
        descriptors_per_table: tables.limit,
        listening: serving.listening(),
    });
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| report::report(&*serving, || None, &ledger, outbox, &over));
        for command in inbox {
            match command {
                Command::Alive => {}
                Command::LookForLosses => serving.look_for_losses(),
                Command::Drain => serving.drain(),
                Command::Exit => break,
                other => refuse(outbox, "server", &other),
            }
        }
        serving.end();
        over.store(true, Ordering::Release);
        ledger.wake();
    });
    Ok(())
}
