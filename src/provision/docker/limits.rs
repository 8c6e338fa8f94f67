//! Which limit of descriptors the engine may give to a container, found by trying with a real one: an engine that asks for
//! more than it may give fails at the container's start, and not before.

use std::path::Path;

use bollard::models::{ContainerCreateBody, HostConfig, ResourcesUlimits};
use bollard::query_parameters::CreateContainerOptionsBuilder;

use super::container::hardened;
use super::engine::{Engine, said};
use super::program::Program;
use super::{image, labels, sweep};
use crate::domain::{Bytes, Limit, RunId};
use crate::kernel::procfs::Procfs;
use crate::plan::ContainerBounds;
use crate::provision::{ProvisionError, WorkerProgram};

/// What is asked for, the most first: the kernel's ceiling (`fs.nr_open`), and what engines and services usually have.
const ASKED: [u64; 5] = [1_048_576, 524_288, 65_536, 20_000, 4_096];

/// Descriptor limits of containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescriptorLimits {
    /// What a container gets that asks for nothing: soft and hard.
    pub given: (u64, Limit<u64>),
    /// The most that could be had by asking; absent where every attempt was refused.
    pub most: Option<u64>,
    /// The least that was refused, with what Docker said.
    pub refused: Option<(u64, String)>,
}

/// Starts small containers until one gets what it asks for, and removes them again.
///
/// # Errors
/// When no engine answers, or not even a container that asks for nothing can be started.
pub fn try_limits(
    run: &RunId,
    program: &WorkerProgram,
) -> Result<DescriptorLimits, ProvisionError> {
    let engine = Engine::connect()?;
    let image = image::ensure(&engine, &Program::of_worker(program)?)?;
    let outcome = try_all(&engine, &image.name, run);
    let (_, errors) = sweep::remove_run(&engine, run);
    match errors.into_iter().next() {
        Some(error) => Err(error),
        None => outcome,
    }
}

fn try_all(engine: &Engine, image: &str, run: &RunId) -> Result<DescriptorLimits, ProvisionError> {
    let given = try_one(engine, image, run, None)
        .map_err(|why| ProvisionError::new("start a container that asks for nothing", why))?;
    let mut limits = DescriptorLimits {
        given,
        most: None,
        refused: None,
    };
    for asked in ASKED {
        match try_one(engine, image, run, Some(asked)) {
            Ok(_) => {
                limits.most = Some(asked);
                break;
            }
            Err(why) => limits.refused = Some((asked, why)),
        }
    }
    Ok(limits)
}

/// Starts one container and reads its limit. It waits at its stdin until it is removed.
fn try_one(
    engine: &Engine,
    image: &str,
    run: &RunId,
    asked: Option<u64>,
) -> Result<(u64, Limit<u64>), String> {
    let name = match asked {
        None => format!("c1m-{run}-limit-none"),
        Some(asked) => format!("c1m-{run}-limit-{asked}"),
    };
    let ulimits = asked
        .and_then(|asked| i64::try_from(asked).ok())
        .map(|asked| {
            vec![ResourcesUlimits {
                name: Some("nofile".to_owned()),
                soft: Some(asked),
                hard: Some(asked),
            }]
        });
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: Some(vec!["worker".to_owned()]),
        labels: Some(labels::of_container(run, crate::domain::HostIndex(1))),
        open_stdin: Some(true),
        network_disabled: Some(true),
        host_config: Some(HostConfig {
            network_mode: Some("none".to_owned()),
            ulimits,
            ..hardened(ContainerBounds {
                memory: Bytes::from_mib(32),
                processes: 16,
            })
        }),
        ..ContainerCreateBody::default()
    };
    let docker = engine.docker();
    let state = engine
        .wait(async move {
            let options = CreateContainerOptionsBuilder::default().name(&name).build();
            let id = docker.create_container(Some(options), body).await?.id;
            docker.start_container(&id, None).await?;
            Ok(docker.inspect_container(&id, None).await?.state)
        })
        .map_err(|error| said(&error))?;
    let pid = state.and_then(|state| state.pid).unwrap_or_default();
    let limits = u32::try_from(pid)
        .map_err(|error| error.to_string())
        .and_then(|pid| {
            let mut proc = Procfs::new(Path::new("/"));
            proc.descriptor_limits(pid)
                .map_err(|error| error.to_string())
        })
        .map_err(|error| format!("its process {pid} cannot be looked at: {error}"))?;
    // No limit at all is no number that a container could get.
    let soft = limits.soft.bound().unwrap_or(u64::MAX);
    Ok((soft, limits.hard))
}
