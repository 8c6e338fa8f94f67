//! Documents of a run directory: each replaced as a whole, so that a reader finds the old text or the new one, never half
//! of either.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::error::RecordError;

/// Whom files are given to, when a run under sudo writes for the user who called it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// A run directory as a place for documents.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    owner: Option<Owner>,
}

impl Folder {
    /// The directory at `path`, which must exist; what is written there is given to `owner`, where one is named.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn open(path: &Path, owner: Option<Owner>) -> Result<Self, RecordError> {
        let metadata = fs::metadata(path).map_err(|source| RecordError::Read {
            path: path.to_owned(),
            source,
        })?;
        if !metadata.is_dir() {
            return Err(RecordError::NotADirectory {
                path: path.to_owned(),
            });
        }
        Ok(Self {
            path: path.to_owned(),
            owner,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a document as indented JSON.
    ///
    /// # Errors
    /// When it cannot be encoded or written; [`RecordError::Full`] when the disk is full.
    pub fn write_json(&self, name: &str, document: &impl Serialize) -> Result<(), RecordError> {
        let mut text =
            serde_json::to_string_pretty(document).map_err(|source| RecordError::Encode {
                path: self.path.join(name),
                source,
            })?;
        text.push('\n');
        self.write_text(name, &text)
    }

    /// Writes a document: to a new file beside it, synced, then renamed over it.
    ///
    /// # Errors
    /// When it cannot be written; [`RecordError::Full`] when the disk is full. The old document is then still there.
    pub fn write_text(&self, name: &str, text: &str) -> Result<(), RecordError> {
        let path = self.path.join(name);
        let failed = |source| RecordError::from_write(path.clone(), source);
        let new = path.with_extension("new");
        let written = File::create(&new).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        let replaced = written.and_then(|()| {
            fs::rename(&new, &path)?;
            // The rename is on the disk only when the directory is.
            File::open(path.parent().unwrap_or(&self.path))?.sync_all()
        });
        if let Err(error) = replaced {
            // The first error counts; a half-written file is worth nothing.
            let _ = fs::remove_file(&new);
            return Err(failed(error));
        }
        self.give(&path)
    }

    /// Makes a directory inside, where it is not there yet.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(&self, name: &str) -> Result<(), RecordError> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).map_err(|source| RecordError::Make {
            path: path.clone(),
            source,
        })?;
        self.give(&path)
    }

    /// Removes a document that is of no use any more; one that is not there is no error.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), RecordError> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(RecordError::Write { path, source })
            }
            _ => Ok(()),
        }
    }

    /// Gives a file to the owner, where there is one.
    pub(super) fn give(&self, path: &Path) -> Result<(), RecordError> {
        let Some(Owner { uid, gid }) = self.owner else {
            return Ok(());
        };
        std::os::unix::fs::lchown(path, Some(uid), Some(gid)).map_err(|source| RecordError::Give {
            path: path.to_owned(),
            uid,
            gid,
            source,
        })
    }
}
