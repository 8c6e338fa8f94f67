//! How many tasks (processes and threads) a process may have by its control groups: `pids.max` of its own and of those
//! above (`Documentation/admin-guide/cgroup-v2.rst`, `cgroup-v1/pids.rst`).

use std::fs;
use std::path::Path;

use super::hierarchy::Hierarchy;

/// The least `pids.max` of the groups of a process, below `root`; nothing where none bounds it, or none can be read.
#[must_use]
pub fn most_tasks(root: &Path, pid: u32) -> Option<u64> {
    let hierarchy = Hierarchy::find(root, "pids").ok()?;
    let group = hierarchy.group_of(Some(pid)).ok()?;
    Hierarchy::levels(&group)
        .filter_map(|level| {
            let text = fs::read_to_string(hierarchy.directory(&level).join("pids.max")).ok()?;
            // Without a limit it says `max`.
            text.trim().parse().ok()
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("it has a folder")).expect("can be made");
        fs::write(path, text).expect("can be written");
    }

    const V1: &str = "30 25 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
    const V2: &str = "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_least_limit_of_a_group_and_those_above_binds() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        write(root, "proc/self/mountinfo", V1);
        write(root, "proc/7/cgroup", "5:pids:/a/b\n3:memory:/a\n0::/x\n");
        write(root, "sys/fs/cgroup/pids/a/b/pids.max", "max\n");
        assert_eq!(most_tasks(root, 7), None);
        write(root, "sys/fs/cgroup/pids/a/pids.max", "300\n");
        assert_eq!(most_tasks(root, 7), Some(300));
        write(root, "proc/self/mountinfo", V2);
        write(root, "proc/8/cgroup", "0::/x/y\n");
        write(root, "sys/fs/cgroup/x/pids.max", "99\n");
        write(root, "sys/fs/cgroup/x/y/pids.max", "200\n");
        assert_eq!(most_tasks(root, 8), Some(99));
        assert_eq!(most_tasks(root, 9), None);
    }
}
