//! Where lock and journal lie: a fixed place of the user, unless the environment says otherwise.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, Failure};
use crate::host::{HostError, Readers, Runtime};

/// Where lock and journal lie.
#[derive(Debug, Clone, Args)]
pub(super) struct RuntimeArgs {
    /// The directory of lock and journal. A run in another directory knows nothing of this one: for tests.
    #[arg(long, value_name = "DIR", env = "C1M_RUNTIME_DIR", hide = true)]
    runtime_dir: Option<PathBuf>,
}

impl RuntimeArgs {
    /// Opens the directory.
    pub(super) fn open(&self) -> Result<Runtime, Failure> {
        match &self.runtime_dir {
            Some(path) => Runtime::at(path, Readers::Owner),
            None => Runtime::open(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)),
        }
        .map_err(|error| host_cannot(error.into()))
    }

    /// Finds the directory where it is there already; makes nothing.
    pub(super) fn find(&self) -> Result<Option<Runtime>, Failure> {
        match &self.runtime_dir {
            Some(path) => Runtime::find_at(path),
            None => Runtime::find(std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)),
        }
        .map_err(|error| host_cannot(error.into()))
    }
}

/// A failure around lock and journal: nothing was started, nothing changed. Where a journal cannot be read, an earlier run
/// may have left the host changed.
#[allow(clippy::needless_pass_by_value)] // for `map_err`
pub(super) fn host_cannot(error: HostError) -> Failure {
    let hint = error.hint();
    let exit = match error {
        HostError::Journal(_) => Exit::HostChanged,
        HostError::Lock(_) | HostError::Runtime(_) => Exit::HostCannot,
    };
    Failure::new(exit, error).with_hint(hint)
}
