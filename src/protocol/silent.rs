//! A side that says nothing and reads nothing.

use std::time::Duration;

use super::{Connection, Output, Protocol, Step};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

const _: () = assert!(size_of::<<Silent as Protocol>::State>() == 0);

impl Protocol for Silent {
    type State = ();
    const READS: bool = false;

    fn begin(&self, _: &Connection) {}

    fn on_open(&self, _: &Connection, (): &mut (), _: &mut Output) -> Step {
        Step::Wait
    }

    fn on_bytes(&self, (): &mut (), _: &[u8], _: &mut Output) -> Step {
        Step::Wait
    }

    fn on_tick(&self, (): &mut (), _: Duration, _: &mut Output) -> Step {
        Step::Wait
    }
}
