//! What charts are drawn from.

use crate::domain::{Phase, Sample};

use super::latency::over_held;
use super::memory::beyond;
use super::story::Story;
use super::{doubts, processor};
use crate::report::model::{AcceptingAt, Series};

/// Seconds over which a rate is taken: progress comes four times a second, and from several clients.
const RATE_SECONDS: f64 = 1.0;

/// Every series.
pub(super) fn series(story: &Story, samples: &[Sample], base: Option<&Sample>) -> Series {
    let memory = |sample: &Sample| beyond(base?, sample);
    let ramp = story.ramp();
    let drain = story.began(Phase::Drain);
    Series {
        connections: connections(story),
        rate: rate(&evened(&story.opened), ramp),
        memory: samples
            .iter()
            .filter_map(|sample| Some((sample.at_seconds, memory(sample)?)))
            .collect(),
        memory_over_connections: story
            .during_ramp(samples)
            .iter()
            .filter_map(|sample| Some((held_in(sample, base?)?, memory(sample)?)))
            .collect(),
        latency: over_held(
            story
                .latencies
                .iter()
                .map(|(_, held, counts)| (held.as_f64(), counts)),
            story.peak().as_f64(),
        ),
        cpu: samples
            .windows(2)
            .filter_map(|pair| Some((pair[1].at_seconds, processor::between(&pair[0], &pair[1])?)))
            .collect(),
        listen_drops: listen_drops(samples),
        accepting: accepting(story),
        drain: drain.map_or_else(Vec::new, |began| closing(story, began)),
        phases: story.began.clone(),
    }
}

/// Connections held, from what clients say; level until the next change.
fn connections(story: &Story) -> Vec<(f64, f64)> {
    let ramp = story.ramp().map(|(from, _)| (from, 0.0));
    let drain = story.began(Phase::Drain).unwrap_or(f64::INFINITY);
    let (opening, closing): (Vec<_>, Vec<_>) =
        story.held.iter().copied().partition(|(at, _)| *at <= drain);
    let told = evened(&opening);
    let mut line: Vec<(f64, f64)> = Vec::new();
    for (at, held) in ramp.into_iter().chain(told) {
        // Nothing is told while nothing changes: what was held stayed until shortly before this.
        if let Some((_, before)) = line
            .last()
            .copied()
            .filter(|(then, _)| at - then > SILENCE_SECONDS)
        {
            line.push((at - PROGRESS_SECONDS, before));
        }
        line.push((at, held));
    }
    let last = line.pop();
    let closing = closing.into_iter().map(|(at, held)| (at, held as f64));
    line.extend(stepped(last.into_iter().chain(closing)));
    line
}

/// How far a server that is not the lab's own had accepted. It is told when it changes, so it stayed until shortly before.
fn accepting(story: &Story) -> Vec<AcceptingAt> {
    let mut line: Vec<AcceptingAt> = Vec::new();
    for (at, state) in &story.accepting {
        if let Some(before) = line
            .last()
            .copied()
            .filter(|before| at - before.at_seconds > SILENCE_SECONDS)
        {
            line.push(AcceptingAt {
                at_seconds: at - PROGRESS_SECONDS,
                ..before
            });
        }
        line.push(AcceptingAt {
            at_seconds: *at,
            accepted: state.accepted as f64,
            waiting: state.waiting as f64,
            limit: state.queues.iter().map(|queue| queue.limit).sum::<u64>() as f64,
        });
    }
    // What is not told any more has not changed, until connections are closed.
    let drain = story.drain_began();
    if let Some(last) = line.last().copied().filter(|last| last.at_seconds < drain) {
        line.push(AcceptingAt {
            at_seconds: drain,
            ..last
        });
    }
    line
}

/// One point for each interval of progress, the last one in it: each client tells its own at a time of its own, and the
/// sum would climb in steps.
fn evened(told: &[(f64, u64)]) -> Vec<(f64, f64)> {
    let mut even: Vec<(f64, f64)> = Vec::new();
    for (at, count) in told {
        let interval = |at: f64| (at / PROGRESS_SECONDS).floor();
        if even
            .last()
            .is_some_and(|(before, _)| interval(*before) >= interval(*at))
        {
            even.pop();
        }
        even.push((*at, *count as f64));
    }
    even
}

/// A worker tells its progress so often while something changes.
const PROGRESS_SECONDS: f64 = 0.25;
/// Longer silence than this means that nothing changed.
const SILENCE_SECONDS: f64 = 4.0 * PROGRESS_SECONDS;

fn rate(opened: &[(f64, f64)], ramp: Option<(f64, f64)>) -> Vec<(f64, f64)> {
    let Some((began, ended)) = ramp else {
        return Vec::new();
    };
    let mut rates = Vec::new();
    let mut from = (began, 0.0);
    let during = opened
        .iter()
        .filter(|(at, _)| *at <= ended + PROGRESS_SECONDS);
    for (at, count) in during {
        let (then, before) = from;
        if at - then >= RATE_SECONDS {
            let rate = (count - before).max(0.0) / (at - then);
            rates.push((*at, rate));
            from = (*at, *count);
        }
    }
    rates
}

/// Connections at the moment of a sample, as the kernel counts them: `CurrEstab` of all namespaces, which has each
/// connection twice, because both ends are here.
fn held_in(sample: &Sample, base: &Sample) -> Option<f64> {
    let ends = |sample: &Sample| -> Option<u64> {
        let each = sample.namespaces.iter();
        let counts = each.map(|namespace| namespace.tcp.present().map(|tcp| tcp.established));
        counts.sum()
    };
    if sample.namespaces.is_empty() {
        return None;
    }
    Some(ends(sample)?.saturating_sub(ends(base)?) as f64 / 2.0)
}

fn listen_drops(samples: &[Sample]) -> Vec<(f64, f64)> {
    let Some(first) = samples.first() else {
        return Vec::new();
    };
    let series: Vec<(f64, f64)> = samples
        .iter()
        .map(|sample| {
            let each = sample.namespaces.iter().map(|now| {
                let then = first
                    .namespaces
                    .iter()
                    .find(|before| before.host == now.host);
                doubts::grown(then, now, "ListenDrops")
            });
            (sample.at_seconds, each.sum::<u64>() as f64)
        })
        .collect();
    if series.iter().any(|(_, drops)| *drops > 0.0) {
        series
    } else {
        Vec::new()
    }
}

/// Connections left, as the clients tell while they close them.
fn closing(story: &Story, began: f64) -> Vec<(f64, f64)> {
    let first = (0.0, story.held_at(began).as_f64());
    let later = story.held.iter().filter(|(at, _)| *at > began);
    let later = later.map(|(at, held)| (at - began, *held as f64));
    stepped([first].into_iter().chain(later))
}

/// A line in steps: a value stays until the next one is told. While connections are closed some engines tell so table by
/// table, and nothing is known in between.
fn stepped(told: impl IntoIterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut line: Vec<(f64, f64)> = Vec::new();
    for (at, value) in told {
        if let Some((_, before)) = line.last().copied() {
            line.push((at, before));
        }
        line.push((at, value));
    }
    line
}
