//! The connection that a conversation is on, as far as a protocol has to know it.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Which connection of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// The descriptor table that it is in. Table and number together are unique among those that are open.
    pub table: u32,
    /// Its number in that table.
    pub number: u32,
    /// Its number in its worker, counted from 0, and the same in every conversation. On a server it is 0.
    pub index: u32,
    /// What was said on it before.
    pub past: Past,
    /// The client's and the server's end, where [`Protocol::names_ends`](super::Protocol::names_ends) asks for them.
    pub ends: Option<ConnectionEnds>,
}

/// Both ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionEnds {
    /// The address that the client dialed from.
    pub source: Ipv4Addr,
    /// Where it dialed to.
    pub target: SocketAddrV4,
}

/// What was said on a connection before.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Past {
    /// Nothing.
    #[default]
    New,
    /// Conversations that ended well.
    Used,
    /// A conversation that failed.
    Failed,
}

impl Connection {
    /// A connection that nothing was said on.
    #[must_use]
    pub const fn new(table: u32, number: u32) -> Self {
        Self {
            table,
            number,
            index: 0,
            past: Past::New,
            ends: None,
        }
    }

    /// The address that the client dialed from.
    #[must_use]
    pub fn source(&self) -> Ipv4Addr {
        self.ends.map_or(Ipv4Addr::UNSPECIFIED, |ends| ends.source)
    }
}
