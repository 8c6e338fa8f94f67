//! What `/proc/PID` says of one process: its environment, its control groups, its name.
//!
//! Source: proc(5).

use std::fs;
use std::io;
use std::path::Path;

/// The environment that a process was started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment(Vec<u8>);

impl Environment {
    /// That of the process whose folder below `/proc` is `folder`.
    ///
    /// # Errors
    /// When the process is gone, or is somebody else's.
    pub fn of(folder: &Path) -> io::Result<Self> {
        fs::read(folder.join("environ")).map(Self)
    }

    /// The value of a variable: the file has pairs, each ended by a zero. Nothing where it is absent or not UTF-8.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.0.split(|byte| *byte == 0).find_map(|pair| {
            let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            std::str::from_utf8(value).ok()
        })
    }
}

/// The control groups of a process, one for each hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlGroups(String);

impl ControlGroups {
    /// Those of process `pid`.
    ///
    /// # Errors
    /// When there is no such process here.
    pub fn of(pid: u32) -> io::Result<Self> {
        fs::read_to_string(format!("/proc/{pid}/cgroup")).map(Self)
    }

    /// Whether the name of one of them has `part` in it, as that of a container has the container's id. Nothing where all
    /// are the root: version 1 shows a process that is ending there.
    #[must_use]
    pub fn name(&self, part: &str) -> Option<bool> {
        if self.0.contains(part) {
            return Some(true);
        }
        let at_root = self
            .0
            .lines()
            .all(|line| line.rsplit(':').next().is_some_and(|path| path == "/"));
        (!at_root).then_some(false)
    }
}

/// The name of the program that process `pid` runs, cut to 15 bytes.
///
/// # Errors
/// When there is no such process here.
pub fn command_name(pid: u32) -> io::Result<String> {
    Ok(fs::read_to_string(format!("/proc/{pid}/comm"))?
        .trim()
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_read_from_the_environment() {
        let text = b"PATH=/bin\0XC1M_RUN=1\0C1M_RUN=0123abcd\0C1M_RUNNER=7:9\0";
        let environment = Environment(text.to_vec());
        assert_eq!(environment.variable("C1M_RUN"), Some("0123abcd"));
        assert_eq!(environment.variable("C1M_RUNNER"), Some("7:9"));
        assert_eq!(environment.variable("C1M"), None);
        assert_eq!(Environment(Vec::new()).variable("C1M_RUN"), None);
    }

    #[test]
    fn control_groups_name_a_container_or_say_nothing() {
        let named = |text: &str| ControlGroups(text.to_owned()).name("abc");
        assert_eq!(named("0::/docker/abc\n"), Some(true));
        assert_eq!(named("0::/user.slice\n"), Some(false));
        assert_eq!(named("4:memory:/\n1:name=systemd:/\n"), None);
    }
}
