//! Which ends of the planned connections have sockets of the kernel that the runner is on. It decides what can be counted
//! here, what memory per connection consists of, and how often one connection stands in the kernel's counters.

use serde::{Deserialize, Serialize};

use super::Role;

/// The ends that are here.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ends {
    /// Server and clients share this kernel.
    #[default]
    Both,
    /// Only the clients: the server is on another machine.
    Client,
    /// Only the server: the clients are on another machine, or have no sockets.
    Server,
}

impl Ends {
    /// Whether the end of `role` has its sockets here.
    #[must_use]
    pub const fn here(self, role: Role) -> bool {
        matches!(
            (self, role),
            (Self::Both, _) | (Self::Client, Role::Client) | (Self::Server, Role::Server)
        )
    }

    /// How many sockets one connection has here.
    #[must_use]
    pub const fn sockets_per_connection(self) -> u64 {
        match self {
            Self::Both => 2,
            Self::Client | Self::Server => 1,
        }
    }

    /// The roles whose ends are here, the server first.
    #[must_use]
    pub fn roles(self) -> Vec<Role> {
        [Role::Server, Role::Client]
            .into_iter()
            .filter(|role| self.here(*role))
            .collect()
    }
}
