//! A directory by its descriptor. Names in it are made, opened and renamed below that descriptor, a link is never followed,
//! and nothing that is there already is written into: under sudo the directory may belong to a user who is not root, and a
//! name in it may have become a link to a file of root's.

use std::collections::hash_map::RandomState;
use std::ffi::OsStr;
use std::fs::File;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};

use super::owner::Owner;

/// An open directory. Clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    descriptor: Arc<OwnedFd>,
}

impl Directory {
    /// The directory at a path that the user named. Links on the way there are the user's own and are followed.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let descriptor = rustix::fs::open(path, DIRECTORY, Mode::empty())?;
        Ok(Self::of(descriptor))
    }

    /// A directory in this one.
    pub(super) fn open_below(&self, name: impl AsRef<OsStr>) -> io::Result<Self> {
        let flags = DIRECTORY.union(OFlags::NOFOLLOW);
        let descriptor =
            rustix::fs::openat(&*self.descriptor, name.as_ref(), flags, Mode::empty())?;
        Ok(Self::of(descriptor))
    }

    fn of(descriptor: OwnedFd) -> Self {
        Self {
            descriptor: Arc::new(descriptor),
        }
    }

    /// Makes a directory in this one, which must not be there yet.
    pub(super) fn make(&self, name: impl AsRef<OsStr>, owner: Option<Owner>) -> io::Result<Self> {
        let name = name.as_ref();
        rustix::fs::mkdirat(&*self.descriptor, name, Mode::from_raw_mode(0o777))?;
        let made = self.open_below(name)?;
        give(&*made.descriptor, owner)?;
        Ok(made)
    }

    /// Makes a file in this one, which must not be there yet. Everything that is written goes to its end.
    pub(super) fn create(&self, name: &str, owner: Option<Owner>) -> io::Result<File> {
        let flags = OFlags::WRONLY
            | OFlags::CREATE
            | OFlags::EXCL
            | OFlags::NOFOLLOW
            | OFlags::APPEND
            | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o666);
        let descriptor = rustix::fs::openat(&*self.descriptor, name, flags, mode)?;
        give(&descriptor, owner)?;
        Ok(File::from(descriptor))
    }

    /// Puts a file in the place of whatever has the name: written under a name that cannot be foreseen, synced, renamed.
    pub(super) fn replace(&self, name: &str, bytes: &[u8], owner: Option<Owner>) -> io::Result<()> {
        let (new, mut file) = self.create_unforeseen(name, owner)?;
        let replaced = file
            .write_all(bytes)
            .and_then(|()| file.sync_all())
            .and_then(|()| self.rename(&new, name))
            // The rename is on the disk only when the directory is.
            .and_then(|()| Ok(rustix::fs::fsync(&*self.descriptor)?));
        if replaced.is_err() {
            // The first error counts; a half-written file is worth nothing.
            let _ = self.remove(&new);
        }
        replaced
    }

    /// Puts a symbolic link in the place of whatever has the name, unless that is a directory.
    pub(super) fn link(&self, name: &str, to: &str, owner: Option<Owner>) -> io::Result<()> {
        let new = unforeseen(name);
        rustix::fs::symlinkat(to, &*self.descriptor, new.as_str())?;
        let linked = self
            .give_link(&new, owner)
            .and_then(|()| self.rename(&new, name));
        if linked.is_err() {
            let _ = self.remove(&new);
        }
        linked
    }

    /// Removes a name that is no directory.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(
            &*self.descriptor,
            name,
            AtFlags::empty(),
        )?)
    }

    /// Removes an empty directory.
    pub(super) fn remove_directory(&self, name: &str) -> io::Result<()> {
        let flags = AtFlags::REMOVEDIR;
        Ok(rustix::fs::unlinkat(&*self.descriptor, name, flags)?)
    }

    /// Whether this user could make names in it: only then is what root makes there given to them.
    pub(super) fn is_writable_by(&self, user: Owner) -> io::Result<bool> {
        let found = rustix::fs::fstat(&*self.descriptor)?;
        let mode = Mode::from_raw_mode(found.st_mode);
        Ok(if found.st_uid == user.uid {
            mode.contains(Mode::WUSR)
        } else if found.st_gid == user.gid {
            mode.contains(Mode::WGRP)
        } else {
            mode.contains(Mode::WOTH)
        })
    }

    fn create_unforeseen(&self, name: &str, owner: Option<Owner>) -> io::Result<(String, File)> {
        loop {
            let new = unforeseen(name);
            match self.create(&new, owner) {
                Ok(file) => return Ok((new, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let descriptor = &*self.descriptor;
        Ok(rustix::fs::renameat(descriptor, from, descriptor, to)?)
    }

    /// Gives away a link, and nothing that has come into its place meanwhile.
    fn give_link(&self, name: &str, owner: Option<Owner>) -> io::Result<()> {
        let Some(Owner { uid, gid }) = owner else {
            return Ok(());
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let link = rustix::fs::openat(&*self.descriptor, name, flags, Mode::empty())?;
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&link)?.st_mode);
        if kind != FileType::Symlink {
            return Err(io::Error::other(format!("{name} is no link any more")));
        }
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        let flags = AtFlags::EMPTY_PATH;
        Ok(rustix::fs::chownat(&link, "", Some(uid), Some(gid), flags)?)
    }
}

/// Reads a regular file. Root follows no link: who may write to a run directory must not have root read other files for
/// them. Nothing else than a regular file is read, because a pipe would be waited for.
pub(super) fn read_regular(path: &Path) -> io::Result<Vec<u8>> {
    let mut flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    if rustix::process::geteuid().is_root() {
        flags |= OFlags::NOFOLLOW;
    }
    let descriptor = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
        rustix::io::Errno::LOOP => io::Error::other("it is a link, and root follows none here"),
        errno => errno.into(),
    })?;
    let mut file = File::from(descriptor);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Gives what was just made here to its owner, where there is one.
fn give(descriptor: impl std::os::fd::AsFd, owner: Option<Owner>) -> io::Result<()> {
    let Some(Owner { uid, gid }) = owner else {
        return Ok(());
    };
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    Ok(rustix::fs::fchown(descriptor, Some(uid), Some(gid))?)
}

/// A name that nobody can have taken beforehand. The standard library's keys are random.
fn unforeseen(name: &str) -> String {
    let random = RandomState::new().build_hasher().finish();
    format!(".{name}.{random:016x}")
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);
