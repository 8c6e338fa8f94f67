//! Descriptor tables: a thread may have one of its own, and `RLIMIT_NOFILE` bounds each table, not the process.
//! `close_range(2)` with `CLOSE_RANGE_UNSHARE` (Linux 5.9), else `unshare(2)` with `CLONE_FILES`.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::MutexGuard;
use std::thread::{self, JoinHandle};

use super::check;
pub use super::descriptor::Descriptor;

/// The right to close by number in a descriptor table that only the thread with this value and the threads that it starts
/// have. Only [`spawn`] makes one, so none exists for the table of the process, where owners of descriptors live.
///
/// Numbers in such a table belong to whoever opened them there. Code that uses both bare numbers and owners (such as
/// `OwnedFd`) in one table closes by number only what it opened by number.
///
/// It stays on its thread, but threads that its thread starts share the table, and may borrow it:
///
/// ```compile_fail
/// fn sent(table: c1m::kernel::sys::fdtable::OwnTable) {
///     std::thread::spawn(move || drop(table));
/// }
/// ```
#[derive(Debug)]
pub struct OwnTable {
    first_free: Descriptor,
    /// Neither is a guard of a mutex sent to another thread.
    not_sent: PhantomData<MutexGuard<'static, ()>>,
}

impl OwnTable {
    /// The first number that was free when the table was made.
    #[must_use]
    pub const fn first_free(&self) -> Descriptor {
        self.first_free
    }

    /// What was kept, in the order in which it was named.
    #[must_use]
    pub fn kept(&self) -> impl DoubleEndedIterator<Item = Descriptor> + use<> {
        Descriptor::FIRST_OWN.up_to(self.first_free)
    }

    /// Closes a number. What close(2) returns says nothing that a caller could act on: the number is free in any case.
    pub fn close(&self, descriptor: Descriptor) {
        close(descriptor);
    }

    /// Closes a socket by a reset: no FIN, no TIME_WAIT, no orphan, on neither end. A million FINs at once would be a
    /// million orphans.
    pub fn reset(&self, socket: Descriptor) {
        // A number that is not a socket is closed all the same.
        let _ = super::socket::reset_on_close(socket);
        close(socket);
    }

    /// Closes every number from the first kept one on.
    ///
    /// # Errors
    /// When the kernel has no `close_range(2)` and the limit cannot be read.
    pub fn close_all(&self) -> io::Result<()> {
        close_range(Descriptor::FIRST_OWN.number(), CloseRange::Only)
    }
}

/// Starts a thread with a descriptor table of its own, and runs `life` there. The table holds 0, 1 and 2 and then, from 3
/// on and in order, what is to be kept. Everything else that the process has open is absent from it, so that the numbers
/// above are free without a gap.
///
/// The table is made on the new thread before `life` runs. So no thread loses the table that its owners of descriptors
/// live in. `life` itself brings no such owner with it: what it captures is numbers and shared memory.
///
/// # Errors
/// When the thread cannot be started. `life` gets the error when the kernel refuses the table, or when a descriptor to keep
/// is not open.
pub fn spawn(
    thread: thread::Builder,
    keep: Vec<Descriptor>,
    life: impl FnOnce(io::Result<OwnTable>) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    thread.spawn(move || {
        let table = unshare(&keep).map(|first_free| OwnTable {
            first_free,
            not_sent: PhantomData,
        });
        drop(keep);
        life(table);
    })
}

/// Gives the calling thread a table of its own. Returns the first free number.
fn unshare(keep: &[Descriptor]) -> io::Result<Descriptor> {
    let first = Descriptor::FIRST_OWN.number();
    if keep.is_empty() {
        close_range(first, CloseRange::AndUnshare)?;
        return Ok(Descriptor::FIRST_OWN);
    }
    close_range(RawFd::MAX, CloseRange::AndUnshare)?;
    // What is to be kept may itself lie where it is to go: all of it is moved up first, out of the way.
    let free = keep.iter().map(|kept| kept.number()).max().unwrap_or(first) + 1;
    let above = free.max(first + RawFd::try_from(keep.len()).unwrap_or(0));
    let mut moved = Vec::with_capacity(keep.len());
    for kept in keep {
        moved.push(duplicate_from(*kept, above)?);
    }
    let mut next = first;
    for from in moved {
        // SAFETY: dup2 takes two numbers and touches no memory of ours. The table is this thread's own.
        check(unsafe { libc::dup2(from.number(), next) })?;
        next += 1;
    }
    close_range(next, CloseRange::Only)?;
    Ok(Descriptor::from_number(next))
}

/// Makes the calling thread's table large enough for numbers below `size`, once. A table that grows by itself doubles
/// each time and copies; shared with other threads it also waits for a grace period of RCU (`fs/file.c`, Linux 6.12).
///
/// # Errors
/// When `size` is above `RLIMIT_NOFILE`, or there is no memory.
pub fn grow(size: u32) -> io::Result<()> {
    let highest = RawFd::try_from(size.saturating_sub(1)).map_err(io::Error::other)?;
    close(duplicate_from(Descriptor::STDIN, highest)?);
    Ok(())
}

/// A second descriptor for the same open file, in the calling thread's table, with an owner.
///
/// # Errors
/// EBADF, EMFILE.
pub fn duplicate(descriptor: Descriptor) -> io::Result<OwnedFd> {
    let copy = duplicate_from(descriptor, 0)?;
    // SAFETY: the kernel has just made this number for us, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy.number()) })
}

/// Closes a number that the caller has just made or that stands in a table of its own.
fn close(descriptor: Descriptor) {
    // SAFETY: close takes a number and touches no memory of ours. Callers are in this file: they close what they made
    // themselves, or have an `OwnTable`, whose documentation says whose the numbers are.
    unsafe { libc::close(descriptor.number()) };
}

/// What `close_range(2)` is to do besides closing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum CloseRange {
    Only,
    AndUnshare,
}

fn close_range(first: RawFd, how: CloseRange) -> io::Result<()> {
    let first = libc::c_uint::try_from(first).map_err(io::Error::other)?;
    // `RawFd::MAX` stands for "none of them": no descriptor has such a number.
    let flags = if how == CloseRange::AndUnshare {
        libc::CLOSE_RANGE_UNSHARE
    } else {
        0
    };
    // SAFETY: close_range takes three numbers and touches no memory of ours.
    let returned = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) };
    if returned == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match (error.raw_os_error(), how) {
        // Older than 5.9, or hidden by a filter: the table can be had by unshare(2), what is open in it stays open.
        (Some(libc::ENOSYS | libc::EPERM | libc::EINVAL), CloseRange::AndUnshare) => {
            // SAFETY: unshare takes a number and touches no memory of ours.
            check(unsafe { libc::unshare(libc::CLONE_FILES) })?;
            close_one_by_one(first)
        }
        (Some(libc::ENOSYS | libc::EPERM), CloseRange::Only) => close_one_by_one(first),
        _ => Err(error),
    }
}

/// What `close_range(2)` does, for kernels without it.
fn close_one_by_one(first: libc::c_uint) -> io::Result<()> {
    let limit = super::rlimit::descriptors()?.soft;
    for number in u64::from(first)..limit {
        close(Descriptor::from_number(
            RawFd::try_from(number).map_err(io::Error::other)?,
        ));
    }
    Ok(())
}

fn duplicate_from(descriptor: Descriptor, lowest: RawFd) -> io::Result<Descriptor> {
    // SAFETY: fcntl with F_DUPFD_CLOEXEC takes numbers only and touches no memory of ours.
    check(unsafe { libc::fcntl(descriptor.number(), libc::F_DUPFD_CLOEXEC, lowest) })
        .map(Descriptor::from_number)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;

    #[test]
    fn a_table_of_ones_own_keeps_what_it_is_told_and_nothing_else() {
        let file = File::open("/proc/version").expect("opens");
        let other = File::open("/proc/uptime").expect("opens");
        let (kept, dropped) = (Descriptor::from(&file), Descriptor::from(&other));
        let life = move |table: io::Result<OwnTable>| {
            let table = table.expect("a table");
            assert_eq!(table.first_free().number(), 5);
            assert_eq!(table.kept().count(), 2);
            if dropped.number() >= 5 {
                assert!(
                    duplicate_from(dropped, 0).is_err(),
                    "only what was kept is there"
                );
            }
            grow(200).expect("grows");
            let next = duplicate_from(Descriptor::from_number(4), 0).expect("is open");
            assert_eq!(next.number(), 5);
            table.close(next);
            let mut text = String::new();
            // SAFETY: 4 is open in this thread's own table, and nothing else owns it.
            let mut file = unsafe { File::from_raw_fd(4) };
            file.read_to_string(&mut text).expect("reads");
            assert!(text.starts_with("Linux version"));
        };
        spawn(thread::Builder::new(), vec![kept, kept], life)
            .expect("a thread")
            .join()
            .expect("no panic");
        assert!(
            file.metadata().is_ok(),
            "the process's own table is as it was"
        );
        assert!(other.metadata().is_ok());
    }

    #[test]
    fn growing_beyond_the_limit_is_an_error() {
        assert!(grow(u32::MAX).is_err());
    }
}
