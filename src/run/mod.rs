//! The conductor: the phases of one run in their order, supervision, tear-down. Whatever happens in between, panic
//! included, a run that got as far as changing anything passes through tear-down and restore.

mod conductor;
mod event;
mod guard;
mod interrupt;
mod limit;
mod log;
mod pace;
mod pipeline;
mod ramp;
mod setup;
mod teardown;
mod verify;
mod watch;
mod workers;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use conductor::{Conductor, Stop};
pub use event::{Live, Progress};
use guard::Guard;
pub use interrupt::{Interrupt, LastWords, SecondSignal};
use log::Log;
pub use pipeline::{
    HostChanges, PipelineError, Prepared, Ready, look, plan_for, prepare, preview, random_number,
};

use crate::domain::{
    HostFacts, Phase, PlaceChoice, RestoreOutcome, RunEvent, RunId, RunVerdict, Stage,
};
use crate::host::{Restoration, Tuning};
use crate::observe::memory_gauge;
use crate::plan::Plan;
use crate::record::{FACTS, PLAN, RunDir, SCENARIO, SUMMARY};
use crate::scenario::Scenario;

/// Everything that a run starts from.
#[derive(Debug)]
pub struct Run<'a> {
    /// Its name.
    pub id: RunId,
    /// What the user wanted.
    pub scenario: &'a Scenario,
    /// The machine as it was found.
    pub facts: &'a HostFacts,
    /// What is to be done.
    pub plan: &'a Plan,
    /// Where it is recorded.
    pub directory: RunDir,
    /// Wall clock at the start, RFC 3339, UTC.
    pub started: String,
    /// The command as it was typed.
    pub command: Vec<String>,
    /// Version of the program.
    pub version: String,
    /// Settings of the host with their open journal; it puts them back.
    pub tuning: Tuning,
}

/// How a run ended, as far as the conductor can tell. Whether its figures are good is for the report to say.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// It went through all phases.
    Complete,
    /// The guard stopped the ramp.
    Stopped,
    /// A signal ended it.
    Interrupted {
        /// The signal's number.
        signal: i32,
    },
    /// A worker died that the run could not do without.
    WorkerGone(String),
    /// Nothing moved for too long.
    Stalled(String),
    /// The place could not be made, or a worker not be started.
    NotProvisioned {
        /// What was tried and what came back.
        error: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The recording could not be written.
    RecordingBroken(String),
    /// A defect of this program.
    Panicked(String),
}

/// What a run leaves to say.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// What is left on the host that should not be.
    pub leftovers: Vec<String>,
}

/// Conducts a run from the first change to the last restored setting.
pub fn execute(run: Run<'_>, interrupt: &Interrupt, tell: &mut dyn FnMut(Progress)) -> Outcome {
    let origin = Instant::now();
    let log = Log::new(run.directory.clone(), origin);
    let mut tuning = run.tuning;
    tell(Progress::Recording {
        directory: run.directory.path().to_path_buf(),
    });
    log.remember(run.directory.write_json(FACTS, run.facts));
    log.remember(run.directory.write_json(PLAN, run.plan));
    log.remember(run.directory.write_json(SUMMARY, &run.plan.summary()));
    match crate::scenario::to_yaml(run.scenario) {
        Ok(text) => log.remember(run.directory.write_text(SCENARIO, &text)),
        Err(error) => log.remember(Err(error)),
    }
    log.event(RunEvent::Started {
        wall_clock: run.started,
        command: run.command,
        version: run.version,
    });
    let choice: PlaceChoice = run.plan.place.clone();
    log.event(RunEvent::Place(choice));

    let guard = match Guard::start(run.plan, memory_gauge(Path::new("/"))) {
        Ok(guard) => guard,
        Err(error) => return not_guarded(&log, &error),
    };
    let mut conductor = Conductor::new(run.plan, guard, log.clone(), interrupt, tell);
    interrupt.changes_begin();
    let phases = catch_unwind(AssertUnwindSafe(|| {
        conductor.all_phases(&run.id, origin, &mut tuning)
    }));
    let mut ending = match phases {
        Ok(Ok(())) => ending_of(&conductor, interrupt),
        Ok(Err(failure)) => {
            log.event(RunEvent::Failed {
                error: failure.to_string(),
                hint: failure.hint.clone(),
            });
            match conductor.stop {
                Some(Stop::Interrupted) => ending_of(&conductor, interrupt),
                _ => Ending::NotProvisioned {
                    error: failure.to_string(),
                    hint: failure.hint,
                },
            }
        }
        Err(panic) => {
            let why = panic_text(panic.as_ref());
            log.event(RunEvent::Failed {
                error: format!("the program has a defect: {why}"),
                hint: None,
            });
            Ending::Panicked(why)
        }
    };
    record_stop(&conductor, interrupt, &ending);

    if conductor.workers.iter().any(workers::Worker::alive) && conductor.phase >= Phase::Ramp {
        conductor.last_look();
        let drain = run
            .plan
            .stages
            .iter()
            .position(|stage| *stage == Stage::Drain);
        log.enter_stage(drain);
        conductor.phase(Phase::Drain, Conductor::drain);
        log.enter_stage(None);
    }
    let mut leftovers = conductor.phase(Phase::Teardown, Conductor::tear_down);
    let restored = conductor.phase(Phase::Restore, |_| tuning.restore());
    leftovers.extend(account_for(restored, &mut conductor));
    if leftovers.is_empty() {
        interrupt.changes_end();
    }
    for what in &leftovers {
        log.event(RunEvent::Leftover { what: what.clone() });
    }
    if let (Some(why), false) = (log.broken(), matches!(ending, Ending::Panicked(_))) {
        ending = Ending::RecordingBroken(why);
    }
    log.event(RunEvent::Ended {
        verdict: verdict_of(&ending),
    });
    Outcome { ending, leftovers }
}

/// Nothing was changed yet, and without a guard nothing is opened.
fn not_guarded(log: &Log, error: &std::io::Error) -> Outcome {
    let error = format!("cannot start the thread that watches memory: {error}");
    log.event(RunEvent::Failed {
        error: error.clone(),
        hint: None,
    });
    log.event(RunEvent::Ended {
        verdict: RunVerdict::Invalid,
    });
    Outcome {
        ending: Ending::NotProvisioned { error, hint: None },
        leftovers: Vec::new(),
    }
}

/// Records what was put back; returns what was not.
fn account_for(restored: Restoration, conductor: &mut Conductor<'_>) -> Vec<String> {
    let mut left = Vec::new();
    for (key, outcome) in restored.settings {
        match &outcome {
            RestoreOutcome::Restored | RestoreOutcome::AlreadyThere => {}
            RestoreOutcome::ChangedByOthers(value) => conductor.warn(format!(
                "{key} was changed to {value} by somebody else during the run and was left alone"
            )),
            RestoreOutcome::Failed(why) => {
                left.push(format!("setting {key} was not put back: {why}"));
            }
        }
        conductor
            .log
            .event(RunEvent::SettingRestored { key, outcome });
    }
    for (kind, name, removed) in restored.objects {
        if let Err(why) = removed {
            left.push(format!("{kind} {name} was not removed: {why}"));
        }
    }
    left.extend(restored.journal_left);
    left
}

fn ending_of(conductor: &Conductor<'_>, interrupt: &Interrupt) -> Ending {
    match &conductor.stop {
        None => Ending::Complete,
        Some(Stop::Guard) => Ending::Stopped,
        Some(Stop::Interrupted) => Ending::Interrupted {
            signal: interrupt.signal().unwrap_or_default(),
        },
        Some(Stop::WorkerGone(how)) => Ending::WorkerGone(how.clone()),
        Some(Stop::RecordingBroken(why)) => Ending::RecordingBroken(why.clone()),
        Some(Stop::Stalled(how)) => Ending::Stalled(how.clone()),
    }
}

fn record_stop(conductor: &Conductor<'_>, interrupt: &Interrupt, ending: &Ending) {
    match ending {
        Ending::Interrupted { .. } => conductor.log.event(RunEvent::Interrupted {
            signal: interrupt.name().unwrap_or("a signal").to_owned(),
            phase: conductor.phase,
        }),
        Ending::WorkerGone(error) | Ending::Stalled(error) => {
            conductor.log.event(RunEvent::Failed {
                error: error.clone(),
                hint: None,
            });
        }
        _ => {}
    }
}

const fn verdict_of(ending: &Ending) -> RunVerdict {
    match ending {
        Ending::Complete => RunVerdict::Held,
        Ending::Stopped => RunVerdict::Stopped,
        Ending::Interrupted { .. } => RunVerdict::Interrupted,
        Ending::WorkerGone(_) | Ending::Stalled(_) => RunVerdict::Missed,
        Ending::NotProvisioned { .. } | Ending::RecordingBroken(_) | Ending::Panicked(_) => {
            RunVerdict::Invalid
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
