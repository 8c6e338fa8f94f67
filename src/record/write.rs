//! Writing a run directory while the run lives. A handle is cheap to clone and may be used from any thread.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use super::error::RecordError;
use super::folder::Folder;
use super::layout::{
    CHARTS, EVENTS, LATEST, RUN, RunIdentity, SAMPLES, SCHEMA_VERSION, WORKERS, directory_name,
    worker_log,
};
use super::lines::LineFile;
use super::owner::Owner;
use crate::domain::{Envelope, RunEvent, RunId, Sample, WorkerId};

/// Space that is held back from the beginning and let go when the disk is full, so that the report of a run that filled
/// the disk can still be written. A run writes 1 to 3 MB; its report and charts are below 1 MB.
const RESERVE_BYTES: usize = 8 * 1024 * 1024;

/// The name that the reserve has for a moment.
const RESERVE: &str = "reserve";

/// A worker's log ends here: a worker that complains about each of a million connections must not fill the disk.
const LONGEST_LOG_BYTES: u64 = 1024 * 1024;

/// The directory of one run.
#[derive(Debug, Clone)]
pub struct RunDir {
    folder: Folder,
    open: Arc<Open>,
}

/// What is open as long as the run lives.
#[derive(Debug)]
struct Open {
    events: Mutex<LineFile>,
    samples: Mutex<LineFile>,
    logs: Mutex<BTreeMap<WorkerId, LineFile>>,
    /// Unlinked already: the space is ours until the descriptor closes, whatever ends the process.
    reserve: Mutex<Option<File>>,
}

impl RunDir {
    /// Makes `<results_root>/<UTC time>-<scenario>-<run>/` and points `<results_root>/latest` at it. The root itself is
    /// made when only it is missing.
    ///
    /// # Errors
    /// When the root is no directory, cannot be made or written to, or has no space for a run.
    pub fn create(
        results_root: &Path,
        started: Timestamp,
        scenario: &str,
        run: &RunId,
    ) -> Result<Self, RecordError> {
        Self::create_for(results_root, started, scenario, run, None)
    }

    /// [`Self::create`], with everything given to `owner`: under sudo, results belong to the caller.
    ///
    /// # Errors
    /// As [`Self::create`], and when something cannot be given away.
    pub fn create_for(
        results_root: &Path,
        started: Timestamp,
        scenario: &str,
        run: &RunId,
        owner: Option<Owner>,
    ) -> Result<Self, RecordError> {
        let root = make_root(results_root, owner)?;
        let name = directory_name(started, scenario, run);
        let folder = root.make_new(&name)?;
        // First of all: without space, nothing else is begun.
        let reserve = reserve(&folder).inspect_err(|_| {
            // The directory is empty; the error that is returned says more than one about it.
            let _ = root.directory().remove_directory(&name);
        })?;
        folder.make(CHARTS)?;
        folder.make(WORKERS)?;
        folder.write_json(
            RUN,
            &RunIdentity {
                schema_version: SCHEMA_VERSION,
                run: run.clone(),
                scenario: scenario.to_owned(),
                started: started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            },
        )?;
        let open = Open {
            events: Mutex::new(open_lines(&folder, EVENTS)?),
            samples: Mutex::new(open_lines(&folder, SAMPLES)?),
            logs: Mutex::default(),
            reserve: Mutex::new(Some(reserve)),
        };
        // Something else of that name is left alone: a link is a convenience, and no reason to end.
        let _ = root.directory().link(LATEST, &name, root.owner());
        Ok(Self {
            folder,
            open: Arc::new(open),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The directory as a place for documents.
    #[must_use]
    pub const fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Writes a document as indented JSON; see [`Folder::write_json`].
    ///
    /// # Errors
    /// When it cannot be encoded or written; [`RecordError::Full`] when the disk is full.
    pub fn write_json(&self, name: &str, document: &impl Serialize) -> Result<(), RecordError> {
        let written = self.folder.write_json(name, document);
        self.or_let_go(written)
    }

    /// Writes a document; see [`Folder::write_text`].
    ///
    /// # Errors
    /// When it cannot be written; [`RecordError::Full`] when the disk is full.
    pub fn write_text(&self, name: &str, text: &str) -> Result<(), RecordError> {
        let written = self.folder.write_text(name, text);
        self.or_let_go(written)
    }

    /// Appends an event.
    ///
    /// # Errors
    /// When it cannot be written; [`RecordError::Full`] when the disk is full.
    pub fn event(&self, event: &Envelope) -> Result<(), RecordError> {
        self.append(&self.open.events, EVENTS, event)
    }

    /// Appends a sample.
    ///
    /// # Errors
    /// When it cannot be written; [`RecordError::Full`] when the disk is full.
    pub fn sample(&self, sample: &Sample) -> Result<(), RecordError> {
        self.append(&self.open.samples, SAMPLES, sample)
    }

    /// Appends a line to a worker's log. A log that has grown too long says so once and takes no more.
    ///
    /// # Errors
    /// When it cannot be written; [`RecordError::Full`] when the disk is full.
    pub fn worker_log(&self, worker: WorkerId, line: &str) -> Result<(), RecordError> {
        let name = worker_log(worker);
        let mut logs = lock(&self.open.logs);
        let log = match logs.entry(worker) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(open_lines(&self.folder, &name)?)
            }
        };
        if log.length() >= LONGEST_LOG_BYTES {
            return Ok(());
        }
        let mut text = line.trim_end().to_owned();
        text.push('\n');
        if log.length() + text.len() as u64 >= LONGEST_LOG_BYTES {
            // At least as long as the bound leaves, so that this is the last line.
            let rest = usize::try_from(LONGEST_LOG_BYTES - log.length()).unwrap_or(0);
            text = format!("{:<rest$}\n", "[the log is too long: the rest is left out]");
        }
        let written = log.append(text.as_bytes());
        drop(logs);
        self.or_let_go(written.map_err(|source| self.write_error(&name, source)))
    }

    /// Puts all lines on the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&self) -> Result<(), RecordError> {
        for (name, lines) in [(EVENTS, &self.open.events), (SAMPLES, &self.open.samples)] {
            let synced = lock(lines).sync();
            self.or_let_go(synced.map_err(|source| self.write_error(name, source)))?;
        }
        Ok(())
    }

    fn append(
        &self,
        lines: &Mutex<LineFile>,
        name: &str,
        entry: &impl Serialize,
    ) -> Result<(), RecordError> {
        let mut text = serde_json::to_vec(entry).map_err(|source| RecordError::Encode {
            path: self.path().join(name),
            source,
        })?;
        text.push(b'\n');
        let written = lock(lines).append(&text);
        self.or_let_go(written.map_err(|source| self.write_error(name, source)))
    }

    fn write_error(&self, name: &str, source: io::Error) -> RecordError {
        RecordError::from_write(self.path().join(name), source)
    }

    /// Lets the reserve go when the disk turned out to be full: what failed has failed, what follows has space.
    fn or_let_go(&self, written: Result<(), RecordError>) -> Result<(), RecordError> {
        if written.as_ref().is_err_and(RecordError::is_full) {
            lock(&self.open.reserve).take();
        }
        written
    }
}

/// Adds an event to the recording of a run that is over: what became known of it afterwards.
///
/// # Errors
/// When the recording cannot be read or written.
pub fn add_event(dir: &Path, owner: Option<Owner>, event: RunEvent) -> Result<(), RecordError> {
    let path = dir.join(EVENTS);
    let mut text = fs::read_to_string(&path).map_err(|source| RecordError::Read {
        path: path.clone(),
        source,
    })?;
    let envelope = Envelope {
        at_seconds: 0.0,
        stage: None,
        event,
    };
    let line =
        serde_json::to_string(&envelope).map_err(|source| RecordError::Encode { path, source })?;
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&line);
    text.push('\n');
    Folder::open(dir, owner)?.write_text(EVENTS, &text)
}

/// A poisoned lock is taken all the same: a line is written whole or taken back, whatever another thread died of.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open_lines(folder: &Folder, name: &str) -> Result<LineFile, RecordError> {
    LineFile::of(folder.create(name)?)
        .map_err(|source| RecordError::from_write(folder.path().join(name), source))
}

fn make_root(root: &Path, owner: Option<Owner>) -> Result<Folder, RecordError> {
    match fs::metadata(root) {
        Ok(metadata) if metadata.is_dir() => Folder::open(root, owner),
        Ok(_) => Err(RecordError::NotADirectory {
            path: root.to_owned(),
        }),
        Err(_) => {
            let make = |source: io::Error| RecordError::Make {
                path: root.to_owned(),
                source,
            };
            let no_parent = || RecordError::NoParent {
                path: root.to_owned(),
            };
            let name = root
                .file_name()
                .ok_or_else(|| make(io::Error::other("it has no name")))?;
            let parent = match root.parent() {
                Some(parent) if parent != Path::new("") => parent,
                _ => Path::new("."),
            };
            let parent = Folder::open(parent, owner).map_err(|error| match error {
                RecordError::Read { source, .. } if source.kind() != io::ErrorKind::NotFound => {
                    make(source)
                }
                _ => no_parent(),
            })?;
            let directory = parent
                .directory()
                .make(name, parent.owner())
                .map_err(make)?;
            Ok(Folder::of(root, directory, parent.owner()))
        }
    }
}

/// Takes the reserve. Writing finds what asking does not: quotas, and blocks that only root may use.
fn reserve(folder: &Folder) -> Result<File, RecordError> {
    let taken = folder.create(RESERVE)?;
    folder
        .remove(RESERVE)
        .and_then(|()| {
            (&taken)
                .write_all(&vec![0; RESERVE_BYTES])
                .and_then(|()| taken.sync_data())
                .map_err(|source| RecordError::from_write(folder.path().to_owned(), source))
        })
        .map(|()| taken)
}

#[cfg(test)]
mod tests;
