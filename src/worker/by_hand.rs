//! A worker without a runner: told its spec at once, it begins by itself, says what happens on stdout, and on SIGTERM or
//! SIGINT, or when memory runs short, resets its connections and ends. What Compose starts, and what a person starts who wants one end only.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use ipnet::Ipv4Net;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::{Outbox, WorkerError, abort_on_panic, fatal, prepare, run};
use crate::control::{Command, Event, write_line};
use crate::domain::WorkerSpec;
use crate::observe::{MemoryWatch, memory_gauge};

/// How long a client waits for its server to listen.
const SERVER_TAKES: Duration = Duration::from_secs(60);

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a place is to be given from within before the start; see [`Command::Prepare`].
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Preparation {
    /// Addresses to add, each to the interface that holds the address beside it.
    pub addresses: Vec<(Ipv4Addr, Ipv4Addr)>,
    /// The range to keep out of connection tracking.
    pub untrack: Option<Ipv4Net>,
}

impl Preparation {
    fn is_needed(&self) -> bool {
        !self.addresses.is_empty() || self.untrack.is_some()
    }
}

/// Runs a worker until a signal ends it.
///
/// # Errors
/// When it cannot do its work; stdout has the reason by then.
///
/// # Panics
/// Never: the first command is sent while its receiver is at hand.
pub fn by_hand(spec: WorkerSpec, preparation: &Preparation) -> Result<(), WorkerError> {
    abort_on_panic(|account| drop(writeln!(io::stderr(), "{account}")));
    let (commands, inbox) = mpsc::channel();
    let target = match &spec {
        WorkerSpec::Client(client) => client.shards.first().map(|shard| shard.target),
        WorkerSpec::Server(_) | WorkerSpec::Subject(_) => None,
    };
    let mut stdout = io::stdout();
    let answers = commands.clone();
    let outbox = Outbox::new(move |event| {
        match event {
            Event::Ready { .. } => begin_when_served(target, answers.clone()),
            // Nobody takes it when the worker has ended already.
            Event::Drained { .. } => drop(answers.send(Command::Exit)),
            _ => {}
        }
        drop(write_line(&mut stdout, &event));
    });
    // Capabilities are given up while there is one thread only.
    if preparation.is_needed() {
        match prepare::prepare(&preparation.addresses, preparation.untrack, &[]) {
            Ok(prepared) => outbox.tell(prepared),
            Err(error) => return Err(fatal(&outbox, error.into())),
        }
    }
    drain_on_signal(commands.clone())?;
    let short = Arc::new(OnceLock::new());
    let _guard = MemoryWatch::start(memory_gauge(Path::new("/")), {
        let (commands, short) = (commands.clone(), Arc::clone(&short));
        move |shortage| {
            if short.set(shortage.to_string()).is_ok() {
                drop(commands.send(Command::Drain));
            }
        }
    })?;
    // The receiving end is in this function.
    drop(commands.send(Command::start(spec)));
    run(&inbox, &outbox)?;
    match short.get() {
        Some(shortage) => Err(fatal(&outbox, WorkerError::MemoryShort(shortage.clone()))),
        None => Ok(()),
    }
}

/// Lets a client begin as soon as somebody listens at its first target, or when it has waited long enough to see what the
/// kernel says.
fn begin_when_served(target: Option<SocketAddrV4>, commands: Sender<Command>) {
    let Some(target) = target else { return };
    let wait = move || {
        let deadline = Instant::now() + SERVER_TAKES;
        while TcpStream::connect_timeout(&target.into(), SERVER_TAKES).is_err()
            && Instant::now() < deadline
        {
            thread::sleep(LOOK_EVERY);
        }
        drop(commands.send(Command::Begin));
    };
    drop(thread::Builder::new().name("begin".to_owned()).spawn(wait));
}

fn drain_on_signal(commands: Sender<Command>) -> Result<(), WorkerError> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            // The first asks for an orderly end, the second for one at once.
            for command in signals.forever().zip([Command::Drain, Command::Exit]) {
                drop(commands.send(command.1));
            }
        })?;
    Ok(())
}
