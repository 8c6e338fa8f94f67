//! Where a worker's events go, from any of its threads, one at a time.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::control::Event;

type Taker = Box<dyn FnMut(Event) + Send>;

/// The outbox. Clones lead to the same place.
#[derive(Clone)]
pub struct Outbox(Arc<Mutex<Taker>>);

impl Outbox {
    /// An outbox that gives every event to `taker`.
    pub fn new(taker: impl FnMut(Event) + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(taker))))
    }

    /// Tells an event.
    pub fn tell(&self, event: Event) {
        let mut taker = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taker(event);
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Outbox")
    }
}
