//! `c1m clean`: removes what crashed runs have left, and verifies that nothing is left. Goes by journal and by what the
//! objects themselves say, never by a pattern of names, and never touches a run that is under way.

use clap::Args;

use super::recovery::{notes, say, still_left};
use super::runtime_args::{RuntimeArgs, host_cannot};
use super::{Exit, Failure};
use crate::host::{self, Lock, Runtime};
use crate::provision::docker::{self, SweepImages};
use crate::provision::{self, ProvisionError, Unsure};

/// Removes what crashed runs have left on this machine: changed settings, workers without a runner, containers and
/// networks of Docker. Never touches a run that is under way, nor what may belong to one because that cannot be told from
/// here. Ends with 9 where something is left or could not be looked at.
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
    let images = if args.images {
        SweepImages::Remove
    } else {
        SweepImages::Keep
    };
    if args.dry_run {
        return would_remove(args, images);
    }
    let runtime = args.runtime.open()?;
    let lock = Lock::take(&runtime, None).map_err(|error| host_cannot(error.into()))?;
    let mut removed = Vec::new();
    let mut failed = Vec::new();
    let recovery = host::recover(&runtime, &lock, provision::remove_object).map_err(host_cannot)?;
    say(&notes(&recovery)?, "", "")?;
    // What could not be looked at is told by the second look, at the end.
    let orphans = provision::orphans().unwrap_or_default();
    for orphan in orphans.gone {
        match orphan.end() {
            Ok(()) => removed.push(format!("process {} of run {}", orphan.pid, orphan.run)),
            Err(error) => failed.push(error),
        }
    }
    // Containers last: their workers are among the processes, and a container whose process is gone goes at once.
    match docker::sweep(None, images) {
        Ok(swept) => {
            removed.extend(swept.removed);
            failed.extend(swept.errors);
        }
        Err(error) => tracing::info!("containers were not looked for: {error}"),
    }
    say(&removed, "removed ", "")?;
    still_left(&recovery)?;
    if let Some(error) = failed.first() {
        return Err(Failure::new(Exit::HostChanged, error).with_hint(error.hint.as_ref()));
    }
    // The proof is a second look, not the absence of errors.
    let survey = Survey::of(Some(&runtime), images)?;
    if !survey.found.is_empty() {
        return Err(Failure::new(
            Exit::HostChanged,
            format!("still there: {}", survey.found.join("; ")),
        )
        .with_hint(Some("try again in a minute: c1m clean")));
    }
    survey.must_be_whole()?;
    say(&[], "", "nothing is left")
}

/// Looks only: makes no folder and no file, and takes no lock.
fn would_remove(args: &CleanArgs, images: SweepImages) -> Result<Exit, Failure> {
    let runtime = args.runtime.find()?;
    if let Some(runtime) = &runtime
        && let Some(who) = host::look(runtime).map_err(host_cannot)?.live_run
    {
        return Err(Failure::new(Exit::HostCannot, who));
    }
    let survey = Survey::of(runtime.as_ref(), images)?;
    let otherwise = if survey.is_whole() {
        "nothing is left to remove"
    } else {
        ""
    };
    say(&survey.found, "would remove ", otherwise)?;
    survey.must_be_whole()?;
    Ok(Exit::Done)
}

/// Everything that was looked at.
#[derive(Debug, Default)]
struct Survey {
    /// What is there to be removed.
    found: Vec<String>,
    /// What may belong to a live run.
    unsure: Vec<Unsure>,
    /// What could not be looked at, with the reason.
    not_examined: Vec<String>,
    /// What was looked at.
    examined: Vec<String>,
}

impl Survey {
    fn of(runtime: Option<&Runtime>, images: SweepImages) -> Result<Self, Failure> {
        let mut survey = Self::default();
        let user = host::user();
        match runtime {
            Some(runtime) => {
                survey.found = host::left_behind(runtime).map_err(host_cannot)?;
                let folder = runtime.path().display();
                survey
                    .examined
                    .push(format!("the journal of user {user} in {folder}"));
            }
            None => survey.examined.push(format!(
                "there is no runtime folder of user {user}, and so no journal"
            )),
        }
        match provision::orphans() {
            Ok(orphans) => {
                survey.found.extend(
                    orphans
                        .gone
                        .iter()
                        .map(|orphan| format!("process {} of run {}", orphan.pid, orphan.run)),
                );
                survey.unsure.extend(orphans.unsure);
                survey.examined.push(format!(
                    "processes of user {user} in this process namespace"
                ));
            }
            Err(error) => survey.not_examined.push(format!("processes: {error}")),
        }
        match docker::left_behind(images) {
            Ok(left) => {
                survey.found.extend(left.objects);
                let images = left.images.into_iter().map(|name| format!("image {name}"));
                survey.found.extend(images);
                survey.unsure.extend(left.unsure);
                survey
                    .examined
                    .push(format!("the Docker engine at {}", left.engine));
            }
            Err(error) => survey.no_engine(&error),
        }
        for examined in &survey.examined {
            tracing::info!("looked at: {examined}");
        }
        Ok(survey)
    }

    /// An engine that does not answer may have containers of ours all the same, unless there is none at all.
    fn no_engine(&mut self, error: &ProvisionError) {
        if let Some(why) = docker::none_installed() {
            self.examined.push(why);
            return;
        }
        let cure = error.hint.as_ref().map(|hint| format!(" ({hint})"));
        self.not_examined.push(format!(
            "containers and networks of Docker: {error}{}",
            cure.unwrap_or_default()
        ));
    }

    fn is_whole(&self) -> bool {
        self.unsure.is_empty() && self.not_examined.is_empty()
    }

    /// A failure where something may be left: not looked at, or left alone because it may belong to a live run.
    fn must_be_whole(&self) -> Result<(), Failure> {
        if self.is_whole() {
            return Ok(());
        }
        let mut lines = vec!["error: something of a crashed run may be left".to_owned()];
        lines.extend(
            self.not_examined
                .iter()
                .map(|what| format!("  not looked at: {what}")),
        );
        lines.extend(
            self.unsure
                .iter()
                .map(|what| format!("  left alone, because its run may be alive: {what}")),
        );
        lines.extend(
            self.examined
                .iter()
                .map(|what| format!("  looked at: {what}")),
        );
        let by_hand = "where you know that no run is alive, remove it by hand: kill PID; docker rm -f CONTAINER; docker network rm NETWORK";
        let again = "put that right, then: c1m clean";
        let hint = if self.unsure.is_empty() {
            again
        } else {
            by_hand
        };
        Err(Failure::new(Exit::HostChanged, lines.join("\n")).with_hint(Some(hint)))
    }
}
