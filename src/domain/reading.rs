//! A value that was read, or the reason why it could not be: a zero never stands for "unknown".

use serde::{Deserialize, Serialize};

/// Why a value is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// What was tried and what came back, in one sentence.
    pub gap: String,
}

/// A value or a [`Gap`]. In JSON the value stands for itself and a gap is `{"gap": "why"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reading<T> {
    /// It could not be read.
    Missing(Gap),
    /// What was read.
    Present(T),
}

impl<T> Reading<T> {
    /// A gap with its reason.
    pub fn missing(why: impl Into<String>) -> Self {
        Self::Missing(Gap { gap: why.into() })
    }

    /// The value, where there is one.
    pub const fn present(&self) -> Option<&T> {
        match self {
            Self::Present(value) => Some(value),
            Self::Missing(_) => None,
        }
    }

    /// The reason why there is no value, where there is none.
    pub fn gap(&self) -> Option<&str> {
        match self {
            Self::Present(_) => None,
            Self::Missing(gap) => Some(&gap.gap),
        }
    }

    /// The value changed by `change`; a gap stays the gap it is.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Reading<U> {
        match self {
            Self::Present(value) => Reading::Present(change(value)),
            Self::Missing(gap) => Reading::Missing(gap),
        }
    }
}

/// Not read yet.
impl<T> Default for Reading<T> {
    fn default() -> Self {
        Self::missing("not read")
    }
}

impl<T, E: std::fmt::Display> From<Result<T, E>> for Reading<T> {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(value) => Self::Present(value),
            Err(error) => Self::missing(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_survives_json_as_a_gap() {
        let gap: Reading<u64> = Reading::missing("no such file");
        let text = serde_json::to_string(&gap).expect("serialises");
        assert_eq!(text, r#"{"gap":"no such file"}"#);
        assert_eq!(
            serde_json::from_str::<Reading<u64>>(&text).expect("parses"),
            gap
        );
        assert_eq!(
            serde_json::from_str::<Reading<u64>>("0").expect("parses"),
            Reading::Present(0)
        );
    }
}
