//! What a server writes to its standard output and error: told line by line, as far as it is bounded, and the last lines
//! kept for a message. A server that floods is read on, so that it does not stand still, and what is too much is counted.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{ChildStderr, ChildStdout};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::Outbox;
use crate::control::{Event, LineLimiter};

/// Bytes of a line; what is longer becomes several lines.
const LONGEST_LINE: u64 = 2_048;

/// Lines that are kept for a message.
const LAST_LINES: usize = 5;

/// The threads that read.
#[derive(Debug)]
pub(super) struct Output {
    kept: Arc<Mutex<Kept>>,
    readers: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Kept {
    last: VecDeque<String>,
    limiter: LineLimiter,
}

impl Output {
    pub(super) fn none() -> Self {
        Self {
            kept: Arc::new(Mutex::new(Kept {
                last: VecDeque::new(),
                limiter: LineLimiter::new(Instant::now()),
            })),
            readers: Vec::new(),
        }
    }

    pub(super) fn read(
        stdout: Option<ChildStdout>,
        stderr: Option<ChildStderr>,
        outbox: &Outbox,
    ) -> io::Result<Self> {
        let mut output = Self::none();
        if let Some(stdout) = stdout {
            output.spawn(stdout, outbox)?;
        }
        if let Some(stderr) = stderr {
            output.spawn(stderr, outbox)?;
        }
        Ok(output)
    }

    fn spawn(&mut self, from: impl Read + Send + 'static, outbox: &Outbox) -> io::Result<()> {
        let (kept, outbox) = (Arc::clone(&self.kept), outbox.clone());
        let reader = thread::Builder::new()
            .name("server-output".into())
            .spawn(move || forward(from, &kept, &outbox))?;
        self.readers.push(reader);
        Ok(())
    }

    pub(super) fn last_lines(&self) -> Vec<String> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.last.iter().cloned().collect()
    }

    /// Waits for the last lines of a server whose processes are all gone: then nothing holds the other ends of the pipes.
    pub(super) fn finish(&mut self) {
        for reader in self.readers.drain(..) {
            // A reader that panicked has said so.
            let _ = reader.join();
        }
    }
}

fn forward(from: impl Read, kept: &Mutex<Kept>, outbox: &Outbox) {
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut from).take(LONGEST_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        if text.is_empty() {
            continue;
        }
        let lines = {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.last.push_back(text.clone());
            if kept.last.len() > LAST_LINES {
                kept.last.pop_front();
            }
            kept.limiter.lines(Instant::now(), text)
        };
        for text in lines {
            outbox.tell(Event::Output { text });
        }
    }
}
