//! eventfd(2) as a signal to many threads: it is written to and never read, and each of them watches it edge-triggered.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::MutexGuard;

use rustix::event::{EventfdFlags, eventfd};

use super::descriptor::Descriptor;

/// An eventfd and its owner.
///
/// It cannot be sent to another thread, and so not to one that has a descriptor table of its own: dropped there, it would
/// close whatever has the same number in that table. Other threads signal it by [`signal`] and the number that it has in
/// their table.
///
/// ```compile_fail
/// let eventfd = c1m::kernel::sys::eventfd::EventFd::new().unwrap();
/// std::thread::spawn(move || drop(eventfd));
/// ```
#[derive(Debug)]
pub struct EventFd {
    fd: OwnedFd,
    /// Neither is a guard of a mutex sent to another thread.
    not_sent: PhantomData<MutexGuard<'static, ()>>,
}

impl EventFd {
    /// A new one.
    ///
    /// # Errors
    /// When the table is full or the kernel has no memory.
    pub fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            fd,
            not_sent: PhantomData,
        })
    }

    /// Its descriptor in the table that it was made in.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::from(&self.fd)
    }

    /// Wakes every thread that watches it. Called by threads that share the table that it was made in.
    pub fn signal(&self) {
        write(self.fd.as_fd());
    }
}

/// Signals an eventfd by the number that it has in the calling thread's table.
pub fn signal(eventfd: Descriptor) {
    if let Some(fd) = eventfd.borrow() {
        write(fd);
    }
}

fn write(fd: BorrowedFd<'_>) {
    // The counter does not overflow by writes of one, so that nothing can go wrong that a caller could mend.
    let _ = rustix::io::write(fd, &1_u64.to_ne_bytes());
}
