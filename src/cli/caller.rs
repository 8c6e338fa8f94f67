//! Whose files are what a verb writes.

use std::env;

use crate::host;
use crate::record::Owner;

/// Under sudo, results belong to the user who called it. Only root can give files away: under `sudo -u somebody` they stay
/// with that user.
pub(super) fn caller() -> Option<Owner> {
    if !host::is_root() {
        return None;
    }
    let number = |name| env::var(name).ok()?.parse().ok();
    Some(Owner {
        uid: number("SUDO_UID")?,
        gid: number("SUDO_GID")?,
    })
}
