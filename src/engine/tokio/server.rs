//! The server on tokio: accepts in turn, and spawns a task for each connection that answers until the peer closes.

use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::{Signal, runtime};
use crate::domain::{LossReason, Service};
use crate::engine::counters::TableCounters;
use crate::engine::exhausted::{self, Exhausted};
use crate::engine::server::{ServerCore, ServerThread};
use crate::engine::turn::AcceptRight;
use crate::kernel::sys::fdtable::{self, Descriptor};
use crate::kernel::sys::socket;
use crate::protocol::{Connection, Echo, Output, Protocol, Silent};

/// How long a drain waits for peers to close first.
const PEERS_FIRST: Duration = Duration::from_millis(200);

/// Bytes read at once. On the stack of whichever task runs, not in the task: there it would be held for each connection.
const INPUT: usize = Output::ROOM;

/// What a socket had no room for.
type Unsent = Option<Box<[u8]>>;

/// The work of one thread, from its first turn to the drain.
pub(super) fn serve<'a>(thread: &'a ServerThread<'a>, right: AcceptRight<'a>) -> io::Result<()> {
    match thread.core.service {
        Service::Echo => serve_with(thread, right, Echo),
        Service::Queue | Service::Accept | Service::Silent => serve_with(thread, right, Silent),
    }
}

fn serve_with<'a, P>(
    thread: &'a ServerThread<'a>,
    right: AcceptRight<'a>,
    protocol: P,
) -> io::Result<()>
where
    P: Protocol + Send + Sync + 'static,
    P::State: Send,
{
    let runtime = runtime()?;
    let tasks = Arc::new(Tasks {
        core: Arc::clone(thread.core),
        index: thread.index,
        protocol,
        room_made: Notify::new(),
    });
    let served = runtime.block_on(keep(thread, right, &tasks));
    thread.reset_all_on_close();
    // Ends every task, and with it closes every connection.
    drop(runtime);
    served
}

/// What the tasks of one table share.
struct Tasks<P> {
    core: Arc<ServerCore>,
    /// The thread's number.
    index: usize,
    protocol: P,
    /// A connection has ended, so that the table has room.
    room_made: Notify,
}

/// Accepts while it has the right to, and keeps what was accepted until the drain.
async fn keep<'a, P>(
    thread: &'a ServerThread<'a>,
    right: AcceptRight<'a>,
    tasks: &Arc<Tasks<P>>,
) -> io::Result<()>
where
    P: Protocol + Send + Sync + 'static,
    P::State: Send,
{
    let signal = Signal::new(thread.eventfd)?;
    let mut right = Some(right);
    while !thread.closing() {
        if let Some(mine) = right.take() {
            accept(thread, &signal, tasks).await?;
            if thread.closing() {
                // Its signal has been taken: nothing more would end the wait below.
                break;
            }
            thread.hand_over(mine);
        }
        tokio::select! {
            () = signal.wait() => {}
            () = tasks.room_made.notified() => {}
        }
        right = thread.try_take_turn();
    }
    if !thread.core.closing.ending() {
        tokio::select! {
            () = sleep(PEERS_FIRST) => {}
            () = tasks.room_made.notified() => {}
        }
    }
    Ok(())
}

/// Accepts until the table is full or the drain begins.
async fn accept<P>(
    thread: &ServerThread<'_>,
    signal: &Signal,
    tasks: &Arc<Tasks<P>>,
) -> io::Result<()>
where
    P: Protocol + Send + Sync + 'static,
    P::State: Send,
{
    let mut listeners = Vec::new();
    for listener in thread.listeners() {
        let listener = fdtable::duplicate(listener)?;
        listeners.push(TcpListener::from_std(listener.into())?);
    }
    let mut exhausted = Exhausted::default();
    while thread.has_room() && !thread.closing() {
        let accepted = tokio::select! {
            biased;
            accepted = accept_any(&listeners) => accepted,
            () = signal.wait() => continue,
        };
        match accepted {
            Ok(stream) => {
                exhausted.is_over();
                thread.counters().opened.add(1);
                tokio::spawn(Arc::clone(tasks).attend(stream));
            }
            Err(error) if passes(&error) => {}
            Err(error) => {
                let held = thread.counters().established();
                exhausted.by(&error, "accept", held, &thread.core.ledger);
                sleep(exhausted::PAUSE).await;
            }
        }
    }
    Ok(())
}

impl<P> Tasks<P>
where
    P: Protocol + Send + Sync + 'static,
    P::State: Send,
{
    /// One connection, until the peer closes it.
    async fn attend(self: Arc<Self>, stream: TcpStream) {
        let reason = if P::READS {
            self.converse(&stream).await
        } else {
            // In a box, because it waits by a larger future, which would make every task larger.
            Box::pin(until_closed(&stream)).await
        };
        // While all are being closed nothing is lost; the runtime ends this task.
        if self.core.closing.draining() {
            self.room_made.notify_one();
            return pending().await;
        }
        let peer = match stream.peer_addr() {
            Ok(SocketAddr::V4(address)) => Some(address),
            _ => None,
        };
        drop(stream);
        self.core.count_end(self.index, reason, peer);
        self.room_made.notify_one();
    }

    async fn converse(&self, stream: &TcpStream) -> LossReason {
        let (mut state, mut unsent) = match self.open(stream) {
            Ok(opened) => opened,
            Err(reason) => return reason,
        };
        loop {
            // The peer sends and does not read. Nothing more is read from it until it does. In a box, because it is rare
            // and would make every task larger.
            if let Some(bytes) = unsent.take()
                && let Err(error) = Box::pin(send_all(stream, &bytes)).await
            {
                return LossReason::from_error(&error);
            }
            if let Err(error) = poll_fn(|context| stream.poll_read_ready(context)).await {
                return LossReason::from_error(&error);
            }
            unsent = match self.answer(stream, &mut state) {
                Ok(unsent) => unsent,
                Err(reason) => return reason,
            };
        }
    }

    /// Opens the conversation. Returns its state, and what the socket had no room for.
    fn open(&self, stream: &TcpStream) -> Result<(P::State, Unsent), LossReason> {
        let connection = Connection::new(
            u32::try_from(self.index).unwrap_or(u32::MAX),
            Descriptor::from(stream).number().unsigned_abs(),
        );
        let mut state = self.protocol.begin(&connection);
        let mut out = Output::new();
        self.protocol.on_open(&connection, &mut state, &mut out);
        Ok((state, send_out(stream, &out)?))
    }

    /// Reads what is there and answers it. Returns what the socket had no room for.
    fn answer(&self, stream: &TcpStream, state: &mut P::State) -> Result<Unsent, LossReason> {
        let mut buffer = [0; INPUT];
        let count = match stream.try_read(&mut buffer) {
            Ok(0) => return Err(LossReason::ClosedByPeer),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(LossReason::from_error(&error)),
        };
        self.counters().bytes_read.add(count as u64);
        let mut out = Output::new();
        self.protocol.on_bytes(state, &buffer[..count], &mut out);
        send_out(stream, &out)
    }

    fn counters(&self) -> &TableCounters {
        &self.core.counters[self.index]
    }
}

/// Sends what a protocol has said. Returns what the socket had no room for.
fn send_out(stream: &TcpStream, out: &Output) -> Result<Unsent, LossReason> {
    let bytes = out.bytes();
    if bytes.is_empty() {
        return Ok(None);
    }
    let sent = match stream.try_write(bytes) {
        Ok(sent) => sent,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        Err(error) => return Err(LossReason::from_error(&error)),
    };
    Ok((sent < bytes.len()).then(|| bytes[sent..].into()))
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
                return LossReason::from_pending(socket::take_error(Descriptor::from(stream)));
            }
            Ok(_) => {
                // Says to tokio that the readiness is used up, so that it waits for the next edge.
                let _ = stream.try_io(Interest::READABLE, || {
                    Err::<(), _>(io::ErrorKind::WouldBlock.into())
                });
            }
            Err(error) => return LossReason::from_error(&error),
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
