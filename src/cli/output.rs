//! Where all text of the program goes: data to stdout, everything for the eye to stderr. A reader that has gone away is the
//! end of the text and no failure.
//!
//! While a run is under way, stderr has a thread of its own behind a bounded queue. A reader that stands still (`| less`, a
//! terminal stopped by Ctrl-S) then holds up that thread alone, and never the run, its deadlines or its signals.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::Failure;
use super::progress::{ProgressChoice, Screen};
use crate::run::{Live, Progress};

/// Lines that wait for a reader at most. What comes then is counted and not kept.
const MOST_WAITING: usize = 1_000;

/// How long the end of the program waits for a reader that takes nothing.
const LAST_LINES_TAKE: Duration = Duration::from_secs(2);

/// How long the last words before an end at once may take.
const LAST_WORDS_TAKE: Duration = Duration::from_millis(300);

/// Writes data to stdout. A closed pipe is where the text ends: `c1m man | head` is no failure.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    unless_closed(written)
        .context("cannot write to stdout")
        .map_err(Failure::from)
}

/// The same, but a reader that stands still is waited for in bounded time: for the end of a run.
pub(super) fn print_within(text: String, patience: Duration) -> Result<(), Failure> {
    let (done, printed) = mpsc::channel();
    let writer = thread::Builder::new()
        .name("stdout".to_owned())
        .spawn(move || done.send(print(&text)));
    if let (Ok(_), Ok(outcome)) = (writer, printed.recv_timeout(patience)) {
        return outcome;
    }
    line("warning: stdout takes nothing; the report is in the run directory");
    Ok(())
}

/// Nobody reads any more, or there never was anybody.
pub(super) fn unless_closed(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// A line on stderr. It never fails: text for the eye must not end a run.
pub(super) fn line(text: &str) {
    match QUEUE.get() {
        Some(queue) => queue.push(Message::Line(text.to_owned())),
        None => drop(writeln!(io::stderr().lock(), "{text}")),
    }
}

/// News of a run. Waits for nobody; news of how far it is replaces what was not shown yet.
pub(super) fn show(news: Progress) {
    let Some(queue) = QUEUE.get() else { return };
    match news {
        Progress::Live(live) => queue.set_live(live),
        other => queue.push(Message::News(other)),
    }
}

/// Gives stderr its thread, and lets panics of this process be told through it too: the standard library's own report of a
/// panic would wait for a reader. Called once the process may have more threads than one.
pub(super) fn start(choice: ProgressChoice) -> io::Result<()> {
    let mut fresh = false;
    let queue = QUEUE.get_or_init(|| {
        fresh = true;
        Queue::default()
    });
    if fresh {
        thread::Builder::new()
            .name("terminal".to_owned())
            .spawn(move || queue.serve(choice))?;
        std::panic::set_hook(Box::new(|panic| line(&panic.to_string())));
    }
    Ok(())
}

/// Takes bars off the terminal, so that what comes next stands below them.
pub(super) fn end_of_progress() {
    if let Some(queue) = QUEUE.get() {
        queue.push(Message::EndOfProgress);
    }
}

/// Waits in bounded time until stderr has everything. Called before the program ends.
pub(super) fn settle() {
    if let Some(queue) = QUEUE.get() {
        queue.settle(LAST_LINES_TAKE);
    }
}

/// Text that is to be written before an end at once, past every queue and lock, on a thread that nobody waits for longer
/// than a moment.
#[derive(Debug)]
pub(super) struct LastWords {
    /// Stderr under a number of its own: the standard library's handle may be locked by somebody who waits for a reader.
    stderr: Option<File>,
}

impl LastWords {
    /// Made while all is well.
    pub(super) fn new() -> Self {
        let stderr = io::stderr().as_fd().try_clone_to_owned().ok();
        Self {
            stderr: stderr.map(File::from),
        }
    }

    /// Writes, if that is possible at once.
    pub(super) fn say(self, text: String) {
        let Some(mut stderr) = self.stderr else {
            return;
        };
        let (done, said) = mpsc::channel();
        let speaker = thread::Builder::new().spawn(move || {
            // Nobody is left to be told that it could not be written.
            let _ = writeln!(stderr, "{text}");
            let _ = done.send(());
        });
        if speaker.is_ok() {
            // Whether it was written or not, the program ends now.
            let _ = said.recv_timeout(LAST_WORDS_TAKE);
        }
    }
}

/// Where the log goes: the same way as every other line.
#[derive(Debug)]
pub(super) struct LogWriter;

impl io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        line(String::from_utf8_lossy(bytes).trim_end());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

static QUEUE: OnceLock<Queue> = OnceLock::new();

enum Message {
    Line(String),
    News(Progress),
    EndOfProgress,
}

/// What waits for the thread that writes to stderr.
#[derive(Default)]
struct Queue {
    state: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Message>,
    /// The newest account of how far the run is, where it has not been shown.
    live: Option<Live>,
    /// Lines that found the queue full.
    dropped: u64,
    /// Whether the thread is writing at this moment.
    writing: bool,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.live.is_none() && self.dropped == 0
    }
}

impl Queue {
    fn push(&self, message: Message) {
        let mut state = self.state();
        if state.messages.len() < MOST_WAITING {
            state.messages.push_back(message);
        } else {
            state.dropped += 1;
        }
        drop(state);
        self.changed.notify_all();
    }

    fn set_live(&self, live: Live) {
        self.state().live = Some(live);
        self.changed.notify_all();
    }

    fn settle(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut state = self.state();
        while state.writing || !state.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// The life of the thread that writes.
    fn serve(&self, choice: ProgressChoice) {
        let mut screen = Screen::new(choice);
        loop {
            let mut state = self.state();
            state.writing = false;
            self.changed.notify_all();
            let mut state = self
                .changed
                .wait_while(state, |state| state.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            state.writing = true;
            let messages = std::mem::take(&mut state.messages);
            let dropped = std::mem::take(&mut state.dropped);
            let live = state.live.take();
            drop(state);
            for message in messages {
                match message {
                    Message::Line(text) => screen.line(&text),
                    Message::News(news) => screen.show(&news),
                    Message::EndOfProgress => screen.finish(),
                }
            }
            if dropped > 0 {
                screen.dropped(dropped);
            }
            if let Some(live) = live {
                screen.show(&Progress::Live(live));
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, Waiting> {
        // Each entry is made in one step, so what a panicking thread left is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_counts_what_it_does_not_keep() {
        let queue = Queue::default();
        for number in 0..MOST_WAITING + 7 {
            queue.push(Message::Line(number.to_string()));
        }
        let state = queue.state();
        assert_eq!(state.messages.len(), MOST_WAITING);
        assert_eq!(state.dropped, 7);
    }

    #[test]
    fn only_a_closed_pipe_is_the_end_of_the_text() {
        let broken = Err(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(unless_closed(broken).is_ok());
        let full = Err(io::Error::from(io::ErrorKind::StorageFull));
        assert!(unless_closed(full).is_err());
    }
}
