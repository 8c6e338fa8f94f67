//! A scenario file becomes a [`Scenario`]: YAML with units, every error at once with its place in the file, and a JSON
//! schema generated from the same types.

mod model;
mod quantity;
mod raw;
mod resolve;
mod settings;
mod suggest;

pub use model::{
    ClientGroup, PlaceWish, Ramp, RemainingOnLoss, ReportFormat, Scenario, ServerPart, Threshold,
    ThresholdKind,
};
pub use resolve::DEFAULT_CONNECTIONS;
pub use settings::{KNOWN_SETTINGS, KnownSetting, known_setting};

/// The name of the scenario that no file says.
pub const DEFAULT_NAME: &str = "default";

/// The scenario of a run without a file: 1,024,000 connections, or as many as fit.
#[must_use]
pub fn built_in_default() -> Scenario {
    let raw = raw::RawScenario::default();
    let scenario =
        resolve::resolve(raw, DEFAULT_NAME).expect("defaults do not contradict each other");
    Scenario {
        fit: true,
        ..scenario
    }
}
