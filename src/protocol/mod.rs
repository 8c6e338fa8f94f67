//! What is said on a connection, without any I/O: bytes come in, bytes and a verdict go out. Engines read and write, and
//! know nothing of what the bytes mean.

mod echo;
mod output;
mod silent;

use std::time::Duration;

pub use echo::{Echo, EchoProof, ProofState};
pub use output::Output;
pub use silent::Silent;

/// One side of a conversation.
///
/// The value itself is shared by all connections and never changes. What differs between connections is in
/// [`Protocol::State`], which an engine keeps one of for each connection. An engine keeps it in a list by descriptor, so a
/// protocol without state costs no memory per connection. A protocol with state asserts its size beside its type.
///
/// # How an engine calls it
///
/// - [`begin`](Self::begin) once for each connection, then [`on_open`](Self::on_open) once, when the connection is
///   established. A server opens a conversation when it accepts, a client when its task reaches the connection.
/// - [`on_bytes`](Self::on_bytes) with whatever was read, at least one byte. The parts are as the network made them: a
///   message may come in several, and several messages in one. It is called only where [`READS`](Self::READS) says so.
/// - [`on_tick`](Self::on_tick) for each conversation that is under way, as long as the last verdict was [`Step::Wait`]:
///   clients call it at least every 100 ms, servers do not call it. `elapsed` is the time since the conversation was
///   opened, or should have been where its moment was planned.
/// - The engine sends all of [`Output`] after each call, in order, before the next call for the same connection. A server
///   reads nothing more from a connection until the peer has taken it. A client counts a connection as silent whose socket
///   has no room for it: what was sent before lies unread there.
/// - On a client, nothing more is called for a conversation after [`Step::Done`] and [`Step::Failed`], and what its last
///   call has written is not sent after a failure. The connection stays open. On a server the verdict changes nothing: a
///   connection ends by its peer or by the drain.
/// - When the connection ends, nothing is called: the engine counts the loss and drops the state.
pub trait Protocol {
    /// What is remembered of one connection.
    type State;

    /// Whether bytes that arrive are to be read. Without, they stay in the socket.
    const READS: bool;

    /// The state of a conversation on this connection.
    fn begin(&self, connection: Connection) -> Self::State;

    /// The connection is established.
    fn on_open(&self, state: &mut Self::State, out: &mut Output) -> Step;

    /// Bytes have arrived.
    fn on_bytes(&self, state: &mut Self::State, bytes: &[u8], out: &mut Output) -> Step;

    /// Time has passed.
    fn on_tick(&self, state: &mut Self::State, elapsed: Duration, out: &mut Output) -> Step;
}

/// Which connection of a worker, unique among those that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// The descriptor table that it is in.
    pub table: u32,
    /// Its number in that table.
    pub number: u32,
}

/// Where a conversation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It goes on.
    Wait,
    /// It is over, and went as it should.
    Done,
    /// It is over, and did not.
    Failed(Mistake),
}

/// What was wrong with a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// Bytes came that are not those that were to come.
    WrongBytes,
    /// Nothing came in time.
    Silence,
}
