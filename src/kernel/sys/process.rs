//! Processes told by more than their number: a pidfd never means another process, and the pair of number and start time
//! does not either.

use std::fs::{self, File};
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

    /// Asks it to end (SIGTERM). Not an error when it is gone already.
    pub fn terminate(&self) -> io::Result<()> {
        match rustix::process::pidfd_send_signal(&self.descriptor, Signal::TERM) {
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

/// From now on this process becomes the parent of each descendant whose own parent ends (`PR_SET_CHILD_SUBREAPER`, Linux
/// 3.4): a program that goes into the background does not get lost.
///
/// # Errors
/// When the kernel refuses.
pub fn adopt_descendants() -> io::Result<()> {
    let own = rustix::process::getpid();
    rustix::process::set_child_subreaper(Some(own)).map_err(io::Error::from)
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its number.
    pub pid: u32,
    /// Its exit code, where it exited.
    pub code: Option<i32>,
    /// The signal, where one ended it.
    pub signal: Option<i32>,
}

/// A child of this process that has ended and was not waited for yet, adopted ones too; nothing where there is none now.
/// Takes the status of a [`std::process::Child`] as well, which then cannot be waited for any more.
#[must_use]
pub fn reap() -> Option<Ended> {
    loop {
        match rustix::process::wait(rustix::process::WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => {
                return Some(Ended {
                    pid: pid.as_raw_pid().unsigned_abs(),
                    code: status.exit_status(),
                    signal: status.terminating_signal(),
                });
            }
            Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

/// What a program gets before it is executed.
#[derive(Debug, Default)]
pub struct Confinement {
    /// `RLIMIT_NOFILE`, soft and hard.
    pub nofile: Option<u64>,
    /// The open `cgroup.procs` of the control groups that it is to be in.
    pub groups: Vec<File>,
}

/// Has the kernel end the program with the thread that starts it (SIGKILL, `PR_SET_PDEATHSIG`), whatever ends that thread,
/// and confines it. Programs that it starts in turn end on their own.
pub fn confine(command: &mut std::process::Command, confinement: Confinement) {
    use std::os::unix::process::CommandExt as _;
    let parent = rustix::process::getpid();
    let bind = move || {
        for group in &confinement.groups {
            // 0 stands for the process that writes (`cgroup_procs_write` in `kernel/cgroup/cgroup.c`).
            rustix::io::write(group, b"0")?;
        }
        if let Some(limit) = confinement.nofile {
            rustix::process::setrlimit(
                rustix::process::Resource::Nofile,
                rustix::process::Rlimit {
                    current: Some(limit),
                    maximum: Some(limit),
                },
            )?;
        }
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have ended before the call, and then no signal comes.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(rustix::io::Errno::PIPE.into())
        }
    };
    // SAFETY: between fork and exec only write(2), setrlimit(2), prctl(2) and getppid(2) are called. They are system calls,
    // and the closure allocates nothing: what it uses was made before.
    unsafe {
        command.pre_exec(bind);
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
