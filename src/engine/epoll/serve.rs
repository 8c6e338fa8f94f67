//! The server: listeners, one thread for each descriptor table, and the end of both.

use std::net::SocketAddrV4;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

use super::STACK;
use super::accept::Keeper;
use crate::domain::{Acceptors, Counters, DescriptorTables, ServerSpec};
use crate::engine::closing::Closing;
use crate::engine::counters::TableCounters;
use crate::engine::listen::Listeners;
use crate::engine::table::Layout;
use crate::engine::turn::Turn;
use crate::engine::{EngineError, Ledger, Running, Serving, Tables};
use crate::kernel::sys::epoll::Bell;
use crate::kernel::sys::fdtable::{self, Descriptor};
use crate::kernel::sys::socket;

/// Connections beyond the planned ones that there is room for: handshakes that a client gave up and began anew.
const SLACK: u64 = 64;

/// What the threads of a server share.
pub(super) struct Shared {
    pub(super) layout: Layout,
    pub(super) turn: Turn,
    /// One for each thread.
    pub(super) counters: Vec<TableCounters>,
    pub(super) ledger: Ledger,
    /// Whether bytes are read and echoed.
    pub(super) read: bool,
    /// Whether acceptors are woken by epoll, several at a time, as an ordinary program has it.
    pub(super) exclusive: bool,
    pub(super) closing: Closing,
    pub(super) told_full: AtomicBool,
}

/// The server.
pub(super) struct Server {
    shared: Arc<Shared>,
    listeners: Listeners,
}

impl Server {
    pub(super) fn start(spec: &ServerSpec, ledger: Ledger) -> Result<Self, EngineError> {
        let acceptors = match spec.acceptors {
            Acceptors::Auto => 1,
            Acceptors::Count(count) => count.get(),
        };
        let threads = usize::try_from(acceptors).unwrap_or(usize::MAX);
        let layout = Layout::new(spec.tables, spec.capacity.count() + SLACK, threads)?;
        let bell = Bell::new().map_err(|why| EngineError::Table {
            index: 0,
            wanted: layout.count,
            why,
        })?;
        let listeners = Listeners::open(spec)?;
        let threads = match (spec.accept, spec.tables) {
            (false, _) => 0,
            (true, DescriptorTables::One) => threads,
            (true, DescriptorTables::Many) => layout.count,
        };
        let shared = Arc::new(Shared {
            layout,
            turn: Turn::new(acceptors, threads, bell),
            counters: (0..threads).map(|_| TableCounters::default()).collect(),
            closing: Closing::new(threads, ledger.clone()),
            ledger,
            read: spec.read,
            exclusive: matches!(spec.acceptors, Acceptors::Count(_)),
            told_full: AtomicBool::new(false),
        });
        let mut keep = listeners.descriptors();
        keep.push(shared.turn.bell().descriptor());
        if spec.accept {
            match spec.tables {
                DescriptorTables::Many => start_many(&shared, &keep)?,
                DescriptorTables::One => start_one(&shared, &keep)?,
            }
        }
        Ok(Self { shared, listeners })
    }
}

/// A thread and a table for each part of the connections.
fn start_many(shared: &Arc<Shared>, keep: &[Descriptor]) -> Result<(), EngineError> {
    let wanted = shared.layout.count;
    let (ready, tables) = mpsc::channel();
    for index in 0..wanted {
        let (shared, ready, keep) = (Arc::clone(shared), ready.clone(), keep.to_vec());
        thread::Builder::new()
            .stack_size(STACK)
            .spawn(move || {
                let table = fdtable::own_table(&keep);
                let made = table.as_ref().ok().copied();
                // The starter is gone only when another table could not be made.
                let _ = ready.send((index, table.map(drop)));
                drop((ready, keep));
                let Some(first) = made else { return };
                let held = Keeper::new(&shared, index, first).run();
                // Accepted sockets have the reset on close from their listener: one call closes the table.
                if fdtable::close_from(Descriptor::FIRST_OWN).is_err() {
                    reset_all(first, shared.layout.limit);
                }
                shared.drain_part_done(index, held);
            })
            .map_err(|why| EngineError::Thread { index, wanted, why })?;
    }
    drop(ready);
    for (index, made) in tables {
        made.map_err(|why| EngineError::Table { index, wanted, why })?;
    }
    Ok(())
}

/// One table for all threads, as in an ordinary program. It is not the process's own, so that the numbers of connections
/// are dense here too.
fn start_one(shared: &Arc<Shared>, keep: &[Descriptor]) -> Result<(), EngineError> {
    let wanted = shared.counters.len();
    let (ready, started) = mpsc::channel();
    let (shared, keep) = (Arc::clone(shared), keep.to_vec());
    let leader = move || {
        let first = match fdtable::own_table(&keep) {
            Ok(first) => first,
            Err(why) => {
                // The starter waits for this very answer.
                let _ = ready.send(Err(EngineError::Table {
                    index: 0,
                    wanted: 1,
                    why,
                }));
                return;
            }
        };
        let stopped = Arc::new(Barrier::new(wanted));
        for index in 1..wanted {
            let (shared, stopped) = (Arc::clone(&shared), Arc::clone(&stopped));
            let started = thread::Builder::new().stack_size(STACK).spawn(move || {
                let held = Keeper::new(&shared, index, first).run();
                stopped.wait();
                shared.drain_part_done(index, held);
            });
            if let Err(why) = started {
                let _ = ready.send(Err(EngineError::Thread { index, wanted, why }));
                return;
            }
        }
        let _ = ready.send(Ok(()));
        drop(ready);
        let held = Keeper::new(&shared, 0, first).run();
        stopped.wait();
        reset_all(Descriptor::FIRST_OWN, shared.layout.limit);
        shared.drain_part_done(0, held);
    };
    thread::Builder::new()
        .stack_size(STACK)
        .spawn(leader)
        .map_err(|why| EngineError::Thread {
            index: 0,
            wanted,
            why,
        })?;
    started.recv().unwrap_or(Ok(()))
}

/// Closes everything from `first` on by a reset, one by one.
fn reset_all(first: Descriptor, limit: u64) {
    let mut socket = first;
    while u64::from(socket.number().unsigned_abs()) < limit {
        socket::reset(socket);
        socket = socket.next();
    }
}

impl Shared {
    /// A thread has stopped and its connections are closed.
    fn drain_part_done(&self, index: usize, held: u64) {
        self.counters[index].closed.add(held);
        self.closing.part_done(held);
    }
}

impl Running for Server {
    fn tables(&self) -> Tables {
        self.shared.layout.tables()
    }

    fn counters(&self) -> Counters {
        Counters {
            failed: self.shared.ledger.failures(),
            ..TableCounters::sum(&self.shared.counters)
        }
    }

    fn look_for_losses(&self) {
        self.shared.closing.settle();
    }

    fn drain(&self) {
        self.shared.closing.drain();
        self.listeners.close();
        self.shared.turn.close();
    }

    fn end(&self) {
        self.shared.closing.end();
        self.drain();
        self.shared.closing.wait();
    }
}

impl Serving for Server {
    fn listening(&self) -> Vec<SocketAddrV4> {
        self.listeners.addresses.clone()
    }
}
