//! What is wrong with a scenario: every error, each with its place, the line it stands on, a caret, and what to do.

use std::fmt;

use serde::Serialize;

use super::tree::Place;

/// Everything that is wrong with a scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
pub struct ScenarioErrors {
    /// The file, as it was named.
    pub file: String,
    /// The errors, in the order of their places. Never empty.
    pub errors: Vec<ScenarioError>,
}

/// One error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScenarioError {
    /// Where.
    pub origin: Origin,
    /// The key, dotted from the top; empty for the document itself.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Where an error stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The file as a whole.
    File,
    /// A place in the file.
    Line {
        /// Counted from 1.
        line: usize,
        /// Counted from 1, in characters.
        column: usize,
        /// Characters that are meant.
        length: usize,
        /// The line itself.
        text: String,
    },
    /// Something on the command line.
    Override {
        /// As it was given, such as `--set hold=60`.
        given_as: String,
    },
}

impl Origin {
    /// The origin of `place` in `text`, where overrides were given as `given`.
    pub(super) fn of(place: Place, text: &str, given: &[String]) -> Self {
        match place {
            // The built-in scenario has no line to show.
            Place::File { .. } if text.is_empty() => Self::File,
            Place::File {
                line,
                column,
                length,
            } => {
                let text = text
                    .lines()
                    .nth(line - 1)
                    .unwrap_or_default()
                    .trim_end()
                    .to_owned();
                let rest = text.chars().count().saturating_sub(column - 1);
                Self::Line {
                    line,
                    column,
                    length: length.min(rest).max(1),
                    text,
                }
            }
            Place::Override(index) => Self::Override {
                given_as: given.get(index).cloned().unwrap_or_default(),
            },
        }
    }
}

impl ScenarioErrors {
    /// One error about the file as a whole.
    pub(super) fn whole(file: &str, message: impl Into<String>, hint: Option<&str>) -> Self {
        Self {
            file: file.to_owned(),
            errors: vec![ScenarioError {
                origin: Origin::File,
                key: String::new(),
                message: message.into(),
                hint: hint.map(str::to_owned),
            }],
        }
    }

    fn write(&self, error: &ScenarioError, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if error.key.is_empty() {
            String::new()
        } else {
            format!("{}: ", error.key)
        };
        match &error.origin {
            Origin::File => {
                write!(out, "{}: {key}{}", self.file, error.message)?;
                error
                    .hint
                    .iter()
                    .try_for_each(|hint| write!(out, "\n  = {hint}"))
            }
            Origin::Override { given_as } => {
                write!(out, "{given_as}: {key}{}", error.message)?;
                error
                    .hint
                    .iter()
                    .try_for_each(|hint| write!(out, "\n  = {hint}"))
            }
            Origin::Line {
                line,
                column,
                length,
                text,
            } => {
                let gutter = " ".repeat(line.to_string().len());
                // Tabs stay tabs, so that the caret stands below what it points at.
                let before: String = text
                    .chars()
                    .take(column - 1)
                    .map(|c| if c == '\t' { '\t' } else { ' ' })
                    .collect();
                writeln!(out, "{}:{line}:{column}: {key}{}", self.file, error.message)?;
                writeln!(out, "{gutter} |")?;
                writeln!(out, "{line} | {text}")?;
                write!(out, "{gutter} | {before}{}", "^".repeat(*length))?;
                error
                    .hint
                    .iter()
                    .try_for_each(|hint| write!(out, "\n{gutter} = {hint}"))
            }
        }
    }
}

impl fmt::Display for ScenarioErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for error in &self.errors {
            self.write(error, out)?;
            out.write_str("\n\n")?;
        }
        match self.errors.len() {
            1 => write!(out, "1 error in {}", self.file),
            count => write!(out, "{count} errors in {}", self.file),
        }
    }
}
