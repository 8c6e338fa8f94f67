//! The run's own pen: stamps events with the time since the start, and remembers that the recording broke, because a run
//! that cannot be recorded has to end.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::domain::{Envelope, RunEvent, Sample};
use crate::record::RunDir;

/// Writes to the run directory. Clones write to the same one.
#[derive(Debug, Clone)]
pub(super) struct Log {
    directory: RunDir,
    origin: Instant,
    broken: Arc<Mutex<Option<String>>>,
    stage: Arc<Mutex<Option<usize>>>,
}

impl Log {
    pub(super) fn new(directory: RunDir, origin: Instant) -> Self {
        Self {
            directory,
            origin,
            broken: Arc::default(),
            stage: Arc::default(),
        }
    }

    pub(super) const fn directory(&self) -> &RunDir {
        &self.directory
    }

    pub(super) fn seconds(&self) -> f64 {
        self.origin.elapsed().as_secs_f64()
    }

    /// From now on events belong to this stage, or to none.
    pub(super) fn enter_stage(&self, number: Option<usize>) {
        if let Ok(mut stage) = self.stage.lock() {
            *stage = number;
        }
    }

    pub(super) fn event(&self, event: RunEvent) {
        let envelope = Envelope {
            at_seconds: self.seconds(),
            stage: self.stage.lock().ok().and_then(|stage| *stage),
            event,
        };
        self.remember(self.directory.event(&envelope));
    }

    pub(super) fn sample(&self, sample: &Sample) {
        self.remember(self.directory.sample(sample));
    }

    pub(super) fn remember<E: std::fmt::Display>(&self, outcome: Result<(), E>) {
        if let (Err(error), Ok(mut broken)) = (outcome, self.broken.lock()) {
            broken.get_or_insert_with(|| error.to_string());
        }
    }

    /// The first thing that could not be recorded.
    pub(super) fn broken(&self) -> Option<String> {
        self.broken.lock().ok().and_then(|broken| broken.clone())
    }
}
