//! What a reader should doubt, each in a sentence with its figure: found in the recording, never assumed.

use std::collections::BTreeMap;

use crate::domain::{
    CpuTicks, HostIndex, NamespaceSample, Proof, Reading, RestoreOutcome, RunSummary, Sample,
    VerifyShare, WorkerId, WorkerSpec, verify_of,
};

use super::processor;
use super::proof::proof;
use super::story::Story;
use crate::report::model::{Account, MemoryDetail, Slope};
use crate::report::number::{bytes_each, figure, grouped, percent, seconds};

/// What doubts are found from.
pub(super) struct Grounds<'a> {
    pub(super) story: &'a Story,
    pub(super) summary: &'a Reading<RunSummary>,
    pub(super) samples: &'a [Sample],
    pub(super) damage: &'a [String],
    pub(super) memory: &'a Reading<MemoryDetail>,
    pub(super) slope: &'a Reading<Slope>,
}

/// Time taken by the hypervisor above which rates are not this machine's.
const STEAL_SHARE: f64 = 0.01;
/// Idle time below which the processors, not the kernel's limits, set the pace.
const IDLE_SHARE: f64 = 0.05;
/// Share of a processor, or of the memory that connections cost, above which somebody else was at work.
const FOREIGN_SHARE: f64 = 0.05;
/// Ticks of the processors' accounting below which shares of a span say nothing: at 100 a second, one second.
const FEWEST_TICKS: f64 = 100.0;
/// Page cache given up, as a share of what the connections cost, above which the ramp had to wait for memory.
const RECLAIM_SHARE: f64 = 0.05;
/// The observer's share of one processor above which it disturbs what it observes.
const OBSERVER_SHARE: f64 = 0.02;
/// Seconds between two samples above which something held the observer up.
const LATE_SECONDS: f64 = 2.0;
/// Share of the difference by which the slope may be off.
const SLOPE_SHARE: f64 = 0.02;

/// All doubts, the gravest kinds first.
pub(super) fn doubts(grounds: &Grounds<'_>) -> Vec<String> {
    let mut doubts = Vec::new();
    doubts.extend(
        grounds
            .damage
            .iter()
            .map(|what| format!("The recording is damaged: {what}.")),
    );
    doubts.extend(grounds.story.warnings.iter().map(|text| sentence(text)));
    if let (Some(first), Some(last)) = (grounds.samples.first(), grounds.samples.last()) {
        counters(grounds.samples, &mut doubts);
        machine(grounds, first, last, &mut doubts);
    }
    kernel_log(grounds.samples, &mut doubts);
    settings(grounds.story, &mut doubts);
    memory(grounds, &mut doubts);
    shape(grounds, &mut doubts);
    doubts
}

/// Counters of the network that should have stood still.
fn counters(samples: &[Sample], doubts: &mut Vec<String>) {
    const SUSPECTS: [(&str, &str); 9] = [
        (
            "ListenOverflows",
            "the accept queue was full: a larger backlog and net.core.somaxconn",
        ),
        (
            "ListenDrops",
            "connections were dropped by a listener, and clients had to try again",
        ),
        (
            "TCPReqQFullDrop",
            "the queue of half-open connections was full and dropped some",
        ),
        (
            "TCPReqQFullDoCookies",
            "the queue of half-open connections was full and SYN cookies went out",
        ),
        (
            "TCPSynRetrans",
            "SYNs were sent again, at the earliest after a second: they bend the latencies",
        ),
        ("TCPTimeouts", "retransmission timers ran out"),
        (
            "EmbryonicRsts",
            "connections were reset before they were open",
        ),
        (
            "TCPAbortOnMemory",
            "the kernel ended connections for want of memory, or for too many orphans",
        ),
        ("TCPMemoryPressures", "TCP was under memory pressure"),
    ];
    for now in last_of_each_namespace(samples) {
        let then = samples
            .iter()
            .flat_map(|sample| &sample.namespaces)
            .find(|before| before.host == now.host && before.tcp.present().is_some());
        if let Some(gap) = now.tcp.gap() {
            doubts.push(format!(
                "The TCP counters of {} could not be read ({gap}): dropped or repeated packets would not be seen.",
                now.host.name()
            ));
            continue;
        }
        for (name, meaning) in SUSPECTS {
            let grown = grown(then, now, name);
            if grown > 0 {
                doubts.push(format!(
                    "{name} grew by {} on {}: {meaning}.",
                    grouped(grown),
                    now.host.name()
                ));
            }
        }
        let entries =
            |sample: &NamespaceSample| sample.conntrack.present().map(|track| track.entries);
        let before = then.and_then(entries).unwrap_or(0);
        if let Some(after) = entries(now).filter(|after| *after > before + 100) {
            doubts.push(format!(
                "Connection tracking is in the path: {} entries more on {}, which cost memory and bound the number.",
                grouped(after - before),
                now.host.name()
            ));
        }
    }
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return;
    };
    if let (Some(then), Some(now)) = (
        first.softnet_dropped.present(),
        last.softnet_dropped.present(),
    ) && now > then
    {
        doubts.push(format!(
            "A processor's backlog dropped {} packets (net.core.netdev_max_backlog).",
            grouped(now - then)
        ));
    }
    let mut killed: BTreeMap<WorkerId, u64> = BTreeMap::new();
    for group in samples.iter().flat_map(|sample| &sample.cgroups) {
        if let Some(kills) = group.oom_kills.present().filter(|kills| **kills > 0) {
            killed.insert(group.worker, *kills);
        }
    }
    doubts.extend(killed.into_iter().map(|(worker, kills)| {
        format!(
            "{worker} was killed for memory{}.",
            if kills == 1 {
                String::new()
            } else {
                format!(" {kills} times")
            }
        )
    }));
}

/// Each namespace as it was seen last, with its counters where they could be read. The sample after the tear-down has no
/// namespace any more.
fn last_of_each_namespace(samples: &[Sample]) -> Vec<&NamespaceSample> {
    let mut last: BTreeMap<HostIndex, &NamespaceSample> = BTreeMap::new();
    for namespace in samples.iter().flat_map(|sample| &sample.namespaces) {
        let known = last.entry(namespace.host).or_insert(namespace);
        if namespace.tcp.present().is_some() {
            *known = namespace;
        }
    }
    last.into_values().collect()
}

/// By how much a counter grew between two samples of a namespace.
pub(super) fn grown(then: Option<&NamespaceSample>, now: &NamespaceSample, name: &str) -> u64 {
    let value = |sample: &NamespaceSample| {
        let tcp = sample.tcp.present();
        tcp.and_then(|tcp| tcp.counters.get(name).copied())
            .unwrap_or(0)
    };
    value(now).saturating_sub(then.map_or(0, value))
}

/// The machine: swap, processors, the observer.
fn machine(grounds: &Grounds<'_>, first: &Sample, last: &Sample, doubts: &mut Vec<String>) {
    let swapped = grounds
        .samples
        .iter()
        .filter_map(|sample| sample.memory.present())
        .map(|memory| memory.swap_total.saturating_sub(memory.swap_free).bytes());
    let before = first.memory.present().map_or(0, |memory| {
        memory.swap_total.saturating_sub(memory.swap_free).bytes()
    });
    if let Some(most) = swapped.max().filter(|most| *most > before) {
        doubts.push(format!(
            "Swap was used ({} more than before): memory per connection is too low by what went there.",
            crate::report::number::bytes((most - before) as f64)
        ));
    }
    let pace = pace(grounds.summary);
    ramp_processors(grounds.story.during_ramp(grounds.samples), pace, doubts);
    if let (Some(then), Some(now)) = (
        first.observer_cpu_seconds.present(),
        last.observer_cpu_seconds.present(),
    ) {
        let share = (now - then) / (last.at_seconds - first.at_seconds).max(1.0);
        if share > OBSERVER_SHARE {
            doubts.push(format!(
                "The observer used {} of one processor.",
                percent(share)
            ));
        }
    }
    let late = grounds
        .samples
        .windows(2)
        .map(|pair| pair[1].at_seconds - pair[0].at_seconds)
        .fold(0.0, f64::max);
    if late > LATE_SECONDS {
        doubts.push(format!(
            "Samples are up to {} apart, where one a second was planned: the machine was busy or stood still.",
            seconds(late)
        ));
    }
}

/// What set the pace of the ramp.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// A planned rate.
    Planned,
    /// Nothing but the machine.
    Unbounded,
}

fn pace(plan: &Reading<RunSummary>) -> Pace {
    let planned = plan.present().is_some_and(|plan| {
        let mut workers = plan.workers.iter();
        workers.any(|worker| matches!(&worker.planned.spec, WorkerSpec::Client(client) if client.rate.is_some()))
    });
    if planned {
        Pace::Planned
    } else {
        Pace::Unbounded
    }
}

fn ramp_processors(during: &[Sample], pace: Pace, doubts: &mut Vec<String>) {
    let (Some(first), Some(last)) = (during.first(), during.last()) else {
        return;
    };
    let Some(shares) = processor::between(first, last) else {
        return;
    };
    if shares.steal > STEAL_SHARE {
        doubts.push(format!(
            "The hypervisor took {} of the processor time during the ramp: rates and latencies are not this machine's alone.",
            percent(shares.steal)
        ));
    }
    let ticks = (last.at_seconds - first.at_seconds) * processor::TICKS_PER_SECOND;
    if ticks < FEWEST_TICKS {
        return;
    }
    if shares.idle < IDLE_SHARE && pace == Pace::Unbounded {
        doubts.push(format!(
            "The processors were busy throughout the ramp ({} idle), and clients and server share them: the rate is that of both together, not the server's own limit.",
            percent(shares.idle)
        ));
    }
    let (Some(then), Some(now)) = (first.cpu.present(), last.cpu.present()) else {
        return;
    };
    let ours: u64 = last
        .processes
        .iter()
        .map(|process| {
            let before = processor::process(first, process.worker);
            process
                .user_ticks
                .saturating_sub(before.map_or(0, |before| before.user_ticks))
        })
        .sum();
    let past = |field: fn(&CpuTicks) -> u64| field(now).saturating_sub(field(then));
    let user = past(|ticks| ticks.user) + past(|ticks| ticks.nice);
    let elapsed = (last.at_seconds - first.at_seconds) * processor::TICKS_PER_SECOND;
    let foreign = user.saturating_sub(ours) as f64;
    if elapsed > 0.0 && foreign / elapsed > FOREIGN_SHARE {
        doubts.push(format!(
            "Other programs, the runner included, used {} of one processor during the ramp (user time that is not the workers').",
            percent(foreign / elapsed)
        ));
    }
}

fn kernel_log(samples: &[Sample], doubts: &mut Vec<String>) {
    const SHOWN: usize = 5;
    let lines: Vec<&str> = log_lines(samples);
    for line in lines.iter().take(SHOWN) {
        doubts.push(format!("The kernel's log says: `{line}`."));
    }
    if lines.len() > SHOWN {
        doubts.push(format!(
            "The kernel's log has {} lines more of that kind.",
            lines.len() - SHOWN
        ));
    }
    if let Some(gap) = log_gap(samples) {
        doubts.push(format!(
            "The kernel's log is not known in full ({gap}): messages about orphans or memory may not be seen."
        ));
    }
}

/// Why what is known of the kernel's log may not be all of it.
pub(super) fn log_gap(samples: &[Sample]) -> Option<String> {
    let unread = samples.iter().find_map(|sample| sample.kernel_log.gap());
    let overrun = samples.iter().find(|sample| sample.kernel_log_overrun);
    unread.map(str::to_owned).or_else(|| {
        overrun.map(|sample| {
            format!(
                "the kernel wrote over messages before they were read, at {:.1} s",
                sample.at_seconds
            )
        })
    })
}

/// Every line of the kernel's log that was recorded.
pub(super) fn log_lines(samples: &[Sample]) -> Vec<&str> {
    samples
        .iter()
        .filter_map(|sample| sample.kernel_log.present())
        .flatten()
        .map(|message| message.text.as_str())
        .collect()
}

fn settings(story: &Story, doubts: &mut Vec<String>) {
    for record in &story.settings {
        if let Some(error) = &record.error {
            let place = record.place();
            doubts.push(format!(
                "{} is not as wanted on {place}: {error}.",
                record.change.key
            ));
        }
    }
    for (key, outcome) in &story.restored {
        match outcome {
            RestoreOutcome::ChangedByOthers(value) => doubts.push(format!(
                "{key} was changed by somebody else during the run, to {value}: it was left alone."
            )),
            RestoreOutcome::Failed(error) => {
                doubts.push(format!("{key} could not be put back: {error}."));
            }
            RestoreOutcome::Restored | RestoreOutcome::AlreadyThere => {}
        }
    }
}

fn memory(grounds: &Grounds<'_>, doubts: &mut Vec<String>) {
    if let Some(memory) = grounds.memory.present() {
        if let Some(reason) = &memory.disturbed {
            doubts.push(sentence(&format!(
                "memory for each connection is disturbed: {reason}"
            )));
        }
        if let Some(reason) = &memory.not_measurable {
            doubts.push(sentence(&format!("memory for each connection is {reason}")));
        }
        doubts.extend(
            memory
                .gaps
                .iter()
                .map(|gap| sentence(&format!("not read: {gap}"))),
        );
        if memory.others().abs() > FOREIGN_SHARE * memory.total().abs() {
            doubts.push(format!(
                "Memory of other programs changed by {} between baseline and target: it is left out of the figures, but `MemFree`, `MemAvailable` and the readings of `free` have it.",
                crate::report::number::bytes(memory.others())
            ));
        }
        let dropped = -memory.of(Account::Cache);
        if dropped > RECLAIM_SHARE * memory.total().abs() {
            doubts.push(format!(
                "The page cache shrank by {} between baseline and target: the kernel took memory back for the connections while it opened them, which slows the ramp down and frees slabs that are not theirs. Drop the cache before a run whose rate is compared (`echo 3 > /proc/sys/vm/drop_caches`).",
                crate::report::number::bytes(dropped)
            ));
        }
        if let Some(slope) = grounds.slope.present()
            && memory.not_measurable.is_none()
        {
            let difference = memory.total() / memory.connections;
            let apart = (slope.slope - difference) / difference;
            if apart.abs() > SLOPE_SHARE {
                doubts.push(format!(
                    "The slope ({}) and the difference between target and baseline ({}) disagree by {}: part of the memory does not grow with the connections, or grows in steps.",
                    bytes_each(slope.slope),
                    bytes_each(difference),
                    percent(apart.abs())
                ));
            }
        }
    }
}

/// What the shape of the experiment leaves open.
fn shape(grounds: &Grounds<'_>, doubts: &mut Vec<String>) {
    let replaced: u64 = grounds
        .story
        .workers
        .values()
        .filter_map(|worker| worker.progress.last())
        .map(|(_, counters)| counters.ports_replaced)
        .sum();
    if replaced > 0 {
        doubts.push(format!(
            "Source ports that were in use elsewhere and were replaced by spare ones: {}.",
            grouped(replaced)
        ));
    }
    if let Some(plan) = grounds.summary.present() {
        if let (VerifyShare::Sample(share), Proof::Sample) = (verify_of(&plan.stages), proof(plan))
        {
            doubts.push(format!(
                "Only {} connections were proved alive by {}; the others were only counted.",
                grouped(u64::from(share.get())),
                plan.protocol.kind().proof()
            ));
        }
        if proof(plan) == Proof::None {
            doubts.push(format!(
                "No connection was proved alive by {}: {}.",
                plan.protocol.kind().proof(),
                unproved_because(plan)
            ));
        }
    }
    let failed: u64 = grounds.story.failures.len() as u64;
    if failed > 0 {
        doubts.push(format!(
            "{} failed connects are described above.",
            figure(failed as f64)
        ));
    }
}

/// Why no echo was sent.
fn unproved_because(plan: &RunSummary) -> &'static str {
    if !plan.protocol.asks() {
        return "the protocol `tcp` asks nothing; both ends were only counted";
    }
    match plan.server() {
        Some(server) if !server.service.accepts() => {
            "the server does not accept, so its connections wait in the listen queue"
        }
        Some(server) if !server.service.answers() => "the server does not read",
        _ if !plan.protocol.asks() => {
            "the protocol is `tcp`, which says nothing; both ends were counted"
        }
        _ => "the scenario asks for none (`verify: none`); both ends were only counted",
    }
}

/// A text with a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.trim().chars();
    let first: String = letters
        .next()
        .map(|letter| letter.to_uppercase().collect())
        .unwrap_or_default();
    let whole = format!("{first}{}", letters.as_str());
    if whole.ends_with(['.', '!', '?']) {
        whole
    } else {
        format!("{whole}.")
    }
}
