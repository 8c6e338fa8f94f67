//! Documents of a run directory: each replaced as a whole, so that a reader finds the old text or the new one, never half
//! of either.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::directory::Directory;
use super::error::RecordError;
use super::owner::Owner;

/// A run directory as a place for documents.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
    directory: Directory,
    owner: Option<Owner>,
}

impl Folder {
    /// The directory at `path`, which must exist; what is written there is given to `owner`, where one is named and could
    /// have written there without root.
    ///
    /// # Errors
    /// When there is no such directory.
    pub fn open(path: &Path, owner: Option<Owner>) -> Result<Self, RecordError> {
        let read = |source| RecordError::Read {
            path: path.to_owned(),
            source,
        };
        let directory = Directory::open(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotADirectory => RecordError::NotADirectory {
                path: path.to_owned(),
            },
            _ => read(source),
        })?;
        let owner = match owner {
            Some(owner) if directory.is_writable_by(owner).map_err(read)? => Some(owner),
            _ => None,
        };
        Ok(Self {
            path: path.to_owned(),
            directory,
            owner,
        })
    }

    /// A directory that was just made.
    pub(super) fn of(path: &Path, directory: Directory, owner: Option<Owner>) -> Self {
        Self {
            path: path.to_owned(),
            directory,
            owner,
        }
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
        self.directory_of(name)
            .and_then(|(directory, last)| directory.replace(last, text.as_bytes(), self.owner))
            .map_err(|source| RecordError::from_write(self.path.join(name), source))
    }

    /// Makes a directory inside, where it is not there yet.
    ///
    /// # Errors
    /// When it cannot be made, or something else has the name.
    pub fn make(&self, name: &str) -> Result<(), RecordError> {
        match self.make_new(name) {
            Ok(_) => Ok(()),
            Err(RecordError::Make { path, source })
                if source.kind() == io::ErrorKind::AlreadyExists =>
            {
                match self.directory.open_below(name) {
                    Ok(_) => Ok(()),
                    Err(_) => Err(RecordError::NotADirectory { path }),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a directory inside that is not there yet.
    pub(super) fn make_new(&self, name: &str) -> Result<Self, RecordError> {
        let path = self.path.join(name);
        match self.directory.make(name, self.owner) {
            Ok(directory) => Ok(Self {
                path,
                directory,
                owner: self.owner,
            }),
            Err(source) => Err(RecordError::Make { path, source }),
        }
    }

    /// Makes a file inside that is not there yet, for what is appended to it.
    pub(super) fn create(&self, name: &str) -> Result<File, RecordError> {
        self.directory_of(name)
            .and_then(|(directory, last)| directory.create(last, self.owner))
            .map_err(|source| RecordError::from_write(self.path.join(name), source))
    }

    /// Removes a document that is of no use any more; one that is not there is no error.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<(), RecordError> {
        let removed = self
            .directory_of(name)
            .and_then(|(directory, last)| directory.remove(last));
        match removed {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(RecordError::Write {
                path: self.path.join(name),
                source,
            }),
            _ => Ok(()),
        }
    }

    /// The directory itself, for what is no document.
    pub(super) const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Whom files are given to.
    pub(super) const fn owner(&self) -> Option<Owner> {
        self.owner
    }

    /// The directory that a name such as `charts/rate.svg` is in, and the last part of the name.
    fn directory_of<'n>(&self, name: &'n str) -> io::Result<(Directory, &'n str)> {
        match name.rsplit_once('/') {
            None => Ok((self.directory.clone(), name)),
            Some((parents, last)) => {
                let mut directory = self.directory.clone();
                for parent in parents.split('/') {
                    directory = directory.open_below(parent)?;
                }
                Ok((directory, last))
            }
        }
    }
}
