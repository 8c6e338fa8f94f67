//! What a worker does in its own place before it starts, where the runner cannot reach in: the hook for containers.

use std::net::Ipv4Addr;

use crate::control::Event;
use crate::domain::SettingChange;

/// Why the place could not be finished from within.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// This place is finished from outside.
    #[error(
        "asked to prepare a place from within ({addresses} addresses, {settings} settings), but this worker does not run in a container"
    )]
    NotHere {
        /// Addresses asked for.
        addresses: usize,
        /// Settings asked for.
        settings: usize,
    },
}

impl PrepareError {
    /// What to do about it, where that is known.
    #[must_use]
    pub const fn hint(&self) -> Option<String> {
        match self {
            Self::NotHere { .. } => None,
        }
    }
}

/// Finishes the place and answers with [`Event::Prepared`].
pub(super) fn prepare(
    addresses: &[(Ipv4Addr, Ipv4Addr)],
    untrack: Option<ipnet::Ipv4Net>,
    settings: &[SettingChange],
) -> Result<Event, PrepareError> {
    if addresses.is_empty() && untrack.is_none() && settings.is_empty() {
        return Ok(Event::Prepared {
            settings: Vec::new(),
            conntrack_entries: None,
        });
    }
    Err(PrepareError::NotHere {
        addresses: addresses.len(),
        settings: settings.len(),
    })
}
