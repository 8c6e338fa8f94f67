//! From a recording to a report: figures, text, charts. Everything but [`write_all`] is pure.

mod analyse;
mod charts;
mod headline;
mod markdown;
mod model;
mod number;
mod text;
mod write;

pub use analyse::analyse;
pub use charts::{Chart, ChartError, charts};
pub use markdown::markdown;
pub use model::*;
pub use text::{limit_text, text};
pub use write::{ReportError, damage, render, result, write, write_all};

#[cfg(test)]
mod test_recordings;
#[cfg(test)]
mod tests;
