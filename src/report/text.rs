//! What the terminal shows at the end of a run: the verdict, its reasons, and the figures that people ask for first.

use std::fmt::Write;

use super::headline::{headline, of_search};
use super::model::{LimitKind, Moment, OutputLine, Report, ServerDetail};
use super::number::{bytes, bytes_each, counted_of, figure, grouped, micros, seconds, whole};
use crate::domain::Reading;

/// Doubts shown on the terminal; the report has all.
const DOUBTS_SHOWN: usize = 4;

/// Lines of the server's log that are shown on the terminal; the report has more.
const LOG_LINES_SHOWN: usize = 8;

/// What lines have that complain.
const COMPLAINTS: [&str; 14] = [
    "error",
    "fail",
    "fatal",
    "warn",
    "denied",
    "refus",
    "reject",
    "too many",
    "exceed",
    "not enough",
    "limit",
    "cannot",
    "can't",
    "unavailable",
];

/// The summary, with a line feed at its end.
#[must_use]
pub fn text(report: &Report) -> String {
    let result = &report.result;
    let search = report.limit.as_ref();
    let search = search.and_then(|limit| of_search(limit, result));
    let searched = search.is_some();
    let mut lines = vec![search.unwrap_or_else(|| headline(result))];
    lines.extend(
        result
            .reasons
            .iter()
            .map(|reason| format!("  because {reason}")),
    );
    if let Some(guard) = &report.guard {
        lines.push(format!(
            "  {} would have fitted; each one more costs {}",
            grouped(guard.would_fit),
            bytes_each(guard.bytes_per_connection)
        ));
    }
    if report.result.verdict != crate::domain::RunVerdict::Held
        || report.limit.as_ref().is_some_and(|limit| limit.searched)
    {
        let limit = limit_text(report);
        lines.extend(limit.lines().skip(usize::from(searched)).map(str::to_owned));
    }
    for (error, hint) in &report.errors {
        if let Some(hint) = hint {
            lines.push(format!("  {error}: {hint}"));
        }
    }
    lines.extend(
        rows(report)
            .into_iter()
            .map(|(name, value)| format!("  {name:<12}{value}")),
    );
    let mut text = String::new();
    for line in lines {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

/// The limit of a server that is not the lab's own, with a line feed at its end; empty where none was met.
#[must_use]
pub fn limit_text(report: &Report) -> String {
    let Some(limit) = &report.limit else {
        return String::new();
    };
    let mut lines = vec![if limit.kind == LimitKind::TargetReached {
        format!("NO LIMIT up to {} connections", grouped(limit.connections))
    } else {
        format!(
            "LIMIT {} connections: {}",
            grouped(limit.connections),
            limit.kind
        )
    }];
    lines.extend(
        limit
            .evidence
            .iter()
            .map(|reason| format!("  evidence    {reason}")),
    );
    let around = report
        .server
        .as_ref()
        .and_then(|server| server.around_trouble.as_ref());
    lines.extend(around.iter().flat_map(|(_, lines)| {
        telling(lines)
            .into_iter()
            .map(|line| format!("  log         {:.3} s: {}", line.at_seconds, line.text))
    }));
    if limit.kind != LimitKind::TargetReached {
        lines.push(format!("  cure        {}", limit.cure));
    }
    lines.extend(
        limit
            .next
            .iter()
            .map(|next| format!("  next        {next}")),
    );
    lines.extend(limit.confirmations.iter().map(|run| {
        let why = run
            .limit
            .as_ref()
            .map_or_else(String::new, |why| format!(": {why}"));
        format!(
            "  {:<12}{} connections for {} ({}){why}",
            run.verdict.to_string(),
            grouped(run.connections),
            seconds(run.hold_seconds),
            run.directory
        )
    }));
    let mut text = lines.join("\n");
    text.push('\n');
    text
}

/// The first lines that complain of something; where none does, the first lines.
fn telling(lines: &[OutputLine]) -> Vec<&OutputLine> {
    let complains = |line: &&OutputLine| {
        let text = line.text.to_lowercase();
        COMPLAINTS.iter().any(|word| text.contains(word))
    };
    let told: Vec<&OutputLine> = lines
        .iter()
        .filter(complains)
        .take(LOG_LINES_SHOWN)
        .collect();
    if told.is_empty() {
        lines.iter().take(LOG_LINES_SHOWN).collect()
    } else {
        told
    }
}

/// Name and value of each line below the verdict.
fn rows(report: &Report) -> Vec<(&'static str, String)> {
    let result = &report.result;
    let mut rows = Vec::new();
    let mut row = |name, value: String| rows.push((name, value));
    if let (Some(seconds_taken), Some(rate)) = (result.ramp.seconds, result.ramp.rate_per_second) {
        row(
            "ramp",
            format!(
                "{} at {} connections/s",
                seconds(seconds_taken),
                whole(rate)
            ),
        );
    }
    if let Some(latency) = &report.latency {
        let shown: Vec<String> = latency
            .percentiles
            .iter()
            .map(|(name, value)| format!("{name} {}", micros(*value as f64)))
            .collect();
        row("latency", shown.join(", "));
    }
    let counted = |end: &str| {
        let found = report.counted.get(end)?.present()?;
        Some(
            found
                .states
                .of(crate::domain::TcpState::Established)
                .to_string(),
        )
    };
    if let (Some(server), Some(client)) = (counted("server"), counted("client")) {
        row(
            "counted",
            format!("{server} established on the server's end, {client} on the clients'"),
        );
    }
    if let Some(verified) = result.connections.verified {
        row(
            "verified",
            format!("{} by {}", grouped(verified), result.protocol.proof()),
        );
    }
    if let Some(server) = &report.server {
        rows.extend(server_rows(server));
    }
    let mut row = |name, value: String| rows.push((name, value));
    if let Some(memory) = result.memory.both.bytes_per_connection {
        row(
            "memory",
            format!(
                "{} per connection, both ends{}",
                bytes_each(memory),
                report
                    .slope
                    .present()
                    .map_or_else(String::new, |slope| format!(
                        "; slope {} ± {}",
                        figure(slope.slope),
                        bytes_each(slope.half_width)
                    ))
            ),
        );
    }
    rows.extend(circumstances(report));
    rows
}

/// How far a server that is not the lab's own accepted, what it used, and how many connections fit into a gibibyte.
fn server_rows(server: &ServerDetail) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    let last = server.accepting.last();
    rows.push((
        "server",
        match last.map(|(_, state)| state) {
            Some(Reading::Present(state)) => format!(
                "{} accepted, {} wait in its accept queue",
                grouped(state.accepted),
                grouped(state.waiting)
            ),
            Some(Reading::Missing(gap)) => gap.gap.clone(),
            None => "the server's side was not observed".to_owned(),
        },
    ));
    if let Some(usage) = server.usage_at(Moment::Target) {
        let mut text = format!(
            "{}, {}",
            counted_of(usage.processes, "process", "processes"),
            counted_of(usage.threads, "thread", "threads")
        );
        // Writing to a string cannot fail.
        if let Reading::Present(count) = &usage.descriptors {
            let _ = write!(text, ", {} descriptors", grouped(*count));
        }
        if let Reading::Present(share) = &usage.proportional {
            let _ = write!(text, ", {share} of memory (PSS)");
        }
        if let Some(each) = server.processor.each() {
            let _ = write!(
                text,
                ", {} of processor time for each connection",
                micros(each * 1e6)
            );
        }
        rows.push(("uses", text));
    }
    if let Reading::Present(sizing) = &server.sizing {
        rows.push((
            "sizing",
            format!(
                "{} connections per GiB on the server's side; 100,000 take {}",
                grouped(sizing.connections(1_073_741_824.0)),
                bytes(sizing.bytes(100_000))
            ),
        ));
    }
    rows
}

/// Where it was, what was bounded, what to doubt.
fn circumstances(report: &Report) -> Vec<(&'static str, String)> {
    let result = &report.result;
    let mut rows = Vec::new();
    let mut row = |name, value: String| rows.push((name, value));
    if let Some(place) = &result.place {
        let why = report
            .place
            .as_ref()
            .map_or("", |choice| choice.why.as_str());
        row("place", format!("{place}: {why}"));
    }
    if let Some(network) = report
        .place
        .as_ref()
        .and_then(|choice| choice.network.as_ref())
    {
        row("network", format!("{}: {}", network.driver, network.why));
    }
    for threshold in &result.thresholds {
        let held = if threshold.held { "held" } else { "missed" };
        row("threshold", format!("{} {held}", threshold.name));
    }
    for doubt in result.doubts.iter().take(DOUBTS_SHOWN) {
        row("doubt", doubt.clone());
    }
    if let Some(more) = result
        .doubts
        .len()
        .checked_sub(DOUBTS_SHOWN)
        .filter(|more| *more > 0)
    {
        row("", format!("and {more} more in the report"));
    }
    for left in &result.leftovers {
        row("LEFT BEHIND", left.clone());
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_complain_come_before_others() {
        let line = |text: &str| OutputLine {
            at_seconds: 1.0,
            text: text.to_owned(),
        };
        let lines = [
            line("New connection"),
            line("denied: max_connections"),
            line("closed"),
        ];
        let texts = |lines: &[OutputLine]| -> Vec<String> {
            telling(lines)
                .iter()
                .map(|line| line.text.clone())
                .collect()
        };
        assert_eq!(texts(&lines), ["denied: max_connections"]);
        assert_eq!(texts(&lines[..1]), ["New connection"]);
        assert!(telling(&[]).is_empty());
    }
}
