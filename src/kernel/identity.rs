//! Which process it was: told so that a later command can find out whether it is still there, perhaps from other
//! namespaces; and a command that cannot find out is told so, instead of being told that the process is gone.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use super::sys::process::{self, ProcessHandle};
use super::sys::userns;

/// A process, told from every other that had or will have its number. What was not known when it was written down is
/// absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// Its number in its process namespace.
    pub pid: u32,
    /// When it began, in clock ticks since the machine did, as its own time namespace counts them.
    pub start_time: Option<u64>,
    /// The kernel's identity of the boot.
    pub boot_id: Option<String>,
    /// The inode of its process namespace.
    pub pid_namespace: Option<u64>,
    /// The inode of its time namespace; absent on a kernel without them.
    pub time_namespace: Option<u64>,
    /// Its user, outside of a user namespace of its own.
    pub uid: Option<u32>,
}

/// Whether a process is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// It is.
    Alive,
    /// It is not.
    Gone,
    /// It is not, because the boot that it belonged to is over.
    GoneWithItsBoot,
    /// That cannot be told from here, with the reason. Whoever asks has to take it for alive.
    Unknown(String),
}

/// What is found under a process number.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Look {
    /// No process.
    Nobody,
    /// A process that began at this time, as our own time namespace counts.
    Began(u64),
    /// Perhaps a process: it cannot be looked at.
    Hidden(String),
}

impl ProcessIdentity {
    /// This process.
    #[must_use]
    pub fn current() -> Self {
        Self {
            pid: std::process::id(),
            start_time: process::own_start_time(),
            boot_id: boot_id(),
            pid_namespace: namespace("/proc/self", "pid").ok(),
            time_namespace: namespace("/proc/self", "time").ok(),
            uid: Some(userns::outer_uid()),
        }
    }

    /// From the text that [`fmt::Display`] makes. A field that is not known here is ignored.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let value = |name: &str| {
            text.split(',').find_map(|field| {
                let (key, value) = field.split_once('=')?;
                (key == name).then_some(value)
            })
        };
        let number = |name: &str| value(name)?.parse::<u64>().ok();
        // As earlier versions wrote it: number and start time alone.
        if let Some((pid, start)) = text.split_once(':') {
            return Some(Self {
                pid: pid.parse().ok()?,
                start_time: Some(start.parse().ok()?),
                boot_id: None,
                pid_namespace: None,
                time_namespace: None,
                uid: None,
            });
        }
        Some(Self {
            pid: value("pid")?.parse().ok()?,
            start_time: number("start"),
            boot_id: value("boot").map(str::to_owned),
            pid_namespace: number("pid_ns"),
            time_namespace: number("time_ns"),
            uid: value("uid").and_then(|uid| uid.parse().ok()),
        })
    }

    /// Whether the process is still there, as far as that can be told from here.
    #[must_use]
    pub fn life(&self) -> Life {
        self.life_seen_by(&Self::current(), look_up, search)
    }

    fn life_seen_by(
        &self,
        own: &Self,
        look_up: impl FnOnce(u32) -> Look,
        search: impl FnOnce(u64, u32) -> Look,
    ) -> Life {
        let (Some(then), Some(now), Some(its), Some(ours)) = (
            &self.boot_id,
            &own.boot_id,
            self.pid_namespace,
            own.pid_namespace,
        ) else {
            // Both the number and the time are met by the process itself alone.
            return match (look_up(self.pid), self.start_time) {
                (Look::Began(began), Some(start)) if began == start => Life::Alive,
                _ => Life::Unknown(format!(
                    "of which boot and in which process namespace process {} was is not known",
                    self.pid
                )),
            };
        };
        if then != now {
            // Some containers are shown a boot id of their own; their process namespace is another one too.
            return if its == ours {
                Life::GoneWithItsBoot
            } else {
                Life::Unknown(format!(
                    "process {} belongs to another boot and to another process namespace",
                    self.pid
                ))
            };
        }
        let found = if its == ours {
            look_up(self.pid)
        } else if ours == FIRST_PID_NAMESPACE {
            search(its, self.pid)
        } else {
            return Life::Unknown(format!(
                "process {}{} is in another process namespace ({its}), which cannot be seen from here",
                self.pid,
                self.of_user()
            ));
        };
        match found {
            Look::Nobody => Life::Gone,
            Look::Hidden(why) => Life::Unknown(format!(
                "process {}{} cannot be looked at: {why}",
                self.pid,
                self.of_user()
            )),
            Look::Began(began) => self.compare(own, began),
        }
    }

    /// A process has the number: it is this one if it began at the same time, by the same clock.
    fn compare(&self, own: &Self, began: u64) -> Life {
        if self.time_namespace != own.time_namespace {
            return Life::Unknown(format!(
                "there is a process {}, and it cannot be told whether it is the same one, because start times of another time namespace cannot be compared",
                self.pid
            ));
        }
        match self.start_time {
            None => Life::Unknown(format!(
                "there is a process {}, and it cannot be told whether it is the same one, because its start time was not written down",
                self.pid
            )),
            Some(start) if start == began => Life::Alive,
            Some(_) => Life::Gone,
        }
    }

    fn of_user(&self) -> String {
        self.uid
            .map_or_else(String::new, |uid| format!(" of user {uid}"))
    }
}

/// `pid=7,start=9,boot=…,pid_ns=4026531836,time_ns=4026531834,uid=0`; what is not known is left out.
impl fmt::Display for ProcessIdentity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "pid={}", self.pid)?;
        if let Some(start) = self.start_time {
            write!(out, ",start={start}")?;
        }
        if let Some(boot) = &self.boot_id {
            write!(out, ",boot={boot}")?;
        }
        if let Some(namespace) = self.pid_namespace {
            write!(out, ",pid_ns={namespace}")?;
        }
        if let Some(namespace) = self.time_namespace {
            write!(out, ",time_ns={namespace}")?;
        }
        match self.uid {
            Some(uid) => write!(out, ",uid={uid}"),
            None => Ok(()),
        }
    }
}

/// The kernel's identity of this boot.
fn boot_id() -> Option<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

/// The inode of a namespace of a process, from a link such as `pid:[4026531836]`.
fn namespace(folder: impl AsRef<Path>, kind: &str) -> io::Result<u64> {
    let link = fs::read_link(folder.as_ref().join("ns").join(kind))?;
    let text = link.to_string_lossy();
    text.strip_prefix(kind)
        .and_then(|rest| rest.strip_prefix(":["))
        .and_then(|rest| rest.strip_suffix(']'))
        .and_then(|inode| inode.parse().ok())
        .ok_or_else(|| io::Error::other(format!("{text} names no namespace")))
}

/// Whether the numbers in /proc are those of our own process namespace; an error says why not.
///
/// # Errors
/// When they are not, or there is no /proc.
pub fn proc_is_ours() -> Result<(), String> {
    match fs::read_link("/proc/self") {
        Ok(own) if own.to_string_lossy() == std::process::id().to_string() => Ok(()),
        Ok(_) => Err("/proc shows another process namespace than this one".to_owned()),
        Err(error) => Err(format!("/proc/self cannot be read: {error}")),
    }
}

/// What has this number in our own process namespace. That there is nobody is the word of `pidfd_open`(2), which no mount
/// option of /proc can hide anything from.
fn look_up(pid: u32) -> Look {
    let handle = match ProcessHandle::open(pid) {
        Ok(handle) => handle,
        // EINVAL (ENOENT since 6.15): the number is that of a thread, so no process has it.
        Err(error)
            if [libc::ESRCH, libc::EINVAL, libc::ENOENT]
                .map(Some)
                .contains(&error.raw_os_error()) =>
        {
            return Look::Nobody;
        }
        Err(error) => return Look::Hidden(format!("pidfd_open: {error}")),
    };
    if let Err(why) = proc_is_ours() {
        return Look::Hidden(why);
    }
    began(pid).unwrap_or_else(|error| {
        if handle.has_ended() {
            Look::Nobody
        } else {
            Look::Hidden(format!(
                "/proc/{pid}/stat: {error}; /proc may be mounted with hidepid"
            ))
        }
    })
}

fn began(pid: u32) -> io::Result<Look> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    Ok(process::parse_start_time(&stat).map_or(Look::Nobody, Look::Began))
}

/// What has this number in a process namespace below the first one, whose processes the first one sees all. Only whoever
/// is shown every process can say that there is none.
fn search(wanted: u64, pid: u32) -> Look {
    if let Err(why) = proc_is_ours().and_then(|()| all_are_shown()) {
        return Look::Hidden(format!(
            "it is in another process namespace ({wanted}): {why}"
        ));
    }
    let entries = match fs::read_dir("/proc") {
        Ok(entries) => entries,
        Err(error) => return Look::Hidden(format!("/proc: {error}")),
    };
    let mut perhaps = Look::Nobody;
    for entry in entries.filter_map(Result::ok) {
        let folder = entry.path();
        let Some(number) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        match fs::read_to_string(folder.join("status")) {
            Ok(status) if innermost_number(&status) == Some(pid) => {}
            Ok(_) => continue,
            // It ended meanwhile.
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Look::Hidden(format!("process {number}: {error}")),
        }
        match namespace(&folder, "pid") {
            Ok(found) if found == wanted => return began(number).unwrap_or(Look::Nobody),
            Ok(_) => {}
            Err(error) if is_gone(&error) => {}
            // It has the number in some namespace, and perhaps in this one.
            Err(error) => perhaps = Look::Hidden(format!("process {number}: {error}")),
        }
    }
    perhaps
}

/// Whether /proc shows every process of this namespace; an error says why not.
fn all_are_shown() -> Result<(), String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| format!("/proc/self/mountinfo: {error}"))?;
    if hides_what_cannot_be_traced(&mounts) {
        return Err("/proc is mounted with hidepid=ptraceable".to_owned());
    }
    // With the other values of hidepid, whoever is shown the first process is shown all.
    match fs::read_to_string("/proc/1/status") {
        Ok(_) => Ok(()),
        Err(error) => Err(format!(
            "/proc/1/status: {error}; /proc may be mounted with hidepid"
        )),
    }
}

/// From the text of /proc/self/mountinfo: fifth field the mount point, last field the options of the file system, see proc(5).
fn hides_what_cannot_be_traced(mounts: &str) -> bool {
    mounts
        .lines()
        .filter(|line| line.split(' ').nth(4) == Some("/proc"))
        .filter_map(|line| line.rsplit(' ').next())
        .flat_map(|options| options.split(','))
        .any(|option| matches!(option, "hidepid=ptraceable" | "hidepid=4"))
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// The number of a process in its own namespace, where that is one below ours: the last one in the line `NSpid` of
/// `/proc/PID/status`, which has one for each namespace (Linux 4.1).
fn innermost_number(status: &str) -> Option<u32> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))?;
    let mut numbers = line.split_ascii_whitespace();
    let _ours = numbers.next()?;
    numbers.next_back()?.parse().ok()
}

/// The inode of the first process namespace: `PROC_PID_INIT_INO`, `include/linux/proc_ns.h`, Linux 3.8 to 6.18.
const FIRST_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

#[cfg(test)]
mod tests;
