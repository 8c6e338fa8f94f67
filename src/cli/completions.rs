//! `c1m completions`: completion for a shell, on stdout.

use std::io;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, Exit};

/// Prints completion for a shell.
#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs) -> Exit {
    clap_complete::generate(args.shell, &mut Cli::command(), "c1m", &mut io::stdout());
    Exit::Done
}
