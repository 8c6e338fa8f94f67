//! A user namespace of our own for the runner, where an ordinary user may make network namespaces.

use crate::kernel::sys::userns;

use super::ProvisionError;

/// Moves the runner into a user and network namespace of its own. Files that it makes go on belonging to its user.
///
/// # Errors
/// When the kernel does not allow it, or the process has more than one thread already.
pub fn enter_user_namespace() -> Result<(), ProvisionError> {
    userns::enter().map_err(|error| {
        ProvisionError::new("move into a user namespace", &error).with_hint(error.hint())
    })
}

/// Whether [`enter_user_namespace`] would succeed: a short-lived child really tries, because the kernel's switches that
/// forbid it have many names.
///
/// # Errors
/// What the kernel said, when it would not.
pub fn user_namespace_allowed() -> Result<(), String> {
    userns::try_in_child().map_err(|error| error.to_string())
}
