//! `c1m man`: the manual page in roff, on stdout, or one page per verb in a directory.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::{Exit, Failure, command, output};

/// Prints the manual page.
#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// Writes one page per verb into this directory instead.
    #[arg(long, value_name = "DIR", env = "C1M_MAN_DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn run(args: &ManArgs) -> Result<Exit, Failure> {
    match &args.dir {
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command())
                .render(&mut page)
                .context("cannot make the manual page")?;
            output::print(&String::from_utf8_lossy(&page))?;
        }
        Some(dir) => {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
            clap_mangen::generate_to(command(), dir)
                .with_context(|| format!("cannot write manual pages to {}", dir.display()))?;
        }
    }
    Ok(Exit::Done)
}
