//! From a scenario to a finished run, in the order that keeps a host safe: take the lock, undo what an earlier crash has left,
//! look, plan, and only then start anything. Shared by `run` and `bench`.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::path::{Path, PathBuf};
use std::{env, process};

use super::caller::caller;
use super::output::{self, LastWords};
use super::progress::ProgressChoice;
use super::runtime_args::host_cannot;
use super::{Exit, Failure, machine, restore};
use crate::domain::{HostFacts, PlaceKind, RunId, RunVerdict, SettingScope};
use crate::host::{self, Lock, Recovery, Runtime, Tuning};
use crate::plan::Plan;
use crate::provision;
use crate::record::RunDir;
use crate::report;
use crate::run::{self, Ending, Interrupt, Outcome, Run};
use crate::scenario::Scenario;

/// Whether settings of the host may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostChanges {
    /// They may, through the journal.
    Allowed,
    /// They may not.
    Forbidden,
}

/// A scenario that fits, with the lock held and nothing started.
pub(super) struct Prepared {
    pub(super) id: RunId,
    pub(super) facts: HostFacts,
    pub(super) plan: Plan,
    lock: Lock,
}

/// A run that is over.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) exit: Exit,
    pub(super) directory: PathBuf,
    /// The summary for the terminal; empty where there is no result.
    pub(super) summary: String,
    /// What went wrong, a line each.
    pub(super) complaints: Vec<String>,
}

/// Takes the lock, undoes what a crash has left, looks at the host, and plans.
pub(super) fn prepare(
    scenario: &Scenario,
    runtime: &Runtime,
    changes: HostChanges,
) -> Result<Prepared, Failure> {
    let id = RunId::from_random(random_number());
    let lock = Lock::take(runtime, Some(&id)).map_err(|error| {
        let hint = error.hint();
        Failure::new(Exit::HostCannot, error).with_hint(hint)
    })?;
    let recovered = host::recover(runtime, &lock, provision::remove_object).map_err(host_cannot)?;
    if let Recovery::LiveRun(who) = recovered {
        return Err(Failure::new(Exit::HostCannot, who));
    }
    for note in recovered.notes() {
        tracing::warn!("{note}");
    }
    // What a run finds on the host is what it puts back: never begin on a host that is still changed.
    restore::still_left(&recovered)?;
    let (facts, plan) = look_and_plan(scenario, changes)?;
    Ok(Prepared {
        id,
        facts,
        plan,
        lock,
    })
}

/// The plan alone: takes no lock, makes no file, and undoes nothing. What a run would undo first is said.
pub(super) fn preview(
    scenario: &Scenario,
    runtime: Option<&Runtime>,
    changes: HostChanges,
) -> Result<Plan, Failure> {
    if let Some(runtime) = runtime {
        let found = host::look(runtime).map_err(host_cannot)?;
        match found.live_run {
            Some(who) => tracing::warn!("{who}; a run would have to wait for it"),
            None => {
                for journal in found.journals {
                    tracing::warn!("a run would first undo what a crashed one has left: {journal}");
                }
            }
        }
    }
    Ok(look_and_plan(scenario, changes)?.1)
}

fn look_and_plan(scenario: &Scenario, changes: HostChanges) -> Result<(HostFacts, Plan), Failure> {
    let facts = machine::look()?;
    let plan = machine::plan(scenario, &facts)?;
    if changes == HostChanges::Forbidden && !plan.settings.host.is_empty() {
        let keys: Vec<&str> = plan
            .settings
            .host
            .iter()
            .filter(|change| change.scope == SettingScope::Host)
            .map(|change| change.key.as_str())
            .collect();
        return Err(Failure::new(
            Exit::HostCannot,
            format!(
                "the scenario changes settings of the host: {}",
                keys.join(", ")
            ),
        )
        .with_hint(Some(
            "allow it with --allow-host-settings; they are put back afterwards",
        )));
    }
    Ok((facts, plan))
}

/// Carries out what was prepared, and writes the report.
pub(super) fn conduct(
    prepared: Prepared,
    scenario: &Scenario,
    runtime: &Runtime,
    results: &Path,
    progress: ProgressChoice,
) -> Result<Finished, Failure> {
    let Prepared {
        id,
        facts,
        plan,
        lock,
    } = prepared;
    let started = jiff::Timestamp::now();
    let directory =
        RunDir::create_for(results, started, &scenario.name, &id, caller()).map_err(|error| {
            let hint = error.hint();
            Failure::new(Exit::Failed, error).with_hint(hint)
        })?;
    if plan.how.needs_user_namespace() {
        // Before the first thread is started: the kernel lets only a process of one thread move.
        provision::enter_user_namespace().map_err(|error| {
            let hint = error.hint.clone();
            Failure::new(Exit::Provision, error).with_hint(hint)
        })?;
    }
    let threads_failed = |error| {
        let what = format!("cannot start the threads for the terminal and for signals: {error}");
        Failure::new(Exit::Failed, what)
    };
    output::start(progress).map_err(threads_failed)?;
    let journal = host::journal_path(runtime, &id);
    let interrupt = Interrupt::listen(last_words(id.clone(), plan.place.place, journal))
        .map_err(threads_failed)?;
    let tuning = Tuning::new(runtime, &lock, &id, provision::remove_object);
    let path = directory.path().to_path_buf();
    let outcome = run::execute(
        Run {
            id,
            scenario,
            facts: &facts,
            plan: &plan,
            directory,
            started: started.to_string(),
            // A path need not be UTF-8, and a report is text.
            command: env::args_os()
                .map(|word| word.to_string_lossy().into_owned())
                .collect(),
            version: super::VERSION.to_owned(),
            tuning,
        },
        &interrupt,
        &mut output::show,
    );
    output::end_of_progress();
    drop(lock);
    Ok(finish(&outcome, path))
}

fn finish(outcome: &Outcome, directory: PathBuf) -> Finished {
    let mut complaints: Vec<String> = outcome
        .leftovers
        .iter()
        .map(|left| format!("left behind: {left}; repair it by: c1m clean"))
        .collect();
    let (verdict, summary) = match report::write_all(&directory, caller()) {
        Ok(report) => (Some(report::result(&report).verdict), report::text(&report)),
        Err(error) => {
            complaints.push(format!("the report could not be written: {error}"));
            (None, String::new())
        }
    };
    complaints.extend(complaint_of(&outcome.ending));
    Finished {
        exit: exit_of(outcome, verdict),
        directory,
        summary,
        complaints,
    }
}

fn exit_of(outcome: &Outcome, verdict: Option<RunVerdict>) -> Exit {
    if !outcome.leftovers.is_empty() {
        return Exit::HostChanged;
    }
    match &outcome.ending {
        Ending::Interrupted { signal } => Exit::by_signal(*signal),
        Ending::NotProvisioned { .. } => Exit::Provision,
        Ending::RecordingBroken(_) | Ending::Panicked(_) => Exit::Failed,
        Ending::Stalled(_) => Exit::TimedOut,
        Ending::Complete | Ending::Stopped | Ending::WorkerGone(_) => match verdict {
            Some(RunVerdict::Held) => Exit::Done,
            Some(RunVerdict::Missed | RunVerdict::Stopped) => Exit::Missed,
            Some(RunVerdict::Interrupted) => Exit::Interrupted,
            Some(RunVerdict::Invalid) => Exit::Invalid,
            None => Exit::Failed,
        },
    }
}

fn complaint_of(ending: &Ending) -> Option<String> {
    match ending {
        Ending::Complete | Ending::Stopped | Ending::Interrupted { .. } => None,
        Ending::WorkerGone(how) | Ending::Stalled(how) => Some(how.clone()),
        Ending::NotProvisioned { error, hint } => Some(match hint {
            Some(hint) => format!("{error}\n  hint: {hint}"),
            None => error.clone(),
        }),
        Ending::RecordingBroken(why) => Some(format!("the run could not be recorded: {why}")),
        Ending::Panicked(why) => Some(format!("c1m has a defect: {why}")),
    }
}

/// At the second signal: nothing is waited for any more. What vanishes by itself does so when this process is gone; what may
/// not is named, and the exit code says that the host may be left changed.
fn last_words(run: RunId, place: PlaceKind, journal: PathBuf) -> run::LastWords {
    let words = LastWords::new();
    Box::new(move |second| {
        let mut left = Vec::new();
        if second.unfinished && place == PlaceKind::Docker {
            left.push("containers and networks");
        }
        // It exists from the first change of the host to the last one that was put back.
        if journal.exists() {
            left.push("settings or packet rules of the host");
        }
        if left.is_empty() {
            words.say(format!(
                "run {run} was ended at once; its workers end by themselves and nothing else is left; to make sure: c1m clean"
            ));
            end_now(128 + second.signal);
        }
        words.say(format!(
            "run {run} was not taken down: {} may be left; clean up by: c1m clean",
            left.join(", ")
        ));
        end_now(i32::from(Exit::HostChanged.code()));
    })
}

#[allow(clippy::exit)] // the one place where waiting for an orderly end is what the user has just refused
fn end_now(code: i32) -> ! {
    process::exit(code)
}

/// The standard library's own random keys are enough to tell one run from another.
#[allow(clippy::cast_possible_truncation)] // half of the bits are as random as all of them
pub(super) fn random_number() -> u32 {
    RandomState::new().hash_one(process::id()) as u32
}
