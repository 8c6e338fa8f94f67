//! The readings of the article of 2013, taken here in the same way: `free -m` of that time, its formula, and the lines of
//! `sockstat`, `file-nr`, `top` and `vmstat`.

use crate::domain::{MemInfo, Phase, Reading, Sample, WorkerId};

use super::memory::Span;
use super::processor;
use super::story::Story;
use crate::report::model::{ArticleReadings, OldFree, TopRow, VmstatRow};

/// Readings of `free` at the target, as in the article.
const READINGS: usize = 3;

/// Takes the readings.
pub(super) fn readings(
    span: &Span<'_>,
    story: &Story,
    samples: &[Sample],
) -> Reading<ArticleReadings> {
    let Some(free_before) = span.base.memory.present().map(old_free) else {
        return Reading::missing("/proc/meminfo could not be read at the baseline");
    };
    let drained = story.drain_began();
    let at_target: Vec<&Sample> = samples
        .iter()
        .filter(|sample| sample.number >= span.target.number && sample.at_seconds <= drained)
        .collect();
    let free_at_target: Vec<OldFree> = at_target
        .iter()
        .take(READINGS)
        .filter_map(|sample| sample.memory.present())
        .map(old_free)
        .collect();
    let net = |sample: &Sample| sample.memory.present().map(used_net);
    // The article takes the last of its three readings.
    let last = at_target.iter().take(READINGS).next_back();
    let (Some(base), Some(last)) = (net(span.base), last.and_then(|sample| net(sample))) else {
        return Reading::missing("/proc/meminfo could not be read at the target");
    };
    Reading::Present(ArticleReadings {
        connections: whole(span.connections),
        free_before,
        free_at_target,
        formula: (last - base) / span.connections,
        sockstat: sockstat(span.target),
        file_nr: span
            .target
            .files
            .clone()
            .map(|(open, limit)| format!("{open} 0 {limit}")),
        top: top(span.target, story, samples),
        vmstat: vmstat(&holding(&at_target, story)),
        kernel_log_gap: super::doubts::log_gap(samples),
        kernel_log: super::doubts::log_lines(samples)
            .into_iter()
            .map(str::to_owned)
            .collect(),
    })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count
fn whole(number: f64) -> u64 {
    number as u64
}

/// Used without buffers and cache, as `free` of procps 3.2 computed it: everything that is not free, less `Buffers`
/// and `Cached`. It counts reclaimable slab as used; later versions of `free` count it as cache.
fn used_net(memory: &MemInfo) -> f64 {
    memory.total.as_f64() - memory.free.as_f64() - memory.buffers.as_f64() - memory.cached.as_f64()
}

fn old_free(memory: &MemInfo) -> OldFree {
    let used = memory.total.saturating_sub(memory.free);
    let cache = memory.buffers + memory.cached;
    OldFree {
        total: memory.total.mib(),
        used: used.mib(),
        free: memory.free.mib(),
        shared: memory.shared.mib(),
        buffers: memory.buffers.mib(),
        cached: memory.cached.mib(),
        used_net: used.saturating_sub(cache).mib(),
        free_net: (memory.free + cache).mib(),
        swap_total: memory.swap_total.mib(),
        swap_used: memory.swap_total.saturating_sub(memory.swap_free).mib(),
    }
}

fn sockstat(sample: &Sample) -> Reading<Vec<String>> {
    let Some(server) = sample.namespaces.first() else {
        return Reading::missing("no network namespace was sampled");
    };
    server.sockets.clone().map(|sockets| {
        vec![
            format!("sockets: used {}", sockets.sockets_used),
            format!(
                "TCP: inuse {} orphan {} tw {} alloc {} mem {}",
                sockets.tcp_in_use,
                sockets.orphans,
                sockets.time_wait,
                sockets.tcp_allocated,
                sockets.tcp_memory.pages()
            ),
        ]
    })
}

fn top(target: &Sample, story: &Story, samples: &[Sample]) -> Option<TopRow> {
    let server = processor::process(target, WorkerId::SERVER)?;
    let during = story.during_ramp(samples);
    let ramp = during.first().zip(during.last());
    let cpu_percent = ramp.and_then(|(first, last)| {
        let used = processor::cpu_seconds(processor::process(last, WorkerId::SERVER)?)
            - processor::cpu_seconds(processor::process(first, WorkerId::SERVER)?);
        let elapsed = last.at_seconds - first.at_seconds;
        (elapsed > 0.0).then(|| used / elapsed * 100.0)
    });
    Some(TopRow {
        virtual_bytes: server.virtual_size.bytes(),
        resident_bytes: (server.anonymous + server.file_backed).bytes(),
        cpu_percent,
        cpu_seconds: processor::cpu_seconds(server),
        machine: ramp.and_then(|(first, last)| processor::between(first, last)),
    })
}

/// The samples of the hold alone: counting and echoes come after it.
fn holding<'a>(at_target: &[&'a Sample], story: &Story) -> Vec<&'a Sample> {
    let Some(began) = story.began(Phase::Hold) else {
        return Vec::new();
    };
    let until = story
        .length(Phase::Hold)
        .map_or(f64::INFINITY, |seconds| began + seconds);
    at_target
        .iter()
        .copied()
        .filter(|sample| (began..=until).contains(&sample.at_seconds))
        .collect()
}

/// The machine while connections are held.
fn vmstat(held: &[&Sample]) -> Reading<VmstatRow> {
    let (Some(first), Some(last)) = (held.first(), held.last()) else {
        return Reading::missing("no sample fell into the hold");
    };
    let (Reading::Present(then), Reading::Present(now), Reading::Present(memory)) =
        (&first.cpu, &last.cpu, &last.memory)
    else {
        return Reading::missing("/proc/stat or /proc/meminfo could not be read during the hold");
    };
    let Some(shares) = processor::shares(then, now) else {
        return Reading::missing("only one sample fell into the hold");
    };
    let elapsed = last.at_seconds - first.at_seconds;
    let rate = |then: u64, now: u64| now.saturating_sub(then) as f64 / elapsed;
    Reading::Present(VmstatRow {
        running: now.running,
        free_kib: memory.free.bytes() / 1024,
        buffers_kib: memory.buffers.bytes() / 1024,
        cached_kib: memory.cached.bytes() / 1024,
        swapped_kib: memory.swap_total.saturating_sub(memory.swap_free).bytes() / 1024,
        interrupts: rate(then.interrupts, now.interrupts),
        switches: rate(then.context_switches, now.context_switches),
        shares,
    })
}
