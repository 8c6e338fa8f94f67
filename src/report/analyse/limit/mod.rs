//! Which limit a server that is not the lab's own has met: each kind by evidence of its own. A guess without a counter, a
//! line of a log or a sharp number is no evidence, and `unknown` is an answer.

mod ages;
mod answers;
mod cures;
mod evidence;
mod kinds;
mod next;

use crate::domain::{GaveWay, Phase, RunEvent, Sample};
use crate::record::Recording;
use crate::report::model::{Confirmation, LimitFinding, LimitKind};

use super::story::Story;
use evidence::Evidence;

/// What stopped the server from having more connections; nothing where nothing did, or the server is the lab's own.
pub(super) fn limit(
    recording: &Recording,
    story: &Story,
    samples: &[Sample],
) -> Option<LimitFinding> {
    let summary = recording.summary.present()?;
    summary.subject()?;
    let evidence = Evidence::gather(recording, story, samples)?;
    let (kind, reasons) = kind(&evidence);
    let connections = match kind {
        // What was lost between two looks counts too.
        LimitKind::Memory | LimitKind::Ended => evidence.accepted_at_the_end(),
        _ => evidence.served(),
    };
    let program = evidence.program();
    Some(LimitFinding {
        cure: cures::cure(kind, program, &evidence),
        // What a server that is gone, or each of whose connections is a process, would meet next is not known.
        next: (!matches!(
            kind,
            LimitKind::TargetReached
                | LimitKind::Ended
                | LimitKind::Memory
                | LimitKind::Threads
                | LimitKind::IdleTimeout
                | LimitKind::Deferred
        ))
        .then(|| next::next(kind, connections, &evidence))
        .flatten(),
        kind,
        connections,
        answered: evidence.answered(),
        seen: evidence.gave_way.as_ref().map(ToString::to_string),
        at_seconds: evidence.at,
        evidence: reasons,
        searched: summary.limit.is_some(),
        confirmations: story.confirmed.iter().filter_map(confirmation).collect(),
    })
}

fn confirmation(event: &RunEvent) -> Option<Confirmation> {
    let RunEvent::Confirmed {
        connections,
        verdict,
        hold_seconds,
        directory,
        limit,
    } = event
    else {
        return None;
    };
    Some(Confirmation {
        connections: connections.count(),
        verdict: *verdict,
        hold_seconds: *hold_seconds,
        directory: directory.clone(),
        limit: limit.clone(),
    })
}

/// A kind with its evidence, a sentence each; nothing where the evidence is not there.
type Finding = Option<Vec<String>>;

/// Looks for the evidence of one kind.
type Look<'a> = fn(&Evidence<'a>) -> Finding;

/// The kinds in the order in which they explain others: a server that was killed for memory loses its connections too.
fn kind<'a>(evidence: &Evidence<'a>) -> (LimitKind, Vec<String>) {
    // What was met on the way and stopped nothing is no limit.
    if evidence.gave_way == Some(GaveWay::Nothing) && evidence.story.guard.is_none() {
        return (LimitKind::TargetReached, evidence.reached());
    }
    let kinds: [(LimitKind, Look<'a>); 14] = [
        (LimitKind::Memory, Evidence::memory),
        (LimitKind::MachineMemory, Evidence::machine_memory),
        (LimitKind::Clients, Evidence::clients),
        (LimitKind::Conntrack, Evidence::conntrack),
        (LimitKind::Memory, Evidence::memory_full),
        (LimitKind::Threads, Evidence::threads),
        (LimitKind::Descriptors, Evidence::descriptors),
        (LimitKind::IdleTimeout, Evidence::idle_timeout),
        (LimitKind::OwnMaximum, Evidence::own_maximum),
        (LimitKind::Deferred, Evidence::deferred),
        (LimitKind::Stopped, Evidence::stopped),
        (LimitKind::Cpu, Evidence::cpu),
        (LimitKind::ListenQueue, Evidence::listen_queue),
        (LimitKind::Ended, Evidence::ended),
    ];
    for (kind, look) in kinds {
        if let Some(reasons) = look(evidence) {
            return (kind, reasons);
        }
    }
    (LimitKind::Unknown, evidence.what_was_seen())
}

/// Whether the run came as far as opening connections.
fn ramped(story: &Story) -> bool {
    story.began(Phase::Ramp).is_some()
}
