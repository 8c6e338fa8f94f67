//! The journal: what was found before it was changed, on disk and synced before the change is made. One file per run, one
//! JSON object per line. A line that is torn was being written when the machine stopped, so its change was never made.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::RunId;
use crate::kernel::sys::process;
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
}

impl JournalOwner {
    /// This process.
    #[must_use]
    pub fn current(run: &RunId, store: &dyn SettingStore) -> Self {
        let pid = std::process::id();
        Self {
            journal: FORMAT,
            run: run.clone(),
            pid,
            start_time: process::start_time(pid),
            boot_id: boot_id(store),
        }
    }

    /// Whether the process that wrote it still runs, and is not the one that asks.
    pub(super) fn is_running_elsewhere(&self) -> bool {
        self.pid != std::process::id()
            && self.start_time.is_some()
            && process::start_time(self.pid) == self.start_time
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
        let path = runtime
            .path()
            .join(format!("{PREFIX}{}{SUFFIX}", owner.run));
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

fn parse(path: PathBuf, bytes: &[u8]) -> LeftJournal {
    let mut lines = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| line.ends_with(b"\n"));
    let owner = lines
        .next()
        .and_then(|line| serde_json::from_slice(line).ok());
    let entries = lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    LeftJournal {
        path,
        owner,
        entries,
    }
}

/// A new name is on disk once its folder is.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Version of the format.
const FORMAT: u32 = 1;

const PREFIX: &str = "journal-";
const SUFFIX: &str = ".jsonl";
