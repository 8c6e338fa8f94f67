//! Settings of the host: written through the journal, and put back in reverse order on success, on error, on panic, and
//! by a later command when the process was killed. A value that somebody else changed meanwhile is reported and left
//! alone.

use std::fmt;
use std::io;
use std::path::Path;

use crate::domain::{RestoreOutcome, RunId, SettingChange, SettingRecord};
use crate::kernel::sysctl::{SettingStore, Sysctl};

use super::journal::{
    self, Durable, Journal, JournalEntry, JournalError, JournalFile, JournalOwner,
};
use super::setting::write_one;
use super::{Lock, Runtime};

/// Removes an object of a kind by its name; not an error when it is gone already. Whoever makes objects knows how.
pub type ObjectRemover = fn(kind: &str, name: &str) -> Result<(), String>;

/// What became of putting things back.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Restoration {
    /// Each setting by its key, in the order in which they were put back.
    pub settings: Vec<(String, RestoreOutcome)>,
    /// Each object by kind and name, with what came of removing it.
    pub objects: Vec<(String, String, Result<(), String>)>,
    /// Why the journal itself could not be removed, where it could not.
    pub journal_left: Option<String>,
}

impl Restoration {
    /// Whether nothing of ours is left on the host.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let failed = |outcome: &RestoreOutcome| matches!(outcome, RestoreOutcome::Failed(_));
        !self.settings.iter().any(|(_, outcome)| failed(outcome))
            && self.objects.iter().all(|(_, _, removed)| removed.is_ok())
    }

    /// Whether there was anything to put back.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.objects.is_empty()
    }
}

/// The settings and objects of the host that this run changes. Dropping it puts back what was not put back before.
pub struct Tuning {
    runtime: Runtime,
    owner: JournalOwner,
    store: Box<dyn SettingStore + Send>,
    remove_object: ObjectRemover,
    wrap: Box<JournalFile>,
    journal: Option<Journal>,
}

impl fmt::Debug for Tuning {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tuning")
            .field("owner", &self.owner)
            .field("journal", &self.journal)
            .finish_non_exhaustive()
    }
}

impl Tuning {
    /// For the run that holds the lock. Nothing is written, not even a journal, before there is something to change.
    #[must_use]
    pub fn new(runtime: &Runtime, _lock: &Lock, run: &RunId, remove_object: ObjectRemover) -> Self {
        let store = Box::new(Sysctl::system());
        let owner = JournalOwner::current(run, &*store);
        let unwrapped = Box::new(|file| Box::new(file) as Box<dyn Durable>);
        Self::with_parts(runtime, owner, store, remove_object, unwrapped)
    }

    /// As [`Self::new`], of another store, for an owner that is told, and with something between the journal and its file.
    #[must_use]
    pub fn with_parts(
        runtime: &Runtime,
        owner: JournalOwner,
        store: Box<dyn SettingStore + Send>,
        remove_object: ObjectRemover,
        wrap: Box<JournalFile>,
    ) -> Self {
        Self {
            runtime: runtime.clone(),
            owner,
            store,
            remove_object,
            wrap,
            journal: None,
        }
    }

    /// Writes settings, each journaled and synced first. One that cannot be written does not end it: its record says
    /// why.
    pub fn apply(&mut self, changes: &[SettingChange]) -> Vec<SettingRecord> {
        changes
            .iter()
            .map(|change| self.apply_one(change))
            .collect()
    }

    /// Notes an object that is about to be made. Make it only after this has returned well.
    pub fn note_object(&mut self, kind: &str, name: &str) -> Result<(), JournalError> {
        let entry = JournalEntry::Object {
            kind: kind.to_owned(),
            name: name.to_owned(),
        };
        open_journal(&mut self.journal, &self.runtime, &self.owner, &*self.wrap)?.append(entry)
    }

    /// Puts everything back. Goes on after errors; what could not be put back stays in the journal for the next command.
    pub fn restore(&mut self) -> Restoration {
        let Some(journal) = self.journal.take() else {
            return Restoration::default();
        };
        let (path, entries) = (journal.path().to_owned(), journal.entries().to_vec());
        drop(journal);
        undo(&entries, &path, &*self.store, self.remove_object)
    }

    fn apply_one(&mut self, change: &SettingChange) -> SettingRecord {
        let Self {
            journal,
            runtime,
            owner,
            wrap,
            store,
            ..
        } = self;
        let mut value_written = None;
        let mut record = write_one(change, None, &**store, &mut |before, value| {
            let entry = JournalEntry::Sysctl {
                key: change.key.clone(),
                before: before.to_owned(),
                written: value.to_owned(),
            };
            value_written = Some(value.to_owned());
            open_journal(journal, runtime, owner, &**wrap)
                .and_then(|journal| journal.append(entry))
                .map_err(|error| error.to_string())
        });
        // A kernel that rounds has made a value of its own out of ours: it is ours all the same.
        if record.changed
            && let Some(value) = record.in_force.clone()
            && value_written.as_ref() != Some(&value)
            && let Some(journal) = journal
        {
            let key = change.key.clone();
            if let Err(error) = journal.append(JournalEntry::Became { key, value }) {
                record.error.get_or_insert_with(|| error.to_string());
            }
        }
        record
    }
}

impl Drop for Tuning {
    fn drop(&mut self) {
        let restoration = self.restore();
        if !restoration.is_complete() {
            tracing::error!(
                ?restoration,
                "the host is left changed; repair it by: c1m restore"
            );
        }
    }
}

fn open_journal<'a>(
    journal: &'a mut Option<Journal>,
    runtime: &Runtime,
    owner: &JournalOwner,
    wrap: &JournalFile,
) -> Result<&'a mut Journal, JournalError> {
    match journal {
        Some(open) => Ok(open),
        None => Ok(journal.insert(Journal::create(runtime, owner, wrap)?)),
    }
}

/// Undoes the entries of a journal, the last first, and removes the journal when nothing of ours is left.
pub(super) fn undo(
    entries: &[JournalEntry],
    path: &Path,
    store: &dyn SettingStore,
    remove_object: ObjectRemover,
) -> Restoration {
    let mut restoration = Restoration::default();
    for step in steps(entries).iter().rev() {
        match step {
            Step::Setting { key, before, ours } => {
                let outcome = put_back(store, key, before, ours);
                restoration.settings.push(((*key).to_owned(), outcome));
            }
            Step::Object { kind, name } => {
                let removed = remove_object(kind, name);
                restoration
                    .objects
                    .push(((*kind).to_owned(), (*name).to_owned(), removed));
            }
        }
    }
    if restoration.is_complete()
        && let Err(error) = journal::remove(path)
    {
        restoration.journal_left = Some(error.to_string());
    }
    restoration
}

/// What there is to undo. A key that was written several times has one step: from any of our values to the first.
enum Step<'a> {
    Setting {
        key: &'a str,
        before: &'a str,
        ours: Vec<&'a str>,
    },
    Object {
        kind: &'a str,
        name: &'a str,
    },
}

fn steps(entries: &[JournalEntry]) -> Vec<Step<'_>> {
    let mut steps: Vec<Step<'_>> = Vec::new();
    for entry in entries {
        match entry {
            JournalEntry::Sysctl {
                key,
                before,
                written,
            } => match values_of(&mut steps, key) {
                Some(ours) => ours.extend([before.as_str(), written.as_str()]),
                None => steps.push(Step::Setting {
                    key,
                    before,
                    ours: vec![written],
                }),
            },
            JournalEntry::Became { key, value } => {
                if let Some(ours) = values_of(&mut steps, key) {
                    ours.push(value);
                }
            }
            JournalEntry::Object { kind, name } => steps.push(Step::Object { kind, name }),
        }
    }
    steps
}

fn values_of<'s, 'e>(steps: &'s mut [Step<'e>], wanted: &str) -> Option<&'s mut Vec<&'e str>> {
    steps.iter_mut().find_map(|step| match step {
        Step::Setting { key, ours, .. } if *key == wanted => Some(ours),
        _ => None,
    })
}

fn put_back(store: &dyn SettingStore, key: &str, before: &str, ours: &[&str]) -> RestoreOutcome {
    let now = match store.read(key) {
        Ok(now) => now,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return RestoreOutcome::ChangedByOthers("no such key any more".to_owned());
        }
        Err(error) => return RestoreOutcome::Failed(format!("cannot read {key}: {error}")),
    };
    if now == before {
        return RestoreOutcome::AlreadyThere;
    }
    if !ours.contains(&now.as_str()) {
        return RestoreOutcome::ChangedByOthers(now);
    }
    if let Err(error) = store.write(key, before) {
        return RestoreOutcome::Failed(format!("cannot write {before:?} to {key}: {error}"));
    }
    match store.read(key) {
        Ok(now) if now == before => RestoreOutcome::Restored,
        Ok(now) => RestoreOutcome::Failed(format!("{key}: wrote {before:?}, {now:?} is in force")),
        Err(error) => RestoreOutcome::Failed(format!("cannot read {key} back: {error}")),
    }
}

#[cfg(test)]
mod tests;
