//! A run as the terminal sees it: the threads for text and signals around it, what is said at its end, and with which code the
//! program exits. The run itself is `crate::run`.

use std::path::{Path, PathBuf};
use std::{fmt, process};

use super::caller::caller;
use super::output::{self, LastWords};
use super::progress::ProgressChoice;
use super::{Exit, Failure, runtime_args};
use crate::domain::{PlaceKind, RunId, RunVerdict};
use crate::host::Runtime;
use crate::report;
use crate::run::{self, Ending, Interrupt, Outcome, PipelineError, Prepared};
use crate::scenario::Scenario;

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

/// Carries out what was prepared, and writes the report.
pub(super) fn conduct(
    prepared: Prepared,
    scenario: &Scenario,
    runtime: &Runtime,
    results: &Path,
    progress: ProgressChoice,
) -> Result<Finished, Failure> {
    let run = prepared.id.clone();
    let place = prepared.plan.place.place;
    let ready = prepared.enter(scenario, results, caller())?;
    let threads_failed = |error| {
        let what = format!("cannot start the threads for the terminal and for signals: {error}");
        Failure::new(Exit::Failed, what)
    };
    output::start(progress).map_err(threads_failed)?;
    let interrupt = Interrupt::listen(last_words(run, place, ready.journal(runtime)))
        .map_err(threads_failed)?;
    let directory = ready.directory().to_path_buf();
    let outcome = ready.conduct(
        scenario,
        runtime,
        super::VERSION,
        &interrupt,
        &mut output::show,
    );
    output::end_of_progress();
    Ok(finish(&outcome, directory))
}

/// How a run that did not begin is told.
impl From<PipelineError> for Failure {
    fn from(error: PipelineError) -> Self {
        let host_cannot = |error: &dyn fmt::Display, hint: Option<String>| {
            Self::new(Exit::HostCannot, error).with_hint(hint)
        };
        match error {
            PipelineError::Lock(error) => runtime_args::host_cannot(error.into()),
            PipelineError::Host(error) => runtime_args::host_cannot(error),
            PipelineError::LiveRun(who) => host_cannot(&who, None),
            PipelineError::StillChanged => Self::new(Exit::HostChanged, error)
                .with_hint(Some("as the user who ran it: c1m restore")),
            PipelineError::Facts(error) => host_cannot(&error, None),
            PipelineError::Place(refusal) => host_cannot(&refusal, Some(refusal.cure.clone())),
            PipelineError::Refused(refusal) => host_cannot(&refusal.to_text(), None),
            PipelineError::HostSettings { .. } => host_cannot(
                &error,
                Some(
                    "allow it with --allow-host-settings; they are put back afterwards".to_owned(),
                ),
            ),
            PipelineError::Record(error) => {
                let hint = error.hint();
                Self::new(Exit::Failed, error).with_hint(hint)
            }
            PipelineError::UserNamespace(error) => {
                let hint = error.hint.clone();
                Self::new(Exit::Provision, error).with_hint(hint)
            }
        }
    }
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
