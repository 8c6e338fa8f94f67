//! Memory in its own unit. /proc/meminfo speaks kB, sockstat speaks pages, cgroups speak bytes: the conversion happens
//! once, in the parser, and from there on the type says which it is.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Serialize};

/// Bytes.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Bytes(u64);

impl Bytes {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// `bytes` bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// From kibibytes, the unit that /proc calls kB.
    #[must_use]
    pub const fn from_kib(kib: u64) -> Self {
        Self(kib.saturating_mul(1024))
    }

    /// From mebibytes.
    #[must_use]
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib.saturating_mul(1024 * 1024))
    }

    /// The bare number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// Whole mebibytes, rounded down, as `free -m` shows them.
    #[must_use]
    pub const fn mib(self) -> u64 {
        self.0 / (1024 * 1024)
    }

    /// The difference, or nothing where `other` is larger.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// This many bytes `times` over.
    #[must_use]
    pub const fn times(self, times: u64) -> Self {
        Self(self.0.saturating_mul(times))
    }

    /// As a float, for means and slopes.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // exact up to 8 PiB
    pub const fn as_f64(self) -> f64 {
        self.0 as f64
    }
}

impl Add for Bytes {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Bytes {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Sum for Bytes {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::ZERO, Add::add)
    }
}

/// In the largest binary unit that leaves at least one whole: `7.9 GiB`, `512 B`.
impl fmt::Display for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] = [
            ("TiB", 1 << 40),
            ("GiB", 1 << 30),
            ("MiB", 1 << 20),
            ("KiB", 1 << 10),
        ];
        let text = UNITS.iter().find(|(_, size)| self.0 >= *size).map_or_else(
            || format!("{} B", self.0),
            |(unit, size)| format!("{:.1} {unit}", self.as_f64() / Self(*size).as_f64()),
        );
        out.pad(&text)
    }
}

/// Pages of memory, of the size that the kernel uses.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Pages(u64);

impl Pages {
    /// `pages` pages.
    #[must_use]
    pub const fn new(pages: u64) -> Self {
        Self(pages)
    }

    /// The bare number of pages.
    #[must_use]
    pub const fn pages(self) -> u64 {
        self.0
    }

    /// In bytes, for pages of `page_size`.
    #[must_use]
    pub const fn to_bytes(self, page_size: Bytes) -> Bytes {
        page_size.times(self.0)
    }
}

/// A bound that may be absent: never a -1, never a huge number that means "none".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit<T> {
    /// Bounded at this value.
    At(T),
    /// Not bounded.
    Unlimited,
}

impl<T: Copy> Limit<T> {
    /// The bound, where there is one.
    #[must_use]
    pub const fn bound(self) -> Option<T> {
        match self {
            Self::At(value) => Some(value),
            Self::Unlimited => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_show_in_the_largest_whole_unit() {
        let shown = [0, 1023, 1024, 1 << 20, 25_274_875_904].map(|n| Bytes::new(n).to_string());
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "23.5 GiB"]);
    }

    #[test]
    fn pages_become_bytes_by_the_size_of_a_page() {
        assert_eq!(
            Pages::new(3).to_bytes(Bytes::from_kib(4)),
            Bytes::new(12_288)
        );
    }
}
