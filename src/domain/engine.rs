//! What a kind of engine costs for each connection, and how many connections fit into a descriptor table. The plan computes
//! its budgets from this, and the engines lay out their tables by it.

use super::{EngineKind, Service};

/// Numbers of a descriptor table that connections do not get: standard streams, listeners, epoll, an eventfd, files of
/// /proc, and some to spare.
pub const RESERVED_DESCRIPTORS: u64 = 64;

/// No descriptor table is made larger than this although the limit would allow it. With several tables, several threads
/// look after connections, send echoes and drain at once.
pub const LARGEST_TABLE: u64 = 65_536;

/// Descriptors of one table where there may be several, under this `RLIMIT_NOFILE`.
#[must_use]
pub const fn table_size(limit: u64) -> u64 {
    if limit < LARGEST_TABLE {
        limit
    } else {
        LARGEST_TABLE
    }
}

/// Connections that fit into one table where there may be several. At least 1, so that it can be divided by.
#[must_use]
pub const fn connections_per_table(limit: u64) -> u64 {
    let room = table_size(limit).saturating_sub(RESERVED_DESCRIPTORS);
    if room == 0 { 1 } else { room }
}

/// Tables that so many connections need. At least 1.
#[must_use]
pub const fn tables_for(connections: u64, limit: u64) -> u64 {
    let tables = connections.div_ceil(connections_per_table(limit));
    if tables == 0 { 1 } else { tables }
}

/// What one end of a connection costs beside the kernel's socket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EngineCost {
    /// Bytes of the worker's own memory.
    pub user_bytes: f64,
    /// Epoll watches.
    pub watches: u64,
    /// Descriptors of the worker.
    pub descriptors: u64,
}

/// Own memory of the epoll engine for each connection and side, upwards rounded: it keeps no state per connection.
/// Measured as below: 0.5 bytes on the server's side, 0.3 on the client's.
const EPOLL_USER: f64 = 10.0;

/// Own memory of the tokio engine for each connection of the server: a task with its socket, by the system's allocator. Growth of
/// `RssAnon` and `VmPTE` from the baseline to 50,000 connections, release build, glibc 2.36, `c1m run -n 50000 --place netns --set
/// server.engine=tokio --set clients.engine=tokio`: 881 bytes.
const TOKIO_SERVER: f64 = 885.0;

/// The same of the client, whose tasks wait for the echo too: 1,014 bytes in the same run.
const TOKIO_CLIENT: f64 = 1020.0;

impl EngineKind {
    /// What the client's end costs.
    #[must_use]
    pub const fn client_cost(self) -> EngineCost {
        match self {
            Self::Epoll => EngineCost {
                user_bytes: EPOLL_USER,
                // Losses are found by a sweep of poll(2).
                watches: 0,
                descriptors: 1,
            },
            Self::Tokio => EngineCost {
                user_bytes: TOKIO_CLIENT,
                watches: 1,
                descriptors: 1,
            },
        }
    }

    /// What the server's end costs.
    #[must_use]
    pub const fn server_cost(self, service: Service) -> EngineCost {
        if !service.accepts() {
            return EngineCost {
                user_bytes: 0.0,
                watches: 0,
                descriptors: 0,
            };
        }
        EngineCost {
            user_bytes: match self {
                Self::Epoll => EPOLL_USER,
                Self::Tokio => TOKIO_SERVER,
            },
            watches: service.watches() as u64,
            descriptors: 1,
        }
    }

    /// Whether the engine offers a service. A tokio socket is watched from the moment that it is made.
    #[must_use]
    pub const fn offers(self, service: Service) -> bool {
        match self {
            Self::Epoll => true,
            Self::Tokio => !matches!(service, Service::Accept),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_million_under_a_limit_of_20000_takes_52_tables() {
        assert_eq!(connections_per_table(20_000), 19_936);
        assert_eq!(tables_for(1_024_000, 20_000), 52);
    }

    #[test]
    fn no_limit_and_no_connections_are_no_division_by_zero() {
        assert_eq!(tables_for(0, u64::MAX), 1);
        assert_eq!(tables_for(5, 0), 5);
    }

    #[test]
    fn what_stays_in_the_accept_queue_costs_the_worker_nothing() {
        for engine in [EngineKind::Epoll, EngineKind::Tokio] {
            let cost = engine.server_cost(Service::Queue);
            assert_eq!((cost.watches, cost.descriptors), (0, 0));
        }
        assert_eq!(EngineKind::Epoll.server_cost(Service::Accept).watches, 0);
        assert_eq!(EngineKind::Epoll.server_cost(Service::Echo).watches, 1);
    }
}
