//! The connection to the Docker engine: found, negotiated, pinned to the version that was agreed on, and judged. bollard
//! is async; it runs on a thread of its own here, and everything outside this folder calls blocking functions.

use std::future::Future;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::ListNetworksOptionsBuilder;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::address::{EngineAddress, Surroundings, Transport};
use crate::domain::{DockerFacts, Reading};
use crate::kernel;
use crate::provision::ProvisionError;

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
        let unreachable = |error: Error| ProvisionError {
            what: what.clone(),
            why: said(&error),
            hint: Some(
                "see that the engine runs and that this user may use its socket (group docker)"
                    .to_owned(),
            ),
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
    #[allow(dead_code)] // tmp
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.runtime.handle.spawn(work);
    }

    /// What it is, and whether it may be used from here.
    ///
    /// # Errors
    /// When it does not tell.
    pub(super) fn facts(&self) -> Result<DockerFacts, ProvisionError> {
        let docker = self.docker();
        let (info, version, networks) = self
            .wait(async move {
                Ok((
                    docker.info().await?,
                    docker.version().await?,
                    docker
                        .list_networks(Some(ListNetworksOptionsBuilder::default().build()))
                        .await?,
                ))
            })
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
        let here = Here::look();
        let verdict = judge(&found, &here);
        Ok(DockerFacts {
            engine: text(&version.version),
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

    /// The program that listens at the engine's socket.
    fn listener(&self) -> Listener {
        let Transport::Unix(path) = self.address.transport() else {
            return Listener::Unknown;
        };
        match kernel::sys::peer::listener_of(&path) {
            Ok(None) => Listener::OutsideOurProcesses,
            Ok(Some(pid)) => std::fs::read_to_string(format!("/proc/{pid}/comm"))
                .map_or(Listener::Unknown, |name| {
                    Listener::Named(name.trim().to_owned())
                }),
            Err(_) => Listener::Unknown,
        }
    }
}

/// What the engine says of itself, as far as it decides whether it runs on this kernel.
#[derive(Debug, Clone)]
struct Found {
    kernel: String,
    system: String,
    memory: Option<u64>,
    is_podman: bool,
    rootless: bool,
    listener: Listener,
}

/// Who listens at the engine's socket.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Listener {
    Named(String),
    OutsideOurProcesses,
    Unknown,
}

/// What this machine is, as far as it is compared with the engine.
#[derive(Debug, Clone)]
struct Here {
    kernel: String,
    memory: Option<u64>,
    may_write_rules: bool,
}

impl Here {
    fn look() -> Self {
        Self {
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
                .map(|text| text.trim().to_owned())
                .unwrap_or_default(),
            memory: std::fs::read_to_string("/proc/meminfo")
                .ok()
                .and_then(|text| {
                    let line = text
                        .lines()
                        .find_map(|line| line.strip_prefix("MemTotal:"))?;
                    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
                    Some(kib * 1024)
                }),
            may_write_rules: kernel::sys::capability::has_net_admin(),
        }
    }
}

struct Judgement {
    same_kernel: bool,
    unusable: Option<String>,
}

/// Programs that hand a socket on to an engine elsewhere.
const FORWARDERS: [&str; 7] = [
    "ssh",
    "sshd",
    "com.docker.back",
    "limactl",
    "colima",
    "qemu",
    "vpnkit",
];

/// Whether an engine runs on this very kernel and may be used. The engine does not tell its boot id, so the kernel's
/// release and the exact size of memory are compared, and who listens at the socket; after the first container has
/// started, its process is looked for here, which settles it.
fn judge(found: &Found, here: &Here) -> Judgement {
    let no = |why: String| Judgement {
        same_kernel: false,
        unusable: Some(why),
    };
    if found.system.contains("Docker Desktop") {
        return no(format!(
            "its containers run in the virtual machine of {}, whose kernel ({}) cannot be observed from here",
            found.system, found.kernel
        ));
    }
    if let Listener::Named(name) = &found.listener
        && FORWARDERS.iter().any(|known| name.starts_with(known))
    {
        return no(format!(
            "its socket is held by {name}, which hands it on to another machine, whose kernel cannot be observed from here"
        ));
    }
    if found.kernel != here.kernel {
        return no(format!(
            "its containers run on kernel {}, and this is {}: another machine, which cannot be observed from here",
            found.kernel, here.kernel
        ));
    }
    if let (Some(there), Some(here)) = (found.memory, here.memory)
        && there != here
    {
        return no(format!(
            "its machine has {there} bytes of memory, and this one {here}: another machine, which cannot be observed from here"
        ));
    }
    if found.listener == Listener::OutsideOurProcesses {
        return no(
            "its processes are outside of the process namespace that c1m runs in, and cannot be observed from here: run c1m on the machine itself"
                .to_owned(),
        );
    }
    let unusable = if found.is_podman {
        Some(
            "it is Podman, whose networks and attach streams differ; only Docker's engine has been tried"
                .to_owned(),
        )
    } else if found.rootless {
        Some(
            "it is rootless: its networks live in a namespace of its own, where c1m may not write the rules that keep connections out of tracking"
                .to_owned(),
        )
    } else if here.may_write_rules {
        None
    } else {
        Some(
            "this user may not write the host's packet rules (CAP_NET_ADMIN), and without them each connection is tracked three times"
                .to_owned(),
        )
    };
    Judgement {
        same_kernel: true,
        unusable,
    }
}

/// Looks for an engine and tells what it is. Starts nothing and changes nothing.
#[must_use]
pub fn probe() -> Reading<DockerFacts> {
    Engine::connect().and_then(|engine| engine.facts()).into()
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
#[allow(dead_code)] // tmp
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
    fn start() -> std::io::Result<Self> {
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
            .map_err(|_| std::io::Error::other("the thread ended at once"))??;
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

#[cfg(test)]
mod tests;
