//! Recordings made up for tests: a run of any size on a machine whose figures are known beforehand, so that a test can say
//! what must come out. Each step of the story can be left out.

mod machine;
pub(super) mod subject;
pub(super) mod trouble;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use machine::{facts, sample, setting};

use crate::domain::*;
use crate::record::{Recording, RunIdentity, SCHEMA_VERSION};

/// What the kernel spends on each connection here, both ends, in slab pages.
pub(super) const KERNEL_EACH: u64 = 8000;
/// What of it is the server's objects, and what the clients'. The rest is in no cache: with 8,000 connections it is less than
/// the client's descriptor table takes.
pub(super) const KERNEL_SERVER: u64 = 2520 + 862 + 195 + 195 + 32 + 24 + 128 + 64 + 16;
pub(super) const KERNEL_CLIENT: u64 = 2520 + 862 + 195 + 195 + 32 + 24 + 128;
/// What the server's process spends on each.
pub(super) const SERVER_EACH: u64 = 4;
/// Connections opened in a second.
const RATE: u64 = 1000;
const BASE_SAMPLE: u64 = 2;

/// A run to be staged.
#[derive(Debug, Clone)]
pub(super) struct Staged {
    /// Connections.
    pub(super) target: u64,
    /// Asked for.
    pub(super) requested: u64,
    /// The last thing that happens.
    pub(super) until: Until,
    /// Connections lost during the hold.
    pub(super) lost: u64,
    /// Connections that the server's end has at the count.
    pub(super) counted_server: u64,
    /// Whether the sample of the baseline is in the recording.
    pub(super) baseline_there: bool,
    /// Bounds.
    pub(super) thresholds: Vec<Threshold>,
}

/// Where a staged run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// The host is looked at, nothing else.
    Preflight,
    /// A place could not be made.
    ProvisionFailed,
    /// SIGINT in the middle of the ramp.
    InterruptedRamp,
    /// The guard stops it in the middle of the ramp.
    Guard,
    /// Power fails during the hold: nothing is recorded any more.
    PowerLost,
    /// It comes to its end.
    End,
}

impl Staged {
    /// A run that goes well.
    pub(super) fn good(target: u64) -> Self {
        Self {
            target,
            requested: target,
            until: Until::End,
            lost: 0,
            counted_server: target,
            baseline_there: true,
            thresholds: vec![
                Threshold {
                    figure: Figure::RampRate,
                    bound: Bound::AtLeast(800.0),
                },
                Threshold {
                    figure: Figure::Memory(Side::Server, Part::User),
                    bound: Bound::AtMost(8.0),
                },
            ],
        }
    }

    /// The same, ending elsewhere.
    pub(super) fn until(self, until: Until) -> Self {
        Self { until, ..self }
    }

    fn ramp_seconds(&self) -> u64 {
        self.target.div_ceil(RATE)
    }

    /// Connections open `seconds` after the beginning: the ramp begins at 5 s.
    fn open_at(&self, seconds: u64) -> u64 {
        let end = 5 + self.ramp_seconds() + 2 + HOLD_SECONDS + 1;
        let last = match self.until {
            Until::InterruptedRamp | Until::Guard => 5 + self.ramp_seconds() / 2,
            _ => end,
        };
        if seconds > last + 1 {
            return 0;
        }
        (seconds.min(last).saturating_sub(5) * RATE).min(self.target)
    }

    /// The recording.
    pub(super) fn recording(&self) -> Recording {
        let run = RunId::from_random(0x0123_abcd);
        let early = self.until == Until::Preflight;
        Recording {
            path: PathBuf::from("results/20261123T055004Z-staged-0123abcd"),
            identity: Reading::Present(RunIdentity {
                schema_version: SCHEMA_VERSION,
                run,
                scenario: "staged".to_owned(),
                started: "2026-11-23T05:50:04Z".to_owned(),
            }),
            facts: Reading::Present(facts()),
            summary: if early {
                Reading::missing("the run directory has no plan.json")
            } else {
                Reading::Present(self.summary())
            },
            events: self.events(),
            samples: self.samples(),
            damage: Vec::new(),
        }
    }

    fn samples(&self) -> Vec<Sample> {
        let last = match self.until {
            Until::Preflight | Until::ProvisionFailed => return Vec::new(),
            Until::InterruptedRamp | Until::Guard => 5 + self.ramp_seconds() / 2 + 3,
            Until::PowerLost => 5 + self.ramp_seconds() + 2 + HOLD_SECONDS / 2,
            Until::End => 5 + self.ramp_seconds() + 2 + HOLD_SECONDS + 4,
        };
        (0..=last)
            .filter(|number| self.baseline_there || *number != BASE_SAMPLE)
            .map(|number| sample(number, self.open_at(number)))
            .collect()
    }

    fn events(&self) -> Vec<Envelope> {
        let mut story = Told::default();
        story.tell(
            0,
            RunEvent::Started {
                wall_clock: "2026-11-23T05:50:04Z".to_owned(),
                command: ["c1m", "run", "-n", "8000"].map(str::to_owned).to_vec(),
                version: "0.1.0 (abcdef012345)".to_owned(),
            },
        );
        story.begin(0, Phase::Preflight);
        if self.until == Until::Preflight {
            return story.0;
        }
        story.tell(0, RunEvent::Place(place()));
        story.end(1, Phase::Preflight, 0.4);
        story.begin(1, Phase::Provision);
        if self.until == Until::ProvisionFailed {
            story.tell(
                2,
                RunEvent::Failed {
                    error: "cannot make a network namespace: Operation not permitted (errno 1)"
                        .to_owned(),
                    hint: Some("run as root".to_owned()),
                },
            );
            story.end(2, Phase::Provision, 1.0);
            story.close(3);
            return story.0;
        }
        for worker in [WorkerId::SERVER, WorkerId::client(1)] {
            story.tell(
                2,
                RunEvent::WorkerReady {
                    worker,
                    pid: 100,
                    tables: 1,
                    descriptors_per_table: 20_000,
                },
            );
        }
        story.tell(2, RunEvent::Setting(setting()));
        story.end(2, Phase::Provision, 1.0);
        story.mark(2, Mark::Baseline, BASE_SAMPLE);
        self.ramp(&mut story);
        story.0
    }

    fn ramp(&self, story: &mut Told) {
        story.begin(5, Phase::Ramp);
        story.mark(5, Mark::RampStart, 5);
        let end = 5 + self.ramp_seconds();
        for second in 6..=end {
            if second > 5 + self.ramp_seconds() / 2 && self.until == Until::InterruptedRamp {
                story.tell(
                    second,
                    RunEvent::Interrupted {
                        signal: "SIGINT".to_owned(),
                        phase: Phase::Ramp,
                    },
                );
                return self.down(story, second);
            }
            if second > 5 + self.ramp_seconds() / 2 && self.until == Until::Guard {
                story.tell(
                    second,
                    RunEvent::GuardStopped {
                        reason: "512 MiB are left, and 512 MiB must stay free".to_owned(),
                        phase: Phase::Ramp,
                        at: ConnCount::new(self.open_at(second)),
                        would_fit: Some(ConnCount::new(self.open_at(second) + 100)),
                        bytes_per_connection: 8004.0,
                    },
                );
                story.mark(second, Mark::RampEnd, second);
                return self.down(story, second);
            }
            story.progress(second, self.open_at(second), 0, true);
        }
        story.mark(end, Mark::RampEnd, end);
        story.end(end, Phase::Ramp, self.ramp_seconds() as f64);
        story.mark(end + 2, Mark::Target, end + 2);
        story.begin(end + 2, Phase::Hold);
        if self.until == Until::PowerLost {
            return;
        }
        self.hold(story, end + 2);
    }

    fn hold(&self, story: &mut Told, began: u64) {
        let end = began + HOLD_SECONDS;
        let left = self.target - self.lost;
        if self.lost > 0 {
            story.progress(end - 1, left, self.lost, false);
            story.tell(
                end - 1,
                RunEvent::Lost {
                    worker: WorkerId::client(1),
                    note: LossNote {
                        reason: LossReason::Reset,
                        count: self.lost,
                        said: ByteText::default(),
                        examples: vec![SocketAddrV4::new(Ipv4Addr::new(127, 1, 0, 1), 1024)],
                    },
                },
            );
        }
        story.end(end, Phase::Hold, HOLD_SECONDS as f64);
        story.begin(end, Phase::Verify);
        for (role, count) in [(Role::Server, self.counted_server), (Role::Client, left)] {
            story.tell(
                end,
                RunEvent::Counted {
                    host: HostIndex::SERVER,
                    role,
                    states: StateCounts([(TcpState::Established, count)].into()),
                    took_seconds: 0.012,
                },
            );
        }
        let count = ConnCount::new(left);
        story.tell(
            end + 1,
            RunEvent::Verified(Verification {
                unfinished: Vec::new(),
                clients: vec![(
                    WorkerId::client(1),
                    VerifyReport {
                        asked: count,
                        echoed: count,
                        latency: LatencyCounts(vec![(90, left)]),
                        ..VerifyReport::default()
                    },
                )],
            }),
        );
        story.end(end + 1, Phase::Verify, 1.0);
        self.down(story, end + 1);
    }

    fn down(&self, story: &mut Told, began: u64) {
        story.begin(began, Phase::Drain);
        story.progress(began + 1, 0, self.lost, false);
        story.end(began + 1, Phase::Drain, 0.8);
        story.close(began + 2);
    }

    fn summary(&self) -> RunSummary {
        let target = SocketAddrV4::new(Ipv4Addr::new(127, 200, 0, 1), 9000);
        let shard = Shard {
            source: Ipv4Addr::new(127, 1, 0, 1),
            target,
            ports: PortRange::UNPRIVILEGED,
            count: u32::try_from(self.target).expect("is small"),
        };
        let row = |id: &str, name: &str, need, have, unit: &str| BudgetRow {
            id: id.to_owned(),
            name: name.to_owned(),
            need,
            have: Some(have),
            unit: unit.to_owned(),
            source: "staged".to_owned(),
            binding: Binding::Hard,
            note: String::new(),
        };
        let worker = |id, spec| WorkerSummary {
            planned: PlannedWorker {
                id,
                host: HostIndex::SERVER,
                spec,
            },
            networks: Vec::new(),
        };
        let target_count = ConnCount::new(self.target);
        RunSummary {
            limit: None,
            scenario: "staged".to_owned(),
            how: PlaceMaking::HostLoopback,
            ends: Ends::Both,
            requested: ConnCount::new(self.requested),
            target: ConnCount::new(self.target),
            reduced_by: Vec::new(),
            workers: vec![
                worker(
                    WorkerId::SERVER,
                    WorkerSpec::Server(ServerSpec {
                        engine: EngineKind::Epoll,
                        listen: vec![target],
                        backlog: 4096,
                        acceptors: Acceptors::Auto,
                        service: Service::Echo,
                        keepalive: None,
                        tables: DescriptorTables::Many,
                        capacity: ConnCount::new(self.target),
                    }),
                ),
                worker(
                    WorkerId::client(1),
                    WorkerSpec::Client(ClientSpec {
                        engine: EngineKind::Epoll,
                        shards: vec![shard],
                        ports: PortChoice::Explicit,
                        in_flight: 512,
                        rate: None,
                        tables: DescriptorTables::Many,
                        dialers: None,
                        connect_timeout_ms: 10_000,
                        keepalive: None,
                        opening: None,
                    }),
                ),
            ],
            protocol: Conversation::Echo,
            stages: Stage::plain(
                target_count,
                Duration::from_secs(HOLD_SECONDS),
                VerifyShare::All,
            ),
            established_hash_entries: None,
            four_tuples: FourTuples {
                sources: 1,
                ports_each: 64_512,
                targets: 1,
            },
            budget: vec![
                row("memory", "memory", self.target * 8130, 20 << 30, "bytes"),
                row(
                    "four_tuples",
                    "four-tuples",
                    self.target,
                    64_512,
                    "connections",
                ),
            ],
            expected_bytes_per_connection: 8130.0,
            conntrack: "not in the path".to_owned(),
            thresholds: self.thresholds.clone(),
            formats: vec![ReportFormat::Charts, ReportFormat::Markdown],
            notes: Vec::new(),
        }
    }
}

const HOLD_SECONDS: u64 = 10;

fn place() -> PlaceChoice {
    PlaceChoice {
        place: PlaceKind::Loopback,
        asked: false,
        why: "this user may not make namespaces".to_owned(),
        why_not: vec![(PlaceKind::Docker, "no engine answers".to_owned())],
        network: None,
    }
}

/// Events in the order in which they are told.
#[derive(Default)]
struct Told(Vec<Envelope>);

impl Told {
    fn tell(&mut self, second: u64, event: RunEvent) {
        self.0.push(Envelope {
            at_seconds: second as f64,
            stage: None,
            event,
        });
    }

    fn begin(&mut self, second: u64, phase: Phase) {
        self.tell(second, RunEvent::PhaseBegan { phase });
    }

    fn end(&mut self, second: u64, phase: Phase, seconds: f64) {
        self.tell(second, RunEvent::PhaseEnded(PhaseTime { phase, seconds }));
    }

    fn mark(&mut self, second: u64, mark: Mark, sample: u64) {
        self.tell(second, RunEvent::Marked { mark, sample });
    }

    fn progress(&mut self, second: u64, open: u64, lost: u64, opening: bool) {
        let counters = Counters {
            opened: ConnCount::new(open + lost),
            established: ConnCount::new(open),
            lost: ConnCount::new(lost),
            ..Counters::default()
        };
        self.tell(
            second,
            RunEvent::Progress {
                worker: WorkerId::client(1),
                counters,
                latency: opening
                    .then(|| LatencyCounts(vec![(40, 900), (200 + second, 99), (5000, 1)])),
            },
        );
    }

    fn close(&mut self, second: u64) {
        self.begin(second, Phase::Teardown);
        self.end(second, Phase::Teardown, 0.1);
        self.tell(
            second,
            RunEvent::Ended {
                verdict: RunVerdict::Held,
            },
        );
    }
}
