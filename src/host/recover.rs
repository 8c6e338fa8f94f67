//! What a crashed run left behind is undone by the next command: found by its journal, never taken from a live run.

use crate::domain::{RestoreOutcome, RunId};
use crate::kernel::sysctl::{SettingStore, Sysctl};

use super::journal::{self, JournalEntry, LeftJournal};
use super::tuning::{self, ObjectRemover, Restoration};
use super::{HostError, Lock, LockError, Runtime};

/// What was found and done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovery {
    /// A run is under way: everything was left alone. The text says which.
    LiveRun(String),
    /// No run is under way; each journal that was found, with what became of it. Usually there is none.
    Done(Vec<Recovered>),
}

/// A journal that a crashed run left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The run, where it could be read.
    pub run: Option<RunId>,
    /// Why the journal was dropped without undoing anything, where it was.
    pub dropped: Option<String>,
    /// What was undone.
    pub restoration: Restoration,
}

impl Recovery {
    /// What a reader should know, in a sentence each; usually nothing.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        match self {
            Self::LiveRun(who) => vec![who.clone()],
            Self::Done(all) => all.iter().flat_map(Recovered::notes).collect(),
        }
    }

    /// Whether something of a crashed run is still on the host.
    #[must_use]
    pub fn leaves_something(&self) -> bool {
        match self {
            Self::LiveRun(_) => false,
            Self::Done(all) => all.iter().any(|one| !one.restoration.is_complete()),
        }
    }
}

impl Recovered {
    fn notes(&self) -> Vec<String> {
        let run = self.run.as_ref().map_or("a run", RunId::as_str);
        if let Some(why) = &self.dropped {
            return vec![format!("the journal of {run} was dropped: {why}")];
        }
        let settings = self.restoration.settings.iter().map(|(key, outcome)| {
            let what = match outcome {
                RestoreOutcome::Restored => "was put back".to_owned(),
                RestoreOutcome::AlreadyThere => "has its old value".to_owned(),
                RestoreOutcome::ChangedByOthers(value) => {
                    format!("was left alone: somebody else changed it meanwhile ({value})")
                }
                RestoreOutcome::Failed(why) => format!("was not put back: {why}"),
            };
            format!("{key}, which {run} had changed, {what}")
        });
        let objects = self
            .restoration
            .objects
            .iter()
            .map(|(kind, name, removed)| match removed {
                Ok(()) => format!("{kind} {name}, which {run} had made, was removed"),
                Err(why) => format!("{kind} {name}, which {run} had made, was not removed: {why}"),
            });
        settings
            .chain(objects)
            .chain(self.restoration.journal_left.clone())
            .collect()
    }
}

/// What crashed runs left, a sentence for each journal; nothing is undone. Says nothing about whose runs still live.
pub fn left_behind(runtime: &Runtime) -> Result<Vec<String>, HostError> {
    let describe = |journal: LeftJournal| {
        let run = journal
            .owner
            .as_ref()
            .map_or("?", |owner| owner.run.as_str());
        let entries: Vec<String> = journal
            .entries
            .iter()
            .filter_map(JournalEntry::summary)
            .collect();
        let entries = if entries.is_empty() {
            "nothing".to_owned()
        } else {
            entries.join(", ")
        };
        format!(
            "journal of run {run} ({}): {entries}",
            journal.path.display()
        )
    };
    Ok(journal::read_all(runtime)?
        .into_iter()
        .map(describe)
        .collect())
}

/// Undoes what crashed runs left, unless a run is under way: called at the beginning of every command that looks at the
/// host or changes it, by one that does not hold the lock.
pub fn recover_unless_live(
    runtime: &Runtime,
    remove_object: ObjectRemover,
) -> Result<Recovery, HostError> {
    recover_with(runtime, &Sysctl::system(), remove_object)
}

/// As [`recover_unless_live`], in another store.
pub fn recover_with(
    runtime: &Runtime,
    store: &dyn SettingStore,
    remove_object: ObjectRemover,
) -> Result<Recovery, HostError> {
    match Lock::take(runtime, None) {
        Ok(lock) => recover_locked(runtime, &lock, store, remove_object),
        Err(held @ LockError::Held { .. }) => Ok(Recovery::LiveRun(held.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// Undoes what crashed runs left, for a command that holds the lock already.
pub fn recover(
    runtime: &Runtime,
    lock: &Lock,
    remove_object: ObjectRemover,
) -> Result<Recovery, HostError> {
    recover_locked(runtime, lock, &Sysctl::system(), remove_object)
}

fn recover_locked(
    runtime: &Runtime,
    _lock: &Lock,
    store: &dyn SettingStore,
    remove_object: ObjectRemover,
) -> Result<Recovery, HostError> {
    let left = journal::read_all(runtime)?;
    // The lock says that nobody is there. Should its file have been removed under a live run, the process says otherwise.
    if let Some(owner) = left
        .iter()
        .filter_map(|journal| journal.owner.as_ref())
        .find(|owner| owner.is_running_elsewhere())
    {
        let text = format!("run {} is at work here: process {}", owner.run, owner.pid);
        return Ok(Recovery::LiveRun(text));
    }
    let boot = journal::boot_id(store);
    let recovered = left
        .into_iter()
        .map(|journal| undo(journal, boot.as_deref(), store, remove_object))
        .collect::<Result<_, _>>()?;
    Ok(Recovery::Done(recovered))
}

fn undo(
    journal: LeftJournal,
    boot: Option<&str>,
    store: &dyn SettingStore,
    remove_object: ObjectRemover,
) -> Result<Recovered, HostError> {
    let dropped = match &journal.owner {
        None => Some("it was not finished: nothing had been changed yet".to_owned()),
        Some(owner) => match (owner.boot_id.as_deref(), boot) {
            (Some(then), Some(now)) if then != now => {
                Some("it is of another boot: its settings went with it".to_owned())
            }
            _ => None,
        },
    };
    let restoration = if dropped.is_some() {
        journal::remove(&journal.path)?;
        Restoration::default()
    } else {
        tuning::undo(&journal.entries, &journal.path, store, remove_object)
    };
    Ok(Recovered {
        run: journal.owner.map(|owner| owner.run),
        dropped,
        restoration,
    })
}
