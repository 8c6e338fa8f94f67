//! `c1m client`: one client by hand.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use clap::Args;

use super::by_hand::{LocalWorker, Woken, parse_keepalive, say};
use super::observe::duration;
use super::protocol_args::ProtocolArgs;
use super::{Exit, Failure};
use crate::control::{Command, Event};
use crate::domain::{
    ClientSpec, ConnCount, ConnRate, Conversation, Counters, DescriptorTables, EngineKind,
    Keepalive, PortChoice, PortRange, Shard, Task, TcpState, VerifyReport, VerifyShare, WorkerSpec,
};
use crate::observe::{count_sockets, waiting_to_be_accepted};
use crate::worker::{self, Whereabouts};

/// Most connections from one source address unless ports are told: 64,512 ports, 512 of them spare.
const EACH: u64 = 64_000;

/// Milliseconds that an answer may take.
const ANSWER_TAKES_MS: u64 = 5_000;

/// More than any machine holds, and little enough that the sources of all of them are in 127/8.
const MOST: u64 = 1_000_000_000;

/// Opens connections, proves them alive, and holds them until Ctrl-C or the end of the time.
#[derive(Debug, Args)]
pub(super) struct ClientArgs {
    /// Where to connect to.
    #[arg(value_name = "ADDRESS:PORT", env = "C1M_TARGET")]
    target: SocketAddrV4,
    /// How many connections.
    #[arg(short = 'n', long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=MOST), env = "C1M_CONNECTIONS")]
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
    #[arg(long, value_enum, default_value_t = PortChoice::Explicit, env = "C1M_PORTS")]
    ports: PortChoice,
    /// What opens.
    #[arg(long, value_enum, default_value_t = EngineKind::Epoll, env = "C1M_ENGINE")]
    engine: EngineKind,
    /// Handshakes that may be under way at once.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=1_000_000), env = "C1M_IN_FLIGHT")]
    in_flight: u32,
    /// Connections a second; absent means as fast as possible.
    #[arg(long, value_name = "PER_SECOND", value_parser = rate, env = "C1M_RATE")]
    rate: Option<f64>,
    /// The target is yours, and it is to bear this load. Needed, with --rate, where the target is not on this kernel.
    #[arg(long, env = "C1M_I_OWN_THIS_TARGET")]
    i_own_this_target: bool,
    /// Threads that dial at once; absent means as many as are fastest here.
    #[arg(long, env = "C1M_DIALERS")]
    dialers: Option<u32>,
    /// After how long a handshake counts as timed out, such as 30s.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration, env = "C1M_CONNECT_TIMEOUT")]
    connect_timeout: Duration,
    #[command(flatten)]
    protocol: ProtocolArgs,
    /// How many connections to go through an exchange of the protocol with; absent means all, 0 none.
    #[arg(long, value_name = "COUNT", env = "C1M_VERIFY")]
    verify: Option<u32>,
    /// How long to hold, such as 60s; absent means until Ctrl-C.
    #[arg(long, value_name = "DURATION", value_parser = duration, env = "C1M_HOLD")]
    hold: Option<Duration>,
    /// Descriptor tables.
    #[arg(long, value_enum, default_value_t = DescriptorTables::Many, env = "C1M_TABLES")]
    tables: DescriptorTables,
    /// `SO_KEEPALIVE`: seconds of silence, seconds between probes, probes.
    #[arg(long, value_name = "IDLE,INTERVAL,PROBES", value_parser = parse_keepalive, env = "C1M_KEEPALIVE")]
    keepalive: Option<Keepalive>,
}

/// Dials, verifies, holds, and drains.
pub(super) fn run(args: &ClientArgs) -> Result<Exit, Failure> {
    let conversation = args.protocol.conversation()?.unwrap_or_default();
    let whereabouts = allowed(args)?;
    let spec = ClientSpec {
        engine: args.engine,
        shards: shards(args)?,
        ports: args.ports,
        in_flight: args.in_flight,
        rate: args.rate.map(ConnRate::new),
        tables: args.tables,
        dialers: args.dialers,
        connect_timeout_ms: u32::try_from(args.connect_timeout.as_millis()).unwrap_or(u32::MAX),
        keepalive: args.keepalive,
        opening: None,
    };
    let mut local = LocalWorker::start(Command::start(WorkerSpec::Client(spec)))?;
    let mut exit = Exit::Done;
    let mut until = None;
    let mut verified = false;
    loop {
        let event = match local.listen(until) {
            Woken::Event(event) => event,
            // Before that, what came of the exchanges says why.
            Woken::Progress if verified && local.counters().established == ConnCount::ZERO => {
                say("nothing is left to hold");
                exit = Exit::Missed;
                break;
            }
            Woken::Progress => continue,
            Woken::Over => break,
        };
        match event {
            Event::Ready { tables, .. } => {
                say(&format!(
                    "{tables} descriptor tables; dialing {}",
                    args.target
                ));
                local.send(Command::Begin);
            }
            Event::RampDone { counters, seconds } => {
                say(&opened(&counters, seconds));
                if counters.opened.count() < args.connections {
                    exit = Exit::Missed;
                }
                if counters.established == ConnCount::ZERO {
                    say("nothing is left to hold");
                    break;
                }
                local.send(Command::Perform {
                    task: Task::verify(conversation.clone(), share(args.verify), ANSWER_TAKES_MS),
                });
            }
            Event::Performed { report } => {
                verified = true;
                answers(&conversation, &report);
                let seen = match whereabouts {
                    Whereabouts::Here => look_at_the_server(args.target),
                    Whereabouts::InLab | Whereabouts::Elsewhere => Seen::Unknown,
                };
                if seen == Seen::Unknown && report.asked == ConnCount::ZERO {
                    say("established; whether the server accepted them is not known from here");
                }
                if report.echoed < report.asked || seen == Seen::Fewer {
                    exit = Exit::Missed;
                }
                until = args.hold.and_then(|hold| Instant::now().checked_add(hold));
            }
            Event::Fatal { .. } => break,
            _ => {}
        }
    }
    local.look_for_losses();
    let counters = local.counters();
    if counters.lost > ConnCount::ZERO {
        say(&format!(
            "{} of {} connections were lost, {} were open at the end",
            counters.lost, counters.opened, counters.established
        ));
        exit = Exit::Missed;
    }
    // A signal is the way to end a hold; before that it cuts the work short.
    if !verified && let Some(interrupted) = local.interrupted() {
        exit = interrupted;
    }
    local.finish(exit)
}

fn opened(counters: &Counters, seconds: f64) -> String {
    let rate = counters
        .opened
        .per_second(seconds)
        .map_or_else(String::new, |rate| format!(", {rate}"));
    let mut text = format!("opened {} in {seconds:.2} s{rate}", counters.opened);
    for (failure, count) in &counters.failed {
        // Writing to a String cannot fail.
        let _ = write!(text, "; {} failed: {failure}", ConnCount::new(*count));
    }
    text
}

/// Says what came of the exchanges: how many were answered, why others were not, and what came instead.
fn answers(conversation: &Conversation, report: &VerifyReport) {
    if !conversation.asks() || report.asked == ConnCount::ZERO {
        say("nothing was asked; holding");
        return;
    }
    let verb = if conversation.is_echo() {
        "echoed"
    } else {
        "answered"
    };
    say(&format!(
        "{} of {} {verb}, {} silent; holding",
        report.echoed, report.asked, report.silent
    ));
    for (reason, count) in &report.failed {
        say(&format!("{} failed: {reason}", ConnCount::new(*count)));
    }
    for answer in &report.answers {
        let local = answer
            .local
            .map_or_else(String::new, |local| format!("{local}: "));
        say(&format!("for example {local}{answer}"));
    }
}

fn share(verify: Option<u32>) -> VerifyShare {
    match verify.map(NonZeroU32::new) {
        None => VerifyShare::All,
        Some(None) => VerifyShare::None,
        Some(Some(count)) => VerifyShare::Sample(count),
    }
}

/// Load goes to this kernel alone, unless the user says that the other machine is theirs, and how much it is to bear.
fn allowed(args: &ClientArgs) -> Result<Whereabouts, Failure> {
    let target = *args.target.ip();
    let found = worker::whereabouts(target).map_err(|error| Failure::new(Exit::Failed, error))?;
    if found != Whereabouts::Elsewhere || (args.i_own_this_target && args.rate.is_some()) {
        return Ok(found);
    }
    let missing = match (args.i_own_this_target, args.rate) {
        (true, _) => "--rate is missing",
        (false, Some(_)) => "--i-own-this-target is missing",
        (false, None) => "--i-own-this-target and --rate are missing",
    };
    Err(Failure::new(
        Exit::Usage,
        format!("{target} is not on this kernel, or not known to be: {missing}"),
    )
    .with_hint(Some(
        "load on a machine that is not yours is an attack; to one that is: --i-own-this-target --rate PER_SECOND",
    )))
}

/// What a look at the server's end told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    /// The server has accepted every connection.
    All,
    /// Some are not accepted, or established at the client's end alone.
    Fewer,
    /// It could not be looked at.
    Unknown,
}

/// Looks at the server's end, which is in this namespace too: says which connections only this end has, and which nobody
/// has accepted. Other clients of the same server can hide some.
fn look_at_the_server(target: SocketAddrV4) -> Seen {
    let (counted, waiting) = match (count_sockets(&[target]), waiting_to_be_accepted(target)) {
        (Ok(counted), Ok(waiting)) => (counted, waiting),
        (Err(error), _) | (_, Err(error)) => {
            say(&format!("the server's end was not counted: {error}"));
            return Seen::Unknown;
        }
    };
    let here = counted.client.of(TcpState::Established);
    let there = counted.server.of(TcpState::Established);
    if waiting > ConnCount::ZERO {
        say(&format!(
            "{waiting} of {here} connections wait in the server's accept queue: established, and nobody has accepted them"
        ));
    }
    let phantoms = here.saturating_sub(there);
    if phantoms > ConnCount::ZERO {
        say(&format!(
            "{phantoms} of {here} connections are established at the client's end alone: the server's accept queue was full"
        ));
    }
    if waiting > ConnCount::ZERO || phantoms > ConnCount::ZERO {
        Seen::Fewer
    } else {
        Seen::All
    }
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

/// Reads a rate: a number above zero.
fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && rate >= 0.001 => Ok(rate),
        Ok(_) => Err("wanted is a number of at least 0.001".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
