//! The run directory: what a run leaves on the disk, how it is written while the run lives, and how it is read again.
//! Formats are described in `docs/run-directory.md`.

mod directory;
mod error;
mod folder;
mod layout;
mod legacy;
mod lines;
mod owner;
mod read;
mod write;

pub use error::RecordError;
pub use folder::Folder;
pub use layout::{
    CHARTS, EVENTS, FACTS, LATEST, PLAN, REPORT, RESULT, RUN, RunIdentity, SAMPLES, SCENARIO,
    SCHEMA_VERSION, SUMMARY, WORKERS, directory_name, worker_log,
};
pub use owner::Owner;
pub use read::{Recording, read};
pub use write::{RunDir, add_event};
