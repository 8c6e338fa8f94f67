//! Watches on a thread of its own what is left of memory, and tells when it runs short, so that the out-of-memory killer is
//! never reached: it would end the largest innocent process, because slab memory is counted against nobody. What is done
//! about a shortage is for the caller to say; it is done on this thread, whatever the caller's other threads wait for.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::gauge::{MemoryGauge, MemoryLeft};
use crate::domain::Bytes;

/// How often memory is looked at: at 100,000 connections a second of 8 kB each, 40 MB go by between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Time between seeing that memory is short and the last connection that is still opened, with a wide margin: a look, a
/// message to each client, and the handshakes under way.
const REACTION_SECONDS: f64 = 0.5;
/// Never let less than this be left, however slow the ramp is: what the machine needs to go on.
const LEAST_RESERVE: Bytes = Bytes::from_mib(192);
/// A small group or machine keeps this part of its limit instead.
const LEAST_SHARE: f64 = 1.0 / 8.0;
/// Memory that could not be read for so long is not watched.
const UNREADABLE_FOR: Duration = Duration::from_secs(1);

/// Why something has to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Shortage {
    /// Too little is left.
    TooLittle {
        /// What is left.
        left: Bytes,
        /// Whose limit that is.
        of: String,
        /// What has to stay.
        reserve: Bytes,
        /// What goes in a second.
        falling: Bytes,
        /// Whether even half of the reserve is gone.
        urgent: bool,
    },
    /// Nobody knows what is left.
    Unreadable {
        /// For how long.
        seconds: f64,
        /// What came back.
        why: String,
    },
}

impl Shortage {
    /// Whether stopping a ramp is no longer enough.
    #[must_use]
    pub const fn is_urgent(&self) -> bool {
        matches!(self, Self::TooLittle { urgent: true, .. })
    }

    /// What could still be taken without going below the least reserve; nothing where that is not known.
    #[must_use]
    pub fn spare(&self) -> Option<Bytes> {
        match self {
            Self::TooLittle { left, reserve, .. } => {
                Some(left.saturating_sub(LEAST_RESERVE.min(*reserve)))
            }
            Self::Unreadable { .. } => None,
        }
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLittle {
                left,
                of,
                reserve,
                falling,
                ..
            } => write!(
                out,
                "{left} of memory left in {of}, {reserve} have to stay while it falls by {falling}/s"
            ),
            Self::Unreadable { seconds, why } => write!(
                out,
                "what is left of memory could not be read for {seconds:.0} s: {why}"
            ),
        }
    }
}

/// The watch. It ends when this is dropped.
#[derive(Debug)]
pub struct MemoryWatch {
    shared: Arc<Shared>,
    thread: thread::JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    ending: AtomicBool,
    latest: Mutex<Option<MemoryLeft>>,
    /// Groups that the thread has not taken over yet: path, and name for people.
    groups: Mutex<Vec<(String, String)>>,
}

impl MemoryWatch {
    /// Begins to watch. `act` is called at each look that finds too little, on the watch's own thread.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        mut gauge: MemoryGauge,
        mut act: impl FnMut(&Shortage) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        *lock(&shared.latest) = gauge.read().ok();
        let watched = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("guard".to_owned())
            .spawn(move || {
                let mut judge = Judge::default();
                while !watched.ending.load(Ordering::Relaxed) {
                    for (path, name) in lock(&watched.groups).drain(..) {
                        gauge.watch_cgroup(&path, &name);
                        judge.forget();
                    }
                    let read = gauge.read().map_err(|error| error.to_string());
                    let shortage = judge.look(Instant::now(), &read);
                    *lock(&watched.latest) = read.ok();
                    if let Some(shortage) = shortage {
                        act(&shortage);
                    }
                    thread::park_timeout(LOOK_EVERY);
                }
            })?;
        Ok(Self { shared, thread })
    }

    /// Counts the limits of another control group too; `name` is what it is to people.
    pub fn watch_cgroup(&self, path: String, name: String) {
        lock(&self.shared.groups).push((path, name));
    }

    /// What was left at the last look; nothing when it could not be read.
    #[must_use]
    pub fn latest(&self) -> Option<MemoryLeft> {
        lock(&self.shared.latest).clone()
    }

    /// Whether its thread has ended though nobody asked: then nothing is watched.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.thread.is_finished()
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
    }
}

/// What is decided from one look to the next.
#[derive(Debug, Default)]
struct Judge {
    last: Option<(Instant, Bytes)>,
    /// Bytes a second, smoothed: one look that falls together with somebody's page cache must not stop a run.
    falling: f64,
    readable: Option<Instant>,
}

impl Judge {
    /// A limit that is counted from now on is no memory that has gone since the last look.
    fn forget(&mut self) {
        self.last = None;
        self.falling = 0.0;
    }

    fn look(&mut self, now: Instant, read: &Result<MemoryLeft, String>) -> Option<Shortage> {
        let readable = *self.readable.get_or_insert(now);
        let memory = match read {
            Ok(memory) => memory,
            Err(why) => {
                let blind = now.duration_since(readable);
                return (blind >= UNREADABLE_FOR).then(|| Shortage::Unreadable {
                    seconds: blind.as_secs_f64(),
                    why: why.clone(),
                });
            }
        };
        self.readable = Some(now);
        let left = memory.left();
        if let Some((when, last)) = self.last {
            let seconds = now.duration_since(when).as_secs_f64();
            let rate = (last.as_f64() - left.as_f64()) / seconds.max(0.001);
            self.falling = 0.7 * self.falling + 0.3 * rate.max(0.0);
        }
        self.last = Some((now, left));
        let machine = (memory.of_machine(), "the machine", memory.total);
        let group = memory
            .group
            .as_ref()
            .map(|(name, group)| (group.left(), name.as_str(), group.limit));
        group
            .into_iter()
            .chain([machine])
            .find_map(|(left, name, limit)| self.short(left, name, limit, memory.total))
    }

    fn short(&self, left: Bytes, name: &str, limit: Bytes, total: Bytes) -> Option<Shortage> {
        let least = LEAST_RESERVE
            .as_f64()
            .max(0.01 * total.as_f64())
            .min(LEAST_SHARE * limit.as_f64());
        let reserve = least + self.falling * REACTION_SECONDS;
        (left.as_f64() <= reserve).then(|| Shortage::TooLittle {
            left,
            of: name.to_owned(),
            reserve: whole(reserve),
            falling: whole(self.falling),
            urgent: left.as_f64() <= least / 2.0,
        })
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // positive and far below 2^64
fn whole(bytes: f64) -> Bytes {
    Bytes::new(bytes.max(0.0) as u64)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each value is replaced as a whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{CgroupLimit, Reading};

    #[allow(clippy::unnecessary_wraps)] // as the gauge returns it
    fn left(free_mib: u64, group: Option<(u64, u64)>) -> Result<MemoryLeft, String> {
        Ok(MemoryLeft {
            total: Bytes::from_mib(16 * 1024),
            free: Bytes::from_mib(free_mib),
            droppable: Bytes::ZERO,
            kept_back: Reading::Present(Bytes::ZERO),
            group: group.map(|(limit, used)| {
                let limit = CgroupLimit {
                    path: "/lab".into(),
                    limit: Bytes::from_mib(limit),
                    used: Bytes::from_mib(used),
                    droppable: Bytes::ZERO,
                };
                ("the container of client-1".to_owned(), limit)
            }),
            slab: Bytes::ZERO,
        })
    }

    fn looks(each: &[Result<MemoryLeft, String>]) -> Option<Shortage> {
        let mut judge = Judge::default();
        let began = Instant::now();
        (1_u32..)
            .zip(each)
            .map(|(number, read)| judge.look(began + number * Duration::from_millis(500), read))
            .last()
            .flatten()
    }

    #[test]
    fn steady_memory_is_short_only_below_the_reserve() {
        assert_eq!(looks(&[left(250, None), left(250, None)]), None);
        let short = looks(&[left(190, None), left(190, None)]).unwrap();
        assert!(short.to_string().contains("left in the machine"), "{short}");
        assert!(!short.is_urgent());
        assert!(looks(&[left(60, None)]).unwrap().is_urgent());
    }

    #[test]
    fn memory_that_falls_fast_is_short_earlier() {
        // 8 GiB in half a second, smoothed: more than 2 GiB must be left.
        assert!(looks(&[left(10_000, None), left(2_000, None)]).is_some());
    }

    #[test]
    fn a_group_is_named_and_a_small_one_keeps_a_part_of_its_limit() {
        let short = looks(&[left(9_000, Some((200, 180)))]).unwrap();
        let text = short.to_string();
        assert!(text.contains("the container of client-1"), "{text}");
        assert_eq!(looks(&[left(9_000, Some((200, 100)))]), None);
    }

    #[test]
    fn the_machine_may_be_short_though_a_group_leaves_less() {
        let short = looks(&[left(180, Some((200, 100)))]).unwrap();
        assert!(short.to_string().contains("the machine"), "{short}");
    }

    #[test]
    fn memory_that_cannot_be_read_for_a_second_is_a_shortage() {
        let failed = || Err("cannot read /proc/meminfo".to_owned());
        assert_eq!(looks(&[left(9_000, None), failed()]), None);
        let blind = looks(&[left(9_000, None), failed(), failed()]).unwrap();
        assert!(blind.to_string().contains("cannot read"), "{blind}");
        assert_eq!(looks(&[failed(), failed(), left(9_000, None)]), None);
    }
}
