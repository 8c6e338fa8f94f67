//! Probe the facts of the host, apply its settings through the journal, put them back.

mod journal;
mod lock;
mod recover;
mod runtime;
mod setting;
mod tuning;

pub use journal::{Durable, JournalEntry, JournalError, JournalFile, JournalOwner};
pub use lock::{Holder, LockError, RunLock};
pub use recover::{RecoverError, Recovered, Recovery, recover, recover_locked};
pub use runtime::{Readers, RuntimeDir, RuntimeDirError};
pub use setting::{look_at_all, write_all};
pub use tuning::{HostSettings, ObjectRemover, Restoration};
