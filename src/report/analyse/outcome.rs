//! `result.json`: the figures for programs.

use std::collections::BTreeMap;

use crate::domain::{
    Bound, ConnCount, Connections, Ends, MemoryResult, MemorySide, PerConnection, Phase, Proof,
    RampResult, Reading, RestoreOutcome, Role, RunResult, RunSummary, RunVerdict, SettingResult,
    SettingScope, TcpState, Threshold, ThresholdKind, ThresholdResult, VerifyShare, WorkerId,
    WorkerSpec, verify_of,
};
use crate::record::Recording;

use super::story::Story;
use super::verdict::{Evidence, verdict};
use crate::report::model::{CgroupRow, LatencySummary, MemoryDetail, Slope};

/// Version of `result.json`.
const RESULT_VERSION: u32 = 1;

/// What a result is put together from.
pub(super) struct Findings<'a> {
    pub(super) recording: &'a Recording,
    pub(super) story: &'a Story,
    pub(super) memory: &'a Reading<MemoryDetail>,
    pub(super) slope: &'a Reading<Slope>,
    pub(super) latency: Option<&'a LatencySummary>,
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
        doubts,
    } = findings;
    let plan = recording.summary.present();
    let identity = recording.identity.present();
    let connections = connections(story, plan);
    let lost = ConnCount::new(connections.lost);
    let hold_seconds = hold_seconds(story);
    let mut result = RunResult {
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
        engine: engine(plan, Role::Server),
        client_engine: engine(plan, Role::Client),
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
    };
    Some(engine.to_string())
}

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
    Connections {
        requested: plan.map(|plan| plan.requested.count()),
        target: plan.map(|plan| plan.target.count()),
        established_peak: story.peak().count(),
        held: counted
            .and_then(|counted| counted.into_iter().min())
            .map(|counted| match (proof, verified) {
                // Those that gave no echo back may be the ones that the other end does not have.
                (Proof::All, Some(verified)) => counted.min(verified),
                _ => counted.saturating_sub(silent),
            }),
        phantom: established(Role::Client)
            .zip(established(Role::Server))
            .map(|(client, server)| client.saturating_sub(server)),
        lost: seen_by_clients.max(seen_by_server).count().max(noted),
        failed: failed.count(),
        verified,
        proof,
    }
}

/// How far the plan has connections proved. A server that does not read gives no echo back.
pub(super) fn proof(plan: &RunSummary) -> Proof {
    let answers = plan.server().is_some_and(|server| server.service.answers());
    match verify_of(&plan.stages) {
        _ if !answers => Proof::None,
        VerifyShare::All => Proof::All,
        VerifyShare::None => Proof::None,
        VerifyShare::Sample(_) => Proof::Sample,
    }
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

fn memory_result(memory: &Reading<MemoryDetail>, slope: &Reading<Slope>) -> MemoryResult {
    let (server, client, both) = match memory {
        Reading::Present(memory) => (
            side(memory, WorkerId::is_server, memory.server_user),
            side(memory, |worker| !worker.is_server(), memory.client_user),
            both(memory),
        ),
        Reading::Missing(gap) => (unknown(&gap.gap), unknown(&gap.gap), unknown(&gap.gap)),
    };
    MemoryResult {
        server,
        client,
        both,
        slope_bytes_per_connection: match slope {
            Reading::Present(slope) => PerConnection {
                value: Some(slope.slope),
                how: format!(
                    "least squares through {} samples of the ramp, both ends",
                    slope.points
                ),
            },
            Reading::Missing(gap) => PerConnection {
                value: None,
                how: gap.gap.clone(),
            },
        },
        slope_confidence_bytes: slope.present().map(|slope| slope.half_width),
        unexplained_fraction: memory
            .present()
            .map(|memory| (memory.residual / memory.total()).abs()),
    }
}

const USER: &str = "user_bytes_per_connection";
const KERNEL: &str = "kernel_bytes_per_connection";
const SUM: &str = "bytes_per_connection";

fn unknown(why: &str) -> MemorySide {
    MemorySide {
        user_bytes_per_connection: None,
        kernel_bytes_per_connection: None,
        bytes_per_connection: None,
        how: [USER, KERNEL, SUM]
            .map(|name| (name.to_owned(), why.to_owned()))
            .into(),
    }
}

fn both(memory: &MemoryDetail) -> MemorySide {
    let each = |bytes: f64| Some(bytes / memory.connections);
    MemorySide {
        user_bytes_per_connection: each(memory.user),
        kernel_bytes_per_connection: each(memory.kernel),
        bytes_per_connection: each(memory.total()),
        how: [
            (USER, "growth of RssAnon and VmPTE of all workers"),
            (
                KERNEL,
                "drop of MemFree, less per-CPU free pages, page cache, anonymous memory and page tables",
            ),
            (SUM, "sum of the two"),
        ]
        .map(|(name, how)| (name.to_owned(), how.to_owned()))
        .into(),
    }
}

/// One end. Its kernel memory is known only where its processes have control groups of their own.
fn side(memory: &MemoryDetail, is_ours: fn(WorkerId) -> bool, user: Option<f64>) -> MemorySide {
    let user = user.map(|bytes| bytes / memory.connections);
    let (kernel, how) = match charged(memory, is_ours) {
        Ok(bytes) => (
            Some(bytes / memory.connections),
            "growth of the kernel memory charged to its control groups, less page tables; the charge leaves out the waste at the end of slabs and security blobs, about 6 to 7 % of it".to_owned(),
        ),
        Err(why) => (None, why),
    };
    let sum = user.zip(kernel).map(|(user, kernel)| user + kernel);
    MemorySide {
        user_bytes_per_connection: user,
        kernel_bytes_per_connection: kernel,
        bytes_per_connection: sum,
        how: [
            (
                USER,
                if user.is_some() {
                    "growth of RssAnon and VmPTE of its processes".to_owned()
                } else {
                    "its processes are not in the samples".to_owned()
                },
            ),
            (
                SUM,
                if sum.is_some() {
                    "sum of the two".to_owned()
                } else {
                    format!("one of the two is not known: {how}")
                },
            ),
            (KERNEL, how),
        ]
        .map(|(name, how)| (name.to_owned(), how))
        .into(),
    }
}

/// Kernel memory charged to the control groups of one end, or why it says nothing.
fn charged(memory: &MemoryDetail, is_ours: fn(WorkerId) -> bool) -> Result<f64, String> {
    let groups: Vec<&CgroupRow> = memory
        .cgroups
        .iter()
        .filter(|group| is_ours(group.worker))
        .collect();
    let workers = memory
        .processes
        .iter()
        .filter(|process| is_ours(process.worker));
    if groups.is_empty() || groups.len() < workers.count() {
        return Err(
            "its processes have no control group of their own here, and the kernel's memory of both ends lies in the same caches"
                .to_owned(),
        );
    }
    let mut charged = 0.0;
    for group in &groups {
        match &group.kernel {
            Reading::Present(bytes) => charged += bytes.0,
            Reading::Missing(gap) => return Err(gap.gap.clone()),
        }
    }
    let tables: f64 = memory
        .processes
        .iter()
        .filter(|process| is_ours(process.worker))
        .map(|process| process.page_tables)
        .sum();
    let each = (charged - tables) / memory.connections;
    if each < LEAST_CHARGE_WITH_SOCKET {
        return Err(format!(
            "only {each:.0} B per connection are charged to its control groups: this kernel does not charge the sockets themselves there (before Linux 6.12, or control groups of version 1 without a limit on TCP memory)"
        ));
    }
    Ok(charged - tables)
}

/// A `tcp_sock` alone is larger than this, on every 64-bit kernel from 5.9 on: a smaller charge lacks it.
const LEAST_CHARGE_WITH_SOCKET: f64 = 2000.0;

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
