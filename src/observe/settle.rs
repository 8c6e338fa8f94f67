//! Quiet before a measurement. Freed sockets come back late, and a slab stays while one processor keeps it for itself: after
//! a pause the caches of connections are asked to give their empty slabs back (`/sys/kernel/slab/NAME/shrink`, root only).
//! Nothing else is touched: no setting, no page cache, no inode or directory entry that anybody uses.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, thread};

/// The caches that are asked. `dentry` is left out: it is the whole machine's, and shrinking a large one takes long.
const CACHES: [&str; 9] = [
    "TCP",
    "tw_sock_TCP",
    "request_sock_TCP",
    "sock_inode_cache",
    "filp",
    "eventpoll_epi",
    "eventpoll_pwq",
    "tcp_bind_bucket",
    "tcp_bind2_bucket",
];

/// Within this time after a close the kernel has freed what waits for RCU, and delayed work has run.
const PAUSE: Duration = Duration::from_secs(2);

/// What settling did.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    /// Seconds that it took.
    pub seconds: f64,
    /// Caches that were asked to give back their empty slabs.
    pub shrunk: Vec<&'static str>,
    /// Why others were not, the first reason.
    pub not_shrunk: Option<String>,
}

/// Waits two seconds, then shrinks the caches of connections where that is allowed. `root` is `/` but in tests.
#[must_use]
pub fn settle(root: &Path) -> Settled {
    let began = Instant::now();
    thread::sleep(PAUSE);
    let (shrunk, not_shrunk) = shrink(root);
    Settled {
        seconds: began.elapsed().as_secs_f64(),
        shrunk,
        not_shrunk,
    }
}

fn shrink(root: &Path) -> (Vec<&'static str>, Option<String>) {
    let mut shrunk = Vec::new();
    let mut not_shrunk = None;
    for cache in CACHES {
        let file = root.join("sys/kernel/slab").join(cache).join("shrink");
        // Opened without creating: in a test a missing cache must be as missing as in /sys.
        let written = fs::OpenOptions::new()
            .write(true)
            .open(&file)
            .and_then(|mut open| open.write_all(b"1\n"));
        match written {
            Ok(()) => shrunk.push(cache),
            // Not every kernel has each of them.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !shrunk.is_empty() => {}
            Err(error) => {
                not_shrunk.get_or_insert_with(|| format!("{}: {error}", file.display()));
            }
        }
    }
    (shrunk, not_shrunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_that_are_there_are_shrunk_and_others_are_not_missed() {
        let root = tempfile::tempdir().unwrap();
        let tcp = root.path().join("sys/kernel/slab/TCP");
        fs::create_dir_all(&tcp).unwrap();
        fs::write(tcp.join("shrink"), "").unwrap();
        assert_eq!(shrink(root.path()), (vec!["TCP"], None));
        assert_eq!(fs::read(tcp.join("shrink")).unwrap(), b"1\n");
    }

    #[test]
    fn a_machine_that_lets_nothing_be_shrunk_says_why() {
        let root = tempfile::tempdir().unwrap();
        let (shrunk, not_shrunk) = shrink(root.path());
        assert!(shrunk.is_empty());
        assert!(not_shrunk.unwrap().contains("TCP/shrink"));
    }
}
