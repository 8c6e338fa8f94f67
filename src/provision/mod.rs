//! Places to run: made from a plan, with workers started inside, and unmade again. One trait, a closed set of places.

mod child;
pub mod docker;
mod group;
mod inside;
mod joined;
mod links;
mod loopback;
mod netns;
mod orphans;
mod user;

use std::fmt;
use std::io;
use std::sync::mpsc::Sender;
use std::time::Duration;

use crate::control::{Command, Event};
use crate::domain::{
    HostIndex, PlaceMaking, PlannedWorker, RunId, SettingRecord, Subject, WorkerId,
};
use crate::host::Tuning;
use crate::plan::Plan;

pub(crate) use child::ALLOCATOR_VARIABLE;
pub use child::{WorkerProgram, ask_to_end};
pub use orphans::{Orphan, Orphans, orphans};
pub use user::{enter_user_namespace, user_namespace_allowed};

/// Makes the place that the plan asks for, its workers being this binary. What it makes on the host itself, such as packet
/// rules, is noted in the journal of `tuning` first; [`remove_object`] removes it again.
///
/// Where the plan needs a user namespace, [`enter_user_namespace`] has to come first, while the process has one thread.
///
/// # Errors
/// When something cannot be made; what was made until then is unmade again.
pub fn up(
    plan: &Plan,
    run: &RunId,
    tuning: &mut Tuning,
) -> Result<Box<dyn Testbed>, ProvisionError> {
    let program = WorkerProgram::this_binary();
    let place = match plan.how {
        PlaceMaking::Docker => docker::up(plan, run, &program, tuning),
        _ => up_with(plan, run, program),
    }?;
    match plan.subject().map(|spec| &spec.subject) {
        Some(Subject::Command(command)) => {
            group::WithGroup::around(place, run, command.options.memory, tuning)
        }
        _ => Ok(place),
    }
}

/// Removes an object of the host that a journal names.
///
/// # Errors
/// When it cannot be removed, or nobody knows its kind. That it is gone already is no error.
pub fn remove_object(kind: &str, name: &str) -> Result<(), String> {
    match kind {
        group::KIND => group::remove(name).map_err(|error| error.to_string()),
        _ => docker::remove_object(kind, name),
    }
}

/// Makes the place that the plan asks for, with workers that execute `program`. For places that make nothing on the host;
/// [`docker::up`] is for the other.
///
/// # Errors
/// As [`up`].
pub fn up_with(
    plan: &Plan,
    run: &RunId,
    program: WorkerProgram,
) -> Result<Box<dyn Testbed>, ProvisionError> {
    match plan.how {
        PlaceMaking::Docker => Err(ProvisionError::new(
            "make containers",
            "they need the host's journal: packet rules of the host are noted there first",
        )),
        PlaceMaking::HostLoopback => Ok(Box::new(loopback::HostLoopback::new(plan, run, program))),
        // A private loopback is a topology of one host without interfaces.
        PlaceMaking::PrivateLoopback { .. } | PlaceMaking::Netns { .. } => {
            Ok(Box::new(netns::Namespaces::up(plan, run, program)?))
        }
        PlaceMaking::Joined { pid } => Ok(Box::new(joined::Joined::up(pid, run, program)?)),
        PlaceMaking::Container => docker::up_subject(plan, run, program),
    }
}

/// What a worker's stream brings to the conductor.
#[derive(Debug)]
pub enum FromWorker {
    /// An event.
    Event(Event),
    /// A line that is none, or one line of the worker's stderr.
    Log(String),
    /// The worker ended.
    Exited(ExitReport),
}

/// How a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitReport {
    /// Exit code, where it exited.
    pub code: Option<i32>,
    /// The signal, where one ended it.
    pub signal: Option<i32>,
    /// Whether it was killed for memory, where the place can tell.
    pub oom_killed: Option<bool>,
}

/// Where workers of a place send what they say: the conductor's one inbox.
pub type Inbox = Sender<(WorkerId, FromWorker)>;

/// Why a place could not be made, used, or unmade.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub struct ProvisionError {
    /// What was tried, on which object.
    pub what: String,
    /// What came back.
    pub why: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl ProvisionError {
    pub(crate) fn new(what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self {
            what: format!("cannot {}", what.into()),
            why: why.to_string(),
            hint: None,
        }
    }

    /// The same with what could not be unmade afterwards.
    fn and_left(mut self, left: &[Self]) -> Self {
        if !left.is_empty() {
            let left: Vec<String> = left.iter().map(ToString::to_string).collect();
            self.why = format!("{}; and then: {}", self.why, left.join("; "));
            self.hint = Some("remove what is left by: c1m clean".to_owned());
        }
        self
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Something that may belong to a live run, because it cannot be told whether its runner is alive: it is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsure {
    /// What, as `container c1m-0123abcd-server`.
    pub what: String,
    /// Why it cannot be told.
    pub why: String,
}

impl fmt::Display for Unsure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.what, self.why)
    }
}

/// How often a worker hears that its runner is at work; see [`Command::Alive`].
const HEARTBEAT: Duration = Duration::from_millis(250);

/// Gives a worker commands from any thread. It keeps nothing open: once the worker's handle is dropped, nothing is sent.
pub type Remote = Box<dyn Fn(&Command) + Send>;

/// A running worker, whatever carries its lines. From the first command on it hears [`Command::Alive`] from a thread of its
/// own, as long as the runner is at work.
pub trait WorkerHandle: Send {
    /// Sends a command. Does not wait for the worker to take it.
    ///
    /// # Errors
    /// When nobody can take it, because the worker is gone.
    fn send(&mut self, command: &Command) -> io::Result<()>;

    /// The same for another thread.
    fn remote(&self) -> Remote;

    /// Its process in the runner's process namespace, where it is known.
    fn pid(&self) -> Option<u32>;

    /// Its memory control group as a path below the controller's mount, where it has one of its own.
    fn cgroup(&self) -> Option<String> {
        None
    }

    /// Ends it at once.
    fn kill(&mut self);
}

/// A place that is up. It owns what was made for it.
pub trait Testbed: Send {
    /// Settings as they were found, written and read back in each host.
    fn settings(&self) -> Vec<SettingRecord>;

    /// Starts a worker on its host. The conductor sends its spec by `Start`.
    ///
    /// # Errors
    /// When it cannot be started.
    fn spawn(
        &mut self,
        worker: &PlannedWorker,
        inbox: Inbox,
    ) -> Result<Box<dyn WorkerHandle>, ProvisionError>;

    /// Runs `work` on a thread of its own inside the network namespace of `host`, and brings back what it returns:
    /// `/proc/thread-self/net`, `/proc/sys/net` and netlink sockets there belong to that host.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    fn enter(&self, host: HostIndex, work: Box<dyn FnOnce() + Send>) -> Result<(), ProvisionError>;

    /// The first process of the container that was started from an image, where the place has one.
    fn container_pid(&self) -> Option<u32> {
        None
    }

    /// How that container has ended, as the engine tells it: `exited with code 1`. Nothing where there is none, or it runs.
    fn container_end(&self) -> Option<String> {
        None
    }

    /// Files `cgroup.procs` of the control groups that a server which is not the lab's own is to be in.
    fn server_groups(&self) -> Vec<String> {
        Vec::new()
    }

    /// A path below which the files of `/proc/net` of that host can be read from any thread, such as `/proc/1234/net`;
    /// absent while none is known.
    fn proc_net(&self, host: HostIndex) -> Option<std::path::PathBuf>;

    /// Unmakes everything and verifies that it is gone. Goes on after errors; what could not be unmade is in the list.
    fn down(self: Box<Self>) -> Vec<ProvisionError>;
}
