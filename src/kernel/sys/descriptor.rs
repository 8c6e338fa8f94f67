//! A descriptor as the bare number that it is in the calling thread's table.

use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// The number of a descriptor in the table of the calling thread.
///
/// It is a number and owns nothing: a table of a million sockets keeps no object for each. Using a number that is not open
/// is an error of the kernel (EBADF), never a fault of memory. Closing by number takes an [`OwnTable`](super::fdtable::OwnTable).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Descriptor(RawFd);

impl Descriptor {
    /// Standard input, which every table has.
    pub const STDIN: Self = Self(0);

    /// The first number behind the standard streams: what a table of one's own keeps begins here.
    pub const FIRST_OWN: Self = Self(3);

    /// The descriptor with this number.
    #[must_use]
    pub const fn from_number(number: RawFd) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> RawFd {
        self.0
    }

    /// Its number, as a position in a list. Nothing for a negative one.
    #[must_use]
    pub fn position(self) -> Option<usize> {
        usize::try_from(self.0).ok()
    }

    /// The next number.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// Every number from this one up to `end`, without `end`.
    pub fn up_to(self, end: Self) -> impl DoubleEndedIterator<Item = Self> + use<> {
        (self.0..end.0).map(Self)
    }

    /// Borrowed for one call of the calling thread. Nothing for a negative number, which no descriptor has.
    pub(super) fn borrow<'a>(self) -> Option<BorrowedFd<'a>> {
        // SAFETY: the number is not negative. Callers in this folder keep the borrow for one system call, in the thread in
        // whose table the number stands. A number that is not open gives EBADF.
        (self.0 >= 0).then(|| unsafe { BorrowedFd::borrow_raw(self.0) })
    }
}

impl fmt::Display for Descriptor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl<T: AsRawFd> From<&T> for Descriptor {
    fn from(owner: &T) -> Self {
        Self(owner.as_raw_fd())
    }
}
