//! How many tasks (processes and threads) a process may have by its control groups: `pids.max` of its own and of those
//! above (`Documentation/admin-guide/cgroup-v2.rst`, `cgroup-v1/pids.rst`).

use std::fs;
use std::path::{Path, PathBuf};

/// The least `pids.max` of the groups of a process, below `root`; nothing where none bounds it, or none can be read.
#[must_use]
pub fn most_tasks(root: &Path, pid: u32) -> Option<u64> {
    let text = fs::read_to_string(root.join(format!("proc/{pid}/cgroup"))).ok()?;
    let (mount, group) = place_of(root, &text)?;
    let mut least = None;
    let mut directory = mount.join(group.trim_start_matches('/'));
    while directory.starts_with(&mount) {
        let limit = fs::read_to_string(directory.join("pids.max"))
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok());
        least = least.into_iter().chain(limit).min();
        if !directory.pop() {
            break;
        }
    }
    least
}

/// Where the hierarchy with the controller is mounted by custom, and the group in it.
fn place_of<'t>(root: &Path, membership: &'t str) -> Option<(PathBuf, &'t str)> {
    let mut unified = None;
    for line in membership.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, group) = (fields.next()?, fields.next()?);
        if controllers.split(',').any(|name| name == "pids") {
            return Some((root.join("sys/fs/cgroup/pids"), group));
        }
        if controllers.is_empty() {
            unified = Some((root.join("sys/fs/cgroup"), group));
        }
    }
    unified
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("it has a folder")).expect("can be made");
        fs::write(path, text).expect("can be written");
    }

    #[test]
    fn the_least_limit_of_a_group_and_those_above_binds() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        write(root, "proc/7/cgroup", "5:pids:/a/b\n3:memory:/a\n0::/x\n");
        write(root, "sys/fs/cgroup/pids/a/b/pids.max", "max\n");
        assert_eq!(most_tasks(root, 7), None);
        write(root, "sys/fs/cgroup/pids/a/pids.max", "300\n");
        assert_eq!(most_tasks(root, 7), Some(300));
        write(root, "proc/8/cgroup", "0::/x/y\n");
        write(root, "sys/fs/cgroup/x/pids.max", "99\n");
        write(root, "sys/fs/cgroup/x/y/pids.max", "200\n");
        assert_eq!(most_tasks(root, 8), Some(99));
        assert_eq!(most_tasks(root, 9), None);
    }
}
