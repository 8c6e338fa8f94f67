//! What a crashed run left behind is undone by the next command: found by its journal, never taken from a live run.

use crate::domain::RunId;
use crate::kernel::sysctl::SettingStore;

use super::journal::{self, JournalError, LeftJournal};
use super::tuning::{self, ObjectRemover, Restoration};
use super::{LockError, RunLock, RuntimeDir};

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

/// Undoes what crashed runs left, unless a run is under way: called at the beginning of every command that looks at the
/// host or changes it, by one that does not hold the lock.
pub fn recover(
    runtime: &RuntimeDir,
    store: &dyn SettingStore,
    remove_object: ObjectRemover,
) -> Result<Recovery, RecoverError> {
    match RunLock::take(runtime, None) {
        Ok(lock) => recover_locked(runtime, &lock, store, remove_object),
        Err(held @ LockError::Held { .. }) => Ok(Recovery::LiveRun(held.to_string())),
        Err(error) => Err(error.into()),
    }
}

/// As [`recover`], for a command that holds the lock already.
pub fn recover_locked(
    runtime: &RuntimeDir,
    _lock: &RunLock,
    store: &dyn SettingStore,
    remove_object: ObjectRemover,
) -> Result<Recovery, RecoverError> {
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
) -> Result<Recovered, RecoverError> {
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

/// Why it could not be found out, or not be done.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}
