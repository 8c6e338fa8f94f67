//! Network namespaces as descriptors: setns(2) and unshare(2) with `CLONE_NEWNET`. A namespace lives while a thread is in
//! it, a descriptor refers to it, or a socket of it is open; so one that is held by descriptors alone vanishes with the
//! process, even after SIGKILL.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// A network namespace that is held by a descriptor.
#[derive(Debug)]
pub struct NetworkNamespace {
    descriptor: File,
}

impl NetworkNamespace {
    /// The namespace that the calling thread is in.
    pub fn current() -> io::Result<Self> {
        Ok(Self {
            descriptor: File::open("/proc/thread-self/ns/net")?,
        })
    }

    /// The namespace whose file is `path`: `/run/netns/NAME`, `/proc/PID/ns/net`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            descriptor: File::open(path)?,
        })
    }

    /// The namespace that a process is in.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        Ok(Self {
            descriptor: File::open(format!("/proc/{pid}/ns/net"))?,
        })
    }

    /// Moves the calling thread, and no other, into this namespace.
    ///
    /// Call it on a thread that was made for that purpose and then ends.
    pub fn enter(&self) -> io::Result<()> {
        Ok(rustix::thread::move_into_link_name_space(
            self.descriptor.as_fd(),
            Some(LinkNameSpaceType::Network),
        )?)
    }

    /// Another descriptor of the same namespace.
    pub fn duplicate(&self) -> io::Result<Self> {
        Ok(Self {
            descriptor: self.descriptor.try_clone()?,
        })
    }

    /// The inode that tells this namespace from every other of this machine.
    pub fn inode(&self) -> io::Result<u64> {
        Ok(self.descriptor.metadata()?.ino())
    }
}

impl AsFd for NetworkNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Moves the calling thread, and no other, into a new network namespace. Its hash of established connections has the size
/// that `net.ipv4.tcp_child_ehash_entries` of the namespace before it says (Linux 6.1).
pub fn move_into_new_network() -> io::Result<()> {
    // SAFETY: `unshare_unsafe` asks that no thread sees descriptors of a table that it does not share. `CLONE_NEWNET` alone
    // leaves the descriptor table as it is.
    #[allow(unsafe_code)]
    unsafe {
        rustix::thread::unshare_unsafe(UnshareFlags::NEWNET)?;
    }
    Ok(())
}

/// The number of the calling thread, as `/proc/PID/task` lists it.
#[must_use]
pub fn thread_id() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// Inodes of the network namespaces that processes are in at this moment; processes that may not be looked at are left out.
pub fn inodes_in_use() -> io::Result<Vec<u64>> {
    let mut inodes: Vec<u64> = fs::read_dir("/proc")?
        .filter_map(Result::ok)
        .filter_map(|entry| fs::metadata(entry.path().join("ns/net")).ok())
        .map(|namespace| namespace.ino())
        .collect();
    inodes.sort_unstable();
    inodes.dedup();
    Ok(inodes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_in_the_namespace_of_its_process() {
        let here = NetworkNamespace::current().expect("opens").inode();
        let in_use = inodes_in_use().expect("reads /proc");
        assert!(in_use.contains(&here.expect("has an inode")));
    }
}
