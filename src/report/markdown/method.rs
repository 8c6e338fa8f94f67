//! The sections on what was built, what it needed, and how it was measured and can be repeated.

use super::page::{Column, Page, code};
use crate::domain::{
    Binding, Mark, Phase, PhaseTime, PlaceMaking, PlannedWorker, PortChoice, ProtocolKind, Reading,
    Role, RunSummary, VerifyShare, WorkerId, WorkerSpec, verify_of,
};
use crate::report::model::Report;
use crate::report::number::{bytes, grouped, seconds};

/// The topology as a diagram, with addresses.
pub(super) fn topology(page: &mut Page, report: &Report) {
    page.heading("Topology");
    let Some(plan) = report.summary.present() else {
        page.block(&format!(
            "Not known: {}.",
            report.summary.gap().unwrap_or("there is no plan")
        ));
        return;
    };
    page.code("mermaid", &diagram(plan));
    let how = match plan.how {
        PlaceMaking::Docker => "Containers of the Docker engine.",
        PlaceMaking::HostLoopback => "The host's own loopback: nothing was made.",
        PlaceMaking::Joined { .. } => {
            "The loopback of the server's own network namespace, which was there before: nothing was made."
        }
        PlaceMaking::Container => "The loopback of a container that was started from the image.",
        PlaceMaking::PrivateLoopback {
            in_user_namespace: true,
        } => {
            "A network namespace of our own with nothing but a loopback, inside a user namespace: no privilege was needed."
        }
        PlaceMaking::PrivateLoopback { .. } => {
            "A network namespace of our own with nothing but a loopback."
        }
        PlaceMaking::Netns {
            in_user_namespace: true,
        } => {
            "A network namespace for each host, joined by veth pairs, inside a user namespace: no privilege was needed."
        }
        PlaceMaking::Netns { .. } => "A network namespace for each host, joined by veth pairs.",
    };
    page.block(how);
}

fn diagram(plan: &RunSummary) -> Vec<String> {
    let mut lines = vec!["flowchart LR".to_owned()];
    for worker in &plan.workers {
        let PlannedWorker {
            id: worker, spec, ..
        } = &worker.planned;
        let node = node(*worker);
        let text = match spec {
            WorkerSpec::Server(_) | WorkerSpec::Subject(_) => {
                let listen = spec.listen();
                let ports: Vec<String> = listen.iter().take(4).map(ToString::to_string).collect();
                let more = listen.len().saturating_sub(4);
                let more = if more > 0 {
                    format!("<br>and {more} more")
                } else {
                    String::new()
                };
                format!("{worker}<br>{}{more}", ports.join("<br>"))
            }
            WorkerSpec::Client(client) => format!(
                "{worker}<br>connections: {}<br>source addresses: {}",
                client.connections(),
                sources(spec)
            ),
        };
        lines.push(format!("  {node}[\"{text}\"]"));
    }
    for worker in plan.workers_of(Role::Client) {
        let label = if worker.networks.is_empty() {
            "loopback".to_owned()
        } else {
            worker.networks.join("<br>")
        };
        lines.push(format!(
            "  {} -- \"{label}\" --> {}",
            node(worker.planned.id),
            node(WorkerId::SERVER)
        ));
    }
    lines
}

/// A name that mermaid takes for a name.
fn node(worker: WorkerId) -> String {
    worker.to_string().replace('-', "_")
}

fn sources(spec: &WorkerSpec) -> usize {
    let WorkerSpec::Client(client) = spec else {
        return 0;
    };
    let mut sources: Vec<_> = client.shards.iter().map(|shard| shard.source).collect();
    sources.sort_unstable();
    sources.dedup();
    sources.len()
}

/// Addresses and ports, and the budget: needed, there, used.
pub(super) fn budget(page: &mut Page, report: &Report) {
    let Some(plan) = report.summary.present() else {
        return;
    };
    page.subheading("Addresses and ports");
    let tuples = &plan.four_tuples;
    page.block(&format!(
        "Source addresses {} × ports {} × targets {}: {} connections can be told apart; {} were planned.",
        grouped(tuples.sources),
        grouped(tuples.ports_each),
        grouped(tuples.targets),
        grouped(tuples.total()),
        plan.target
    ));
    let clients = plan
        .workers
        .iter()
        .filter_map(|worker| match &worker.planned.spec {
            WorkerSpec::Client(client) => Some((worker.planned.id, client)),
            WorkerSpec::Server(_) | WorkerSpec::Subject(_) => None,
        });
    let rows: Vec<Vec<String>> = clients
        .map(|(worker, client)| {
            let ports = client.shards.first().map(|shard| shard.ports.to_string());
            let first = client.shards.first().map(|shard| shard.source.to_string());
            let last = client.shards.last().map(|shard| shard.source.to_string());
            let how = match client.ports {
                PortChoice::Explicit => "explicit bind(2)",
                PortChoice::Range => "IP_LOCAL_PORT_RANGE",
                PortChoice::NoPort => "IP_BIND_ADDRESS_NO_PORT",
                PortChoice::Kernel => "bind(2) to port 0",
            };
            vec![
                worker.to_string(),
                client.connections().to_string(),
                match (first, last) {
                    (Some(first), Some(last)) if first != last => format!("{first} to {last}"),
                    (Some(first), _) => first,
                    (None, _) => "none".to_owned(),
                },
                ports.unwrap_or_default(),
                how.to_owned(),
                grouped(u64::from(client.in_flight)),
            ]
        })
        .collect();
    page.table(
        &[
            ("Client", Column::Left),
            ("Connections", Column::Right),
            ("Source addresses", Column::Left),
            ("Ports", Column::Left),
            ("Chosen by", Column::Left),
            ("In flight, at most", Column::Right),
        ],
        &rows,
    );
    rows_of_budget(page, report, plan);
}

fn rows_of_budget(page: &mut Page, report: &Report, plan: &RunSummary) {
    page.subheading("Budget");
    let rows: Vec<Vec<String>> = plan
        .budget
        .iter()
        .map(|row| {
            let show = |amount: u64| {
                if row.unit == "bytes" {
                    bytes(amount as f64)
                } else {
                    grouped(amount)
                }
            };
            vec![
                row.name.clone(),
                show(row.need),
                row.have.map_or_else(|| "not limited".to_owned(), show),
                report
                    .used
                    .get(row.id.as_str())
                    .map_or_else(|| "not measured".to_owned(), |used| show(*used)),
                match row.binding {
                    Binding::Hard => String::new(),
                    Binding::Information => "for information".to_owned(),
                },
                [row.source.as_str(), row.note.as_str()]
                    .into_iter()
                    .filter(|text| !text.is_empty())
                    .collect::<Vec<_>>()
                    .join("; "),
            ]
        })
        .collect();
    page.table(
        &[
            ("Limit", Column::Left),
            ("Needed", Column::Right),
            ("There", Column::Right),
            ("Really used", Column::Right),
            ("", Column::Left),
            ("Source", Column::Left),
        ],
        &rows,
    );
    if !plan.conntrack.is_empty() {
        page.block(&format!("Connection tracking: {}", plan.conntrack));
    }
    let entries = |reading: &Reading<u64>| {
        reading
            .present()
            .map_or_else(|| "unknown".to_owned(), |entries| grouped(*entries))
    };
    let rows: Vec<Vec<String>> = report
        .tracking
        .iter()
        .map(|(place, before, target)| vec![place.clone(), entries(before), entries(target)])
        .collect();
    page.table(
        &[
            ("Entries of connection tracking", Column::Left),
            ("Before", Column::Right),
            ("At the target", Column::Right),
        ],
        &rows,
    );
    page.list(plan.notes.iter().cloned());
}

/// Phases, method, and the command that repeats it.
pub(super) fn section(page: &mut Page, report: &Report) {
    page.heading("Method");
    let rows: Vec<Vec<String>> = report
        .phases
        .iter()
        .flat_map(|time| phase_rows(report, time))
        .chain(
            report
                .result
                .elapsed_seconds
                .get("total")
                .map(|total| vec!["**total**".to_owned(), seconds(*total)]),
        )
        .collect();
    page.table(&[("Phase", Column::Left), ("Took", Column::Right)], &rows);
    let mut method = vec![
        pace(report),
        "One sample a second, by a thread of its own with absolute deadlines. Figures of memory compare the sample at the baseline (workers up, nobody connected, settled) with the one at the target (all open, settled).".to_owned(),
        shrunk(report),
        "Both ends are counted by state through `sock_diag`, which asks the kernel, not the programs.".to_owned(),
    ];
    if let Some(plan) = report.summary.present() {
        let through = |which: &str| match plan.protocol.kind() {
            ProtocolKind::Echo => format!("An echo is sent through {which} and compared."),
            kind => format!(
                "An exchange of the protocol `{kind}` goes through {which} and is judged by its answer: `docs/protocols.md`."
            ),
        };
        method.push(match verify_of(&plan.stages) {
            VerifyShare::All => through("every connection"),
            VerifyShare::Sample(share) => through(&format!(
                "{} connections, spread evenly,",
                grouped(u64::from(share.get()))
            )),
            VerifyShare::None if plan.protocol.is_echo() => "No echo is sent.".to_owned(),
            VerifyShare::None => "Nothing is asked of the server.".to_owned(),
        });
    }
    method.push(
        "A value that could not be read is a gap with its reason, never a zero. `docs/measuring.md` and `docs/memory.md` have the definitions."
            .to_owned(),
    );
    page.list(method);
    page.block("What this method cannot tell:");
    page.list(report.limits.iter().cloned());
    page.subheading("Repeat it");
    if report.command.is_empty() {
        page.block("The command is not in the recording.");
    } else {
        page.code("sh", &[command(&report.command)]);
    }
    page.block(&format!(
        "Program: {}. The scenario with every default applied is in `scenario.resolved.yaml`, the plan in `plan.json`; run directory {}.",
        report.version.as_deref().map_or_else(|| "version unknown".to_owned(), |version| format!("`c1m {version}`")),
        report.directory.as_deref().map_or_else(|| "unknown".to_owned(), code)
    ));
}

/// How fast connections were opened, and what their latency is measured from.
fn pace(report: &Report) -> String {
    let how = if report.rate_is_planned() {
        "Clients open connections at the planned rate. Connect latency counts from the planned moment of each connect, so that a late start is in it".to_owned()
    } else {
        format!(
            "Clients open connections as fast as they can, in a closed loop with a window of {} handshakes. Connect latency counts from connect(2) until the client noticed that the handshake was over",
            grouped(report.window())
        )
    };
    format!("{how}. Histograms are merged before percentiles are taken.")
}

/// Whether partly empty slabs count as memory of the connections.
fn shrunk(report: &Report) -> String {
    let at = |mark| report.shrunk.get(&mark).copied();
    match (at(Mark::Baseline), at(Mark::Target)) {
        (Some(true), Some(true)) => "Before both samples the slab caches of connections gave their empty slabs back.",
        (Some(true), _) => "Before the baseline the slab caches of connections gave their empty slabs back; not before the target.",
        (Some(false), _) => "The slab caches of connections keep their empty slabs: only root may ask for them.",
        (None, _) => "Whether slab caches gave their empty slabs back is not in the recording.",
    }
    .to_owned()
}

/// The phase of the ramp holds the time in which the machine settles afterwards: a row of its own.
fn phase_rows(report: &Report, time: &PhaseTime) -> Vec<Vec<String>> {
    let row = |name: &str, length: f64| vec![name.to_owned(), seconds(length)];
    match report.result.ramp.seconds {
        Some(opening) if time.phase == Phase::Ramp && opening <= time.seconds => vec![
            row("ramp", opening),
            row("settling after the ramp", time.seconds - opening),
        ],
        _ => vec![row(time.phase.name(), time.seconds)],
    }
}

/// The command as a shell takes it.
fn command(words: &[String]) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./=:,+@%".contains(letter);
    let words = words.iter().map(|word| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    words.collect::<Vec<_>>().join(" ")
}
