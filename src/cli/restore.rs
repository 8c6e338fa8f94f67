//! `c1m restore`: puts back what a crashed run has changed on the host, from its journal.

use clap::Args;

use super::recovery::{notes, say, still_left};
use super::runtime_args::{RuntimeArgs, host_cannot};
use super::{Exit, Failure};
use crate::host;
use crate::provision;

/// Puts back the settings of the host that a crashed run has changed. Every run does so by itself at its end, and every
/// command that looks at the host at its beginning. Never touches a run that is under way.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    #[command(flatten)]
    runtime: RuntimeArgs,
    /// Says what would be put back, and puts nothing back.
    #[arg(long, env = "C1M_DRY_RUN")]
    dry_run: bool,
}

pub(super) fn run(args: &RestoreArgs) -> Result<Exit, Failure> {
    if args.dry_run {
        let found = match args.runtime.find()? {
            Some(runtime) => host::look(&runtime).map_err(host_cannot)?,
            None => host::LeftOnHost::default(),
        };
        // The journal of a live run is not for restoring.
        if let Some(who) = found.live_run {
            return Err(Failure::new(Exit::HostCannot, who));
        }
        return say(&found.journals, "would put back ", "nothing to restore");
    }
    let runtime = args.runtime.open()?;
    let recovery =
        host::recover_unless_live(&runtime, provision::remove_object).map_err(host_cannot)?;
    say(&notes(&recovery)?, "", "nothing to restore")?;
    still_left(&recovery)?;
    Ok(Exit::Done)
}
