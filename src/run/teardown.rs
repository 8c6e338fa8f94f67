//! Everything down, in every case: connections reset, workers ended, places unmade, and nothing left. It goes on after
//! errors and returns what could not be done.

use std::time::{Duration, Instant};

use super::conductor::{Conductor, Heed};
use super::workers::{Milestone, Worker};
use crate::control::Command;
use crate::domain::Mark;

/// How long looking at every connection once may take, on a busy machine.
const LOOKING_TAKES: Duration = Duration::from_secs(10);
/// How long a few million connections may take to be reset, on a busy machine.
const DRAINING_TAKES: Duration = Duration::from_secs(90);
/// How long a worker may take to end once it was asked.
const WORKERS_END: Duration = Duration::from_secs(20);
/// How long a worker may take to be gone once it was killed.
const WORKERS_DIE: Duration = Duration::from_secs(20);

impl Conductor<'_> {
    /// Resets the connections, from both sides at once: a reset frees both ends and leaves neither orphans nor `TIME_WAIT`
    /// behind.
    pub(super) fn drain(&mut self) {
        for worker in &mut self.workers {
            worker.send(&Command::Drain);
        }
        self.wait(Instant::now() + DRAINING_TAKES, Heed::Nothing, |run| {
            run.workers
                .iter()
                .all(|worker| worker.has_or_is_gone(Milestone::Drained))
        });
    }

    /// Has every worker look for losses a last time, the clients first, who find most. It belongs to the time before the
    /// drain: what ends afterwards is meant.
    pub(super) fn last_look(&mut self) {
        // Where the guard closes connections, an end is meant already.
        if !self.guard.drains() {
            self.look_for_losses(|worker| worker.id.is_client());
            self.look_for_losses(|worker| worker.id.is_server());
        }
        self.closing = true;
    }

    fn look_for_losses(&mut self, who: impl Fn(&Worker) -> bool) {
        for worker in self.workers.iter_mut().filter(|worker| who(worker)) {
            worker.send(&Command::LookForLosses);
        }
        self.wait(Instant::now() + LOOKING_TAKES, Heed::Nothing, |run| {
            run.workers
                .iter()
                .filter(|worker| who(worker))
                .all(|worker| worker.has_or_is_gone(Milestone::LossesTold))
        });
    }

    /// Ends the workers and unmakes the place. Returns what is left.
    pub(super) fn tear_down(&mut self) -> Vec<String> {
        for worker in &mut self.workers {
            worker.dismiss();
        }
        self.wait(Instant::now() + WORKERS_END, Heed::Nothing, Self::all_gone);
        for worker in &mut self.workers {
            worker.kill();
        }
        self.wait(Instant::now() + WORKERS_DIE, Heed::Nothing, Self::all_gone);
        let mut left: Vec<String> = self
            .workers
            .iter()
            .filter(|worker| worker.alive())
            .map(|worker| format!("worker {} does not end", worker.id))
            .collect();
        self.workers.clear();
        if let Some(testbed) = self.testbed.take() {
            left.extend(testbed.down().into_iter().map(|error| error.to_string()));
        }
        self.mark(Mark::After);
        if let Some(observer) = self.observer.take() {
            // The observer's cost stands in each sample; its thread has nothing more to say.
            let _ = observer.stop();
        }
        left
    }

    fn all_gone(&self) -> bool {
        self.workers.iter().all(|worker| !worker.alive())
    }
}
