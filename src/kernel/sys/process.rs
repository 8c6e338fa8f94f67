//! Processes told by more than their number: a pidfd never means another process, and the pair of number and start time
//! does not either.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};

/// A handle to one process, which stays that process even when its number is given to another (Linux 5.3).
#[derive(Debug)]
pub struct ProcessHandle {
    descriptor: OwnedFd,
}

impl ProcessHandle {
    /// The process with this number now. For a child that was not waited for yet, that is the child.
    pub fn open(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid)
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(Self {
            descriptor: rustix::process::pidfd_open(pid, PidfdFlags::empty())?,
        })
    }

    /// Ends it at once (SIGKILL). Not an error when it is gone already.
    pub fn kill(&self) -> io::Result<()> {
        match rustix::process::pidfd_send_signal(&self.descriptor, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether it has ended: every thread of it, and so each with its table of descriptors and the sockets in it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.wait_until(Instant::now()).unwrap_or(false)
    }

    /// Waits until it has ended, at most until `deadline`, and says whether it has. A pidfd becomes readable when the last
    /// thread is gone; the state in `/proc/PID/stat` is that of the first thread, which may go long before the others.
    pub fn wait_until(&self, deadline: Instant) -> io::Result<bool> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut watched = [PollFd::new(&self.descriptor, PollFlags::IN)];
            match rustix::event::poll(&mut watched, Some(&timespec(left))) {
                Ok(0) if !deadline.saturating_duration_since(Instant::now()).is_zero() => {}
                Ok(ready) => return Ok(ready > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    }
}

/// When the process began, in clock ticks since the machine did: the 22nd field of `/proc/PID/stat`, see proc(5). Nothing
/// when there is no such process, or it has ended and its parent has not looked yet.
#[must_use]
pub fn start_time(pid: u32) -> Option<u64> {
    parse_start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// When this process began, even where the numbers in /proc are those of another process namespace.
#[must_use]
pub fn own_start_time() -> Option<u64> {
    parse_start_time(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// The second field is the name in parentheses, and may itself contain spaces and parentheses.
pub(in crate::kernel) fn parse_start_time(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace();
    let state = fields.next()?;
    if ENDED.contains(&state) {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// States of a process that has ended: zombie, dead.
const ENDED: [&str; 2] = ["Z", "X"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_mislead() {
        let stat = "77 (a) b) (c) S 1 77 77 0 -1 4194560 10 0 0 0 1 2 0 0 20 0 1 0 987654 1 2 3";
        assert_eq!(parse_start_time(stat), Some(987_654));
        assert_eq!(parse_start_time(&stat.replace(") S", ") Z")), None);
        assert_eq!(parse_start_time(""), None);
        assert_eq!(parse_start_time("1 (x) S"), None);
    }

    #[test]
    fn this_process_has_a_start_time() {
        assert!(start_time(std::process::id()).is_some());
    }
}
