//! The lab in containers of a Docker engine on this very kernel: an image made of this binary, one container for each host,
//! joined by veth pairs of the runner, or by one internal network of the engine for each network of the plan. On networks of
//! the engine connections stay out of connection tracking, on the host by rules that the runner puts in, in each container by
//! rules that its worker puts in before it gives up the capability.

mod address;
mod attach;
mod container;
mod engine;
mod image;
mod labels;
mod limits;
mod nearness;
mod network;
mod program;
mod subject;
mod sweep;
mod untrack;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt;

use crate::control::{Command, Event, VERSION, same_version};
use crate::domain::{HostIndex, NetworkDriver, PlannedWorker, RunId, SettingRecord};
use crate::host::Tuning;
use crate::kernel::cgroup::MemoryHierarchy;
use crate::kernel::netlink::route::RouteSocket;
use crate::kernel::sys::netns::NetworkNamespace;
use crate::kernel::sys::process::ProcessHandle;
use crate::plan::{HostPlan, Plan};

use super::inside::inside;
use super::links::{self, Joint};
use super::netns::Witness;
use super::{FromWorker, Inbox, ProvisionError, Testbed, WorkerHandle, WorkerProgram};
use attach::{Attached, ContainerProcess, Route};
use container::{Recipe, begin, must_be_of, name_of, process_of, unseen};
use engine::{Engine, failed};
use program::Program;

pub use engine::{none_installed, probe};
pub use image::{Image, make_image, make_image_of};
pub use limits::{DescriptorLimits, try_limits};
pub use sweep::{LeftBehind, SweepImages, Swept, left_behind, sweep};
pub use untrack::remove_object;

/// How long a worker may take to finish its place from within.
const LONGEST_PREPARATION: Duration = Duration::from_secs(30);

/// Makes image, networks and containers for the plan, starts the workers and lets them prepare. Objects of the host are
/// noted in the journal of `tuning` before they are made.
///
/// # Errors
/// When something cannot be made; what was made until then is unmade again.
pub fn up(
    plan: &Plan,
    run: &RunId,
    program: &WorkerProgram,
    tuning: &mut Tuning,
) -> Result<Box<dyn Testbed>, ProvisionError> {
    Ok(Box::new(Containers::up(plan, run, program, tuning)?))
}

/// Starts the container of the image that the plan measures. Nothing is made on the host beside it.
///
/// # Errors
/// When it cannot be started; what was made until then is unmade again.
pub(super) fn up_subject(
    plan: &Plan,
    run: &RunId,
    program: WorkerProgram,
) -> Result<Box<dyn Testbed>, ProvisionError> {
    Ok(Box::new(subject::SubjectContainer::up(plan, run, program)?))
}

/// Containers that are up, each with its worker prepared and waiting.
#[derive(Debug)]
struct Containers {
    engine: Engine,
    run: RunId,
    settings: Vec<SettingRecord>,
    hosts: Vec<Host>,
    /// The table of packet rules on the host, where there is one.
    rules: Option<String>,
    /// What joins the containers.
    driver: NetworkDriver,
    state: PlaceState,
}

/// Whether there is something to unmake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PlaceState {
    Up,
    Unmade,
}

/// The container of one host.
#[derive(Debug)]
struct Host {
    index: HostIndex,
    name: String,
    attached: Attached,
    process: Arc<ContainerProcess>,
    namespace: NetworkNamespace,
}

impl Containers {
    fn up(
        plan: &Plan,
        run: &RunId,
        program: &WorkerProgram,
        host: &mut Tuning,
    ) -> Result<Self, ProvisionError> {
        let engine = Engine::connect()?;
        let facts = engine.facts()?;
        if let Some(why) = facts.unusable {
            return Err(ProvisionError::new(
                format!("use the Docker engine at {}", facts.address),
                why,
            ));
        }
        let program = Program::of_worker(program)?;
        let image = image::ensure(&engine, &program)?;
        drop(program);
        let mut place = Self {
            engine,
            run: run.clone(),
            settings: Vec::new(),
            hosts: Vec::new(),
            rules: None,
            driver: plan.network_driver(),
            state: PlaceState::Up,
        };
        match place.make(plan, &image.name, host) {
            Ok(()) => Ok(place),
            Err(error) => Err(error.and_left(&place.unmake())),
        }
    }

    fn make(&mut self, plan: &Plan, image: &str, host: &mut Tuning) -> Result<(), ProvisionError> {
        let untracked = plan.untracked_range();
        if let Some(range) = untracked {
            let table = untrack::table_of(&self.run);
            host.note_object(untrack::TABLE, &table).map_err(|error| {
                ProvisionError::new(format!("note packet rules {table}"), error)
            })?;
            self.rules = Some(table.clone());
            untrack::put_in(&table, range)?;
        }
        let (sysctls, fresh) = container::sysctls(plan)?;
        let networks = network::make_all(&self.engine, plan, &self.run, host)?;
        let recipe = Recipe {
            run: &self.run,
            plan,
            image,
            networks: &networks,
            sysctls: &sysctls,
        };
        let made = plan
            .hosts
            .iter()
            .map(|host| Ok((host, recipe.make(&self.engine, host)?)))
            .collect::<Result<Vec<_>, ProvisionError>>()?;
        let mut routes = HashMap::new();
        for (host, id) in made {
            let host = self.start(host.index, &id)?;
            routes.insert(id, (host.name.clone(), host.attached.route()));
            self.hosts.push(host);
        }
        self.watch(routes);
        if self.driver == NetworkDriver::Link {
            self.link(&plan.hosts)?;
        }
        for (host, planned) in self.hosts.iter().zip(&plan.hosts) {
            let addresses = planned
                .interfaces
                .iter()
                // Links have all their addresses already.
                .filter(|_| self.driver != NetworkDriver::Link)
                .filter_map(|interface| interface.addresses.split_first())
                .flat_map(|(first, more)| more.iter().map(|address| (*address, *first)))
                .collect();
            let command = Command::Prepare {
                version: VERSION,
                addresses,
                untrack: untracked,
                settings: plan.settings.namespace.clone(),
            };
            host.attached.send(&command).map_err(|error| {
                ProvisionError::new(format!("tell container {} to prepare", host.name), error)
            })?;
        }
        let deadline = Instant::now() + LONGEST_PREPARATION;
        for host in &self.hosts {
            for mut record in host.await_preparation(deadline)? {
                record.host = Some(host.index);
                record.before = fresh.get(&record.change.key).cloned();
                record.changed = record.before != record.in_force;
                self.settings.push(record);
            }
        }
        Ok(())
    }

    /// Joins the containers by veth pairs. Their namespaces hold them, and the host's has none of them at any moment.
    fn link(&self, planned: &[HostPlan]) -> Result<(), ProvisionError> {
        let mut joints = self
            .hosts
            .iter()
            .map(|host| {
                let what = || format!("speak to the kernel about links of {}", host.name);
                Ok(Joint {
                    name: &host.name,
                    namespace: &host.namespace,
                    route: host
                        .run(RouteSocket::open)?
                        .map_err(|error| ProvisionError::new(what(), error))?,
                })
            })
            .collect::<Result<Vec<_>, ProvisionError>>()?;
        links::join_all(planned, &mut joints)
    }

    /// Attaches to a container, starts it, and finds its process here, which settles that it runs on this kernel.
    fn start(&self, index: HostIndex, id: &str) -> Result<Host, ProvisionError> {
        let name = name_of(&self.run, index);
        let attached = Attached::to(&self.engine, id, &name)?;
        let state =
            begin(&self.engine, id).map_err(failed(format!("cannot start container {name}")))?;
        let unseen = |why: String| unseen(&name, why);
        let pid = state
            .as_ref()
            .and_then(process_of)
            .ok_or_else(|| unseen("the engine does not say which it is".to_owned()))?;
        must_be_of(pid, id).map_err(unseen)?;
        let namespace = NetworkNamespace::of_process(pid)
            .map_err(|error| unseen(format!("network namespace of process {pid}: {error}")))?;
        let handle =
            ProcessHandle::open(pid).map_err(|error| unseen(format!("process {pid}: {error}")))?;
        let cgroup = MemoryHierarchy::find(Path::new("/"))
            .and_then(|hierarchy| {
                let group = hierarchy.group_of(Some(pid))?;
                hierarchy.enable_socket_accounting(&group)?;
                Ok(group)
            })
            .map_err(|error| unseen(format!("memory control group of process {pid}: {error}")))?;
        Ok(Host {
            index,
            name,
            attached,
            process: Arc::new(ContainerProcess {
                pid,
                handle,
                cgroup: Some(cgroup),
            }),
            namespace,
        })
    }

    /// Listens to what the engine tells of our containers: that one was paused, or killed for memory.
    fn watch(&self, routes: HashMap<String, (String, Arc<Route>)>) {
        let docker = self.engine.docker();
        let mut filter = labels::filter_run(&self.run);
        filter.insert("type".to_owned(), vec!["container".to_owned()]);
        filter.insert(
            "event".to_owned(),
            vec!["pause".to_owned(), "oom".to_owned()],
        );
        self.engine.spawn(async move {
            let options = EventsOptionsBuilder::default().filters(&filter).build();
            let mut events = docker.events(Some(options));
            while let Some(Ok(event)) = events.next().await {
                let told = event
                    .actor
                    .and_then(|actor| actor.id)
                    .and_then(|id| routes.get(&id));
                match (told, event.action.as_deref()) {
                    (Some((name, route)), Some("pause")) => route.note_paused(name),
                    (Some((_, route)), Some("oom")) => route.note_killed_for_memory(),
                    _ => {}
                }
            }
        });
    }

    fn host(&self, host: HostIndex) -> Result<&Host, ProvisionError> {
        self.hosts
            .iter()
            .find(|known| known.index == host || self.hosts.len() == 1)
            .ok_or_else(|| {
                ProvisionError::new(
                    format!("find the container of {}", host.name()),
                    format!("there are {} containers", self.hosts.len()),
                )
            })
    }

    /// What will see that the namespaces with our links are gone. The engine sees to those with its own.
    fn witness(&self) -> (Option<Witness>, Vec<ProvisionError>) {
        if self.driver != NetworkDriver::Link || self.hosts.is_empty() {
            return (None, Vec::new());
        }
        let mut witness = match Witness::new() {
            Ok(witness) => witness,
            Err(error) => return (None, vec![error]),
        };
        let errors = self
            .hosts
            .iter()
            .filter_map(|host| witness.watch(&host.name, &host.namespace).err())
            .collect();
        (Some(witness), errors)
    }

    fn unmake(&mut self) -> Vec<ProvisionError> {
        self.state = PlaceState::Unmade;
        let (witness, mut errors) = self.witness();
        // What is held open keeps namespaces alive.
        self.hosts.clear();
        errors.extend(sweep::remove_run(&self.engine, &self.run).1);
        errors.extend(witness.map(Witness::await_end).into_iter().flatten());
        if let Some(table) = self.rules.take()
            && let Err(error) = untrack::take_out(&table)
        {
            errors.push(error);
        }
        errors
    }
}

impl Host {
    /// Does `work` on a thread of its own inside the container's network namespace.
    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> Result<R, ProvisionError> {
        inside(
            Some(&self.namespace),
            &format!("container {}", self.name),
            work,
        )
    }

    /// The settings that the worker has read from within.
    fn await_preparation(&self, deadline: Instant) -> Result<Vec<SettingRecord>, ProvisionError> {
        let what = format!("prepare container {} from within", self.name);
        let answer = self
            .attached
            .await_event(deadline, |message| match message {
                FromWorker::Event(Event::Prepared {
                    version, settings, ..
                }) => Some(
                    same_version("worker in the container", *version)
                        .map(|()| settings.clone())
                        .map_err(|error| ProvisionError::new(what.clone(), error)),
                ),
                FromWorker::Event(Event::Fatal { error, hint }) => Some(Err(ProvisionError {
                    what: format!("cannot {what}"),
                    why: error.clone(),
                    hint: hint.clone(),
                })),
                FromWorker::Exited(report) => Some(Err(ProvisionError::new(
                    what.clone(),
                    format!("its worker ended: {report:?}"),
                ))),
                _ => None,
            });
        answer.unwrap_or_else(|| {
            Err(ProvisionError::new(
                what.clone(),
                format!("no answer within {} s", LONGEST_PREPARATION.as_secs()),
            ))
        })
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        if self.state == PlaceState::Up {
            for error in self.unmake() {
                tracing::error!("{error}");
            }
        }
    }
}

impl Testbed for Containers {
    fn settings(&self) -> Vec<SettingRecord> {
        self.settings.clone()
    }

    fn spawn(
        &mut self,
        worker: &PlannedWorker,
        inbox: Inbox,
    ) -> Result<Box<dyn WorkerHandle>, ProvisionError> {
        let host = self
            .hosts
            .iter_mut()
            .find(|host| host.index == worker.host)
            .ok_or_else(|| {
                ProvisionError::new(format!("start {}", worker.id), "it has no container")
            })?;
        let process = Arc::clone(&host.process);
        Ok(Box::new(host.attached.hand_over(worker.id, inbox, process)))
    }

    fn enter(&self, host: HostIndex, work: Box<dyn FnOnce() + Send>) -> Result<(), ProvisionError> {
        self.host(host)?.run(work)
    }

    fn proc_net(&self, host: HostIndex) -> Option<PathBuf> {
        let pid = self.host(host).ok()?.process.pid;
        Some(PathBuf::from(format!("/proc/{pid}/net")))
    }

    fn down(mut self: Box<Self>) -> Vec<ProvisionError> {
        self.unmake()
    }
}
