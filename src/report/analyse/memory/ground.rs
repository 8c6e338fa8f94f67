//! What the account of memory is built from.

use crate::domain::Reading;

use super::counts::Counts;
use super::{Known, Span};
use crate::report::model::{Part, ProcessRow};

/// What the account is built from.
pub(super) struct Ground<'a> {
    pub(super) span: &'a Span<'a>,
    pub(super) known: Known<'a>,
    pub(super) parts: &'a [Part],
    pub(super) counts: &'a Reading<Counts>,
    pub(super) processes: &'a [ProcessRow],
}
