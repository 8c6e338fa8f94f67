//! What runner and workers say to each other: one JSON object per line over stdin and stdout. No port, no argument lists.

mod codec;
mod environment;
mod limiter;
mod message;

pub use codec::{CodecError, LineReader, write_line};
pub use environment::{RUN_VARIABLE, RUNNER_VARIABLE, SUBJECT_VARIABLE, USERS_VARIABLES};
pub use limiter::LineLimiter;
pub use message::{Command, Event, VERSION, VersionMismatch, same_version};

/// How a line of a worker's stderr begins that tells its panic; the worker ends right after it.
pub const PANICKED: &str = "panicked: ";
