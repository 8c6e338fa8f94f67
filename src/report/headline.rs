//! The first line of every report: what came of it, in one sentence that can be quoted.

use crate::domain::{MemoryBasis, Proof, RunResult, RunVerdict};

use super::model::{LimitFinding, LimitKind};
use super::number::{grouped, kib, seconds};

/// `HELD 1,024,000 of 1,024,000 for 60 s, 0 lost; …`. What was missed stands right behind the word.
pub(super) fn headline(result: &RunResult) -> String {
    let connections = &result.connections;
    let word = match (result.verdict, result.reasons.first()) {
        (RunVerdict::Missed | RunVerdict::Invalid, Some(reason)) => {
            format!(
                "{}: {reason}; held",
                result.verdict.to_string().to_uppercase()
            )
        }
        (verdict, _) => verdict.to_string().to_uppercase(),
    };
    let count = match result.verdict {
        RunVerdict::Held | RunVerdict::Missed | RunVerdict::Invalid => connections
            .held
            .map_or_else(|| "an unknown number".to_owned(), grouped),
        RunVerdict::Stopped | RunVerdict::Interrupted => grouped(connections.established_peak),
    };
    let of = connections
        .target
        .map_or_else(String::new, |target| format!(" of {}", grouped(target)));
    let reduced = match connections.requested {
        Some(requested) if result.reduced => {
            format!(" (reduced from {} to what fits)", grouped(requested))
        }
        _ => String::new(),
    };
    let hold = if result.hold_seconds >= SHORTEST_HOLD_SECONDS {
        format!(" for {}", seconds(result.hold_seconds))
    } else if result.verdict == RunVerdict::Held {
        " without a hold".to_owned()
    } else {
        ", not held".to_owned()
    };
    let lost = grouped(connections.lost);
    let proof = result.protocol.proof();
    let proof = match (connections.proof, connections.verified) {
        (Proof::All, _) | (Proof::Sample, None) => String::new(),
        (Proof::Sample, Some(verified)) => {
            format!(", {} proved by {proof}", grouped(verified))
        }
        (Proof::None, _) => format!(", not proved by {proof}"),
    };
    let memory = memory(result).map_or_else(String::new, |memory| format!("; {memory}"));
    format!("{word} {count}{of}{reduced}{hold}, {lost} lost{proof}{memory}")
}

/// `LIMIT 3,000 connections: the server's own configured maximum; 2,700 held for 30 s`: of a search for a server's limit that
/// has come to its end.
pub(super) fn of_search(limit: &LimitFinding, result: &RunResult) -> Option<String> {
    if !limit.searched || !matches!(result.verdict, RunVerdict::Held | RunVerdict::Missed) {
        return None;
    }
    let what = if limit.kind == LimitKind::TargetReached {
        format!("NO LIMIT up to {} connections", grouped(limit.connections))
    } else {
        format!(
            "LIMIT {} connections: {}",
            grouped(limit.connections),
            limit.kind
        )
    };
    let held = limit
        .confirmations
        .iter()
        .find(|run| run.verdict == RunVerdict::Held)
        .map_or_else(
            || match limit.confirmations.len() {
                0 => String::new(),
                _ => "; no smaller number was held".to_owned(),
            },
            |run| {
                format!(
                    "; {} held for {}",
                    grouped(run.connections),
                    seconds(run.hold_seconds)
                )
            },
        );
    Some(format!("{what}{held}"))
}

/// A scenario may ask for no hold; its phase is then over at once.
const SHORTEST_HOLD_SECONDS: f64 = 0.01;

/// Memory per connection of the server where it is known, else of both ends; how it is known, and whether it can be trusted.
fn memory(result: &RunResult) -> Option<String> {
    let server = &result.memory.server;
    let (side, whose) = if server.bytes_per_connection.is_some() {
        (server, "on the server")
    } else {
        (&result.memory.both, "for both ends together")
    };
    let Some(sum) = side.bytes_per_connection else {
        // A run that opened nothing has no memory to speak of.
        let opened = result.connections.established_peak > 0;
        return opened.then(|| "memory per connection not known".to_owned());
    };
    let split = match (
        side.kernel_bytes_per_connection,
        side.user_bytes_per_connection,
    ) {
        (Some(kernel), Some(user)) => format!(" ({} kernel, {} user)", kib(kernel), kib(user)),
        _ => String::new(),
    };
    let basis = match side.basis {
        Some(MemoryBasis::Modelled) => ", modelled, not counted",
        _ => "",
    };
    let disturbed = if result.memory.disturbed.is_some() {
        ", disturbed"
    } else {
        ""
    };
    Some(format!(
        "{} KiB per connection {whose}{split}{basis}{disturbed}",
        kib(sum)
    ))
}
