//! A place of containers as the kernel and the engine see it: addresses, settings, capabilities, packet rules, and what of
//! the connections gets into connection tracking.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use c1m::control::{Command, Event};
use c1m::domain::{HostIndex, NetworkDriver, RunId, WorkerId};
use c1m::host::{Lock, Readers, Runtime, Tuning};
use c1m::plan::{self, DockerSupport, Plan};
use c1m::provision::docker::{self, probe};
use c1m::provision::{FromWorker, Testbed, WorkerHandle, WorkerProgram, remove_object};
use c1m::scenario::{self, Override};

use crate::support::Lab;
use crate::traces;

/// How long an event may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// A place that is up, with everything that it needs to go down again.
pub(crate) struct Place {
    pub(crate) plan: Plan,
    pub(crate) run: RunId,
    pub(crate) bed: Option<Box<dyn Testbed>>,
    pub(crate) workers: Vec<Box<dyn WorkerHandle>>,
    pub(crate) told: Receiver<(WorkerId, FromWorker)>,
    tuning: Tuning,
    _lock: Lock,
    _lab: Lab,
}

impl Place {
    /// Makes a place from overrides of the built-in scenario.
    pub(crate) fn up(number: u32, overrides: &[&str]) -> Self {
        let run = RunId::from_random(number);
        let overrides: Vec<Override> = ["place=docker", "connections=3000"]
            .iter()
            .chain(overrides)
            .map(|text| Override::from_assignment(text).expect("an assignment"))
            .collect();
        let scenario = scenario::built_in(&overrides).unwrap_or_else(|errors| panic!("{errors}"));
        let mut facts = c1m::host::probe().expect("facts");
        facts.docker = probe();
        let place = plan::choose_place(
            scenario.place,
            scenario.network,
            &facts,
            DockerSupport::Available,
        )
        .expect("an engine that may be used");
        let plan = plan::plan(&scenario, &facts, &place).expect("fits");
        let lab = Lab::new();
        let runtime = Runtime::at(lab.folder.path().join("runtime"), Readers::Owner).expect("made");
        let lock = Lock::take(&runtime, Some(&run)).expect("free");
        let mut tuning = Tuning::new(&runtime, &lock, &run, remove_object);
        let program = WorkerProgram::other(Path::new(env!("CARGO_BIN_EXE_c1m")), Vec::new());
        let mut bed = docker::up(&plan, &run, &program, &mut tuning)
            .unwrap_or_else(|error| panic!("{error}"));
        let (inbox, told) = channel();
        let mut workers = Vec::new();
        for planned in &plan.workers {
            let worker = bed.spawn(planned, inbox.clone()).expect("spawned");
            workers.push(worker);
        }
        Self {
            plan,
            run,
            bed: Some(bed),
            workers,
            told,
            tuning,
            _lock: lock,
            _lab: lab,
        }
    }

    pub(crate) fn bed(&self) -> &dyn Testbed {
        &**self.bed.as_ref().expect("up")
    }

    /// Starts the workers and opens every connection.
    pub(crate) fn open_all(&mut self) {
        let specs = self.plan.workers.clone();
        for (index, spec) in specs.into_iter().enumerate() {
            self.workers[index]
                .send(&Command::start(spec.spec))
                .expect("sent");
            self.await_from(index, |event| matches!(event, Event::Ready { .. }));
        }
        for client in &mut self.workers[1..] {
            client.send(&Command::Begin).expect("sent");
        }
        // Clients end their ramps in any order.
        let mut ramping = self.workers.len() - 1;
        while ramping > 0 {
            let (from, message) = self.told.recv_timeout(SOON).expect("an event in time");
            match message {
                FromWorker::Event(Event::RampDone { .. }) => ramping -= 1,
                FromWorker::Event(Event::Fatal { error, .. }) => panic!("{from}: {error}"),
                FromWorker::Exited(report) => panic!("{from} ended: {report:?}"),
                _ => {}
            }
        }
    }

    /// Waits for an event of a worker.
    pub(crate) fn await_from(&self, worker: usize, wanted: impl Fn(&Event) -> bool) {
        loop {
            let (from, message) = self.told.recv_timeout(SOON).expect("an event in time");
            match message {
                FromWorker::Event(event)
                    if from == self.plan.workers[worker].id && wanted(&event) =>
                {
                    return;
                }
                FromWorker::Event(Event::Fatal { error, .. }) => panic!("{from}: {error}"),
                FromWorker::Exited(report) => panic!("{from} ended: {report:?}"),
                _ => {}
            }
        }
    }

    /// Does `work` inside a host and returns what it returns.
    pub(crate) fn inside<R: Send + 'static>(
        &self,
        host: usize,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> R {
        let (send, receive) = channel();
        let work = Box::new(move || send.send(work()).expect("the test listens"));
        self.bed().enter(HostIndex(host), work).expect("enters");
        receive.recv().expect("the work is done")
    }

    /// Drains the connections and takes the place down.
    pub(crate) fn down(mut self) {
        for worker in self.workers.iter_mut().rev() {
            // One that has died takes no command.
            let _ = worker.send(&Command::Drain);
        }
        let left = self.bed.take().expect("up").down();
        assert!(left.is_empty(), "{left:?}");
        let restored = self.tuning.restore();
        assert!(restored.is_complete(), "{restored:?}");
    }
}

fn count_of(path: &'static str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.trim().parse().expect("a number")
}

const TRACKED: &str = "/proc/sys/net/netfilter/nf_conntrack_count";

#[test]
fn a_place_is_what_the_plan_says_and_no_connection_is_tracked() {
    let before = traces();
    let mut place = Place::up(
        0xd0c1_0001,
        &[
            "network=bridge",
            "clients.groups=[{hosts: 1, addresses_per_interface: 3}, {hosts: 1, interfaces: 2}]",
        ],
    );
    for host in place.plan.hosts.clone() {
        let listed = place.inside(host.index.0, || {
            let output = std::process::Command::new("ip")
                .args(["-4", "-o", "address"])
                .output()
                .expect("ip runs");
            String::from_utf8(output.stdout).expect("text")
        });
        for address in host
            .interfaces
            .iter()
            .flat_map(|interface| &interface.addresses)
        {
            assert!(
                listed.contains(&format!("{address}/")),
                "{address} in {listed}"
            );
        }
    }
    for record in place.bed().settings() {
        assert_eq!(record.error, None, "{record:?}");
        let key = record.change.key.replace('.', "/");
        let host = record.host.expect("a host").0;
        let found = place.inside(host, move || {
            std::fs::read_to_string(format!("/proc/sys/{key}")).expect("readable")
        });
        assert_eq!(Some(found.trim().to_owned()), record.in_force);
    }
    let tracked_before: Vec<u64> = (0..3)
        .map(|host| place.inside(host, || count_of(TRACKED)))
        .collect();
    let host_before = count_of(TRACKED);
    place.open_all();
    for (host, before) in tracked_before.into_iter().enumerate() {
        let now = place.inside(host, || count_of(TRACKED));
        assert!(
            now < before + 100,
            "host {host} tracks {now}, and {before} before"
        );
    }
    assert!(
        count_of(TRACKED) < host_before + 100,
        "the machine tracks the lab"
    );
    place.down();
    assert_eq!(before, traces());
}

#[test]
fn without_untrack_each_connection_is_tracked() {
    let mut place = Place::up(0xd0c1_0002, &["network=bridge", "untrack=no"]);
    let before = place.inside(0, || count_of(TRACKED));
    place.open_all();
    let now = place.inside(0, || count_of(TRACKED));
    assert!(now >= before + 3000, "{before} before, {now} now");
    place.down();
}

#[test]
fn containers_are_hardened_and_their_workers_hold_no_capability() {
    let networks = ["network=bridge", "network=link"];
    for (number, network) in (0xd0c1_0030..).zip(networks) {
        let place = Place::up(number, &[network]);
        are_hardened(&place);
        place.down();
    }
}

fn are_hardened(place: &Place) {
    for (index, worker) in place.workers.iter().enumerate() {
        let name = format!("c1m-{}-{}", place.run, HostIndex(index).name());
        let inspect = |format: &str| crate::docker(&["inspect", "--format", format, &name]);
        assert_eq!(inspect("{{.HostConfig.ReadonlyRootfs}}"), "true");
        assert_eq!(inspect("{{.HostConfig.RestartPolicy.Name}}"), "no");
        assert_eq!(inspect("{{.HostConfig.Privileged}}"), "false");
        assert_eq!(inspect("{{json .HostConfig.CapDrop}}"), "[\"ALL\"]");
        let added = match place.plan.network_driver() {
            NetworkDriver::Link => "null",
            _ => "[\"NET_ADMIN\",\"SETPCAP\"]",
        };
        assert_eq!(inspect("{{json .HostConfig.CapAdd}}"), added);
        assert_eq!(inspect("{{json .Mounts}}"), "[]");
        let ports = inspect("{{json .HostConfig.PortBindings}}");
        assert!(["{}", "null"].contains(&&*ports), "{ports}");
        let bounds = place.plan.container_bounds(HostIndex(index));
        assert_eq!(
            inspect("{{.HostConfig.Memory}}"),
            bounds.memory.bytes().to_string()
        );
        assert_eq!(
            inspect("{{.HostConfig.PidsLimit}}"),
            bounds.processes.to_string()
        );
        let pid = worker.pid().expect("a process");
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
        for task in tasks {
            let path = task.expect("a thread").path().join("status");
            let status = std::fs::read_to_string(path).expect("readable");
            for row in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert!(
                    status.contains(&format!("{row}:\t0000000000000000")),
                    "{row} in {status}"
                );
            }
            assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        }
    }
}

#[test]
fn macvlan_carries_connections_past_the_packet_rules_of_the_host() {
    let before = traces();
    let mut place = Place::up(0xd0c1_0004, &["network=macvlan"]);
    let name = format!("c1m-{}-net-0", place.run);
    assert_eq!(
        crate::docker(&["network", "inspect", "--format", "{{.Driver}}", &name]),
        "macvlan"
    );
    place.open_all();
    place.down();
    assert_eq!(before, traces());
}
