//! Netlink: links, addresses, routes and neighbours of a network namespace, its packet rules, and its list of sockets.

mod frame;
pub mod nftables;
pub mod route;
pub mod sock_diag;
mod socket;

pub use socket::NetlinkError;
