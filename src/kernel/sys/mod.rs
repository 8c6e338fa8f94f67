//! System calls: the only home of `unsafe`. One file per family, one safe function per call.

pub mod flock;
pub mod netns;
pub mod process;
pub mod userns;
