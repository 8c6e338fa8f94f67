//! Ctrl-C and its kin. The first signal asks the run to stop, tear down and restore in bounded time; the second stops the
//! waiting: the program ends at once and says which command cleans up.

use std::io;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::signal_name;

/// Whether, and by which signal, the run was asked to stop.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    signal: Arc<AtomicI32>,
}

/// What to do at the second signal. It does not come back.
pub type LastWords = Box<dyn FnOnce(i32) + Send>;

impl Interrupt {
    /// Begins to listen for SIGINT, SIGTERM and SIGHUP on a thread of its own; at the second one `last_words` is called.
    ///
    /// # Errors
    /// When handlers cannot be installed.
    pub fn listen(last_words: LastWords) -> io::Result<Self> {
        let interrupt = Self::default();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let seen = Arc::clone(&interrupt.signal);
        let last_words = Mutex::new(Some(last_words));
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for signal in signals.forever() {
                    let first = seen
                        .compare_exchange(0, signal, Ordering::SeqCst, Ordering::SeqCst)
                        .is_ok();
                    let words = last_words.lock().map(|mut words| words.take());
                    match (first, words) {
                        (true, Ok(words)) => {
                            if let Ok(mut slot) = last_words.lock() {
                                *slot = words;
                            }
                        }
                        (false, Ok(Some(words))) => words(signal),
                        _ => {}
                    }
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
}
