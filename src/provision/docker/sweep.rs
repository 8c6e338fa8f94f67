//! Removal: of one run's containers and networks, by label, tolerant of what is gone, patient with containers that die
//! slowly, and verified at the end. A container that dies with hundreds of thousands of open sockets answers the engine too
//! late, and the first attempt to remove it fails; so it is tried again, within a bound.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::ContainerSummaryStateEnum;
use bollard::query_parameters::{
    KillContainerOptionsBuilder, ListContainersOptionsBuilder, ListNetworksOptionsBuilder,
    RemoveContainerOptionsBuilder,
};
use futures_util::future::join_all;

use super::engine::{Engine, failed, is_gone, said};
use super::{image, labels, untrack};
use crate::domain::RunId;
use crate::kernel::identity::Life;
use crate::provision::{ProvisionError, Unsure};

/// How long removal is tried: the exit of a process with a million sockets takes tens of seconds, and the engine gives up
/// on each attempt after ten.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long after a failed attempt the next one begins.
const TRY_EVERY: Duration = Duration::from_millis(500);

/// Whether images are removed too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepImages {
    /// They stay, and the next run is quicker for it.
    Keep,
    /// Every image of ours goes.
    Remove,
}

/// What a sweep found and did.
#[derive(Debug, Default)]
pub struct Swept {
    /// What was removed, as `container c1m-0123abcd-server`.
    pub removed: Vec<String>,
    /// Runs whose runner is alive: nothing of theirs was touched.
    pub alive: Vec<RunId>,
    /// What may belong to a live run: nothing of it was touched.
    pub unsure: Vec<Unsure>,
    /// What could not be removed, with what Docker said.
    pub errors: Vec<ProvisionError>,
}

/// What is in the engine without a living runner.
#[derive(Debug, Default)]
pub struct LeftBehind {
    /// The engine that was asked: its address.
    pub engine: String,
    /// What crashed runs left, as `container c1m-0123abcd-server`.
    pub objects: Vec<String>,
    /// What may belong to a live run.
    pub unsure: Vec<Unsure>,
    /// Images of ours, where they were asked for.
    pub images: Vec<String>,
}

/// Removes what crashed runs left in the engine: of `run`, or of every run whose runner is gone. Goes by labels alone and
/// ends by verifying that nothing is left. Where it cannot be told whether a runner is alive, nothing of its run is
/// touched.
///
/// # Errors
/// When no engine answers. What could not be removed is in the result.
pub fn sweep(run: Option<&RunId>, images: SweepImages) -> Result<Swept, ProvisionError> {
    let engine = Engine::connect()?;
    let mut swept = Swept::default();
    let found = Orphans::find(&engine, run)?;
    let dead: BTreeSet<RunId> = found.objects.into_iter().map(|(run, _)| run).collect();
    for run in &dead {
        let (removed, errors) = remove_run(&engine, run);
        swept.removed.extend(removed);
        swept.errors.extend(errors);
        if let Err(error) = untrack::take_out(&untrack::table_of(run)) {
            swept.errors.push(error);
        }
    }
    swept.alive = found.alive.into_iter().collect();
    swept.unsure = found.unsure;
    if images == SweepImages::Remove {
        let (names, errors) = image::remove_all(&engine);
        swept
            .removed
            .extend(names.into_iter().map(|name| format!("image {name}")));
        swept.errors.extend(errors);
    }
    Ok(swept)
}

/// What crashed runs left in the engine. Removes nothing.
///
/// # Errors
/// When no engine answers.
pub fn left_behind(images: SweepImages) -> Result<LeftBehind, ProvisionError> {
    let engine = Engine::connect()?;
    let found = Orphans::find(&engine, None)?;
    Ok(LeftBehind {
        engine: engine.url().to_owned(),
        objects: found
            .objects
            .into_iter()
            .map(|(_, object)| object.to_string())
            .collect(),
        unsure: found.unsure,
        images: match images {
            SweepImages::Keep => Vec::new(),
            SweepImages::Remove => image::names(&engine)?,
        },
    })
}

/// Objects of runs whose runner is gone, runs whose runner is alive, and what may belong to such a run.
#[derive(Debug, Default)]
struct Orphans {
    objects: Vec<(RunId, Object)>,
    alive: BTreeSet<RunId>,
    unsure: Vec<Unsure>,
}

impl Orphans {
    fn find(engine: &Engine, wanted: Option<&RunId>) -> Result<Self, ProvisionError> {
        let objects = list(engine, &labels::filter_ours())?;
        if objects.is_empty() {
            return Ok(Self::default());
        }
        // A runner is looked for on this kernel, so the engine has to be of this kernel: that is decided first.
        let running = objects.iter().filter(|object| object.is_running());
        let here = engine.is_here(running.map(|object| object.id.clone()).collect());
        let mut found = Self::default();
        let mut in_doubt = BTreeSet::new();
        for object in objects {
            let run = labels::run_of(&object.labels);
            if wanted.is_some() && wanted != run.as_ref() {
                continue;
            }
            let judged = match (&here, run.clone()) {
                (Err(why), _) => Err(why.clone()),
                (Ok(()), None) => Err("it does not say of which run it is".to_owned()),
                (Ok(()), Some(run)) => match object.life_of_owner() {
                    Life::Unknown(why) => Err(why),
                    life => Ok((run, life)),
                },
            };
            match judged {
                Ok((run, Life::Alive)) => {
                    found.alive.insert(run);
                }
                Ok((run, _)) => found.objects.push((run, object)),
                Err(why) => {
                    found.unsure.push(object.in_doubt(why));
                    in_doubt.extend(run);
                }
            }
        }
        // One object of a run speaks for all.
        let (dead, doubtful): (Vec<_>, Vec<_>) = found
            .objects
            .into_iter()
            .filter(|(run, _)| !found.alive.contains(run))
            .partition(|(run, _)| !in_doubt.contains(run));
        found.objects = dead;
        found
            .unsure
            .extend(doubtful.into_iter().map(|(run, object)| {
                object.in_doubt(format!(
                    "of another object of run {run} it cannot be told whether its runner is alive"
                ))
            }));
        Ok(found)
    }
}

/// Removes everything of a run. Returns what was removed, and what could not be.
pub(super) fn remove_run(engine: &Engine, run: &RunId) -> (Vec<String>, Vec<ProvisionError>) {
    let filter = labels::filter_run(run);
    let objects = match list(engine, &filter) {
        Ok(objects) => objects,
        Err(error) => return (Vec::new(), vec![error]),
    };
    let docker = engine.docker();
    let (mut removed, mut errors) = (Vec::new(), Vec::new());
    let outcomes = engine.wait({
        let objects = objects.clone();
        async move {
            let deadline = Instant::now() + PATIENCE;
            let (containers, networks): (Vec<_>, Vec<_>) = objects
                .into_iter()
                .partition(|object| object.kind == Kind::Container);
            // Networks come after their containers: one that is in use cannot be removed.
            let mut outcomes = remove_all(&docker, containers, deadline).await;
            outcomes.extend(remove_all(&docker, networks, deadline).await);
            outcomes
        }
    });
    for (object, outcome) in outcomes {
        match outcome {
            Ok(()) => removed.push(object.to_string()),
            Err(error) => errors.push(failed(format!("cannot remove {object}"))(error)),
        }
    }
    match list(engine, &filter) {
        Ok(left) => errors.extend(left.into_iter().map(|object| {
            ProvisionError::new(format!("remove {object}"), "it is still listed")
                .with_hint("try again in a minute: c1m clean")
        })),
        Err(error) => errors.push(error),
    }
    (removed, errors)
}

/// Something of ours in the engine.
#[derive(Debug, Clone)]
struct Object {
    kind: Kind,
    id: String,
    name: String,
    labels: HashMap<String, String>,
    state: ContainerState,
}

/// Whether a container has a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ContainerState {
    /// It has, or the engine does not say.
    Running,
    /// It has none; a network never has one.
    Stopped,
}

impl Object {
    fn is_running(&self) -> bool {
        self.state == ContainerState::Running
    }

    fn life_of_owner(&self) -> Life {
        match labels::life_of_owner(&self.labels) {
            // No container of ours is started again by the engine.
            Life::GoneWithItsBoot if self.is_running() => {
                Life::Unknown("its labels are of another boot, and it runs in this one".to_owned())
            }
            life => life,
        }
    }

    fn in_doubt(&self, why: String) -> Unsure {
        Unsure {
            what: self.to_string(),
            why,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Container,
    Network,
}

impl std::fmt::Display for Object {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            Kind::Container => "container",
            Kind::Network => "network",
        };
        write!(out, "{kind} {}", self.name)
    }
}

fn list(
    engine: &Engine,
    filter: &HashMap<String, Vec<String>>,
) -> Result<Vec<Object>, ProvisionError> {
    let docker = engine.docker();
    let filter = filter.clone();
    engine
        .wait(async move {
            let options = ListContainersOptionsBuilder::default()
                .all(true)
                .filters(&filter)
                .build();
            let containers = docker.list_containers(Some(options)).await?;
            let options = ListNetworksOptionsBuilder::default()
                .filters(&filter)
                .build();
            let networks = docker.list_networks(Some(options)).await?;
            let containers = containers.into_iter().map(|found| Object {
                kind: Kind::Container,
                name: found
                    .names
                    .and_then(|names| names.into_iter().next())
                    .map(|name| name.trim_start_matches('/').to_owned())
                    .unwrap_or_default(),
                id: found.id.unwrap_or_default(),
                labels: found.labels.unwrap_or_default(),
                state: match found.state {
                    Some(
                        ContainerSummaryStateEnum::CREATED
                        | ContainerSummaryStateEnum::EXITED
                        | ContainerSummaryStateEnum::DEAD,
                    ) => ContainerState::Stopped,
                    _ => ContainerState::Running,
                },
            });
            let networks = networks.into_iter().map(|found| Object {
                kind: Kind::Network,
                id: found.id.unwrap_or_default(),
                name: found.name.unwrap_or_default(),
                labels: found.labels.unwrap_or_default(),
                state: ContainerState::Stopped,
            });
            Ok(containers.chain(networks).collect())
        })
        .map_err(failed("cannot list the containers and networks of c1m"))
}

async fn remove_all(
    docker: &Docker,
    objects: Vec<Object>,
    deadline: Instant,
) -> Vec<(Object, Result<(), Error>)> {
    join_all(objects.into_iter().map(|object| async {
        let outcome = remove(docker, &object, deadline).await;
        (object, outcome)
    }))
    .await
}

/// Removes one object, trying again until the deadline.
async fn remove(docker: &Docker, object: &Object, deadline: Instant) -> Result<(), Error> {
    loop {
        let outcome = match object.kind {
            Kind::Container => remove_container(docker, &object.id).await,
            Kind::Network => docker.remove_network(&object.id).await,
        };
        match outcome {
            Ok(()) => return Ok(()),
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(error) => tracing::debug!(%object, "not removed yet: {}", said(&error)),
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}

/// Thaws, kills and removes a container. A frozen process dies only once it is thawed.
async fn remove_container(docker: &Docker, id: &str) -> Result<(), Error> {
    let state = docker
        .inspect_container(id, None)
        .await?
        .state
        .unwrap_or_default();
    if state.paused == Some(true) {
        docker.unpause_container(id).await?;
    }
    if state.running == Some(true) {
        let options = KillContainerOptionsBuilder::default()
            .signal("SIGKILL")
            .build();
        // It may have ended in between; and whether it did not die in time, the removal tells.
        let _ = docker.kill_container(id, Some(options)).await;
    }
    let options = RemoveContainerOptionsBuilder::default()
        .force(true)
        .v(true)
        .build();
    docker.remove_container(id, Some(options)).await
}
