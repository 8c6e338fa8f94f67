//! Everything that talks to Linux: syscalls, netlink, /proc, control groups, sysctl files. The only home of `unsafe`.
