//! Whether the runner is at work. A runner that was stopped or hangs cannot watch memory, so that a client's ramp may not go
//! on without it.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::control::Command;

/// Silence of this length means that the runner stands still: four heartbeats.
const SILENCE: Duration = Duration::from_secs(1);

/// What was heard of the runner. A worker by hand has none, and never hears [`Command::Alive`].
#[derive(Debug, Default)]
pub(super) struct Heartbeat {
    last: Option<Instant>,
    silent: bool,
}

impl Heartbeat {
    /// The next command; nothing when nobody can send one any more. Calls `pause` with true when the runner falls silent
    /// and with false when it is heard again.
    pub(super) fn next(
        &mut self,
        inbox: &Receiver<Command>,
        pause: impl Fn(bool),
    ) -> Option<Command> {
        loop {
            let received = match self.last {
                Some(last) if !self.silent => {
                    inbox.recv_timeout((last + SILENCE).saturating_duration_since(Instant::now()))
                }
                _ => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match received {
                Ok(command) => {
                    if command == Command::Alive || self.last.is_some() {
                        self.last = Some(Instant::now());
                    }
                    if std::mem::take(&mut self.silent) {
                        pause(false);
                    }
                    return Some(command);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.silent = true;
                    pause(true);
                }
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    #[test]
    fn silence_after_a_heartbeat_pauses_until_the_next_command() {
        let (commands, inbox) = channel();
        let told = RefCell::new(Vec::new());
        let mut heartbeat = Heartbeat::default();
        commands.send(Command::Alive).unwrap();
        let note = |pause| {
            told.borrow_mut().push(pause);
            // What ends the silence is sent only once it was noticed.
            if pause {
                commands.send(Command::Begin).unwrap();
            }
        };
        assert_eq!(heartbeat.next(&inbox, note), Some(Command::Alive));
        assert_eq!(heartbeat.next(&inbox, note), Some(Command::Begin));
        assert_eq!(*told.borrow(), [true, false]);
    }

    #[test]
    fn without_a_runner_nothing_is_paused() {
        let (commands, inbox) = channel();
        let mut heartbeat = Heartbeat::default();
        let later = thread::spawn(move || {
            // Longer than any silence that would be noticed.
            thread::sleep(SILENCE + Duration::from_millis(100));
            commands.send(Command::Begin).unwrap();
        });
        let next = heartbeat.next(&inbox, |_| panic!("paused"));
        assert_eq!(next, Some(Command::Begin));
        later.join().unwrap();
    }
}
