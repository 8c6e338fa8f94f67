//! One run at a time: a lock that dies with its owner, however the owner ends. Who holds it may write the journal and
//! restore from it, and nobody else; so no command ever undoes the settings of a live run.
//!
//! It binds the runs of one user (root's are one user's too). Host settings need root, so no two users' runs write them.

use std::fs::{File, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::domain::RunId;
use crate::kernel::sys::flock::{self, Taken};

use super::Runtime;

/// Who holds a lock, as it says itself: for messages only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process.
    pub pid: u32,
    /// Its run; absent for a command that only tidies up.
    pub run: Option<RunId>,
}

/// Why the lock is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another command has it.
    #[error("another c1m is at work here{}", describe(.holder.as_ref()))]
    Held {
        /// Who, where it could be read.
        holder: Option<Holder>,
    },
    /// It could not be opened or taken.
    #[error("cannot take the lock {path}: {source}")]
    File {
        /// The lock's file.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
}

impl LockError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let Self::Held { holder } = self else {
            return None;
        };
        let process = holder
            .as_ref()
            .map_or_else(String::new, |holder| format!(" (kill -INT {})", holder.pid));
        Some(format!("wait for it, or end it{process}"))
    }
}

fn describe(holder: Option<&Holder>) -> String {
    match holder {
        Some(Holder {
            pid,
            run: Some(run),
        }) => format!(": run {run}, process {pid}"),
        Some(Holder { pid, run: None }) => format!(": process {pid}"),
        None => String::new(),
    }
}

/// The lock, ours until it is dropped.
#[derive(Debug)]
pub struct Lock {
    // Open means locked.
    _file: File,
}

impl Lock {
    /// Takes it for a run, or for a command that tidies up.
    pub fn take(runtime: &Runtime, run: Option<&RunId>) -> Result<Self, LockError> {
        let path = runtime.path().join(LOCK_FILE);
        let failed = |source| LockError::File {
            path: path.clone(),
            source,
        };
        loop {
            let mut file = open(&path).map_err(failed)?;
            match flock::try_exclusive(&file).map_err(failed)? {
                Taken::Ours => {}
                Taken::Busy => {
                    return Err(LockError::Held {
                        holder: read_holder(&mut file),
                    });
                }
            }
            // Whoever tidies /tmp may have removed the file in between: then this one is no lock any more.
            if !is_at(&file, &path) {
                continue;
            }
            let holder = Holder {
                pid: std::process::id(),
                run: run.cloned(),
            };
            write_holder(&mut file, &holder).map_err(failed)?;
            return Ok(Self { _file: file });
        }
    }
}

impl Lock {
    /// Looks whether somebody holds it, and makes and writes nothing: an error says who.
    pub fn look(runtime: &Runtime) -> Result<(), LockError> {
        let path = runtime.path().join(LOCK_FILE);
        let failed = |source| LockError::File {
            path: path.clone(),
            source,
        };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        match flock::try_exclusive(&file).map_err(failed)? {
            // It is let go at once: the file closes here.
            Taken::Ours => Ok(()),
            Taken::Busy => Err(LockError::Held {
                holder: read_holder(&mut file),
            }),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

fn is_at(file: &File, path: &Path) -> bool {
    let inode =
        |found: io::Result<std::fs::Metadata>| found.ok().map(|found| (found.dev(), found.ino()));
    inode(file.metadata()) == inode(path.metadata())
}

fn read_holder(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

fn write_holder(file: &mut File, holder: &Holder) -> io::Result<()> {
    let text = serde_json::to_string(holder).map_err(io::Error::other)?;
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(text.as_bytes())
}

/// The file that is locked. It stays when the lock is gone: removing it would let two runs hold two different ones.
const LOCK_FILE: &str = "lock";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Readers;

    #[test]
    fn the_second_is_told_who_the_first_is_and_comes_in_when_it_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let runtime = Runtime::at(folder.path().join("c1m"), Readers::Owner).expect("makes it");
        let run = RunId::from_random(7);
        let first = Lock::take(&runtime, Some(&run)).expect("takes it");
        let error = Lock::take(&runtime, None).expect_err("is refused");
        assert_eq!(
            error.to_string(),
            format!(
                "another c1m is at work here: run 00000007, process {}",
                std::process::id()
            )
        );
        let looked = Lock::look(&runtime).expect_err("sees it");
        assert_eq!(looked.to_string(), error.to_string());
        drop(first);
        Lock::look(&runtime).expect("nobody is there");
        Lock::take(&runtime, None).expect("takes it");
    }
}
