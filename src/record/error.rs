//! What can go wrong with a run directory.

use std::io;
use std::path::PathBuf;

/// Why a run directory could not be made, written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// A directory could not be made.
    #[error("cannot make the directory {path}: {source}")]
    Make {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The place for results is something else than a directory.
    #[error("{path} is not a directory")]
    NotADirectory {
        /// Which.
        path: PathBuf,
    },
    /// The place for results would have to be made inside a directory that is not there.
    #[error("cannot make {path}: its parent directory does not exist")]
    NoParent {
        /// Which.
        path: PathBuf,
    },
    /// The file system is full, or the quota is used up.
    #[error("no space left to write {path}")]
    Full {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A value does not fit into JSON.
    #[error("cannot encode {path}: {source}")]
    Encode {
        /// The file that it was for.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The directory holds no recording.
    #[error("{path} is not a run directory: it has neither run.json nor events.jsonl")]
    NotARun {
        /// Which.
        path: PathBuf,
    },
    /// The recording is of a newer format.
    #[error(
        "{path} was written by a newer version: format {version}, this program reads up to {known}"
    )]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its format.
        version: u32,
        /// The newest that is known here.
        known: u32,
    },
}

impl RecordError {
    /// From a failed write: a full disk is told from other errors, because a run can react to it.
    pub(super) fn from_write(path: PathBuf, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::Full { path, source }
            }
            _ => Self::Write { path, source },
        }
    }

    /// Whether the disk is full or the quota used up.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Make { source, .. } | Self::Write { source, .. } => match source.kind() {
                io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                    Some("name a directory that you may write to: --results-dir DIR")
                }
                _ => None,
            },
            Self::NotADirectory { .. } | Self::NoParent { .. } => {
                Some("name a directory that exists, or one to be made inside it: --results-dir DIR")
            }
            Self::Full { .. } => Some(
                "free some space (a run needs a few megabytes), or name another place: --results-dir DIR",
            ),
            Self::NotARun { .. } => Some("name the directory of one run, such as results/latest"),
            Self::Newer { .. } => Some("use the version of c1m that wrote it"),
            Self::Encode { .. } | Self::Read { .. } => None,
        }
    }
}
