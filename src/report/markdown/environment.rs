//! The section on the machine and the settings in force.

use super::page::{Column, Page, code};
use crate::domain::{HostFacts, Limit, Reading, RestoreOutcome, SettingRecord, SettingScope};
use crate::report::model::Report;
use crate::report::number::grouped;

/// Writes the section.
pub(super) fn section(page: &mut Page, report: &Report) {
    page.heading("Environment");
    match &report.facts {
        Reading::Present(facts) => machine(page, facts),
        Reading::Missing(gap) => page.block(&format!("Not known: {}.", gap.gap)),
    }
    if let Some(choice) = &report.place {
        page.block(&format!(
            "Place: `{}`: {}.",
            choice.place,
            choice.why.trim_end_matches('.')
        ));
        page.list(
            choice
                .why_not
                .iter()
                .map(|(place, why)| format!("not `{place}`: {why}")),
        );
        if let Some(network) = &choice.network {
            page.block(&format!(
                "Network between the containers: `{}`: {}.",
                network.driver,
                network.why.trim_end_matches('.')
            ));
            page.list(
                network
                    .why_not
                    .iter()
                    .map(|(driver, why)| format!("not `{driver}`: {why}")),
            );
        }
    }
    workers(page, report);
    settings(page, report);
}

fn machine(page: &mut Page, facts: &HostFacts) {
    let or_gap = |reading: &Reading<String>| match reading {
        Reading::Present(text) => text.clone(),
        Reading::Missing(gap) => format!("unknown: {}", gap.gap),
    };
    let number = |reading: &Reading<u64>| match reading {
        Reading::Present(number) => grouped(*number),
        Reading::Missing(gap) => format!("unknown: {}", gap.gap),
    };
    let hard = match facts.descriptors.hard {
        Limit::At(limit) => grouped(limit),
        Limit::Unlimited => "unlimited".to_owned(),
    };
    let below = match (facts.virtual_machine, &facts.hypervisor) {
        _ if facts.emulated => ", emulated machine (QEMU without hardware help)".to_owned(),
        (true, Some(name)) => format!(", virtual machine ({name})"),
        (true, None) => ", virtual machine".to_owned(),
        (false, _) => String::new(),
    };
    let rows = [
        (
            "Kernel",
            format!("{} on {}{below}", facts.kernel, facts.architecture),
        ),
        (
            "Processors",
            format!("{} × {}", facts.cpus, or_gap(&facts.cpu_model)),
        ),
        (
            "Memory",
            format!(
                "{} in all, {} free before the run, {} that may be dropped",
                facts.memory.total, facts.memory.free, facts.memory.droppable
            ),
        ),
        (
            "Swap",
            format!(
                "{} in all, {} free",
                facts.memory.swap.0, facts.memory.swap.1
            ),
        ),
        (
            "Memory limit above us",
            facts.memory.cgroup.as_ref().map_or_else(
                || "none".to_owned(),
                |limit| format!("{} in {}, {} used", limit.limit, limit.path, limit.used),
            ),
        ),
        (
            "User",
            if facts.uid == 0 {
                "root".to_owned()
            } else {
                format!("uid {}, no privilege", facts.uid)
            },
        ),
        (
            "Descriptors of one table",
            format!("{} soft, {hard} hard", grouped(facts.descriptors.soft)),
        ),
        ("fs.file-max", number(&facts.descriptors.file_max)),
        ("fs.nr_open", number(&facts.descriptors.nr_open)),
        ("net.ipv4.tcp_mem (pages)", or_gap(&facts.net.tcp_mem)),
        ("net.ipv4.tcp_rmem (bytes)", or_gap(&facts.net.tcp_rmem)),
        ("net.ipv4.tcp_wmem (bytes)", or_gap(&facts.net.tcp_wmem)),
        (
            "net.ipv4.tcp_max_orphans",
            number(&facts.net.tcp_max_orphans),
        ),
        (
            "net.netfilter.nf_conntrack_max",
            number(&facts.conntrack.limit),
        ),
    ]
    .map(|(name, value)| vec![name.to_owned(), value]);
    page.table(
        &[("Host, as found", Column::Left), ("", Column::Left)],
        &rows,
    );
}

fn workers(page: &mut Page, report: &Report) {
    let unknown = |value: Option<u64>| value.map_or_else(|| "unknown".to_owned(), grouped);
    let rows: Vec<Vec<String>> = report
        .workers
        .iter()
        .map(|worker| {
            vec![
                worker.worker.to_string(),
                unknown(worker.tables),
                unknown(worker.descriptors_per_table),
                grouped(worker.opened),
                grouped(worker.ports_replaced),
                grouped(worker.handovers),
                worker.died.clone().unwrap_or_default(),
            ]
        })
        .collect();
    page.table(
        &[
            ("Worker", Column::Left),
            ("Descriptor tables", Column::Right),
            ("Limit of each", Column::Right),
            ("Opened", Column::Right),
            ("Ports replaced", Column::Right),
            ("Handed over", Column::Right),
            ("", Column::Left),
        ],
        &rows,
    );
}

fn settings(page: &mut Page, report: &Report) {
    page.subheading("Settings");
    if report.settings.is_empty() {
        page.block("No setting was touched: everything ran with the values found above.");
        return;
    }
    let or_absent =
        |value: &Option<String>| value.clone().unwrap_or_else(|| "no such key".to_owned());
    // What is the same in several places is one row.
    let mut rows: Vec<Vec<String>> = Vec::new();
    for record in &report.settings {
        let cells = vec![
            code(&record.change.key),
            or_absent(&record.before),
            record.change.wanted.to_string(),
            record
                .error
                .clone()
                .unwrap_or_else(|| or_absent(&record.in_force)),
            put_back(report, record),
        ];
        match rows.iter_mut().find(|row| row[1..] == cells) {
            Some(row) => row[0] = format!("{}, {}", row[0], record.place()),
            None => rows.push([vec![record.place()], cells].concat()),
        }
    }
    page.table(
        &[
            ("Where", Column::Left),
            ("Key", Column::Left),
            ("Before", Column::Left),
            ("Wanted", Column::Left),
            ("In force, read back", Column::Left),
            ("Put back", Column::Left),
        ],
        &rows,
    );
}

fn put_back(report: &Report, record: &SettingRecord) -> String {
    if record.change.scope == SettingScope::Namespace {
        return "gone with the namespace".to_owned();
    }
    if !record.changed {
        return "was left alone".to_owned();
    }
    match report.restored.get(&record.change.key) {
        Some(RestoreOutcome::Restored) => "yes".to_owned(),
        Some(RestoreOutcome::AlreadyThere) => "it was already".to_owned(),
        Some(RestoreOutcome::ChangedByOthers(value)) => format!("no: somebody else wrote {value}"),
        Some(RestoreOutcome::Failed(error)) => format!("**no**: {error}"),
        None => "**unknown**".to_owned(),
    }
}
