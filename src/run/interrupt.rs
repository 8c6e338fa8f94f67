//! Ctrl-C and its kin. The first signal asks the run to stop, tear down and restore in bounded time; the second stops the
//! waiting: the program ends at once and says which command cleans up.
//!
//! The thread that hears signals takes no lock and waits for nobody but in its last words, which are bounded.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;

/// Whether, and by which signal, the run was asked to stop.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    signal: Arc<AtomicI32>,
    unfinished: Arc<AtomicBool>,
}

/// What to do at the second signal. It does not come back.
pub type LastWords = Box<dyn FnOnce(SecondSignal) + Send>;

/// The second signal, and what it hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecondSignal {
    /// Its number.
    pub signal: i32,
    /// Whether the run had begun to change something and had not put everything back.
    pub unfinished: bool,
}

impl Interrupt {
    /// Begins to listen for SIGINT, SIGTERM and SIGHUP on a thread of its own; at the second one `last_words` is called.
    ///
    /// # Errors
    /// When handlers cannot be installed.
    pub fn listen(last_words: LastWords) -> io::Result<Self> {
        let interrupt = Self::default();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let heard = interrupt.clone();
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                let mut coming = signals.forever();
                if let Some(first) = coming.next() {
                    heard.signal.store(first, Ordering::SeqCst);
                }
                if let Some(signal) = coming.next() {
                    last_words(SecondSignal {
                        signal,
                        unfinished: heard.unfinished.load(Ordering::SeqCst),
                    });
                }
            })?;
        Ok(interrupt)
    }

    /// The signal that asked, where one did.
    #[must_use]
    pub fn signal(&self) -> Option<i32> {
        match self.signal.load(Ordering::SeqCst) {
            0 => None,
            signal => Some(signal),
        }
    }

    /// The name of the signal that asked.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        self.signal()
            .map(|signal| signal_name(signal).unwrap_or("a signal"))
    }

    /// From here on an end at once may leave something.
    pub(super) fn changes_begin(&self) {
        self.unfinished.store(true, Ordering::SeqCst);
    }

    /// Everything is put back.
    pub(super) fn changes_end(&self) {
        self.unfinished.store(false, Ordering::SeqCst);
    }
}
