//! A container of an image that is measured: a server that is not the lab's own. It has a loopback and no other network;
//! workers of the lab run in its network namespace, as children of the runner.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, HostConfig, ResourcesUlimits};
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;

use super::container::{begin, create, must_be_of, name_of, process_of, unseen};
use super::engine::{Engine, failed, is_gone};
use super::{labels, sweep};
use crate::control::{Event, LineLimiter};
use crate::domain::{
    HostIndex, ImageSubject, PlannedWorker, RunId, SettingRecord, Subject, WorkerId, exit_text,
};
use crate::kernel::cgroup::MemoryHierarchy;
use crate::plan::Plan;
use crate::provision::group::InGroup;
use crate::provision::joined::Joined;
use crate::provision::{FromWorker, Inbox, ProvisionError, Testbed, WorkerHandle, WorkerProgram};

/// Looks whether the engine knows of the end, and the time between two.
const END_LOOKS: u32 = 20;
const END_LOOK: Duration = Duration::from_millis(50);

/// Bytes of a line of its output; what is longer becomes several lines.
const LONGEST_LINE: usize = 2_048;

/// The container, with the workers in its network namespace.
#[derive(Debug)]
pub(super) struct SubjectContainer {
    engine: Engine,
    run: RunId,
    id: String,
    pid: u32,
    workers: Option<Joined>,
    /// Its memory control group.
    group: Option<String>,
}

impl SubjectContainer {
    /// Starts the container. When something fails, what was made is unmade again.
    pub(super) fn up(
        plan: &Plan,
        run: &RunId,
        program: WorkerProgram,
    ) -> Result<Self, ProvisionError> {
        let Some(Subject::Image(subject)) = plan.subject().map(|spec| &spec.subject) else {
            return Err(ProvisionError::new(
                "start the server's container",
                "the plan names no image",
            ));
        };
        let engine = Engine::connect()?;
        let started = start(&engine, run, subject)
            .and_then(|(id, pid)| Ok((id, pid, Joined::up(pid, run, program)?)));
        match started {
            Ok((id, pid, workers)) => Ok(Self {
                engine,
                run: run.clone(),
                id,
                pid,
                workers: Some(workers),
                group: group_of(pid),
            }),
            Err(error) => Err(error.and_left(&sweep::remove_run(&engine, run).1)),
        }
    }

    /// How the container has ended. The engine hears of it a moment after the process is gone.
    fn end(&self) -> Option<String> {
        for _ in 0..END_LOOKS {
            let (docker, id) = (self.engine.docker(), self.id.clone());
            let state = self
                .engine
                .wait(async move { docker.inspect_container(&id, None).await })
                .ok()?
                .state?;
            if state.running != Some(true) {
                let code = i32::try_from(state.exit_code?).ok()?;
                // As shells have it (`man 1 docker-run`, exit status).
                let signal = (code > 128).then(|| code - 128);
                return Some(exit_text(Some(code), signal, state.oom_killed));
            }
            thread::sleep(END_LOOK);
        }
        None
    }

    fn workers(&self) -> Result<&Joined, ProvisionError> {
        self.workers
            .as_ref()
            .ok_or_else(|| ProvisionError::new("use the server's container", "it is gone"))
    }

    /// Hands what the container writes to the conductor, a bounded number of lines.
    fn follow_output(&self, inbox: Inbox) {
        let docker = self.engine.docker();
        let id = self.id.clone();
        self.engine.spawn(async move {
            let options = LogsOptionsBuilder::default()
                .follow(true)
                .stdout(true)
                .stderr(true)
                .build();
            let mut log = docker.logs(&id, Some(options));
            let mut limiter = LineLimiter::new(std::time::Instant::now());
            while let Some(Ok(output)) = log.next().await {
                let (LogOutput::StdErr { message }
                | LogOutput::StdOut { message }
                | LogOutput::Console { message }
                | LogOutput::StdIn { message }) = output;
                for line in message.split(|byte| *byte == b'\n') {
                    for part in line.chunks(LONGEST_LINE) {
                        let text = String::from_utf8_lossy(part).trim_end().to_owned();
                        if text.is_empty() {
                            continue;
                        }
                        for text in limiter.lines(std::time::Instant::now(), text) {
                            let letter = FromWorker::Event(Event::Output { text });
                            // Nobody listens when the conductor is gone.
                            let _ = inbox.send((WorkerId::SERVER, letter));
                        }
                    }
                }
            }
        });
    }

    fn unmake(&mut self) -> Vec<ProvisionError> {
        let mut errors = self
            .workers
            .take()
            .map_or_else(Vec::new, |workers| Box::new(workers).down());
        errors.extend(sweep::remove_run(&self.engine, &self.run).1);
        errors
    }
}

/// The memory control group of a process, for what it tells and for socket buffers to be charged to it.
fn group_of(pid: u32) -> Option<String> {
    let hierarchy = MemoryHierarchy::find(Path::new("/")).ok()?;
    let group = hierarchy.group_of(Some(pid)).ok()?;
    // Without it the group still tells the rest.
    let _ = hierarchy.enable_socket_accounting(&group);
    Some(group)
}

fn start(
    engine: &Engine,
    run: &RunId,
    subject: &ImageSubject,
) -> Result<(String, u32), ProvisionError> {
    let name = name_of(run, HostIndex::SERVER);
    let what = format!("cannot make a container of image {}", subject.image);
    let id = create(engine, &name, body(run, subject)).map_err(|error| {
        let missing = is_gone(&error);
        let error = failed(what)(error);
        if missing {
            error.with_hint(format!(
                "c1m pulls no image: docker pull {}, or docker images for those that are here",
                subject.image
            ))
        } else {
            error
        }
    })?;
    let state = begin(engine, &id).map_err(failed(format!(
        "cannot start the container of image {}",
        subject.image
    )))?;
    if let Some(pid) = state.as_ref().and_then(process_of) {
        must_be_of(pid, &id).map_err(|why| unseen(&name, why))?;
        return Ok((id, pid));
    }
    let said = log_of(engine, &id);
    let code = state.and_then(|state| state.exit_code);
    let code = code.map_or_else(String::new, |code| format!(" with code {code}"));
    Err(ProvisionError::new(
        format!("use the container of image {}", subject.image),
        format!("its program ended at once{code}"),
    )
    .with_hint(match said.as_str() {
        "" => "it wrote nothing".to_owned(),
        lines => format!("its last lines: {lines}"),
    }))
}

/// The last lines that a container has written.
fn log_of(engine: &Engine, id: &str) -> String {
    let docker = engine.docker();
    let id = id.to_owned();
    let lines = engine.wait(async move {
        let options = LogsOptionsBuilder::default()
            .stdout(true)
            .stderr(true)
            .tail("5")
            .build();
        let mut log = docker.logs(&id, Some(options));
        let mut lines = Vec::new();
        while let Some(Ok(output)) = log.next().await {
            lines.push(output.to_string().trim_end().to_owned());
        }
        Ok::<_, bollard::errors::Error>(lines)
    });
    lines.unwrap_or_default().join(" | ")
}

fn body(run: &RunId, subject: &ImageSubject) -> ContainerCreateBody {
    let memory = subject
        .options
        .memory
        .and_then(|memory| i64::try_from(memory.bytes()).ok());
    let nofile = subject
        .options
        .nofile
        .and_then(|limit| i64::try_from(limit).ok())
        .map(|limit| {
            vec![ResourcesUlimits {
                name: Some("nofile".to_owned()),
                soft: Some(limit),
                hard: Some(limit),
            }]
        });
    ContainerCreateBody {
        hostname: Some(HostIndex::SERVER.name()),
        image: Some(subject.image.clone()),
        cmd: (!subject.words.is_empty()).then(|| subject.words.clone()),
        env: Some(
            subject
                .options
                .environment
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect(),
        ),
        user: subject.options.user.clone(),
        working_dir: subject.options.working_folder.clone(),
        labels: Some(labels::of_container(run, HostIndex::SERVER)),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            memory,
            // The same bound for memory and swap together: none of it is swapped.
            memory_swap: memory,
            ulimits: nofile,
            binds: Some(
                subject
                    .mounts
                    .iter()
                    .map(|mount| format!("{mount}:ro"))
                    .collect(),
            ),
            privileged: Some(false),
            publish_all_ports: Some(false),
            log_config: Some(bollard::models::HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: Some(HashMap::from([
                    ("max-size".to_owned(), "4m".to_owned()),
                    ("max-file".to_owned(), "1".to_owned()),
                ])),
            }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

impl Testbed for SubjectContainer {
    fn settings(&self) -> Vec<SettingRecord> {
        Vec::new()
    }

    fn spawn(
        &mut self,
        worker: &PlannedWorker,
        inbox: Inbox,
    ) -> Result<Box<dyn WorkerHandle>, ProvisionError> {
        if worker.id.is_server() {
            self.follow_output(inbox.clone());
        }
        let workers = self.workers.as_mut().ok_or_else(|| {
            ProvisionError::new(format!("start {}", worker.id), "the place is gone")
        })?;
        let handle = workers.spawn(worker, inbox)?;
        Ok(match &self.group {
            Some(group) if worker.id.is_server() => Box::new(InGroup {
                handle,
                group: group.clone(),
            }),
            _ => handle,
        })
    }

    fn enter(&self, host: HostIndex, work: Box<dyn FnOnce() + Send>) -> Result<(), ProvisionError> {
        self.workers()?.enter(host, work)
    }

    fn proc_net(&self, host: HostIndex) -> Option<PathBuf> {
        self.workers().ok()?.proc_net(host)
    }

    fn container_end(&self) -> Option<String> {
        self.end()
    }

    fn container_pid(&self) -> Option<u32> {
        Some(self.pid)
    }

    fn down(mut self: Box<Self>) -> Vec<ProvisionError> {
        self.unmake()
    }
}

impl Drop for SubjectContainer {
    fn drop(&mut self) {
        if self.workers.is_some() {
            for error in self.unmake() {
                tracing::error!("{error}");
            }
        }
    }
}
