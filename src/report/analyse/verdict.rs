//! What a run came to, and why. A run is held only when everything that was asked for is proved.

use crate::domain::{
    ConnCount, Figure, LimitSearch, Phase, Proof, Reading, Role, RunSummary, RunVerdict, TcpState,
    ThresholdKind, ThresholdResult, VerifyReport, VerifyShare, WorkerId, hold_of, verify_of,
};

use super::proof::proof;
use super::story::Story;
use crate::report::model::MemoryDetail;
use crate::report::number::{grouped, seconds, with_unit};

/// What the verdict is found from.
pub(super) struct Evidence<'a> {
    pub(super) story: &'a Story,
    pub(super) summary: &'a Reading<RunSummary>,
    pub(super) memory: &'a Reading<MemoryDetail>,
    pub(super) thresholds: &'a [ThresholdResult],
    pub(super) lost: ConnCount,
    pub(super) hold_seconds: f64,
}

/// A hold that ends this much early is complete: the conductor's clock and the phases' boundaries are not one.
const HOLD_SLACK_SECONDS: f64 = 0.05;

/// The verdict with each reason for it, when it is not `held`.
pub(super) fn verdict(evidence: &Evidence<'_>) -> (RunVerdict, Vec<String>) {
    let story = evidence.story;
    let mut reasons: Vec<String> = story
        .failed
        .iter()
        .map(|(error, _)| error.clone())
        .collect();
    if let Some((signal, phase)) = &story.interrupted {
        reasons.insert(0, format!("{signal} ended the run during {phase}"));
        return (RunVerdict::Interrupted, reasons);
    }
    if story.ended.is_none() && story.length(Phase::Drain).is_none() && story.failed.is_empty() {
        let phase = story.began.last().map(|(phase, _)| *phase);
        let phase = phase.map_or_else(
            || "before any phase".to_owned(),
            |phase| format!("during {phase}"),
        );
        reasons.push(format!(
            "the recording stops {phase}: the runner was killed, or is still running"
        ));
        return (RunVerdict::Interrupted, reasons);
    }
    let searches = matches!(evidence.summary, Reading::Present(plan) if plan.limit.is_some());
    if let Some(guard) = story.guard.as_ref().filter(|_| !searches) {
        reasons.insert(
            0,
            match guard.phase {
                Phase::Ramp => format!(
                    "the guard stopped the ramp at {} connections: {}",
                    guard.at, guard.reason
                ),
                phase => format!(
                    "the guard ended the {phase} at {} connections: {}",
                    guard.at, guard.reason
                ),
            },
        );
        return (RunVerdict::Stopped, reasons);
    }
    let Reading::Present(plan) = evidence.summary else {
        reasons.extend(evidence.summary.gap().map(str::to_owned));
        return (RunVerdict::Invalid, reasons);
    };
    if story.ramp().is_none() {
        reasons.push("no connection was ever asked for: the run ended before its ramp".to_owned());
        return (RunVerdict::Invalid, reasons);
    }
    if let Some(search) = plan.limit {
        return searched(story, search);
    }
    let missed = missed(evidence, plan);
    let invalid = invalid(evidence, plan);
    let verdict = if !invalid.is_empty() {
        RunVerdict::Invalid
    } else if missed.is_empty() && reasons.is_empty() {
        RunVerdict::Held
    } else {
        RunVerdict::Missed
    };
    reasons.extend(invalid);
    reasons.extend(missed);
    (verdict, reasons)
}

/// A search has come to its end when something gave way, or nothing did up to the number that was tried.
fn searched(story: &Story, search: LimitSearch) -> (RunVerdict, Vec<String>) {
    if story.gave_way.is_none() && story.guard.is_none() {
        let why = "the search for the limit did not come to its end".to_owned();
        return (RunVerdict::Invalid, vec![why]);
    }
    let accepted = story
        .accepting
        .iter()
        .map(|(_, state)| state.accepted)
        .max()
        .unwrap_or(0);
    match search.at_least {
        Some(least) if accepted < least.count() => {
            let why = format!(
                "the server accepted {} connections at most, and at least {least} were asked for",
                grouped(accepted)
            );
            (RunVerdict::Missed, vec![why])
        }
        _ => (RunVerdict::Held, Vec::new()),
    }
}

/// What was asked for and did not come.
fn missed(evidence: &Evidence<'_>, plan: &RunSummary) -> Vec<String> {
    let story = evidence.story;
    let target = plan.target;
    // A scenario that bounds its losses allows that many; any other allows none.
    let allowed = tolerance(plan);
    let enough = ConnCount::new(target.count().saturating_sub(allowed));
    let mut missed = Vec::new();
    let peak = story.peak();
    if peak < target {
        missed.push(format!("{peak} of {target} connections were opened"));
    }
    if evidence.lost.count() > allowed {
        missed.push(format!("{} connections were lost", evidence.lost));
    }
    for role in plan.ends.roles() {
        let Some((states, _)) = story.counted(role) else {
            continue;
        };
        let found = states.of(TcpState::Established);
        if found < enough || found > target {
            missed.push(format!(
                "the kernel counted {found} established connections on the {role}'s end, and {target} were wanted"
            ));
        }
    }
    missed.extend(unaccepted(story, target, enough));
    missed.extend(unverified(story, plan, allowed));
    let planned = hold_of(&plan.stages);
    if evidence.hold_seconds + HOLD_SLACK_SECONDS < planned.as_secs_f64() {
        missed.push(format!(
            "held for {} of {}",
            seconds(evidence.hold_seconds),
            seconds(planned.as_secs_f64())
        ));
    }
    missed.extend(
        story
            .workers
            .values()
            .filter_map(|worker| worker.died.clone()),
    );
    for threshold in evidence
        .thresholds
        .iter()
        .filter(|threshold| !threshold.held)
    {
        missed.push(threshold.measured.map_or_else(
            || {
                format!(
                    "threshold {}: not known in this run: {}",
                    threshold.name,
                    threshold
                        .unknown_because
                        .as_deref()
                        .unwrap_or("no reason was given")
                )
            },
            |measured| format!("threshold {}", broken(threshold, measured)),
        ));
    }
    missed
}

/// `ramp.rate_per_second: 76,895/s, and at least 10,000,000/s was asked for`.
fn broken(threshold: &ThresholdResult, measured: f64) -> String {
    let side = match threshold.kind {
        ThresholdKind::AtLeast => "at least",
        ThresholdKind::AtMost => "at most",
    };
    let unit = threshold.unit();
    format!(
        "{}: {}, and {side} {} was asked for",
        threshold.name,
        with_unit(measured, unit),
        with_unit(threshold.bound, unit)
    )
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a bound on a count
fn tolerance(plan: &RunSummary) -> u64 {
    let bound = plan
        .thresholds
        .iter()
        .find(|threshold| threshold.figure == Figure::Lost);
    bound.map_or(0, |threshold| threshold.bound.value().max(0.0) as u64)
}

/// Connections that the kernel has established and the server has not taken.
fn unaccepted(story: &Story, target: ConnCount, enough: ConnCount) -> Option<String> {
    let state = story.accepting_at(story.drain_began())?;
    let accepted = ConnCount::new(state.accepted);
    if accepted >= enough {
        return None;
    }
    let waiting = match state.waiting {
        0 => String::new(),
        1 => "; one more is established and waits in its accept queue".to_owned(),
        waiting => format!(
            "; {} more are established and wait in its accept queue",
            grouped(waiting)
        ),
    };
    Some(format!(
        "the server accepted {accepted} of {target} connections{waiting}"
    ))
}

/// Connections that were asked for an echo and did not give it back.
fn unverified(story: &Story, plan: &RunSummary, allowed: u64) -> Option<String> {
    if proof(plan) == Proof::None {
        return None;
    }
    let clients = &story.verification.as_ref()?.clients;
    let sum = |what: fn(&VerifyReport) -> ConnCount| -> ConnCount {
        clients.iter().map(|(_, report)| what(report)).sum()
    };
    let (asked, echoed) = (sum(|report| report.asked), sum(|report| report.echoed));
    let dead = asked.saturating_sub(echoed);
    (dead.count() > allowed).then(|| {
        if plan.protocol.is_echo() {
            format!(
                "{dead} of {asked} connections that were asked for an echo did not give it back"
            )
        } else {
            format!(
                "{dead} of {asked} connections did not give {} as they should",
                plan.protocol.kind().proof()
            )
        }
    })
}

/// What was not proved though the scenario asks for it: the proof did not come to its end, or did not cover what it had to.
fn unproved(story: &Story, plan: &RunSummary) -> Vec<String> {
    if proof(plan) == Proof::None || story.began(Phase::Verify).is_none() {
        return Vec::new();
    }
    let Some(verification) = &story.verification else {
        return vec!["no connection was proved alive, though the scenario asks for it".to_owned()];
    };
    let reported = |worker: WorkerId| verification.clients.iter().any(|(id, _)| *id == worker);
    let mut unproved: Vec<String> = plan
        .workers_of(Role::Client)
        .map(|worker| worker.planned.id)
        // What a client held that is gone is lost, which is said elsewhere.
        .filter(|worker| !reported(*worker) && !story.has_died(*worker))
        .map(|worker| format!("{worker} did not finish proving its connections alive"))
        .collect();
    let asked: u64 = verification
        .clients
        .iter()
        .map(|(_, report)| report.asked.count())
        .sum();
    let held = story.held_at(story.began(Phase::Verify).unwrap_or_default());
    let wanted = match verify_of(&plan.stages) {
        VerifyShare::All => held.count(),
        VerifyShare::Sample(share) => u64::from(share.get()).min(held.count()),
        VerifyShare::None => 0,
    };
    if unproved.is_empty() && asked < wanted {
        unproved.push(format!(
            "{} of {} {} that the scenario asks for were sent",
            grouped(asked),
            grouped(wanted),
            if plan.protocol.is_echo() {
                "echoes"
            } else {
                "questions"
            }
        ));
    }
    unproved
}

/// What makes the figures themselves doubtful.
fn invalid(evidence: &Evidence<'_>, plan: &RunSummary) -> Vec<String> {
    let story = evidence.story;
    let mut invalid = unproved(story, plan);
    if story.began(Phase::Verify).is_some() {
        for role in plan.ends.roles() {
            if story.counted(role).is_none() {
                invalid.push(format!("the {role}'s end was not counted by the kernel"));
            }
        }
    }
    if story.ended.is_none() {
        let phase = story.began.last().map_or(Phase::Drain, |(phase, _)| *phase);
        invalid.push(format!(
            "the recording stops during {phase}, before the run said how it ended: what came after is not known"
        ));
    }
    if let Some(gap) = evidence.memory.gap()
        && story.peak() > ConnCount::ZERO
        && story.failed.is_empty()
    {
        invalid.push(format!("memory could not be measured: {gap}"));
    }
    let lost: ConnCount = evidence.lost;
    if let Some((states, _)) = story.counted(Role::Client) {
        let counted = states.of(TcpState::Established);
        let claimed = story.held_at(story.drain_began());
        let apart = counted.count().abs_diff(claimed.count());
        if apart > lost.count() {
            invalid.push(format!(
                "the clients say that they hold {claimed} connections, and sock_diag counts {counted}"
            ));
        }
    }
    invalid
}
