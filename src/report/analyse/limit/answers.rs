//! What a server answered when connections spoke as they were opened: how many rightly, and what the others got instead.

use super::evidence::Evidence;
use crate::domain::{ConnCount, Counters, LossReason, WrongAnswer};
use crate::report::analyse::legible::legible;
use crate::report::number::grouped;

/// Answers that are told.
const FEW: usize = 3;

impl Evidence<'_> {
    /// Connections that were answered rightly as they were opened; nothing where nothing was said then.
    pub(super) fn answered(&self) -> Option<u64> {
        let answered = self.greeted(|counters| counters.answered);
        (answered + self.unanswered() > 0).then_some(answered)
    }

    /// Connections that were answered otherwise, not in time, or closed instead.
    pub(super) fn unanswered(&self) -> u64 {
        self.greeted(|counters| counters.unanswered)
    }

    /// Connections that it served at most: what is accepted and not answered is not served.
    pub(super) fn served(&self) -> u64 {
        match self.answered() {
            Some(answered) if self.unanswered() > 0 => answered.min(self.accepted_peak),
            _ => self.accepted_peak,
        }
    }

    fn greeted(&self, count: fn(&Counters) -> ConnCount) -> u64 {
        let drain = self.story.drain_began();
        self.story
            .clients()
            .filter_map(|worker| self.story.counters_at(worker, drain))
            .map(|counters| count(counters).count())
            .sum()
    }

    /// Those that got no answer in time.
    pub(super) fn silent(&self) -> u64 {
        let reports = self.story.greeted.iter();
        reports.map(|report| report.silent.count()).sum()
    }

    /// One example of each kind of wrong answer, without those that came to nothing.
    pub(super) fn wrong_answers(&self) -> impl Iterator<Item = &WrongAnswer> {
        let reports = self.story.greeted.iter();
        reports
            .flat_map(|report| &report.answers)
            .filter(|answer| !answer.got.bytes().is_empty())
    }

    /// `300 connections were answered, 12 were not: …`; nothing where all were.
    pub(super) fn how_answered(&self) -> Option<String> {
        let unanswered = self.unanswered();
        let answered = self.answered().filter(|_| unanswered > 0)?;
        let mut ways = Vec::new();
        let silent = self.silent();
        if silent > 0 {
            ways.push(format!("no answer in time ({})", grouped(silent)));
        }
        for report in &self.story.greeted {
            for (reason, count) in &report.failed {
                // A timeout of the exchange is counted as silent.
                if *reason != LossReason::TimedOut {
                    ways.push(format!("{reason} ({})", grouped(*count)));
                }
            }
        }
        Some(format!(
            "{} connections were answered as they were opened, and {} were not: {}",
            grouped(answered),
            grouped(unanswered),
            ways.join(", ")
        ))
    }

    /// What came instead of the right answer, a sentence each.
    pub(super) fn instead(&self) -> Vec<String> {
        let mut said: Vec<String> = self
            .wrong_answers()
            .map(|answer| format!("instead of an answer: {}", legible(&answer.to_string())))
            .collect();
        said.dedup();
        said.truncate(FEW);
        said
    }

    /// Whether a wrong answer says that the server has enough: by one of these words, or by a status of HTTP that says so
    /// (RFC 9110, 15.6.4: 503; RFC 6585, 4: 429).
    pub(super) fn answer_says_enough(&self, words: &[&str]) -> bool {
        self.wrong_answers().any(|answer| {
            let text = answer.got.to_string().to_lowercase();
            let status = text.strip_prefix("http/1.").and_then(|rest| rest.get(2..5));
            matches!(status, Some("503" | "429")) || words.iter().any(|word| text.contains(word))
        })
    }
}
