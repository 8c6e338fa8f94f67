//! `c1m worker`: what the runner and Compose start. It is no verb for people: they have `c1m server` and `c1m client`.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use clap::Args;
use ipnet::Ipv4Net;

use super::{Exit, failure::Failure};
use crate::domain::WorkerSpec;
use crate::worker::{self, Preparation, Whereabouts};

/// A worker of a run: a spec and commands as lines on stdin, events as lines on stdout. With a spec on the command line it
/// begins by itself, and ends on SIGTERM.
#[derive(Debug, Args)]
pub(super) struct WorkerArgs {
    /// The spec, as JSON: begin by itself, without a runner.
    #[arg(long, value_name = "JSON", value_parser = spec)]
    spec: Option<WorkerSpec>,
    /// The range to keep out of the connection tracking of this namespace first.
    #[arg(long, value_name = "NETWORK", requires = "spec")]
    untrack: Option<Ipv4Net>,
    /// An address to add first, to the interface that holds the address behind the sign; repeatable.
    #[arg(long = "address", value_name = "NEW@KNOWN", requires = "spec", value_parser = address)]
    addresses: Vec<(Ipv4Addr, Ipv4Addr)>,
}

/// Works until stdin ends, or, with a spec, until a signal.
pub(super) fn run(args: &WorkerArgs) -> Result<Exit, Failure> {
    let done = match &args.spec {
        None => worker::main(),
        Some(spec) => {
            refuse_elsewhere(spec)?;
            let preparation = Preparation {
                addresses: args.addresses.clone(),
                untrack: args.untrack,
            };
            worker::by_hand(spec.clone(), &preparation)
        }
    };
    done.map(|()| Exit::Done)
        .map_err(|error| Failure::new(Exit::Failed, &error).with_hint(error.hint()))
}

/// Nobody is at hand who could say whose machine it is, so that load goes nowhere else than to this kernel.
fn refuse_elsewhere(spec: &WorkerSpec) -> Result<(), Failure> {
    let WorkerSpec::Client(client) = spec else {
        return Ok(());
    };
    let targets: BTreeSet<Ipv4Addr> = client
        .shards
        .iter()
        .map(|shard| *shard.target.ip())
        .collect();
    for target in targets {
        let found =
            worker::whereabouts(target).map_err(|error| Failure::new(Exit::Failed, error))?;
        if found == Whereabouts::Elsewhere {
            return Err(Failure::new(
                Exit::Usage,
                format!("{target} is not on this kernel, or not known to be"),
            )
            .with_hint(Some(
                "for a machine of your own there is: c1m client --i-own-this-target",
            )));
        }
    }
    Ok(())
}

fn spec(text: &str) -> Result<WorkerSpec, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn address(text: &str) -> Result<(Ipv4Addr, Ipv4Addr), String> {
    let (new, known) = text
        .split_once('@')
        .ok_or("an address to add is written as NEW@KNOWN")?;
    let parse = |text: &str| {
        text.parse::<Ipv4Addr>()
            .map_err(|error| format!("{text}: {error}"))
    };
    Ok((parse(new)?, parse(known)?))
}
