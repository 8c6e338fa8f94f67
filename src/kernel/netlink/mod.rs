//! Netlink: links, addresses, routes and neighbours of a network namespace.

pub mod route;
mod socket;

pub use socket::NetlinkError;
