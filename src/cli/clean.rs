//! `c1m clean`: removes what crashed runs have left, and verifies that nothing is left. Goes by journal and by what the
//! objects themselves say, never by a pattern of names, and never touches a run that is under way.

use std::io::{self, Write as _};

use anyhow::Context as _;
use clap::Args;

use super::restore::{notes, still_left};
use super::runtime_args::{RuntimeArgs, host_cannot};
use super::{Exit, Failure};
use crate::host::{self, Lock, Runtime};
use crate::provision;
use crate::provision::docker::{self, SweepImages, Swept};

/// Removes what crashed runs have left on this machine: changed settings, workers without a runner, containers and
/// networks of Docker. Never touches a run
/// that is under way.
#[derive(Debug, Args)]
pub(super) struct CleanArgs {
    #[command(flatten)]
    runtime: RuntimeArgs,
    /// Removes the images too that workers run in; the next run in containers makes its own again.
    #[arg(long, env = "C1M_IMAGES")]
    images: bool,
    /// Says what would be removed, and removes nothing.
    #[arg(long, env = "C1M_DRY_RUN")]
    dry_run: bool,
}

pub(super) fn run(args: &CleanArgs) -> Result<Exit, Failure> {
    let runtime = args.runtime.open()?;
    let lock = Lock::take(&runtime, None).map_err(|error| host_cannot(error.into()))?;
    if args.dry_run {
        let found = found(&runtime)?;
        return say(&found, "would remove ", "nothing is left to remove");
    }
    let mut removed = Vec::new();
    let mut failed = Vec::new();
    let recovery = host::recover(&runtime, &lock, provision::remove_object).map_err(host_cannot)?;
    say(&notes(&recovery)?, "", "")?;
    for orphan in provision::orphans().map_err(|error| provision_failed(&error))? {
        match orphan.end() {
            Ok(()) => removed.push(format!("process {} of run {}", orphan.pid, orphan.run)),
            Err(error) => failed.push(error),
        }
    }
    // Containers last: their workers are among the processes, and a container whose process is gone goes at once.
    match sweep_docker(args.images) {
        Ok(swept) => {
            removed.extend(swept.removed);
            failed.extend(swept.errors);
        }
        // Where no engine answers, nothing of ours can be running in one.
        Err(error) => tracing::info!("containers were not looked for: {error}"),
    }
    say(&removed, "removed ", "")?;
    still_left(&recovery)?;
    if let Some(error) = failed.first() {
        return Err(provision_failed(error));
    }
    // The proof is a second look, not the absence of errors.
    let left = found(&runtime)?;
    if !left.is_empty() {
        return Err(Failure::new(
            Exit::HostChanged,
            format!("still there: {}", left.join("; ")),
        )
        .with_hint(Some("try again in a minute: c1m clean")));
    }
    say(&[], "", "nothing is left")
}

/// Everything that is there to be removed.
fn found(runtime: &Runtime) -> Result<Vec<String>, Failure> {
    let mut found = host::left_behind(runtime).map_err(host_cannot)?;
    let orphans = provision::orphans().map_err(|error| provision_failed(&error))?;
    found.extend(
        orphans
            .iter()
            .map(|orphan| format!("process {} of run {}", orphan.pid, orphan.run)),
    );
    match docker::left_behind() {
        Ok(objects) => found.extend(objects),
        Err(error) => tracing::info!("containers were not looked for: {error}"),
    }
    Ok(found)
}

fn sweep_docker(images: bool) -> Result<Swept, provision::ProvisionError> {
    let images = if images {
        SweepImages::Remove
    } else {
        SweepImages::Keep
    };
    docker::sweep(None, images)
}

fn provision_failed(error: &provision::ProvisionError) -> Failure {
    Failure::new(Exit::HostChanged, error).with_hint(error.hint.as_ref())
}

/// Writes lines to stdout, or `otherwise` where there are none.
pub(super) fn say(lines: &[String], before: &str, otherwise: &str) -> Result<Exit, Failure> {
    let mut text = String::new();
    for line in lines {
        text.push_str(before);
        text.push_str(line);
        text.push('\n');
    }
    if text.is_empty() && !otherwise.is_empty() {
        text.push_str(otherwise);
        text.push('\n');
    }
    io::stdout()
        .write_all(text.as_bytes())
        .context("cannot write to stdout")?;
    Ok(Exit::Done)
}
