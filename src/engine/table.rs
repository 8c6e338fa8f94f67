//! How many descriptor tables a worker needs, and how many connections go into each. Arithmetic only; the table itself
//! is made by [`crate::kernel::sys::fdtable`].

use std::thread;

use super::{EngineError, Tables};
use crate::domain::{ClientSpec, DescriptorTables};
use crate::kernel::sys::fdtable::{self, Descriptor};
use crate::kernel::sys::rlimit;

/// Numbers of a table that connections do not get: standard streams, listeners, epoll, the bell, and some to spare.
const RESERVED: u64 = 64;

/// No table is made larger than this although the limit would allow it: with several tables, several threads sweep,
/// verify and drain at once.
const LARGEST: u64 = 65_536;

/// Most threads that dial at once unless the spec says so.
const MOST_DIALERS: usize = 4;

/// Below this a limit leaves too little beside what is reserved.
const LEAST_LIMIT: u64 = 2 * RESERVED;

/// The tables of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// How many tables.
    pub(super) count: usize,
    /// Connections in each at most.
    pub(super) room: u32,
    /// `RLIMIT_NOFILE`, in descriptors.
    pub(super) limit: u64,
}

impl Layout {
    /// Raises the limit and computes the tables for `connections`, at least `least` of them.
    pub(super) fn new(
        kind: DescriptorTables,
        connections: u64,
        least: usize,
    ) -> Result<Self, EngineError> {
        let limit = rlimit::raise_descriptors().map_err(EngineError::Limit)?;
        Self::for_limit(kind, connections, least, limit.soft)
    }

    fn for_limit(
        kind: DescriptorTables,
        connections: u64,
        least: usize,
        limit: u64,
    ) -> Result<Self, EngineError> {
        if limit < LEAST_LIMIT {
            return Err(EngineError::LimitTooSmall { limit });
        }
        if kind == DescriptorTables::One {
            // An ordinary program meets its limit: nothing is held back.
            return Ok(Self {
                count: 1,
                room: u32::MAX,
                limit,
            });
        }
        let room = limit.min(LARGEST) - RESERVED;
        let count = connections.div_ceil(room).max(1);
        Ok(Self {
            count: usize::try_from(count).unwrap_or(usize::MAX).max(least),
            room: u32::try_from(room).unwrap_or(u32::MAX),
            limit,
        })
    }

    /// The tables of a client, with how many threads dial at once and how many handshakes each of them may have under
    /// way.
    pub(super) fn for_client(
        spec: &ClientSpec,
        connections: u64,
    ) -> Result<(Self, usize, usize), EngineError> {
        let window = usize::try_from(spec.in_flight).unwrap_or(usize::MAX).max(1);
        let dialers = match (spec.tables, spec.dialers) {
            (DescriptorTables::One, _) => 1,
            (DescriptorTables::Many, Some(dialers)) => usize::try_from(dialers).unwrap_or(window),
            (DescriptorTables::Many, None) => {
                thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_DIALERS))
            }
        };
        let dialers = dialers.clamp(1, window);
        let layout = Self::new(spec.tables, connections, dialers)?;
        Ok((layout, dialers, window / dialers))
    }

    /// What the worker tells of it.
    pub(super) const fn tables(&self) -> Tables {
        Tables {
            count: self.count as u64,
            limit: self.limit,
        }
    }

    /// Grows the calling thread's table for `connections`, as far as the limit allows. A table grows when its turn comes,
    /// not at the start, so that its memory counts among that of the connections in it.
    pub(super) fn grow_for(&self, first: Descriptor, connections: u64) {
        let first = u64::from(first.number().unsigned_abs());
        let size = (first + connections + RESERVED / 2).min(self.limit);
        // Growing is for speed only: a table that could not be grown at once grows by itself, or meets its limit then.
        let _ = fdtable::grow(u32::try_from(size).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_million_under_a_limit_of_20000_takes_52_tables() {
        let layout =
            Layout::for_limit(DescriptorTables::Many, 1_024_000, 1, 20_000).expect("there is room");
        assert_eq!((layout.count, layout.room), (52, 19_936));
    }

    #[test]
    fn an_ordinary_program_has_one_table_whatever_is_asked() {
        let layout =
            Layout::for_limit(DescriptorTables::One, 1_024_000, 4, 1024).expect("there is room");
        assert_eq!(layout.count, 1);
    }

    #[test]
    fn a_tiny_limit_is_refused() {
        let refused = Layout::for_limit(DescriptorTables::Many, 10, 1, 64);
        assert!(matches!(
            refused,
            Err(EngineError::LimitTooSmall { limit: 64 })
        ));
    }

    proptest! {
        #[test]
        fn every_connection_has_a_place_within_the_limit(
            connections in 0_u64..5_000_000, least in 1_usize..16, limit in 1024_u64..2_000_000
        ) {
            let layout = Layout::for_limit(DescriptorTables::Many, connections, least, limit).expect("room");
            prop_assert!(layout.count as u64 * u64::from(layout.room) >= connections);
            prop_assert!(u64::from(layout.room) + RESERVED <= limit);
            prop_assert!(layout.count >= least);
        }
    }
}
