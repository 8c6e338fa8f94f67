//! The server on tokio: accepts in turn, and spawns a task for each connection that echoes until the peer closes.

use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::{Ear, STACK, reason_of, runtime};
use crate::domain::{Acceptors, Counters, DescriptorTables, LossReason, ServerSpec};
use crate::engine::closing::Closing;
use crate::engine::counters::TableCounters;
use crate::engine::exhausted::{self, Exhausted};
use crate::engine::listen::Listeners;
use crate::engine::table::Layout;
use crate::engine::turn::{Turn, Waited};
use crate::engine::{EngineError, Ledger, Running, Serving, Tables};
use crate::kernel::sys::epoll::Bell;
use crate::kernel::sys::fdtable::{self, Descriptor};
use crate::kernel::sys::socket;

/// Connections beyond the planned ones that there is room for, see the epoll engine.
const SLACK: u64 = 64;

/// How long a drain waits for peers to close first.
const PEERS_FIRST: Duration = Duration::from_millis(200);

/// Bytes read at once. On the stack of whichever task runs, not in the task: there it would be held for each connection.
const BUFFER: usize = 4096;

struct Shared {
    layout: Layout,
    turn: Turn,
    counters: Vec<TableCounters>,
    ledger: Ledger,
    read: bool,
    reset_at_end: bool,
    closing: Closing,
    told_full: AtomicBool,
}

/// The server.
pub(super) struct Server {
    shared: Arc<Shared>,
    listeners: Listeners,
}

impl Server {
    pub(super) fn start(spec: &ServerSpec, ledger: Ledger) -> Result<Self, EngineError> {
        let rights = match (spec.acceptors, spec.tables) {
            (Acceptors::Count(count), DescriptorTables::Many) => count.get(),
            // Tasks of one runtime accept one after the other, however many there are.
            _ => 1,
        };
        let least = usize::try_from(rights).unwrap_or(usize::MAX);
        let layout = Layout::new(spec.tables, spec.capacity.count() + SLACK, least)?;
        let wanted = layout.count;
        let bell = Bell::new().map_err(|why| EngineError::Table {
            index: 0,
            wanted,
            why,
        })?;
        let listeners = Listeners::open(spec)?;
        let threads = if spec.accept { wanted } else { 0 };
        let mut keep = listeners.descriptors();
        keep.push(bell.descriptor());
        let shared = Arc::new(Shared {
            layout,
            turn: Turn::new(rights, threads, bell),
            counters: (0..threads).map(|_| TableCounters::default()).collect(),
            closing: Closing::new(threads, ledger.clone()),
            ledger,
            read: spec.read,
            reset_at_end: spec.tables == DescriptorTables::One,
            told_full: AtomicBool::new(false),
        });
        let (ready, tables) = mpsc::channel();
        for index in 0..threads {
            let (shared, ready, keep) = (Arc::clone(&shared), ready.clone(), keep.clone());
            thread::Builder::new()
                .stack_size(STACK)
                .spawn(move || {
                    let table = fdtable::own_table(&keep);
                    let made = table.as_ref().ok().copied();
                    // The starter is gone only when another table could not be made.
                    let _ = ready.send((index, table.map(drop)));
                    drop((ready, keep));
                    if let Some(first) = made {
                        shared.run(index, first);
                    }
                })
                .map_err(|why| EngineError::Thread { index, wanted, why })?;
        }
        drop(ready);
        for (index, made) in tables {
            made.map_err(|why| EngineError::Table { index, wanted, why })?;
        }
        Ok(Self { shared, listeners })
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

impl Shared {
    /// The life of one table's thread.
    fn run(self: &Arc<Self>, index: usize, first: Descriptor) {
        let mut held = 0;
        if self.turn.wait() == Waited::Mine {
            match self.serve(index, first) {
                Ok(count) => held = count,
                Err(error) => self
                    .ledger
                    .warn(format!("table {index} cannot be used: tokio: {error}")),
            }
        }
        // The listeners and the bell, and whatever a runtime that failed has left.
        if fdtable::close_from(Descriptor::FIRST_OWN).is_err() {
            self.ledger.warn(format!("table {index} was not closed"));
        }
        self.counters[index].closed.add(held);
        self.closing.part_done(held);
    }

    fn serve(self: &Arc<Self>, index: usize, first: Descriptor) -> io::Result<u64> {
        if self.layout.room != u32::MAX {
            self.layout.grow_for(first, u64::from(self.layout.room));
        }
        let bell = Descriptor::from_number(first.number() - 1);
        let runtime = runtime()?;
        let table = Arc::new(Table {
            shared: Arc::clone(self),
            index,
            bell,
            room_made: Notify::new(),
        });
        let held = runtime.block_on(table.keep())?;
        if self.reset_at_end {
            let mut number = first;
            while u64::from(number.number().unsigned_abs()) < self.layout.limit {
                // Numbers that are no sockets are passed over.
                let _ = socket::reset_on_close(number);
                number = number.next();
            }
        }
        // Ends every task, and with it closes every connection.
        drop(runtime);
        Ok(held)
    }
}

/// What the tasks of one table share.
struct Table {
    shared: Arc<Shared>,
    index: usize,
    bell: Descriptor,
    /// A connection has ended, so that the table has room.
    room_made: Notify,
}

impl Table {
    /// Accepts while it has the right to, and keeps what was accepted until the drain.
    async fn keep(self: &Arc<Self>) -> io::Result<u64> {
        let ear = Ear::new(self.bell)?;
        let mut mine = true;
        while !self.shared.closing.draining() {
            if mine {
                self.accept(&ear).await?;
                if self.shared.closing.draining() {
                    // Its ring has been heard: nothing more would end the wait below.
                    break;
                }
                self.hand_over();
            }
            tokio::select! {
                () = ear.hear() => {}
                () = self.room_made.notified() => {}
            }
            mine = self.room() > 0 && self.shared.turn.try_take();
        }
        if !self.shared.closing.ending() {
            tokio::select! {
                () = sleep(PEERS_FIRST) => {}
                () = self.room_made.notified() => {}
            }
        }
        Ok(self.counters().established())
    }

    /// Accepts until the table is full or the drain begins.
    async fn accept(self: &Arc<Self>, ear: &Ear) -> io::Result<()> {
        let mut listeners = Vec::new();
        for number in Descriptor::FIRST_OWN.number()..self.bell.number() {
            let listener = fdtable::duplicate(Descriptor::from_number(number))?;
            listeners.push(TcpListener::from_std(listener.into())?);
        }
        let mut exhausted = Exhausted::default();
        while self.room() > 0 && !self.shared.closing.draining() {
            let accepted = tokio::select! {
                biased;
                accepted = accept_any(&listeners) => accepted,
                () = ear.hear() => continue,
            };
            match accepted {
                Ok(stream) => {
                    exhausted.is_over();
                    self.counters().opened.add(1);
                    let table = Arc::clone(self);
                    tokio::spawn(table.attend(stream));
                }
                Err(error) if passes(&error) => {}
                Err(error) => {
                    let held = self.counters().established();
                    exhausted.by(&error, "accept", held, &self.shared.ledger);
                    sleep(exhausted::PAUSE).await;
                }
            }
        }
        Ok(())
    }

    /// One connection, until the peer closes it.
    async fn attend(self: Arc<Self>, stream: TcpStream) {
        let reason = if self.shared.read {
            self.echo(&stream).await
        } else {
            // In a box, because it waits by a larger future, which would make every task larger.
            Box::pin(until_closed(&stream)).await
        };
        // While all are being closed nothing is lost; the runtime ends this task.
        if self.shared.closing.draining() {
            self.room_made.notify_one();
            return pending().await;
        }
        let example = match stream.peer_addr() {
            Ok(std::net::SocketAddr::V4(address)) => Some(address),
            _ => None,
        };
        drop(stream);
        self.counters().closed.add(1);
        if !self.shared.closing.settled() {
            self.counters().lost.add(1);
            self.shared.ledger.lost(reason, 1, example);
        }
        self.room_made.notify_one();
    }

    async fn echo(&self, stream: &TcpStream) -> LossReason {
        loop {
            if let Err(error) = poll_fn(|context| stream.poll_read_ready(context)).await {
                return reason_of(&error);
            }
            let bytes = match self.read_and_return(stream) {
                Ok(Some(bytes)) => bytes,
                Ok(None) => continue,
                Err(reason) => return reason,
            };
            // The peer sends and does not read. Nothing more is read from it until it does. In a box, because it is rare
            // and would make every task larger.
            if let Err(error) = Box::pin(send_all(stream, &bytes)).await {
                return reason_of(&error);
            }
        }
    }

    /// Reads what is there and sends it back. Returns what the socket had no room for.
    fn read_and_return(&self, stream: &TcpStream) -> Result<Option<Box<[u8]>>, LossReason> {
        let mut buffer = [0; BUFFER];
        let count = match stream.try_read(&mut buffer) {
            Ok(0) => return Err(LossReason::ClosedByPeer),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(reason_of(&error)),
        };
        self.counters().bytes_read.add(count as u64);
        let sent = match stream.try_write(&buffer[..count]) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(reason_of(&error)),
        };
        Ok((sent < count).then(|| buffer[sent..count].into()))
    }

    /// Hands the right to accept to a table with room, and says so once when there is none.
    fn hand_over(&self) {
        self.counters().handovers.add(1);
        let fresh = self.shared.turn.hand_over(self.bell);
        let held: u64 = self
            .shared
            .counters
            .iter()
            .map(TableCounters::established)
            .sum();
        let room = u64::from(self.shared.layout.room) * self.shared.layout.count as u64;
        if !fresh && held >= room && !self.shared.told_full.swap(true, Ordering::Relaxed) {
            self.shared.ledger.warn(format!(
                "every descriptor table of the server is full at {held} connections; more wait in the accept queue. \
                 The capacity in its spec decides how many tables there are"
            ));
        }
    }

    fn room(&self) -> u64 {
        u64::from(self.shared.layout.room).saturating_sub(self.counters().established())
    }

    fn counters(&self) -> &TableCounters {
        &self.shared.counters[self.index]
    }
}

async fn accept_any(listeners: &[TcpListener]) -> io::Result<TcpStream> {
    poll_fn(|context| {
        for listener in listeners {
            if let Poll::Ready(accepted) = listener.poll_accept(context) {
                return Poll::Ready(accepted.map(|(stream, _)| stream));
            }
        }
        Poll::Pending
    })
    .await
}

/// Waits for the peer to close and leaves every byte unread.
async fn until_closed(stream: &TcpStream) -> LossReason {
    loop {
        match stream.ready(Interest::READABLE).await {
            Ok(ready) if ready.is_read_closed() => {
                let errno = socket::take_error(Descriptor::from(stream)).unwrap_or(0);
                return LossReason::from_errno(errno);
            }
            Ok(_) => {
                // Says to tokio that the readiness is used up, so that it waits for the next edge.
                let _ = stream.try_io(Interest::READABLE, || {
                    Err::<(), _>(io::ErrorKind::WouldBlock.into())
                });
            }
            Err(error) => return reason_of(&error),
        }
    }
}

async fn send_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether accept(2) advises to go on: the connection died in the queue.
fn passes(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::Interrupted
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
    )
}
