//! One task of a client: through which connections it goes, when each exchange begins, and the sum of what came of it over
//! all tables.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::latency::Latency;
use super::pacer::Pacer;
use crate::domain::{
    ByteText, ConnCount, Load, LossReason, Task, VerifyReport, VerifyShare, WrongAnswer,
};
use crate::protocol::{ClientSide, Mistake, Protocol};

/// Examples told of connections that failed or were silent.
const EXAMPLES: usize = 8;

/// Numbers of rounds, unique in this process.
static ROUNDS: AtomicU32 = AtomicU32::new(1);

/// How long nothing may come back before the exchanges under way no longer hold up others. Their answers are still read as
/// they come.
pub(super) const STALL: Duration = Duration::from_millis(100);

/// Longest time between two calls of a protocol for an exchange under way.
pub(super) const TICK: Duration = Duration::from_millis(50);

/// One task through the tables of a client.
#[derive(Debug)]
pub(super) struct Round {
    /// Its number, ascending.
    pub(super) number: u32,
    /// What is said. An engine asks once for each table, and knows nothing more of it.
    pub(super) side: ClientSide,
    /// When each exchange is to begin, where that is planned.
    pacer: Pacer,
    begun: Instant,
    load: Load,
    /// Connections to ask in each table.
    quotas: Vec<u64>,
    /// Tables that are not through.
    left: AtomicUsize,
    /// How long nothing may come back in all tables together.
    patience: Duration,
    /// Microseconds left of it.
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
    /// One wrong answer of each kind.
    answers: Vec<WrongAnswer>,
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
            answers: Vec::new(),
            latency: Latency::new(),
        }
    }

    /// Counts one that failed.
    pub(super) fn fail(&mut self, reason: LossReason, example: Option<SocketAddrV4>) {
        *self.failed.entry(reason).or_insert(0) += 1;
        self.example(example);
    }

    /// Counts one that went wrong by what was read last. Of that only the beginning is kept.
    pub(super) fn mistake<P: Protocol>(
        &mut self,
        protocol: &P,
        mistake: Mistake,
        read: &[u8],
        example: Option<SocketAddrV4>,
    ) {
        if self.answers.len() < EXAMPLES {
            let answer = WrongAnswer {
                reason: mistake.reason(),
                local: example,
                expected: protocol.expected(mistake),
                got: ByteText::from_bytes(&read[..read.len().min(WrongAnswer::MOST_BYTES)]),
            };
            self.answer(answer);
        }
        if mistake.is_silence() {
            self.be_silent(example);
        } else {
            self.fail(mistake.reason(), example);
        }
    }

    fn answer(&mut self, answer: WrongAnswer) {
        let known = self.answers.iter().any(|other| other.is_like(&answer));
        if !known && self.answers.len() < EXAMPLES {
            self.answers.push(answer);
        }
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

    /// Those asked that did not answer rightly.
    pub(super) fn not_answered(&self) -> u64 {
        self.silent + self.failed.values().sum::<u64>()
    }

    pub(super) fn add(&mut self, other: Self) {
        self.asked += other.asked;
        self.echoed += other.echoed;
        self.silent += other.silent;
        for (reason, count) in other.failed {
            *self.failed.entry(reason).or_insert(0) += count;
        }
        self.examples.extend(other.examples);
        self.examples.truncate(EXAMPLES);
        for answer in other.answers {
            self.answer(answer);
        }
        self.latency.add(&other.latency);
    }

    fn report(&mut self, load: Load) -> VerifyReport {
        VerifyReport {
            asked: ConnCount::new(self.asked),
            echoed: ConnCount::new(self.echoed),
            failed: std::mem::take(&mut self.failed).into_iter().collect(),
            silent: ConnCount::new(self.silent),
            examples: std::mem::take(&mut self.examples),
            answers: std::mem::take(&mut self.answers),
            latency: self.latency.take(),
            load: Some(load),
        }
    }
}

impl Round {
    /// A task through tables that hold so many connections each, with at most `window` exchanges under way in all of them.
    pub(super) fn new(task: &Task, held: &[u64], window: u64) -> Self {
        let number = ROUNDS.fetch_add(1, Ordering::Relaxed);
        let patience = Duration::from_millis(task.timeout_ms);
        let share = if task.exchange.asks() {
            task.share
        } else {
            VerifyShare::None
        };
        Self {
            number,
            side: ClientSide::new(&task.exchange, std::process::id(), number, patience),
            pacer: Pacer::new(task.rate),
            begun: Instant::now(),
            load: task
                .rate
                .map_or(Load::ClosedLoop { window }, |rate| Load::Planned { rate }),
            quotas: quotas(share, held),
            left: AtomicUsize::new(held.len()),
            patience,
            stall_budget: AtomicU64::new(micros(patience)),
            sum: Mutex::new(Findings::new()),
        }
    }

    /// Connections to ask in table `index`.
    pub(super) fn quota(&self, index: usize) -> u64 {
        self.quotas.get(index).copied().unwrap_or(0)
    }

    /// When the next exchange is to begin, where that is planned.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.pacer.next_due().map(|due| self.begun + due)
    }

    /// Takes from the time that nothing may come back in all tables together. Without such a bound a server that never
    /// answers would cost the timeout for each window of each table.
    pub(super) fn spend_stall(&self, spent: Duration) {
        // The closure never returns nothing.
        let _ = self
            .stall_budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some(left.saturating_sub(micros(spent)))
            });
    }

    /// Answers came back: the server is slow, not silent. A whole window of them gives back what one stall has cost. So a
    /// server that answers slowly is waited for, and one that hardly answers is not.
    pub(super) fn restore_stall(&self, answers: usize, window: usize) {
        let part = answers as f64 / window.max(1) as f64;
        let restored = micros(STALL.mul_f64(part.min(1.0)));
        // The closure never returns nothing.
        let _ = self
            .stall_budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                Some((left + restored).min(micros(self.patience)))
            });
    }

    /// What is left of that time.
    pub(super) fn stall_left(&self) -> Duration {
        Duration::from_micros(self.stall_budget.load(Ordering::Relaxed))
    }

    /// Adds what a table found. The last table gets the report.
    pub(super) fn finish(&self, findings: Findings) -> Option<VerifyReport> {
        let mut sum = self.sum.lock().unwrap_or_else(PoisonError::into_inner);
        sum.add(findings);
        (self.left.fetch_sub(1, Ordering::AcqRel) == 1).then(|| sum.report(self.load))
    }

    /// The report of a round that nobody took part in.
    pub(super) fn into_report(self) -> VerifyReport {
        self.sum
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .report(self.load)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
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
    use crate::domain::{ConnRate, Conversation};

    #[test]
    fn a_planned_round_says_when_and_a_closed_loop_does_not() {
        let mut task = Task::verify(Conversation::Echo, VerifyShare::All, 1_000);
        let closed = Round::new(&task, &[1], 64);
        assert_eq!(closed.next_due(), None);
        let report = closed.finish(Findings::new()).expect("the only table");
        assert_eq!(report.load, Some(Load::ClosedLoop { window: 64 }));
        task.rate = Some(ConnRate::new(4.0));
        let planned = Round::new(&task, &[1], 64);
        let due: Vec<_> = (0..3).filter_map(|_| planned.next_due()).collect();
        assert_eq!(due[2] - due[0], Duration::from_millis(500));
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
