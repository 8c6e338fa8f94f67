//! What a crashed run left behind is undone by the next command: found by its journal, never taken from a live run.

use std::path::Path;

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
    /// Why the journal was left as it is and nothing was undone, where it was: something may still be changed.
    pub kept: Option<String>,
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
            Self::Done(all) => all
                .iter()
                .any(|one| one.kept.is_some() || !one.restoration.is_complete()),
        }
    }
}

impl Recovered {
    fn notes(&self) -> Vec<String> {
        let run = self.run.as_ref().map_or("a run", RunId::as_str);
        if let Some(why) = &self.dropped {
            return vec![format!("the journal of {run} was dropped: {why}")];
        }
        if let Some(why) = &self.kept {
            return vec![why.clone()];
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

/// What is there of crashed runs, found without changing anything.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct LeftOnHost {
    /// A run that is under way, or may be: the journals may be its own.
    pub live_run: Option<String>,
    /// A sentence for each journal.
    pub journals: Vec<String>,
}

/// Looks for journals and for a live run, without taking the lock: nothing is made, written or undone.
pub fn look(runtime: &Runtime) -> Result<LeftOnHost, HostError> {
    let held = match Lock::look(runtime) {
        Ok(()) => None,
        Err(held @ LockError::Held { .. }) => Some(held.to_string()),
        Err(error) => return Err(error.into()),
    };
    let boot = journal::boot_id(&Sysctl::system());
    let left = journal::read_all(runtime)?;
    let live_run = held.or_else(|| {
        left.iter()
            .filter_map(|journal| journal.owner.as_ref())
            .find_map(|owner| owner.may_run_elsewhere(boot.as_deref()))
    });
    Ok(LeftOnHost {
        live_run,
        journals: left_behind(runtime)?,
    })
}

/// What crashed runs left, a sentence for each journal; nothing is undone. Says nothing about whose runs still live.
pub fn left_behind(runtime: &Runtime) -> Result<Vec<String>, HostError> {
    let describe = |journal: LeftJournal| {
        let run = journal
            .owner
            .as_ref()
            .map_or("?", |owner| owner.run.as_str());
        if let Some(why) = &journal.unreadable {
            return not_understood(&journal.path, why);
        }
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

fn not_understood(path: &Path, why: &str) -> String {
    format!(
        "the journal {} was left alone: {why}; what it names may still be changed: restore with the version that wrote it, or put it back by hand and remove the file",
        path.display()
    )
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
    let boot = journal::boot_id(store);
    // The lock says that nobody is there. Should its file have been removed under a live run, the process says otherwise.
    if let Some(who) = left
        .iter()
        .filter_map(|journal| journal.owner.as_ref())
        .find_map(|owner| owner.may_run_elsewhere(boot.as_deref()))
    {
        return Ok(Recovery::LiveRun(who));
    }
    let recovered = left
        .into_iter()
        .map(|journal| undo(&journal, boot.as_deref(), store, remove_object))
        .collect::<Result<_, _>>()?;
    Ok(Recovery::Done(recovered))
}

fn undo(
    journal: &LeftJournal,
    boot: Option<&str>,
    store: &dyn SettingStore,
    remove_object: ObjectRemover,
) -> Result<Recovered, HostError> {
    let of_another_boot = journal.owner.as_ref().is_some_and(
        |owner| matches!((owner.boot_id.as_deref(), boot), (Some(then), Some(now)) if then != now),
    );
    let run = journal.owner.as_ref().map(|owner| owner.run.clone());
    let dropped = if of_another_boot {
        Some("it is of another boot: its settings went with it".to_owned())
    } else if let Some(why) = &journal.unreadable {
        // Undoing a part could write a value of ours back as if it had been found: all of it is left.
        return Ok(Recovered {
            run,
            dropped: None,
            kept: Some(not_understood(&journal.path, why)),
            restoration: Restoration::default(),
        });
    } else if journal.owner.is_none() {
        Some("it was not finished: nothing had been changed yet".to_owned())
    } else {
        None
    };
    let restoration = if dropped.is_some() {
        journal::remove(&journal.path)?;
        Restoration::default()
    } else {
        tuning::undo(&journal.entries, &journal.path, store, remove_object)
    };
    Ok(Recovered {
        run,
        dropped,
        kept: None,
        restoration,
    })
}
