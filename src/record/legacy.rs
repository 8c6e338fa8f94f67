//! Recordings of schema version 1 have no `summary.json`. What the report must know of the plan is taken from their
//! `plan.json`, whose workers had no names and whose stages were always the same four.

use std::time::Duration;

use serde::Deserialize;

use crate::domain::{
    Bound, BudgetRow, ConnCount, Conversation, Ends, Figure, FourTuples, HostIndex, PlaceMaking,
    PlannedWorker, ReportFormat, RunSummary, Shortfall, Stage, Threshold, VerifyShare, WorkerId,
    WorkerSpec, WorkerSummary,
};

/// The parts of a plan of version 1 that a report needs.
#[derive(Deserialize)]
pub(super) struct PlanOfVersion1 {
    scenario: String,
    how: PlaceMaking,
    requested: ConnCount,
    target: ConnCount,
    reduced_by: Vec<Shortfall>,
    hosts: Vec<HostOfVersion1>,
    workers: Vec<WorkerSpec>,
    hold: Duration,
    verify: VerifyShare,
    #[serde(default)]
    settings: SettingsOfVersion1,
    four_tuples: FourTuples,
    budget: Vec<BudgetRow>,
    expected_bytes_per_connection: f64,
    conntrack: String,
    thresholds: Vec<ThresholdOfVersion1>,
    #[serde(default = "ReportFormat::all")]
    formats: Vec<ReportFormat>,
    notes: Vec<String>,
}

#[derive(Deserialize)]
struct HostOfVersion1 {
    interfaces: Vec<InterfaceOfVersion1>,
}

#[derive(Deserialize)]
struct InterfaceOfVersion1 {
    subnet: String,
}

#[derive(Default, Deserialize)]
struct SettingsOfVersion1 {
    established_hash_entries: Option<u64>,
}

#[derive(Deserialize)]
struct ThresholdOfVersion1 {
    name: String,
    kind: KindOfVersion1,
    bound: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindOfVersion1 {
    AtLeast,
    AtMost,
}

impl From<PlanOfVersion1> for RunSummary {
    fn from(plan: PlanOfVersion1) -> Self {
        let shared = plan.hosts.len() == 1;
        let networks: Vec<Vec<String>> = plan
            .hosts
            .into_iter()
            .map(|host| {
                let each = host.interfaces.into_iter();
                each.map(|interface| interface.subnet).collect()
            })
            .collect();
        let workers = (0..).zip(plan.workers).map(|(number, spec)| {
            // Worker 0 was the server, and worker n ran on host n or on the only host.
            let id = match number {
                0 => WorkerId::SERVER,
                client => WorkerId::client(client),
            };
            let host = HostIndex(if shared { 0 } else { number as usize });
            WorkerSummary {
                networks: networks.get(host.0).cloned().unwrap_or_default(),
                planned: PlannedWorker { id, host, spec },
            }
        });
        Self {
            scenario: plan.scenario,
            how: plan.how,
            ends: Ends::Both,
            requested: plan.requested,
            target: plan.target,
            reduced_by: plan.reduced_by,
            workers: workers.collect(),
            limit: None,
            stages: Stage::plain(plan.target, plan.hold, plan.verify),
            protocol: Conversation::Echo,
            four_tuples: plan.four_tuples,
            budget: plan.budget,
            expected_bytes_per_connection: plan.expected_bytes_per_connection,
            conntrack: plan.conntrack,
            established_hash_entries: plan.settings.established_hash_entries,
            thresholds: plan
                .thresholds
                .into_iter()
                .filter_map(|threshold| {
                    Some(Threshold {
                        figure: Figure::parse(&threshold.name)?,
                        bound: match threshold.kind {
                            KindOfVersion1::AtLeast => Bound::AtLeast(threshold.bound),
                            KindOfVersion1::AtMost => Bound::AtMost(threshold.bound),
                        },
                    })
                })
                .collect(),
            formats: plan.formats,
            notes: plan.notes,
        }
    }
}
