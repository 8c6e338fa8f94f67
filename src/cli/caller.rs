//! Whose files are what a verb writes.

use std::env;

use crate::record::Owner;

/// Under sudo, results belong to the user who called it.
pub(super) fn caller() -> Option<Owner> {
    let number = |name| env::var(name).ok()?.parse().ok();
    Some(Owner {
        uid: number("SUDO_UID")?,
        gid: number("SUDO_GID")?,
    })
}
