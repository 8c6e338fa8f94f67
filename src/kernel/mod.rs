//! Everything that talks to Linux: syscalls, netlink, /proc, control groups, sysctl files. The only home of `unsafe`.

pub mod btf;
pub mod cgroup;
pub mod clock;
pub mod identity;
pub mod kmsg;
pub mod netlink;
pub mod object_sizes;
pub mod process;
pub mod procfs;
pub mod sys;
pub mod sysconf;
pub mod sysctl;
