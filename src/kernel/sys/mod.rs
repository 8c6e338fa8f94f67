//! System calls: the only home of `unsafe`. One file per family, one safe function per call.

pub mod capability;
pub mod flock;
pub mod netns;
pub mod peer;
pub mod process;
pub mod userns;
