//! A worker by hand: what `c1m server` and `c1m client` share. The same worker as in a run, with commands from here instead
//! of a runner, and its events as plain lines on stderr.

use std::io;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::progress::ProgressChoice;
use super::{Exit, Failure, output};
use crate::control::{Command, Event};
use crate::domain::{ConnCount, Counters, Keepalive, LossNote};
use crate::observe::{MemoryWatch, memory_gauge};
use crate::run::Interrupt;
use crate::worker::{self, Outbox};

/// A line of progress is printed at most this often.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// How often the signals are looked at.
const LISTEN_EVERY: Duration = Duration::from_millis(100);

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

/// How long the last look at every connection may take.
const LAST_LOOK_TAKES: Duration = Duration::from_secs(10);

/// A worker at work in this process.
pub(super) struct LocalWorker {
    commands: Sender<Command>,
    events: Receiver<Event>,
    worker: thread::JoinHandle<Result<(), worker::WorkerError>>,
    interrupt: Interrupt,
    /// What the guard saw when it had everything closed.
    short: Arc<OnceLock<String>>,
    _guard: MemoryWatch,
    last_line: Option<Instant>,
    counters: Counters,
}

/// What ended the wait of [`LocalWorker::listen`].
pub(super) enum Woken {
    /// The worker said something that is for the caller to answer.
    Event(Event),
    /// The worker said how far it is.
    Progress,
    /// A signal, the end of the time, or the guard.
    Over,
}

impl LocalWorker {
    /// Starts the worker, with its guard.
    pub(super) fn start(first: Command) -> Result<Self, Failure> {
        let failed =
            |error: io::Error| Failure::new(Exit::Failed, format!("cannot start: {error}"));
        output::start(ProgressChoice::Plain).map_err(failed)?;
        worker::abort_on_panic(|account| {
            say(account);
            output::settle();
        });
        // At the second signal nothing more is waited for: the default of the signal ends the program.
        let interrupt = Interrupt::listen(Box::new(|second| {
            let _ = signal_hook::low_level::emulate_default_handler(second.signal);
        }))
        .map_err(failed)?;
        let (commands, inbox) = mpsc::channel();
        let (told, events) = mpsc::channel();
        let short = Arc::new(OnceLock::new());
        let guard = MemoryWatch::start(memory_gauge(Path::new("/")), {
            let (commands, short) = (commands.clone(), Arc::clone(&short));
            move |shortage| {
                if short.set(shortage.to_string()).is_ok() {
                    // It is gone only when everything is closed anyway.
                    let _ = commands.send(Command::Drain);
                }
            }
        })
        .map_err(failed)?;
        let worker = thread::Builder::new()
            .spawn(move || {
                // The receiver is gone only when the caller has failed.
                let outbox = Outbox::new(move |event| drop(told.send(event)));
                worker::run(&inbox, &outbox)
            })
            .map_err(failed)?;
        let local = Self {
            commands,
            events,
            worker,
            interrupt,
            short,
            _guard: guard,
            last_line: None,
            counters: Counters::default(),
        };
        local.send(first);
        Ok(local)
    }

    /// Gives the worker a command.
    pub(super) fn send(&self, command: Command) {
        // A worker that is gone says why when it is waited for.
        let _ = self.commands.send(command);
    }

    /// Prints what the worker says until it says something that has to be answered or how far it is, a signal comes, the
    /// guard acts, or `until` is reached.
    pub(super) fn listen(&mut self, until: Option<Instant>) -> Woken {
        while self.interrupt.signal().is_none() && self.short.get().is_none() {
            if until.is_some_and(|until| Instant::now() >= until) {
                return Woken::Over;
            }
            match self.events.recv_timeout(LISTEN_EVERY) {
                Ok(event) => match self.take(event) {
                    None => {}
                    Some(woken) => return woken,
                },
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return Woken::Over,
            }
        }
        Woken::Over
    }

    /// Prints an event; returns it where it is for the caller.
    fn take(&mut self, event: Event) -> Option<Woken> {
        match event {
            Event::Progress { counters, .. } => {
                self.progress(&counters);
                self.counters = counters;
                return Some(Woken::Progress);
            }
            Event::ConnectFailed { note } => say(&format!(
                "could not open {} -> {}: {}; {}",
                note.source,
                note.target,
                note.failure,
                note.failure.hint()
            )),
            Event::Lost { note } => lost(&note),
            Event::Warning { text } => say(&format!("warning: {text}")),
            event => return Some(Woken::Event(event)),
        }
        None
    }

    /// How to exit after the signal that came; nothing while none has come.
    pub(super) fn interrupted(&self) -> Option<Exit> {
        self.interrupt.signal().map(Exit::by_signal)
    }

    /// What the worker has done, as it told last.
    pub(super) const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Has every connection looked at once more, so that the counters have each loss until now.
    pub(super) fn look_for_losses(&mut self) {
        self.send(Command::LookForLosses);
        let until = Instant::now() + LAST_LOOK_TAKES;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::LossesTold { counters }) => {
                    self.counters = counters;
                    return;
                }
                Ok(event) => drop(self.take(event)),
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return say("warning: what was lost last is not known: no answer in time");
                }
            }
        }
    }

    /// Closes what is open, waits for the worker, and tells how to exit.
    pub(super) fn finish(self, exit: Exit) -> Result<Exit, Failure> {
        self.send(Command::Exit);
        match self.worker.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                return Err(Failure::new(Exit::Failed, &error).with_hint(error.hint()));
            }
            Err(_) => return Err(Failure::new(Exit::Failed, "the worker panicked")),
        }
        match self.short.get() {
            Some(shortage) => Err(Failure::new(
                Exit::Missed,
                format!("every connection was closed before memory ran out: {shortage}"),
            )),
            None => Ok(exit),
        }
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

fn lost(note: &LossNote) {
    let example = note
        .examples
        .first()
        .map_or_else(String::new, |example| format!(", first {example}"));
    let said = if note.said.is_empty() {
        String::new()
    } else {
        format!("; it said `{}`", note.said.first_line())
    };
    say(&format!(
        "lost {}: {}{example}{said}",
        ConnCount::new(note.count),
        note.reason
    ));
}

/// A line for the human.
pub(super) fn say(text: &str) {
    output::line(text);
}
