//! `result.json`: the figures for programs.

use std::collections::BTreeMap;

use crate::domain::{
    Bound, ConnCount, Connections, Ends, LossReason, Phase, Proof, RampResult, Reading,
    RestoreOutcome, Role, RunResult, RunSummary, RunVerdict, ServerResult, SettingResult,
    SettingScope, TcpState, Threshold, ThresholdKind, ThresholdResult, Unanswered, VerifyReport,
    WorkerId, WorkerSpec, WrongAnswer,
};
use crate::record::Recording;

use super::memory::memory_result;
use super::proof::proof;
use super::story::Story;
use super::verdict::{Evidence, verdict};
use crate::report::model::{LatencySummary, MemoryDetail, Moment, ServerDetail, Slope};

/// Version of `result.json`.
const RESULT_VERSION: u32 = 1;

/// What a result is put together from.
pub(super) struct Findings<'a> {
    pub(super) recording: &'a Recording,
    pub(super) story: &'a Story,
    pub(super) memory: &'a Reading<MemoryDetail>,
    pub(super) slope: &'a Reading<Slope>,
    pub(super) latency: Option<&'a LatencySummary>,
    pub(super) server: Option<&'a ServerDetail>,
    pub(super) doubts: Vec<String>,
}

/// Puts the result together. Thresholds name figures of the result, so they come last, and the verdict after them.
pub(super) fn result(findings: Findings<'_>) -> RunResult {
    let Findings {
        recording,
        story,
        memory,
        slope,
        latency,
        server,
        doubts,
    } = findings;
    let plan = recording.summary.present();
    let identity = recording.identity.present();
    let connections = connections(story, plan);
    let lost = ConnCount::new(connections.lost);
    let hold_seconds = hold_seconds(story);
    let protocol = plan.map(|plan| plan.protocol.kind());
    let mut result = RunResult {
        protocol: protocol.unwrap_or_default(),
        unanswered: unanswered(story),
        schema_version: RESULT_VERSION,
        run: identity.map(|identity| identity.run.to_string()),
        scenario: identity
            .map(|identity| identity.scenario.clone())
            .or_else(|| plan.map(|plan| plan.scenario.clone())),
        started: identity
            .map(|identity| identity.started.clone())
            .or_else(|| {
                story
                    .started
                    .as_ref()
                    .map(|(started, _, _)| started.clone())
            }),
        program: story
            .started
            .as_ref()
            .map(|(_, _, version)| version.clone()),
        kernel: recording.facts.present().map(|facts| facts.kernel.clone()),
        verdict: RunVerdict::Invalid,
        reasons: Vec::new(),
        reduced: plan.is_some_and(|plan| plan.target < plan.requested),
        place: story
            .place
            .as_ref()
            .map(|choice| choice.place)
            .or_else(|| plan.map(|plan| plan.how.kind()))
            .map(|place| place.to_string()),
        network: story
            .place
            .as_ref()
            .and_then(|choice| choice.network.as_ref())
            .map(|network| network.driver.to_string()),
        engine: engine(plan, Role::Server),
        client_engine: engine(plan, Role::Client),
        server: server.map(server_result),
        connections,
        ramp: ramp(story, latency),
        hold_seconds,
        memory: memory_result(memory, slope),
        counted: [Role::Server, Role::Client]
            .map(|role| (role.name().to_owned(), states(story, role)))
            .into(),
        elapsed_seconds: elapsed(story),
        settings: settings(story),
        leftovers: story.leftovers.clone(),
        doubts,
        thresholds: Vec::new(),
    };
    let bounds = plan.map_or(&[] as &[Threshold], |plan| &plan.thresholds);
    result.thresholds = thresholds(&result, bounds);
    let (verdict, reasons) = verdict(&Evidence {
        story,
        summary: &recording.summary,
        memory,
        thresholds: &result.thresholds,
        lost,
        hold_seconds,
    });
    result.verdict = verdict;
    result.reasons = reasons;
    result
}

fn engine(plan: Option<&RunSummary>, role: Role) -> Option<String> {
    let worker = plan?.workers_of(role).next()?;
    let engine = match &worker.planned.spec {
        WorkerSpec::Client(client) => client.engine,
        WorkerSpec::Server(server) => server.engine,
        WorkerSpec::Subject(subject) => return Some(subject.subject.to_string()),
    };
    Some(engine.to_string())
}

fn server_result(server: &ServerDetail) -> ServerResult {
    let state = server
        .accepting_at(Moment::Target)
        .or_else(|| server.accepting_at(Moment::RampEnd));
    let usage = server
        .usage_at(Moment::Target)
        .or_else(|| server.usage_at(Moment::RampEnd));
    ServerResult {
        accepted: state.map(|state| state.accepted),
        waiting: state.map(|state| state.waiting),
        processes: usage.map(|usage| usage.processes),
        threads: usage.map(|usage| usage.threads),
        descriptors: usage.and_then(|usage| usage.descriptors.present().copied()),
        cpu_seconds: server.processor.ramp.present().copied(),
        pss_bytes: usage
            .and_then(|usage| usage.proportional.present())
            .map(|bytes| bytes.bytes()),
        connections_per_gib: server
            .sizing
            .present()
            .map(|sizing| sizing.connections(GIB)),
    }
}

const GIB: f64 = 1_073_741_824.0;

fn connections(story: &Story, plan: Option<&RunSummary>) -> Connections {
    let drain = story.drain_began();
    let counters = |worker| story.counters_at(worker, drain);
    let failed: ConnCount = story
        .clients()
        .filter_map(counters)
        .map(crate::domain::Counters::failed_total)
        .sum();
    // Each end sees what the other cannot: the clients that a server is gone, the server that a client is.
    let seen_by_clients: ConnCount = story
        .clients()
        .filter_map(counters)
        .map(|counters| counters.lost)
        .sum();
    let seen_by_server =
        counters(WorkerId::SERVER).map_or(ConnCount::ZERO, |counters| counters.lost);
    let noted: u64 = story
        .losses
        .iter()
        .filter(|(at, worker, _)| *at <= drain && !worker.is_server())
        .map(|(_, _, note)| note.count)
        .sum();
    let ends = plan.map_or(Ends::Both, |plan| plan.ends);
    let established = |role| {
        let (states, _) = story.counted(role)?;
        Some(states.of(TcpState::Established).count())
    };
    let counted: Option<Vec<u64>> = ends.roles().into_iter().map(established).collect();
    let silent = story.verification.as_ref().map_or(0, |verification| {
        let each = verification.clients.iter();
        each.map(|(_, report)| report.asked.saturating_sub(report.echoed).count())
            .sum::<u64>()
    });
    let verified = story.verification.as_ref().map(|verification| {
        let each = verification.clients.iter();
        each.map(|(_, report)| report.echoed.count()).sum()
    });
    let proof = plan.map_or(Proof::None, proof);
    let accepting = story.accepting_at(drain);
    Connections {
        requested: plan.map(|plan| plan.requested.count()),
        target: plan.map(|plan| plan.target.count()),
        established_peak: story.peak().count(),
        held: counted
            .and_then(|counted| counted.into_iter().min())
            // Established is not accepted: the kernel does that alone.
            .map(|counted| accepting.map_or(counted, |state| counted.min(state.accepted)))
            .map(|counted| match (proof, verified) {
                // Those that gave no echo back may be the ones that the other end does not have.
                (Proof::All, Some(verified)) => counted.min(verified),
                _ => counted.saturating_sub(silent),
            }),
        phantom: established(Role::Client)
            .zip(established(Role::Server))
            .map(|(client, server)| client.saturating_sub(server)),
        accepted: accepting.map(|state| state.accepted),
        waiting: accepting.map(|state| state.waiting),
        lost: seen_by_clients.max(seen_by_server).count().max(noted),
        failed: failed.count(),
        verified,
        proof,
    }
}

/// Exchanges that did not give the right answer, over all clients.
fn unanswered(story: &Story) -> Vec<Unanswered> {
    let reports = story.verification.iter();
    let reports: Vec<&VerifyReport> = reports
        .flat_map(|verification| verification.clients.iter().map(|(_, report)| report))
        .collect();
    let mut counts: BTreeMap<LossReason, u64> = BTreeMap::new();
    let mut answers: Vec<&WrongAnswer> = Vec::new();
    for report in reports {
        for (reason, count) in &report.failed {
            *counts.entry(*reason).or_default() += count;
        }
        if report.silent > ConnCount::ZERO {
            *counts.entry(LossReason::TimedOut).or_default() += report.silent.count();
        }
        for answer in &report.answers {
            if !answers.iter().any(|other| other.is_like(answer)) {
                answers.push(answer);
            }
        }
    }
    counts
        .into_iter()
        .map(|(reason, count)| Unanswered {
            reason: match reason {
                LossReason::TimedOut => "no answer in time".to_owned(),
                other => other.to_string(),
            },
            count,
            examples: answers
                .iter()
                .filter(|answer| answer.reason == reason)
                .map(|answer| match answer.local {
                    Some(local) => format!("{local}: {answer}"),
                    None => answer.to_string(),
                })
                .collect(),
        })
        .collect()
}

/// Seconds that connections were held at the target, as the phase says, or until the recording stops.
fn hold_seconds(story: &Story) -> f64 {
    if let Some(seconds) = story.length(Phase::Hold) {
        return seconds;
    }
    let until = story
        .began(Phase::Verify)
        .unwrap_or_else(|| story.drain_began());
    story
        .began(Phase::Hold)
        .map_or(0.0, |began| (until - began).max(0.0))
}

fn ramp(story: &Story, latency: Option<&LatencySummary>) -> RampResult {
    let span = story.ramp();
    let seconds = span.map(|(from, until)| until - from);
    let opened = span.and_then(|(_, until)| {
        let known = story.opened.iter().rev();
        // The last progress may be told a moment after the mark.
        known
            .map(|(at, count)| (*at, *count))
            .find(|(at, _)| *at <= until + LATEST_PROGRESS_SECONDS)
    });
    RampResult {
        seconds,
        rate_per_second: opened
            .zip(seconds)
            .and_then(|((_, count), seconds)| ConnCount::new(count).per_second(seconds))
            .map(crate::domain::ConnRate::per_second),
        connect_latency_microseconds: latency.map_or_else(BTreeMap::new, |latency| {
            let each = latency.percentiles.iter();
            each.map(|(name, micros)| ((*name).to_owned(), *micros as f64))
                .collect()
        }),
    }
}

/// How long after a mark a worker's word about it may come: one interval of progress.
const LATEST_PROGRESS_SECONDS: f64 = 0.3;

fn states(story: &Story, role: Role) -> Option<BTreeMap<String, u64>> {
    let (states, _) = story.counted(role)?;
    let each = states.0.into_iter();
    Some(
        each.map(|(state, count)| (state.to_string(), count))
            .collect(),
    )
}

fn elapsed(story: &Story) -> BTreeMap<String, f64> {
    let mut elapsed: BTreeMap<String, f64> = story
        .phases
        .iter()
        .map(|time| (time.phase.to_string(), time.seconds))
        .collect();
    elapsed.insert("total".to_owned(), story.last_seconds);
    elapsed
}

fn settings(story: &Story) -> Vec<SettingResult> {
    let records = story.settings.iter().map(|record| {
        let of_host = record.change.scope == SettingScope::Host;
        let put_back = matches!(
            story.restored.get(&record.change.key),
            Some(RestoreOutcome::Restored | RestoreOutcome::AlreadyThere)
        );
        SettingResult {
            key: record.change.key.clone(),
            scope: if of_host { "host" } else { "namespace" }.to_owned(),
            place: record.place(),
            before: record.before.clone(),
            wanted: record.change.wanted.to_string(),
            in_force: record.in_force.clone(),
            restored: (of_host && record.changed).then_some(put_back),
            error: record.error.clone(),
        }
    });
    records.collect()
}

/// Each bound with what was measured. A figure that is not known holds no bound.
fn thresholds(result: &RunResult, bounds: &[Threshold]) -> Vec<ThresholdResult> {
    let each = bounds.iter().map(|Threshold { figure, bound }| {
        let measured = figure.of(result);
        ThresholdResult {
            name: figure.to_string(),
            kind: match bound {
                Bound::AtLeast(_) => ThresholdKind::AtLeast,
                Bound::AtMost(_) => ThresholdKind::AtMost,
            },
            bound: bound.value(),
            measured,
            unknown_because: measured.is_none().then(|| {
                figure
                    .unknown_because(result)
                    .unwrap_or("this run did not measure it")
                    .to_owned()
            }),
            held: measured.is_some_and(|measured| bound.holds(measured)),
        }
    });
    each.collect()
}
