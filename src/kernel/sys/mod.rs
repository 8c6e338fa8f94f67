//! System calls: the only home of `unsafe`. One file per family, one safe function per call.

#![allow(unsafe_code)] // here alone; each block argues its safety

pub mod allocator;
pub mod capability;
pub mod descriptor;
pub mod epoll;
pub mod eventfd;
pub mod fdtable;
pub mod flock;
pub mod hypervisor;
pub mod netns;
pub mod peer;
pub mod poll;
pub mod process;
pub mod rlimit;
pub mod signal;
pub mod socket;
pub mod userns;

use std::io;

/// Turns the "-1 and errno" of the C library into a result.
fn check(returned: libc::c_int) -> io::Result<libc::c_int> {
    if returned < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(returned)
    }
}
