//! From a scenario to the first phase of a run, in the order that keeps a host safe: take the lock, undo what an earlier crash
//! has left, look, plan, and only then start anything.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::path::{Path, PathBuf};
use std::{env, process};

use super::{Interrupt, Outcome, Progress, Run, execute};
use crate::domain::{HostFacts, RunId, SettingScope};
use crate::host::{self, FactsError, HostError, Lock, LockError, Recovery, Runtime, Tuning};
use crate::plan::{self, DockerSupport, PlaceRefusal, Plan, Refusal};
use crate::provision::{self, ProvisionError, docker};
use crate::record::{Owner, RecordError, RunDir};
use crate::scenario::Scenario;

/// Whether settings of the host may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostChanges {
    /// They may, through the journal.
    Allowed,
    /// They may not.
    Forbidden,
}

/// Why a run did not begin. No worker was started and no setting changed.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The lock is not ours.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Lock, journal, or their folder.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A run is under way, though its lock is gone. The text says which.
    #[error("{0}")]
    LiveRun(String),
    /// What a crashed run has changed could not be put back. A run puts back what it finds, so none may begin.
    #[error("the host is still changed, see above")]
    StillChanged,
    /// The host could not be looked at.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The place that was asked for cannot be had.
    #[error(transparent)]
    Place(#[from] PlaceRefusal),
    /// The scenario does not fit.
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    /// The scenario changes settings of the host, and that was not allowed.
    #[error("the scenario changes settings of the host: {}", .keys.join(", "))]
    HostSettings {
        /// The settings.
        keys: Vec<String>,
    },
    /// The run directory could not be made.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The user namespace could not be entered.
    #[error(transparent)]
    UserNamespace(#[from] ProvisionError),
}

/// A scenario that fits, with the lock held and nothing started.
#[derive(Debug)]
pub struct Prepared {
    /// The run's name.
    pub id: RunId,
    /// The host as it was found.
    pub facts: HostFacts,
    /// What is to be done.
    pub plan: Plan,
    lock: Lock,
}

/// A prepared run with its directory, in the user namespace that its place needs. From here on the process may have more
/// threads than one.
#[derive(Debug)]
pub struct Ready {
    prepared: Prepared,
    directory: RunDir,
    started: jiff::Timestamp,
}

/// Looks at the host, the Docker engine included. Changes nothing.
///
/// # Errors
/// When even the memory of the host cannot be read.
pub fn look() -> Result<HostFacts, PipelineError> {
    Ok(HostFacts {
        docker: docker::probe(),
        ..host::probe()?
    })
}

/// Chooses the place and plans.
///
/// # Errors
/// When the place cannot be had or the scenario does not fit.
pub fn plan_for(scenario: &Scenario, facts: &HostFacts) -> Result<Plan, PipelineError> {
    let decision = plan::choose_place_of(scenario, facts, DockerSupport::Available)?;
    Ok(plan::plan(scenario, facts, &decision)?)
}

/// Takes the lock, undoes what a crash has left, looks at the host, and plans.
///
/// # Errors
/// When another run is under way, the host is still changed, or the scenario does not fit.
pub fn prepare(
    scenario: &Scenario,
    runtime: &Runtime,
    changes: HostChanges,
) -> Result<Prepared, PipelineError> {
    let id = RunId::from_random(random_number());
    let lock = Lock::take(runtime, Some(&id))?;
    let recovered = host::recover(runtime, &lock, provision::remove_object)?;
    if let Recovery::LiveRun(who) = recovered {
        return Err(PipelineError::LiveRun(who));
    }
    for note in recovered.notes() {
        tracing::warn!("{note}");
    }
    // What a run finds on the host is what it puts back: never begin on a host that is still changed.
    if recovered.leaves_something() {
        return Err(PipelineError::StillChanged);
    }
    let (facts, plan) = look_and_plan(scenario, changes)?;
    Ok(Prepared {
        id,
        facts,
        plan,
        lock,
    })
}

/// The plan alone: takes no lock, makes no file, and undoes nothing. What a run would undo first is said.
///
/// # Errors
/// When the journals cannot be read or the scenario does not fit.
pub fn preview(
    scenario: &Scenario,
    runtime: Option<&Runtime>,
    changes: HostChanges,
) -> Result<Plan, PipelineError> {
    if let Some(runtime) = runtime {
        let found = host::look(runtime)?;
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

fn look_and_plan(
    scenario: &Scenario,
    changes: HostChanges,
) -> Result<(HostFacts, Plan), PipelineError> {
    let facts = look()?;
    let plan = plan_for(scenario, &facts)?;
    if changes == HostChanges::Forbidden && !plan.settings.host.is_empty() {
        let keys = plan
            .settings
            .host
            .iter()
            .filter(|change| change.scope == SettingScope::Host)
            .map(|change| change.key.clone())
            .collect();
        return Err(PipelineError::HostSettings { keys });
    }
    Ok((facts, plan))
}

impl Prepared {
    /// Makes the run directory below `results`, for `owner` where it is not the caller's, and enters the user namespace that
    /// the place needs. The process has to have one thread still: the kernel lets no other one move.
    ///
    /// # Errors
    /// When the directory cannot be made or the namespace not be entered.
    pub fn enter(
        self,
        scenario: &Scenario,
        results: &Path,
        owner: Option<Owner>,
    ) -> Result<Ready, PipelineError> {
        let started = jiff::Timestamp::now();
        let directory = RunDir::create_for(results, started, &scenario.name, &self.id, owner)?;
        if self.plan.how.needs_user_namespace() {
            provision::enter_user_namespace()?;
        }
        Ok(Ready {
            prepared: self,
            directory,
            started,
        })
    }
}

impl Ready {
    /// The run directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The journal of the run. Its file exists from the first change of the host to the last one that was put back.
    #[must_use]
    pub fn journal(&self, runtime: &Runtime) -> PathBuf {
        host::journal_path(runtime, &self.prepared.id)
    }

    /// Carries the run out, with `version` as that of the program, and gives the lock back.
    pub fn conduct(
        self,
        scenario: &Scenario,
        runtime: &Runtime,
        version: &str,
        interrupt: &Interrupt,
        tell: &mut dyn FnMut(Progress),
    ) -> Outcome {
        let Prepared {
            id,
            facts,
            plan,
            lock,
        } = self.prepared;
        let tuning = Tuning::new(runtime, &lock, &id, provision::remove_object);
        execute(
            Run {
                id,
                scenario,
                facts: &facts,
                plan: &plan,
                directory: self.directory,
                started: self.started.to_string(),
                // A path need not be UTF-8, and a report is text.
                command: env::args_os()
                    .map(|word| word.to_string_lossy().into_owned())
                    .collect(),
                version: version.to_owned(),
                tuning,
            },
            interrupt,
            tell,
        )
    }
}

/// The standard library's own random keys are enough to tell one run from another.
#[allow(clippy::cast_possible_truncation)] // half of the bits are as random as all of them
#[must_use]
pub fn random_number() -> u32 {
    RandomState::new().hash_one(process::id()) as u32
}
