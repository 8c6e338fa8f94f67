//! The server: listeners, one thread for each descriptor table, and the end of both.

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, PoisonError, mpsc};
use std::thread;

use super::super::counters::TableCounters;
use super::super::table::Layout;
use super::super::turn::Turn;
use super::super::{EngineError, Ledger, Milestone, Running, Serving, Tables};
use super::STACK;
use super::accept::Keeper;
use crate::domain::{Acceptors, Counters, DescriptorTables, ServerSpec};
use crate::kernel::sys::epoll::Bell;
use crate::kernel::sys::fdtable::{self, Descriptor};
use crate::kernel::sys::socket::{self, RawAddress};

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
    /// What ends now is not lost.
    pub(super) draining: AtomicBool,
    /// Peers have no time left to close first.
    pub(super) ending: AtomicBool,
    pub(super) told_full: AtomicBool,
    undrained: Mutex<Undrained>,
    drained: Condvar,
}

struct Undrained {
    threads: usize,
    closed: u64,
}

/// The server.
pub(super) struct Server {
    shared: Arc<Shared>,
    listening: Vec<SocketAddrV4>,
    /// In the process's own table.
    listeners: Mutex<Vec<Descriptor>>,
}

impl Server {
    pub(super) fn start(spec: &ServerSpec, ledger: Ledger) -> Result<Self, EngineError> {
        if spec.listen.is_empty() {
            return Err(EngineError::NoAddress);
        }
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
        let mut listeners = Vec::with_capacity(spec.listen.len());
        for address in &spec.listen {
            listeners.push(listen(*address, spec)?);
        }
        let listening = listeners
            .iter()
            .zip(&spec.listen)
            .map(|(listener, asked)| socket::local_address(*listener).unwrap_or(*asked))
            .collect();
        let threads = match (spec.accept, spec.tables) {
            (false, _) => 0,
            (true, DescriptorTables::One) => threads,
            (true, DescriptorTables::Many) => layout.count,
        };
        let shared = Arc::new(Shared {
            layout,
            turn: Turn::new(acceptors, threads, bell),
            counters: (0..threads).map(|_| TableCounters::default()).collect(),
            ledger,
            read: spec.read,
            exclusive: matches!(spec.acceptors, Acceptors::Count(_)),
            draining: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            told_full: AtomicBool::new(false),
            undrained: Mutex::new(Undrained { threads, closed: 0 }),
            drained: Condvar::new(),
        });
        let mut keep = listeners.clone();
        keep.push(shared.turn.bell().descriptor());
        if spec.accept {
            match spec.tables {
                DescriptorTables::Many => start_many(&shared, &keep)?,
                DescriptorTables::One => start_one(&shared, &keep)?,
            }
        }
        Ok(Self {
            shared,
            listening,
            listeners: Mutex::new(listeners),
        })
    }

    fn close_listeners(&self) {
        let mut listeners = self
            .listeners
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for listener in listeners.drain(..) {
            fdtable::close(listener);
        }
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

fn listen(address: SocketAddrV4, spec: &ServerSpec) -> Result<Descriptor, EngineError> {
    let failed = |what| move |why| EngineError::Listen { address, what, why };
    let listener = socket::stream().map_err(failed("socket"))?;
    let prepare = || {
        socket::reuse_address(listener).map_err(failed("SO_REUSEADDR"))?;
        if let Some(keepalive) = spec.keepalive {
            socket::keepalive(listener, keepalive).map_err(failed("SO_KEEPALIVE"))?;
        }
        if spec.tables == DescriptorTables::Many {
            // Inherited by every accepted socket: even a server that is killed leaves no orphan. An ordinary program does
            // not do this, so the variant that plays one does not either.
            socket::reset_on_close(listener).map_err(failed("SO_LINGER"))?;
        }
        socket::bind(listener, &RawAddress::new(address)).map_err(failed("bind"))?;
        socket::listen(listener, spec.backlog).map_err(failed("listen"))
    };
    match prepare() {
        Ok(()) => Ok(listener),
        Err(error) => {
            fdtable::close(listener);
            Err(error)
        }
    }
}

impl Shared {
    /// A thread has stopped and its connections are closed.
    fn drain_part_done(&self, index: usize, held: u64) {
        self.counters[index].closed.add(held);
        let mut undrained = self
            .undrained
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        undrained.threads = undrained.threads.saturating_sub(1);
        undrained.closed += held;
        if undrained.threads == 0 {
            self.ledger.reached(Milestone::Drained(undrained.closed));
            self.drained.notify_all();
        }
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

    fn drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
        self.close_listeners();
        self.shared.turn.close();
        if self.shared.counters.is_empty() {
            self.shared.ledger.reached(Milestone::Drained(0));
        }
    }

    fn end(&self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        self.drain();
        let undrained = self
            .shared
            .undrained
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        drop(
            self.shared
                .drained
                .wait_while(undrained, |undrained| undrained.threads > 0)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }
}

impl Serving for Server {
    fn listening(&self) -> Vec<SocketAddrV4> {
        self.listening.clone()
    }
}
