//! What each kind of limit asks for: its evidence, a sentence each, or nothing.

use super::Finding;
use super::ages::Ages;
use super::evidence::Evidence;
use crate::domain::{Bytes, CgroupSample, ConnectFailure, GaveWay, KernelMessage, Limit, Phase};
use crate::report::analyse::legible::quoted;
use crate::report::analyse::server::tree;
use crate::report::number::{bytes, counted_of, grouped, seconds};

/// Descriptors that may be left in a table that is full: a server keeps some for what it needs beside connections.
const FEW_DESCRIPTORS: u64 = 8;

/// A control group that has more than this share of its limit is full.
const FULL_GROUP: f64 = 0.97;

/// Seconds before the moment from which on a sample belongs to it.
const AROUND: f64 = 2.0;

/// A server that has its maximum keeps at least this share of its connections.
const KEPT: f64 = 0.9;

/// It refuses or leaves so many others at least, where it does not say why: single connections end for many reasons.
const FEWEST_REFUSED: u64 = 10;

/// What logs say when a table of descriptors is full.
const NO_DESCRIPTORS: [&str; 5] = [
    "too many open files",
    "emfile",
    "enfile",
    "errno 24",
    "no file descriptors available",
];

/// What logs say when a server has as many connections as it wants.
const ENOUGH: [&str; 9] = [
    "worker_connections are not enough",
    "max number of clients",
    "too many clients",
    "too many connections",
    "maximum number of",
    "max_connections",
    "maxconn",
    "connection limit",
    "maximum connections",
];

/// What logs say when no thread or process can be made: of Python, C, `PostgreSQL`, Java, shells, Go, Ruby, Rust, Apache.
const NO_THREADS: [&str; 13] = [
    "can't start new thread",
    "cannot create thread",
    "can't create thread",
    "pthread_create",
    "could not fork",
    "unable to create new native thread",
    "unable to create native thread",
    "fork: retry",
    "fork: resource temporarily unavailable",
    "fork failed",
    "unable to fork",
    "failed to create new os thread",
    "failed to spawn thread",
];

/// EAGAIN, which has other causes too, and what is in the same line where no task could be made.
const EAGAIN: &str = "resource temporarily unavailable";
const OF_TASKS: [&str; 5] = ["fork", "thread", "clone", "spawn", "worker"];

/// Tasks that a server may have left where it has as many as it may: other processes of the same user count too.
const FEW_TASKS: u64 = 8;

/// Where select(2) ends: a set of it has so many descriptors (`FD_SETSIZE`).
const FD_SETSIZE: u64 = 1024;

/// Seconds after which the end of a connection is noticed at the latest.
const NOTICED_WITHIN: f64 = 1.0;

/// Connections that have to end later than that, for a timeout.
const FEWEST_LATER: u64 = 5;

/// A core that is used more than this is full.
const FULL_CORE: f64 = 0.9;

/// A server that used less of a core did not lack processor time.
const IDLE_CORE: f64 = 0.5;

impl Evidence<'_> {
    /// The group's limit killed one of its processes since the ramp began.
    pub(super) fn memory(&self) -> Finding {
        let groups = self.group(self.story.began(Phase::Ramp)?);
        let kills = |group: &&CgroupSample| group.oom_kills.present().copied();
        let first = groups.first().and_then(kills).unwrap_or(0);
        let last = groups.iter().filter_map(kills).max().unwrap_or(0);
        let line = self
            .kernel_log()
            .find(|message| of_a_group(message) && self.is_of_its_processes(message));
        if last <= first && line.is_none() {
            return None;
        }
        let mut reasons = Vec::new();
        if last > first {
            reasons.push(format!(
                "the kernel killed {} of its processes for the memory of their control group",
                grouped(last - first)
            ));
        }
        if let Some(group) = groups.last()
            && let Limit::At(limit) = group.limit
        {
            let most = groups.iter().map(|group| group.charged).max();
            reasons.push(format!(
                "the group may have {}, and had {} at most in the samples",
                bytes(limit.as_f64()),
                bytes(most.unwrap_or(Bytes::ZERO).as_f64())
            ));
        }
        reasons.extend(line.map(|message| format!("the kernel's log: {}", quoted(&message.text))));
        reasons.extend(self.beyond_the_last_look());
        Some(reasons)
    }

    /// Its group had nothing left when it took no more connections: the kernel takes back what it can instead of ending it,
    /// and it hardly runs.
    pub(super) fn memory_full(&self) -> Finding {
        if !matches!(self.gave_way, Some(GaveWay::NotAccepted { .. })) {
            return None;
        }
        let moment = self.at?;
        let full = self
            .group(moment - AROUND)
            .into_iter()
            .rev()
            .find_map(|group| {
                let Limit::At(limit) = group.limit else {
                    return None;
                };
                (group.charged.as_f64() >= limit.as_f64() * FULL_GROUP).then_some((group, limit))
            });
        let (group, limit) = full?;
        let mut reasons = vec![format!(
            "its control group had {} of {} in use, and it took no more connections",
            bytes(group.charged.as_f64()),
            bytes(limit.as_f64())
        )];
        reasons.extend(self.waiting());
        Some(reasons)
    }

    /// The guard stopped the ramp, or the kernel killed somebody for the machine's memory.
    pub(super) fn machine_memory(&self) -> Finding {
        if let Some(guard) = &self.story.guard {
            return Some(vec![format!(
                "the guard stopped the ramp: {}",
                guard.reason
            )]);
        }
        let line = self.kernel_log().find(|message| {
            let text = message.text.to_lowercase();
            text.contains("out of memory: killed") && !of_a_group(message)
        })?;
        Some(vec![format!("the kernel's log: {}", quoted(&line.text))])
    }

    /// What failed is the clients' own.
    pub(super) fn clients(&self) -> Finding {
        let own = [
            (ConnectFailure::NoPorts, "no source port was left"),
            (
                ConnectFailure::NoDescriptors,
                "the clients' descriptor tables were full",
            ),
            (
                ConnectFailure::NoMemory,
                "the kernel had no memory for them",
            ),
            (ConnectFailure::NoFiles, "the machine had no file left"),
        ];
        let reasons: Vec<String> = own
            .iter()
            .filter_map(|(class, why)| {
                let count = self.failed.get(class)?;
                Some(format!("{} connects failed: {why}", grouped(*count)))
            })
            .collect();
        (!reasons.is_empty()).then_some(reasons)
    }

    /// The table of connection tracking is full.
    pub(super) fn conntrack(&self) -> Finding {
        let line = self
            .kernel_log()
            .find(|message| message.text.contains("nf_conntrack: table full"))?;
        Some(vec![format!("the kernel's log: {}", quoted(&line.text))])
    }

    /// No thread or process could be made.
    pub(super) fn threads(&self) -> Finding {
        let line = self.line_with(&NO_THREADS).or_else(|| {
            self.line_where(|text| {
                text.contains(EAGAIN) && OF_TASKS.iter().any(|word| text.contains(word))
            })
        });
        let tree = self.sample().and_then(tree);
        let most = self.facts.and_then(|facts| facts.most_tasks.first());
        let full = tree
            .zip(most)
            // Of a small number the same few would be a large part.
            .filter(|(tree, (most, _))| tree.threads + FEW_TASKS.min(*most / 20) >= *most);
        if line.is_none() && full.is_none() {
            return None;
        }
        let mut reasons = Vec::new();
        if let Some((tree, (most, by))) = full {
            reasons.push(format!(
                "it had {} threads and may have {} ({by})",
                grouped(tree.threads),
                grouped(*most)
            ));
        }
        reasons.extend(line.map(|line| format!("the server's log: {}", quoted(line))));
        if let Some(tree) = tree {
            reasons.push(format!(
                "it had {} in {}, and {}",
                counted_of(tree.threads, "thread", "threads"),
                counted_of(tree.processes, "process", "processes"),
                counted_of(self.accepted_peak, "connection", "connections")
            ));
        }
        Some(reasons)
    }

    /// The kernel shows it a connection only when the client has said something (`TCP_DEFER_ACCEPT`, tcp(7)).
    pub(super) fn deferred(&self) -> Finding {
        let state = self.story.accepting_at(self.story.drain_began())?;
        let silent = matches!(
            self.gave_way,
            Some(GaveWay::NotAccepted { .. } | GaveWay::Lost)
        );
        // A few are under way at any time.
        let many = state.half_open >= FEWEST_REFUSED && state.half_open > state.waiting;
        if !silent || !many || self.grown("ListenOverflows").is_some() {
            return None;
        }
        Some(vec![format!(
            "{} connections are established for the clients and half open for the server, and no accept queue overflowed",
            grouped(state.half_open)
        )])
    }

    /// A process of it had no descriptor left.
    pub(super) fn descriptors(&self) -> Finding {
        let fullest = self.fullest();
        let full = fullest.filter(|(open, limit, _)| open + FEW_DESCRIPTORS >= *limit);
        let line = self.line_with(&NO_DESCRIPTORS);
        if full.is_none() && line.is_none() {
            return None;
        }
        let mut reasons = Vec::new();
        if let Some((open, limit, pid)) = full.or(fullest) {
            reasons.push(format!(
                "process {pid} had {} of {} descriptors open (RLIMIT_NOFILE)",
                grouped(open),
                grouped(limit)
            ));
        }
        reasons.extend(line.map(|line| format!("the server's log: {}", quoted(line))));
        reasons.extend(self.waiting());
        Some(reasons)
    }

    /// All that ended had nearly the same age. Connections that were refused right after they were accepted never add up at
    /// the server's end.
    pub(super) fn idle_timeout(&self) -> Finding {
        // Connections that were opened at once and end with their server have one age too.
        if matches!(self.gave_way, Some(GaveWay::ServerGone { .. })) {
            return None;
        }
        if self.accepted_peak * 2 < self.lost_count().min(self.established_peak) {
            return None;
        }
        // What ends while something is said on it is not idle.
        let speaks = self.story.began(Phase::Verify).unwrap_or(f64::INFINITY);
        if self.lost.first().is_none_or(|(at, _)| *at >= speaks) {
            return None;
        }
        let ages = Ages::of(&self.story.opened, &self.lost)?;
        if !ages.are_of_a_timeout() || !self.losses_go_on() {
            return None;
        }
        Some(vec![
            format!(
                "{} connections ended at nearly the same age: half of them at {} or before, 80 % between {} and {}",
                grouped(ages.lost),
                seconds(ages.median),
                seconds(ages.low),
                seconds(ages.high)
            ),
            self.how_they_ended(),
        ])
    }

    /// Whether connections ended still when none were opened any more. A server that has its maximum ends none then, and one
    /// that ends idle connections goes on.
    fn losses_go_on(&self) -> bool {
        let Some((_, until)) = self.story.ramp() else {
            return false;
        };
        let from = until + NOTICED_WITHIN;
        let before = self
            .lost
            .iter()
            .rev()
            .find(|(at, _)| *at <= from)
            .map_or(0, |(_, lost)| *lost);
        self.lost_count() >= before + FEWEST_LATER
    }

    /// It refuses, closes at once, or leaves waiting what comes beyond a sharp number, keeps what it has, and lacks nothing.
    pub(super) fn own_maximum(&self) -> Finding {
        let line = self.line_with(&ENOUGH);
        let said = self.said();
        let told = self.answer_says_enough(&ENOUGH);
        if self.answered() == Some(0) {
            // It serves nobody: that is no number.
            return None;
        }
        // What ends after all were served is beyond no number.
        let many = self.served() < self.summary.target.count()
            && self.lost_count() >= FEWEST_REFUSED.max(self.accepted_peak / 100);
        let refused = self.lost_count() > 0
            && (many || said.is_some())
            && self.server_lives()
            && self.keeps_its_connections();
        if line.is_none() && !refused && !told {
            return None;
        }
        let mut reasons = vec![format!(
            "it never had more than {} connections",
            grouped(self.accepted_peak)
        )];
        if refused {
            reasons.push(self.how_they_ended());
            reasons.extend(said);
        }
        reasons.extend(self.how_answered());
        reasons.extend(self.instead());
        if line.is_none() && !told && self.said().is_none() {
            reasons.extend(self.one_address());
        }
        reasons.extend(self.waiting());
        reasons.extend(line.map(|line| format!("the server's log: {}", quoted(line))));
        reasons.extend(self.not_short());
        Some(reasons)
    }

    /// It serves a sharp number and leaves the others waiting, without a word, while it has nothing to do.
    pub(super) fn stopped(&self) -> Finding {
        let idle = self.cores().is_some_and(|cores| cores < IDLE_CORE);
        let not_accepted =
            matches!(self.gave_way, Some(GaveWay::NotAccepted { .. })) && self.accepts_no_more();
        let serves_fewer =
            self.silent() > 0 && self.answered().is_some_and(|answered| answered > 0);
        if !idle
            || !self.server_lives()
            || !not_accepted && !serves_fewer
            || self.went_on().is_some()
        {
            return None;
        }
        let mut reasons = vec![format!(
            "it never had more than {} connections",
            grouped(self.accepted_peak)
        )];
        reasons.extend(self.how_answered());
        reasons.extend(self.waiting());
        if let Some((open, _, _)) = self.fullest().filter(|(open, limit, _)| {
            open.abs_diff(FD_SETSIZE) <= FEW_DESCRIPTORS && *limit > FD_SETSIZE + FEW_DESCRIPTORS
        }) {
            reasons.push(format!(
                "it stopped at {} descriptors, where select(2) ends (FD_SETSIZE, {}): a larger RLIMIT_NOFILE does not help then",
                grouped(open),
                grouped(FD_SETSIZE)
            ));
        }
        reasons.extend(self.not_short());
        Some(reasons)
    }

    /// Whether it has nearly as many connections at the end as it ever had. One whose process was ended has not.
    fn keeps_its_connections(&self) -> bool {
        let last = self.story.accepting_at(self.story.drain_began());
        last.is_some_and(|state| state.accepted as f64 >= self.accepted_peak as f64 * KEPT)
    }

    /// Whether it took nothing out of its accept queue any more, until connections were closed.
    fn accepts_no_more(&self) -> bool {
        let until = self.story.drain_began();
        let accepted = |at| self.story.accepting_at(at).map(|state| state.accepted);
        accepted(until - AROUND) >= accepted(until)
    }

    /// It used a whole core and did not keep up.
    pub(super) fn cpu(&self) -> Finding {
        let cores = self.cores()?;
        let behind = matches!(self.gave_way, Some(GaveWay::NotAccepted { .. }))
            || self.failed.contains_key(&ConnectFailure::TimedOut)
            || self.silent() > 0;
        if cores < FULL_CORE || !behind {
            return None;
        }
        let mut reasons = vec![format!(
            "its processes used {cores:.2} cores in the seconds before"
        )];
        reasons.extend(self.how_answered());
        reasons.extend(self.waiting());
        Some(reasons)
    }

    /// Handshakes were dropped because an accept queue was full.
    pub(super) fn listen_queue(&self) -> Finding {
        if self.gave_way == Some(GaveWay::Lost) && !self.lost_in_ramp() {
            // A handshake that was dropped and sent again explains no connection that ends later.
            return None;
        }
        let dropped = self.grown("ListenOverflows")?;
        let mut reasons = vec![format!(
            "the kernel dropped {} handshakes because the accept queue was full (ListenOverflows)",
            grouped(dropped)
        )];
        if let Some(limit) = self.queue_limit() {
            reasons.push(format!(
                "the accept queue takes {} connections",
                grouped(limit)
            ));
        }
        if let Some(retried) = self.grown("TCPSynRetrans") {
            reasons.push(format!(
                "clients sent {} handshakes again",
                grouped(retried)
            ));
        }
        Some(reasons)
    }

    /// It ended, whether that or the loss of its connections was seen first.
    pub(super) fn ended(&self) -> Finding {
        let how = match &self.gave_way {
            Some(GaveWay::ServerGone { how }) => how,
            _ => self.story.server_died()?,
        };
        let last: Vec<String> = self
            .story
            .output
            .iter()
            .rev()
            .take(3)
            .rev()
            .map(|(_, text)| format!("it wrote: {}", quoted(text)))
            .collect();
        let mut reasons = vec![how.to_owned()];
        reasons.extend(self.beyond_the_last_look());
        if last.is_empty() {
            reasons.push("it wrote nothing".to_owned());
        }
        reasons.extend(last);
        Some(reasons)
    }
}

/// Whether a line of the kernel is about a kill for the memory of a control group, whosoever it is.
fn of_a_group(message: &KernelMessage) -> bool {
    message
        .text
        .to_lowercase()
        .contains("memory cgroup out of memory")
}
