//! What a plan needs against what is there: one row for each limit, and a shortfall where the row does not fit.

use serde::{Deserialize, Serialize};

use super::{Bytes, ConnCount};

/// How a row binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binding {
    /// The kernel refuses beyond it.
    Hard,
    /// Shown because people ask; it does not bind this plan (the note says why).
    Information,
}

/// One limit: what the plan needs, what there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BudgetRow {
    /// A short fixed name for programs: `memory`, `four_tuples`, `descriptors`, `files`, `epoll_watches`, `neighbours`,
    /// `conntrack`.
    pub id: String,
    /// The name for people.
    pub name: String,
    /// What is needed, in `unit`.
    pub need: u64,
    /// What is there; absent where it is not limited or could not be read.
    pub have: Option<u64>,
    /// `bytes`, `connections`, `files`, `entries`.
    pub unit: String,
    /// Where the two figures come from.
    pub source: String,
    /// Whether it binds.
    pub binding: Binding,
    /// What is worth knowing about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl BudgetRow {
    /// A figure of this row as people read it: bytes with their unit, anything else grouped by thousands.
    #[must_use]
    pub fn shown(&self, figure: u64) -> String {
        if self.unit == "bytes" {
            Bytes::new(figure).to_string()
        } else {
            ConnCount::new(figure).to_string()
        }
    }

    /// Whether what is there suffices, or nothing bounds it.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.binding == Binding::Information || self.have.is_none_or(|have| have >= self.need)
    }
}

/// A limit that the plan exceeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortfall {
    /// The row that does not fit.
    pub row: BudgetRow,
    /// How many connections this limit alone would let through.
    pub fits: u64,
    /// The command or the change that cures it.
    pub cure: String,
}
