//! Recordings made up for tests: a run of any size on a machine whose figures are known beforehand, so that a test can say
//! what must come out. Each step of the story can be left out.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::*;
use crate::plan::{HostPlan, Plan, PlanPlace, SettingsPlan};
use crate::record::{Recording, RunIdentity, SCHEMA_VERSION};
use crate::scenario::{RemainingOnLoss, Threshold, ThresholdKind};

/// What the kernel spends on each connection here, both ends, in slab pages.
pub(super) const KERNEL_EACH: u64 = 8000;
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
                    name: "ramp.rate_per_second".to_owned(),
                    kind: ThresholdKind::AtLeast,
                    bound: 800.0,
                },
                Threshold {
                    name: "memory.server.user_bytes_per_connection".to_owned(),
                    kind: ThresholdKind::AtMost,
                    bound: 8.0,
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
    pub(super) fn recording(&self) -> Recording<Plan> {
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
            plan: if early {
                Reading::missing("the run directory has no plan.json")
            } else {
                Reading::Present(self.plan())
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
        story.tell(0, RunEvent::Place(self.plan().place));
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
        for worker in [WorkerId::SERVER, WorkerId(1)] {
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
                        at: ConnCount::new(self.open_at(second)),
                        would_fit: ConnCount::new(self.open_at(second) + 100),
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
                    worker: WorkerId(1),
                    note: LossNote {
                        reason: LossReason::Reset,
                        count: self.lost,
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
                clients: vec![(
                    WorkerId(1),
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

    fn plan(&self) -> Plan {
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
        Plan {
            scenario: "staged".to_owned(),
            place: PlaceChoice {
                place: PlaceKind::Loopback,
                asked: false,
                why: "this user may not make namespaces".to_owned(),
                why_not: vec![(PlaceKind::Docker, "no engine answers".to_owned())],
            },
            how: PlanPlace::HostLoopback,
            requested: ConnCount::new(self.requested),
            target: ConnCount::new(self.target),
            reduced_by: Vec::new(),
            hosts: vec![HostPlan {
                index: HostIndex::SERVER,
                interfaces: Vec::new(),
            }],
            workers: vec![
                WorkerSpec::Server(ServerSpec {
                    engine: EngineKind::Epoll,
                    listen: vec![target],
                    backlog: 4096,
                    acceptors: Acceptors::Auto,
                    accept: true,
                    read: true,
                    keepalive: None,
                    tables: DescriptorTables::Many,
                    capacity: ConnCount::new(self.target),
                }),
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
                }),
            ],
            hold: Duration::from_secs(HOLD_SECONDS),
            verify: VerifyShare::All,
            on_worker_loss: RemainingOnLoss::End,
            settings: SettingsPlan::default(),
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
            untrack: false,
            thresholds: self.thresholds.clone(),
            notes: Vec::new(),
        }
    }
}

const HOLD_SECONDS: u64 = 10;

/// Events in the order in which they are told.
#[derive(Default)]
struct Told(Vec<Envelope>);

impl Told {
    fn tell(&mut self, second: u64, event: RunEvent) {
        self.0.push(Envelope {
            at_seconds: second as f64,
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
                worker: WorkerId(1),
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

fn setting() -> SettingRecord {
    SettingRecord {
        change: SettingChange {
            key: "net.core.somaxconn".to_owned(),
            scope: SettingScope::Namespace,
            wanted: SettingValue::AtLeast(4096),
            reason: "connections wait there until they are accepted".to_owned(),
        },
        host: Some(HostIndex::SERVER),
        before: Some("4096".to_owned()),
        in_force: Some("4096".to_owned()),
        changed: false,
        error: None,
    }
}

fn sample(number: u64, open: u64) -> Sample {
    let gib = 1 << 30;
    let kernel = open * KERNEL_EACH;
    let (reclaimable, fixed) = (kernel / 4, kernel - kernel / 4);
    let user = open * SERVER_EACH;
    let memory = MemInfo {
        total: Bytes::new(24 * gib),
        free: Bytes::new(20 * gib - kernel - user),
        available: Reading::Present(Bytes::new(22 * gib - fixed - user)),
        buffers: Bytes::from_mib(20),
        cached: Bytes::from_mib(900),
        anonymous: Bytes::from_mib(100) + Bytes::new(user),
        slab: Bytes::from_mib(80) + Bytes::new(kernel),
        slab_reclaimable: Bytes::from_mib(40) + Bytes::new(reclaimable),
        slab_unreclaimable: Bytes::from_mib(40) + Bytes::new(fixed),
        ..MemInfo::default()
    };
    let cache = |name: &str, each: u64, slot: u64| SlabCache {
        name: name.to_owned(),
        merged: Vec::new(),
        objects: 10 + open * each,
        slot: Bytes::new(slot),
        pages: Bytes::new((10 + open * each) * slot),
    };
    let process = |worker, user| ProcessSample {
        worker,
        anonymous: Bytes::from_mib(1) + Bytes::new(user),
        file_backed: Bytes::from_mib(2),
        page_tables: Bytes::from_kib(60),
        virtual_size: Bytes::from_mib(40),
        threads: 3,
        user_ticks: number,
        system_ticks: number * 20,
    };
    Sample {
        number,
        at_seconds: number as f64,
        took_seconds: 0.004,
        observer_cpu_seconds: Reading::Present(number as f64 * 0.004),
        memory: Reading::Present(memory),
        per_cpu_free: Reading::Present(Pages::new(1000)),
        slabs: Reading::Present(vec![
            cache("TCP", 2, 2520),
            cache("tcp_bind2_bucket", 1, 128),
        ]),
        cpu: Reading::Present(CpuTicks {
            user: number * 10,
            system: number * 60,
            softirq: number * 50,
            idle: number * 80,
            context_switches: number * 1000,
            interrupts: number * 900,
            running: 1,
            ..CpuTicks::default()
        }),
        files: Reading::Present((2000 + open * 2, 2_466_177)),
        softnet_dropped: Reading::Present(0),
        namespaces: vec![NamespaceSample {
            host: HostIndex::SERVER,
            sockets: Reading::Present(SocketStat {
                sockets_used: 300 + open * 2,
                tcp_in_use: 9 + open * 2,
                tcp_allocated: 14 + open * 2,
                ..SocketStat::default()
            }),
            tcp: Reading::Present(TcpCounters {
                established: 4 + open * 2,
                counters: [("ActiveOpens".to_owned(), open)].into(),
            }),
            conntrack: Reading::missing("nf_conntrack is not loaded"),
        }],
        processes: vec![process(WorkerId::SERVER, user), process(WorkerId(1), 0)],
        cgroups: Vec::new(),
        kernel_log: Reading::Present(Vec::new()),
    }
}

fn facts() -> HostFacts {
    let why = "staged";
    HostFacts {
        kernel: "6.18.0".to_owned(),
        architecture: "x86_64".to_owned(),
        boot_id: Reading::missing(why),
        cpus: 2,
        cpu_model: Reading::Present("a processor".to_owned()),
        virtual_machine: false,
        page_size: Bytes::from_kib(4),
        uid: 1000,
        capabilities: Vec::new(),
        memory: MemoryFacts {
            total: Bytes::from_mib(24 << 10),
            free: Bytes::from_mib(20 << 10),
            droppable: Bytes::from_mib(800),
            swap: (Bytes::ZERO, Bytes::ZERO),
            cgroup: None,
            overcommit: Reading::Present(0),
            min_free: Reading::Present(Bytes::from_mib(64)),
        },
        descriptors: DescriptorFacts {
            soft: 1024,
            hard: Limit::At(20_000),
            nr_open: Reading::Present(1_048_576),
            file_max: Reading::Present(2_466_177),
            files_open: Reading::Present(2000),
            epoll_watches: Reading::Present(5_491_511),
            threads_max: Reading::Present(190_000),
        },
        objects: ObjectSizes {
            source: SizeSource::Slabinfo,
            objects: Vec::new(),
        },
        net: NetFacts {
            port_range: Reading::missing(why),
            somaxconn: Reading::Present(4096),
            tcp_mem: Reading::Present("287901 383868 575802".to_owned()),
            tcp_rmem: Reading::Present("4096 131072 6291456".to_owned()),
            tcp_wmem: Reading::Present("4096 16384 4194304".to_owned()),
            tcp_max_orphans: Reading::Present(131_072),
            neighbour_limit: Reading::Present(1024),
            ehash_entries: Reading::Present(262_144),
            routes_in_lab_range: Vec::new(),
            addresses_in_lab_range: Vec::new(),
        },
        conntrack: ConntrackFacts {
            limit: Reading::missing(why),
            entries: Reading::missing(why),
            tracks_loopback: Reading::missing(why),
            bridge_calls_iptables: Reading::missing(why),
        },
        user_namespaces: UserNamespaceFacts {
            allowed: false,
            why_not: Some(why.to_owned()),
        },
        network_namespaces: false,
        docker: Reading::missing("no engine answers"),
        cgroup_version: Reading::Present(2),
    }
}
