//! A bound on the lines that a server's output adds to a recording: so many a second, and a burst. What is too much is
//! counted.

use std::time::{Duration, Instant};

/// Lines that may come at once.
const BURST: f64 = 1_000.0;

/// Lines a second that are told for as long as the server writes.
const PER_SECOND: f64 = 100.0;

/// Bytes that count as a line: long ones fill a disk as many short ones do.
const BYTES_AS_A_LINE: f64 = 100.0;

/// Time between two messages on how many lines were left out.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// The bound.
#[derive(Debug)]
pub struct LineLimiter {
    tokens: f64,
    filled: Instant,
    left_out: u64,
    told: Instant,
}

impl LineLimiter {
    /// With a whole burst to spend.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            tokens: BURST,
            filled: now,
            left_out: 0,
            told: now,
        }
    }

    /// What may be told for this line: a sentence on what was left out before, where one is due, and the line itself.
    #[must_use]
    pub fn lines(&mut self, now: Instant, line: String) -> Vec<String> {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + passed * PER_SECOND).min(BURST);
        let cost = (line.len() as f64 / BYTES_AS_A_LINE).max(1.0);
        let may = self.tokens >= cost;
        if may {
            self.tokens -= cost;
        } else {
            self.left_out += 1;
        }
        let due = self.left_out > 0 && now.saturating_duration_since(self.told) >= TELL_EVERY;
        let left_out = due.then(|| {
            self.told = now;
            let left_out = std::mem::take(&mut self.left_out);
            format!("({left_out} lines were left out: the server writes too much)")
        });
        left_out.into_iter().chain(may.then_some(line)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_bounded_and_counted() {
        let begin = Instant::now();
        let mut limiter = LineLimiter::new(begin);
        let (mut told, mut left_out) = (0_u64, 0_u64);
        // 100,000 lines in 10 s.
        for line in 0..100_000_u64 {
            let now = begin + Duration::from_micros(line * 100);
            for text in limiter.lines(now, "line".to_owned()) {
                match text
                    .strip_prefix('(')
                    .and_then(|text| text.split(' ').next())
                {
                    Some(count) => left_out += count.parse::<u64>().expect("a number"),
                    None => told += 1,
                }
            }
        }
        assert!((1_990..=2_001).contains(&told), "{told}");
        assert_eq!(left_out + limiter.left_out + told, 100_000);
        assert!(left_out > 80_000, "{left_out}");
    }

    #[test]
    fn long_lines_are_bounded_by_their_bytes() {
        let begin = Instant::now();
        let mut limiter = LineLimiter::new(begin);
        let mut told = 0;
        // 40 MB in 10 s.
        for line in 0..20_000_u64 {
            let now = begin + Duration::from_micros(line * 500);
            let lines = limiter.lines(now, "x".repeat(2_000));
            told += lines.iter().map(String::len).sum::<usize>();
        }
        assert!((190_000..210_000).contains(&told), "{told}");
    }
}
