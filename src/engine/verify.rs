//! Proving connections alive: which ones, by which bytes, and the sum of what came of it over all tables.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::latency::Latency;
use crate::domain::{ConnCount, LossReason, VerifyReport, VerifyShare};

/// Bytes of a token.
pub(super) const TOKEN: usize = 16;

/// The errno of bytes that came back changed (EBADMSG).
pub(super) const WRONG_BYTES: LossReason = LossReason::Other(74);

/// Examples told of connections that failed or were silent.
const EXAMPLES: usize = 8;

/// Numbers of rounds, unique in this process.
static ROUNDS: AtomicU64 = AtomicU64::new(1);

/// One round of echoes through the tables of a client.
#[derive(Debug)]
pub(super) struct Round {
    /// Its number, ascending.
    pub(super) number: u64,
    /// How long an echo may take.
    pub(super) timeout: Duration,
    /// Tells this round's tokens from those of others, whose echoes may still be under way.
    nonce: u64,
    /// Connections to ask in each table.
    quotas: Vec<u64>,
    /// Tables that are not through.
    left: AtomicUsize,
    /// Microseconds that all tables together may still wait for windows that do not move.
    stall_budget: AtomicU64,
    sum: Mutex<Findings>,
}

/// What a table found.
#[derive(Debug)]
pub(super) struct Findings {
    /// Connections asked.
    pub(super) asked: u64,
    /// Those that answered rightly.
    pub(super) echoed: u64,
    /// Those that did not answer.
    pub(super) silent: u64,
    /// Those that failed.
    pub(super) failed: BTreeMap<LossReason, u64>,
    /// The first that failed or were silent.
    pub(super) examples: Vec<SocketAddrV4>,
    /// Round trips.
    pub(super) latency: Latency,
}

impl Findings {
    pub(super) fn new() -> Self {
        Self {
            asked: 0,
            echoed: 0,
            silent: 0,
            failed: BTreeMap::new(),
            examples: Vec::new(),
            latency: Latency::new(),
        }
    }

    /// Counts one that failed.
    pub(super) fn fail(&mut self, reason: LossReason, example: Option<SocketAddrV4>) {
        *self.failed.entry(reason).or_insert(0) += 1;
        self.example(example);
    }

    /// Counts one that did not answer in time.
    pub(super) fn be_silent(&mut self, example: Option<SocketAddrV4>) {
        self.silent += 1;
        self.example(example);
    }

    fn example(&mut self, example: Option<SocketAddrV4>) {
        if self.examples.len() < EXAMPLES {
            self.examples.extend(example);
        }
    }

    fn add(&mut self, other: Self) {
        self.asked += other.asked;
        self.echoed += other.echoed;
        self.silent += other.silent;
        for (reason, count) in other.failed {
            *self.failed.entry(reason).or_insert(0) += count;
        }
        self.examples.extend(other.examples);
        self.examples.truncate(EXAMPLES);
        self.latency.add(&other.latency);
    }

    fn report(&mut self) -> VerifyReport {
        VerifyReport {
            asked: ConnCount::new(self.asked),
            echoed: ConnCount::new(self.echoed),
            failed: std::mem::take(&mut self.failed).into_iter().collect(),
            silent: ConnCount::new(self.silent),
            examples: std::mem::take(&mut self.examples),
            latency: self.latency.take(),
        }
    }
}

impl Round {
    /// A round through tables that hold so many connections each.
    pub(super) fn new(share: VerifyShare, timeout: Duration, held: &[u64]) -> Self {
        let number = ROUNDS.fetch_add(1, Ordering::Relaxed);
        let clock = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            number,
            timeout,
            // Not a secret: it has to differ from other rounds of this and of other workers.
            nonce: (u64::from(std::process::id()) << 32)
                ^ number
                ^ u64::from(clock.subsec_nanos()).rotate_left(17),
            quotas: quotas(share, held),
            left: AtomicUsize::new(held.len()),
            stall_budget: AtomicU64::new(u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX)),
            sum: Mutex::new(Findings::new()),
        }
    }

    /// Connections to ask in table `index`.
    pub(super) fn quota(&self, index: usize) -> u64 {
        self.quotas.get(index).copied().unwrap_or(0)
    }

    /// The bytes for one connection.
    pub(super) fn token(&self, table: usize, connection: u32) -> [u8; TOKEN] {
        let mut token = [0; TOKEN];
        token[..8].copy_from_slice(&self.nonce.to_be_bytes());
        token[8..12].copy_from_slice(&u32::try_from(table).unwrap_or(u32::MAX).to_be_bytes());
        token[12..].copy_from_slice(&connection.to_be_bytes());
        token
    }

    /// Whether these bytes are a token of another round: an echo that came too late for it.
    pub(super) fn is_stale(&self, token: &[u8; TOKEN]) -> bool {
        token[..8] != self.nonce.to_be_bytes()
    }

    /// Takes from the time that all tables together may wait for windows that do not move. Without such a bound a server
    /// that never answers would cost the timeout for each window of each table.
    pub(super) fn spend_stall(&self, spent: Duration) {
        let spent = u64::try_from(spent.as_micros()).unwrap_or(u64::MAX);
        // The closure never returns nothing.
        let _ = self
            .stall_budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some(left.saturating_sub(spent))
            });
    }

    /// What is left of it.
    pub(super) fn stall_left(&self) -> Duration {
        Duration::from_micros(self.stall_budget.load(Ordering::Relaxed))
    }

    /// Adds what a table found. The last table gets the report.
    pub(super) fn finish(&self, findings: Findings) -> Option<VerifyReport> {
        let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
        sum.add(findings);
        (self.left.fetch_sub(1, Ordering::AcqRel) == 1).then(|| sum.report())
    }

    /// The report of a round that nobody took part in.
    pub(super) fn into_report(self) -> VerifyReport {
        self.sum
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .report()
    }
}

/// Whether connection number `index` of `held` is among the `quota` that are spread evenly over them.
pub(super) fn chosen(index: u64, quota: u64, held: u64) -> bool {
    if quota >= held {
        return true;
    }
    let mark = |index: u64| u128::from(index) * u128::from(quota) / u128::from(held);
    mark(index) != mark(index + 1)
}

/// How many connections of each table to ask, so that they are spread evenly over all.
fn quotas(share: VerifyShare, held: &[u64]) -> Vec<u64> {
    let total: u64 = held.iter().sum();
    let wanted = match share {
        VerifyShare::All => total,
        VerifyShare::None => 0,
        VerifyShare::Sample(count) => u64::from(count.get()).min(total),
    };
    let mut before = 0;
    held.iter()
        .map(|held| {
            let mark = |index: u64| {
                let mark = u128::from(index) * u128::from(wanted) / u128::from(total.max(1));
                u64::try_from(mark).unwrap_or(u64::MAX)
            };
            let quota = mark(before + held) - mark(before);
            before += held;
            quota
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tokens_differ_by_table_connection_and_round() {
        let round = |_| Round::new(VerifyShare::All, Duration::from_secs(1), &[1]);
        let (one, other) = (round(0), round(1));
        assert_ne!(one.token(0, 1), one.token(1, 0));
        assert!(other.is_stale(&one.token(0, 1)));
        assert!(!one.is_stale(&one.token(7, 9)));
    }

    proptest! {
        #[test]
        fn a_sample_has_exactly_its_size(
            held in proptest::collection::vec(0_u64..500, 1..10), wanted in 1_u32..3000
        ) {
            let wanted = NonZeroU32::new(wanted).expect("not zero");
            let quotas = quotas(VerifyShare::Sample(wanted), &held);
            let total: u64 = held.iter().sum();
            prop_assert_eq!(quotas.iter().sum::<u64>(), u64::from(wanted.get()).min(total));
            for (quota, held) in quotas.iter().zip(&held) {
                let chosen = (0..*held).filter(|index| chosen(*index, *quota, *held)).count();
                prop_assert_eq!(chosen as u64, *quota);
            }
        }
    }
}
