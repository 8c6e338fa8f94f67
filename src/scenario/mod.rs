//! A scenario file becomes a [`Scenario`]: YAML with units, every error at once with its place in the file, and a JSON
//! schema generated from the same types.

mod model;

pub use model::{
    ClientGroup, PlaceWish, Ramp, RemainingOnLoss, Scenario, ServerPart, Threshold, ThresholdKind,
};
