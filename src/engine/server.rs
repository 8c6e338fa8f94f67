//! What every server has, whatever engine it is: listeners, tables with their threads, the right to accept, counters, and
//! the end. An engine adds how one thread waits, accepts, reads, writes and closes.

use std::fmt;
use std::io;
use std::net::SocketAddrV4;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::closing::Closing;
use super::counters::TableCounters;
use super::listen::Listeners;
use super::spawn::{Threads, spawn_tables};
use super::table::{Layout, Room};
use super::turn::{AcceptRight, Turn};
use super::{EngineError, Ledger, Running, Serving, Tables};
use crate::domain::{
    Acceptors, Counters, DescriptorTables, EngineKind, LossReason, ServerSpec, Service,
};
use crate::kernel::sys::eventfd::EventFd;
use crate::kernel::sys::fdtable::{Descriptor, OwnTable};
use crate::kernel::sys::socket;

/// Connections beyond the planned ones that there is room for: handshakes that a client gave up and began anew.
const SLACK: u64 = 64;

/// What differs between the servers of two engines.
pub(super) struct ServerEngine {
    /// Which engine it is.
    pub(super) kind: EngineKind,
    /// Stack of a thread, in bytes.
    pub(super) stack: usize,
    /// Whether several threads accept in one table. Where tasks accept, one thread has them all.
    pub(super) threads_share_a_table: bool,
    /// The work of one thread from its first turn to the drain. The connections stay open when it returns.
    pub(super) serve: for<'a> fn(&'a ServerThread<'a>, AcceptRight<'a>) -> io::Result<()>,
}

/// What the threads of a server share.
#[derive(Debug)]
pub(super) struct ServerCore {
    pub(super) layout: Layout,
    pub(super) turn: Turn,
    /// One for each thread.
    pub(super) counters: Vec<TableCounters>,
    pub(super) ledger: Ledger,
    pub(super) service: Service,
    /// Whether acceptors are woken by epoll, several at a time, as an ordinary program has it.
    pub(super) exclusive: bool,
    tables: DescriptorTables,
    pub(super) closing: Closing,
    told_full: AtomicBool,
}

/// One thread of a server.
pub(super) struct ServerThread<'a> {
    pub(super) core: &'a Arc<ServerCore>,
    /// Its number.
    pub(super) index: usize,
    pub(super) table: &'a OwnTable,
    /// The number of the eventfd in this table. Listeners have lower numbers, connections higher ones.
    pub(super) eventfd: Descriptor,
}

/// A server at work. What owns descriptors of the process's table is here, and not where the threads see it.
#[derive(Debug)]
pub(super) struct Server {
    core: Arc<ServerCore>,
    listeners: Listeners,
    /// Wakes threads that wait in epoll.
    eventfd: EventFd,
}

impl Server {
    pub(super) fn start(
        engine: &'static ServerEngine,
        spec: &ServerSpec,
        ledger: Ledger,
    ) -> Result<Self, EngineError> {
        if !engine.kind.offers(spec.service) {
            return Err(EngineError::Service {
                engine: engine.kind,
                service: spec.service,
            });
        }
        let (rights, threads, layout) = arrange(engine, spec)?;
        if spec.service == Service::Accept && threads.per_table > 1 {
            return Err(EngineError::SharedSweep {
                threads: threads.per_table,
            });
        }
        let eventfd = EventFd::new().map_err(|why| EngineError::EventFd { why })?;
        let listeners = Listeners::open(spec)?;
        let count = threads.tables * threads.per_table;
        let core = Arc::new(ServerCore {
            layout,
            turn: Turn::new(rights, count),
            counters: (0..count).map(|_| TableCounters::default()).collect(),
            closing: Closing::new(count, ledger.clone()),
            ledger,
            service: spec.service,
            exclusive: matches!(spec.acceptors, Acceptors::Count(_)),
            tables: spec.tables,
            told_full: AtomicBool::new(false),
        });
        let mut keep = listeners.descriptors();
        keep.push(eventfd.descriptor());
        let (working, ending) = (Arc::clone(&core), Arc::clone(&core));
        spawn_tables(
            threads,
            &keep,
            move |index, table| working.work(engine, index, table),
            move |table, numbers| ending.end(table, numbers),
        )?;
        Ok(Self {
            core,
            listeners,
            eventfd,
        })
    }
}

/// Rights to accept, threads and tables of a server.
fn arrange(
    engine: &ServerEngine,
    spec: &ServerSpec,
) -> Result<(u32, Threads, Layout), EngineError> {
    let acceptors = match spec.acceptors {
        Acceptors::Auto => 1,
        Acceptors::Count(count) => count.get(),
    };
    let rights = match spec.tables {
        DescriptorTables::One if !engine.threads_share_a_table => 1,
        _ => acceptors,
    };
    let least = usize::try_from(rights).unwrap_or(usize::MAX);
    let layout = Layout::new(spec.tables, spec.capacity.count() + SLACK, least)?;
    let per_table = match spec.tables {
        DescriptorTables::One => least,
        DescriptorTables::Many => 1,
    };
    let threads = Threads {
        // Connections that stay in the accept queue need neither a table nor a thread.
        tables: if spec.service.accepts() {
            layout.count
        } else {
            0
        },
        per_table,
        stack: engine.stack,
    };
    Ok((rights, threads, layout))
}

impl ServerCore {
    /// The life of one thread.
    fn work(self: &Arc<Self>, engine: &ServerEngine, index: usize, table: &OwnTable) {
        // The eventfd was kept last, behind the listeners.
        let Some(eventfd) = table.kept().next_back() else {
            return;
        };
        let thread = ServerThread {
            core: self,
            index,
            table,
            eventfd,
        };
        let Some(right) = self.turn.wait(eventfd) else {
            return;
        };
        if let Room::AtMost(room) = self.layout.room {
            self.layout.grow_for(table.first_free(), room);
        }
        // The right goes back with an error too: it was moved into the call.
        if let Err(error) = (engine.serve)(&thread, right) {
            self.ledger.warn(format!(
                "descriptor table {index} of the server cannot be used: {}: {error}",
                engine.kind
            ));
        }
    }

    /// The end of one table, when its threads have stopped: closes every connection by a reset, and counts them.
    fn end(&self, table: &OwnTable, numbers: Range<usize>) {
        self.reset_all_on_close(table);
        if let Err(error) = table.close_all() {
            let first = numbers.start;
            self.ledger.warn(format!(
                "the connections of descriptor table {first} of the server were not closed: {error}"
            ));
        }
        for index in numbers {
            let held = self.counters[index].established();
            self.counters[index].closed.add(held);
            self.closing.part_done(held);
        }
    }

    /// Has every socket of a table closed by a reset, whoever closes it. Where there are many tables, accepted sockets have
    /// that from their listener already.
    fn reset_all_on_close(&self, table: &OwnTable) {
        if self.tables == DescriptorTables::Many {
            return;
        }
        let limit = i32::try_from(self.layout.limit).unwrap_or(i32::MAX);
        for socket in table.first_free().up_to(Descriptor::from_number(limit)) {
            // Numbers that are no sockets are passed over.
            let _ = socket::reset_on_close(socket);
        }
    }

    /// Counts a connection of thread `index` that has ended: as lost, unless it was closed on purpose.
    pub(super) fn count_end(&self, index: usize, reason: LossReason, peer: Option<SocketAddrV4>) {
        let counters = &self.counters[index];
        counters.closed.add(1);
        if !self.closing.settled() {
            counters.lost.add(1);
            self.ledger.lost(reason, 1, peer, &[]);
        }
    }

    /// Connections that all tables hold.
    fn held(&self) -> u64 {
        self.counters.iter().map(TableCounters::established).sum()
    }
}

impl<'a> ServerThread<'a> {
    /// The listeners in this table.
    pub(super) fn listeners(&self) -> impl Iterator<Item = Descriptor> + use<> {
        Descriptor::FIRST_OWN.up_to(self.eventfd)
    }

    pub(super) fn counters(&self) -> &'a TableCounters {
        &self.core.counters[self.index]
    }

    /// Whether this table takes another connection.
    pub(super) fn has_room(&self) -> bool {
        self.core.layout.room.is_left(self.counters().established())
    }

    /// Before an engine closes the sockets of this table by its own means: see [`ServerCore::reset_all_on_close`].
    pub(super) fn reset_all_on_close(&self) {
        self.core.reset_all_on_close(self.table);
    }

    pub(super) fn closing(&self) -> bool {
        self.core.closing.draining()
    }

    /// Takes the right to accept, if this table has room and nobody else is to have the right first.
    pub(super) fn try_take_turn(&self) -> Option<AcceptRight<'a>> {
        if self.has_room() {
            self.core.turn.try_take(self.eventfd)
        } else {
            None
        }
    }

    /// Hands the right to accept to a table with room, and says so once when there is none.
    pub(super) fn hand_over(&self, right: AcceptRight<'_>) {
        self.counters().handovers.add(1);
        let fresh = self.core.turn.has_fresh();
        drop(right);
        let held = self.core.held();
        let full = match self.core.layout.room {
            Room::AtMost(room) => held >= room * self.core.layout.count as u64,
            Room::ToTheLimit => false,
        };
        if !fresh && full && !self.core.told_full.swap(true, Ordering::Relaxed) {
            self.core.ledger.warn(format!(
                "every descriptor table of the server is full at {held} connections; more wait in the accept queue. \
                 The capacity in its spec decides how many tables there are"
            ));
        }
    }

    /// Counts a connection that has ended. The caller closes it.
    pub(super) fn count_end(&self, reason: LossReason, peer: Option<SocketAddrV4>) {
        self.core.count_end(self.index, reason, peer);
    }
}

impl Running for Server {
    fn tables(&self) -> Tables {
        self.core.layout.tables()
    }

    fn counters(&self) -> Counters {
        Counters {
            failed: self.core.ledger.failures(),
            ..TableCounters::sum(&self.core.counters)
        }
    }

    fn look_for_losses(&self) {
        self.core.closing.settle();
    }

    fn drain(&self) {
        self.core.closing.drain();
        self.listeners.close();
        self.core.turn.close();
        self.eventfd.signal();
    }

    fn end(&self) {
        self.core.closing.end();
        self.drain();
        self.core.closing.wait();
    }
}

impl Serving for Server {
    fn listening(&self) -> Vec<SocketAddrV4> {
        self.listeners.addresses.clone()
    }
}

impl fmt::Debug for ServerEngine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} server", self.kind)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};
    use std::time::Duration;

    use super::*;
    use crate::domain::ConnCount;

    /// An engine whose first table cannot be used, and whose other tables accept one connection.
    static FIRST_TABLE_FAILS: ServerEngine = ServerEngine {
        kind: EngineKind::Epoll,
        stack: 128 * 1024,
        threads_share_a_table: true,
        serve: |thread, _right| {
            if thread
                .core
                .counters
                .iter()
                .all(|table| table.handovers.load() == 0)
            {
                thread.counters().handovers.add(1);
                return Err(io::Error::from_raw_os_error(24));
            }
            while socket::accept(Descriptor::FIRST_OWN)?.is_none() && !thread.closing() {
                std::thread::sleep(Duration::from_millis(1));
            }
            thread.counters().opened.add(1);
            Ok(())
        },
    };

    #[test]
    fn a_table_that_fails_leaves_the_others_the_right_to_accept() {
        let spec = ServerSpec {
            engine: EngineKind::Epoll,
            listen: vec![SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)],
            backlog: 16,
            acceptors: Acceptors::Auto,
            service: Service::Echo,
            keepalive: None,
            tables: DescriptorTables::Many,
            capacity: ConnCount::new(3 * crate::domain::LARGEST_TABLE),
        };
        let ledger = Ledger::new();
        let server = Server::start(&FIRST_TABLE_FAILS, &spec, ledger.clone()).expect("starts");
        let _connection = TcpStream::connect(server.listening()[0]).expect("connects");
        let deadline = std::time::Instant::now() + Duration::from_secs(30);
        while server.counters().opened.count() == 0 {
            assert!(
                std::time::Instant::now() < deadline,
                "no table accepts after the first one failed"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        server.end();
        let warnings = ledger.take(Duration::ZERO).warnings;
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains("cannot be used"), "{warnings:?}");
    }
}
