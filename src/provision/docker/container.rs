//! One container for each host of the topology: nothing in it but our binary, nothing allowed but what its worker needs
//! before it starts, and bounds on memory and processes from the plan.

use std::collections::HashMap;

use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, ContainerState, EndpointIpamConfig, EndpointSettings, HostConfig,
    HostConfigLogConfig, NetworkConnectRequest, NetworkingConfig, RestartPolicy,
    RestartPolicyNameEnum,
};
use bollard::query_parameters::CreateContainerOptionsBuilder;

use super::engine::{Engine, failed};
use super::labels;
use super::network::Networks;
use crate::control::RUN_VARIABLE;
use crate::domain::{HostIndex, NetworkDriver, RunId, SettingValue};
use crate::kernel::process::ControlGroups;
use crate::kernel::sys::netns::move_into_new_network;
use crate::kernel::sysctl::{SettingStore, Sysctl};
use crate::plan::{ContainerBounds, HostPlan, Interface, Plan};
use crate::provision::{ALLOCATOR_VARIABLE, ProvisionError};

/// What all containers of a run have in common.
#[derive(Debug)]
pub(super) struct Recipe<'a> {
    pub(super) run: &'a RunId,
    pub(super) plan: &'a Plan,
    pub(super) image: &'a str,
    /// Networks of the engine; none where the runner joins the containers itself.
    pub(super) networks: &'a Networks,
    /// Settings of a fresh namespace as `--sysctl` is to write them.
    pub(super) sysctls: &'a HashMap<String, String>,
}

impl Recipe<'_> {
    /// Makes the container of a host and connects it to its networks; it is not started. Returns its id.
    pub(super) fn make(&self, engine: &Engine, host: &HostPlan) -> Result<String, ProvisionError> {
        let name = name_of(self.run, host.index);
        let id = create(engine, &name, self.body(host)?)
            .map_err(failed(format!("cannot make container {name}")))?;
        // Below API 1.44 only one network may be named at creation; the others are connected before the start.
        for interface in self.given_by_engine(host).iter().skip(1) {
            self.connect(engine, &name, &id, interface)?;
        }
        Ok(id)
    }

    /// The interfaces that the engine gives to a container.
    fn given_by_engine<'h>(&self, host: &'h HostPlan) -> &'h [Interface] {
        match self.plan.network_driver() {
            NetworkDriver::Link => &[],
            NetworkDriver::Bridge | NetworkDriver::Macvlan => &host.interfaces,
        }
    }

    /// What a worker needs until it has prepared. On networks of the engine it adds addresses and packet rules from within
    /// (`NET_ADMIN`), and then empties its bounding set too (`SETPCAP`). Joined by the runner it has nothing to do and holds
    /// nothing from the start.
    fn capabilities(&self) -> Option<Vec<String>> {
        match self.plan.network_driver() {
            NetworkDriver::Link => None,
            NetworkDriver::Bridge | NetworkDriver::Macvlan => {
                Some(vec!["NET_ADMIN".to_owned(), "SETPCAP".to_owned()])
            }
        }
    }

    fn connect(
        &self,
        engine: &Engine,
        name: &str,
        id: &str,
        interface: &Interface,
    ) -> Result<(), ProvisionError> {
        let (network, endpoint) = self.endpoint(interface)?;
        let what = format!("cannot connect container {name} to network {network}");
        let docker = engine.docker();
        let request = NetworkConnectRequest {
            container: id.to_owned(),
            endpoint_config: Some(endpoint),
        };
        engine
            .wait(async move { docker.connect_network(&network, request).await })
            .map_err(failed(what))
    }

    fn endpoint(
        &self,
        interface: &Interface,
    ) -> Result<(String, EndpointSettings), ProvisionError> {
        let missing = |what: String| ProvisionError::new("connect a container", what);
        let network = self
            .networks
            .get(&interface.network)
            .ok_or_else(|| missing(format!("there is no network {}", interface.network)))?;
        let address = interface.addresses.first().ok_or_else(|| {
            missing(format!(
                "its interface on network {} has no address",
                interface.network
            ))
        })?;
        let endpoint = EndpointSettings {
            ipam_config: Some(EndpointIpamConfig {
                ipv4_address: Some(address.to_string()),
                ..EndpointIpamConfig::default()
            }),
            ..EndpointSettings::default()
        };
        Ok((network.clone(), endpoint))
    }

    fn body(&self, host: &HostPlan) -> Result<ContainerCreateBody, ProvisionError> {
        let endpoints = self
            .given_by_engine(host)
            .first()
            .map(|interface| self.endpoint(interface))
            .transpose()?;
        let network_mode = endpoints
            .as_ref()
            .map_or_else(|| "none".to_owned(), |(network, _)| network.clone());
        let bounds = self.plan.container_bounds(host.index);
        Ok(ContainerCreateBody {
            hostname: Some(host.index.name()),
            image: Some(self.image.to_owned()),
            cmd: Some(vec!["worker".to_owned()]),
            env: Some(
                std::iter::once(format!("{RUN_VARIABLE}={}", self.run))
                    .chain(
                        std::env::var(ALLOCATOR_VARIABLE)
                            .ok()
                            .map(|value| format!("{ALLOCATOR_VARIABLE}={value}")),
                    )
                    .collect(),
            ),
            labels: Some(labels::of_container(self.run, host.index)),
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            open_stdin: Some(true),
            // The worker's stdin closes with the runner's stream, however the runner ends; and that ends the worker.
            stdin_once: Some(true),
            network_disabled: Some(host.interfaces.is_empty()),
            networking_config: endpoints.map(|(network, endpoint)| NetworkingConfig {
                endpoints_config: Some(HashMap::from([(network, endpoint)])),
            }),
            host_config: Some(HostConfig {
                network_mode: Some(network_mode),
                cap_add: self.capabilities(),
                sysctls: Some(self.sysctls.clone()),
                ..hardened(bounds)
            }),
            ..ContainerCreateBody::default()
        })
    }
}

/// Makes a container; it is not started. Returns its id.
pub(super) fn create(
    engine: &Engine,
    name: &str,
    body: ContainerCreateBody,
) -> Result<String, Error> {
    let docker = engine.docker();
    let options = CreateContainerOptionsBuilder::default().name(name).build();
    let made = engine.wait(async move { docker.create_container(Some(options), body).await });
    made.map(|container| container.id)
}

/// Starts a container and looks at it.
pub(super) fn begin(engine: &Engine, id: &str) -> Result<Option<ContainerState>, Error> {
    let docker = engine.docker();
    let id = id.to_owned();
    engine.wait(async move {
        docker.start_container(&id, None).await?;
        Ok(docker.inspect_container(&id, None).await?.state)
    })
}

/// The first process of a container; nothing where it has none.
pub(super) fn process_of(state: &ContainerState) -> Option<u32> {
    let pid = u32::try_from(state.pid?).ok()?;
    (pid != 0).then_some(pid)
}

/// Makes sure that process `pid` here is one of the container `id`: the numbers of an engine in another process namespace
/// are other processes' here. The error is why it is not.
pub(super) fn must_be_of(pid: u32, id: &str) -> Result<(), String> {
    let groups = ControlGroups::of(pid).map_err(|error| format!("process {pid}: {error}"))?;
    if groups.name(id) == Some(true) {
        Ok(())
    } else {
        Err(format!(
            "process {pid} is there, and is not in a control group of the container"
        ))
    }
}

/// The process of a container is not seen here.
pub(super) fn unseen(name: &str, why: String) -> ProvisionError {
    ProvisionError::new(format!("see the process of container {name}"), why).with_hint(
        "the engine's containers must run on this kernel, seen from the process namespace of c1m",
    )
}

/// The name of a host's container.
pub(super) fn name_of(run: &RunId, host: HostIndex) -> String {
    format!("c1m-{run}-{}", host.name())
}

/// The part that is the same for whatever we run in a container: no capability, no right to gain one.
pub(super) fn hardened(bounds: ContainerBounds) -> HostConfig {
    let bytes = i64::try_from(bounds.memory.bytes()).unwrap_or(i64::MAX);
    HostConfig {
        cap_drop: Some(vec!["ALL".to_owned()]),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        readonly_rootfs: Some(true),
        memory: Some(bytes),
        // The same bound for memory and swap together: none of it is swapped.
        memory_swap: Some(bytes),
        pids_limit: Some(i64::try_from(bounds.processes).unwrap_or(i64::MAX)),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        publish_all_ports: Some(false),
        privileged: Some(false),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            // The runner keeps the log; this one is for a run whose runner died.
            config: Some(HashMap::from([
                ("max-size".to_owned(), "1m".to_owned()),
                ("max-file".to_owned(), "1".to_owned()),
            ])),
        }),
        ..HostConfig::default()
    }
}

/// Values of settings, by key.
pub(super) type Values = HashMap<String, String>;

/// The values that `--sysctl` is to write, with those that a fresh namespace has before. A setting that suffices is left
/// out. The values of a fresh namespace are read in one that is made for it and goes away at once.
pub(super) fn sysctls(plan: &Plan) -> Result<(Values, Values), ProvisionError> {
    let keys: Vec<String> = plan
        .settings
        .namespace
        .iter()
        .map(|change| change.key.clone())
        .collect();
    let fresh = values_of_fresh_namespace(keys)?;
    let wanted = plan
        .settings
        .namespace
        .iter()
        .filter_map(|change| {
            let before = fresh.get(&change.key);
            let value = match &change.wanted {
                SettingValue::Exactly(text) => (before != Some(text)).then(|| text.clone()),
                SettingValue::AtLeast(least) => {
                    let found: Option<u64> = before.and_then(|text| text.parse().ok());
                    found
                        .is_none_or(|found| found < *least)
                        .then(|| least.to_string())
                }
            };
            value.map(|value| (change.key.clone(), value))
        })
        .collect();
    Ok((wanted, fresh))
}

fn values_of_fresh_namespace(keys: Vec<String>) -> Result<HashMap<String, String>, ProvisionError> {
    let failed = |error: &dyn std::fmt::Display| {
        ProvisionError::new("read the settings of a fresh network namespace", error)
    };
    std::thread::Builder::new()
        .name("fresh-namespace".to_owned())
        .spawn(move || {
            move_into_new_network()?;
            let store = Sysctl::system();
            Ok(keys
                .into_iter()
                // A key that a fresh namespace does not have stays out, and the engine says so when it is to be written.
                .filter_map(|key| store.read(&key).ok().map(|value| (key, value)))
                .collect())
        })
        .map_err(|error| failed(&error))?
        .join()
        .map_err(|_| failed(&"the thread for it panicked"))?
        .map_err(|error: std::io::Error| failed(&error))
}
