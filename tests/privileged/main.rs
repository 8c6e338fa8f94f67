//! What needs root, or a kernel that lets users make namespaces: run by `cargo test --features privileged-tests --test
//! privileged`. It fails where it cannot run; nothing is skipped. Each test works in namespaces of its own.

mod counts;
mod crashes;
mod places;
mod plans;
