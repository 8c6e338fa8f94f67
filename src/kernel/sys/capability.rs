//! Capabilities of the calling thread, see capabilities(7): what it may do, and giving it up for good.

use std::io;

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
};

/// Whether the calling thread may change networks and packet rules (`CAP_NET_ADMIN`).
#[must_use]
pub fn has_net_admin() -> bool {
    capabilities(None).is_ok_and(|held| held.effective.contains(CapabilitySet::NET_ADMIN))
}

/// Gives up every capability: effective, permitted and inheritable, and, as far as the thread may, those that a program
/// executed later could gain (the bounding set, which only `CAP_SETPCAP` may shrink). Threads made afterwards inherit
/// what is left; so this is called while there is one thread only.
///
/// # Errors
/// When the kernel refuses, or something is held still.
pub fn give_up_all() -> io::Result<()> {
    for capability in CapabilitySet::all().iter() {
        match capability_is_in_bounding_set(capability) {
            Ok(true) => match remove_capability_from_bounding_set(capability) {
                // Without CAP_SETPCAP the bounding set stays; no-new-privileges closes that way instead.
                Ok(()) | Err(Errno::PERM) => {}
                Err(errno) => return Err(errno.into()),
            },
            // A capability that this kernel does not know is in no set.
            Ok(false) | Err(Errno::INVAL) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    clear_ambient_capability_set()?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none)?;
    let left = capabilities(None)?;
    if left.permitted.is_empty() && left.effective.is_empty() {
        Ok(())
    } else {
        Err(io::Error::other("capabilities are held still"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_gave_up_everything_has_nothing() {
        let had = std::thread::spawn(|| {
            give_up_all().expect("gives up");
            has_net_admin()
        })
        .join()
        .expect("the thread ends");
        assert!(!had);
    }
}
