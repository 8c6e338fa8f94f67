//! The section on memory: what each side costs, the slope, the account row by row.

use super::memory_checks;
use super::page::{Column, Page};
use crate::domain::{MemoryBasis, MemorySide, Reading, RowSource};
use crate::report::model::{AccountRow, MemoryDetail, Report};
use crate::report::number::{bytes, bytes_each, figure, grouped, percent};

/// Writes the section.
pub(super) fn section(page: &mut Page, report: &Report) {
    page.heading("Memory per connection");
    let memory = match &report.memory {
        Reading::Present(memory) => memory,
        Reading::Missing(gap) => {
            page.block(&format!("Not known: {}.", gap.gap));
            return;
        }
    };
    sides(page, report);
    warnings(page, memory);
    slope(page, report, memory);
    account(page, memory);
    memory_checks::closing_sum(page, memory);
    memory_checks::processes(page, memory);
    memory_checks::groups(page, report, memory);
    memory_checks::misled(page, memory);
}

fn sides(page: &mut Page, report: &Report) {
    let result = &report.result.memory;
    let shown = |value: Option<f64>| value.map_or_else(|| "unknown".to_owned(), bytes_each);
    let row = |name: &str, side: &MemorySide| {
        vec![
            name.to_owned(),
            shown(side.user_bytes_per_connection),
            shown(side.kernel_bytes_per_connection),
            shown(side.bytes_per_connection),
            match side.basis {
                Some(MemoryBasis::Counted) => "counted",
                Some(MemoryBasis::Modelled) => "modelled, not counted",
                None => "",
            }
            .to_owned(),
        ]
    };
    let neither = vec![
        "neither alone".to_owned(),
        String::new(),
        shown(result.shared_bytes_per_connection),
        shown(result.shared_bytes_per_connection),
        String::new(),
    ];
    page.table(
        &[
            ("Side", Column::Left),
            ("User", Column::Right),
            ("Kernel", Column::Right),
            ("Sum", Column::Right),
            ("Kernel is", Column::Left),
        ],
        &[
            row("server", &result.server),
            row("clients", &result.client),
            neither,
            row("both", &result.both),
        ],
    );
    let figures = ["user_bytes_per_connection", "kernel_bytes_per_connection"];
    let mut why: Vec<String> = Vec::new();
    for (name, side) in [
        ("the server", &result.server),
        ("the clients", &result.client),
        ("both ends", &result.both),
    ] {
        let values = [
            side.user_bytes_per_connection,
            side.kernel_bytes_per_connection,
        ];
        for (figure, value) in figures.into_iter().zip(values) {
            if let (None, Some(how)) = (value, side.how.get(figure)) {
                let part = figure.split('_').next().unwrap_or_default();
                why.push(format!("The {part} part of {name} is unknown: {how}."));
            }
        }
    }
    page.list(why);
}

/// What speaks against the figures.
fn warnings(page: &mut Page, memory: &MemoryDetail) {
    if let Some(reason) = &memory.disturbed {
        page.block(&format!("**Disturbed**: {reason}."));
    }
    if memory.basis == MemoryBasis::Modelled {
        page.block(
            "The split between the ends is **modelled, not counted**: `/proc/slabinfo` could not be read. Numbers are those of the plan, sizes those that the plan was made with. The sum of both ends is the growth that `/proc/meminfo` tells.",
        );
    }
    page.list(memory.gaps.iter().map(|gap| format!("Not read: {gap}.")));
}

fn slope(page: &mut Page, report: &Report, memory: &MemoryDetail) {
    let each = bytes_each(memory.total() / memory.connections);
    let difference = match &memory.not_measurable {
        None => format!("The difference {} is {each}.", memory.between),
        Some(why) => format!("The difference {} is {why}.", memory.between),
    };
    match &report.slope {
        Reading::Present(slope) => page.block(&format!(
            "Slope of memory over connections, both ends: **{} ± {}** per connection (95 % confidence interval, least squares through {} samples of the ramp). {difference}",
            figure(slope.slope),
            bytes_each(slope.half_width),
            slope.points,
        )),
        Reading::Missing(gap) => page.block(&format!("No slope: {}. {difference}", gap.gap)),
    }
}

/// The account, row by row.
fn account(page: &mut Page, memory: &MemoryDetail) {
    page.subheading("What it is made of");
    page.block(&format!(
        "Growth {}, with {} connections at the end. Bytes are shares of whole slabs, waste included. The rows add up to the sum.",
        memory.between,
        grouped(rounded(memory.connections))
    ));
    let mut rows: Vec<Vec<String>> = memory
        .rows
        .iter()
        .map(|row| cells(row, memory.connections))
        .collect();
    let sum = |field: fn(&AccountRow) -> f64| {
        let all: f64 = memory.rows.iter().map(field).sum();
        figure(all / memory.connections)
    };
    rows.push(vec![
        "**sum**".to_owned(),
        String::new(),
        sum(|row| row.bytes),
        sum(|row| row.server),
        sum(|row| row.client),
        String::new(),
    ]);
    page.table(
        &[
            ("Memory", Column::Left),
            ("Number per connection", Column::Right),
            ("Bytes per connection", Column::Right),
            ("Server", Column::Right),
            ("Clients", Column::Right),
            ("Known by", Column::Left),
        ],
        &rows,
    );
    let sure = match &memory.uncertainty {
        Reading::Present(bytes) => format!(
            "Partly filled slabs may make up {} of the growth at most.",
            percent(bytes.0 / memory.total().abs().max(1.0))
        ),
        Reading::Missing(gap) => {
            format!(
                "What partly filled slabs make up is not known: {}.",
                gap.gap
            )
        }
    };
    let unexplained = memory.unexplained_fraction();
    let share = percent(unexplained.abs());
    page.block(&if unexplained.abs() < EXPLAINED {
        format!("The rows with a name explain the sum, to less than 0.1 % of it. {sure}")
    } else if unexplained < 0.0 {
        format!("The rows with a name explain {share} more than the sum. {sure}")
    } else {
        format!("{share} of the sum is not attributed. {sure}")
    });
    if memory.reused / memory.connections >= 0.5 {
        page.block(&format!(
            "{} per connection of the sum are no growth: objects that found room in slabs which were there before the baseline.",
            bytes_each(memory.reused / memory.connections)
        ));
    }
    for row in &memory.outside {
        page.block(&format!(
            "Not in the sum, because it was there before the baseline: {}, {} ({} per connection, {}).",
            row.object,
            bytes(row.bytes),
            bytes_each(row.bytes / memory.connections),
            known_by(row.source)
        ));
    }
}

fn cells(row: &AccountRow, connections: f64) -> Vec<String> {
    let each = |bytes: f64| figure(bytes / connections);
    let kernel_name = row
        .object
        .chars()
        .all(|letter| letter.is_ascii_alphanumeric() || "_-, ".contains(letter))
        && matches!(row.source, RowSource::Counted | RowSource::Modelled)
        && !row.object.contains("of charged");
    vec![
        if kernel_name {
            format!("`{}`", row.object)
        } else {
            row.object.clone()
        },
        row.objects
            .map(|objects| objects / connections)
            .filter(|each| *each >= FEWEST_SHOWN)
            .map_or_else(String::new, |each| format!("{each:.3}")),
        each(row.bytes),
        each(row.server),
        each(row.client),
        known_by(row.source).to_owned(),
    ]
}

/// Share of the sum below which the rest is not worth a figure.
const EXPLAINED: f64 = 0.001;

/// Fewer for each connection than this would show as 0.000.
const FEWEST_SHOWN: f64 = 0.0005;

const fn known_by(source: RowSource) -> &'static str {
    match source {
        RowSource::Counted => "`/proc/slabinfo`",
        RowSource::Modelled => "modelled",
        RowSource::Computed => "computed",
        RowSource::Meminfo => "`/proc/meminfo`",
        RowSource::Process => "`/proc/PID/status`",
        RowSource::Remainder => "what is left",
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a count
fn rounded(count: f64) -> u64 {
    count.round() as u64
}
