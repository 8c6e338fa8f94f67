//! The command line: one file per verb. Data goes to stdout, logs and progress to stderr.

mod exit;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

pub use exit::Exit;

/// The million-connection lab: how many connections will this server hold, what does each cost and where, which limit
/// comes first, and is what I read about it true?
#[derive(Debug, Parser)]
#[command(name = "c1m", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// A verb with its arguments. Each has a file of its own in this folder.
#[derive(Debug, Subcommand)]
enum Verb {}

/// Parses the command line, does what it says, and tells how to exit.
#[must_use]
pub fn main(arguments: impl Iterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let help = !error.use_stderr();
            // Nothing can be done when even the usage message cannot be written.
            let _ = error.print();
            return if help { Exit::Done } else { Exit::Usage };
        }
    };
    match cli.verb {}
}
