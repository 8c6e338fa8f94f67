//! A scenario file becomes a [`Scenario`]: YAML with units, every error at once with its place in the file, and a JSON
//! schema generated from the same types.

mod check;
mod contradiction;
mod error;
mod groups;
mod load;
mod model;
mod protocol;
mod quantity;
mod raw;
mod raw_settings;
mod resolve;
mod schema;
mod server;
mod settings;
mod shipped;
mod subject;
mod suggest;
mod tree;
mod write;

pub use error::{Origin, ScenarioError, ScenarioErrors};
pub use groups::DEFAULT_CONNECTIONS;
pub use load::{DEFAULT_NAME, Override, built_in, load, parse};
pub use model::{ClientGroup, NetworkRequest, PlaceRequest, Ramp, Scenario, ServerPart};
pub use protocol::protocol_text;
pub use quantity::{read_count, read_duration};
pub use schema::schema;
pub use settings::{KNOWN_SETTINGS, KnownSetting, known_setting};
pub use shipped::{SHIPPED, Shipped, TEMPLATE, find};
pub use write::to_yaml;

/// The scenario of a run without a file or any flag: 1,024,000 connections, or as many as fit.
///
/// # Panics
/// Never: the defaults do not contradict each other.
#[must_use]
pub fn built_in_default() -> Scenario {
    built_in(&[]).expect("defaults do not contradict each other")
}
