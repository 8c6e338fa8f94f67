//! From a scenario and the facts of a host to a plan, or to a list of shortfalls. Pure: no I/O, no clock.

mod budget;
mod compose;
mod containers;
mod layout;
mod memory;
mod model;
mod network;
mod place;
mod settings;
mod shards;
mod text;

use serde::Serialize;

use crate::domain::{
    Binding, BudgetRow, ClientSpec, ConnCount, ConnRate, DescriptorTables, Ends, HostFacts,
    HostIndex, NetworkDriver, Opening, PlaceChoice, PlaceKind, PlannedWorker, PortChoice,
    ServerSpec, Shard, Shortfall, Stage, SubjectSpec, WorkerId, WorkerSpec,
};
use crate::scenario::{NetworkRequest, PlaceRequest, Scenario};
use budget::{Checked, Ground};
use layout::{Layout, NoRoom};
use shards::Spread;

pub use containers::ContainerBounds;
pub use layout::LAB_RANGE;
pub use model::{HostPlan, Interface, Plan, SettingsPlan, VethPair};
pub use place::{DockerSupport, PlaceDecision, PlaceRefusal, choose_place, choose_place_of};
pub use shards::PORTS_PER_SOURCE;
pub use text::{Emit, emit};

/// A reduced number of connections is rounded down to a multiple of this, when there are enough of them.
const TIDY: u64 = 1000;

/// Milliseconds that a server has for its answer to what a connection says as it is opened.
const ANSWER_TIMEOUT_MS: u64 = 10_000;

/// A scenario that does not fit on this host: nothing is started.
#[derive(Debug, Clone, PartialEq, Serialize, thiserror::Error)]
#[error("{requested} connections do not fit here: {}", named(.shortfalls))]
pub struct Refusal {
    /// The scenario's name.
    pub scenario: String,
    /// Where it was to run, and why there.
    pub place: PlaceChoice,
    /// Connections asked for.
    pub requested: ConnCount,
    /// How many would fit: the least of what each limit lets through.
    pub fits: ConnCount,
    /// The limits that are too low.
    pub shortfalls: Vec<Shortfall>,
    /// Every limit.
    pub budget: Vec<BudgetRow>,
    /// A place where more would fit, and how many, where the place was chosen and not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elsewhere: Option<(PlaceKind, ConnCount)>,
}

fn named(shortfalls: &[Shortfall]) -> String {
    shortfalls
        .iter()
        .map(|shortfall| shortfall.row.name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Plans `scenario` for the host of `facts` in the place of `decision`.
///
/// # Errors
/// When it does not fit, and the scenario does not say that it may be reduced; or when not a single connection fits.
pub fn plan(
    scenario: &Scenario,
    facts: &HostFacts,
    decision: &PlaceDecision,
) -> Result<Plan, Box<Refusal>> {
    match plan_in(scenario, facts, decision) {
        Ok(mut plan) => {
            if plan.target < plan.requested
                && let Some((place, fits)) = elsewhere(scenario, facts, decision, plan.target)
            {
                plan.notes.push(more_fits(place, fits));
            }
            Ok(plan)
        }
        Err(mut refusal) => {
            refusal.elsewhere = elsewhere(scenario, facts, decision, refusal.fits);
            Err(refusal)
        }
    }
}

/// A place where more would fit than in the one that was chosen: namespaces, which carry connections between hosts as
/// containers do, before the loopback. Nobody who asked for a place is sent to another.
fn elsewhere(
    scenario: &Scenario,
    facts: &HostFacts,
    decision: &PlaceDecision,
    fits: ConnCount,
) -> Option<(PlaceKind, ConnCount)> {
    if decision.choice.asked {
        return None;
    }
    let reducible = Scenario {
        fit: true,
        ..scenario.clone()
    };
    [PlaceKind::Netns, PlaceKind::Loopback]
        .into_iter()
        .find_map(|place| {
            let decision = choose_place(
                PlaceRequest::Only(place),
                NetworkRequest::Auto,
                facts,
                DockerSupport::Absent,
            )
            .ok()?;
            let plan = plan_in(&reducible, facts, &decision).ok()?;
            (plan.target > fits).then_some((place, plan.target))
        })
}

fn more_fits(place: PlaceKind, fits: ConnCount) -> String {
    format!("{fits} would fit with --place {place}")
}

fn plan_in(
    scenario: &Scenario,
    facts: &HostFacts,
    decision: &PlaceDecision,
) -> Result<Plan, Box<Refusal>> {
    let requested = scenario.connections;
    let refusal = |shortfalls: Vec<Shortfall>, budget: Vec<BudgetRow>| {
        let fits = shortfalls
            .iter()
            .map(|shortfall| shortfall.fits)
            .min()
            .unwrap_or(0);
        Box::new(Refusal {
            scenario: scenario.name.clone(),
            place: decision.choice.clone(),
            requested,
            fits: ConnCount::new(tidy(fits)),
            shortfalls,
            budget,
            elsewhere: None,
        })
    };
    let layout = layout::lay_out(scenario, decision.how, layout::taken(facts))
        .map_err(|no_room| refusal(vec![no_room.shortfall()], Vec::new()))?;
    let slots = shards::slots(&layout, decision.how, &facts.net);
    let ground = Ground {
        scenario,
        facts,
        how: decision.how,
        joined_by: joined_by(&decision.choice),
        layout: &layout,
        slots: &slots,
    };

    let Fitted {
        target,
        reduced_by,
        budget,
    } = fit(&ground, requested).map_err(|(shortfalls, budget)| refusal(shortfalls, budget))?;

    let mut notes = Vec::new();
    let settings = settings::settings(scenario, decision.how, target, &mut notes);
    let tracking = ground.tracking();
    notes.extend(what_to_know(scenario));
    Ok(Plan {
        scenario: scenario.name.clone(),
        place: decision.choice.clone(),
        how: decision.how,
        requested,
        target,
        reduced_by,
        workers: workers(
            scenario,
            facts,
            &layout,
            shards::spread(&slots, layout.clients.len(), target, spread_of(scenario)),
            target,
        ),
        stages: Stage::plain(target, scenario.hold, scenario.verify)
            .into_iter()
            .map(|stage| stage.at_pace(scenario.verify_rate))
            .collect(),
        protocol: scenario.protocol.clone(),
        limit: scenario.limit,
        ends: Ends::Both,
        on_worker_loss: scenario.on_worker_loss,
        settings,
        four_tuples: shards::four_tuples(&layout, &slots),
        budget,
        expected_bytes_per_connection: ground.memory_need(target).per_connection,
        conntrack: tracking.sentence().to_owned(),
        untrack: tracking == budget::Tracking::KeptOut,
        thresholds: scenario.thresholds.clone(),
        formats: scenario.formats.clone(),
        notes,
        hosts: layout.hosts,
    })
}

/// What joins the containers of a place. The other places have none, and it says nothing there.
fn joined_by(choice: &PlaceChoice) -> NetworkDriver {
    choice
        .network
        .as_ref()
        .map_or_else(NetworkDriver::default, |network| network.driver)
}

/// How many connections fit, with what made them fewer than asked for.
struct Fitted {
    target: ConnCount,
    reduced_by: Vec<Shortfall>,
    budget: Vec<BudgetRow>,
}

/// Reduces `requested` to what fits, where the scenario allows it; else every shortfall, with every row.
fn fit(
    ground: &Ground<'_>,
    requested: ConnCount,
) -> Result<Fitted, (Vec<Shortfall>, Vec<BudgetRow>)> {
    let rows = |checked: Vec<Checked>| checked.into_iter().map(|checked| checked.row).collect();
    let asked = ground.rows(requested);
    let reduced_by: Vec<Shortfall> = asked.iter().filter_map(Checked::shortfall).collect();
    let fits = reduced_by
        .iter()
        .map(|shortfall| shortfall.fits)
        .min()
        .map_or_else(|| requested.count(), tidy);
    if !reduced_by.is_empty() && (!ground.scenario.fit || fits == 0) {
        return Err((reduced_by, rows(asked)));
    }
    let target = ConnCount::new(fits.min(requested.count()));
    let reduced = ground.rows(target);
    // What a limit lets through is an estimate where it has parts that do not shrink with the connections.
    let still_short: Vec<Shortfall> = reduced
        .iter()
        .filter_map(Checked::shortfall)
        .map(|shortfall| Shortfall {
            fits: 0,
            ..shortfall
        })
        .collect();
    if !still_short.is_empty() {
        return Err((still_short, rows(reduced)));
    }
    Ok(Fitted {
        target,
        reduced_by,
        budget: rows(reduced),
    })
}

/// Rounded down to whole thousands, where that loses less than a tenth.
const fn tidy(fits: u64) -> u64 {
    if fits >= 10 * TIDY {
        fits / TIDY * TIDY
    } else {
        fits
    }
}

impl NoRoom {
    fn shortfall(&self) -> Shortfall {
        let taken: Vec<String> = self.taken.iter().map(ToString::to_string).collect();
        Shortfall {
            row: BudgetRow {
                id: "addresses".to_owned(),
                name: "addresses for the lab".to_owned(),
                need: self.need,
                have: Some(self.have),
                unit: "addresses".to_owned(),
                source: if taken.is_empty() {
                    format!("{LAB_RANGE}, or 127.64.0.0 to 127.255.255.254 on loopback")
                } else {
                    format!(
                        "{LAB_RANGE}, of which this machine has or routes {}",
                        taken.join(", ")
                    )
                },
                binding: Binding::Hard,
                note: String::new(),
            },
            fits: 0,
            cure: if taken.is_empty() {
                "ask for fewer interfaces or addresses in clients.groups".to_owned()
            } else {
                format!(
                    "remove the routes ({}), or use --place loopback",
                    taken.join(", ")
                )
            },
        }
    }
}

/// The server, then the clients. Where there is one host only, all workers share it; otherwise each has its own.
fn workers(
    scenario: &Scenario,
    facts: &HostFacts,
    layout: &Layout,
    shards: Vec<Vec<Shard>>,
    target: ConnCount,
) -> Vec<PlannedWorker> {
    let server = &scenario.server;
    let own = || ServerSpec {
        engine: server.engine,
        listen: layout.listen.clone(),
        backlog: server.backlog,
        acceptors: server.acceptors,
        service: server.service,
        keepalive: server.keepalive,
        tables: scenario.descriptor_tables,
        capacity: target,
    };
    let spec = match &server.subject {
        None => WorkerSpec::Server(own()),
        Some(subject) => WorkerSpec::Subject(SubjectSpec {
            subject: subject.clone(),
            listen: layout.listen.clone(),
            capacity: target,
            container_pid: None,
            ready_seconds: ready_seconds(server.ready_within),
        }),
    };
    let mut workers = vec![PlannedWorker {
        id: WorkerId::SERVER,
        host: HostIndex::SERVER,
        spec,
    }];
    let clients = u32::try_from(layout.clients.len())
        .unwrap_or(u32::MAX)
        .max(1);
    for (number, (client, shards)) in (1..).zip(layout.clients.iter().zip(shards)) {
        let share: u64 = shards.iter().map(|shard| u64::from(shard.count)).sum();
        let spec = WorkerSpec::Client(ClientSpec {
            engine: scenario.client_engine,
            shards,
            ports: client.group.ports,
            in_flight: (scenario.ramp.in_flight / clients).max(1),
            rate: scenario.ramp.rate.map(|rate| {
                ConnRate::new(rate.per_second() * share as f64 / target.as_f64().max(1.0))
            }),
            tables: scenario.descriptor_tables,
            dialers: dialers(facts.cpus, clients),
            connect_timeout_ms: u32::try_from(scenario.ramp.connect_timeout.as_millis())
                .unwrap_or(u32::MAX),
            keepalive: scenario.client_keepalive,
            opening: scenario.ramp.speak.then(|| Opening {
                exchange: scenario.protocol.clone(),
                timeout_ms: ANSWER_TIMEOUT_MS,
            }),
        });
        let host = if layout.hosts.len() == 1 {
            HostIndex::SERVER
        } else {
            HostIndex(number as usize)
        };
        workers.push(PlannedWorker {
            id: WorkerId::client(number),
            host,
            spec,
        });
    }
    workers
}

const fn spread_of(scenario: &Scenario) -> Spread {
    if scenario.server.subject.is_some() {
        Spread::OneAfterTheOther
    } else {
        Spread::Evenly
    }
}

/// Whole seconds, at least one.
fn ready_seconds(within: Option<std::time::Duration>) -> u32 {
    let within = within.unwrap_or(crate::scenario::ServerPart::READY_WITHIN);
    u32::try_from(within.as_secs().max(1)).unwrap_or(u32::MAX)
}

/// Threads that dial at the same time in each of several clients: together one for each processor. A single client knows
/// better what is fastest.
fn dialers(cpus: usize, clients: u32) -> Option<u32> {
    (clients > 1).then(|| (u32::try_from(cpus).unwrap_or(1) / clients).max(1))
}

fn what_to_know(scenario: &Scenario) -> Vec<String> {
    let mut notes = Vec::new();
    if scenario
        .clients
        .iter()
        .any(|group| matches!(group.ports, PortChoice::Kernel | PortChoice::NoPort))
    {
        notes.push("the kernel chooses source ports one by one: beyond half of the range each connect(2) takes milliseconds rather than microseconds".to_owned());
    }
    if scenario.descriptor_tables == DescriptorTables::One {
        notes.push("each worker has one descriptor table, as an ordinary program: RLIMIT_NOFILE bounds the process".to_owned());
    }
    if !scenario.server.service.accepts() {
        notes.push("the server does not accept: its connections stay in the accept queue, without descriptor or inode".to_owned());
    }
    notes
}

#[cfg(test)]
mod tests;
