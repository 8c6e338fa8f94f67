//! How many descriptor tables a worker needs, and how many connections go into each. Arithmetic only; the table itself
//! is made by [`crate::kernel::sys::fdtable`].

use std::thread;

use super::{EngineError, Tables};
use crate::domain::{
    ClientSpec, DescriptorTables, RESERVED_DESCRIPTORS, connections_per_table, tables_for,
};
use crate::kernel::sys::fdtable::{self, Descriptor};
use crate::kernel::sys::rlimit;

/// Most threads that dial at once unless the spec says so.
const MOST_DIALERS: usize = 4;

/// Below this a limit leaves too little beside what is reserved.
const LEAST_LIMIT: u64 = 2 * RESERVED_DESCRIPTORS;

/// The tables of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// How many tables.
    pub(super) count: usize,
    /// Connections in each.
    pub(super) room: Room,
    /// `RLIMIT_NOFILE`, in descriptors.
    pub(super) limit: u64,
}

/// How many connections a table takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    /// So many. Then another table goes on.
    AtMost(u64),
    /// As many as the limit lets through: an ordinary program meets its limit.
    ToTheLimit,
}

impl Room {
    /// Whether a table that holds so many takes more.
    pub(super) const fn is_left(self, held: u64) -> bool {
        match self {
            Self::AtMost(most) => held < most,
            Self::ToTheLimit => true,
        }
    }
}

/// How a client spreads its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ClientLayout {
    /// Its tables.
    pub(super) layout: Layout,
    /// Threads that dial at once.
    pub(super) dialers: usize,
    /// Handshakes under way at once in each of them.
    pub(super) window: usize,
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
        Ok(match kind {
            DescriptorTables::One => Self {
                count: 1,
                room: Room::ToTheLimit,
                limit,
            },
            DescriptorTables::Many => Self {
                count: usize::try_from(tables_for(connections, limit))
                    .unwrap_or(usize::MAX)
                    .max(least),
                room: Room::AtMost(connections_per_table(limit)),
                limit,
            },
        })
    }

    /// The tables of a client.
    pub(super) fn for_client(
        spec: &ClientSpec,
        connections: u64,
    ) -> Result<ClientLayout, EngineError> {
        let window = usize::try_from(spec.in_flight).unwrap_or(usize::MAX).max(1);
        let dialers = match (spec.tables, spec.dialers) {
            (DescriptorTables::One, _) => 1,
            (DescriptorTables::Many, Some(dialers)) => usize::try_from(dialers).unwrap_or(window),
            (DescriptorTables::Many, None) => {
                thread::available_parallelism().map_or(1, |cores| cores.get().min(MOST_DIALERS))
            }
        };
        let dialers = dialers.clamp(1, window);
        Ok(ClientLayout {
            layout: Self::new(spec.tables, connections, dialers)?,
            dialers,
            window: window / dialers,
        })
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
        let size = (first + connections + RESERVED_DESCRIPTORS / 2).min(self.limit);
        // Growing is for speed only: a table that could not be grown at once grows by itself, or meets its limit then.
        let _ = fdtable::grow(u32::try_from(size).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_ordinary_program_has_one_table_whatever_is_asked() {
        let layout =
            Layout::for_limit(DescriptorTables::One, 1_024_000, 4, 1024).expect("there is room");
        assert_eq!(layout.count, 1);
        assert!(layout.room.is_left(u64::MAX));
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
            let Room::AtMost(room) = layout.room else { panic!("many tables are bounded") };
            prop_assert!(layout.count as u64 * room >= connections);
            prop_assert!(room + RESERVED_DESCRIPTORS <= limit);
            prop_assert!(layout.count >= least);
            prop_assert!(layout.room.is_left(room - 1) && !layout.room.is_left(room));
        }
    }
}
