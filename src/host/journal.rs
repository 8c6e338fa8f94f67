//! The journal: what was found before it was changed, on disk and synced before the change is made. One file per run, one
//! JSON object per line. A line that is torn was being written when the machine stopped, so its change was never made.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::RunId;
use crate::kernel::identity::{Life, ProcessIdentity};
use crate::kernel::sysctl::SettingStore;

use super::Runtime;

/// Whose journal it is: the first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalOwner {
    /// Version of the format.
    pub journal: u32,
    /// The run.
    pub run: RunId,
    /// The process that changes the host.
    pub pid: u32,
    /// When that process began, in ticks since the machine did; with `pid` it tells the process from every other.
    pub start_time: Option<u64>,
    /// The kernel's identity of the boot; settings of another boot are gone.
    pub boot_id: Option<String>,
    /// The inode of its process namespace: `pid` is a number in there.
    #[serde(default)]
    pub pid_namespace: Option<u64>,
    /// The inode of its time namespace: `start_time` is counted in there.
    #[serde(default)]
    pub time_namespace: Option<u64>,
    /// Its user.
    #[serde(default)]
    pub uid: Option<u32>,
}

impl JournalOwner {
    /// This process.
    #[must_use]
    pub fn current(run: &RunId, store: &dyn SettingStore) -> Self {
        let own = ProcessIdentity::current();
        Self {
            journal: FORMAT,
            run: run.clone(),
            pid: own.pid,
            start_time: own.start_time,
            boot_id: boot_id(store),
            pid_namespace: own.pid_namespace,
            time_namespace: own.time_namespace,
            uid: own.uid,
        }
    }

    /// Why the process that wrote it may still run, and is not the one that asks. For a journal of the boot `now`.
    pub(super) fn may_run_elsewhere(&self, now: Option<&str>) -> Option<String> {
        let own = ProcessIdentity::current();
        let of_another_boot = match (self.boot_id.as_deref(), now) {
            (Some(then), Some(now)) => then != now,
            _ => false,
        };
        if of_another_boot {
            return None;
        }
        let it = ProcessIdentity {
            pid: self.pid,
            start_time: self.start_time,
            boot_id: own.boot_id.clone(),
            // Journals of earlier versions do not say: they were written where they are read.
            pid_namespace: self.pid_namespace.or(own.pid_namespace),
            time_namespace: self
                .pid_namespace
                .map_or(own.time_namespace, |_| self.time_namespace),
            uid: self.uid,
        };
        if it.pid == own.pid && it.pid_namespace == own.pid_namespace {
            return None;
        }
        match it.life() {
            Life::Gone | Life::GoneWithItsBoot => None,
            Life::Alive => Some(format!(
                "run {} is at work here: process {}",
                self.run, self.pid
            )),
            Life::Unknown(why) => Some(format!("run {} may be at work here: {why}", self.run)),
        }
    }
}

/// The kernel's identity of this boot.
pub(super) fn boot_id(store: &dyn SettingStore) -> Option<String> {
    store.read("kernel.random.boot_id").ok()
}

/// Something that is about to be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JournalEntry {
    /// A setting.
    Sysctl {
        /// Its key.
        key: String,
        /// What was found.
        before: String,
        /// What is about to be written.
        written: String,
    },
    /// What the kernel made of a value that was written, where it made something else of it.
    Became {
        /// The setting's key.
        key: String,
        /// The value that was read back.
        value: String,
    },
    /// An object of the host that is about to be made, such as a table of the packet filter.
    Object {
        /// What it is: a name that whoever removes it knows.
        kind: String,
        /// Its name.
        name: String,
    },
}

impl JournalEntry {
    /// It in a few words; nothing for an entry that only adds to another.
    pub(super) fn summary(&self) -> Option<String> {
        match self {
            Self::Sysctl {
                key,
                before,
                written,
            } => Some(format!("{key} {before} -> {written}")),
            Self::Became { .. } => None,
            Self::Object { kind, name } => Some(format!("{kind} {name}")),
        }
    }
}

/// Why the journal could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} the journal {path}: {source}")]
pub struct JournalError {
    /// What was tried.
    pub what: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What came back.
    pub source: io::Error,
}

/// A file whose content is safe once `sync` has returned.
pub trait Durable: Write + Send {
    /// Waits until everything written is on disk.
    fn sync(&mut self) -> io::Result<()>;
}

impl Durable for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// A journal that is being written.
pub(super) struct Journal {
    path: PathBuf,
    file: Box<dyn Durable>,
    entries: Vec<JournalEntry>,
    state: State,
}

/// Whether another line may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Yes.
    Whole,
    /// No: a line could not be finished, and what followed it would be read as its end.
    Torn,
}

/// Something to put between the journal and its file.
pub type JournalFile = dyn Fn(File) -> Box<dyn Durable> + Send;

impl fmt::Debug for Journal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Journal")
            .field("path", &self.path)
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// A new one. `wrap` may put itself between the journal and its file.
    pub(super) fn create(
        runtime: &Runtime,
        owner: &JournalOwner,
        wrap: &JournalFile,
    ) -> Result<Self, JournalError> {
        let path = journal_path(runtime, &owner.run);
        let failed = |source| JournalError {
            what: "begin",
            path: path.clone(),
            source,
        };
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        let mut journal = Self {
            path: path.clone(),
            file: wrap(file),
            entries: Vec::new(),
            state: State::Whole,
        };
        journal.write_line(owner).map_err(failed)?;
        sync_folder(runtime.path()).map_err(failed)?;
        Ok(journal)
    }

    /// Writes an entry. When this returns, the entry is on disk.
    pub(super) fn append(&mut self, entry: JournalEntry) -> Result<(), JournalError> {
        self.write_line(&entry).map_err(|source| JournalError {
            what: "write to",
            path: self.path.clone(),
            source,
        })?;
        self.entries.push(entry);
        Ok(())
    }

    /// What has been written so far.
    pub(super) fn entries(&self) -> &[JournalEntry] {
        &self.entries
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn write_line(&mut self, line: &impl Serialize) -> io::Result<()> {
        if self.state == State::Torn {
            return Err(io::Error::other("a line before could not be finished"));
        }
        let mut bytes = serde_json::to_vec(line).map_err(io::Error::other)?;
        bytes.push(b'\n');
        self.state = State::Torn;
        self.file.write_all(&bytes)?;
        self.file.sync()?;
        self.state = State::Whole;
        Ok(())
    }
}

/// A journal that a run left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LeftJournal {
    /// Where it lies.
    pub(super) path: PathBuf,
    /// Whose it is; absent where not even the first line was finished, and then nothing was changed.
    pub(super) owner: Option<JournalOwner>,
    /// Why it is not understood, where it is not: then nobody knows what was changed.
    pub(super) unreadable: Option<String>,
    /// Its entries, oldest first.
    pub(super) entries: Vec<JournalEntry>,
}

/// Reads every journal that lies in the folder, the youngest first: the order in which to undo them.
pub(super) fn read_all(runtime: &Runtime) -> Result<Vec<LeftJournal>, JournalError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| JournalError {
            what: "read",
            path,
            source,
        }
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(runtime.path()).map_err(failed(runtime.path()))? {
        let path = entry.map_err(failed(runtime.path()))?.path();
        let is_journal = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        if is_journal {
            let changed = path
                .metadata()
                .and_then(|file| file.modified())
                .map_err(failed(&path))?;
            let bytes = fs::read(&path).map_err(failed(&path))?;
            found.push((changed, parse(path, &bytes)));
        }
    }
    found.sort_by(|(one, _), (other, _)| other.cmp(one));
    Ok(found.into_iter().map(|(_, journal)| journal).collect())
}

/// Where the journal of a run lies while something of the host is changed.
#[must_use]
pub fn journal_path(runtime: &Runtime, run: &RunId) -> PathBuf {
    runtime.path().join(format!("{PREFIX}{run}{SUFFIX}"))
}

/// Removes a journal whose changes are undone.
pub(super) fn remove(path: &Path) -> Result<(), JournalError> {
    let failed = |source| JournalError {
        what: "remove",
        path: path.to_owned(),
        source,
    };
    fs::remove_file(path).map_err(failed)?;
    path.parent().map_or(Ok(()), sync_folder).map_err(failed)
}

/// A line without its end was being written when its writer stopped, so the change that it speaks of was never made. A line
/// with its end was synced before the change: where it is not understood, something may have been changed.
fn parse(path: PathBuf, bytes: &[u8]) -> LeftJournal {
    let mut lines = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| line.ends_with(b"\n"))
        .zip(1_usize..);
    let mut journal = LeftJournal {
        path,
        owner: None,
        unreadable: None,
        entries: Vec::new(),
    };
    let Some((first, _)) = lines.next() else {
        return journal;
    };
    let version = serde_json::from_slice::<Version>(first);
    match (version, serde_json::from_slice::<JournalOwner>(first)) {
        (Ok(Version { journal: FORMAT }), Ok(owner)) => journal.owner = Some(owner),
        (Ok(Version { journal: FORMAT }), Err(error)) | (Err(error), _) => {
            journal.unreadable = Some(format!("its first line is not understood: {error}"));
            return journal;
        }
        (Ok(Version { journal: version }), _) => {
            journal.unreadable = Some(format!(
                "it is of format {version}, and this program reads format {FORMAT}"
            ));
            return journal;
        }
    }
    for (line, number) in lines {
        match serde_json::from_slice(line) {
            Ok(entry) => journal.entries.push(entry),
            Err(error) => {
                journal
                    .unreadable
                    .get_or_insert_with(|| format!("its line {number} is not understood: {error}"));
            }
        }
    }
    journal
}

/// Of a first line, what every format has.
#[derive(Deserialize)]
struct Version {
    journal: u32,
}

/// A new name is on disk once its folder is.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Version of the format.
const FORMAT: u32 = 1;

const PREFIX: &str = "journal-";
const SUFFIX: &str = ".jsonl";
