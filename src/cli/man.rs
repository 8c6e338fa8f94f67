//! `c1m man`: the manual page in roff, on stdout, or one page per verb in a directory.

use std::fs;
use std::io;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::{Exit, command};

/// Prints the manual page.
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Writes one page per verb into this directory instead.
    #[arg(long, value_name = "DIR", env = "C1M_MAN_DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &ManArgs) -> anyhow::Result<Exit> {
    match &args.dir {
        None => clap_mangen::Man::new(command())
            .render(&mut io::stdout())
            .context("cannot write the manual page to stdout")?,
        Some(dir) => {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
            clap_mangen::generate_to(command(), dir)
                .with_context(|| format!("cannot write manual pages to {}", dir.display()))?;
        }
    }
    Ok(Exit::Done)
}
