//! What a recording has on the limit that a server met, and what each kind of limit asks for.

use std::collections::BTreeMap;

use crate::domain::{
    Bytes, CgroupSample, ConnCount, ConnectFailure, GaveWay, KernelMessage, Limit, LossReason,
    Mark, Phase, RunSummary, Sample, SubjectFacts, WorkerId, WorkerSpec,
};
use crate::record::Recording;
use crate::report::number::{counted_of, grouped, whole};

use super::ramped;
use crate::report::analyse::legible::quoted;
use crate::report::analyse::server::tree;
use crate::report::analyse::story::{END_IS_SEEN_WITHIN, Story};

/// Seconds over which the use of processors is taken.
const CORES_OVER: f64 = 2.5;

/// Seconds behind the moment in which a sample still tells of it: one is taken when the ramp has ended.
const NEAR: f64 = 0.5;

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

    /// What the kernel wrote since the ramp began: a sample has what is new since the one before.
    pub(super) fn kernel_log(&self) -> impl Iterator<Item = &'a KernelMessage> {
        let from = self.story.ramp().map_or(0.0, |(from, _)| from);
        self.samples
            .iter()
            .filter(move |sample| sample.at_seconds > from)
            .filter_map(|sample| sample.kernel_log.present())
            .flatten()
    }

    /// Whether a line of the kernel names one of the server's processes: `Killed process 812 (nginx)`. Any may be meant where
    /// their names are not known.
    pub(super) fn is_of_its_processes(&self, message: &KernelMessage) -> bool {
        let known = self.facts.map(|facts| &facts.processes);
        known.is_none_or(|known| {
            known.is_empty()
                || known
                    .iter()
                    .any(|(_, name)| message.text.contains(&format!("({name})")))
        })
    }

    /// The first line of the server's own output that has one of these words, since the ramp began.
    pub(super) fn line_with(&self, words: &[&str]) -> Option<&'a str> {
        self.line_where(|text| words.iter().any(|word| begins_in(text, word)))
    }

    /// The first of these lines, in small letters, that is such a one.
    pub(super) fn line_where(&self, is: impl Fn(&str) -> bool) -> Option<&'a str> {
        let from = self.story.began(Phase::Ramp)?;
        self.story
            .output
            .iter()
            .filter(|(at, _)| *at >= from)
            .map(|(_, text)| text.as_str())
            .find(|text| is(&text.to_lowercase()))
    }

    /// Cores that the server used in the seconds before the moment, without what was before the ramp.
    pub(super) fn cores(&self) -> Option<f64> {
        let (at, began) = (self.at?, self.story.began(Phase::Ramp)?);
        let known: Vec<(f64, f64)> = self
            .samples
            .iter()
            .filter(|sample| sample.at_seconds >= began && sample.at_seconds <= at + NEAR)
            .filter_map(|sample| Some((sample.at_seconds, tree(sample)?.cpu_seconds)))
            .collect();
        let (now, after) = *known.last()?;
        let (then, before) = *known.iter().find(|(then, _)| *then >= now - CORES_OVER)?;
        (now > then).then(|| (after - before).max(0.0) / (now - then))
    }

    pub(super) fn lost_count(&self) -> u64 {
        self.lost.last().map_or(0, |(_, lost)| *lost)
    }

    /// Connections that a server had which ended between two looks at it: as many as it answered, or as ended by a FIN. The
    /// kernel ends those that were accepted by it, and those in the accept queue by a reset.
    pub(super) fn accepted_at_the_end(&self) -> u64 {
        let closed: u64 = self
            .story
            .losses
            .iter()
            .filter(|(_, worker, note)| {
                !worker.is_server() && note.reason == LossReason::ClosedByPeer
            })
            .map(|(_, _, note)| note.count)
            .sum();
        let answered = self.answered().unwrap_or(0);
        self.accepted_peak
            .max(answered)
            .max(closed.min(self.established_peak))
    }

    /// Where more are known to have been accepted than the last look found.
    pub(super) fn beyond_the_last_look(&self) -> Option<String> {
        let all = self.accepted_at_the_end();
        (all > self.accepted_peak).then(|| {
            format!(
                "the last look found {} accepted; {} ended by a FIN or were answered, which only accepted ones are",
                grouped(self.accepted_peak),
                grouped(all)
            )
        })
    }

    /// How the target was reached.
    pub(super) fn reached(&self) -> Vec<String> {
        let how = match self.answered() {
            Some(_) => "accepted, was answered and stayed",
            None => "accepted and stayed",
        };
        let mut reasons = vec![format!("every connection that was asked for was {how}")];
        if let Some((from, until)) = self.story.ramp() {
            reasons.push(format!(
                "they were opened at {} a second on average",
                whole(self.accepted_peak as f64 / (until - from).max(0.001))
            ));
        }
        reasons
    }

    /// What was seen, where no kind explains it.
    pub(super) fn what_was_seen(&self) -> Vec<String> {
        let mut seen: Vec<String> = self.gave_way.iter().map(ToString::to_string).collect();
        seen.extend(self.how_answered());
        seen.extend(self.instead());
        if self.lost_count() > 0 {
            seen.push(self.how_they_ended());
            seen.extend(self.said());
        }
        seen.extend(
            self.failed
                .iter()
                .map(|(class, count)| format!("{} connects failed: {class}", grouped(*count))),
        );
        seen.extend(self.went_on());
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
        let alone = reasons.len() == 1;
        let named: Vec<String> = reasons
            .iter()
            .map(|(reason, count)| {
                if alone {
                    reason.to_string()
                } else {
                    format!("{reason} ({})", grouped(*count))
                }
            })
            .collect();
        format!(
            "{} ended: {}",
            counted_of(self.lost_count(), "connection", "connections"),
            named.join(", ")
        )
    }

    /// Whether the first connection that ended did so while others were opened.
    pub(super) fn lost_in_ramp(&self) -> bool {
        let ended = self.story.ramp().map(|(_, until)| until);
        self.lost
            .first()
            .zip(ended)
            .is_some_and(|((at, _), until)| *at <= until + 1.0)
    }

    /// `it accepted 250 more after the ramp had ended`; nothing where it did not.
    pub(super) fn went_on(&self) -> Option<String> {
        let (_, what, _, before) = self.story.gave_way.as_ref()?;
        let after = self.story.accepting_at(self.story.drain_began())?.accepted;
        let more = after.saturating_sub(before.count());
        let stopped = matches!(what, GaveWay::NotAccepted { .. });
        (stopped && more > before.count() / 20).then(|| {
            format!(
                "it accepted {} more after the ramp had ended: it was blocked for a time, and not full",
                grouped(more)
            )
        })
    }

    /// A note where every connection came from one address.
    pub(super) fn one_address(&self) -> Option<String> {
        let mut clients =
            self.summary
                .workers
                .iter()
                .filter_map(|worker| match &worker.planned.spec {
                    WorkerSpec::Client(client) => Some(client),
                    WorkerSpec::Server(_) | WorkerSpec::Subject(_) => None,
                });
        let first = clients.next().and_then(|client| client.shards.first())?;
        let only = clients.next().is_none() && self.established_peak <= u64::from(first.count);
        only.then(|| {
            format!(
                "all connections came from {}: a bound on each address would look the same",
                first.source
            )
        })
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
        self.story.server_died().is_none()
    }

    /// How much a counter of TCP grew from the beginning of the ramp to the drain, over all namespaces; not known without the
    /// sample of the beginning.
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
        let base = value(self.mark(Mark::RampStart)?);
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

/// Whether `word` is in `text`, and not as the end of a longer one: `OpenFile` is no `ENFILE`.
fn begins_in(text: &str, word: &str) -> bool {
    text.match_indices(word)
        .any(|(place, _)| !text[..place].ends_with(char::is_alphanumeric))
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

/// What gave way, as the ramp saw it. Of a run that did not look for it, and of a ramp in which nothing did, what comes first:
/// connections that ended, that could not be opened, that were not answered, that were not accepted.
fn gave_way(
    story: &Story,
    summary: &RunSummary,
    lost: &[(f64, u64)],
    failed: &BTreeMap<ConnectFailure, u64>,
) -> Option<(GaveWay, Option<f64>)> {
    let seen = story.gave_way.as_ref();
    let seen = seen.map(|(at, what, _, _)| (what.clone(), Some(*at)));
    if matches!(&seen, Some((what, _)) if *what != GaveWay::Nothing) {
        return seen;
    }
    if let Some((at, _)) = lost.first() {
        return Some((GaveWay::Lost, Some(*at)));
    }
    if !failed.is_empty() {
        return Some((GaveWay::ConnectFailed, story.ramp().map(|(_, until)| until)));
    }
    let drain = story.drain_began();
    let mut counters = story
        .clients()
        .filter_map(|worker| story.counters_at(worker, drain));
    if counters.any(|counters| counters.unanswered > ConnCount::ZERO) {
        return Some((GaveWay::NotAnswered, story.ramp().map(|(_, until)| until)));
    }
    if story.server_died().is_some() {
        let how = how_it_ended(story);
        return Some((GaveWay::ServerGone { how }, Some(drain)));
    }
    if story.guard.is_some() {
        return Some((GaveWay::Nothing, story.ramp().map(|(_, until)| until)));
    }
    let state = story.accepting_at(drain);
    let waits = state.is_some_and(|state| state.accepted < summary.target.count());
    if waits && story.peak() >= summary.target {
        let what = GaveWay::NotAccepted { seconds: 0 };
        return Some((what, story.ramp().map(|(_, until)| until)));
    }
    seen
}
