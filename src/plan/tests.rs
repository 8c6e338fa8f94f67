//! Tests of planning against hosts made up for them.

use std::collections::BTreeSet;

use proptest::prelude::*;

mod bounds;
mod containers;
mod host;

use super::*;
use crate::domain::{
    Bytes, CgroupLimit, ConntrackFacts, DescriptorFacts, DockerFacts, Limit, MemoryFacts, NetFacts,
    ObjectSize, ObjectSizes, PlaceKind, PlaceMaking, PortRange, Reading, SizeSource,
    UserNamespaceFacts,
};
use crate::scenario::{self, Override, PlaceRequest};

/// A machine like the one that the figures of `docs/memory.md` were measured on: 2 processors, 24 GB, root, a hard limit
/// of 20,000 descriptors, Docker's rules in place.
fn facts() -> HostFacts {
    let size = |(name, bytes): (&str, f64)| ObjectSize {
        name: name.to_owned(),
        bytes,
    };
    HostFacts {
        kernel: "6.18.0".to_owned(),
        architecture: "x86_64".to_owned(),
        boot_id: Reading::Present("00000000-0000-0000-0000-000000000000".to_owned()),
        cpus: 2,
        cpu_model: Reading::Present("a processor".to_owned()),
        virtual_machine: true,
        hypervisor: None,
        emulated: false,
        page_size: Bytes::from_kib(4),
        uid: 0,
        capabilities: vec!["net_admin".to_owned(), "sys_admin".to_owned()],
        first_user_namespace: Reading::Present(true),
        memory: MemoryFacts {
            total: Bytes::from_mib(24_105),
            free: Bytes::from_mib(19_290),
            droppable: Bytes::from_mib(3_500),
            swap: (Bytes::ZERO, Bytes::ZERO),
            cgroup: None,
            overcommit: Reading::Present(0),
            min_free: Reading::Present(Bytes::from_mib(67)),
        },
        descriptors: DescriptorFacts {
            soft: 1024,
            hard: Limit::At(20_000),
            nr_open: Reading::Present(1_048_576),
            file_max: Reading::Present(2_466_177),
            files_open: Reading::Present(3_000),
            epoll_watches: Reading::Present(5_491_511),
            threads_max: Reading::Present(192_000),
        },
        objects: ObjectSizes {
            source: SizeSource::Slabinfo,
            objects: [
                ("TCP", 2520.6),
                ("sock_inode_cache", 862.3),
                ("filp", 195.0),
                ("dentry", 195.0),
                ("lsm_inode_cache", 32.0),
                ("lsm_file_cache", 24.1),
                ("eventpoll_epi", 128.0),
                ("eventpoll_pwq", 64.0),
                ("ep_head", 16.0),
                ("request_sock_TCP", 341.3),
                ("tcp_bind_bucket", 128.0),
                ("tcp_bind2_bucket", 128.0),
            ]
            .map(size)
            .to_vec(),
        },
        net: NetFacts {
            port_range: PortRange::new(32_768, 60_999)
                .map(Reading::Present)
                .expect("a range"),
            somaxconn: Reading::Present(4096),
            tcp_mem: Reading::Present("287901 383870 575802".to_owned()),
            tcp_rmem: Reading::Present("4096 131072 6291456".to_owned()),
            tcp_wmem: Reading::Present("4096 16384 4194304".to_owned()),
            tcp_max_orphans: Reading::Present(131_072),
            neighbour_limit: Reading::Present(1024),
            ehash_entries: Reading::Present(262_144),
            routes_in_lab_range: Vec::new(),
            addresses_in_lab_range: Vec::new(),
        },
        conntrack: ConntrackFacts {
            limit: Reading::Present(262_144),
            entries: Reading::Present(144),
            tracks_loopback: Reading::Present(true),
            bridge_calls_iptables: Reading::Present(true),
        },
        user_namespaces: UserNamespaceFacts {
            allowed: false,
            why_not: None,
        },
        network_namespaces: true,
        docker: Reading::missing("not asked"),
        cgroup_version: Reading::Present(1),
    }
}

/// The same machine for an ordinary user who may make no namespace.
fn facts_of_a_user() -> HostFacts {
    HostFacts {
        uid: 1000,
        capabilities: Vec::new(),
        network_namespaces: false,
        user_namespaces: UserNamespaceFacts {
            allowed: false,
            why_not: Some("EPERM".to_owned()),
        },
        ..facts()
    }
}

fn scenario(assignments: &[&str]) -> Scenario {
    let overrides: Vec<Override> = assignments
        .iter()
        .map(|text| Override::from_assignment(text).expect("an assignment"))
        .collect();
    scenario::built_in(&overrides).unwrap_or_else(|errors| panic!("{errors}"))
}

fn plan_of(scenario: &Scenario, facts: &HostFacts) -> Result<Plan, Box<Refusal>> {
    let decision = choose_place(
        scenario.place,
        scenario.network,
        facts,
        DockerSupport::Available,
    )
    .expect("a place");
    plan(scenario, facts, &decision)
}

fn clients(plan: &Plan) -> Vec<&ClientSpec> {
    plan.workers
        .iter()
        .filter_map(|worker| match &worker.spec {
            WorkerSpec::Client(client) => Some(client),
            WorkerSpec::Server(_) | WorkerSpec::Subject(_) => None,
        })
        .collect()
}

#[test]
fn a_million_is_16_sources_with_64000_connections_and_512_spare_ports_each() {
    let plan = plan_of(&scenario(&["place=netns"]), &facts()).expect("fits");
    let shards: Vec<_> = clients(&plan)
        .into_iter()
        .flat_map(|client| &client.shards)
        .collect();
    assert_eq!(shards.len(), 16);
    assert!(
        shards
            .iter()
            .all(|shard| shard.count == 64_000 && shard.ports.len() - shard.count == 512)
    );
    insta::assert_json_snapshot!(plan);
}

#[test]
fn the_plan_of_a_million_reads_well() {
    insta::assert_snapshot!(
        plan_of(&scenario(&["place=netns"]), &facts())
            .expect("fits")
            .to_text()
    );
}

#[test]
fn two_million_fit_into_24_gb_as_root() {
    let plan = plan_of(&scenario(&["place=netns", "connections=2048000"]), &facts()).expect("fits");
    assert_eq!(plan.target.count(), 2_048_000);
    assert!(
        (8_000.0..8_300.0).contains(&plan.expected_bytes_per_connection),
        "{}",
        plan.expected_bytes_per_connection
    );
}

#[test]
fn a_user_on_the_hosts_loopback_is_told_about_connection_tracking() {
    let facts = facts_of_a_user();
    let refusal =
        plan_of(&scenario(&["connections=1024000"]), &facts).expect_err("262,144 entries");
    assert_eq!(refusal.place.place, PlaceKind::Loopback);
    let ids: Vec<&str> = refusal
        .shortfalls
        .iter()
        .map(|shortfall| shortfall.row.id.as_str())
        .collect();
    assert_eq!(ids, ["conntrack"]);
    assert_eq!(refusal.fits.count(), 235_000);
    insta::assert_snapshot!(refusal.to_text());

    let reduced =
        plan_of(&scenario(&["connections=1024000", "fit=yes"]), &facts).expect("is made to fit");
    assert_eq!(reduced.target.count(), 235_000);
    assert_eq!(reduced.requested.count(), 1_024_000);
    assert_eq!(reduced.reduced_by.len(), 1);
    assert!(reduced.budget.iter().all(BudgetRow::fits));
    assert!(reduced.settings.namespace.is_empty());
}

#[test]
fn the_least_of_machine_and_control_group_decides() {
    let mut facts = facts();
    facts.memory.cgroup = Some(CgroupLimit {
        path: "/small".to_owned(),
        limit: Bytes::from_mib(2048),
        used: Bytes::from_mib(100),
        droppable: Bytes::ZERO,
    });
    let plan = plan_of(&scenario(&["place=netns", "fit=yes"]), &facts).expect("is made to fit");
    assert!(
        (100_000..250_000).contains(&plan.target.count()),
        "{}",
        plan.target
    );
    assert_eq!(plan.reduced_by[0].row.id, "memory");
    // Spread evenly: no source has more than one connection more than another.
    let counts: BTreeSet<u32> = clients(&plan)
        .iter()
        .flat_map(|client| &client.shards)
        .map(|shard| shard.count)
        .collect();
    assert!(
        counts.last().expect("some") - counts.first().expect("some") <= 1,
        "{counts:?}"
    );
}

#[test]
fn an_ordinary_program_is_bounded_by_one_table() {
    let refusal = plan_of(
        &scenario(&["place=netns", "descriptor_tables=one", "connections=100000"]),
        &facts(),
    )
    .expect_err("20,000 descriptors");
    assert_eq!(refusal.shortfalls[0].row.id, "descriptors");
    assert_eq!(refusal.fits.count(), 19_000);
}

#[test]
fn the_kernels_own_choice_of_ports_has_the_hosts_range() {
    let scenario = scenario(&[
        "place=loopback",
        "clients.ports=kernel",
        "connections=64000",
    ]);
    let refusal = plan_of(&scenario, &facts_of_a_user()).expect_err("28,232 ports");
    assert_eq!(
        (
            refusal.shortfalls[0].row.id.as_str(),
            refusal.shortfalls[0].fits
        ),
        ("four_tuples", 28_232)
    );
    let plan = plan_of(&scenario, &facts()).expect("in a namespace the range is widened");
    assert!(
        plan.settings
            .namespace
            .iter()
            .any(|change| change.key == "net.ipv4.ip_local_port_range")
    );
}

#[test]
fn networks_keep_clear_of_what_the_machine_routes() {
    let mut facts = facts();
    facts.net.routes_in_lab_range = vec!["198.18.0.0/16".parse().expect("a network")];
    let plan = plan_of(&scenario(&["place=netns"]), &facts).expect("fits");
    assert!(
        plan.hosts
            .iter()
            .flat_map(|host| &host.interfaces)
            .all(|interface| interface.subnet.addr().octets()[1] == 19)
    );

    facts.net.routes_in_lab_range = vec!["198.18.0.0/15".parse().expect("a network")];
    let refusal = plan_of(&scenario(&["place=netns"]), &facts).expect_err("nothing is free");
    assert_eq!(refusal.shortfalls[0].row.id, "addresses");
    assert!(refusal.shortfalls[0].cure.contains("198.18.0.0/15"));
}

#[test]
fn the_article_has_7_networks_under_docker_and_16_pairs_in_namespaces() {
    let groups = "clients.groups=[{hosts: 2}, {hosts: 2, interfaces: 7}]";
    let mut facts = facts();
    facts.docker = Reading::Present(DockerFacts {
        engine: "20.10".to_owned(),
        api: "1.41".to_owned(),
        address: "/var/run/docker.sock".to_owned(),
        kernel: "6.18.0".to_owned(),
        same_kernel: true,
        unusable: None,
        subnets: vec!["198.18.3.0/24".parse().expect("a network")],
    });
    let docker = plan_of(&scenario(&[groups]), &facts).expect("fits");
    assert_eq!(docker.how, PlaceMaking::Docker);
    assert_eq!(docker.hosts[0].interfaces.len(), 7);
    assert!(!docker.untrack, "links are not tracked");
    assert!(
        docker.hosts[0]
            .interfaces
            .iter()
            .all(|interface| interface.subnet.addr().octets()[2] != 3)
    );
    let pairs = plan_of(&scenario(&[groups, "place=netns"]), &facts).expect("fits");
    assert_eq!(pairs.hosts[0].interfaces.len(), 16);
    for plan in [docker, pairs] {
        let interfaces: Vec<usize> = plan.hosts[1..]
            .iter()
            .map(|host| host.interfaces.len())
            .collect();
        assert_eq!(interfaces, [1, 1, 7, 7]);
        assert_eq!(plan.target.count(), 1_024_000);
    }
}

#[test]
fn auto_takes_docker_then_namespaces_then_loopback_and_says_why() {
    let of = |facts: &HostFacts, docker| {
        choose_place(PlaceRequest::Auto, NetworkRequest::Auto, facts, docker)
            .expect("auto always finds one")
    };
    let root = of(&facts(), DockerSupport::Available);
    assert_eq!(
        root.how,
        PlaceMaking::Netns {
            in_user_namespace: false
        }
    );
    assert_eq!(root.choice.why_not.len(), 1);
    let user = of(&facts_of_a_user(), DockerSupport::Available);
    assert_eq!(user.how, PlaceMaking::HostLoopback);
    assert_eq!(user.choice.why_not.len(), 2);
    let mut allowed = facts_of_a_user();
    allowed.user_namespaces.allowed = true;
    assert_eq!(
        of(&allowed, DockerSupport::Absent).how,
        PlaceMaking::Netns {
            in_user_namespace: true
        }
    );
    let refused = choose_place(
        PlaceRequest::Only(PlaceKind::Docker),
        NetworkRequest::Auto,
        &facts(),
        DockerSupport::Absent,
    )
    .expect_err("no docker");
    assert!(refused.cure.contains("netns"));
}

#[test]
fn a_server_that_does_not_accept_is_planned_with_its_queue() {
    let plan = plan_of(
        &scenario(&["place=netns", "server.accept=no", "connections=200000"]),
        &facts(),
    )
    .expect("fits");
    let WorkerSpec::Server(server) = &plan.workers[0].spec else {
        panic!("the server is first")
    };
    assert_eq!(server.backlog, 200_000);
    assert!(
        plan.settings
            .namespace
            .iter()
            .any(|change| change.wanted == crate::domain::SettingValue::AtLeast(200_000))
    );
    assert!(plan.expected_bytes_per_connection < 7_000.0);
}

#[test]
fn files_bind_those_who_are_not_root_outside() {
    let two_million = scenario(&["place=netns", "connections=2048000"]);
    let mut facts = facts_of_a_user();
    facts.user_namespaces.allowed = true;
    let refusal = plan_of(&two_million, &facts).expect_err("file-max");
    assert_eq!(refusal.shortfalls[0].row.id, "files");
    assert!(refusal.shortfalls[0].cure.contains("fs.file-max"));
}

#[test]
fn emitted_files_are_for_their_programs() {
    let plan = plan_of(
        &scenario(&[
            "place=netns",
            "settings.host.fs.file-max={at_least: 3000000}",
        ]),
        &facts(),
    )
    .expect("fits");
    insta::assert_snapshot!(emit(&plan, Emit::Sysctl) + &emit(&plan, Emit::Limits));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Shards cover the request, no two share a four-tuple, none has more connections than ports; addresses are unique.
    #[test]
    fn shards_cover_the_request_and_never_overlap(
        hosts in 1_u32..4, interfaces in 1_u32..4, addresses in 1_u32..40, ports in 1_usize..4, servers in 1_u32..4,
        share in 1_u64..=1000, place in prop::sample::select(vec!["netns", "loopback", "docker"]),
    ) {
        let listed: Vec<String> = (0..ports).map(|port| (9000 + port).to_string()).collect();
        let mut scenario = scenario(&[
            &format!("clients.groups=[{{hosts: {hosts}, interfaces: {interfaces}, addresses_per_interface: {addresses}}}, {{}}]"),
            &format!("server={{addresses: {servers}, ports: [{}]}}", listed.join(", ")),
        ]);
        scenario.place = PlaceRequest::Only(PlaceKind::Loopback);
        scenario.fit = true;
        let capacity = scenario.connections.count();
        scenario.connections = ConnCount::new((capacity * share / 1000).max(1));
        let mut facts = facts();
        facts.memory.free = Bytes::from_mib(64 * 1024 * 1024);
        facts.descriptors.epoll_watches = Reading::Present(u64::MAX);
        facts.descriptors.threads_max = Reading::Present(u64::MAX);
        facts.net.neighbour_limit = Reading::Present(u64::MAX);
        let how = match place {
            "netns" => PlaceMaking::Netns { in_user_namespace: false },
            "docker" => PlaceMaking::Docker,
            _ => PlaceMaking::PrivateLoopback { in_user_namespace: false },
        };
        let choice = PlaceChoice { place: how.kind(), asked: true, why: String::new(), why_not: Vec::new(), network: None };
        facts.descriptors.file_max = Reading::Present(u64::MAX);
        let plan = plan(&scenario, &facts, &PlaceDecision { how, choice }).expect("fits");
        let total: u64 = clients(&plan).iter().map(|client| client.connections().count()).sum();
        prop_assert_eq!(total, scenario.connections.count());
        let mut pairs = BTreeSet::new();
        for shard in clients(&plan).into_iter().flat_map(|client| &client.shards) {
            prop_assert!(shard.count >= 1 && shard.count <= shard.ports.len());
            prop_assert!(pairs.insert((shard.source, shard.target)), "{:?} twice", shard);
        }
        let mut seen = BTreeSet::new();
        for interface in plan.hosts.iter().flat_map(|host| &host.interfaces) {
            for address in &interface.addresses {
                prop_assert!(interface.subnet.contains(address) && LAB_RANGE.contains(address));
                prop_assert!(*address != interface.subnet.network() && *address != interface.subnet.broadcast());
                prop_assert!(seen.insert(*address), "{} twice", address);
            }
        }
    }

    /// What is made to fit fits, whatever the limits are.
    #[test]
    fn what_is_made_to_fit_fits(
        free in 300_u64..40_000, file_max in 5_000_u64..5_000_000, watches in 1_000_u64..5_000_000, conntrack in 1_000_u64..5_000_000,
        user in any::<bool>(),
    ) {
        let mut facts = if user { facts_of_a_user() } else { facts() };
        facts.memory.free = Bytes::from_mib(free);
        facts.memory.droppable = Bytes::ZERO;
        facts.descriptors.file_max = Reading::Present(file_max);
        facts.descriptors.epoll_watches = Reading::Present(watches);
        facts.conntrack.limit = Reading::Present(conntrack);
        match plan_of(&scenario(&[]), &facts) {
            Ok(plan) => {
                prop_assert!(plan.budget.iter().all(BudgetRow::fits), "{:?}", plan.budget);
                prop_assert_eq!(plan.target < plan.requested, !plan.reduced_by.is_empty());
            }
            Err(refusal) => prop_assert_eq!(refusal.fits.count(), 0),
        }
    }
}
