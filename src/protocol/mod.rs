//! What is said on a connection, without any I/O: bytes come in, bytes and a verdict go out. Engines read and write, and
//! know nothing of what the bytes mean.

mod connection;
mod echo;
mod fill;
mod http;
mod output;
mod script;
mod silent;

use std::time::Duration;

use crate::domain::{Conversation, LossReason};

pub use connection::{Connection, ConnectionEnds, Past};
pub use echo::{Echo, EchoProof, ProofState};
pub use http::{Http, HttpState};
pub use output::Output;
pub use script::{ScriptState, Scripted};
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

    /// Whether an answer belongs to a question by its order alone. Then a client remembers of each connection what
    /// [`Connection::past`] says, and what came before the conversation was opened is read too.
    const IN_ORDER: bool = false;

    /// Whether [`Connection::ends`] is to be filled in, which costs a client two system calls for each conversation.
    fn names_ends(&self) -> bool {
        false
    }

    /// The state of a conversation on this connection.
    fn begin(&self, connection: &Connection) -> Self::State;

    /// The connection is established.
    fn on_open(&self, connection: &Connection, state: &mut Self::State, out: &mut Output) -> Step;

    /// Bytes have arrived.
    fn on_bytes(&self, state: &mut Self::State, bytes: &[u8], out: &mut Output) -> Step;

    /// Time has passed.
    fn on_tick(&self, state: &mut Self::State, elapsed: Duration, out: &mut Output) -> Step;

    /// What should have come instead of this mistake, for a human. Empty where the mistake says all.
    fn expected(&self, _: Mistake) -> String {
        String::new()
    }
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
    /// What came is wrong for this reason.
    Wrong(LossReason),
    /// What came is not what this step of a script awaits.
    Answer {
        /// The step, counted from 0.
        step: u16,
    },
    /// Nothing came in time.
    Silence,
    /// What this step of a script awaits did not come in time.
    NoAnswer {
        /// The step, counted from 0.
        step: u16,
    },
}

impl Mistake {
    /// The class that it is counted in.
    #[must_use]
    pub const fn reason(self) -> LossReason {
        match self {
            Self::Wrong(reason) => reason,
            Self::Answer { .. } => LossReason::WrongBytes,
            Self::Silence | Self::NoAnswer { .. } => LossReason::TimedOut,
        }
    }

    /// Whether it is that nothing came, rather than something wrong.
    #[must_use]
    pub const fn is_silence(self) -> bool {
        matches!(self, Self::Silence | Self::NoAnswer { .. })
    }
}

/// The client's side of a conversation. The one place that chooses it.
#[derive(Debug, Clone)]
pub enum ClientSide {
    /// Nothing is said.
    Tcp,
    /// See [`EchoProof`].
    Echo(EchoProof),
    /// See [`Http`].
    Http(Http),
    /// See [`Scripted`].
    Script(Scripted),
}

impl ClientSide {
    /// The side that carries out `conversation`, each exchange of it within `timeout`. `worker` differs between the workers
    /// of a run, `round` between the tasks of a worker.
    #[must_use]
    pub fn new(conversation: &Conversation, worker: u32, round: u32, timeout: Duration) -> Self {
        match conversation {
            Conversation::Tcp => Self::Tcp,
            Conversation::Echo => Self::Echo(EchoProof::new(worker, round, timeout)),
            Conversation::Http(request) => Self::Http(Http::new(request, timeout)),
            Conversation::Script(script) => Self::Script(Scripted::new(script, timeout)),
        }
    }
}
