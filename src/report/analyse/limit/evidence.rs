//! What a recording has on the limit that a server met, and what each kind of limit asks for.

use std::collections::BTreeMap;

use crate::domain::{
    Bytes, CgroupSample, ConnectFailure, GaveWay, KernelMessage, Limit, LossReason, Mark, Phase,
    RunSummary, Sample, SubjectFacts, WorkerId,
};
use crate::record::Recording;
use crate::report::number::grouped;

use super::ramped;
use crate::report::analyse::legible::quoted;
use crate::report::analyse::server::tree;
use crate::report::analyse::story::{END_IS_SEEN_WITHIN, Story};

/// What was recorded of the server and its limit.
pub(super) struct Evidence<'a> {
    pub(super) summary: &'a RunSummary,
    pub(super) story: &'a Story,
    pub(super) samples: &'a [Sample],
    pub(super) facts: Option<&'a SubjectFacts>,
    pub(super) gave_way: Option<GaveWay>,
    /// When, in seconds since the run began.
    pub(super) at: Option<f64>,
    pub(super) accepted_peak: u64,
    pub(super) established_peak: u64,
    pub(super) lost: Vec<(f64, u64)>,
    pub(super) failed: BTreeMap<ConnectFailure, u64>,
    pub(super) memory_left: Option<Bytes>,
}

impl<'a> Evidence<'a> {
    /// What there is; nothing where no connection was opened, or nothing gave way and none was looked for.
    pub(super) fn gather(
        recording: &'a Recording,
        story: &'a Story,
        samples: &'a [Sample],
    ) -> Option<Self> {
        let summary = recording.summary.present()?;
        if !ramped(story) {
            return None;
        }
        let drain = story.drain_began();
        let accepted_peak = story
            .accepting
            .iter()
            .map(|(_, state)| state.accepted)
            .max()
            .unwrap_or(0);
        let lost = lost(story, drain);
        let failed = failed(story, drain);
        let (gave_way, at) = with_its_end(gave_way(story, summary, &lost, &failed)?, story);
        Some(Self {
            summary,
            story,
            samples,
            facts: story.subject.as_ref(),
            gave_way: Some(gave_way),
            at,
            accepted_peak,
            established_peak: story.peak().count(),
            lost,
            failed,
            memory_left: recording
                .facts
                .present()
                .map(|facts| facts.memory.free + facts.memory.droppable),
        })
    }

    /// The name of the server's program, without its folder.
    pub(super) fn program(&self) -> Option<&'a str> {
        let facts = self.facts?;
        let file = facts
            .program
            .present()
            .map(|path| path.rsplit('/').next().unwrap_or(path))?;
        // A program of an interpreter is told by the interpreter's name, which is no program's own word.
        Some(file)
    }

    /// The least limit of its accept queues.
    pub(super) fn queue_limit(&self) -> Option<u64> {
        self.facts?.listening.iter().map(|queue| queue.limit).min()
    }

    /// The sample at or right after the moment.
    pub(super) fn sample(&self) -> Option<&'a Sample> {
        let at = self.at?;
        self.samples
            .iter()
            .find(|sample| sample.at_seconds >= at)
            .or_else(|| self.samples.last())
    }

    /// The sample whose process had most descriptors, before the drain.
    pub(super) fn fullest(&self) -> Option<(u64, u64, u32)> {
        let drain = self.story.drain_began();
        self.samples
            .iter()
            .filter(|sample| sample.at_seconds <= drain)
            .filter_map(|sample| tree(sample)?.fullest)
            .filter_map(|use_| match use_.limit {
                Limit::At(limit) => Some((use_.open, limit, use_.pid)),
                Limit::Unlimited => None,
            })
            .max_by_key(|(open, _, _)| *open)
    }

    /// What the server's control group told, from `from` seconds on.
    pub(super) fn group(&self, from: f64) -> Vec<&'a CgroupSample> {
        let drain = self.story.drain_began();
        self.samples
            .iter()
            .filter(|sample| sample.at_seconds >= from && sample.at_seconds <= drain + 1.0)
            .flat_map(|sample| &sample.cgroups)
            .filter(|group| group.worker == WorkerId::SERVER)
            .collect()
    }

    pub(super) fn kernel_log(&self) -> impl Iterator<Item = &'a KernelMessage> {
        self.samples
            .iter()
            .filter_map(|sample| sample.kernel_log.present())
            .flatten()
    }

    /// The first line of the server's own output that has one of these words, since the ramp began.
    pub(super) fn line_with(&self, words: &[&str]) -> Option<&'a str> {
        let from = self.story.began(Phase::Ramp)?;
        self.story
            .output
            .iter()
            .filter(|(at, _)| *at + 0.5 >= from)
            .map(|(_, text)| text.as_str())
            .find(|text| {
                let text = text.to_lowercase();
                words.iter().any(|word| text.contains(word))
            })
    }

    /// Cores that the server used between the samples around the moment.
    pub(super) fn cores(&self) -> Option<f64> {
        let at = self.at?;
        let known: Vec<(f64, f64)> = self
            .samples
            .iter()
            .filter(|sample| sample.at_seconds <= at + 1.0)
            .filter_map(|sample| Some((sample.at_seconds, tree(sample)?.cpu_seconds)))
            .collect();
        let [.., (then, before), (now, after)] = known.as_slice() else {
            return None;
        };
        (now > then).then(|| (after - before).max(0.0) / (now - then))
    }

    pub(super) fn lost_count(&self) -> u64 {
        self.lost.last().map_or(0, |(_, lost)| *lost)
    }

    /// What was seen, where no kind explains it.
    pub(super) fn what_was_seen(&self) -> Vec<String> {
        let mut seen: Vec<String> = self.gave_way.iter().map(ToString::to_string).collect();
        if self.lost_count() > 0 {
            seen.push(self.how_they_ended());
            seen.extend(self.said());
        }
        seen.extend(
            self.failed
                .iter()
                .map(|(class, count)| format!("{} connects failed: {class}", grouped(*count))),
        );
        seen.extend(self.waiting());
        seen.extend(self.not_short());
        seen
    }

    /// What the server said on connections that it closed.
    pub(super) fn said(&self) -> Option<String> {
        let mut said: Vec<String> = self
            .story
            .losses
            .iter()
            .map(|(_, _, note)| &note.said)
            .filter(|said| !said.is_empty())
            .map(|said| quoted(&said.first_line().to_string()))
            .collect();
        said.sort();
        said.dedup();
        (!said.is_empty())
            .then(|| format!("the server said before it closed them: {}", said.join(", ")))
    }

    /// `1,024 connections ended: closed by the peer`.
    pub(super) fn how_they_ended(&self) -> String {
        let drain = self.story.drain_began();
        let mut reasons: BTreeMap<LossReason, u64> = BTreeMap::new();
        for (_, worker, note) in self.story.losses.iter().filter(|(at, ..)| *at <= drain) {
            if !worker.is_server() {
                *reasons.entry(note.reason).or_default() += note.count;
            }
        }
        let named: Vec<String> = reasons
            .iter()
            .map(|(reason, count)| format!("{reason} ({})", grouped(*count)))
            .collect();
        format!(
            "{} connections ended: {}",
            grouped(self.lost_count()),
            named.join(", ")
        )
    }

    pub(super) fn waiting(&self) -> Option<String> {
        let state = self.story.accepting_at(self.story.drain_began())?;
        (state.waiting > 0).then(|| {
            format!(
                "{} connections were established and waited in its accept queue",
                grouped(state.waiting)
            )
        })
    }

    /// What the machine and the server were not short of.
    pub(super) fn not_short(&self) -> Vec<String> {
        let mut not_short = Vec::new();
        if let Some((open, limit, _)) = self.fullest() {
            not_short.push(format!(
                "its fullest process had {} of {} descriptors open",
                grouped(open),
                grouped(limit)
            ));
        }
        if let Some(cores) = self.cores() {
            not_short.push(format!("its processes used {cores:.2} cores"));
        }
        not_short
    }

    pub(super) fn server_lives(&self) -> bool {
        !self.story.has_died(WorkerId::SERVER)
    }

    /// How much a counter of TCP grew from the beginning of the ramp to the drain, over all namespaces.
    pub(super) fn grown(&self, name: &str) -> Option<u64> {
        let drain = self.story.drain_began();
        let value = |sample: &Sample| -> u64 {
            sample
                .namespaces
                .iter()
                .filter_map(|namespace| namespace.tcp.present())
                .filter_map(|tcp| tcp.counters.get(name))
                .sum()
        };
        let base = self.mark(Mark::RampStart).map_or(0, value);
        let most = self
            .samples
            .iter()
            .filter(|sample| sample.at_seconds <= drain)
            .map(value)
            .max()?;
        (most > base).then(|| most - base)
    }

    pub(super) fn mark(&self, mark: Mark) -> Option<&'a Sample> {
        let (_, number) = self.story.marks.get(&mark)?;
        self.samples.iter().find(|sample| sample.number == *number)
    }
}

/// Connections that the clients have lost, adding up.
fn lost(story: &Story, drain: f64) -> Vec<(f64, u64)> {
    let mut sum = 0;
    story
        .losses
        .iter()
        .filter(|(at, worker, _)| *at <= drain && !worker.is_server())
        .map(|(at, _, note)| {
            sum += note.count;
            (*at, sum)
        })
        .collect()
}

fn failed(story: &Story, drain: f64) -> BTreeMap<ConnectFailure, u64> {
    let mut failed = BTreeMap::new();
    for counters in story
        .clients()
        .filter_map(|worker| story.counters_at(worker, drain))
    {
        for (class, count) in &counters.failed {
            *failed.entry(*class).or_default() += count;
        }
    }
    failed
}

/// A server that ends takes its connections with it, and that they ended is often seen first.
fn with_its_end(seen: (GaveWay, Option<f64>), story: &Story) -> (GaveWay, Option<f64>) {
    let (what, at) = seen;
    let took_them = matches!(what, GaveWay::Lost | GaveWay::ConnectFailed)
        && story
            .death(WorkerId::SERVER)
            .zip(at)
            .is_some_and(|(died, at)| died <= at + END_IS_SEEN_WITHIN);
    if !took_them {
        return (what, at);
    }
    let how = how_it_ended(story);
    (GaveWay::ServerGone { how }, at)
}

fn how_it_ended(story: &Story) -> String {
    if let Some(why) = story.why_it_ended(WorkerId::SERVER) {
        return why.to_owned();
    }
    let server = story.workers.get(&WorkerId::SERVER);
    server
        .and_then(|told| told.died.clone())
        .unwrap_or_default()
}

/// What gave way, as the ramp saw it; of a run that did not look for it what comes first: connections that ended, that could
/// not be opened, that were not accepted.
fn gave_way(
    story: &Story,
    summary: &RunSummary,
    lost: &[(f64, u64)],
    failed: &BTreeMap<ConnectFailure, u64>,
) -> Option<(GaveWay, Option<f64>)> {
    if let Some((at, what, _, _)) = &story.gave_way {
        return Some((what.clone(), Some(*at)));
    }
    if let Some((at, _)) = lost.first() {
        return Some((GaveWay::Lost, Some(*at)));
    }
    if !failed.is_empty() {
        return Some((GaveWay::ConnectFailed, story.ramp().map(|(_, until)| until)));
    }
    if story.has_died(WorkerId::SERVER) {
        let how = how_it_ended(story);
        return Some((GaveWay::ServerGone { how }, Some(story.drain_began())));
    }
    if story.guard.is_some() {
        return Some((GaveWay::Nothing, story.ramp().map(|(_, until)| until)));
    }
    let state = story.accepting_at(story.drain_began())?;
    (state.accepted < summary.target.count() && story.peak() >= summary.target).then(|| {
        (
            GaveWay::NotAccepted { seconds: 0 },
            story.ramp().map(|(_, until)| until),
        )
    })
}
