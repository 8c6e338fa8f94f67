//! Where each connection comes from and goes to. Sources are arithmetic over the shards: the connection with number n has
//! its shard and port by division, and nothing is stored for it.

use std::io;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicU32, Ordering};

use super::EngineError;
use crate::domain::{PortChoice, Shard};
use crate::kernel::sys::fdtable::Descriptor;
use crate::kernel::sys::socket::{self, RawAddress};

/// The shards of a client.
#[derive(Debug)]
pub(super) struct Sources {
    shards: Vec<Source>,
    /// How source ports are chosen.
    pub(super) choice: PortChoice,
    /// Whether a local address and port may serve several targets, which the kernel allows only with `SO_REUSEADDR`.
    pub(super) shared_ports: bool,
    total: u64,
}

/// One shard with what is kept for it.
#[derive(Debug)]
pub(super) struct Source {
    /// The shard.
    pub(super) shard: Shard,
    /// Its target, as the kernel takes it.
    pub(super) target: RawAddress,
    /// Number of its first connection.
    first: u64,
    /// Spare ports used so far.
    spare_used: AtomicU32,
}

impl Source {
    /// The next of the ports that the shard's count leaves over, each given out once; nothing when all are used.
    pub(super) fn spare_port(&self) -> Option<u16> {
        let used = self
            .spare_used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(1)
            });
        let index = self.shard.count.checked_add(used.ok()?)?;
        self.shard.ports.port(index)
    }
}

/// One connection to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attempt {
    /// Which shard.
    pub(super) shard: usize,
    /// Its port where ports are explicit.
    pub(super) port: u16,
}

impl Sources {
    pub(super) fn new(shards: &[Shard], choice: PortChoice) -> Result<Self, EngineError> {
        let mut first = 0;
        let mut sources = Vec::with_capacity(shards.len());
        for shard in shards {
            if choice == PortChoice::Explicit && shard.count > shard.ports.len() {
                return Err(EngineError::ShardTooLarge {
                    from: shard.source,
                    count: shard.count,
                    ports: shard.ports.len(),
                });
            }
            sources.push(Source {
                shard: *shard,
                target: RawAddress::new(shard.target),
                first,
                spare_used: AtomicU32::new(0),
            });
            first += u64::from(shard.count);
        }
        let overlap = |a: &Shard, b: &Shard| {
            a.source == b.source
                && a.ports.first() <= b.ports.last()
                && b.ports.first() <= a.ports.last()
        };
        let shared_ports = shards
            .iter()
            .enumerate()
            .any(|(index, a)| shards[index + 1..].iter().any(|b| overlap(a, b)));
        Ok(Self {
            shards: sources,
            choice,
            shared_ports,
            total: first,
        })
    }

    /// The source with this index.
    pub(super) fn source(&self, shard: usize) -> &Source {
        &self.shards[shard]
    }

    /// Binds a new socket as the choice of ports wants it; `port` counts where ports are explicit.
    pub(super) fn bind(&self, socket: Descriptor, source: &Source, port: u16) -> io::Result<()> {
        let address = |port| SocketAddrV4::new(source.shard.source, port);
        match self.choice {
            PortChoice::Explicit => {
                if self.shared_ports {
                    socket::reuse_address(socket)?;
                }
                socket::bind(socket, address(port))
            }
            PortChoice::Range => {
                socket::bind_address_only(socket)?;
                socket::local_port_range(socket, source.shard.ports)?;
                socket::bind(socket, address(0))
            }
            PortChoice::NoPort => {
                socket::bind_address_only(socket)?;
                socket::bind(socket, address(0))
            }
            PortChoice::Kernel => socket::bind(socket, address(0)),
        }
    }

    /// Whether another port may help: the chosen one is held by a socket that is not ours. EADDRNOTAVAIL is what
    /// connect(2) says when address and port are bound, but their connection to this target exists.
    pub(super) fn is_port_taken(&self, error: &io::Error) -> bool {
        self.choice == PortChoice::Explicit
            && (error.kind() == io::ErrorKind::AddrInUse
                || (error.kind() == io::ErrorKind::AddrNotAvailable && self.shared_ports))
    }

    /// How many connections there are in all.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// The connections of table `index` of `count`: an even part, without a gap to its neighbours.
    pub(super) fn part(&self, index: usize, count: usize) -> Cursor<'_> {
        let bound = |index: usize| {
            let share = u128::from(self.total) * index as u128 / count as u128;
            u64::try_from(share).unwrap_or(u64::MAX)
        };
        let next = bound(index);
        let shard = self
            .shards
            .partition_point(|source| source.first + u64::from(source.shard.count) <= next);
        Cursor {
            sources: self,
            shard,
            next,
            end: bound(index + 1),
        }
    }
}

/// Walks over connections in order.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    sources: &'a Sources,
    shard: usize,
    next: u64,
    end: u64,
}

impl Cursor<'_> {
    /// How many are left.
    pub(super) const fn left(&self) -> u64 {
        self.end - self.next
    }

    /// The number of the next one among all of the client.
    pub(super) const fn position(&self) -> u64 {
        self.next
    }
}

impl Iterator for Cursor<'_> {
    type Item = Attempt;

    fn next(&mut self) -> Option<Attempt> {
        if self.next >= self.end {
            return None;
        }
        let mut source = self.sources.shards.get(self.shard)?;
        while self.next >= source.first + u64::from(source.shard.count) {
            self.shard += 1;
            source = self.sources.shards.get(self.shard)?;
        }
        let index = u32::try_from(self.next - source.first).unwrap_or(u32::MAX);
        self.next += 1;
        Some(Attempt {
            shard: self.shard,
            // Without explicit ports a shard may be larger than its range; the port is not used then.
            port: source.shard.ports.port(index).unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::PortRange;

    fn shard(last: u8, count: u32) -> Shard {
        Shard {
            source: Ipv4Addr::new(127, 0, 1, last),
            target: SocketAddrV4::new(Ipv4Addr::LOCALHOST, 8000),
            ports: PortRange::new(2000, 2099).expect("a range"),
            count,
        }
    }

    #[test]
    fn spare_ports_begin_behind_the_planned_ones_and_end() {
        let sources = Sources::new(&[shard(1, 98)], PortChoice::Explicit).expect("fits");
        let spare: Vec<_> = (0..3).map(|_| sources.source(0).spare_port()).collect();
        assert_eq!(spare, [Some(2098), Some(2099), None]);
    }

    #[test]
    fn a_shard_with_more_connections_than_ports_is_refused() {
        assert!(Sources::new(&[shard(1, 101)], PortChoice::Explicit).is_err());
        assert!(Sources::new(&[shard(1, 101)], PortChoice::Kernel).is_ok());
    }

    #[test]
    fn two_targets_behind_one_source_share_its_ports() {
        let mut other = shard(1, 5);
        other.target.set_port(8001);
        let sources = Sources::new(&[shard(1, 5), other], PortChoice::Explicit).expect("fits");
        assert!(sources.shared_ports);
        let sources = Sources::new(&[shard(1, 5), shard(2, 5)], PortChoice::Explicit);
        assert!(!sources.expect("fits").shared_ports);
    }

    proptest! {
        #[test]
        fn the_parts_together_are_every_connection_once(
            counts in proptest::collection::vec(0_u32..=100, 0..8), tables in 1_usize..20
        ) {
            let shards: Vec<Shard> = counts
                .iter()
                .zip(1_u8..)
                .map(|(count, last)| shard(last, *count))
                .collect();
            let sources = Sources::new(&shards, PortChoice::Explicit).expect("fits");
            let mut seen = HashSet::new();
            for table in 0..tables {
                for attempt in sources.part(table, tables) {
                    prop_assert!(seen.insert((attempt.shard, attempt.port)));
                    prop_assert!(sources.source(attempt.shard).shard.ports.contains(attempt.port));
                }
            }
            prop_assert_eq!(seen.len() as u64, sources.total());
        }
    }
}
