//! Kernel settings as the files below `/proc/sys`, or below another root. Follows proc(5) and sysctl(8); of the files
//! below `net`, each thread sees those of its own network namespace.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Where settings are read and written: an interface with two verbs, so that a failing one can be put in its place.
pub trait SettingStore {
    /// The value of a key, its fields separated by single spaces.
    fn read(&self, key: &str) -> io::Result<String>;

    /// Gives a key a value.
    fn write(&self, key: &str, value: &str) -> io::Result<()>;
}

/// The settings below a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    root: PathBuf,
}

impl Sysctl {
    /// Those of the kernel that runs.
    #[must_use]
    pub fn system() -> Self {
        Self::below("/proc/sys")
    }

    /// Those below another root.
    #[must_use]
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The file of a key: `net.core.somaxconn` is `net/core/somaxconn`.
    ///
    /// # Errors
    /// When the key has an empty part, a slash, or leads out of the root.
    pub fn path(&self, key: &str) -> io::Result<PathBuf> {
        let parts: Vec<&str> = key.split('.').collect();
        if parts.iter().any(|part| part.is_empty()) || key.contains(['/', '\0']) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{key:?} is no key of sysctl"),
            ));
        }
        Ok(parts
            .iter()
            .fold(self.root.clone(), |path, part| path.join(part)))
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl SettingStore for Sysctl {
    fn read(&self, key: &str) -> io::Result<String> {
        Ok(normalise(&fs::read_to_string(self.path(key)?)?))
    }

    fn write(&self, key: &str, value: &str) -> io::Result<()> {
        // One write(2) for the whole value: the kernel takes each as a value of its own. Never create a file.
        let mut file = File::options()
            .write(true)
            .truncate(true)
            .open(self.path(key)?)?;
        file.write_all(format!("{value}\n").as_bytes())
    }
}

/// Fields separated by single spaces: the kernel writes tabs between them and takes either.
#[must_use]
pub fn normalise(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_and_read_back_with_single_spaces() {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(root.path().join("net/ipv4")).expect("makes folders");
        let file = root.path().join("net/ipv4/ip_local_port_range");
        fs::write(&file, "32768\t60999\n").expect("writes");
        let sysctl = Sysctl::below(root.path());
        let key = "net.ipv4.ip_local_port_range";
        assert_eq!(sysctl.read(key).expect("reads"), "32768 60999");
        sysctl.write(key, "1024 65535").expect("writes");
        assert_eq!(sysctl.read(key).expect("reads"), "1024 65535");
    }

    #[test]
    fn a_missing_key_is_not_made() {
        let root = tempfile::tempdir().expect("a folder");
        let error = Sysctl::below(root.path()).write("nothing", "1");
        assert_eq!(
            error.map_err(|error| error.kind()),
            Err(io::ErrorKind::NotFound)
        );
        assert!(!root.path().join("nothing").exists());
    }

    #[test]
    fn no_key_leads_out_of_the_root() {
        let sysctl = Sysctl::below("/nowhere");
        for key in ["", "a..b", ".a", "../a", "a/b", "/etc/passwd"] {
            assert!(sysctl.path(key).is_err(), "{key:?}");
        }
    }
}
