//! A plan, or a refusal, as text for people; and a plan as files for other programs.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::{Interface, Plan, Refusal};
use crate::domain::{
    Binding, Bound, BudgetRow, DescriptorTables, PlaceChoice, PlannedWorker, SettingChange,
    SettingValue, Shortfall, VerifyShare, WorkerSpec, hold_of, verify_of, verify_rate_of,
};

impl Plan {
    /// The plan for people: where, who, how much, with which settings, and why.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        let proved = match verify_of(&self.stages) {
            VerifyShare::All => "all of them proved alive".to_owned(),
            VerifyShare::None => "none of them proved alive".to_owned(),
            VerifyShare::Sample(count) => format!("{count} of them proved alive"),
        };
        let verify = match verify_rate_of(&self.stages) {
            Some(rate) if verify_of(&self.stages) != VerifyShare::None => {
                format!("{proved} at a planned {rate}")
            }
            _ => proved,
        };
        line(
            &mut out,
            format_args!(
                "Plan of {}: {} connections, {verify}, held for {:?}",
                self.scenario,
                self.target,
                hold_of(&self.stages)
            ),
        );
        if self.target < self.requested {
            line(
                &mut out,
                format_args!("Reduced from {} to what fits:", self.requested),
            );
            self.reduced_by
                .iter()
                .for_each(|shortfall| shortfall_text(&mut out, shortfall));
        }
        place_text(&mut out, &self.place);
        self.topology(&mut out);
        budget_text(&mut out, &self.budget);
        line(
            &mut out,
            format_args!("\nConnection tracking: {}", self.conntrack),
        );
        self.settings_text(&mut out);
        if !self.thresholds.is_empty() {
            line(&mut out, format_args!("\nThresholds"));
            for threshold in &self.thresholds {
                let word = match threshold.bound {
                    Bound::AtLeast(_) => "at least",
                    Bound::AtMost(_) => "at most",
                };
                line(
                    &mut out,
                    format_args!("  {} {word} {}", threshold.figure, threshold.bound.value()),
                );
            }
        }
        if !self.notes.is_empty() {
            line(&mut out, format_args!("\nTo know beforehand"));
            self.notes
                .iter()
                .for_each(|note| line(&mut out, format_args!("  - {note}")));
        }
        out
    }

    fn topology(&self, out: &mut String) {
        line(out, format_args!("\nTopology"));
        for worker in &self.workers {
            let name = worker.id.to_string();
            match &worker.spec {
                WorkerSpec::Server(server) => {
                    let addresses: Vec<Ipv4Addr> =
                        server.listen.iter().map(|at| *at.ip()).collect();
                    let mut ports: Vec<u16> =
                        server.listen.iter().map(SocketAddrV4::port).collect();
                    ports.sort_unstable();
                    ports.dedup();
                    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
                    line(
                        out,
                        format_args!(
                            "  {:<10} {:<9} listens on {}, port {}",
                            name,
                            server.engine.name(),
                            ranges(&addresses),
                            ports.join(", ")
                        ),
                    );
                }
                WorkerSpec::Subject(subject) => {
                    let ports: Vec<String> =
                        subject.listen.iter().map(ToString::to_string).collect();
                    line(
                        &mut *out,
                        format_args!("  {:<10} {} at {}", name, subject.subject, ports.join(", ")),
                    );
                }
                WorkerSpec::Client(client) => {
                    let sources: Vec<Ipv4Addr> =
                        client.shards.iter().map(|shard| shard.source).collect();
                    line(
                        out,
                        format_args!(
                            "  {:<10} {:<9} {:>9} connections from {}, ports {}",
                            name,
                            client.engine.name(),
                            client.connections().to_string(),
                            ranges(&sources),
                            client.ports.name()
                        ),
                    );
                }
            }
        }
        let networks: Vec<&Interface> = self
            .hosts
            .first()
            .map_or(&[][..], |server| &server.interfaces)
            .iter()
            .collect();
        if let (Some(first), Some(last)) = (networks.first(), networks.last()) {
            line(
                out,
                format_args!(
                    "  {} network(s), {} to {}",
                    networks.len(),
                    first.subnet,
                    last.subnet
                ),
            );
        }
        let tuples = self.four_tuples;
        let each: Vec<u32> = self
            .workers
            .iter()
            .filter_map(|worker| match &worker.spec {
                WorkerSpec::Client(client) => Some(client.shards.iter().map(|shard| shard.count)),
                WorkerSpec::Server(_) | WorkerSpec::Subject(_) => None,
            })
            .flatten()
            .collect();
        let (least, most) = (
            each.iter().min().copied().unwrap_or(0),
            each.iter().max().copied().unwrap_or(0),
        );
        let from_each = if least == most {
            most.to_string()
        } else {
            format!("{least} to {most}")
        };
        line(
            out,
            format_args!(
                "\nFour-tuples: {} source address(es) x {} ports x {} target(s) = {}; {from_each} used of each pair, {} ports spare",
                tuples.sources,
                tuples.ports_each,
                tuples.targets,
                tuples.total(),
                tuples.ports_each.saturating_sub(u64::from(most)),
            ),
        );
    }

    fn settings_text(&self, out: &mut String) {
        line(out, format_args!("\nSettings"));
        let settings = &self.settings;
        if settings.namespace.is_empty()
            && settings.host.is_empty()
            && settings.established_hash_entries.is_none()
        {
            line(out, format_args!("  none: nothing is changed"));
        }
        let mut group = |title: &str, changes: &[SettingChange]| {
            if !changes.is_empty() {
                line(out, format_args!("  {title}"));
                for change in changes {
                    line(
                        out,
                        format_args!(
                            "    {} = {}  ({})",
                            change.key, change.wanted, change.reason
                        ),
                    );
                }
            }
        };
        group(
            "in each network namespace of the lab; they vanish with it",
            &settings.namespace,
        );
        group(
            "of the host; written through the journal and put back",
            &settings.host,
        );
        if let Some(entries) = settings.established_hash_entries {
            line(
                out,
                format_args!(
                    "  established hash of each namespace: {entries} buckets, given through a parent namespace of our own"
                ),
            );
        }
    }
}

impl Refusal {
    /// The refusal for people: each shortfall with what is needed, what is there, and what cures it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        line(
            &mut out,
            format_args!(
                "{}: {} connections do not fit here; nothing was started, nothing changed",
                self.scenario, self.requested
            ),
        );
        self.shortfalls
            .iter()
            .for_each(|shortfall| shortfall_text(&mut out, shortfall));
        if self.fits.count() > 0 {
            line(
                &mut out,
                format_args!("\n{} would fit: --fit reduces to that", self.fits),
            );
        }
        if let Some((place, fits)) = self.elsewhere {
            line(
                &mut out,
                format_args!("\n{}", super::more_fits(place, fits)),
            );
        }
        place_text(&mut out, &self.place);
        if !self.budget.is_empty() {
            budget_text(&mut out, &self.budget);
        }
        out
    }
}

/// What a plan can be written as for other programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emit {
    /// A Compose file, for a plan in containers.
    Compose,
    /// A file for `/etc/security/limits.d`.
    Limits,
    /// A file for `/etc/sysctl.d`.
    Sysctl,
}

/// The plan as a file of another program.
#[must_use]
pub fn emit(plan: &Plan, what: Emit) -> String {
    match what {
        Emit::Compose => super::compose::compose(plan),
        Emit::Limits => limits(plan),
        Emit::Sysctl => sysctl(plan),
    }
}

fn sysctl(plan: &Plan) -> String {
    let mut out = String::new();
    line(
        &mut out,
        format_args!(
            "# Settings of the plan of {}, {} connections.",
            plan.scenario, plan.target
        ),
    );
    let mut group = |title: &str, changes: &[SettingChange]| {
        line(&mut out, format_args!("\n# {title}"));
        for change in changes {
            let value = match &change.wanted {
                SettingValue::AtLeast(least) => least.to_string(),
                SettingValue::Exactly(text) => text.clone(),
            };
            line(
                &mut out,
                format_args!("# {}\n{} = {value}", change.reason, change.key),
            );
        }
    };
    group(
        "Of the network namespace that server and clients run in; c1m sets them in namespaces of its own.",
        &plan.settings.namespace,
    );
    group("Of the whole machine.", &plan.settings.host);
    out
}

fn limits(plan: &Plan) -> String {
    let mut out = String::new();
    line(
        &mut out,
        format_args!(
            "# Limits of the plan of {}, {} connections.",
            plan.scenario, plan.target
        ),
    );
    let one_table = |worker: &PlannedWorker| match &worker.spec {
        WorkerSpec::Client(client) => client.tables == DescriptorTables::One,
        WorkerSpec::Server(server) => server.tables == DescriptorTables::One,
        WorkerSpec::Subject(_) => false,
    };
    let need = plan
        .budget
        .iter()
        .find(|row| row.id == "descriptors")
        .map_or(0, |row| row.need);
    if plan.workers.iter().any(one_table) {
        line(&mut out, format_args!("* - nofile {need}"));
    } else {
        line(
            &mut out,
            format_args!(
                "# None is needed: each thread has a descriptor table of its own, and the limit bounds one table."
            ),
        );
        line(
            &mut out,
            format_args!("# A program with one table would need: * - nofile {need}"),
        );
    }
    out
}

fn place_text(out: &mut String, choice: &PlaceChoice) {
    line(
        out,
        format_args!("\nPlace: {}: {}", choice.place, choice.why),
    );
    for (place, why) in &choice.why_not {
        line(out, format_args!("  not {place}: {why}"));
    }
    if let Some(network) = &choice.network {
        line(
            out,
            format_args!("Network: {}: {}", network.driver, network.why),
        );
        for (driver, why) in &network.why_not {
            line(out, format_args!("  not {driver}: {why}"));
        }
    }
}

fn shortfall_text(out: &mut String, shortfall: &Shortfall) {
    let row = &shortfall.row;
    let have = row
        .have
        .map_or_else(|| "unknown".to_owned(), |have| row.shown(have));
    line(
        out,
        format_args!(
            "  {}: {}{} needed, {have} there",
            row.name,
            row.shown(row.need),
            unit(row)
        ),
    );
    line(out, format_args!("    {}", row.source));
    line(out, format_args!("    cure: {}", shortfall.cure));
}

fn budget_text(out: &mut String, rows: &[BudgetRow]) {
    line(
        out,
        format_args!(
            "\n{:<34} {:>14} {:>14}",
            "What is needed, what is there", "need", "have"
        ),
    );
    for row in rows {
        let have = row
            .have
            .map_or_else(|| "no limit".to_owned(), |have| row.shown(have));
        let verdict = match (row.fits(), row.binding) {
            (_, Binding::Information) => "does not bind",
            (true, Binding::Hard) => "fits",
            (false, Binding::Hard) => "DOES NOT FIT",
        };
        line(
            out,
            format_args!(
                "  {:<32} {:>14} {have:>14}  {verdict}",
                row.name,
                row.shown(row.need)
            ),
        );
        line(out, format_args!("    {}", row.source));
        if !row.note.is_empty() {
            line(out, format_args!("    {}", row.note));
        }
    }
}

/// Bytes carry their unit with them.
fn unit(row: &BudgetRow) -> String {
    if row.unit == "bytes" {
        String::new()
    } else {
        format!(" {}", row.unit)
    }
}

/// Consecutive addresses as ranges: `198.18.0.2 to 198.18.0.9, 198.18.1.2`.
fn ranges(addresses: &[Ipv4Addr]) -> String {
    let mut sorted: Vec<u32> = addresses
        .iter()
        .map(|address| u32::from(*address))
        .collect();
    sorted.sort_unstable();
    sorted.dedup();
    let runs = sorted.chunk_by(|a, b| b - a == 1).map(|run| match run {
        [only] => Ipv4Addr::from(*only).to_string(),
        [first, .., last] => format!("{} to {}", Ipv4Addr::from(*first), Ipv4Addr::from(*last)),
        [] => String::new(),
    });
    runs.collect::<Vec<_>>().join(", ")
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(out, "{text}").expect("a String takes everything");
}
