//! What a worker does in its own place before it starts, where the runner does not reach in: in a container. It adds
//! addresses, keeps the lab's range out of connection tracking, reads settings back, and then gives up every capability.

use std::io;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::control::{Event, VERSION};
use crate::domain::{HostIndex, SettingChange};
use crate::host;
use crate::kernel::netlink::NetlinkError;
use crate::kernel::netlink::nftables::{PacketRules, RulesError};
use crate::kernel::netlink::route::RouteSocket;
use crate::kernel::sys::capability;
use crate::kernel::sysctl::{SettingStore, Sysctl};

/// The table of our rules in a container's namespace, which goes away with it.
const TABLE: &str = "c1m";

/// How many connections this namespace tracks now.
const TRACKED: &str = "net.netfilter.nf_conntrack_count";

/// Why the place could not be finished from within.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// An address could not be added.
    #[error("cannot add address {address} beside {beside}: {source}")]
    Address {
        /// The address.
        address: Ipv4Addr,
        /// The address that tells the interface.
        beside: Ipv4Addr,
        /// What the kernel said.
        source: NetlinkError,
    },
    /// Netlink could not be spoken.
    #[error("cannot speak to the kernel about {about}: {source}")]
    Netlink {
        /// What about.
        about: &'static str,
        /// The errno.
        source: io::Error,
    },
    /// Packet rules could not be put in.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// Packet rules were put in, and are not there when read back.
    #[error(
        "the packet rules that keep {0} out of connection tracking are not there when read back"
    )]
    RulesAbsent(Ipv4Net),
    /// Capabilities could not be given up.
    #[error("cannot give up capabilities before the start: {0}")]
    Capabilities(io::Error),
}

impl PrepareError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Rules(error) => error.hint().map(ToOwned::to_owned),
            _ => None,
        }
    }
}

/// Finishes the place and answers with [`Event::Prepared`]. Called while the process has one thread only, because
/// capabilities are given up by a thread, for itself and those that it makes.
pub(super) fn prepare(
    addresses: &[(Ipv4Addr, Ipv4Addr)],
    untrack: Option<Ipv4Net>,
    settings: &[SettingChange],
) -> Result<Event, PrepareError> {
    if !addresses.is_empty() {
        add(addresses)?;
    }
    if let Some(range) = untrack {
        keep_out_of_tracking(range)?;
    }
    capability::give_up_all().map_err(PrepareError::Capabilities)?;
    let store = Sysctl::system();
    Ok(Event::Prepared {
        version: VERSION,
        settings: host::look_at_all(settings, None::<HostIndex>, &store),
        conntrack_entries: store.read(TRACKED).ok().and_then(|text| text.parse().ok()),
    })
}

fn add(addresses: &[(Ipv4Addr, Ipv4Addr)]) -> Result<(), PrepareError> {
    let mut route = RouteSocket::open().map_err(|source| PrepareError::Netlink {
        about: "addresses",
        source,
    })?;
    for (address, beside) in addresses {
        let failed = |source| PrepareError::Address {
            address: *address,
            beside: *beside,
            source,
        };
        let link = route.link_with(*beside).map_err(failed)?;
        let known = route.addresses().map_err(failed)?;
        let prefix = known
            .iter()
            .find(|known| known.network.addr() == *beside)
            .map_or(32, |known| known.network.prefix_len());
        let network = Ipv4Net::new_assert(*address, prefix);
        route.add_address(link, network).map_err(failed)?;
    }
    Ok(())
}

fn keep_out_of_tracking(range: Ipv4Net) -> Result<(), PrepareError> {
    let mut rules = PacketRules::open().map_err(|source| PrepareError::Netlink {
        about: "packet rules",
        source,
    })?;
    rules.untrack(TABLE, range)?;
    if rules.rules(TABLE)?.is_empty() {
        return Err(PrepareError::RulesAbsent(range));
    }
    Ok(())
}
