//! `c1m client`: one client by hand.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::by_hand::{EngineChoice, Hand, TablesChoice, Woken, parse_keepalive, say};
use super::observe::duration;
use super::{Exit, Failure};
use crate::control::{Command, Event};
use crate::domain::{
    ClientSpec, ConnCount, ConnRate, Keepalive, PortChoice, PortRange, Shard, VerifyShare,
    WorkerSpec,
};

/// Most connections from one source address unless ports are told: 64,512 ports, 512 of them spare.
const EACH: u64 = 64_000;

/// Opens connections, proves them alive, and holds them until Ctrl-C or the end of the time.
#[derive(Debug, Args)]
pub(super) struct ClientArgs {
    /// Where to connect to.
    #[arg(value_name = "ADDRESS:PORT", env = "C1M_TARGET")]
    target: SocketAddrV4,
    /// How many connections.
    #[arg(short = 'n', long, default_value_t = 1_000, env = "C1M_CONNECTIONS")]
    connections: u64,
    /// Source addresses; repeatable. 64,000 connections come from each. To a loopback address as many of 127/8 are taken
    /// as are needed.
    #[arg(
        long = "source",
        value_name = "ADDRESS",
        env = "C1M_SOURCE",
        value_delimiter = ','
    )]
    sources: Vec<Ipv4Addr>,
    /// How source ports are chosen.
    #[arg(long, value_enum, default_value_t = PortsChoice::Explicit, env = "C1M_PORTS")]
    ports: PortsChoice,
    /// What opens.
    #[arg(long, value_enum, default_value_t, env = "C1M_ENGINE")]
    engine: EngineChoice,
    /// Handshakes that may be under way at once.
    #[arg(long, default_value_t = 512, env = "C1M_IN_FLIGHT")]
    in_flight: u32,
    /// Connections a second; absent means as fast as possible.
    #[arg(long, env = "C1M_RATE")]
    rate: Option<f64>,
    /// Threads that dial at once; absent means as many as are fastest here.
    #[arg(long, env = "C1M_DIALERS")]
    dialers: Option<u32>,
    /// After how long a handshake counts as timed out, such as 30s.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, env = "C1M_CONNECT_TIMEOUT")]
    connect_timeout: Duration,
    /// How many connections to send an echo through; absent means all, 0 none.
    #[arg(long, value_name = "COUNT", env = "C1M_VERIFY")]
    verify: Option<u32>,
    /// How long to hold, such as 60s; absent means until Ctrl-C.
    #[arg(long, value_name = "DURATION", value_parser = duration, env = "C1M_HOLD")]
    hold: Option<Duration>,
    /// Descriptor tables.
    #[arg(long, value_enum, default_value_t, env = "C1M_TABLES")]
    tables: TablesChoice,
    /// `SO_KEEPALIVE`: seconds of silence, seconds between probes, probes.
    #[arg(long, value_name = "IDLE,INTERVAL,PROBES", value_parser = parse_keepalive, env = "C1M_KEEPALIVE")]
    keepalive: Option<Keepalive>,
}

/// How source ports are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PortsChoice {
    /// Each by bind(2).
    Explicit,
    /// By the kernel out of a range (Linux 6.8).
    Range,
    /// By the kernel at connect(2).
    #[value(name = "no_port")]
    NoPort,
    /// By the kernel at bind(2), as most programs do.
    Kernel,
}

impl From<PortsChoice> for PortChoice {
    fn from(choice: PortsChoice) -> Self {
        match choice {
            PortsChoice::Explicit => Self::Explicit,
            PortsChoice::Range => Self::Range,
            PortsChoice::NoPort => Self::NoPort,
            PortsChoice::Kernel => Self::Kernel,
        }
    }
}

/// Dials, verifies, holds, and drains.
pub(super) fn run(args: &ClientArgs) -> Result<Exit, Failure> {
    let spec = ClientSpec {
        engine: args.engine.into(),
        shards: shards(args)?,
        ports: args.ports.into(),
        in_flight: args.in_flight,
        rate: args.rate.map(ConnRate::new),
        tables: args.tables.into(),
        dialers: args.dialers,
        connect_timeout_ms: u32::try_from(args.connect_timeout.as_millis()).unwrap_or(u32::MAX),
        keepalive: args.keepalive,
    };
    let mut hand = Hand::start(Command::start(WorkerSpec::Client(spec)))?;
    let mut exit = Exit::Done;
    let mut until = None;
    let mut verified = false;
    while let Woken::Event(event) = hand.listen(until) {
        match event {
            Event::Ready { tables, .. } => {
                say(&format!(
                    "{tables} descriptor tables; dialing {}",
                    args.target
                ));
                hand.send(Command::Begin);
            }
            Event::RampDone { counters, seconds } => {
                let rate = counters
                    .opened
                    .per_second(seconds)
                    .map_or_else(String::new, |rate| format!(", {rate}"));
                say(&format!(
                    "opened {} in {seconds:.2} s{rate}",
                    counters.opened
                ));
                if counters.opened.count() < args.connections {
                    exit = Exit::Missed;
                }
                let share = match args.verify.map(NonZeroU32::new) {
                    None => VerifyShare::All,
                    Some(None) => VerifyShare::None,
                    Some(Some(count)) => VerifyShare::Sample(count),
                };
                hand.send(Command::Verify {
                    share,
                    timeout_ms: 5_000,
                });
            }
            Event::Verified { report } => {
                verified = true;
                say(&format!(
                    "{} of {} echoed, {} silent; holding",
                    report.echoed, report.asked, report.silent
                ));
                if report.echoed < report.asked {
                    exit = Exit::Missed;
                }
                until = args.hold.map(|hold| Instant::now() + hold);
            }
            Event::Fatal { .. } => break,
            _ => {}
        }
    }
    if hand.lost_so_far() > ConnCount::ZERO {
        exit = Exit::Missed;
    }
    // A signal is the way to end a hold; before that it cuts the work short.
    if !verified && let Some(interrupted) = hand.interrupted() {
        exit = interrupted;
    }
    hand.finish(exit)
}

/// 64,000 connections from each source address.
fn shards(args: &ClientArgs) -> Result<Vec<Shard>, Failure> {
    let wanted = usize::try_from(args.connections.div_ceil(EACH)).unwrap_or(usize::MAX);
    let sources: Vec<Ipv4Addr> = match (args.sources.is_empty(), args.target.ip().is_loopback()) {
        (false, _) => args.sources.clone(),
        (true, true) => (0_u32..)
            .take(wanted.max(1))
            .map(|index| Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 1)) + index))
            .collect(),
        (true, false) => {
            return Err(Failure::new(
                Exit::Usage,
                format!("which addresses of this host reach {}?", args.target),
            )
            .with_hint(Some("name each with --source ADDRESS")));
        }
    };
    let mut seen = BTreeSet::new();
    if let Some(twice) = sources.iter().find(|source| !seen.insert(**source)) {
        return Err(Failure::new(
            Exit::Usage,
            format!("--source {twice} is given twice: its ports can be used once"),
        ));
    }
    if wanted > sources.len() {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "{} connections need {wanted} source addresses with {} each; {} are given",
                ConnCount::new(args.connections),
                ConnCount::new(EACH),
                sources.len()
            ),
        )
        .with_hint(Some("add --source ADDRESS")));
    }
    let mut left = args.connections;
    Ok(sources
        .iter()
        .map(|source| {
            let count = left.min(EACH);
            left -= count;
            Shard {
                source: *source,
                target: args.target,
                ports: PortRange::UNPRIVILEGED,
                count: u32::try_from(count).unwrap_or(u32::MAX),
            }
        })
        .collect())
}
