//! Processor time between two samples, as shares of the whole machine.

use crate::domain::{CpuTicks, ProcessSample, Sample, WorkerId};

use crate::report::model::CpuShares;

/// `USER_HZ`: the unit of `/proc/stat` and `/proc/PID/stat`, 100 on every architecture that Linux has kept.
pub(super) const TICKS_PER_SECOND: f64 = 100.0;

/// Shares between two moments; nothing where no tick passed.
pub(super) fn shares(from: &CpuTicks, until: &CpuTicks) -> Option<CpuShares> {
    let past = |field: fn(&CpuTicks) -> u64| field(until).saturating_sub(field(from)) as f64;
    let user = past(|ticks| ticks.user) + past(|ticks| ticks.nice);
    let system = past(|ticks| ticks.system);
    let irq = past(|ticks| ticks.irq);
    let softirq = past(|ticks| ticks.softirq);
    let steal = past(|ticks| ticks.steal);
    let iowait = past(|ticks| ticks.iowait);
    let idle = past(|ticks| ticks.idle);
    let all = user + system + irq + softirq + steal + iowait + idle;
    (all > 0.0).then(|| CpuShares {
        user: user / all,
        system: system / all,
        irq: irq / all,
        softirq: softirq / all,
        steal: steal / all,
        iowait: iowait / all,
        idle: idle / all,
    })
}

/// Shares between two samples.
pub(super) fn between(from: &Sample, until: &Sample) -> Option<CpuShares> {
    shares(from.cpu.present()?, until.cpu.present()?)
}

/// What one worker used until `sample`.
pub(super) fn process(sample: &Sample, worker: WorkerId) -> Option<&ProcessSample> {
    sample
        .processes
        .iter()
        .find(|process| process.worker == worker)
}

/// Seconds of CPU that a process used, user and system.
pub(super) fn cpu_seconds(process: &ProcessSample) -> f64 {
    (process.user_ticks + process.system_ticks) as f64 / TICKS_PER_SECOND
}
