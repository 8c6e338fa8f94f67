//! Which limit comes next, once the one that was met is cured: what is known to bind, in numbers of connections.

use super::evidence::Evidence;
use crate::domain::{Limit, Mark, TreeSample};
use crate::report::analyse::server::tree;
use crate::report::model::LimitKind;
use crate::report::number::grouped;

/// Tasks for each connection from which on they are taken to be one for each: some are shared or have ended.
const TASK_FOR_EACH: f64 = 0.5;

/// The least of the limits beyond `connections`, with its number; nothing where none is known.
pub(super) fn next(kind: LimitKind, connections: u64, evidence: &Evidence<'_>) -> Option<String> {
    let mut ahead: Vec<(u64, String)> = Vec::new();
    if kind != LimitKind::Descriptors
        && let Some((connections, what)) = evidence.descriptors_allow()
    {
        ahead.push((connections, what));
    }
    if let Some((connections, what)) = evidence.tasks_allow() {
        ahead.push((connections, what));
    }
    if let Some((connections, what)) = evidence.memory_allows() {
        ahead.push((connections, what));
    }
    ahead.push(evidence.addresses_allow());
    ahead
        .into_iter()
        .filter(|(number, _)| *number > connections)
        .min_by_key(|(number, _)| *number)
        .map(|(number, what)| format!("about {} connections: {what}", grouped(number)))
}

impl Evidence<'_> {
    /// Tasks (threads, or processes) that it has for each connection; nothing where their number does not grow with it.
    fn tasks_each(&self, count: fn(&TreeSample) -> u64) -> Option<f64> {
        let now = self.sample().and_then(tree)?;
        let before = self.mark(Mark::Baseline).and_then(tree)?;
        let grown = count(now).saturating_sub(count(before)) as f64;
        let each = grown / self.accepted_peak.max(1) as f64;
        (each >= TASK_FOR_EACH).then_some(each)
    }

    /// How many connections the tasks that it may have allow, where it has one for each.
    fn tasks_allow(&self) -> Option<(u64, String)> {
        let each = self.tasks_each(|tree| tree.threads)?;
        let (most, by) = self.facts?.most_tasks.first()?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a quotient of counts
        let connections = (*most as f64 / each.max(1.0)) as u64;
        let what = format!(
            "tasks ({by} is {}, {each:.1} for each connection)",
            grouped(*most)
        );
        Some((connections, what))
    }

    /// How many connections the descriptors of its processes allow; nothing where each connection has a process.
    pub(super) fn descriptors_allow(&self) -> Option<(u64, String)> {
        if self.tasks_each(|tree| tree.processes).is_some() {
            return None;
        }
        let at = self.sample().and_then(tree)?;
        let open = at.descriptors.present().copied()?;
        let Limit::At(limit) = at.fullest?.limit else {
            return None;
        };
        // Those that it had before the first connection are for something else.
        let before = self
            .mark(Mark::Baseline)
            .and_then(tree)
            .and_then(|tree| tree.descriptors.present().copied())
            .unwrap_or(0);
        let of_connections = open.saturating_sub(before);
        // Processes that took no connection are not counted: only those that have some take more.
        let takers = if of_connections == 0 {
            1
        } else {
            of_connections.div_ceil(at.fullest?.open.max(1)).max(1)
        };
        let room = limit
            .saturating_mul(takers)
            .saturating_sub(before.min(limit / 2));
        // A proxy has two for each, and one that copies by splice(2) more.
        let each = (of_connections as f64 / self.accepted_peak.max(1) as f64).max(1.0);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a quotient of counts
        let connections = (room as f64 / each) as u64;
        let processes = match takers {
            1 => "the process that takes".to_owned(),
            _ => format!("each of {takers} processes that take"),
        };
        let share = if each < 1.05 {
            String::new()
        } else {
            format!(", {each:.1} for each connection")
        };
        Some((
            connections,
            format!(
                "descriptors (RLIMIT_NOFILE is {} in {processes} connections{share})",
                grouped(limit)
            ),
        ))
    }

    /// How many connections the machine's memory allows, by what one costs both ends here.
    pub(super) fn memory_allows(&self) -> Option<(u64, String)> {
        let each = self.summary.expected_bytes_per_connection;
        let left = self.memory_left?;
        if each <= 0.0 {
            return None;
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a quotient of sizes
        let fits = (left.as_f64() / each) as u64;
        Some((
            fits,
            format!(
                "memory of this machine, with the kernel's part of both ends alone ({each:.0} B each)"
            ),
        ))
    }

    /// How many connections the source addresses tell apart.
    pub(super) fn addresses_allow(&self) -> (u64, String) {
        let tuples = self.summary.four_tuples;
        (
            tuples.total(),
            "source addresses and ports of the clients of this run".to_owned(),
        )
    }
}
