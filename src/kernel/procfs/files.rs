//! Files with nothing but numbers: `fs.file-nr`, counts and limits below `/proc/sys`.

use super::{Malformed, number};

/// `fs.file-nr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    /// Files open, whole machine. The kernel counts per processor and may be off by some dozens.
    pub open: u64,
    /// `fs.file-max`.
    pub limit: u64,
}

/// Three numbers: open, unused (0 since Linux 2.6), limit.
pub(super) fn parse(text: &str) -> Result<OpenFiles, Malformed> {
    let mut fields = text.split_ascii_whitespace();
    let open = number(fields.next(), "the number of open files")?;
    let limit = number(fields.nth(1), "the limit of open files")?;
    Ok(OpenFiles { open, limit })
}

/// One number.
pub(super) fn number_alone(text: &str) -> Result<u64, Malformed> {
    number(text.split_ascii_whitespace().next(), "the value")
}
