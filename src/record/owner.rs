//! The user whom the files of a run directory belong to.

/// Whom files are given to, when a run under sudo writes for the user who called it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}
