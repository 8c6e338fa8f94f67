//! `RLIMIT_NOFILE`, the limit of one descriptor table: getrlimit(2), setrlimit(2).

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit of one descriptor table, as numbers of descriptors. No limit is the largest number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescriptorLimit {
    /// In force.
    pub soft: u64,
    /// As far as a process without privilege may raise it.
    pub hard: u64,
}

/// Reads the limit.
///
/// # Errors
/// Never on Linux; the signature leaves room for a filter that forbids it.
pub fn descriptors() -> io::Result<DescriptorLimit> {
    let limit = getrlimit(Resource::Nofile);
    Ok(DescriptorLimit {
        soft: limit.current.unwrap_or(u64::MAX),
        hard: limit.maximum.unwrap_or(u64::MAX),
    })
}

/// Raises the soft limit to the hard one, which needs no privilege, and returns what is in force then.
///
/// # Errors
/// When the kernel refuses.
pub fn raise_descriptors() -> io::Result<DescriptorLimit> {
    let limit = descriptors()?;
    if limit.soft < limit.hard {
        let hard = (limit.hard != u64::MAX).then_some(limit.hard);
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: hard,
                maximum: hard,
            },
        )?;
    }
    descriptors()
}
