//! What `clean` and `restore` say of what was put back, and whether the host is as it was.

use super::{Exit, Failure, output};
use crate::host::Recovery;

/// Writes lines to stdout, or `otherwise` where there are none.
pub(super) fn say(lines: &[String], before: &str, otherwise: &str) -> Result<Exit, Failure> {
    let mut text = String::new();
    for line in lines {
        text.push_str(before);
        text.push_str(line);
        text.push('\n');
    }
    if text.is_empty() && !otherwise.is_empty() {
        text.push_str(otherwise);
        text.push('\n');
    }
    output::print(&text)?;
    Ok(Exit::Done)
}

/// What was done, a line each; a failure where a live run forbids to do anything.
pub(super) fn notes(recovery: &Recovery) -> Result<Vec<String>, Failure> {
    match recovery {
        Recovery::LiveRun(who) => Err(Failure::new(
            Exit::HostCannot,
            format!("{who}; nothing was touched"),
        )),
        Recovery::Done(_) => Ok(recovery.notes()),
    }
}

/// A failure where something of ours is still on the host.
pub(super) fn still_left(recovery: &Recovery) -> Result<(), Failure> {
    if recovery.leaves_something() {
        return Err(
            Failure::new(Exit::HostChanged, "the host is still changed, see above")
                .with_hint(Some("as the user who ran it: c1m restore")),
        );
    }
    Ok(())
}
