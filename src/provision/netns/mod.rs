//! Network namespaces: one for the server and one for each client host, joined by veth pairs; or a single one with nothing
//! but a loopback. Held by descriptors and parked threads, so they vanish with the process, even after SIGKILL.
//!
//! The size of the hash of established connections is given to them by a parent namespace of our own, because a namespace
//! takes it from the one that it is made in (`tcp_set_hashinfo` in `net/ipv4/tcp_ipv4.c`, Linux 6.1): nothing global changes.

mod namespace;
mod witness;

use std::path::PathBuf;
use std::sync::Arc;

use crate::domain::{
    HostIndex, PlannedWorker, RunId, SettingChange, SettingRecord, SettingScope, SettingValue,
};
use crate::host;
use crate::kernel::netlink::route::RouteSocket;
use crate::kernel::sysctl::{SettingStore, Sysctl};
use crate::plan::Plan;

use super::child::{WorkerChild, end_all};
use super::links::{self, Joint};
use super::{Inbox, ProvisionError, Testbed, WorkerHandle, WorkerProgram};
use namespace::Namespace;

pub(super) use witness::Witness;

/// Namespaces that are up, with the workers in them.
#[derive(Debug)]
pub(super) struct Namespaces {
    run: RunId,
    program: WorkerProgram,
    settings: Vec<SettingRecord>,
    children: Vec<Arc<WorkerChild>>,
    hosts: Vec<Namespace>,
}

impl Namespaces {
    /// Makes the namespaces of the plan's hosts, joins them, and gives them their settings. What was made before an error
    /// goes away with its descriptors.
    pub(super) fn up(
        plan: &Plan,
        run: &RunId,
        program: WorkerProgram,
    ) -> Result<Self, ProvisionError> {
        let mut settings = Vec::new();
        let parent = match plan.settings.established_hash_entries {
            Some(entries) => {
                let (parent, _) = Namespace::make("the parent", None)?;
                settings.extend(parent.run(|| size_children(entries))?);
                Some(parent)
            }
            None => None,
        };
        let mut hosts = Vec::new();
        let mut routes = Vec::new();
        for host in &plan.hosts {
            let (namespace, mut route) = Namespace::make(&host.index.name(), parent.as_ref())?;
            set_up_loopback(&namespace, &mut route)?;
            settings.extend(namespace.run(|| {
                let store = Sysctl::system();
                let mut records = host::write_all(&plan.settings.namespace, host.index, &store);
                if let Some(entries) = plan.settings.established_hash_entries {
                    records.push(hash_size(entries, host.index, &store));
                }
                records
            })?);
            hosts.push(namespace);
            routes.push(route);
        }
        let mut joints: Vec<Joint<'_>> = hosts
            .iter()
            .zip(routes)
            .map(|(namespace, route)| Joint {
                name: namespace.name(),
                namespace: namespace.descriptor(),
                route,
            })
            .collect();
        links::join_all(&plan.hosts, &mut joints)?;
        drop(joints);
        Ok(Self {
            run: run.clone(),
            program,
            settings,
            children: Vec::new(),
            hosts,
        })
    }

    /// The namespace of a host; with one namespace, that one.
    fn namespace(&self, host: HostIndex) -> Result<&Namespace, ProvisionError> {
        match self.hosts.as_slice() {
            [only] => Ok(only),
            hosts => hosts.get(host.0).ok_or_else(|| {
                let what = format!("find the namespace of {}", host.name());
                ProvisionError::new(what, format!("there are {} hosts", hosts.len()))
            }),
        }
    }
}

impl Testbed for Namespaces {
    fn settings(&self) -> Vec<SettingRecord> {
        self.settings.clone()
    }

    fn spawn(
        &mut self,
        worker: &PlannedWorker,
        inbox: Inbox,
    ) -> Result<Box<dyn WorkerHandle>, ProvisionError> {
        // A child is born in the namespace of the thread that starts it. The threads that watch it are not: one that
        // outlived the place would keep the namespace alive.
        let child = self
            .namespace(worker.host)?
            .run(|| self.program.start(worker, &self.run))??;
        let (watched, handle) = WorkerChild::watch(worker.id, child, inbox)?;
        self.children.push(watched);
        Ok(Box::new(handle))
    }

    fn enter(&self, host: HostIndex, work: Box<dyn FnOnce() + Send>) -> Result<(), ProvisionError> {
        self.namespace(host)?.run(work)
    }

    fn proc_net(&self, host: HostIndex) -> Option<PathBuf> {
        Some(self.namespace(host).ok()?.proc_net())
    }

    fn down(mut self: Box<Self>) -> Vec<ProvisionError> {
        let mut errors = end_all(&self.children);
        let mut witness = match Witness::new() {
            Ok(witness) => Some(witness),
            Err(error) => {
                errors.push(error);
                None
            }
        };
        // The last first: the server's namespace takes its ends of all pairs with it.
        while let Some(namespace) = self.hosts.pop() {
            if let Some(witness) = &mut witness
                && let Err(error) = witness.watch(namespace.name(), namespace.descriptor())
            {
                errors.push(error);
            }
        }
        errors.extend(witness.map(Witness::await_end).into_iter().flatten());
        errors
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        for child in &self.children {
            // It fails only when the child is gone.
            let _ = child.kill();
        }
    }
}

/// In the parent namespace: the size that its children are to have.
fn size_children(entries: u64) -> Vec<SettingRecord> {
    let change = SettingChange {
        key: CHILD_HASH_KEY.to_owned(),
        scope: SettingScope::Namespace,
        wanted: SettingValue::Exactly(entries.to_string()),
        reason: "set in a parent namespace of our own, which gives its children this hash size"
            .to_owned(),
    };
    host::write_all(&[change], HostIndex::SERVER, &Sysctl::system())
        .into_iter()
        .map(|record| SettingRecord {
            host: None,
            ..record
        })
        .collect()
}

/// The size that a namespace really got. A negative one means that it shares the machine's table.
fn hash_size(wanted: u64, host: HostIndex, store: &Sysctl) -> SettingRecord {
    let found = store.read(HASH_KEY);
    let enough = |text: &String| text.parse::<u64>().is_ok_and(|entries| entries >= wanted);
    let error = match &found {
        Ok(text) if enough(text) => None,
        Ok(text) => Some(format!("{HASH_KEY} is {text}, wanted {wanted}")),
        Err(error) => Some(format!("cannot read {HASH_KEY}: {error}")),
    };
    let changed = error.is_none();
    SettingRecord {
        change: SettingChange {
            key: HASH_KEY.to_owned(),
            scope: SettingScope::Namespace,
            wanted: SettingValue::AtLeast(wanted),
            reason: "read only: given by the parent namespace when this one was made".to_owned(),
        },
        host: Some(host),
        before: None,
        in_force: found.ok(),
        changed,
        error,
    }
}

fn set_up_loopback(namespace: &Namespace, route: &mut RouteSocket) -> Result<(), ProvisionError> {
    let what = || format!("set the loopback of {} up", namespace.name());
    route
        .link_named("lo")
        .and_then(|loopback| route.set_up(loopback.index))
        .map_err(|error| ProvisionError::new(what(), error))
}

/// The size of the hash of children, read when one is made.
const CHILD_HASH_KEY: &str = "net.ipv4.tcp_child_ehash_entries";

/// The size of a namespace's own hash.
const HASH_KEY: &str = "net.ipv4.tcp_ehash_entries";
