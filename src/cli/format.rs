//! How data is written to stdout: for people, or for programs.

use clap::ValueEnum;

/// The form of data on stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// One JSON document, or one on each line.
    Json,
    /// A table or a sentence.
    Text,
}
