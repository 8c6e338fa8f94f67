//! `c1m worker`: what the runner starts. It is no verb for people: they have `c1m server` and `c1m client`.

use clap::Args;

use super::{Exit, failure::Failure};

/// A worker of a run: a spec and commands as lines on stdin, events as lines on stdout.
#[derive(Debug, Args)]
pub(super) struct WorkerArgs {}

/// Works until stdin ends.
pub(super) fn run(_: &WorkerArgs) -> Result<Exit, Failure> {
    crate::worker::main()
        .map(|()| Exit::Done)
        .map_err(|error| Failure::new(Exit::Failed, &error).with_hint(error.hint()))
}
