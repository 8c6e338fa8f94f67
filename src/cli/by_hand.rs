//! A worker by hand: what `c1m server` and `c1m client` share. The same worker as in a run, with commands from here instead
//! of a runner, and its events as plain lines on stderr.

use std::io::{self, Write as _};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use super::{Exit, Failure};
use crate::control::{Command, Event};
use crate::domain::{ConnCount, Counters, EngineKind, Keepalive, LossNote};
use crate::run::Interrupt;
use crate::worker::{self, Outbox};

/// A line of progress is printed at most this often.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// How often the signals are looked at.
const LISTEN_EVERY: Duration = Duration::from_millis(100);

/// What accepts or opens connections.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum EngineChoice {
    /// epoll(7), one thread for each descriptor table.
    #[default]
    Epoll,
    /// tokio tasks, one runtime for each descriptor table.
    Tokio,
}

impl From<EngineChoice> for EngineKind {
    fn from(choice: EngineChoice) -> Self {
        match choice {
            EngineChoice::Epoll => Self::Epoll,
            EngineChoice::Tokio => Self::Tokio,
        }
    }
}

/// How many descriptor tables to use.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TablesChoice {
    /// One for each thread, as many as the limit asks for.
    #[default]
    Many,
    /// One for the process, as an ordinary program has it.
    One,
}

impl From<TablesChoice> for crate::domain::DescriptorTables {
    fn from(choice: TablesChoice) -> Self {
        match choice {
            TablesChoice::Many => Self::Many,
            TablesChoice::One => Self::One,
        }
    }
}

/// Reads `IDLE,INTERVAL,PROBES`, in seconds, seconds and a number.
pub(super) fn parse_keepalive(text: &str) -> Result<Keepalive, String> {
    let numbers: Vec<u32> = text
        .split(',')
        .map(|part| part.trim().parse::<u32>())
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{text}: {error}"))?;
    match numbers[..] {
        [idle_seconds, interval_seconds, probes] => Ok(Keepalive {
            idle_seconds,
            interval_seconds,
            probes,
        }),
        _ => Err(format!("{text}: wanted are three numbers, as in 60,10,5")),
    }
}

/// A worker at work in this process.
pub(super) struct Hand {
    pub(super) commands: Sender<Command>,
    events: Receiver<Event>,
    worker: thread::JoinHandle<Result<(), worker::WorkerError>>,
    interrupt: Interrupt,
    last_line: Option<Instant>,
    lost: ConnCount,
}

/// What woke the hand.
pub(super) enum Woken {
    /// The worker said something that is for the caller to answer.
    Event(Event),
    /// A signal, or the end of the time.
    Over,
}

impl Hand {
    /// Starts the worker.
    pub(super) fn start(first: Command) -> Result<Self, Failure> {
        let failed =
            |error: io::Error| Failure::new(Exit::Failed, format!("cannot start: {error}"));
        // At the second signal nothing more is waited for: the default of the signal ends the program.
        let interrupt = Interrupt::listen(Box::new(|signal| {
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }))
        .map_err(failed)?;
        let (commands, inbox) = mpsc::channel();
        let (told, events) = mpsc::channel();
        let worker = thread::Builder::new()
            .spawn(move || {
                // The receiver is gone only when the caller has failed.
                let outbox = Outbox::new(move |event| drop(told.send(event)));
                worker::run(&inbox, &outbox)
            })
            .map_err(failed)?;
        let hand = Self {
            commands,
            events,
            worker,
            interrupt,
            last_line: None,
            lost: ConnCount::ZERO,
        };
        hand.send(first);
        Ok(hand)
    }

    /// Gives the worker a command.
    pub(super) fn send(&self, command: Command) {
        // A worker that is gone says why when it is waited for.
        let _ = self.commands.send(command);
    }

    /// Prints what the worker says until it says something that has to be answered, a signal comes, or `until` is
    /// reached.
    pub(super) fn listen(&mut self, until: Option<Instant>) -> Woken {
        while self.interrupt.signal().is_none() {
            if until.is_some_and(|until| Instant::now() >= until) {
                return Woken::Over;
            }
            match self.events.recv_timeout(LISTEN_EVERY) {
                Ok(Event::Progress { counters, .. }) => self.progress(&counters),
                Ok(Event::ConnectFailed { note }) => say(&format!(
                    "could not open {} -> {}: {}; {}",
                    note.source,
                    note.target,
                    note.failure,
                    note.failure.hint()
                )),
                Ok(Event::Lost { note }) => self.lost(&note),
                Ok(Event::Warning { text }) => say(&format!("warning: {text}")),
                Ok(event) => return Woken::Event(event),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return Woken::Over,
            }
        }
        Woken::Over
    }

    /// How to exit after the signal that came; nothing while none has come.
    pub(super) fn interrupted(&self) -> Option<Exit> {
        self.interrupt.signal().map(|signal| {
            if signal == signal_hook::consts::SIGTERM {
                Exit::Terminated
            } else {
                Exit::Interrupted
            }
        })
    }

    /// Closes what is open, waits for the worker, and tells how to exit.
    pub(super) fn finish(self, exit: Exit) -> Result<Exit, Failure> {
        self.send(Command::Exit);
        match self.worker.join() {
            Ok(Ok(())) => Ok(exit),
            Ok(Err(error)) => Err(Failure::new(Exit::Failed, &error).with_hint(error.hint())),
            Err(_) => Err(Failure::new(Exit::Failed, "the worker panicked")),
        }
    }

    /// Connections that ended though nobody here asked them to.
    pub(super) const fn lost_so_far(&self) -> ConnCount {
        self.lost
    }

    fn lost(&mut self, note: &LossNote) {
        let count = ConnCount::new(note.count);
        self.lost += count;
        let example = note
            .examples
            .first()
            .map_or_else(String::new, |example| format!(", first {example}"));
        say(&format!("lost {count}: {}{example}", note.reason));
    }

    fn progress(&mut self, counters: &Counters) {
        let now = Instant::now();
        if self
            .last_line
            .is_some_and(|last| now.duration_since(last) < LINE_EVERY)
        {
            return;
        }
        self.last_line = Some(now);
        say(&format!(
            "{} open, {} under way, {} failed, {} lost",
            counters.established,
            counters.in_flight,
            counters.failed_total(),
            counters.lost
        ));
    }
}

/// A line for the human.
pub(super) fn say(text: &str) {
    // A closed stderr is no reason to stop.
    let _ = writeln!(io::stderr().lock(), "{text}");
}
