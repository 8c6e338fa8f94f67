//! A server that is not the lab's own: what it is, how it is started, what is known of it, and how far it has accepted the
//! connections that its kernel has established.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV4};

use serde::{Deserialize, Serialize};

use super::{Bytes, ConnCount, Limit, Reading};

/// The server of a run, where it is not the lab's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A program that the run starts and ends.
    Command(CommandSubject),
    /// A container that the run starts and removes.
    Image(ImageSubject),
    /// A process that runs already. It is never stopped and nothing is added to it.
    Process {
        /// Its number in the runner's process namespace.
        pid: u32,
    },
    /// An address that something listens at already. What listens there is looked for, and may not be found.
    Target {
        /// The address.
        address: SocketAddrV4,
    },
}

impl Subject {
    /// Whether the run starts it, and so ends it.
    #[must_use]
    pub const fn is_started(&self) -> bool {
        matches!(self, Self::Command(_) | Self::Image(_))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(command) => out.pad(&command.words.join(" ")),
            Self::Image(image) => out.pad(&format!("image {}", image.image)),
            Self::Process { pid } => out.pad(&format!("process {pid}")),
            Self::Target { address } => out.pad(&format!("the server at {address}")),
        }
    }
}

/// What a server gets that the run starts, as a program or in a container.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StartOptions {
    /// Variables of its environment, beside those that it has anyhow: of a program `PATH`, `HOME` and so on, of a container
    /// what its image says.
    pub environment: BTreeMap<String, String>,
    /// Where it runs; absent means where the runner was started, or where the image says.
    pub working_folder: Option<String>,
    /// The user that it runs as, by name or number; absent means the runner's, or the image's.
    pub user: Option<String>,
    /// `RLIMIT_NOFILE`, soft and hard; absent means the runner's, or the engine's.
    pub nofile: Option<u64>,
    /// The limit of its memory; absent means none of its own.
    pub memory: Option<Bytes>,
}

/// A program.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandSubject {
    /// The program and its arguments. A program without a slash is looked for in `PATH`.
    pub words: Vec<String>,
    /// What it gets.
    #[serde(flatten)]
    pub options: StartOptions,
    /// Files `cgroup.procs` of the control groups that the runner has made for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// An image.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageSubject {
    /// The image, as `redis:7`. It is never pulled.
    pub image: String,
    /// The command instead of the image's own; empty means the image's own.
    pub words: Vec<String>,
    /// What the container gets.
    #[serde(flatten)]
    pub options: StartOptions,
    /// Files and folders of this machine that it sees, read only: `/here:/there`.
    pub mounts: Vec<String>,
}

/// What the worker that looks after a subject is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectSpec {
    /// The server.
    pub subject: Subject,
    /// Where clients will connect to.
    pub listen: Vec<SocketAddrV4>,
    /// How many connections are planned.
    pub capacity: ConnCount,
    /// The first process of the container that was started from an image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_pid: Option<u32>,
    /// Seconds until it has to listen, and again until it has to answer.
    pub ready_seconds: u32,
}

/// What was found about a subject once it listened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectFacts {
    /// Its first process; absent where no process could be found that belongs to the address.
    pub pid: Option<u32>,
    /// Which processes are the server's; absent where none is known.
    pub tree: Option<TreeRoot>,
    /// The file that this process runs.
    pub program: Reading<String>,
    /// Its processes, the first one first: number and name. At most [`SubjectFacts::MOST_PROCESSES`].
    pub processes: Vec<(u32, String)>,
    /// Where its sockets listen, each with the length of its accept queue.
    pub listening: Vec<ListenQueue>,
    /// `RLIMIT_NOFILE` of its first process, the soft limit.
    pub nofile: Reading<Limit<u64>>,
    /// `net.core.somaxconn` of the network namespace that it listens in. Absent in older recordings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub somaxconn: Option<u64>,
    /// How many tasks (threads and processes) it may have at most, and by what; the least first. Empty where nothing binds,
    /// and in older recordings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub most_tasks: Vec<(u64, String)>,
    /// Files that it had open when it began to listen, and that look like logs.
    pub logs: Vec<String>,
}

impl SubjectFacts {
    /// Processes that are listed by name.
    pub const MOST_PROCESSES: usize = 64;
}

/// A listening socket with its accept queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenQueue {
    /// Its address.
    pub address: SocketAddr,
    /// Connections that wait in it now.
    pub length: u64,
    /// How many may wait: the argument of listen(2), at most `net.core.somaxconn`. The kernel lets one more in.
    pub limit: u64,
}

impl ListenQueue {
    /// Whether a connection to `target` comes to this socket.
    #[must_use]
    pub fn serves(&self, target: SocketAddrV4) -> bool {
        self.address.port() == target.port()
            && match self.address.ip() {
                IpAddr::V4(ip) => ip.is_unspecified() || ip == *target.ip(),
                IpAddr::V6(ip) => ip.is_unspecified() || ip.to_ipv4_mapped() == Some(*target.ip()),
            }
    }
}

/// How far the server's end has come: the kernel establishes a connection before the server has accepted it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptState {
    /// Connections that the server has taken by accept(2): their sockets have an inode.
    pub accepted: u64,
    /// Connections that are established and wait in an accept queue: their sockets have no inode.
    pub waiting: u64,
    /// Handshakes that wait for the client's last packet, or for room in the accept queue.
    pub half_open: u64,
    /// Connections among `accepted` whose client has closed (`CLOSE_WAIT`).
    pub closed_by_client: u64,
    /// The listening sockets.
    pub queues: Vec<ListenQueue>,
}

impl AcceptState {
    /// How full the fullest accept queue is: 1 where it takes no more.
    #[must_use]
    pub fn fullness(&self) -> f64 {
        Self::fullness_of(&self.queues)
    }

    /// How full the fullest of these accept queues is.
    #[must_use]
    pub fn fullness_of(queues: &[ListenQueue]) -> f64 {
        queues
            .iter()
            .map(|queue| queue.length as f64 / queue.limit.max(1) as f64)
            .fold(0.0, f64::max)
    }
}

/// Which processes belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TreeRoot {
    /// A process and its descendants.
    From(u32),
    /// The descendants of a process, without itself.
    Below(u32),
}

/// What the processes of a subject use together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TreeSample {
    /// Processes.
    pub processes: u64,
    /// Threads of all of them.
    pub threads: u64,
    /// Seconds of processor time, of all processes that run now, with the children that they have waited for.
    pub cpu_seconds: f64,
    /// Descriptors that all processes have open; a gap before Linux 6.2, where counting them would cost memory.
    pub descriptors: Reading<u64>,
    /// The process with the most descriptors: its number, how many it has, and its limit.
    pub fullest: Option<DescriptorUse>,
    /// Proportional share of memory (PSS) of all processes; read at the marks only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proportional: Option<Reading<Bytes>>,
}

/// Descriptors of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescriptorUse {
    /// The process.
    pub pid: u32,
    /// Descriptors that are open.
    pub open: u64,
    /// `RLIMIT_NOFILE`, the soft limit.
    pub limit: Limit<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accept_queue_serves_its_address_or_every_one() {
        let target: SocketAddrV4 = "127.0.0.1:80".parse().expect("an address");
        let serves = |address: &str| {
            let queue = ListenQueue {
                address: address.parse().expect("an address"),
                length: 0,
                limit: 1,
            };
            queue.serves(target)
        };
        for address in [
            "127.0.0.1:80",
            "0.0.0.0:80",
            "[::]:80",
            "[::ffff:127.0.0.1]:80",
        ] {
            assert!(serves(address), "{address}");
        }
        for address in ["127.0.0.2:80", "127.0.0.1:81", "[::1]:80", "0.0.0.0:8080"] {
            assert!(!serves(address), "{address}");
        }
    }

    #[test]
    fn the_fullest_queue_counts() {
        let queue = |length| ListenQueue {
            address: "0.0.0.0:80".parse().expect("an address"),
            length,
            limit: 10,
        };
        let state = AcceptState {
            queues: vec![queue(2), queue(5)],
            ..AcceptState::default()
        };
        assert!((state.fullness() - 0.5).abs() < 1e-9);
        assert!(AcceptState::default().fullness().abs() < 1e-9);
    }
}
