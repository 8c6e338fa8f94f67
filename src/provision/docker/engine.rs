//! The connection to the Docker engine: found, negotiated, pinned to the version that was agreed on, and judged. bollard
//! is async; it runs on a thread of its own here, and everything outside this folder calls blocking functions.

use std::future::Future;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::ListNetworksOptionsBuilder;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::address::{EngineAddress, Surroundings, Transport};
use super::nearness::{Found, Here, Listener, Witness, judge, prove_here};
use crate::domain::{DockerFacts, Reading};
use crate::kernel::process::{ControlGroups, command_name};
use crate::kernel::sys::peer::listener_of;
use crate::provision::ProvisionError;

/// How long after a process ended the engine may still call its container running: it gives up on one after ten seconds.
const LATEST_NEWS: Duration = Duration::from_secs(15);

const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The lowest API that is tried: Engine 20.10.
const LOWEST_API: (usize, usize) = (1, 41);

/// An engine that answers, with the thread that talks to it. Clones share both.
#[derive(Debug, Clone)]
pub(super) struct Engine {
    docker: Docker,
    address: EngineAddress,
    runtime: Arc<Runtime>,
}

impl Engine {
    /// Finds the engine and agrees on a version with it.
    ///
    /// # Errors
    /// When there is none, or it does not answer, or is too old.
    pub(super) fn connect() -> Result<Self, ProvisionError> {
        let address = Surroundings::of_this_process()
            .engine()
            .map_err(|why| ProvisionError {
                what: "cannot tell where the Docker engine is".to_owned(),
                why,
                hint: Some("name it: DOCKER_HOST=unix:///var/run/docker.sock".to_owned()),
            })?;
        Self::connect_to(address)
    }

    fn connect_to(address: EngineAddress) -> Result<Self, ProvisionError> {
        let what = format!(
            "cannot reach the Docker engine at {} (named by {})",
            address.url, address.named_by
        );
        if address.transport() == Transport::Remote {
            return Err(ProvisionError {
                what,
                why: "it is on another machine, whose kernel cannot be observed from here"
                    .to_owned(),
                hint: Some("run c1m on that machine, or use an engine of this one".to_owned()),
            });
        }
        let runtime = Arc::new(Runtime::start().map_err(|error| ProvisionError {
            what: "cannot start the thread that talks to Docker".to_owned(),
            why: error.to_string(),
            hint: None,
        })?);
        if let Transport::Unix(path) = address.transport()
            && let Err(error) = UnixStream::connect(&path)
        {
            let (why, hint) = refused(&path, &error);
            return Err(ProvisionError {
                what,
                why,
                hint: Some(hint),
            });
        }
        let unreachable = |error: Error| ProvisionError {
            what: what.clone(),
            why: said(&error),
            hint: Some("see that it is an engine that answers there: docker version".to_owned()),
        };
        let docker = Docker::connect_with_host(&address.url).map_err(unreachable)?;
        let docker = runtime
            .wait(docker.negotiate_version())
            .map_err(unreachable)?;
        let version = docker.client_version();
        if (version.major_version, version.minor_version) < LOWEST_API {
            return Err(ProvisionError {
                what,
                why: format!("it speaks API {version}, and 1.41 (Engine 20.10) is needed"),
                hint: None,
            });
        }
        Ok(Self {
            docker: pinned(docker),
            address,
            runtime,
        })
    }

    /// The client, for tasks that run on the engine's thread.
    pub(super) fn docker(&self) -> Docker {
        self.docker.clone()
    }

    /// Runs `work` on the engine's thread and waits for it.
    pub(super) fn wait<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        self.runtime.wait(work)
    }

    /// Runs `work` on the engine's thread for as long as there is an engine.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime.handle.spawn(work);
    }

    /// What it is, and whether it may be used from here.
    ///
    /// # Errors
    /// When it does not tell.
    pub(super) fn facts(&self) -> Result<DockerFacts, ProvisionError> {
        let docker = self.docker();
        let networks = self
            .wait(async move {
                docker
                    .list_networks(Some(ListNetworksOptionsBuilder::default().build()))
                    .await
            })
            .map_err(failed(format!(
                "cannot list the networks of the Docker engine at {}",
                self.address.url
            )))?;
        let (found, engine) = self.ask()?;
        let verdict = judge(&found, &Here::look());
        Ok(DockerFacts {
            engine,
            api: self.docker.client_version().to_string(),
            address: self.address.url.clone(),
            same_kernel: verdict.same_kernel,
            unusable: verdict.unusable,
            kernel: found.kernel,
            subnets: networks
                .iter()
                .filter_map(|network| network.ipam.as_ref()?.config.as_ref())
                .flatten()
                .filter_map(|config| config.subnet.as_ref()?.parse().ok())
                .collect(),
        })
    }

    /// What it says of itself, and its version.
    fn ask(&self) -> Result<(Found, String), ProvisionError> {
        let docker = self.docker();
        let (info, version) = self
            .wait(async move { Ok((docker.info().await?, docker.version().await?)) })
            .map_err(failed(format!(
                "cannot ask the Docker engine at {} what it is",
                self.address.url
            )))?;
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let is_podman = version.components.as_ref().is_some_and(|components| {
            components
                .iter()
                .any(|part| part.name.to_lowercase().contains("podman"))
        });
        let rootless = info
            .security_options
            .iter()
            .flatten()
            .any(|option| option.contains("rootless"));
        let found = Found {
            kernel: text(&info.kernel_version),
            system: text(&info.operating_system),
            memory: info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()),
            is_podman,
            rootless,
            listener: self.listener(),
        };
        Ok((found, text(&version.version)))
    }

    /// Whether it is proved to run on this kernel; an error says why that cannot be told. `running` are containers of its,
    /// whose processes are looked for here.
    pub(super) fn is_here(&self, running: Vec<String>) -> Result<(), String> {
        let (found, _) = self.ask().map_err(|error| error.to_string())?;
        prove_here(&found, &Here::look(), &self.witness(running))
    }

    /// Looks for the processes of containers. One that is ending is waited for: the engine tells of its end late.
    fn witness(&self, mut running: Vec<String>) -> Witness {
        let deadline = Instant::now() + LATEST_NEWS;
        loop {
            let mut absent = None;
            let mut left = Vec::new();
            for id in running {
                let docker = self.docker();
                let state = self.wait({
                    let id = id.clone();
                    async move { docker.inspect_container(&id, None).await }
                });
                let pid = state
                    .ok()
                    .and_then(|found| u32::try_from(found.state?.pid?).ok())
                    .filter(|pid| *pid != 0);
                let Some(pid) = pid else { continue };
                match ControlGroups::of(pid) {
                    Ok(groups) => match groups.name(&id) {
                        Some(true) => return Witness::Seen,
                        Some(false) => {
                            return Witness::Contradicts(format!(
                                "process {pid}, which should be that of container {id}, is another one here"
                            ));
                        }
                        None => {}
                    },
                    Err(error) => {
                        absent = Some(format!(
                            "process {pid} of container {id} is not seen here: {error}"
                        ));
                    }
                }
                left.push(id);
            }
            match absent {
                _ if left.is_empty() => return Witness::None,
                Some(why) if Instant::now() >= deadline => return Witness::Contradicts(why),
                None if Instant::now() >= deadline => return Witness::None,
                _ => {}
            }
            running = left;
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Its address.
    pub(super) fn url(&self) -> &str {
        &self.address.url
    }

    /// The program that listens at the engine's socket.
    fn listener(&self) -> Listener {
        let Transport::Unix(path) = self.address.transport() else {
            return Listener::Unknown;
        };
        match listener_of(&path) {
            Ok(None) => Listener::OutsideOurProcesses,
            Ok(Some(pid)) => command_name(pid).map_or(Listener::Unknown, Listener::Named),
            Err(_) => Listener::Unknown,
        }
    }
}

/// Looks for an engine and tells what it is. Starts nothing and changes nothing.
#[must_use]
pub fn probe() -> Reading<DockerFacts> {
    Engine::connect()
        .and_then(|engine| engine.facts())
        .map_err(|error| match &error.hint {
            Some(hint) => format!("{error} (cure: {hint})"),
            None => error.to_string(),
        })
        .into()
}

/// Why there can be no engine on this machine, where that is so: none is named, the system's socket is not there, and
/// neither are the engine's program and its data. Where one of them is there, an engine that does not answer may still have
/// containers.
#[must_use]
pub fn none_installed() -> Option<String> {
    let address = Surroundings::of_this_process().engine().ok()?;
    let traces = [
        "/var/run/docker.sock",
        "/var/lib/docker",
        "/usr/bin/dockerd",
        "/usr/sbin/dockerd",
        "/usr/local/bin/dockerd",
        "/snap/bin/dockerd",
    ];
    // What cannot be looked at may be there.
    let absent = |path: &&str| matches!(Path::new(path).try_exists(), Ok(false));
    (address.is_default() && traces.iter().all(absent)).then(|| {
        format!(
            "no Docker engine is installed: {} do not exist",
            traces.join(", ")
        )
    })
}

/// Why nobody could be reached at a socket, and what to do about it.
fn refused(path: &Path, error: &io::Error) -> (String, String) {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => (
            format!("permission denied on the socket {path}: this user may not use the engine"),
            format!(
                "run c1m with sudo, or add this user to the group that owns {path} (usermod -aG docker USER) and log in again"
            ),
        ),
        io::ErrorKind::NotFound => (
            format!("there is no socket {path}"),
            "install Docker, or start its daemon: systemctl start docker".to_owned(),
        ),
        io::ErrorKind::ConnectionRefused => (
            format!("nobody listens at the socket {path}"),
            "start the Docker daemon: systemctl start docker".to_owned(),
        ),
        _ => (
            format!("the socket {path}: {error}"),
            "see that an engine listens there: docker version".to_owned(),
        ),
    }
}

/// bollard 0.21.1 drops the version from its paths (it joins an absolute path onto the versioned one); an engine then
/// answers in its newest dialect, whatever was agreed on. The version is put in front of the path here.
fn pinned(docker: Docker) -> Docker {
    let version = docker.client_version();
    let prefix = format!("/v{}.{}", version.major_version, version.minor_version);
    docker.with_request_modifier(move |mut request| {
        let uri = request.uri();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        if path.starts_with(&prefix) {
            return request;
        }
        let with_version = format!(
            "{}://{}{prefix}{path}",
            uri.scheme_str().unwrap_or("http"),
            uri.authority().map_or("", |authority| authority.as_str()),
        );
        if let Ok(uri) = with_version.parse() {
            *request.uri_mut() = uri;
        }
        request
    })
}

/// What Docker said, without the wrapping.
pub(super) fn said(error: &Error) -> String {
    use std::error::Error as _;
    match error {
        Error::DockerResponseServerError {
            status_code,
            message,
        } => format!("Docker said ({status_code}): {}", message.trim()),
        Error::DockerStreamError { error } => format!("Docker said: {}", error.trim()),
        Error::RequestTimeoutError => "Docker did not answer in time".to_owned(),
        other => {
            let mut text = other.to_string();
            let mut source = other.source();
            while let Some(cause) = source {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text = format!("{text}: {cause_text}");
                }
                source = cause.source();
            }
            text
        }
    }
}

/// An error of this place: `what` was tried, and Docker answered.
pub(super) fn failed(what: impl Into<String>) -> impl FnOnce(Error) -> ProvisionError {
    let what = what.into();
    move |error| ProvisionError {
        what,
        why: said(&error),
        hint: None,
    }
}

/// Whether the engine says that the object does not exist (any more).
pub(super) fn is_gone(error: &Error) -> bool {
    matches!(
        error,
        Error::DockerResponseServerError {
            status_code: 404,
            ..
        }
    )
}

/// The thread that everything async runs on.
#[derive(Debug)]
struct Runtime {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runtime {
    fn start() -> io::Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (ready, handle) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("docker".to_owned())
            .spawn(move || {
                let built = tokio::runtime::Builder::new_current_thread()
                    .enable_io()
                    .enable_time()
                    .build();
                match built {
                    Ok(runtime) => {
                        // Nobody waits for the handle when the starter is gone, and then nothing is to be done.
                        let _ = ready.send(Ok(runtime.handle().clone()));
                        let _ = runtime.block_on(stopped);
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            })?;
        let handle = handle
            .recv()
            .map_err(|_| io::Error::other("the thread ended at once"))??;
        Ok(Self {
            handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    fn wait<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        self.handle.spawn(async move {
            // The waiter below does not go away before it was told.
            let _ = tell.send(work.await);
        });
        told.recv()
            .expect("the runtime's thread lives as long as this value, and its tasks do not panic")
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A task may hold the last engine: a thread cannot wait for itself.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic on that thread has been printed already.
            let _ = thread.join();
        }
    }
}
