//! The first exchange with a server: one connection, from an address that the clients will come from, says what the
//! protocol says. Until it is answered rightly the server is not ready, even where it listens.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};

use crate::domain::{ByteText, ClientSpec, Conversation, Shard, WrongAnswer};
use crate::protocol::{ClientSide, Connection, ConnectionEnds, Output, Protocol, Step};

/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// How long one answer may take.
const ANSWER_TAKES: Duration = Duration::from_secs(5);

/// A server that answers wrongly for this long does so for good: one that is still starting says so for a shorter time.
const WRONG_FOR: Duration = Duration::from_secs(5);

/// Time between two looks whether the worker is to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How an attempt failed.
enum Failure {
    /// It may go better the next time: nobody listens, nothing came.
    NotYet(String),
    /// An answer came, and it was not the right one.
    Wrong(String),
}

/// Says `exchange` on one connection, from an address of `spec`, until it has gone well, the time is up, or `over` says so.
/// Returns how the last attempt failed: nothing where one went well.
pub fn try_until(
    spec: &ClientSpec,
    exchange: &Conversation,
    within: Duration,
    over: &AtomicBool,
) -> Option<String> {
    let shard = spec.shards.first()?;
    let began = Instant::now();
    let mut wrong_since = None;
    loop {
        let failure = attempt(shard, exchange, over).err()?;
        let now = Instant::now();
        let (text, enough) = match failure {
            Failure::NotYet(text) => {
                wrong_since = None;
                (text, false)
            }
            Failure::Wrong(text) => {
                let since = *wrong_since.get_or_insert(now);
                (text, now.duration_since(since) >= WRONG_FOR)
            }
        };
        if enough || began.elapsed() >= within || over.load(Ordering::Acquire) {
            return Some(text);
        }
        thread::sleep(PAUSE);
    }
}

fn attempt(shard: &Shard, exchange: &Conversation, over: &AtomicBool) -> Result<(), Failure> {
    let mut stream = connect(shard)
        .map_err(|error| Failure::NotYet(format!("cannot connect to {}: {error}", shard.target)))?;
    match ClientSide::new(exchange, std::process::id(), 0, ANSWER_TAKES) {
        ClientSide::Tcp => Ok(()),
        ClientSide::Echo(protocol) => talk(&mut stream, &protocol, shard, over),
        ClientSide::Http(protocol) => talk(&mut stream, &protocol, shard, over),
        ClientSide::Script(protocol) => talk(&mut stream, &protocol, shard, over),
    }
}

/// A connection whose end leaves no TIME_WAIT.
fn connect(shard: &Shard) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((shard.source, 0)).into())?;
    socket.connect_timeout(&SocketAddr::from(shard.target).into(), ANSWER_TAKES)?;
    socket.set_linger(Some(Duration::ZERO))?;
    socket.set_read_timeout(Some(LOOK_EVERY))?;
    socket.set_write_timeout(Some(ANSWER_TAKES))?;
    Ok(socket.into())
}

fn talk<P: Protocol>(
    stream: &mut TcpStream,
    protocol: &P,
    shard: &Shard,
    over: &AtomicBool,
) -> Result<(), Failure> {
    let local = SockRef::from(&*stream)
        .local_addr()
        .ok()
        .and_then(|local| local.as_socket_ipv4());
    let connection = Connection {
        ends: Some(ConnectionEnds {
            source: shard.source,
            target: shard.target,
        }),
        ..Connection::new(0, 0)
    };
    let broken = |error: io::Error| Failure::NotYet(format!("the connection broke: {error}"));
    let mut out = Output::new();
    let mut state = protocol.begin(&connection);
    let mut step = protocol.on_open(&connection, &mut state, &mut out);
    let began = Instant::now();
    let mut buffer = [0; 1024];
    let mut read = 0;
    loop {
        if let Step::Failed(mistake) = step {
            let got = ByteText::from_bytes(&buffer[..read.min(WrongAnswer::MOST_BYTES)]);
            let silent = mistake.is_silence();
            let text = told(protocol.expected(mistake), mistake.reason(), local, got);
            return Err(if silent {
                Failure::NotYet(text)
            } else {
                Failure::Wrong(text)
            });
        }
        stream.write_all(out.bytes()).map_err(broken)?;
        out.clear();
        if step == Step::Done {
            return Ok(());
        }
        match stream.read(&mut buffer) {
            Ok(0) => {
                return Err(Failure::NotYet(
                    "the server closed the connection instead of an answer".to_owned(),
                ));
            }
            Ok(count) => {
                read = count;
                step = protocol.on_bytes(&mut state, &buffer[..count], &mut out);
            }
            Err(error) if is_timeout(&error) => {
                if over.load(Ordering::Acquire) {
                    return Err(Failure::NotYet("the worker was asked to end".to_owned()));
                }
                step = protocol.on_tick(&mut state, began.elapsed(), &mut out);
            }
            Err(error) => return Err(broken(error)),
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

fn told(
    expected: String,
    reason: crate::domain::LossReason,
    local: Option<SocketAddrV4>,
    got: ByteText,
) -> String {
    let answer = WrongAnswer {
        reason,
        local,
        expected,
        got,
    };
    answer.to_string()
}
