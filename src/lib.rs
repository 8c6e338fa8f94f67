//! c1m, the million-connection lab, as a library. This page is the map; `docs/architecture.md` is the long form.
//!
//! A run is a pipeline: a scenario file becomes a [`scenario::Scenario`]; with the facts of the host ([`host`]) it becomes
//! a [`plan::Plan`]; a place is made for it ([`provision`]); workers ([`worker`], [`engine`]) open and hold the
//! connections while the observer ([`observe`]) looks; everything is written to a run directory ([`record`]), and the
//! report ([`report`]) is made from that directory alone. [`run`] conducts, [`cli`] talks to the human.
//!
//! ```text
//! L5  cli                                        words to and from a human
//! L4  run                                        the conductor
//! L3  provision  worker                          places to run; what runs in them
//! L2  plan  host  engine  observe  report        decisions, changes, motion, sight, account
//! L1  scenario  control  kernel  record  protocol  formats and interfaces
//! L0  domain                                     the vocabulary
//! ```
//!
//! Imports point down only; `tests/architecture.rs` keeps it so.

pub mod cli;
pub mod control;
pub mod domain;
pub mod engine;
pub mod host;
pub mod kernel;
pub mod observe;
pub mod plan;
pub mod protocol;
pub mod provision;
pub mod record;
pub mod report;
pub mod run;
pub mod scenario;
pub mod worker;

/// See [`kernel::sys::allocator`].
#[global_allocator]
static ALLOCATOR: kernel::sys::allocator::Allocator = kernel::sys::allocator::Allocator;
