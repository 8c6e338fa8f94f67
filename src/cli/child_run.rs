//! A run as a process of its own, for verbs that start several: what an earlier run has left in this process cannot matter to
//! it, and a user namespace is entered by a process of one thread only.

use std::env;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};

use super::progress::ProgressChoice;
use crate::provision::ask_to_end;
use crate::run::Interrupt;
use crate::scenario::{self, Scenario};

/// The variable that such a run gets: the others say what the scenario says already.
const KEPT_VARIABLE: &str = "C1M_RUNTIME_DIR";

/// What is started.
pub(super) struct ChildRun<'a> {
    /// What it runs; it reads this from its standard input.
    pub(super) scenario: &'a Scenario,
    /// Where its directory goes.
    pub(super) results: &'a Path,
    /// How it tells how far it is, on the standard error that it shares with this process.
    pub(super) progress: ProgressChoice,
    /// Whether it may change settings of the host.
    pub(super) allow_host_settings: bool,
    /// A variable of its environment.
    pub(super) environment: Option<(&'static str, &'static str)>,
}

/// Time between two looks whether a run has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl ChildRun<'_> {
    /// Runs it to its end. A signal is passed on, because the run is in a process group of its own. Returns how it ended,
    /// and what it printed.
    pub(super) fn run(&self, interrupt: &Interrupt) -> anyhow::Result<(ExitStatus, String)> {
        let mut child = self.start()?;
        let mut stdout = child.stdout.take().context("a run has no output")?;
        let reader = thread::spawn(move || {
            let mut said = String::new();
            stdout.read_to_string(&mut said).map(|_| said)
        });
        let mut passed_on = false;
        let status = loop {
            if let Some(status) = child.try_wait().context("cannot wait for a run")? {
                break status;
            }
            if interrupt.signal().is_some() && !passed_on {
                passed_on = true;
                ask_to_end(child.id()).context("cannot end a run")?;
            }
            thread::sleep(LOOK_EVERY);
        };
        let said = reader.join().map_err(|_| anyhow!("the reader panicked"))?;
        Ok((status, said.context("cannot read what a run said")?))
    }

    fn start(&self) -> anyhow::Result<Child> {
        let text = scenario::to_yaml(self.scenario).context("cannot write the scenario")?;
        let program = env::current_exe().context("cannot find the program itself")?;
        let mut command = Command::new(program);
        command
            .args(["run", "/dev/stdin", "--progress", self.progress.name()])
            .arg("--results-dir")
            .arg(self.results)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A signal of the terminal would reach it a second time beside the one that is passed on, and a second signal
            // ends a run at once.
            .process_group(0);
        if self.allow_host_settings {
            command.arg("--allow-host-settings");
        }
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("C1M_") && text != KEPT_VARIABLE {
                command.env_remove(&name);
            }
        }
        command.envs(self.environment);
        let mut child = command.spawn().context("cannot start a run")?;
        if let Some(mut stdin) = child.stdin.take() {
            // A run that ended before it read its scenario says why itself.
            let _ = stdin.write_all(text.as_bytes());
        }
        Ok(child)
    }
}

/// The directory in what a run says last: `report: PATH`, of the page or of the directory itself.
pub(super) fn directory_in(said: &str) -> Option<PathBuf> {
    let path = said
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("report: "))?;
    let path = PathBuf::from(path);
    if path.is_dir() {
        Some(path)
    } else {
        path.parent().map(Path::to_path_buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_is_in_what_a_run_says_last() {
        let said = "HELD\nreport: a/b/report.md\n";
        assert_eq!(directory_in(said), Some(PathBuf::from("a/b")));
        assert_eq!(directory_in("nothing"), None);
    }
}
