//! How a verb fails: an exit code, what went wrong, and what to do about it on a line of its own.

use std::fmt;

use super::Exit;

/// A failure of a verb.
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// A failure with its exit code.
    pub(super) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
            hint: None,
        }
    }

    /// The same with what to do about it.
    pub(super) fn with_hint(self, hint: Option<impl fmt::Display>) -> Self {
        Self {
            hint: hint.map(|hint| hint.to_string()),
            ..self
        }
    }

    /// How the program exits.
    pub(super) const fn exit(&self) -> Exit {
        self.exit
    }
}

/// Everything that has no code of its own is a plain failure, with its chain of causes.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failed, format!("{error:#}"))
    }
}

/// As it stands on stderr, line break included. A message of several lines (errors of a scenario, a refused plan) speaks for
/// itself.
impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.message.trim_end();
        if message.contains('\n') {
            writeln!(out, "{message}")?;
        } else {
            writeln!(out, "error: {message}")?;
        }
        if let Some(hint) = &self.hint {
            writeln!(out, "  hint: {hint}")?;
        }
        Ok(())
    }
}
