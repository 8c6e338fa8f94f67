//! Netlink: links, addresses, routes and neighbours of a network namespace, and its packet rules.

pub mod nftables;
pub mod route;
mod socket;

pub use socket::NetlinkError;
