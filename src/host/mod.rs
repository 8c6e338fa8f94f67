//! Probe the facts of the host, apply its settings through the journal, put them back.

mod tuning;

pub use tuning::{look_at_all, write_all};
