//! `c1m init`: a commented scenario file to begin with.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::fchown;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::caller::caller;
use super::{Exit, Failure, output};
use crate::scenario::TEMPLATE;

/// Writes a scenario file with every key, its default and what it means. Never writes over a file.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The name of the file; `.yaml` is added where it is missing.
    #[arg(value_name = "NAME", default_value = "scenario")]
    name: PathBuf,
}

pub(super) fn run(args: &InitArgs) -> Result<Exit, Failure> {
    let path = with_extension(&args.name);
    let shown = path.display();
    let mut file = match File::create_new(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(
                Failure::new(Exit::Failed, format!("{shown} is there already"))
                    .with_hint(Some("name another file: c1m init NAME")),
            );
        }
        Err(error) => {
            return Err(Failure::new(
                Exit::Failed,
                format!("cannot make {shown}: {error}"),
            ));
        }
    };
    file.write_all(TEMPLATE.as_bytes())
        .with_context(|| format!("cannot write {shown}"))?;
    if let Some(owner) = caller() {
        fchown(&file, Some(owner.uid), Some(owner.gid))
            .with_context(|| format!("cannot give {shown} to user {}", owner.uid))?;
    }
    let said = format!("wrote {shown}; next: c1m plan {shown}\n");
    output::print(&said)?;
    Ok(Exit::Done)
}

fn with_extension(name: &Path) -> PathBuf {
    let is = |end: &str| name.extension().is_some_and(|found| found == end);
    if is("yaml") || is("yml") {
        return name.to_owned();
    }
    let mut name = name.as_os_str().to_owned();
    name.push(".yaml");
    PathBuf::from(name)
}
