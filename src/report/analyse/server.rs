//! A server that is not the lab's own: how far it accepted, what it used, what it wrote. All of it was seen from outside.

use std::fmt::Write as _;

use crate::domain::{
    AcceptState, GaveWay, HostIndex, Mark, Phase, ProcessSample, Reading, Sample, TreeSample,
    WorkerId,
};
use crate::record::Recording;
use crate::report::number::grouped;

use super::legible::legible;
use super::story::Story;
use super::{memory::server_growth, processor, sample_at, sizing, slope};
use crate::report::model::{
    MemoryDetail, Moment, OutputLine, ProcessorUse, ServerDetail, Slope, Trouble, Usage,
};

/// Lines of output that are shown at most.
const LINES_SHOWN: usize = 20;
/// Seconds around the moment in which something gave way within which a line may belong to it.
const AROUND_SECONDS: f64 = 2.0;

/// What is known of it; nothing where the server is the lab's own.
pub(super) fn server(
    recording: &Recording,
    story: &Story,
    memory: &Reading<MemoryDetail>,
) -> Option<ServerDetail> {
    let planned = recording.summary.present().and_then(|plan| plan.subject());
    if planned.is_none() && story.subject.is_none() {
        return None;
    }
    let samples = &recording.samples;
    let usage = usage(story, samples);
    // What a server says about connections that are reset on purpose would push out what it said before.
    let closing = story.drain_began();
    let (before, after) = story
        .output
        .split_at(story.output.partition_point(|(at, _)| *at <= closing));
    let processor = processor_use(story, samples);
    let mut detail = ServerDetail {
        subject: planned.map(|spec| spec.subject.clone()),
        facts: story.subject.clone().map_or_else(
            || Reading::missing("the run ended before the server listened"),
            Reading::Present,
        ),
        somaxconn: somaxconn(recording, story),
        accepting: accepting(story),
        most_waiting: story
            .accepting
            .iter()
            .map(|(at, state)| (*at, state.waiting))
            .filter(|(_, waiting)| *waiting > 0)
            .reduce(|most, next| if next.1 > most.1 { next } else { most }),
        usage,
        processor,
        sizing: Reading::missing("not computed"),
        lines_written: before.len(),
        lines_while_closing: after.len(),
        last_lines: lines(before.iter().rev().take(LINES_SHOWN).rev()),
        around_trouble: around_trouble(story),
    };
    detail.sizing = sizing::sizing(&detail, memory, &user_slope(story, samples));
    Some(detail)
}

/// `net.core.somaxconn` in the server's namespace. Of older recordings what was set there, or the host's.
fn somaxconn(recording: &Recording, story: &Story) -> Reading<String> {
    if let Some(value) = story.subject.as_ref().and_then(|facts| facts.somaxconn) {
        return Reading::Present(value.to_string());
    }
    let mut settings = story.settings.iter();
    let set = settings.find(|record| {
        record.change.key == "net.core.somaxconn" && record.host == Some(HostIndex::SERVER)
    });
    if let Some(value) = set.and_then(|record| record.in_force.clone()) {
        return Reading::Present(value);
    }
    match &recording.facts {
        Reading::Present(facts) => facts.net.somaxconn.clone().map(|value| value.to_string()),
        Reading::Missing(gap) => Reading::Missing(gap.clone()),
    }
}

/// The moments that the run came to, each with its time.
fn moments(story: &Story) -> Vec<(Moment, f64, Option<Mark>)> {
    let mark = |mark| story.marks.get(&mark).map(|(at, _)| *at);
    let full = match mark(Mark::Target) {
        Some(at) => Some((Moment::Target, at, Some(Mark::Target))),
        None => mark(Mark::RampEnd).map(|at| (Moment::RampEnd, at, Some(Mark::RampEnd))),
    };
    let proved = story
        .began(Phase::Verify)
        .map(|_| (Moment::Proved, story.drain_began(), None));
    [
        mark(Mark::Baseline).map(|at| (Moment::Baseline, at, Some(Mark::Baseline))),
        full,
        mark(Mark::HoldEnd).map(|at| (Moment::HoldEnd, at, Some(Mark::HoldEnd))),
        proved,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// How far it had accepted. Nobody is connected at the baseline.
fn accepting(story: &Story) -> Vec<(Moment, Reading<AcceptState>)> {
    moments(story)
        .into_iter()
        .filter(|(moment, _, _)| *moment != Moment::Baseline)
        .map(|(moment, at, _)| {
            let state = story.accepting_at(at).cloned().map_or_else(
                || Reading::missing("the server's side was not observed"),
                Reading::Present,
            );
            (moment, state)
        })
        .collect()
}

fn usage(story: &Story, samples: &[Sample]) -> Vec<(Moment, Reading<Usage>)> {
    moments(story)
        .into_iter()
        .filter_map(|(moment, _, mark)| Some((moment, mark?)))
        .map(|(moment, mark)| {
            let usage = match sample_at(story, samples, mark) {
                Some(sample) => usage_in(sample),
                None => Reading::missing("the sample of this moment is not in the recording"),
            };
            (moment, usage)
        })
        .collect()
}

fn usage_in(sample: &Sample) -> Reading<Usage> {
    let tree = tree(sample);
    let (Some(tree), Some(process)) = (tree, processor::process(sample, WorkerId::SERVER)) else {
        let mut gaps = sample.process_gaps.iter();
        return Reading::missing(gaps.find(|gap| gap.worker.is_server()).map_or_else(
            || "no process is known that is the server's".to_owned(),
            |gap| gap.gap.clone(),
        ));
    };
    Reading::Present(usage_of(tree, process))
}

/// What the tree of the server's processes tells in a sample.
pub(super) fn tree(sample: &Sample) -> Option<&TreeSample> {
    let mut trees = sample.trees.iter();
    trees
        .find(|(worker, _)| worker.is_server())
        .map(|(_, tree)| tree)
}

fn usage_of(tree: &TreeSample, process: &ProcessSample) -> Usage {
    Usage {
        processes: tree.processes,
        threads: tree.threads,
        anonymous: process.anonymous,
        file_backed: process.file_backed,
        page_tables: process.page_tables,
        proportional: tree
            .proportional
            .clone()
            .unwrap_or_else(|| Reading::missing("it was not read at this moment")),
        descriptors: tree.descriptors.clone(),
        fullest: tree.fullest,
        cpu_seconds: tree.cpu_seconds,
    }
}

fn processor_use(story: &Story, samples: &[Sample]) -> ProcessorUse {
    let between = |from, until, name: &str| -> Reading<f64> {
        let seconds = |mark| {
            let sample = sample_at(story, samples, mark)?;
            Some(tree(sample)?.cpu_seconds)
        };
        match (seconds(from), seconds(until)) {
            // A process that ended meanwhile takes its time with it, unless its parent waited for it.
            (Some(from), Some(until)) if until >= from => Reading::Present(until - from),
            (Some(_), Some(_)) => Reading::missing("processes of the server ended meanwhile"),
            _ => Reading::missing(format!(
                "its processes were not seen at both ends of the {name}"
            )),
        }
    };
    let full = if story.marks.contains_key(&Mark::Target) {
        Mark::Target
    } else {
        Mark::RampEnd
    };
    ProcessorUse {
        ramp: between(Mark::RampStart, full, "ramp"),
        hold: between(Mark::Target, Mark::HoldEnd, "hold"),
        accepted: story
            .marks
            .get(&full)
            .and_then(|(at, _)| story.accepting_at(*at))
            .map(|state| state.accepted),
    }
}

/// The slope of the server's own memory over the connections that it had accepted.
fn user_slope(story: &Story, samples: &[Sample]) -> Reading<Slope> {
    let Some(base) = sample_at(story, samples, Mark::Baseline) else {
        return Reading::missing("the sample of the baseline is not in the recording");
    };
    let processes = |sample| tree(sample).map(|tree| tree.processes);
    let before = processes(base);
    let during = story.during_ramp(samples);
    if during.iter().any(|sample| processes(sample) != before) {
        return Reading::missing(
            "the number of its processes changed meanwhile, and processes share pages",
        );
    }
    let points: Vec<(f64, f64)> = during
        .iter()
        .filter_map(|sample| {
            let accepted = accepted_at(&story.accepting, sample.at_seconds)?;
            Some((accepted, server_growth(base, sample)?))
        })
        .collect();
    slope::fit(&points)
}

/// Longest time between two looks at the sockets within which the number between them is known well enough, in seconds.
const LOOKS_APART: f64 = 1.0;

/// Connections accepted at a moment between two looks. A look that found no change was not told.
fn accepted_at(told: &[(f64, AcceptState)], at: f64) -> Option<f64> {
    let later = told.iter().position(|(when, _)| *when > at);
    let Some(later) = later else {
        return told.last().map(|(_, state)| state.accepted as f64);
    };
    let (next_at, next) = &told[later];
    let (before_at, before) = &told[later.checked_sub(1)?];
    let (from, until) = (before.accepted as f64, next.accepted as f64);
    // Nothing was told for so long because nothing changed until the last look before this one.
    let before_at = before_at.max(next_at - LOOKS_APART);
    let share = ((at - before_at) / (next_at - before_at)).clamp(0.0, 1.0);
    Some((until - from).mul_add(share, from))
}

/// What gave way in the ramp, or the first loss or failure, with what the server wrote around it.
fn around_trouble(story: &Story) -> Option<(Trouble, Vec<OutputLine>)> {
    let drain = story.drain_began();
    let lost = story.losses.iter().map(|(at, _, _)| *at);
    let lost = lost.filter(|at| *at <= drain).reduce(f64::min);
    let gave_way = match &story.gave_way {
        Some((_, GaveWay::Nothing, ..)) | None => None,
        Some((at, what, ..)) => Some((*at, what.to_string())),
    };
    let (at_seconds, what) = match (gave_way, lost, story.first_failure) {
        (Some(gave_way), ..) => gave_way,
        (None, Some(lost), Some(failed)) if failed < lost => (failed, FAILED.to_owned()),
        (None, Some(lost), _) => (lost, LOST.to_owned()),
        (None, None, Some(failed)) => (failed, FAILED.to_owned()),
        (None, None, None) => return None,
    };
    let began = story.began(Phase::Ramp).unwrap_or(0.0);
    let near = story.output.iter().filter(|(at, _)| {
        (at - at_seconds).abs() <= AROUND_SECONDS && *at + 0.05 >= began && *at <= drain
    });
    Some((Trouble { at_seconds, what }, told_once(near)))
}

/// Lines without those that are like an earlier one but for words with a digit: numbers, times, addresses, ids. The earlier
/// one says how many they are.
fn told_once<'a>(told: impl Iterator<Item = &'a (f64, String)>) -> Vec<OutputLine> {
    let mut kinds: Vec<(String, OutputLine, u64)> = Vec::new();
    for (at, text) in told {
        let shape: String = text
            .split_whitespace()
            .map(|word| {
                if word.contains(|letter: char| letter.is_ascii_digit()) {
                    "#"
                } else {
                    word
                }
            })
            .collect();
        if let Some((.., like)) = kinds.iter_mut().find(|(known, ..)| *known == shape) {
            *like += 1;
        } else if kinds.len() < LINES_SHOWN {
            let line = OutputLine {
                at_seconds: *at,
                text: legible(text),
            };
            kinds.push((shape, line, 0));
        }
    }
    kinds
        .into_iter()
        .map(|(_, mut line, like)| {
            if like > 0 {
                // Writing to a string cannot fail.
                let _ = write!(line.text, " (and {} like it)", grouped(like));
            }
            line
        })
        .collect()
}

const LOST: &str = "the first connection was lost";
const FAILED: &str = "the first connection failed to open";

fn lines<'a>(told: impl Iterator<Item = &'a (f64, String)>) -> Vec<OutputLine> {
    told.map(|(at, text)| OutputLine {
        at_seconds: *at,
        text: legible(text),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(points: &[(f64, u64)]) -> Vec<(f64, AcceptState)> {
        let each = points.iter();
        each.map(|(at, accepted)| {
            let state = AcceptState {
                accepted: *accepted,
                ..AcceptState::default()
            };
            (*at, state)
        })
        .collect()
    }

    #[test]
    fn between_two_looks_the_number_is_on_the_line() {
        let told = told(&[(1.0, 0), (9.75, 0), (10.0, 1000), (10.5, 2000)]);
        let at = |at| accepted_at(&told, at);
        assert_eq!(at(0.5), None);
        assert_eq!(at(5.0), Some(0.0));
        assert_eq!(at(9.875), Some(500.0));
        assert_eq!(at(10.25), Some(1500.0));
        assert_eq!(at(60.0), Some(2000.0));
    }

    #[test]
    fn a_silence_means_that_nothing_changed() {
        let told = told(&[(1.0, 100), (61.0, 1100)]);
        assert_eq!(accepted_at(&told, 30.0), Some(100.0));
        assert_eq!(accepted_at(&told, 60.5), Some(600.0));
    }
}
