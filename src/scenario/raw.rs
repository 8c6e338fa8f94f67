//! Exactly what the YAML may say, key by key: the JSON schema is generated from these types, every file is checked
//! against that schema, and only then do these types read it. What a key means once defaults are applied is in `model.rs`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::quantity::{BytesText, CountText, DurationText, RateText, Switch, TemplateText};
use super::raw_settings::RawSettings;
use crate::domain::{
    DescriptorTables, EngineKind, PortChoice, RemainingOnLoss, ReportFormat, Service,
};

/// A scenario: how many connections, where, between whom, and what is measured against which bounds.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "c1m scenario")]
pub(super) struct RawScenario {
    /// What the scenario is called in reports and run directories. Default: the name of the file, without its extension.
    #[schemars(length(min = 1, max = 255))]
    pub(super) name: Option<String>,
    /// What the scenario is for, in a sentence.
    pub(super) description: Option<String>,
    /// How many connections in all. Default: what the client groups hold together, or 1,024,000 without groups.
    pub(super) connections: Option<CountText>,
    /// Whether to reduce the number of connections to what fits on this host, rather than refuse. Default: no.
    pub(super) fit: Option<Switch>,
    /// How fast connections are opened.
    pub(super) ramp: Option<RawRamp>,
    /// How long the connections are held. Default: 60s.
    pub(super) hold: Option<DurationText>,
    /// Opens connections until something gives way, and names it, rather than to hold a number of them: what `c1m limit`
    /// does first. Only for a server that is not the lab's own; `connections` is then the most that is tried.
    pub(super) limit: Option<RawLimit>,
    /// Where to run. Default: auto, which is docker where an engine answers on this kernel, else netns, else loopback.
    pub(super) place: Option<RawPlace>,
    /// What the networks between containers are made of, where the place is docker. Default: auto, which is link where this
    /// user may join the containers by links, else bridge.
    pub(super) network: Option<RawNetwork>,
    /// The server.
    pub(super) server: Option<RawServer>,
    /// The clients.
    pub(super) clients: Option<RawClients>,
    /// Whether each worker has one descriptor table per thread (many), or one for the process, as an ordinary program
    /// (one). Default: many.
    pub(super) descriptor_tables: Option<DescriptorTables>,
    /// What the clients say on each connection, and what they take for an answer: tcp (nothing), echo, http (a request), or
    /// a script. Default: echo.
    pub(super) protocol: Option<RawProtocol>,
    /// How many of the connections are proved alive by an exchange of the protocol at the target. Default: all, or none
    /// where the protocol is tcp.
    pub(super) verify: Option<RawVerify>,
    /// What the run does when a worker dies. Default: end.
    pub(super) on_worker_loss: Option<RemainingOnLoss>,
    /// Whether the lab's own traffic is kept out of connection tracking where something tracks it. Default: yes.
    pub(super) untrack: Option<Switch>,
    /// Kernel settings, apart by what they bind.
    pub(super) settings: Option<RawSettings>,
    /// Bounds on what is measured: the path of a figure in result.json, such as `ramp.rate_per_second`, and its bound.
    pub(super) thresholds: Option<BTreeMap<String, RawBound>>,
    /// What is written beside result.json. Default: markdown and charts.
    pub(super) formats: Option<Vec<ReportFormat>>,
}

/// How fast connections are opened.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawRamp {
    /// A planned rate over all clients, such as `20000/s`, or `as_fast_as_possible`. Default: `as_fast_as_possible`.
    pub(super) rate: Option<RateText>,
    /// Handshakes under way at once, over all clients. Default: 1000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) in_flight: Option<u32>,
    /// After this long a handshake counts as timed out. Default: 10s.
    pub(super) connect_timeout: Option<DurationText>,
    /// Whether each connection says what `protocol` says as soon as it is open, and is answered, before others follow. With
    /// `no` it is silent until `verify`. Default: no; `c1m limit` without a scenario: yes.
    pub(super) speak: Option<Switch>,
}

/// Where to run.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawPlace {
    /// Docker where an engine answers on this kernel and may be used, else namespaces, else loopback.
    Auto,
    /// Containers of a Docker engine on this very kernel.
    Docker,
    /// The host's own loopback, in the host's own network namespace. Nothing is made, no setting of a namespace is applied,
    /// and the packet filter of the host is in the path.
    Host,
    /// One network, sources in 127/8; needs no privilege. A network namespace of its own where one can be made.
    Loopback,
    /// One network namespace for the server and one for each client host, joined by veth pairs.
    Netns,
}

/// What the networks between containers are made of.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawNetwork {
    /// Links where this user may join the containers by them, else bridges.
    Auto,
    /// A bridge for each network: what Docker does by itself.
    Bridge,
    /// veth pairs between the server's container and the clients', as between network namespaces: no bridge, no packet rules
    /// of the host, no connection tracking. Needs `CAP_SYS_ADMIN` and `CAP_NET_ADMIN` on the machine itself.
    Link,
    /// macvlan links, where the kernel has them: frames cross no bridge and no packet rules of the host.
    Macvlan,
}

/// The server.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawServer {
    /// What accepts. Default: epoll.
    pub(super) engine: Option<EngineKind>,
    /// How many addresses to listen on, on each of its networks. Default: 1.
    #[schemars(range(min = 1, max = 60_000))]
    pub(super) addresses: Option<u32>,
    /// The ports to listen on, at each address. Default: 9000.
    #[schemars(length(min = 1, max = 1000), inner(range(min = 1, max = 65_535)))]
    pub(super) ports: Option<Vec<u16>>,
    /// The argument of listen(2); the kernel takes the lesser of it and net.core.somaxconn. Default: 65535, or the number
    /// of connections when the server does not accept.
    #[schemars(range(min = 1, max = 2_147_483_647))]
    pub(super) backlog: Option<u32>,
    /// How many threads wait for connections at the same time: auto is one at a time, in batches, handing over when its
    /// descriptor table is full. Default: auto.
    pub(super) acceptors: Option<RawAcceptors>,
    /// What the server does with connections: queue (never accept), accept (accept, watch and read nothing), silent
    /// (accept and notice the end, read nothing), echo (send back every byte). Default: echo.
    pub(super) service: Option<Service>,
    /// Whether connections are accepted at all. An older form of `service`: no means `queue`. Default: yes.
    pub(super) accept: Option<Switch>,
    /// Whether bytes that arrive are read and echoed. An older form of `service`: no means `silent`. Default: yes.
    pub(super) read: Option<Switch>,
    /// `SO_KEEPALIVE` of accepted sockets. Default: no.
    pub(super) keepalive: Option<RawKeepalive>,
    /// Another server than the lab's own: a program and its arguments, which the run starts and ends. Beside `image`: what
    /// the container runs.
    #[schemars(length(min = 1, max = 1000))]
    pub(super) command: Option<Vec<String>>,
    /// Another server than the lab's own: an image, of which the run starts a container. It is never pulled.
    #[schemars(length(min = 1))]
    pub(super) image: Option<String>,
    /// Another server than the lab's own: a process that runs already. It is never stopped, and nothing is added to it.
    #[schemars(range(min = 1, max = 4_194_304))]
    pub(super) pid: Option<u32>,
    /// Another server than the lab's own: an address and port that something listens at already, such as
    /// `127.0.0.1:8080`.
    pub(super) target: Option<String>,
    /// Variables of the environment of `command` or `image`.
    pub(super) environment: Option<BTreeMap<String, String>>,
    /// The folder that `command` or `image` runs in.
    pub(super) working_folder: Option<String>,
    /// The user that `command` or `image` runs as, by name or number.
    pub(super) user: Option<String>,
    /// Limits of `command` or `image`.
    pub(super) limits: Option<RawLimits>,
    /// The limit of the memory of `command` or `image`, such as 64MiB.
    pub(super) memory: Option<String>,
    /// Files and folders of this machine that `image` sees, read only: `/srv/nginx.conf:/etc/nginx/nginx.conf`.
    pub(super) mounts: Option<Vec<String>>,
    /// How long `command` or `image` may take until it listens, and after that until it answers as the protocol expects. Default: 30s.
    pub(super) ready_within: Option<DurationText>,
}

/// The search for a limit.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLimit {
    /// Fewer connections are a miss.
    pub(super) at_least: Option<CountText>,
}

/// Limits of a server that the run starts.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLimits {
    /// `RLIMIT_NOFILE`, soft and hard. Default: the runner's own.
    #[schemars(range(min = 8, max = 1_073_741_816))]
    pub(super) nofile: Option<u64>,
}

/// How many threads wait for connections at the same time.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum RawAcceptors {
    /// One at a time.
    Named(RawAuto),
    /// This many.
    Count(#[schemars(range(min = 1, max = 4096))] u32),
}

/// The word auto.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawAuto {
    /// Let c1m choose.
    Auto,
}

/// Keep-alive probes: no, or when and how often.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum RawKeepalive {
    /// No probes; yes is refused, because it does not say when.
    Switch(Switch),
    /// Probes.
    Probes(RawProbes),
}

/// The three values of `SO_KEEPALIVE` (tcp(7)).
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawProbes {
    /// Silence before the first probe, in whole seconds, such as 60s.
    pub(super) idle: DurationText,
    /// Time between probes, in whole seconds, such as 10s.
    pub(super) interval: DurationText,
    /// Unanswered probes that end the connection.
    #[schemars(range(min = 1, max = 127))]
    pub(super) probes: u32,
}

/// The clients.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawClients {
    /// What opens connections. Default: epoll.
    pub(super) engine: Option<EngineKind>,
    /// How source ports are chosen, in every group that does not say so itself. Default: explicit.
    pub(super) ports: Option<PortChoice>,
    /// `SO_KEEPALIVE` of the clients' sockets. Default: no.
    pub(super) keepalive: Option<RawKeepalive>,
    /// Client hosts, kind by kind. Default: as many addresses as the connections need, on one or two hosts.
    #[schemars(length(min = 1, max = 1000))]
    pub(super) groups: Option<Vec<RawGroup>>,
}

/// Client hosts of one kind.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawGroup {
    /// How many such hosts. Default: 1.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) hosts: Option<u32>,
    /// Interfaces of each host. Default: 1.
    #[schemars(range(min = 1, max = 64))]
    pub(super) interfaces: Option<u32>,
    /// Addresses of each interface. Default: 1.
    #[schemars(range(min = 1, max = 60_000))]
    pub(super) addresses_per_interface: Option<u32>,
    /// Connections from each address to each target (address and port of the server). Default: 64000; one address has
    /// 64512 usable ports.
    pub(super) connections_per_address: Option<CountText>,
    /// How source ports are chosen: explicit (bind to address and port), range (`IP_LOCAL_PORT_RANGE`), `no_port`
    /// (`IP_BIND_ADDRESS_NO_PORT`), kernel (bind to port 0). Default: what clients.ports says.
    pub(super) ports: Option<PortChoice>,
}

/// What the clients say on each connection.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum RawProtocol {
    /// One that needs no more words.
    Named(RawProtocolName),
    /// Requests of HTTP/1.1.
    Http(RawHttpProtocol),
    /// Bytes to send and bytes to come.
    Script(RawScriptProtocol),
}

/// A protocol by its name.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawProtocolName {
    /// Nothing is said: a connection is proved by its handshake alone.
    Tcp,
    /// 16 bytes of its own for each connection, which have to come back.
    Echo,
    /// `GET /`, answered with a status from 200 to 399.
    Http,
}

/// Requests of HTTP/1.1.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHttpProtocol {
    /// A GET request on each connection, which is kept alive. The response is read to its end.
    pub(super) http: RawHttp,
}

/// A GET request. In its texts, `{n}` is the number of the connection in its worker and `{source}` its source address. A
/// brace is written twice.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawHttp {
    /// The path, with its query. Default: `/`.
    pub(super) path: Option<TemplateText>,
    /// The value of Host. Default: address and port of the target.
    pub(super) host: Option<TemplateText>,
    /// Further headers, by name.
    pub(super) headers: Option<BTreeMap<String, TemplateText>>,
    /// The status that is expected. Default: any from 200 to 399.
    #[schemars(range(min = 100, max = 599))]
    pub(super) status: Option<u16>,
}

/// Bytes to send and bytes to come.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScriptProtocol {
    /// The steps of each exchange, or a map with those and with the steps that open a connection.
    pub(super) script: RawScript,
}

/// A script.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum RawScript {
    /// The steps of each exchange.
    Steps(#[schemars(length(min = 1, max = 1000))] Vec<RawStep>),
    /// Steps of each exchange, and others that come first.
    Parts(RawScriptParts),
}

/// A script with a beginning that is said once.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScriptParts {
    /// What is said once, when a connection is first used, such as a greeting or a login. Default: nothing.
    #[serde(default)]
    #[schemars(length(max = 1000))]
    pub(super) open: Vec<RawStep>,
    /// The steps of each exchange.
    #[schemars(length(min = 1, max = 1000))]
    pub(super) steps: Vec<RawStep>,
}

/// A step of a script. Bytes are written as text with the escapes `\r \n \t \0 \xHH \\`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawStep {
    /// These bytes are sent. `{n}` is the number of the connection in its worker, `{source}` its source address. A brace is
    /// written twice.
    Send(TemplateText),
    /// The line that comes next begins with these bytes. The rest of the line is passed over, unless they end it.
    Expect(BytesText),
    /// Exactly these bytes come next. For what has no lines.
    Exactly(BytesText),
    /// These bytes come sooner or later, at most 256 of them. What comes before them is passed over.
    Until(BytesText),
}

/// How many of the connections are proved alive, and how fast.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum RawVerify {
    /// All of them, or none.
    Named(RawVerifyName),
    /// A sample, spread evenly, or a planned pace, or both.
    Paced(RawPaced),
}

/// All or none.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawVerifyName {
    /// Every one.
    All,
    /// None: both ends are still counted.
    None,
}

/// A sample, a planned pace, or both.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPaced {
    /// How many, spread evenly over all. Default: all.
    pub(super) sample: Option<CountText>,
    /// A planned rate of exchanges over all clients, such as `5000/s`: latency counts from the planned moment of each.
    /// Default: a closed loop, in which the next exchange begins when another one is over.
    pub(super) rate: Option<RateText>,
}

/// A bound on a figure, in the figure's own unit.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawBound {
    /// The figure must reach it.
    AtLeast(f64),
    /// The figure must not exceed it.
    AtMost(f64),
}
