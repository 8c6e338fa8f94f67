//! The fixed place where a run keeps its lock and its journal, so that any later command of the same user finds them. It
//! is cleared by a reboot, and so are the settings that the journal speaks of.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::kernel::sys::userns;

/// A folder of ours alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    path: PathBuf,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// It could not be made or looked at.
    #[error("cannot make the folder {path}: {source}")]
    Make {
        /// The folder.
        path: PathBuf,
        /// What came back.
        source: io::Error,
    },
    /// Somebody else could put a journal there, and a journal says what to write into the kernel.
    #[error("the folder {path} cannot be trusted: {why}")]
    Untrusted {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl RuntimeError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Make { .. } => "set XDG_RUNTIME_DIR to a folder that you may write to".to_owned(),
            Self::Untrusted { path, .. } => format!("look at it, then: rm -r {}", path.display()),
        }
    }
}

impl Runtime {
    /// The folder of the calling user: `/run/c1m` for root; for others `c1m` in their runtime folder, which is
    /// `xdg_runtime_dir` (the variable `XDG_RUNTIME_DIR`) or `/run/user/UID`; else `/tmp/c1m-UID`. The same folder is found
    /// from inside a user namespace of our own.
    pub fn open(xdg_runtime_dir: Option<PathBuf>) -> Result<Self, RuntimeError> {
        let (path, readers) = Self::place(xdg_runtime_dir);
        Self::at(path, readers)
    }

    /// The same folder where it is there already; nothing is made.
    pub fn find(xdg_runtime_dir: Option<PathBuf>) -> Result<Option<Self>, RuntimeError> {
        Self::find_at(Self::place(xdg_runtime_dir).0)
    }

    fn place(xdg_runtime_dir: Option<PathBuf>) -> (PathBuf, Readers) {
        let uid = userns::effective_uid();
        // In a user namespace of our own we are 0, but /run belongs to somebody who has no number there.
        let run = Path::new("/run");
        if uid == 0 && run.metadata().is_ok_and(|run| run.uid() == 0) {
            return (run.join("c1m"), Readers::All);
        }
        let outer = userns::outer_uid();
        let candidates = [
            xdg_runtime_dir,
            Some(PathBuf::from(format!("/run/user/{outer}"))),
        ];
        let own = |path: &PathBuf| {
            path.is_absolute()
                && path
                    .metadata()
                    .is_ok_and(|found| found.is_dir() && found.uid() == uid)
        };
        let path = match candidates.into_iter().flatten().find(own) {
            Some(folder) => folder.join("c1m"),
            None => PathBuf::from(format!("/tmp/c1m-{outer}")),
        };
        (path, Readers::Owner)
    }

    /// A folder that is made where it is missing, and must belong to the caller alone.
    pub fn at(path: impl Into<PathBuf>, readers: Readers) -> Result<Self, RuntimeError> {
        let path = path.into();
        let make = |source| RuntimeError::Make {
            path: path.clone(),
            source,
        };
        match DirBuilder::new().mode(readers.mode()).create(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(make(error)),
        }
        Self::trust(path)
    }

    /// A folder that must belong to the caller alone, where it is there already; nothing is made.
    pub fn find_at(path: impl Into<PathBuf>) -> Result<Option<Self>, RuntimeError> {
        let path = path.into();
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => Self::trust(path).map(Some),
        }
    }

    fn trust(path: PathBuf) -> Result<Self, RuntimeError> {
        // Not `metadata`: in /tmp anybody may have put a link here.
        let found = fs::symlink_metadata(&path).map_err(|source| RuntimeError::Make {
            path: path.clone(),
            source,
        })?;
        let untrusted = |why: String| RuntimeError::Untrusted {
            path: path.clone(),
            why,
        };
        if !found.is_dir() {
            return Err(untrusted("it is no folder".to_owned()));
        }
        if found.uid() != userns::effective_uid() {
            return Err(untrusted(format!("it belongs to user {}", found.uid())));
        }
        if found.mode() & WRITABLE_BY_OTHERS != 0 {
            let mode = found.mode() & 0o7777;
            return Err(untrusted(format!("others may write to it (mode {mode:o})")));
        }
        Ok(Self { path })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The user that this process is, outside of a user namespace of its own.
#[must_use]
pub fn user() -> u32 {
    userns::outer_uid()
}

/// Whether this process is root outside of every user namespace of its own, and so may give files to others.
#[must_use]
pub fn is_root() -> bool {
    userns::outer_uid() == 0 && userns::effective_uid() == 0
}

/// Who may read what is in the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Everybody, as with other folders of `/run`; the files in it are still the owner's alone.
    All,
    /// The owner.
    Owner,
}

impl Readers {
    const fn mode(self) -> u32 {
        match self {
            Self::All => 0o755,
            Self::Owner => 0o700,
        }
    }
}

const WRITABLE_BY_OTHERS: u32 = 0o022;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_folder_is_made_for_its_owner_alone_and_found_again() {
        let parent = tempfile::tempdir().expect("a folder");
        let path = parent.path().join("c1m");
        let made = Runtime::at(&path, Readers::Owner).expect("makes it");
        assert_eq!(path.metadata().expect("is there").mode() & 0o7777, 0o700);
        assert_eq!(Runtime::at(&path, Readers::Owner).expect("finds it"), made);
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused_and_so_is_a_link() {
        let parent = tempfile::tempdir().expect("a folder");
        let path = parent.path().join("open");
        fs::create_dir(&path).expect("makes it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("opens it");
        let link = parent.path().join("link");
        symlink(parent.path(), &link).expect("links");
        for refused in [path, link] {
            let error = Runtime::at(&refused, Readers::Owner).expect_err("is refused");
            assert!(matches!(error, RuntimeError::Untrusted { .. }), "{error}");
        }
    }
}
