//! Everything that talks to Linux: syscalls, netlink, /proc, control groups, sysctl files. The only home of `unsafe`.

pub mod netlink;
pub mod sys;
pub mod sysctl;
