//! Where connections come from and go to: port ranges, and the shard, which is one source address with its ports to one
//! target. A connection is told from every other by its four-tuple (source address and port, target address and port).

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use serde::{Deserialize, Serialize};

/// A range of ports, both ends included, never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u16, u16)", into = "(u16, u16)")]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// A range of ports that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PortRangeError {
    /// The first port lies behind the last.
    #[error("port range {0}-{1} is reversed")]
    Reversed(u16, u16),
    /// Port 0 means "any" to the kernel.
    #[error("port 0 cannot be part of a range")]
    Zero,
}

impl PortRange {
    /// Every port that a process without privilege may bind: 1024 to 65535, which is 64,512 ports.
    pub const UNPRIVILEGED: Self = Self {
        first: 1024,
        last: 65_535,
    };

    /// From `first` to `last`, both included.
    ///
    /// # Errors
    /// When the range is reversed or contains port 0.
    pub const fn new(first: u16, last: u16) -> Result<Self, PortRangeError> {
        if first == 0 {
            return Err(PortRangeError::Zero);
        }
        if first > last {
            return Err(PortRangeError::Reversed(first, last));
        }
        Ok(Self { first, last })
    }

    /// The lowest port.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }

    /// How many ports there are.
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // a range is never empty
    pub const fn len(self) -> u32 {
        (self.last - self.first) as u32 + 1
    }

    /// The port at `index`, counted from the first.
    #[must_use]
    pub fn port(self, index: u32) -> Option<u16> {
        let port = u32::from(self.first).checked_add(index)?;
        (port <= u32::from(self.last)).then(|| u16::try_from(port).ok())?
    }

    /// Whether `port` lies inside.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl TryFrom<(u16, u16)> for PortRange {
    type Error = PortRangeError;
    fn try_from((first, last): (u16, u16)) -> Result<Self, Self::Error> {
        Self::new(first, last)
    }
}

impl From<PortRange> for (u16, u16) {
    fn from(range: PortRange) -> Self {
        (range.first, range.last)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.first, self.last)
    }
}

/// Connections planned from one source address to one target: 64,000 of the 64,512 ports that need no privilege. The 512
/// that are left over replace ports that turn out to be in use, and 16 such sources make 1,024,000.
pub const PORTS_PER_SOURCE: u32 = 64_000;

const _: () = assert!(PORTS_PER_SOURCE <= PortRange::UNPRIVILEGED.len());

/// `count` connections from one source address to one target, with the ports they may use. The ports that `count`
/// leaves over are the spare ones, from which a port that turns out to be in use is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// The address that the connections come from.
    pub source: Ipv4Addr,
    /// Where they go.
    pub target: SocketAddrV4,
    /// The source ports that may be used.
    pub ports: PortRange,
    /// How many connections are wanted, at most as many as there are ports.
    pub count: u32,
}

/// The four-tuple budget: how many connections the planned addresses and ports can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FourTuples {
    /// Source addresses.
    pub sources: u64,
    /// Ports of each.
    pub ports_each: u64,
    /// Target addresses and ports.
    pub targets: u64,
}

impl FourTuples {
    /// How many connections can be told apart.
    #[must_use]
    pub const fn total(self) -> u64 {
        self.sources * self.ports_each * self.targets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unprivileged_range_has_64512_ports() {
        assert_eq!(PortRange::UNPRIVILEGED.len(), 64_512);
        assert_eq!(PortRange::UNPRIVILEGED.port(64_511), Some(65_535));
        assert_eq!(PortRange::UNPRIVILEGED.port(64_512), None);
    }

    #[test]
    fn a_reversed_range_and_port_0_are_refused() {
        assert_eq!(PortRange::new(2, 1), Err(PortRangeError::Reversed(2, 1)));
        assert_eq!(PortRange::new(0, 1), Err(PortRangeError::Zero));
        assert!(serde_json::from_str::<PortRange>("[9,3]").is_err());
    }
}
