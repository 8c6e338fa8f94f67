//! A worker that looks after a server which is not the lab's own: it starts it where it is to be started, waits until it
//! listens, tells what it writes, counts what it has accepted, and ends its whole process tree. It runs in the network
//! namespace of the server and is the parent of all its processes, also of those that go into the background.

mod output;
mod program;
mod ready;
mod user;

use std::net::SocketAddrV4;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::{Outbox, Whereabouts, WorkerError, refuse, whereabouts};
use crate::control::{Command, Event, VERSION};
use crate::domain::{
    AcceptState, ConnCount, Counters, ListenQueue, Reading, Subject, SubjectFacts, SubjectSpec,
    TreeRoot,
};
use crate::kernel::cgroup;
use crate::kernel::procfs::Procfs;
use crate::kernel::sys::process::{self, ProcessHandle};
use crate::kernel::sysctl::{SettingStore as _, Sysctl};
use crate::observe;

use program::Program;

/// Time between two looks at the sockets, at least.
const EVERY: Duration = Duration::from_millis(250);

/// The same while connections come.
const EVERY_WHILE_COMING: Duration = Duration::from_millis(50);

/// Time between two looks at the accept queues while connections come.
const QUEUES_EVERY: Duration = Duration::from_millis(5);

/// The same while none come.
const QUEUES_IDLE: Duration = Duration::from_millis(100);

/// Time between two looks whether the server has ended. With a server in the background each is a walk through `/proc`.
const ENDED_EVERY: Duration = Duration::from_millis(100);

/// How long after the last change connections are taken to come still.
const STILL_COMING: Duration = Duration::from_secs(1);

/// A queue that is fuller than the first share of its limit is filling, and one that is less full than the second has
/// emptied again. The runner hears of both, and opens nothing in between.
const FILLING: f64 = 0.5;
const EMPTIED: f64 = 0.25;

/// How long nothing may listen and nothing be connected until the server is taken for gone: some begin to listen anew.
const DESERTED_FOR: Duration = Duration::from_secs(1);

/// What bounds every accept queue. The worker is in the network namespace whose value counts.
const SOMAXCONN: &str = "net.core.somaxconn";

/// A look takes at most this part of the time between two looks.
const LOOK_PART: u32 = 10;

/// Why a subject could not be looked after.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct SubjectError {
    what: String,
    hint: Option<String>,
}

impl SubjectError {
    fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: None,
        }
    }

    fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

/// The server under this worker's eyes.
#[derive(Debug)]
enum Server {
    /// Started here: it is ended when this is dropped.
    Started(Program),
    /// It was there before, and stays.
    Found { pid: u32, handle: ProcessHandle },
    /// Nothing is known but its address.
    Unknown,
}

impl Server {
    fn of(spec: &SubjectSpec, outbox: &Outbox) -> Result<Self, SubjectError> {
        match &spec.subject {
            Subject::Command(command) => {
                ready::ports_are_free(&spec.listen)?;
                Ok(Self::Started(Program::start(command, outbox)?))
            }
            Subject::Process { pid } => Self::found(*pid),
            // The container is up: its first process is the one that the runner has put in place of the image.
            Subject::Image(image) => match spec.container_pid {
                Some(pid) => Self::found(pid),
                None => Err(SubjectError::new(format!(
                    "the container of image {} has no process",
                    image.image
                ))),
            },
            Subject::Target { address } => {
                must_be_here(*address)?;
                Ok(match ready::owner_of(&spec.listen) {
                    Some(pid) => Self::found(pid)?,
                    None => Self::Unknown,
                })
            }
        }
    }

    fn found(pid: u32) -> Result<Self, SubjectError> {
        let handle = ProcessHandle::open(pid)
            .map_err(|error| SubjectError::new(format!("there is no process {pid}: {error}")))?;
        Ok(Self::Found { pid, handle })
    }

    /// Its process tree, where it has one.
    fn root(&self) -> Option<TreeRoot> {
        match self {
            Self::Started(_) => Some(TreeRoot::Below(std::process::id())),
            Self::Found { pid, .. } => Some(TreeRoot::From(*pid)),
            Self::Unknown => None,
        }
    }

    /// How it has ended; nothing while it runs.
    fn end(&mut self) -> Option<String> {
        match self {
            Self::Started(program) => program.end(),
            Self::Found { pid, handle } => handle
                .has_ended()
                .then(|| format!("process {pid} has ended")),
            Self::Unknown => None,
        }
    }

    /// What is said of it when it listens no more though it has not ended.
    fn deserted(&self, at: &str) -> String {
        if let Self::Started(program) = self
            && let Some(how) = program.left_processes()
        {
            return format!("{how}, and none of its processes that are left listens at {at}");
        }
        format!("nothing listens at {at} any more")
    }

    /// What it wrote last, for a message.
    fn last_lines(&self) -> Vec<String> {
        match self {
            Self::Started(program) => program.last_lines(),
            Self::Found { .. } | Self::Unknown => Vec::new(),
        }
    }
}

/// Looks after the server until it is told to end.
pub(super) fn run(
    spec: &SubjectSpec,
    inbox: &Receiver<Command>,
    outbox: &Outbox,
) -> Result<(), WorkerError> {
    process::adopt_descendants()?;
    let mut server = Server::of(spec, outbox)?;
    let Some(facts) = ready::wait(spec, &mut server, inbox)? else {
        return Ok(());
    };
    outbox.tell(Event::Subject {
        facts: Box::new(facts.clone()),
    });
    outbox.tell(Event::Ready {
        version: VERSION,
        pid: facts.pid.unwrap_or_else(std::process::id),
        tables: 1,
        descriptors_per_table: 0,
        listening: spec.listen.clone(),
    });
    let mut watch = Watch {
        spec,
        server,
        outbox,
        told: AcceptState::default(),
        counters: Counters::default(),
        wait: EVERY,
        changed: Instant::now(),
        filling: false,
        deserted: None,
        complained: false,
    };
    watch.serve(inbox)?;
    Ok(())
}

/// The server while connections come and go.
struct Watch<'a> {
    spec: &'a SubjectSpec,
    server: Server,
    outbox: &'a Outbox,
    told: AcceptState,
    counters: Counters,
    wait: Duration,
    /// When connections came or went last.
    changed: Instant,
    /// Whether the runner knows an accept queue to be filling.
    filling: bool,
    /// Since when nothing listens and nothing is connected.
    deserted: Option<Instant>,
    complained: bool,
}

impl Watch<'_> {
    fn serve(&mut self, inbox: &Receiver<Command>) -> Result<(), SubjectError> {
        let mut closing = false;
        let mut next = Instant::now();
        let mut next_end = next;
        loop {
            let pause = if self.filling || self.changed.elapsed() < STILL_COMING {
                QUEUES_EVERY
            } else {
                QUEUES_IDLE
            };
            let left = next.saturating_duration_since(Instant::now());
            match inbox.recv_timeout(left.min(pause)) {
                Ok(Command::Alive) => {}
                Ok(Command::LookForLosses) => {
                    self.look();
                    closing = true;
                    self.outbox.tell(Event::LossesTold {
                        counters: self.counters.clone(),
                    });
                }
                // The clients reset their ends, and the server's go with them.
                Ok(Command::Drain) => {
                    closing = true;
                    self.outbox.tell(Event::Drained {
                        closed: ConnCount::ZERO,
                    });
                }
                Ok(Command::Exit) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(other) => refuse(self.outbox, "server that is not the lab's own", &other),
                Err(RecvTimeoutError::Timeout) if Instant::now() >= next => {
                    self.look();
                    next = Instant::now() + self.wait;
                }
                Err(RecvTimeoutError::Timeout) => self.look_at_queues(),
            }
            if !closing && Instant::now() >= next_end {
                next_end = Instant::now() + ENDED_EVERY;
                if let Some(how) = self.end() {
                    return Err(gone(&how, &self.server.last_lines()));
                }
            }
        }
    }

    /// How the server has ended. A process of it that is left, or that nobody knows, is no server.
    fn end(&mut self) -> Option<String> {
        self.server.end().or_else(|| {
            let since = self.deserted?;
            let at = ready::listed(&self.spec.listen);
            (since.elapsed() >= DESERTED_FOR).then(|| self.server.deserted(&at))
        })
    }

    /// Looks at the accept queues alone, which costs little.
    fn look_at_queues(&mut self) {
        // What cannot be read here is complained of by the whole look.
        if let Ok(queues) = observe::accept_queues(&self.spec.listen) {
            if queues.iter().any(|queue| queue.length > 0) {
                self.changed = Instant::now();
            }
            self.tell_filling(&queues);
        }
    }

    /// Tells the runner when a queue is filling, and when all have emptied again.
    fn tell_filling(&mut self, queues: &[ListenQueue]) {
        let fullness = AcceptState::fullness_of(queues);
        let filling = if self.filling {
            fullness > EMPTIED
        } else {
            fullness >= FILLING
        };
        if filling != self.filling {
            self.filling = filling;
            self.outbox.tell(Event::Queue { filling });
        }
    }

    /// Counts what is accepted and what waits, and tells it when it has changed.
    fn look(&mut self) {
        let began = Instant::now();
        match observe::accept_state(&self.spec.listen) {
            Ok(state) => {
                self.tell_filling(&state.queues);
                let connected = state.accepted + state.waiting + state.half_open;
                if state.queues.is_empty() && connected == 0 {
                    self.deserted.get_or_insert(began);
                } else {
                    self.deserted = None;
                }
                let coming = self.changed.elapsed() < STILL_COMING;
                if state != self.told {
                    self.changed = Instant::now();
                }
                // While connections come, that nothing has changed says something too.
                if state != self.told || coming {
                    self.counters.established = ConnCount::new(state.accepted);
                    self.counters.opened = self.counters.opened.max(self.counters.established);
                    self.outbox.tell(Event::Accepting {
                        state: state.clone(),
                    });
                    self.outbox.tell(Event::Progress {
                        counters: self.counters.clone(),
                        latency: None,
                    });
                    self.told = state;
                }
            }
            Err(error) if !self.complained => {
                self.complained = true;
                self.outbox.tell(Event::Warning {
                    text: format!("what the server has accepted is not known: {error}"),
                });
            }
            Err(_) => {}
        }
        let every = if self.changed.elapsed() < STILL_COMING {
            EVERY_WHILE_COMING
        } else {
            EVERY
        };
        self.wait = every.max(began.elapsed() * LOOK_PART);
    }
}

/// Load goes to this machine alone: a listener at every address of it does not make another machine's address its own.
fn must_be_here(address: SocketAddrV4) -> Result<(), SubjectError> {
    let place = whereabouts(*address.ip())
        .map_err(|error| SubjectError::new(format!("cannot tell where {address} is: {error}")))?;
    if place == Whereabouts::Here {
        return Ok(());
    }
    Err(
        SubjectError::new(format!("{address} is not an address of this machine"))
            .with_hint("run c1m on the machine that has the server"),
    )
}

fn gone(how: &str, last_lines: &[String]) -> SubjectError {
    let error = SubjectError::new(how);
    match last_lines {
        [] => error,
        lines => error.with_hint(format!("its last lines: {}", lines.join(" | "))),
    }
}

/// What bounds the tasks of the server's first process.
fn most_tasks(procfs: &mut Procfs, pid: u32) -> Vec<(u64, String)> {
    let of_user = procfs.task_limit(pid).ok().flatten();
    let of_group = cgroup::most_tasks(Path::new("/"), pid);
    let mut most: Vec<(u64, String)> = of_user
        .map(|limit| (limit, "RLIMIT_NPROC".to_owned()))
        .into_iter()
        .chain(of_group.map(|limit| (limit, "pids.max of its control group".to_owned())))
        .collect();
    most.sort();
    most
}

/// What is known of the server at this moment.
fn facts(listen: &[SocketAddrV4], root: Option<TreeRoot>) -> SubjectFacts {
    let mut procfs = Procfs::new("/");
    let rows = root
        .and_then(|root| procfs.tree(root).ok())
        .unwrap_or_default();
    let first = rows.first().map(|row| row.pid);
    let program = first.map(|pid| std::fs::read_link(format!("/proc/{pid}/exe")));
    SubjectFacts {
        pid: first,
        tree: root,
        program: match program {
            Some(Ok(path)) => Reading::Present(path.display().to_string()),
            Some(Err(error)) => Reading::missing(error.to_string()),
            None => Reading::missing("no process is known"),
        },
        somaxconn: Sysctl::system()
            .read(SOMAXCONN)
            .ok()
            .and_then(|text| text.trim().parse().ok()),
        most_tasks: first.map_or_else(Vec::new, |pid| most_tasks(&mut procfs, pid)),
        logs: ready::logs_of(rows.iter().map(|row| row.pid)),
        processes: rows
            .into_iter()
            .take(SubjectFacts::MOST_PROCESSES)
            .map(|row| (row.pid, row.name))
            .collect(),
        listening: observe::accept_queues(listen).unwrap_or_default(),
        nofile: match first {
            Some(pid) => procfs
                .descriptor_limits(pid)
                .map(|limits| limits.soft)
                .into(),
            None => Reading::missing("no process is known"),
        },
    }
}
