//! flock(2): a lock that dies with its owner, however the owner ends.

use std::fs::File;
use std::io;

use rustix::fs::FlockOperation;

/// Whether a lock could be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is ours until the file is closed.
    Ours,
    /// Somebody else holds it.
    Busy,
}

/// Tries to take the file's exclusive lock, without waiting. The lock belongs to the open file, not to the process: it is
/// free again when the last descriptor of it is closed.
pub fn try_exclusive(file: &File) -> io::Result<Taken> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Taken::Ours),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(Taken::Busy),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_told_and_gets_it_once_the_first_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("lock");
        let first = File::create(&path).expect("creates");
        assert_eq!(try_exclusive(&first).expect("locks"), Taken::Ours);
        let second = File::open(&path).expect("opens");
        assert_eq!(try_exclusive(&second).expect("asks"), Taken::Busy);
        drop(first);
        assert_eq!(try_exclusive(&second).expect("locks"), Taken::Ours);
    }
}
