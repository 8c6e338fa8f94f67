//! From a recording to a report: every figure computed once, every missing figure with its reason. Pure.

mod article;
mod doubts;
mod latency;
mod legible;
mod limit;
mod limits;
mod memory;
mod outcome;
mod processor;
mod proof;
mod series;
mod server;
mod sizing;
mod slope;
mod story;
mod verdict;

use std::collections::BTreeMap;

use crate::domain::{ConnCount, ConnRate, ConntrackSample, Load, Mark, Reading, Role, Sample};
use crate::record::{Recording, RunIdentity};

use super::model::{Counted, Guard, Loss, MemoryDetail, Report, WorkerDetail};
use memory::Span;
use story::Story;

/// Understands a run.
#[must_use]
pub fn analyse(recording: &Recording) -> Report {
    let story = Story::of(&recording.events);
    let samples = &recording.samples;
    let page = recording
        .facts
        .present()
        .map_or(ASSUMED_PAGE, |facts| facts.page_size.as_f64());
    let span = span(&story, samples, page);
    let (memory, article) = match &span {
        Ok(span) => (
            memory::detail(
                span,
                memory::Known {
                    story: &story,
                    summary: recording.summary.present(),
                    facts: recording.facts.present(),
                },
            ),
            article::readings(span, &story, samples),
        ),
        Err(why) => (Reading::missing(why), Reading::missing(why)),
    };
    let base = sample_at(&story, samples, Mark::Baseline).or_else(|| samples.first());
    let series = series::series(&story, samples, base);
    let slope = slope::fit(&series.memory_over_connections);
    let latency =
        latency::Merged::of(story.latencies.iter().map(|(_, _, counts)| counts)).summary();
    let echo = story.verification.as_ref().and_then(|verification| {
        latency::Merged::of(
            verification
                .clients
                .iter()
                .map(|(_, report)| &report.latency),
        )
        .summary()
    });
    let echo_load = echo_load(&story);
    let doubts = doubts::doubts(&doubts::Grounds {
        story: &story,
        summary: &recording.summary,
        samples,
        damage: &recording.damage,
        memory: &memory,
        slope: &slope,
    });
    let server = server::server(recording, &story, &memory);
    let result = outcome::result(outcome::Findings {
        recording,
        story: &story,
        memory: &memory,
        slope: &slope,
        latency: latency.as_ref(),
        server: server.as_ref(),
        doubts,
    });
    Report {
        limit: limit::limit(recording, &story, samples),
        limits: limits::limits(&recording.summary, &recording.facts),
        used: used(&story, &memory, samples),
        tracking: tracking(&story, samples),
        counted: counted(&story),
        workers: workers(&story),
        failures: failures(&story),
        losses: losses(&story),
        summary: recording.summary.clone(),
        facts: recording.facts.clone(),
        command: story
            .started
            .as_ref()
            .map_or_else(Vec::new, |(_, command, _)| command.clone()),
        version: story
            .started
            .as_ref()
            .map(|(_, _, version)| version.clone()),
        directory: recording
            .identity
            .present()
            .and_then(RunIdentity::directory),
        guard: guard(&story),
        interrupted_in: story.interrupted.as_ref().map(|(_, phase)| *phase),
        place: story.place,
        phases: story.phases,
        settings: story.settings,
        restored: story.restored,
        shrunk: story.shrunk,
        errors: story.failed,
        result,
        latency,
        echo,
        echo_load,
        server,
        memory,
        slope,
        article,
        series,
    }
}

/// The guard's account, where it stopped a ramp.
fn guard(story: &Story) -> Option<Guard> {
    let guard = story.guard.as_ref()?;
    Some(Guard {
        reason: guard.reason.clone(),
        at: guard.at.count(),
        would_fit: guard.would_fit?.count(),
        bytes_per_connection: guard.bytes_per_connection,
    })
}

/// How the echoes were started, over all clients.
fn echo_load(story: &Story) -> Option<Load> {
    let verification = story.verification.as_ref()?;
    let loads = verification.clients.iter().map(|(_, report)| report.load);
    loads
        .collect::<Option<Vec<Load>>>()?
        .into_iter()
        .reduce(|one, other| match (one, other) {
            (Load::ClosedLoop { window: one }, Load::ClosedLoop { window: other }) => {
                Load::ClosedLoop {
                    window: one + other,
                }
            }
            (Load::Planned { rate: one }, Load::Planned { rate: other }) => Load::Planned {
                rate: ConnRate::new(one.per_second() + other.per_second()),
            },
            (one, _) => one,
        })
}

/// The size of a page where the facts are missing: what every x86 and most Arm kernels use.
const ASSUMED_PAGE: f64 = 4096.0;

/// The two samples that memory is compared between, or why there are none.
fn span<'a>(story: &Story, samples: &'a [Sample], page: f64) -> Result<Span<'a>, String> {
    let base = sample_at(story, samples, Mark::Baseline)
        .ok_or_else(|| missing_sample(story, Mark::Baseline, "baseline"))?;
    let (target, moment) = match sample_at(story, samples, Mark::Target) {
        Some(target) => (target, "after the ramp, settled"),
        // A run that was stopped has no target: the end of its ramp says nearly as much.
        None => match sample_at(story, samples, Mark::RampEnd) {
            Some(end) => (end, "at the end of the ramp, not settled"),
            None => return Err(missing_sample(story, Mark::Target, "target")),
        },
    };
    Ok(Span {
        base,
        target,
        connections: story.held_at(target.at_seconds).as_f64(),
        between: format!(
            "between {:.1} s (baseline, nobody connected) and {:.1} s ({moment})",
            base.at_seconds, target.at_seconds
        ),
        page,
    })
}

fn missing_sample(story: &Story, mark: Mark, name: &str) -> String {
    match story.marks.get(&mark) {
        Some((at, number)) => {
            format!("sample {number}, taken for the {name} at {at:.1} s, is not in the recording")
        }
        None => format!("the run did not come to its {name}"),
    }
}

fn sample_at<'a>(story: &Story, samples: &'a [Sample], mark: Mark) -> Option<&'a Sample> {
    let (_, number) = story.marks.get(&mark)?;
    samples.iter().find(|sample| sample.number == *number)
}

/// Entries of connection tracking in each place that tells them, at the baseline and at the target.
fn tracking(story: &Story, samples: &[Sample]) -> Vec<(String, Reading<u64>, Reading<u64>)> {
    let (Some(before), Some(target)) = (
        sample_at(story, samples, Mark::Baseline),
        sample_at(story, samples, Mark::Target),
    ) else {
        return Vec::new();
    };
    let entries = |reading: &Reading<ConntrackSample>| reading.clone().map(|track| track.entries);
    let mut rows = vec![(
        "this host".to_owned(),
        entries(&before.host_conntrack),
        entries(&target.host_conntrack),
    )];
    for namespace in &target.namespaces {
        let earlier = before
            .namespaces
            .iter()
            .find(|other| other.host == namespace.host)
            .map_or_else(
                || Reading::missing("not looked at before"),
                |other| entries(&other.conntrack),
            );
        rows.push((
            namespace.host.name(),
            earlier,
            entries(&namespace.conntrack),
        ));
    }
    rows.retain(|(_, before, target)| before.present().is_some() || target.present().is_some());
    rows
}

fn counted(story: &Story) -> BTreeMap<&'static str, Reading<Counted>> {
    [Role::Server, Role::Client]
        .into_iter()
        .map(|role| {
            let counted = story.counted(role).map_or_else(
                || Reading::missing("this end was not counted"),
                |(states, took_seconds)| {
                    Reading::Present(Counted {
                        states,
                        took_seconds,
                    })
                },
            );
            (role.name(), counted)
        })
        .collect()
}

fn workers(story: &Story) -> Vec<WorkerDetail> {
    let details = story.workers.iter().map(|(worker, told)| {
        let last = told.progress.last().map(|(_, counters)| counters);
        // What looks after a server that is not ours has none for it.
        let tables = told.tables.filter(|(_, each)| *each > 0);
        WorkerDetail {
            worker: *worker,
            tables: tables.map(|(tables, _)| tables),
            descriptors_per_table: tables.map(|(_, each)| each),
            opened: last.map_or(0, |counters| counters.opened.count()),
            ports_replaced: last.map_or(0, |counters| counters.ports_replaced),
            handovers: last.map_or(0, |counters| counters.handovers),
            died: told.died.clone(),
        }
    });
    details.collect()
}

fn failures(story: &Story) -> Vec<(String, u64)> {
    let mut classes = BTreeMap::new();
    for client in story.clients() {
        let Some(counters) = story.counters_at(client, f64::INFINITY) else {
            continue;
        };
        for (failure, count) in &counters.failed {
            *classes.entry(*failure).or_insert(0) += count;
        }
    }
    classes
        .into_iter()
        .map(|(failure, count): (crate::domain::ConnectFailure, u64)| {
            (format!("{failure}: {}", failure.hint()), count)
        })
        .collect()
}

fn losses(story: &Story) -> Vec<Loss> {
    let drain = story.drain_began();
    let unasked = story.losses.iter().filter(|(at, _, _)| *at <= drain);
    unasked
        .map(|(at, worker, note)| Loss {
            at_seconds: *at,
            worker: *worker,
            reason: note.reason.to_string(),
            count: note.count,
            examples: note
                .examples
                .iter()
                .map(ToString::to_string)
                .chain(
                    (!note.said.is_empty())
                        .then(|| format!("the server said `{}`", note.said.first_line())),
                )
                .collect(),
        })
        .collect()
}

/// What limits were really used, by the name of the budget's row.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // bytes, made positive
fn used(
    story: &Story,
    memory: &Reading<MemoryDetail>,
    samples: &[Sample],
) -> BTreeMap<&'static str, u64> {
    let mut used = BTreeMap::new();
    if let Some(memory) = memory.present() {
        used.insert("memory", memory.total().max(0.0) as u64);
    }
    let peak = story.peak();
    if peak > ConnCount::ZERO {
        used.insert("four_tuples", peak.count());
    }
    let files = samples.iter().filter_map(|sample| sample.files.present());
    if let Some(most) = files.map(|(open, _)| *open).max() {
        used.insert("files", most);
    }
    let tracked = samples.iter().map(|sample| {
        let each = sample.namespaces.iter();
        each.filter_map(|namespace| namespace.conntrack.present().map(|track| track.entries))
            .sum::<u64>()
    });
    if let Some(most) = tracked.max() {
        used.insert("conntrack", most);
    }
    let largest = story.workers.values().filter_map(|worker| {
        let (_, counters) = worker.progress.last()?;
        Some(counters.opened.count())
    });
    if let Some(most) = largest.max() {
        used.insert("descriptors", most);
    }
    let threads = samples.iter().map(|sample| {
        let each = sample.processes.iter();
        each.map(|process| process.threads).sum::<u64>()
    });
    if let Some(most) = threads.max() {
        used.insert("threads", most);
    }
    // Each registration has one wait entry.
    if let Some(watches) = memory
        .present()
        .and_then(|memory| memory.row("eventpoll_pwq")?.objects)
    {
        used.insert("epoll_watches", watches.max(0.0) as u64);
    }
    used
}
