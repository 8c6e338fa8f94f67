//! `network: link`: containers joined by veth pairs of the runner, with `ip`, `nsenter` and the kernel's own news of links as
//! second witnesses.

use std::cell::Cell;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use c1m::domain::NetworkDriver;
use c1m::kernel::netlink::route::{MacAddress, RouteSocket, VethEnd};
use c1m::kernel::sys::netns::{NetworkNamespace, move_into_new_network};

use crate::place::Place;
use crate::support::{DEADLINE, Lab, Running};
use crate::{docker, printed, small, traces};

/// What the kernel tells of links of the host's network namespace from a moment on.
struct LinkNews {
    monitor: Child,
    lines: Receiver<String>,
    marks: Cell<u32>,
}

/// What the veth pairs are called that the test makes and removes, so that it knows how far the news has come.
const MARK: &str = "test-mark";

impl LinkNews {
    fn listen() -> Self {
        let mut monitor = Command::new("ip")
            .args(["-o", "monitor", "link"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("ip runs");
        let output = monitor.stdout.take().expect("piped");
        let (send, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // The test may be over.
                let _ = send.send(line);
            }
        });
        let news = Self {
            monitor,
            lines,
            marks: Cell::new(0),
        };
        let until = Instant::now() + DEADLINE;
        // A mark that is made before it listens is not told.
        while news.told_until_mark(MARK_IS_TOLD_WITHIN).is_none() {
            assert!(Instant::now() < until, "no news of links");
        }
        news
    }

    /// What was told until now, but for the test's own mark.
    fn told(&self) -> Vec<String> {
        self.told_until_mark(DEADLINE).expect("the mark is told")
    }

    fn told_until_mark(&self, within: Duration) -> Option<Vec<String>> {
        let number = self.marks.replace(self.marks.get() + 1);
        let (mark, peer) = (format!("{MARK}{number}"), format!("{MARK}{number}b"));
        let pair = ["link", "add", &mark, "type", "veth", "peer", "name", &peer];
        printed("ip", &pair);
        printed("ip", &["link", "del", &mark]);
        let mut told = Vec::new();
        loop {
            let line = self.lines.recv_timeout(within).ok()?;
            if !line.contains(MARK) {
                told.push(line);
            } else if line.starts_with("Deleted") && line.contains(&format!(": {peer}@")) {
                return Some(told);
            }
        }
    }
}

/// A monitor that listens tells of a mark at once; one that is late is asked again.
const MARK_IS_TOLD_WITHIN: Duration = Duration::from_millis(500);

impl Drop for LinkNews {
    fn drop(&mut self) {
        // It fails only when the process is gone.
        let _ = self.monitor.kill();
        let _ = self.monitor.wait();
    }
}

fn links_of_the_host() -> String {
    printed("ip", &["-br", "link"])
}

#[test]
fn containers_are_joined_as_planned_and_the_host_sees_no_link() {
    let before = (traces(), links_of_the_host());
    let news = LinkNews::listen();
    let mut place = Place::up(
        0xd0c6_0001,
        &[
            "network=link",
            "clients.groups=[{hosts: 2, addresses_per_interface: 3}, {hosts: 1, interfaces: 2}]",
        ],
    );
    assert_eq!(place.plan.network_driver(), NetworkDriver::Link);
    assert_eq!(place.plan.untracked_range(), None);
    let made = news.told();
    assert!(made.is_empty(), "the host saw links: {made:?}");
    let during = || {
        let (traces, links) = (traces(), links_of_the_host());
        let other: Vec<String> = traces
            .into_iter()
            .filter(|line| !line.starts_with("container c1m-d0c60001-"))
            .collect();
        (other, links)
    };
    assert_eq!(before, during());
    for (host, worker) in place.plan.hosts.iter().zip(&place.workers) {
        let pid = worker.pid().expect("a process").to_string();
        let listed = printed("nsenter", &["-n", "-t", &pid, "ip", "-4", "-o", "address"]);
        let lab: Vec<&str> = listed
            .lines()
            .filter_map(|line| line.split_whitespace().nth(3))
            .filter(|address| !address.starts_with("127."))
            .collect();
        let planned: Vec<String> = host
            .interfaces
            .iter()
            .flat_map(|interface| &interface.addresses)
            .map(|address| format!("{address}/32"))
            .collect();
        for address in &planned {
            assert!(lab.contains(&&**address), "{address} in {listed}");
        }
        assert!(
            lab.iter()
                .all(|found| planned.iter().any(|address| address == found)),
            "{listed}"
        );
        let name = format!("c1m-{}-{}", place.run, host.index.name());
        let joined = docker(&["inspect", "--format", "{{.HostConfig.NetworkMode}}", &name]);
        assert_eq!(joined, "none");
    }
    place.open_all();
    for host in 0..place.plan.hosts.len() {
        let tracked = place.inside(host, || {
            std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count")
        });
        // Where the kernel has no connection tracking there is no such file.
        if let Ok(tracked) = tracked {
            assert_eq!(tracked.trim(), "0", "host {host}");
        }
    }
    assert_eq!(before, during());
    place.down();
    let moved = news.told();
    assert!(moved.is_empty(), "the host saw links: {moved:?}");
    assert_eq!(before, (traces(), links_of_the_host()));
}

#[test]
fn a_run_over_links_is_held_and_proved_and_says_what_joined_it() {
    let before = traces();
    let lab = Lab::new();
    let scenario = lab.scenario(
        "connections: 20000\nplace: docker\nhold: 2s\nclients:\n  groups:\n    - hosts: 1\n    - hosts: 1\n      interfaces: 3\n",
    );
    let ended = lab.run(&["run", &scenario]).expect(0);
    assert!(ended.stdout.starts_with("HELD 20,000"), "{}", ended.stdout);
    let result = lab.result();
    assert_eq!(result["network"], "link");
    assert_eq!(result["place"], "docker");
    assert_eq!(before, traces());
}

#[test]
fn a_bridge_that_is_asked_for_is_a_bridge() {
    let mut place = Place::up(0xd0c6_0002, &["network=bridge"]);
    let name = format!("c1m-{}-net-0", place.run);
    let driver = docker(&["network", "inspect", "--format", "{{.Driver}}", &name]);
    assert_eq!(driver, "bridge");
    place.open_all();
    place.down();
}

/// The pairs go with the containers' namespaces. No file of /proc shows a namespace that nobody is in, so each is tied to one
/// of the test's before the runner is killed: the tie goes when the namespace goes.
#[test]
fn after_kill_9_and_clean_the_namespaces_with_the_links_are_gone() {
    let before = (traces(), links_of_the_host());
    let lab = Lab::new();
    let scenario = small(&lab, "hold: 100s\nnetwork: link\n");
    let mut run = Running::start(lab.command(&["run", &scenario, "--progress", "plain"]));
    run.await_line("hold: ");
    let filter = "label=io.c1m.managed-by=c1m";
    let pids: Vec<u32> = docker(&["ps", "-q", "--filter", filter])
        .lines()
        .map(|id| docker(&["inspect", "--format", "{{.State.Pid}}", id]))
        .map(|pid| pid.parse().expect("a number"))
        .collect();
    assert_eq!(pids.len(), 3);
    thread::spawn(move || {
        move_into_new_network().expect("a namespace");
        let mut route = RouteSocket::open().expect("opens");
        for (number, pid) in pids.into_iter().enumerate() {
            let end = |name: String, side: u8| VethEnd {
                name,
                mac: MacAddress([0x02, 0x03, side, 0, 0, 0]),
            };
            let namespace = NetworkNamespace::of_process(pid).expect("its namespace");
            let (here, there) = (end(format!("tie{number}"), 0), end("tie".to_owned(), 1));
            route.add_veth(&here, &there, &namespace).expect("ties");
        }
        run.signal("KILL");
        drop(run.finish());
        lab.run(&["clean"]).expect(0);
        let until = Instant::now() + DEADLINE;
        while route
            .links()
            .expect("lists")
            .iter()
            .any(|link| link.name.starts_with("tie"))
        {
            assert!(Instant::now() < until, "a namespace is still there");
            thread::yield_now();
        }
    })
    .join()
    .expect("the namespaces end");
    assert_eq!(before, (traces(), links_of_the_host()));
}
