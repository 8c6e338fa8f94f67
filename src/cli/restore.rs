//! `c1m restore`: puts back what a crashed run has changed on the host, from its journal.

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::Args;

use super::runtime_args::{RuntimeArgs, host_cannot};
use super::{Exit, Failure};
use crate::host::{self, Recovery};
use crate::provision;

/// Puts back the settings of the host that a crashed run has changed. Every run does so by itself at its end, and every
/// command that looks at the host at its beginning. Never touches a run that is under way.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    #[command(flatten)]
    runtime: RuntimeArgs,
}

pub(super) fn run(args: &RestoreArgs) -> Result<Exit, Failure> {
    let runtime = args.runtime.open()?;
    let recovery =
        host::recover_unless_live(&runtime, provision::remove_object).map_err(host_cannot)?;
    let mut text = String::new();
    for note in notes(&recovery)? {
        text.push_str(&note);
        text.push('\n');
    }
    if text.is_empty() {
        text.push_str("nothing to restore\n");
    }
    io::stdout()
        .write_all(text.as_bytes())
        .context("cannot write to stdout")?;
    still_left(&recovery)?;
    Ok(Exit::Done)
}

/// What was done, a line each; a failure where a live run forbids to do anything.
pub(super) fn notes(recovery: &Recovery) -> Result<Vec<String>, Failure> {
    match recovery {
        Recovery::LiveRun(who) => Err(Failure::new(
            Exit::HostCannot,
            format!("{who}; nothing was touched"),
        )),
        Recovery::Done(_) => Ok(recovery.notes()),
    }
}

/// A failure where something of ours is still on the host.
pub(super) fn still_left(recovery: &Recovery) -> Result<(), Failure> {
    if recovery.leaves_something() {
        return Err(
            Failure::new(Exit::HostChanged, "the host is still changed, see above")
                .with_hint(Some("as the user who ran it: c1m restore")),
        );
    }
    Ok(())
}
