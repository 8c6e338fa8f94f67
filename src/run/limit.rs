//! The ramp to a server that is not the lab's own: as fast as it accepts, and until something gives way where its limit is
//! looked for.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::conductor::Conductor;
use super::watch::Watch;
use crate::control::Command;
use crate::domain::{ConnCount, GaveWay, RunEvent};

/// A server that takes nothing out of a filling accept queue for this long takes no more, where its limit is looked for.
const ACCEPTS_NO_MORE: Duration = Duration::from_secs(5);

/// The same in a run that asks for a number.
const ACCEPTS_NO_MORE_IN_RUN: Duration = Duration::from_secs(15);

/// Bytes and lines of a log file that are read at once, and letters of a line.
const MOST_BYTES_OF_LOG: u64 = 64 * 1024;
const MOST_LINES_OF_LOG: usize = 20;
const LONGEST_LINE: usize = 500;

impl Conductor<'_> {
    /// Begins to watch the server, where it is not the lab's own.
    pub(super) fn watch_server(&mut self) {
        let Some(server) = self.workers.iter().find(|worker| worker.id.is_server()) else {
            return;
        };
        let Some(facts) = &server.subject else { return };
        let limit = facts
            .listening
            .iter()
            .map(|queue| queue.limit)
            .min()
            .unwrap_or(0);
        let paced = self.plan.planned_rate().is_none();
        let mut watch = Watch::new(limit, paced);
        if self.plan.limit.is_some() {
            // Bounded from the first connection on: a burst would hide at which number something gave way.
            watch.pace.search(0.0);
        }
        self.watch = Some(watch);
        self.tell_pace();
    }

    /// An accept queue is filling, or has emptied again.
    pub(super) fn queue_is(&mut self, filling: bool) {
        if let Some(watch) = &mut self.watch
            && watch.pace.queue(filling, Instant::now())
        {
            self.tell_pace();
        }
    }

    /// Gives the clients the pace, each its share.
    fn tell_pace(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        let pace = watch.pace.now();
        if !watch.paced || pace.to_bits() == watch.told.to_bits() {
            return;
        }
        watch.told = pace;
        let all = self.plan.target.as_f64().max(1.0);
        for worker in self
            .workers
            .iter_mut()
            .filter(|worker| !worker.id.is_server())
        {
            let share = worker.target.as_f64() / all;
            worker.send(&Command::Pace {
                per_second: Some(pace * share),
            });
        }
    }

    /// Looks at the server during the ramp. Says what has given way.
    pub(super) fn look_at_server(&mut self) -> Option<GaveWay> {
        self.watch.as_ref()?;
        let accepted = self.server_established();
        let seeks = self.plan.limit.is_some();
        let failed = self
            .clients()
            .any(|worker| worker.counters.failed_total() > ConnCount::ZERO);
        let lost = self
            .clients()
            .any(|worker| worker.counters.lost > ConnCount::ZERO);
        let unanswered = self
            .clients()
            .any(|worker| worker.counters.unanswered > ConnCount::ZERO);
        let open = self.established();
        let seen = self
            .workers
            .iter()
            .find(|worker| worker.id.is_server())
            .and_then(|worker| Some((worker.looks, worker.accepting.as_ref()?)))
            .map(|(looks, state)| (looks, state.accepted + state.waiting + state.half_open));
        let watch = self.watch.as_mut()?;
        let now = Instant::now();
        if let Some((looks, seen)) = seen {
            watch.note_look(looks, open, seen);
        }
        if accepted != watch.accepted || watch.pace.paused().is_none() {
            (watch.accepted, watch.moved) = (accepted, now);
        }
        let stuck = now.saturating_duration_since(watch.moved);
        let ended = watch.ended_unnoticed();
        let mut changed = watch.pace.pass(now);
        if seeks {
            changed |= watch.pace.search(open.as_f64());
        }
        if changed {
            self.tell_pace();
        }
        let patience = if seeks {
            ACCEPTS_NO_MORE
        } else {
            ACCEPTS_NO_MORE_IN_RUN
        };
        if stuck >= patience {
            let seconds = u32::try_from(stuck.as_secs()).unwrap_or(u32::MAX);
            return Some(GaveWay::NotAccepted { seconds });
        }
        match (seeks, unanswered, lost || ended, failed) {
            // What a server says instead of an answer tells more than that the connection ended then.
            (true, true, ..) => Some(GaveWay::NotAnswered),
            (true, _, true, _) => Some(GaveWay::Lost),
            (true, _, _, true) => Some(GaveWay::ConnectFailed),
            _ => None,
        }
    }

    /// Records what gave way. The first time counts.
    pub(super) fn gave_way(&mut self, what: GaveWay) {
        if self.gave_way {
            return;
        }
        self.gave_way = true;
        self.note(format!("the ramp ends: {what}"));
        self.log.event(RunEvent::GaveWay {
            what,
            established: self.established(),
            accepted: self.server_established(),
        });
        self.read_logs();
    }

    /// Remembers how long the log files of the server are.
    pub(super) fn know_logs(&mut self, logs: &[String]) {
        self.server_logs = logs
            .iter()
            .map(|path| {
                let length = std::fs::metadata(path).map_or(0, |file| file.len());
                (PathBuf::from(path), length)
            })
            .collect();
    }

    /// Records what the server has written to its log files since they were looked at.
    pub(super) fn read_logs(&mut self) {
        for (path, known) in &mut self.server_logs {
            // A log that cannot be read, or was put away, tells nothing.
            let Ok(lines) = new_lines(path, known) else {
                continue;
            };
            let name = path
                .file_name()
                .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            for line in lines {
                self.log.event(RunEvent::Output {
                    text: format!("{name}: {line}"),
                });
            }
        }
    }
}

/// The first lines behind `known` bytes of a file, as many as are bounded; `known` becomes its length.
fn new_lines(path: &Path, known: &mut u64) -> io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    // A file that is shorter was begun anew.
    let from = if length < *known { 0 } else { *known };
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES_OF_LOG).read_to_end(&mut bytes)?;
    *known = length;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.chars().take(LONGEST_LINE).collect())
        .collect();
    lines.truncate(MOST_LINES_OF_LOG);
    Ok(lines)
}
