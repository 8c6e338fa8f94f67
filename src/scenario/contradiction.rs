//! What contradicts itself in a scenario: something that no schema can say.

/// Something that contradicts itself, with the path of the key that says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contradiction {
    /// The keys from the top, such as `server`, `ports`.
    pub(super) path: Vec<String>,
    /// What is wrong, and why.
    pub(super) message: String,
    /// What to do.
    pub(super) hint: Option<String>,
}

impl Contradiction {
    pub(super) fn at(path: &[&str], message: impl Into<String>) -> Self {
        Self {
            path: path.iter().map(ToString::to_string).collect(),
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
