//! What needs root, or a kernel that lets users make namespaces: run by `cargo test --features privileged-tests --test
//! privileged`. It fails where it cannot run; nothing is skipped. Each test works in namespaces of its own.

#[path = "../support/mod.rs"]
mod support;

mod bad_luck;
mod bad_servers;
mod counts;
mod crashes;
mod foreign;
mod found_servers;
mod guard;
mod interrupted;
mod killed;
mod losses;
mod places;
mod plans;
mod safety;
