//! How many connections and how fast: two numbers that must never be added to each other.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Serialize};

/// A number of connections.
#[derive(
    Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ConnCount(u64);

impl ConnCount {
    /// No connection at all.
    pub const ZERO: Self = Self(0);

    /// `count` connections.
    #[must_use]
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    /// The bare number.
    #[must_use]
    pub const fn count(self) -> u64 {
        self.0
    }

    /// Whether it is none.
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.0 == 0
    }

    /// The difference, or zero where `other` is larger.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The average rate when these were opened within `seconds`; nothing for an empty span.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // 2^53 connections do not fit into any machine
    pub fn per_second(self, seconds: f64) -> Option<ConnRate> {
        (seconds > 0.0).then(|| ConnRate::new(self.0 as f64 / seconds))
    }

    /// As a float, for means and slopes.
    #[must_use]
    #[allow(clippy::cast_precision_loss)] // see `per_second`
    pub const fn as_f64(self) -> f64 {
        self.0 as f64
    }
}

impl Add for ConnCount {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for ConnCount {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Sub for ConnCount {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0 - other.0)
    }
}

impl Sum for ConnCount {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::ZERO, Add::add)
    }
}

/// Grouped by thousands: `1,024,000`.
impl fmt::Display for ConnCount {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() + digits.len() / 3);
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        out.pad(&text)
    }
}

/// Connections per second.
#[derive(Debug, Default, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnRate(f64);

impl ConnRate {
    /// `per_second` connections a second.
    #[must_use]
    pub const fn new(per_second: f64) -> Self {
        Self(per_second)
    }

    /// The bare number, per second.
    #[must_use]
    pub const fn per_second(self) -> f64 {
        self.0
    }
}

impl fmt::Display for ConnRate {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a rate is small and positive
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/s", ConnCount(self.0.round() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_thousands() {
        let shown: Vec<String> = [0, 999, 1000, 64_000, 1_024_000]
            .map(|count| ConnCount::new(count).to_string())
            .to_vec();
        assert_eq!(shown, ["0", "999", "1,000", "64,000", "1,024,000"]);
    }

    #[test]
    fn a_rate_over_no_time_is_unknown() {
        assert_eq!(ConnCount::new(10).per_second(0.0), None);
    }
}
