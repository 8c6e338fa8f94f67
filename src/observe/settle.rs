//! Quiet before a measurement. Freed sockets come back late, and a slab stays while one processor keeps it for itself: after
//! a pause the caches of connections are asked to give their empty slabs back (`/sys/kernel/slab/NAME/shrink`, root only).
//! Nothing else is touched: no setting, no page cache, no inode or directory entry that anybody uses.

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
            .and_then(|mut open| std::io::Write::write_all(&mut open, b"1\n"));
        match written {
            Ok(()) => shrunk.push(cache),
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
    fn caches_that_are_there_are_shrunk_and_the_rest_is_said() {
        let root = tempfile::tempdir().unwrap();
        let tcp = root.path().join("sys/kernel/slab/TCP");
        fs::create_dir_all(&tcp).unwrap();
        fs::write(tcp.join("shrink"), "").unwrap();
        let (shrunk, not_shrunk) = shrink(root.path());
        assert_eq!(shrunk, ["TCP"]);
        assert!(not_shrunk.unwrap().contains("tw_sock_TCP/shrink"));
        assert_eq!(fs::read(tcp.join("shrink")).unwrap(), b"1\n");
    }
}
