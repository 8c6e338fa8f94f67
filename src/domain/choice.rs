//! The closed choices of a scenario: each an enum, never a bool or a bare string.

use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

macro_rules! named {
    ($kind:ty { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $kind {
            /// The name in scenarios, files and messages.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
        impl fmt::Display for $kind {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.pad(self.name())
            }
        }
    };
}

/// Where the workers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaceKind {
    /// Containers of a Docker engine on this very kernel.
    Docker,
    /// The host's own loopback, in the host's own network namespace.
    Host,
    /// One network, sources in 127/8.
    Loopback,
    /// One network namespace for the server and one for each client host, joined by veth pairs.
    Netns,
}
named!(PlaceKind { Docker => "docker", Host => "host", Loopback => "loopback", Netns => "netns" });

/// What the networks between containers are made of.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkDriver {
    /// A bridge for each network: what Docker does by itself.
    #[default]
    Bridge,
    /// veth pairs of our own between the containers, whose engine gives them no network: no bridge, no packet rules of the
    /// host, no connection tracking.
    Link,
    /// macvlan links on a veth pair of our own for each network: frames cross no bridge and no packet rules of the host.
    Macvlan,
}
named!(NetworkDriver { Bridge => "bridge", Link => "link", Macvlan => "macvlan" });

/// What opens and accepts connections inside a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// epoll(7), one thread per descriptor table.
    Epoll,
    /// tokio tasks, one runtime per descriptor table: what an ordinary Rust program does.
    Tokio,
}
named!(EngineKind { Epoll => "epoll", Tokio => "tokio" });

/// What clients say on a connection, by its name.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum ProtocolKind {
    /// Nothing.
    Tcp,
    /// Bytes that have to come back.
    #[default]
    Echo,
    /// Requests of HTTP/1.1.
    Http,
    /// Bytes to send and bytes to come.
    Script,
}
named!(ProtocolKind { Tcp => "tcp", Echo => "echo", Http => "http", Script => "script" });

impl ProtocolKind {
    /// Whether it is the echo, which goes without saying.
    #[must_use]
    #[allow(clippy::trivially_copy_pass_by_ref)] // serde hands a reference
    pub const fn is_echo(&self) -> bool {
        matches!(self, Self::Echo)
    }

    /// What proves a connection, with its article, as in: proved by an echo.
    #[must_use]
    pub const fn proof(self) -> &'static str {
        match self {
            Self::Tcp => "an answer",
            Self::Echo => "an echo",
            Self::Http => "an HTTP response",
            Self::Script => "the answers of a script",
        }
    }
}

/// What the server does with connections that reach it.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// Never calls accept(2): connections stay in the accept queue, without descriptor and inode on the server's side.
    Queue,
    /// Accepts, watches nothing and reads nothing. A sweep of poll(2) every 3 s finds connections that have ended.
    Accept,
    /// Accepts and watches for the end of a connection. Reads nothing: bytes that arrive stay in the socket.
    Silent,
    /// Accepts, watches, reads, and sends back every byte.
    #[default]
    Echo,
}
named!(Service { Queue => "queue", Accept => "accept", Silent => "silent", Echo => "echo" });

impl Service {
    /// Whether connections are taken out of the accept queue.
    #[must_use]
    pub const fn accepts(self) -> bool {
        !matches!(self, Self::Queue)
    }

    /// Whether each accepted connection is registered in epoll.
    #[must_use]
    pub const fn watches(self) -> bool {
        matches!(self, Self::Silent | Self::Echo)
    }

    /// Whether bytes that arrive are answered, so that an echo proves a connection alive.
    #[must_use]
    pub const fn answers(self) -> bool {
        matches!(self, Self::Echo)
    }

    /// What the two older switches mean together.
    #[must_use]
    pub const fn from_switches(accept: bool, read: bool) -> Self {
        match (accept, read) {
            (false, _) => Self::Queue,
            (true, false) => Self::Silent,
            (true, true) => Self::Echo,
        }
    }
}

/// What a worker does. The server comes first, in every list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Accepts connections.
    Server,
    /// Opens connections.
    Client,
}
named!(Role { Client => "client", Server => "server" });

/// How a client chooses its source ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortChoice {
    /// bind(2) to address and port: as fast at the last port as at the first.
    Explicit,
    /// `IP_LOCAL_PORT_RANGE` with `IP_BIND_ADDRESS_NO_PORT`: the kernel chooses without its slow second half (Linux 6.8).
    Range,
    /// `IP_BIND_ADDRESS_NO_PORT`: the kernel chooses at connect(2); slow beyond half of the range.
    NoPort,
    /// bind(2) to the address and port 0: what most programs do; the slowest.
    Kernel,
}
named!(PortChoice { Explicit => "explicit", Range => "range", NoPort => "no_port", Kernel => "kernel" });

/// How many descriptor tables a worker uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DescriptorTables {
    /// One per thread, as many threads as the limit asks for: `RLIMIT_NOFILE` bounds one table, not a process.
    Many,
    /// One for the process, as an ordinary program has it.
    One,
}
named!(DescriptorTables { Many => "many", One => "one" });

/// How many threads wait for connections at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Acceptors {
    /// One at a time, in batches, handing over when its table is full.
    Auto,
    /// This many, each woken with `EPOLLEXCLUSIVE`.
    Count(NonZeroU32),
}

/// How many of the connections are proved alive by an echo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerifyShare {
    /// Every one.
    All,
    /// None: both ends are still counted.
    None,
    /// This many, spread evenly over all.
    Sample(NonZeroU32),
}

/// What is written beside `result.json`, which is always written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportFormat {
    /// The charts, as SVG.
    Charts,
    /// The report, `report.md`.
    Markdown,
}

impl ReportFormat {
    /// All of them: what a scenario that names none asks for.
    #[must_use]
    pub fn all() -> Vec<Self> {
        vec![Self::Charts, Self::Markdown]
    }
}

/// What a run does when a worker dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RemainingOnLoss {
    /// Go on with the others, and say so.
    Continue,
    /// Stop the run.
    End,
}

/// How a place is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaceMaking {
    /// Containers of the Docker engine.
    Docker,
    /// The host's own loopback: nothing is made.
    HostLoopback,
    /// One private network namespace with nothing but a loopback.
    PrivateLoopback {
        /// Made inside a user namespace of our own, because the user may not make it otherwise.
        in_user_namespace: bool,
    },
    /// The loopback of a process's own network namespace: nothing is made, and nothing of it is changed.
    Joined {
        /// The process, in the runner's process namespace.
        pid: u32,
    },
    /// The loopback of a container that is started from an image for the run.
    Container,
    /// A network namespace for each host, joined by veth pairs.
    Netns {
        /// Made inside a user namespace of our own, because the user may not make them otherwise.
        in_user_namespace: bool,
    },
}

impl PlaceMaking {
    /// The kind of place, by what its addresses are: the host's own loopback is laid out as any loopback, whether the
    /// scenario asked for `host` or no namespace could be made.
    #[must_use]
    pub const fn kind(self) -> PlaceKind {
        match self {
            Self::Docker => PlaceKind::Docker,
            Self::HostLoopback
            | Self::PrivateLoopback { .. }
            | Self::Joined { .. }
            | Self::Container => PlaceKind::Loopback,
            Self::Netns { .. } => PlaceKind::Netns,
        }
    }

    /// Whether no setting of a network namespace may be changed, because the namespace is not of the lab's making.
    #[must_use]
    pub const fn is_found(self) -> bool {
        matches!(self, Self::HostLoopback | Self::Joined { .. })
    }

    /// Whether the runner has to move into a user namespace of its own first.
    #[must_use]
    pub const fn needs_user_namespace(self) -> bool {
        matches!(
            self,
            Self::PrivateLoopback {
                in_user_namespace: true
            } | Self::Netns {
                in_user_namespace: true
            }
        )
    }
}
