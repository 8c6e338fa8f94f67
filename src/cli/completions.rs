//! `c1m completions`: completion for a shell, on stdout.

use std::io;

use clap::Args;
use clap_complete::Shell;

use super::{Exit, command};

/// Prints completion for a shell.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Exit {
    clap_complete::generate(args.shell, &mut command(), "c1m", &mut io::stdout());
    Exit::Done
}
