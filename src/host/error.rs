//! Why the host could not be prepared or tidied up.

use super::{JournalError, LockError, RuntimeError};

/// What went wrong around lock and journal.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The lock.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The folder that they lie in.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
}

impl HostError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Journal(error) => Some(format!(
                "an earlier run may have left the host changed: look at {}",
                error.path.display()
            )),
            Self::Lock(error) => error.hint(),
            Self::Runtime(error) => Some(error.hint()),
        }
    }
}
