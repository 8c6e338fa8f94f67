//! The lab in containers.

mod address;
mod engine;

pub use engine::probe;
