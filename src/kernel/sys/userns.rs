//! A user namespace of our own: how an ordinary user gets network namespaces. unshare(2) with `CLONE_NEWUSER`, then the
//! maps of `user_namespaces`(7): our user and group become 0 inside, so that files keep belonging to the caller outside.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::thread::UnshareFlags;

/// Why no user namespace could be made.
#[derive(Debug, thiserror::Error)]
pub enum UserNamespaceError {
    /// The kernel refused.
    #[error("cannot make a user and network namespace (unshare CLONE_NEWUSER | CLONE_NEWNET): {0}")]
    Refused(#[source] io::Error),
    /// It was made, and a map could not be written.
    #[error("cannot write {text:?} to {path}: {source}")]
    Map {
        /// The file.
        path: &'static str,
        /// What was to be written.
        text: String,
        /// What came back.
        source: io::Error,
    },
}

impl UserNamespaceError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Refused(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                "raise the limit: sysctl user.max_user_namespaces user.max_net_namespaces"
            }
            Self::Refused(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                "this is a defect: the process had more than one thread already"
            }
            Self::Refused(_) | Self::Map { .. } => {
                "run as root, or let users make namespaces: sysctl kernel.unprivileged_userns_clone=1 (Debian), \
                 kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu)"
            }
        }
    }
}

/// Whether the calling process is in the user namespace that the machine has booted with, whose inode is always the same
/// (`USER_NS_INIT_INO`, `include/uapi/linux/nsfs.h`, since Linux 6.18; the number is older).
///
/// # Errors
/// When /proc does not tell.
pub fn is_first() -> io::Result<bool> {
    Ok(fs::metadata("/proc/self/ns/user")?.ino() == FIRST_INODE)
}

/// The inode of the first user namespace.
const FIRST_INODE: u64 = 0xEFFF_FFFD;

/// Moves the whole process into a user namespace and a network namespace of its own, where it is root. Its user and group
/// outside stay what they were. The process must have one thread only.
pub fn enter() -> Result<(), UserNamespaceError> {
    move_into_new_namespaces().map_err(UserNamespaceError::Refused)?;
    for (path, text) in maps() {
        fs::write(path, &text).map_err(|source| UserNamespaceError::Map { path, text, source })?;
    }
    Ok(())
}

/// Whether [`enter`] would succeed, found by trying it in a child that does nothing else. May be called with any number of
/// threads.
pub fn try_in_child() -> Result<(), UserNamespaceError> {
    let maps = maps();
    let mut child = Command::new("/proc/self/exe");
    let attempt = move || -> io::Result<()> {
        move_into_new_namespaces()?;
        for (path, text) in &maps {
            fs::write(path, text)?;
        }
        // Nothing is executed: this error ends the child and travels back as what spawning it failed with.
        Err(io::Error::from_raw_os_error(SUCCEEDED))
    };
    // SAFETY: between fork(2) and execve(2) a child of a process with threads may not allocate and may not take locks. The
    // closure makes system calls only: the texts were formatted before, the paths are short enough for the stack buffer of
    // `fs::write`, and errors that carry an errno are plain numbers.
    #[allow(unsafe_code)]
    unsafe {
        child.pre_exec(attempt);
    }
    match child.spawn() {
        Err(error) if error.raw_os_error() == Some(SUCCEEDED) => Ok(()),
        Err(error) => Err(UserNamespaceError::Refused(error)),
        Ok(mut child) => {
            // Unreachable, for the closure always fails; but a child that is there has to be waited for.
            let _ = child.kill();
            let _ = child.wait();
            Ok(())
        }
    }
}

fn move_into_new_namespaces() -> io::Result<()> {
    // SAFETY: `unshare_unsafe` asks that no thread sees descriptors of a table that it does not share. These two flags leave
    // the descriptor table as it is.
    #[allow(unsafe_code)]
    unsafe {
        rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)?;
    }
    Ok(())
}

/// The files that make us root inside, in the order in which they have to be written.
fn maps() -> [(&'static str, String); 3] {
    let (uid, gid) = (effective_uid(), rustix::process::getegid().as_raw());
    [
        // A group map may be written by an ordinary user only once setgroups(2) is denied (Linux 3.19).
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/uid_map", format!("0 {uid} 1")),
        ("/proc/self/gid_map", format!("0 {gid} 1")),
    ]
}

/// How the child says that everything went well: an errno that none of the calls above can give.
const SUCCEEDED: i32 = libc::ECANCELED;

/// The effective user, as this process sees it.
#[must_use]
pub fn effective_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// The user that this process is outside of every user namespace of its own: the owner of the files it makes. Follows one
/// level, which is the level that [`enter`] adds.
#[must_use]
pub fn outer_uid() -> u32 {
    let uid = effective_uid();
    fs::read_to_string("/proc/self/uid_map")
        .ok()
        .and_then(|map| map_outwards(&map, uid))
        .unwrap_or(uid)
}

/// Looks `uid` up in the text of a `uid_map`: lines of (first inside, first outside, how many).
fn map_outwards(map: &str, uid: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (inside, outside, count) = (
            fields.next()?.ok()?,
            fields.next()?.ok()?,
            fields.next()?.ok()?,
        );
        let distance = uid.checked_sub(inside)?;
        (distance < count).then(|| outside.checked_add(distance))?
    })
}

#[cfg(test)]
mod tests {
    use super::map_outwards;

    #[test]
    fn a_map_is_read_line_by_line() {
        let initial = "         0          0 4294967295\n";
        assert_eq!(map_outwards(initial, 1000), Some(1000));
        assert_eq!(map_outwards("0 65534 1\n", 0), Some(65_534));
        assert_eq!(map_outwards("0 1000 1\n1 100000 65536\n", 5), Some(100_004));
        assert_eq!(map_outwards("0 1000 1\n", 7), None);
        assert_eq!(map_outwards("nonsense\n\n1 2", 0), None);
    }
}
