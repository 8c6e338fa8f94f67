//! The guard stops a ramp before memory runs out, so that the out-of-memory killer is never reached: it would end the
//! largest innocent process, because slab memory is counted against nobody.

use std::time::{Duration, Instant};

use crate::domain::{Bytes, ConnCount};
use crate::observe::{MemoryGauge, MemoryLeft};
use crate::plan::Plan;

/// How often memory is looked at: at 100,000 connections a second of 8 kB each, 40 MB go by between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Time between seeing that memory is short and the last connection that is still opened, with a wide margin: a look, a
/// message to each client, and the handshakes under way.
const REACTION_SECONDS: f64 = 0.5;
/// Never let less than this be left, however slow the ramp is: what the machine needs to go on.
const LEAST_RESERVE: Bytes = Bytes::from_mib(192);
/// Before so many connections are open, noise is larger than what they cost.
const ENOUGH_TO_MEASURE: u64 = 2_000;

pub(super) struct Guard {
    gauge: MemoryGauge,
    expected_bytes_per_connection: f64,
    total: Bytes,
    /// `Slab` before the first connection.
    slab_before: Option<Bytes>,
    last: Option<(Instant, MemoryLeft)>,
    falling: f64,
}

/// What the guard saw when it stopped the ramp.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TooLittle {
    pub(super) reason: String,
    pub(super) would_fit: ConnCount,
    pub(super) bytes_per_connection: f64,
}

impl Guard {
    pub(super) fn new(plan: &Plan, total: Bytes, gauge: MemoryGauge) -> Self {
        Self {
            gauge,
            expected_bytes_per_connection: plan.expected_bytes_per_connection,
            total,
            slab_before: None,
            last: None,
            falling: 0.0,
        }
    }

    /// Counts the limits of a worker's own control group too.
    pub(super) fn watch_cgroup(&mut self, group: &str) {
        self.gauge.watch_cgroup(group);
        // A limit that is counted from now on is no memory that has gone since the last look.
        self.last = None;
        self.falling = 0.0;
    }

    /// Takes the machine as it is now as the state before the first connection.
    pub(super) fn baseline(&mut self) {
        self.slab_before = self.gauge.read().ok().map(|now| now.slab);
    }

    /// What is left of memory, looked at again if the last look is old.
    pub(super) fn look(&mut self) -> Option<Bytes> {
        let now = Instant::now();
        if let Some((when, last)) = &self.last
            && now.duration_since(*when) < LOOK_EVERY
        {
            return Some(last.left());
        }
        let read = self.gauge.read().ok()?;
        let left = read.left();
        if let Some((when, last)) = &self.last {
            let seconds = now.duration_since(*when).as_secs_f64();
            let rate = (last.left().as_f64() - left.as_f64()) / seconds.max(0.001);
            // A smoothed rate: one look that falls together with somebody's page cache must not stop a run.
            self.falling = 0.7 * self.falling + 0.3 * rate.max(0.0);
        }
        self.last = Some((now, read));
        Some(left)
    }

    /// What a connection has cost the kernel so far, both ends, once there are enough to tell. Slab memory: what other
    /// programs take meanwhile is not in it.
    pub(super) fn bytes_per_connection(&self, established: ConnCount) -> Option<f64> {
        let (before, (_, last)) = (self.slab_before?, self.last.as_ref()?);
        (established.count() >= ENOUGH_TO_MEASURE)
            .then(|| (last.slab.as_f64() - before.as_f64()) / established.as_f64())
    }

    /// Whether the ramp has to stop now.
    pub(super) fn too_little(&mut self, established: ConnCount) -> Option<TooLittle> {
        let left = self.look()?;
        let reserve = self.reserve();
        if left.as_f64() > reserve {
            return None;
        }
        let cost = self
            .bytes_per_connection(established)
            .unwrap_or_default()
            // The plan also knows what workers take for a connection.
            .max(self.expected_bytes_per_connection);
        let least = LEAST_RESERVE.as_f64();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // positive and far below 2^64
        let more = ((left.as_f64() - least).max(0.0) / cost.max(1.0)) as u64;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // see above
        let reserve = Bytes::new(reserve as u64);
        Some(TooLittle {
            reason: format!(
                "{left} of memory left, {reserve} have to stay while it falls by {}/s",
                rate_text(self.falling)
            ),
            would_fit: established + ConnCount::new(more),
            bytes_per_connection: cost,
        })
    }

    fn reserve(&self) -> f64 {
        let share = 0.01 * self.total.as_f64();
        LEAST_RESERVE.as_f64().max(share) + self.falling * REACTION_SECONDS
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // positive and far below 2^64
fn rate_text(bytes_per_second: f64) -> Bytes {
    Bytes::new(bytes_per_second.max(0.0) as u64)
}
