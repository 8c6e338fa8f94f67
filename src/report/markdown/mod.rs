//! `report.md`, in the order in which people ask: what came of it, what it cost, what to doubt, how it was done.

mod article;
mod environment;
mod limit;
mod memory;
mod memory_checks;
mod method;
mod page;
mod server;
mod sizing;

use page::{Column, Page, code};

use super::charts::Chart;
use super::headline::{headline, of_search};
use super::model::Report;
use super::number::{bytes_each, figure, grouped, micros, percent, seconds, whole, with_unit};
use crate::domain::{Load, ProtocolKind, RunVerdict, TcpState, ThresholdKind, ThresholdResult};

/// The report as markdown; `charts` are those that lie beside it.
#[must_use]
pub fn markdown(report: &Report, charts: &[Chart]) -> String {
    let mut page = Page::default();
    verdict(&mut page, report);
    limit::limit(&mut page, report);
    thresholds(&mut page, report);
    server::section(&mut page, report);
    figures(&mut page, report);
    server::accepting(&mut page, report);
    server::usage(&mut page, report);
    memory::section(&mut page, report);
    sizing::section(&mut page, report);
    server::output(&mut page, report);
    show(&mut page, charts);
    doubts(&mut page, report);
    environment::section(&mut page, report);
    method::topology(&mut page, report);
    method::budget(&mut page, report);
    method::section(&mut page, report);
    article::section(&mut page, report);
    page.finish()
}

fn verdict(page: &mut Page, report: &Report) {
    let result = &report.result;
    let search = report.limit.as_ref();
    let search = search.and_then(|limit| of_search(limit, result));
    page.block(&format!(
        "**{}**",
        search.unwrap_or_else(|| headline(result))
    ));
    if !result.reasons.is_empty() {
        let opening = match result.verdict {
            RunVerdict::Held => "Worth knowing:",
            RunVerdict::Interrupted => "This report is partial. The run was interrupted:",
            RunVerdict::Invalid => "The figures below cannot be trusted:",
            RunVerdict::Missed | RunVerdict::Stopped => "Not held, because:",
        };
        page.block(opening);
        page.list(result.reasons.iter().cloned());
    }
    if let Some(guard) = &report.guard {
        page.block(&format!(
            "By the memory that was left, {} connections would have fitted; each one more would have cost {}.",
            grouped(guard.would_fit),
            bytes_each(guard.bytes_per_connection)
        ));
    }
    let hints = report
        .errors
        .iter()
        .filter_map(|(error, hint)| Some(format!("{error}: {}", hint.as_ref()?)));
    page.list(hints);
    let told = |name: &str, value: &Option<String>| {
        let value = value.as_deref().unwrap_or("unknown");
        format!("{name} {}", code(value))
    };
    let emulated = report.facts.present().is_some_and(|facts| facts.emulated);
    let machine = if emulated {
        " The machine was emulated: its rates and latencies say nothing about a real one."
    } else {
        ""
    };
    page.block(&format!(
        "{}, {}, started {}, {}, {}.{machine}",
        told("Scenario", &result.scenario),
        told("run", &result.run),
        result.started.as_deref().unwrap_or("at an unknown time"),
        told("place", &result.place),
        told(
            if report.server.is_some() {
                "server"
            } else {
                "server engine"
            },
            &result.engine
        ),
    ));
    if let Some(plan) = report.summary.present() {
        let reduced = plan.reduced_by.iter().map(|shortfall| {
            format!(
                "Reduced by {}: {} connections fit ({}).",
                shortfall.row.name,
                grouped(shortfall.fits),
                shortfall.cure
            )
        });
        page.list(reduced);
    }
}

fn thresholds(page: &mut Page, report: &Report) {
    if report.result.thresholds.is_empty() {
        return;
    }
    page.heading("Thresholds");
    let rows: Vec<Vec<String>> = report
        .result
        .thresholds
        .iter()
        .map(|threshold| {
            let sign = match threshold.kind {
                ThresholdKind::AtLeast => "≥",
                ThresholdKind::AtMost => "≤",
            };
            let unit = threshold.unit();
            vec![
                code(&threshold.name),
                format!("{sign} {}", with_unit(threshold.bound, unit)),
                threshold.measured.map_or_else(
                    || "unknown".to_owned(),
                    |measured| with_unit(measured, unit),
                ),
                margin(threshold),
                if threshold.held { "held" } else { "**missed**" }.to_owned(),
            ]
        })
        .collect();
    page.table(
        &[
            ("Figure", Column::Left),
            ("Bound", Column::Right),
            ("Measured", Column::Right),
            ("Margin", Column::Right),
            ("", Column::Left),
        ],
        &rows,
    );
}

/// How far the figure lies on the good side of its bound, as a share of the bound.
fn margin(threshold: &ThresholdResult) -> String {
    let Some(measured) = threshold.measured else {
        return "–".to_owned();
    };
    let distance = threshold.bound().margin(measured);
    if threshold.bound == 0.0 {
        figure(distance)
    } else {
        percent(distance / threshold.bound.abs())
    }
}

fn figures(page: &mut Page, report: &Report) {
    let result = &report.result;
    let connections = &result.connections;
    page.heading("Figures");
    let unknown = || "unknown".to_owned();
    let not_counted = || "unknown: an end was not counted".to_owned();
    let proved = format!("Proved alive by {}", report.result.protocol.proof());
    let mut rows = vec![
        (
            "Connections asked for",
            connections.requested.map_or_else(unknown, grouped),
        ),
        (
            "Connections planned",
            connections.target.map_or_else(unknown, grouped),
        ),
        (
            "Open at once, at most",
            grouped(connections.established_peak),
        ),
        (
            "Held to the end: counted at every end, and proved as planned",
            connections.held.map_or_else(not_counted, grouped),
        ),
        (
            "Established at the clients only (phantoms)",
            connections.phantom.map_or_else(not_counted, grouped),
        ),
        ("Lost", grouped(connections.lost)),
        ("Never opened", grouped(connections.failed)),
        (
            proved.as_str(),
            connections
                .verified
                .map_or_else(|| "not tried".to_owned(), grouped),
        ),
        (
            "Ramp",
            result
                .ramp
                .seconds
                .map_or_else(|| "did not begin".to_owned(), seconds),
        ),
        (
            "Rate",
            result
                .ramp
                .rate_per_second
                .map_or_else(unknown, |rate| format!("{} connections/s", whole(rate))),
        ),
        ("Hold", seconds(result.hold_seconds)),
    ];
    if let Some(latency) = &report.latency {
        rows.push((connect_latency(report), percentiles(&latency.percentiles)));
    }
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .chain(
            report
                .echo
                .iter()
                .map(|echo| vec![echo_latency(report), percentiles(&echo.percentiles)]),
        )
        .collect();
    page.table(&[("What", Column::Left), ("Figure", Column::Right)], &rows);
    counted(page, report);
    trouble(page, report);
}

/// What the latency of an exchange is measured from.
fn echo_latency(report: &Report) -> String {
    let what = match report.result.protocol {
        ProtocolKind::Echo => "Echo",
        ProtocolKind::Http => "HTTP response",
        ProtocolKind::Script => "Script",
        ProtocolKind::Tcp => "Answer",
    };
    match report.echo_load {
        Some(Load::Planned { rate }) => format!("{what}, {rate} planned: from the planned moment"),
        Some(Load::ClosedLoop { window }) => format!(
            "{what}, closed loop with a window of {}: from sending until the answer was noticed",
            grouped(window)
        ),
        None => format!("{what}, closed loop: from sending until the answer was noticed"),
    }
}

/// What the connect latency is measured from, which only a planned rate makes a plan.
fn connect_latency(report: &Report) -> &'static str {
    if report.rate_is_planned() {
        "Connect latency, from the planned moment"
    } else {
        "Connect latency, closed loop: from connect(2) until it was noticed"
    }
}

fn percentiles(percentiles: &[(&'static str, u64)]) -> String {
    let each = percentiles
        .iter()
        .map(|(name, value)| format!("{name} {}", micros(*value as f64)));
    each.collect::<Vec<_>>().join(", ")
}

fn counted(page: &mut Page, report: &Report) {
    let rows: Vec<Vec<String>> = report
        .counted
        .iter()
        .rev()
        .map(|(end, counted)| match counted.present() {
            Some(counted) => {
                let others: Vec<String> = counted
                    .states
                    .0
                    .iter()
                    .filter(|(state, count)| **state != TcpState::Established && **count > 0)
                    .map(|(state, count)| format!("{} {state}", grouped(*count)))
                    .collect();
                vec![
                    (*end).to_owned(),
                    counted.states.of(TcpState::Established).to_string(),
                    if others.is_empty() {
                        "none".to_owned()
                    } else {
                        others.join(", ")
                    },
                    seconds(counted.took_seconds),
                ]
            }
            None => vec![
                (*end).to_owned(),
                counted.gap().unwrap_or("not counted").to_owned(),
                String::new(),
                String::new(),
            ],
        })
        .collect();
    page.block(
        "Sockets of the planned connections, counted by the kernel (`sock_diag`) at each end:",
    );
    page.table(
        &[
            ("End", Column::Left),
            ("ESTABLISHED", Column::Right),
            ("Other states", Column::Left),
            ("Counting took", Column::Right),
        ],
        &rows,
    );
}

/// Exchanges that failed, where there were any.
fn unanswered(page: &mut Page, report: &Report) {
    let unanswered = &report.result.unanswered;
    if unanswered.is_empty() {
        return;
    }
    page.subheading("Exchanges without the right answer");
    let rows: Vec<Vec<String>> = unanswered
        .iter()
        .map(|each| {
            vec![
                each.reason.clone(),
                grouped(each.count),
                each.examples.join("; "),
            ]
        })
        .collect();
    page.table(
        &[
            ("Why", Column::Left),
            ("How many", Column::Right),
            ("For example", Column::Left),
        ],
        &rows,
    );
}

/// Losses and failures, where there were any.
fn trouble(page: &mut Page, report: &Report) {
    unanswered(page, report);
    if !report.losses.is_empty() {
        page.subheading("Lost connections");
        let rows: Vec<Vec<String>> = report
            .losses
            .iter()
            .map(|loss| {
                vec![
                    seconds(loss.at_seconds),
                    loss.worker.to_string(),
                    grouped(loss.count),
                    loss.reason.clone(),
                    loss.examples.join(", "),
                ]
            })
            .collect();
        page.table(
            &[
                ("Noticed at", Column::Right),
                ("By", Column::Left),
                ("How many", Column::Right),
                ("Why", Column::Left),
                ("Examples", Column::Left),
            ],
            &rows,
        );
    }
    if !report.failures.is_empty() {
        page.subheading("Connections that could not be opened");
        let rows: Vec<Vec<String>> = report
            .failures
            .iter()
            .map(|(why, count)| vec![grouped(*count), why.clone()])
            .collect();
        page.table(
            &[
                ("How many", Column::Right),
                ("Why, and what to do", Column::Left),
            ],
            &rows,
        );
    }
}

fn show(page: &mut Page, charts: &[Chart]) {
    if charts.is_empty() {
        return;
    }
    page.heading("Charts");
    for chart in charts {
        page.block(&format!("![{}](charts/{})", chart.title, chart.file));
    }
}

fn doubts(page: &mut Page, report: &Report) {
    page.heading("Doubts");
    page.numbered(report.result.doubts.iter().cloned());
    if !report.result.leftovers.is_empty() {
        page.subheading("Left behind");
        page.list(report.result.leftovers.iter().cloned());
    }
}
