//! The process that serves or dials: a spec comes in on stdin, events go out on stdout. A panic in any of its threads ends it.
//!
//! Three threads beside the engine's: one reads commands, one carries them out, one reports. None of them waits for the
//! engine, so that the end of stdin ends the worker at once, whatever is under way.

mod by_hand;
mod client;
mod heartbeat;
mod outbox;
mod panic;
mod prepare;
mod report;
mod server;
mod subject;
mod target;

use std::io::{self, Write as _};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use crate::control::{Command, Event, LineReader, VersionMismatch, same_version, write_line};
use crate::domain::WorkerSpec;
use crate::engine::EngineError;
use crate::kernel::sys::signal;

pub use by_hand::{Preparation, by_hand};
pub use outbox::Outbox;
pub use panic::abort_on_panic;
pub use prepare::PrepareError;
pub use subject::SubjectError;
pub use target::{Whereabouts, WhereaboutsError, whereabouts};

/// Why a worker could not do its work. It has been told as [`Event::Fatal`] too.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The engine could not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The place could not be finished from within.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The runner is of another build.
    #[error(transparent)]
    Version(#[from] VersionMismatch),
    /// The first command was none that a worker begins with.
    #[error("the first command has to be `prepare` or `start`, not {0:?}")]
    OutOfOrder(Box<Command>),
    /// The server that is not the lab's own could not be looked after.
    #[error(transparent)]
    Subject(#[from] SubjectError),
    /// Memory ran short.
    #[error("every connection was closed before memory ran out: {0}")]
    MemoryShort(String),
    /// The worker's own threads or signals could not be set up.
    #[error("cannot set up the worker: {0}")]
    SetUp(#[from] io::Error),
}

impl WorkerError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Engine(error) => error.hint(),
            Self::Prepare(error) => error.hint(),
            Self::Subject(error) => error.hint().map(str::to_owned),
            Self::Version(_) | Self::OutOfOrder(_) | Self::MemoryShort(_) | Self::SetUp(_) => None,
        }
    }
}

/// The worker as the runner starts it: commands as lines on stdin, events as lines on stdout. Ignores SIGINT, which is the
/// runner's to answer. Returns when it was told to end or stdin ended.
///
/// # Errors
/// When it could not do its work; the runner has been told by then.
///
/// # Panics
/// Never: the first command is sent while its receiver is at hand.
pub fn main() -> Result<(), WorkerError> {
    abort_on_panic(|account| drop(writeln!(io::stderr(), "{account}")));
    signal::ignore_interrupt()?;
    let mut stdout = io::stdout();
    // A runner that takes no events any more is gone; the end of stdin says so too and ends the worker.
    let outbox = Outbox::new(move |event| drop(write_line(&mut stdout, &event)));
    let (commands, inbox) = mpsc::channel();
    let Some(first) = prepare_first(&outbox)? else {
        return Ok(());
    };
    // The receiving end is in this function.
    drop(commands.send(first));
    let complaints = outbox.clone();
    // The reader is never joined: only the end of the process ends a read.
    thread::Builder::new().spawn(move || {
        for command in LineReader::<_, Command>::new(io::stdin().lock()) {
            match command {
                Ok(command) => {
                    if commands.send(command).is_err() {
                        return;
                    }
                }
                Err(error) => complaints.tell(Event::Warning {
                    text: error.to_string(),
                }),
            }
        }
    })?;
    run(&inbox, &outbox)
}

/// Reads commands up to the first that is not about preparing the place, and returns it; nothing where there is none. It
/// reads them here, and not on the thread that reads all others, because preparing ends with giving up capabilities, which
/// a thread does for itself and those that it makes later.
fn prepare_first(outbox: &Outbox) -> Result<Option<Command>, WorkerError> {
    // The buffer behind the lock is the process's own: what is in it is still there for the next who locks it.
    for command in LineReader::<_, Command>::new(io::stdin().lock()) {
        match command {
            Ok(Command::Prepare {
                version,
                addresses,
                untrack,
                settings,
            }) => {
                let prepared = same_version("runner", version)
                    .map_err(WorkerError::from)
                    .and_then(|()| Ok(prepare::prepare(&addresses, untrack, &settings)?));
                match prepared {
                    Ok(prepared) => outbox.tell(prepared),
                    Err(error) => return Err(fatal(outbox, error)),
                }
            }
            Ok(Command::Alive) => {}
            Ok(other) => return Ok(Some(other)),
            Err(error) => outbox.tell(Event::Warning {
                text: error.to_string(),
            }),
        }
    }
    Ok(None)
}

/// Tells the runner of an error that ends the worker.
fn fatal(outbox: &Outbox, error: WorkerError) -> WorkerError {
    outbox.tell(Event::Fatal {
        error: error.to_string(),
        hint: error.hint(),
    });
    error
}

/// The worker as a value: takes commands from a channel until it is told to end or the channel is closed, and gives events
/// to `outbox`. Every connection is closed when it returns.
///
/// # Errors
/// When it could not do its work; `outbox` has had [`Event::Fatal`] by then.
pub fn run(inbox: &Receiver<Command>, outbox: &Outbox) -> Result<(), WorkerError> {
    let done = match first_spec(inbox) {
        Ok(None) => Ok(()),
        Ok(Some(WorkerSpec::Server(spec))) => server::run(&spec, inbox, outbox),
        Ok(Some(WorkerSpec::Subject(spec))) => subject::run(&spec, inbox, outbox),
        Ok(Some(WorkerSpec::Client(spec))) => client::run(&spec, inbox, outbox),
        Err(error) => Err(error),
    };
    done.map_err(|error| fatal(outbox, error))
}

/// The spec; nothing when the worker is to end before it has one.
fn first_spec(inbox: &Receiver<Command>) -> Result<Option<WorkerSpec>, WorkerError> {
    loop {
        return match inbox.recv() {
            Ok(Command::Alive) => continue,
            Ok(Command::Start { version, spec }) => {
                same_version("runner", version)?;
                Ok(Some(spec))
            }
            Ok(Command::Exit) | Err(_) => Ok(None),
            Ok(other) => Err(WorkerError::OutOfOrder(Box::new(other))),
        };
    }
}

/// A command that this worker has no use for is told, not obeyed: the runner and the worker disagree on what it is.
fn refuse(outbox: &Outbox, role: &str, command: &Command) {
    outbox.tell(Event::Warning {
        text: format!("a {role} at work does not understand {command:?}"),
    });
}
