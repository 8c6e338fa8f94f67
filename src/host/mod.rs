//! Probe the facts of the host, apply its settings through the journal, put them back.

mod error;
mod facts;
mod journal;
mod lock;
mod recover;
mod runtime;
mod setting;
mod tuning;

pub use error::HostError;
pub use facts::{FactsError, probe};
pub use journal::{Durable, JournalEntry, JournalError, JournalFile, JournalOwner, journal_path};
pub use lock::{Holder, Lock, LockError};
pub use recover::{
    LeftOnHost, Recovered, Recovery, left_behind, look, recover, recover_unless_live, recover_with,
};
pub use runtime::{Readers, Runtime, RuntimeError, is_root, user};
pub use setting::{look_at_all, write_all};
pub use tuning::{ObjectRemover, Restoration, Tuning};
