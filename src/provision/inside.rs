//! Work inside another network namespace, on a thread that is made for it and then ends.

use std::io;
use std::thread;

use crate::kernel::sys::netns::NetworkNamespace;

use super::ProvisionError;

/// Does `work` inside `namespace`, or where the caller is where there is none, and brings back what it returns. `whose` names
/// the namespace in messages.
pub(super) fn inside<R: Send>(
    namespace: Option<&NetworkNamespace>,
    whose: &str,
    work: impl FnOnce() -> R + Send,
) -> Result<R, ProvisionError> {
    let failed = |why: &dyn std::fmt::Display| {
        ProvisionError::new(format!("work in the network namespace of {whose}"), why)
    };
    thread::scope(|scope| {
        thread::Builder::new()
            .name("in-namespace".to_owned())
            .spawn_scoped(scope, || {
                namespace.map_or(Ok(()), NetworkNamespace::enter)?;
                Ok(work())
            })
            .map_err(|error| failed(&error))?
            .join()
            .map_err(|_| failed(&"the work panicked"))?
            .map_err(|error: io::Error| failed(&error))
    })
}
