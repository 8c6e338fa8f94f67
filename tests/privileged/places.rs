//! Places made of namespaces: what `ip` and `sysctl` say of them, that connections pass, and that nothing stays behind.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use c1m::control;
use c1m::domain::{HostIndex, PlaceMaking, RunId, SettingValue, WorkerId};
use c1m::plan::{HostPlan, Plan};
use c1m::provision::{FromWorker, Testbed, WorkerProgram, up_with};

use crate::plans;

/// How long an event may take that should come at once.
const SOON: Duration = Duration::from_secs(30);

fn run_id() -> RunId {
    RunId::from_random(0xc1a0_0001)
}

/// A plan of namespaces, made as root.
pub(crate) fn netns(hosts: Vec<HostPlan>) -> Plan {
    let how = PlaceMaking::Netns {
        in_user_namespace: false,
    };
    plans::plan(how, hosts)
}

/// A program that answers its first line with an event and a line of log, and ends with its stdin.
fn echoing() -> WorkerProgram {
    shell(
        "read line; echo '{\"event\":\"warning\",\"text\":\"heard\"}'; echo a line >&2; cat >/dev/null; exit 3",
    )
}

fn shell(script: &str) -> WorkerProgram {
    WorkerProgram::other("/bin/sh", vec![OsString::from("-c"), script.into()])
}

/// Does `work` inside a host and returns what it returns.
fn inside<R: Send + 'static>(
    place: &dyn Testbed,
    host: usize,
    work: impl FnOnce() -> R + Send + 'static,
) -> R {
    let (send, receive) = mpsc::channel();
    let work = Box::new(move || send.send(work()).expect("the test listens"));
    place.enter(HostIndex(host), work).expect("enters");
    receive.recv().expect("the work is done")
}

/// What a command prints inside a host.
fn printed(place: &dyn Testbed, host: usize, command: &'static [&'static str]) -> String {
    inside(place, host, move || {
        let output = Command::new(command[0])
            .args(&command[1..])
            .output()
            .expect("runs");
        assert!(output.status.success(), "{command:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    })
}

fn addresses(place: &dyn Testbed, host: usize) -> BTreeSet<String> {
    printed(place, host, &["ip", "-4", "-o", "address"])
        .lines()
        .map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let device = fields.next().expect("a device");
            let address = fields.nth(1).expect("an address");
            format!("{device} {address}")
        })
        .collect()
}

fn down(place: Box<dyn Testbed>) {
    let errors: Vec<String> = place.down().iter().map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn addresses_are_what_the_plan_says_and_every_source_reaches_the_server() {
    let hosts = vec![
        plans::host(0, 2, 1, 2),
        plans::host(1, 1, 10, 20),
        plans::host(2, 2, 40, 3),
    ];
    let plan = netns(hosts.clone());
    let place = up_with(&plan, &run_id(), echoing()).expect("is made");
    let server = addresses(&*place, 0);
    for expected in ["lo 127.0.0.1/8", "c1e0 198.18.0.1/32", "c2e1 198.18.1.2/32"] {
        assert!(server.contains(expected), "{expected} in {server:?}");
    }
    assert_eq!(addresses(&*place, 1).len(), 21);
    assert!(addresses(&*place, 2).contains("eth1 198.18.1.42/32"));

    let listener = inside(&*place, 0, || {
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, 9000)).expect("listens")
    });
    for client in &hosts[1..] {
        for interface in &client.interfaces {
            for source in interface.addresses.clone() {
                let target = Ipv4Addr::new(198, 18, source.octets()[2], 2);
                let mut opened = inside(&*place, client.index.0, move || {
                    connect_from(source, SocketAddr::from((target, 9000)))
                });
                let (mut accepted, peer) = listener.accept().expect("accepts");
                assert_eq!(peer.ip(), source);
                opened.write_all(b"hello").expect("writes");
                let mut heard = [0; 5];
                accepted.read_exact(&mut heard).expect("reads");
                assert_eq!(&heard, b"hello");
            }
        }
    }
    drop(listener);
    for host in 0..3 {
        let neighbours = printed(&*place, host, &["ip", "-4", "neighbour"]);
        let links = printed(&*place, host, &["ip", "-o", "link", "show", "type", "veth"]);
        assert_eq!(
            neighbours.lines().count(),
            links.lines().count(),
            "one neighbour for each link of host {host}: {neighbours}"
        );
        assert!(
            neighbours.lines().all(|line| line.contains("PERMANENT")),
            "{neighbours}"
        );
    }
    down(place);
}

/// Opens a connection from a chosen address.
fn connect_from(source: Ipv4Addr, target: SocketAddr) -> TcpStream {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket
        .bind(&SocketAddr::from((source, 0)).into())
        .unwrap_or_else(|error| panic!("bind {source}: {error}"));
    socket
        .connect_timeout(&target.into(), SOON)
        .unwrap_or_else(|error| panic!("connect {source} to {target}: {error}"));
    // A reset leaves no TIME_WAIT and no orphan behind.
    socket.set_linger(Some(Duration::ZERO)).expect("lingers");
    socket.into()
}

#[test]
fn settings_are_in_force_inside_and_one_missing_key_does_not_end_it() {
    let mut plan = netns(vec![plans::host(0, 1, 1, 1), plans::host(1, 1, 2, 1)]);
    plan.settings.namespace = vec![
        plans::setting(
            "net.ipv4.ip_local_port_range",
            SettingValue::Exactly("1024 65535".to_owned()),
        ),
        plans::setting("net.ipv4.no_such_key", SettingValue::AtLeast(1)),
        plans::setting("net.core.somaxconn", SettingValue::AtLeast(123_456)),
        plans::setting("net.ipv4.tcp_max_tw_buckets", SettingValue::AtLeast(1)),
    ];
    plan.settings.established_hash_entries = Some(524_288);
    let before = host_value("net.ipv4.tcp_child_ehash_entries");
    let place = up_with(&plan, &run_id(), echoing()).expect("is made");
    for host in 0..2 {
        let read = |key| printed(&*place, host, key).trim().replace('\t', " ");
        assert_eq!(
            read(&["sysctl", "-n", "net.ipv4.ip_local_port_range"]),
            "1024 65535"
        );
        assert_eq!(read(&["sysctl", "-n", "net.core.somaxconn"]), "123456");
        assert_eq!(
            read(&["sysctl", "-n", "net.ipv4.tcp_ehash_entries"]),
            "524288"
        );
    }
    let records = place.settings();
    let missing: Vec<_> = records
        .iter()
        .filter(|record| record.error.is_some())
        .collect();
    assert_eq!(missing.len(), 2, "one in each host: {missing:?}");
    assert!(
        missing
            .iter()
            .all(|record| record.change.key == "net.ipv4.no_such_key")
    );
    let left_alone = records
        .iter()
        .filter(|record| record.change.key == "net.ipv4.tcp_max_tw_buckets");
    assert!(left_alone.into_iter().all(|record| !record.changed));
    down(place);
    assert_eq!(host_value("net.ipv4.tcp_child_ehash_entries"), before);
}

fn host_value(key: &str) -> String {
    fs::read_to_string(format!("/proc/sys/{}", key.replace('.', "/"))).expect("the key is there")
}

#[test]
fn a_worker_is_born_in_its_namespace_and_its_lines_arrive_in_order() {
    let plan = netns(vec![plans::host(0, 1, 1, 1), plans::host(1, 1, 2, 1)]);
    let mut place = up_with(&plan, &run_id(), echoing()).expect("is made");
    let (inbox, events) = mpsc::channel();
    let worker = WorkerId::client(1);
    let mut handle = place
        .spawn(&plans::any_worker(worker.number, 1), inbox)
        .expect("starts");
    let pid = handle.pid().expect("is a child");
    let of_worker = fs::metadata(format!("/proc/{pid}/ns/net"))
        .expect("lives")
        .ino();
    let of_host = inside(&*place, 1, || {
        fs::metadata("/proc/thread-self/ns/net")
            .expect("lives")
            .ino()
    });
    assert_eq!(of_worker, of_host);
    let group = process_group(pid);
    assert_eq!(group, pid, "a process group of its own");
    let environment = fs::read(format!("/proc/{pid}/environ")).expect("reads");
    assert!(
        environment
            .split(|byte| *byte == 0)
            .any(|pair| pair == b"C1M_RUN=c1a00001")
    );
    let devices = fs::read_to_string(place.proc_net(HostIndex(1)).expect("known").join("dev"));
    assert!(devices.expect("reads").contains("eth0"));

    handle.send(&control::Command::Begin).expect("takes it");
    let mut heard = Vec::new();
    for _ in 0..2 {
        match events.recv_timeout(SOON).expect("says something") {
            (from, FromWorker::Event(control::Event::Warning { text })) => {
                assert_eq!(from, worker);
                heard.push(text);
            }
            (_, FromWorker::Log(line)) => heard.push(line),
            other => panic!("unexpected: {other:?}"),
        }
    }
    heard.sort();
    assert_eq!(heard, ["a line", "heard"]);
    // The end of its stdin is the end of a worker.
    drop(handle);
    match events.recv_timeout(SOON).expect("ends") {
        (_, FromWorker::Exited(report)) => {
            assert_eq!((report.code, report.signal), (Some(3), None));
        }
        other => panic!("unexpected: {other:?}"),
    }
    down(place);
}

/// The process group of a process, the fifth field of its stat.
fn process_group(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("lives");
    let behind_name = stat.rsplit_once(')').expect("a name").1;
    behind_name
        .split_whitespace()
        .nth(2)
        .expect("a group")
        .parse()
        .expect("a number")
}

#[test]
fn a_place_that_goes_down_takes_its_workers_with_it() {
    let plan = plans::plan(
        PlaceMaking::PrivateLoopback {
            in_user_namespace: false,
        },
        vec![plans::host(0, 0, 1, 1)],
    );
    let mut place = up_with(&plan, &run_id(), shell("exec sleep 600")).expect("is made");
    let (inbox, events) = mpsc::channel();
    let handles: Vec<_> = (0..3)
        .map(|number| {
            place
                .spawn(&plans::any_worker(number, 0), inbox.clone())
                .expect("starts")
        })
        .collect();
    assert_eq!(
        addresses(&*place, 2),
        BTreeSet::from(["lo 127.0.0.1/8".to_owned()])
    );
    down(place);
    for _ in 0..3 {
        match events.recv_timeout(SOON).expect("ends") {
            (_, FromWorker::Exited(report)) => assert_eq!(report.signal, Some(9)),
            other => panic!("unexpected: {other:?}"),
        }
    }
    for handle in &handles {
        let pid = handle.pid().expect("was a child");
        assert!(
            !fs::exists(format!("/proc/{pid}")).expect("asks"),
            "{pid} is gone"
        );
    }
}

#[test]
fn a_place_that_cannot_be_finished_says_which_object_and_which_errno() {
    let mut hosts = vec![plans::host(0, 1, 1, 1), plans::host(1, 1, 2, 1)];
    // The same address twice on one interface: the kernel refuses the second.
    let first = hosts[1].interfaces[0].addresses[0];
    hosts[1].interfaces[0].addresses.push(first);
    let error = up_with(&netns(hosts), &run_id(), echoing())
        .err()
        .expect("is refused");
    assert!(error.to_string().contains("198.18.0.2/32"), "{error}");
    assert!(error.to_string().contains("File exists"), "{error}");
}

#[test]
fn ordinary_users_get_namespaces_of_their_own_here() {
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args(["unshare", "-Urn", "ip", "-o", "link"])
        .stdout(Stdio::piped())
        .output()
        .expect("runs");
    assert!(output.status.success(), "{output:?}");
    c1m::provision::user_namespace_allowed().expect("is allowed");
}
