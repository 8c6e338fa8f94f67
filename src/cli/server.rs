//! `c1m server`: one server by hand.

use std::net::SocketAddrV4;
use std::num::NonZeroU32;

use clap::{ArgAction, Args};

use super::by_hand::{LocalWorker, Woken, parse_keepalive, say};
use super::{Exit, Failure};
use crate::control::{Command, Event};
use crate::domain::{
    Acceptors, ConnCount, DescriptorTables, EngineKind, Keepalive, ServerSpec, Service, WorkerSpec,
};

/// Accepts connections, holds them and echoes what they send, until Ctrl-C.
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// Where to listen; repeatable. 0.0.0.0 is every interface, so that other machines can connect too.
    #[arg(
        long = "listen",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8000",
        env = "C1M_LISTEN",
        value_delimiter = ','
    )]
    listen: Vec<SocketAddrV4>,
    /// Connections to be ready for.
    #[arg(long, default_value_t = 1_024_000, env = "C1M_CAPACITY")]
    capacity: u64,
    /// What accepts.
    #[arg(long, value_enum, default_value_t = EngineKind::Epoll, env = "C1M_ENGINE")]
    engine: EngineKind,
    /// The argument of listen(2).
    #[arg(long, default_value_t = 65_535, env = "C1M_BACKLOG")]
    backlog: u32,
    /// Threads that wait for connections at once; absent means one at a time, in batches.
    #[arg(long, env = "C1M_ACCEPTORS")]
    acceptors: Option<NonZeroU32>,
    /// What is done with connections. Default: echo.
    #[arg(long, value_enum, env = "C1M_SERVICE", conflicts_with_all = ["accept", "read"])]
    service: Option<Service>,
    /// Whether connections are accepted at all; `--service queue` says it too.
    #[arg(long, default_value_t = true, action = ArgAction::Set, env = "C1M_ACCEPT")]
    accept: bool,
    /// Whether bytes are read and echoed; `--service silent` says it too.
    #[arg(long, default_value_t = true, action = ArgAction::Set, env = "C1M_READ")]
    read: bool,
    /// Descriptor tables.
    #[arg(long, value_enum, default_value_t = DescriptorTables::Many, env = "C1M_TABLES")]
    tables: DescriptorTables,
    /// `SO_KEEPALIVE`: seconds of silence, seconds between probes, probes.
    #[arg(long, value_name = "IDLE,INTERVAL,PROBES", value_parser = parse_keepalive, env = "C1M_KEEPALIVE")]
    keepalive: Option<Keepalive>,
}

/// Serves until a signal comes.
pub(super) fn run(args: &ServerArgs) -> Result<Exit, Failure> {
    let spec = ServerSpec {
        engine: args.engine,
        listen: args.listen.clone(),
        backlog: args.backlog,
        acceptors: args.acceptors.map_or(Acceptors::Auto, Acceptors::Count),
        service: args
            .service
            .unwrap_or_else(|| Service::from_switches(args.accept, args.read)),
        keepalive: args.keepalive,
        tables: args.tables,
        capacity: ConnCount::new(args.capacity),
    };
    if let Some(everywhere) = args
        .listen
        .iter()
        .find(|address| address.ip().is_unspecified())
    {
        say(&format!(
            "warning: {everywhere} listens on every interface: whoever reaches this machine can connect"
        ));
    }
    let mut local = LocalWorker::start(Command::start(WorkerSpec::Server(spec)))?;
    loop {
        let event = match local.listen(None) {
            Woken::Event(event) => event,
            Woken::Progress => continue,
            Woken::Over => break,
        };
        match event {
            Event::Ready {
                tables,
                descriptors_per_table,
                listening,
                ..
            } => {
                let listening: Vec<String> = listening.iter().map(ToString::to_string).collect();
                say(&format!(
                    "listening on {} with {tables} descriptor tables of {descriptors_per_table}; Ctrl-C ends",
                    listening.join(", ")
                ));
            }
            Event::Fatal { .. } => break,
            _ => {}
        }
    }
    local.finish(Exit::Done)
}
