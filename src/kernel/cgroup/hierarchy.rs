//! A hierarchy of control groups that has a given controller: where it is mounted, and which group of it a process is in.

use std::path::{Path, PathBuf};

use super::{CgroupError, CgroupVersion, read};

/// The hierarchy that has a controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    root: PathBuf,
    controller: &'static str,
    pub(super) version: CgroupVersion,
    /// Where it is mounted, with the root in front.
    mount: PathBuf,
    /// Which of its groups is seen at the mount point: `/` but in some containers.
    mounted_group: String,
}

impl Hierarchy {
    /// Looks for it in `proc/self/mountinfo` below `root`. In version 2 one hierarchy has all controllers.
    pub(super) fn find(root: &Path, controller: &'static str) -> Result<Self, CgroupError> {
        let path = root.join("proc/self/mountinfo");
        let text = read(&path)?;
        let mounts = || text.lines().filter_map(Mount::parse);
        let v1 = mounts().find(|mount| {
            mount.kind == "cgroup" && mount.options.split(',').any(|option| option == controller)
        });
        let (version, mount) = v1
            .map(|mount| (CgroupVersion::V1, mount))
            .or_else(|| {
                mounts()
                    .find(|mount| mount.kind == "cgroup2")
                    .map(|mount| (CgroupVersion::V2, mount))
            })
            .ok_or(CgroupError::NoController { controller, path })?;
        Ok(Self {
            root: root.to_owned(),
            controller,
            version,
            mount: root.join(mount.point.trim_start_matches('/')),
            mounted_group: mount.root.to_owned(),
        })
    }

    /// The group of a process, or of ours where `pid` is absent, as its path below the mount point.
    pub(super) fn group_of(&self, pid: Option<u32>) -> Result<String, CgroupError> {
        let process = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
        let path = self.root.join("proc").join(process).join("cgroup");
        let text = read(&path)?;
        let group =
            membership(&text, self.version, self.controller).ok_or(CgroupError::Content {
                path,
                what: "row of the hierarchy",
            })?;
        Ok(self.below_mount(group).to_owned())
    }

    /// The directory of a group.
    pub(super) fn directory(&self, group: &str) -> PathBuf {
        self.mount.join(group.trim_start_matches('/'))
    }

    /// From `group` up to the mount point.
    pub(super) fn levels(group: &str) -> impl Iterator<Item = String> + use<> {
        let own = group.trim_end_matches('/').to_owned();
        let above = std::iter::successors(Some(own), |level| {
            level.rfind('/').map(|slash| level[..slash].to_owned())
        });
        above.map(|level| {
            if level.is_empty() {
                "/".to_owned()
            } else {
                level
            }
        })
    }

    /// The path of a group below the mount point.
    fn below_mount<'group>(&self, group: &'group str) -> &'group str {
        let mounted = self.mounted_group.trim_end_matches('/');
        match group.strip_prefix(mounted) {
            Some(below) if below.starts_with('/') => below,
            // The group itself is mounted, or it lies outside of what we can see: the mount point is the nearest.
            _ => "/",
        }
    }
}

/// One line of mountinfo (proc(5)): `id parent major:minor root point options [optional…] - kind source options`.
pub(super) struct Mount<'line> {
    root: &'line str,
    point: &'line str,
    kind: &'line str,
    options: &'line str,
}

impl<'line> Mount<'line> {
    pub(super) fn parse(line: &'line str) -> Option<Self> {
        let (place, filesystem) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let mut filesystem = filesystem.split(' ');
        Some(Self {
            root: place.next()?,
            point: place.next()?,
            kind: filesystem.next()?,
            options: filesystem.nth(1)?,
        })
    }
}

/// The group in `/proc/PID/cgroup`: lines `number:controllers:path`.
pub(super) fn membership<'t>(
    text: &'t str,
    version: CgroupVersion,
    controller: &str,
) -> Option<&'t str> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let ours = match version {
            CgroupVersion::V1 => controllers.split(',').any(|name| name == controller),
            CgroupVersion::V2 => number == "0" && controllers.is_empty(),
        };
        ours.then_some(path)
    })
}
