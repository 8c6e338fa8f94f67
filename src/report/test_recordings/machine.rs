//! The staged machine: what its kernel tells while so many connections are open.

use super::{KERNEL_EACH, SERVER_EACH};
use crate::domain::*;

pub(super) fn setting() -> SettingRecord {
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

pub(super) fn sample(number: u64, open: u64) -> Sample {
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
        slots_per_slab: None,
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
            cache("sock_inode_cache", 2, 862),
            cache("filp", 2, 195),
            cache("dentry", 2, 195),
            cache("lsm_inode_cache", 2, 32),
            cache("lsm_file_cache", 2, 24),
            cache("eventpoll_epi", 1, 128),
            cache("eventpoll_pwq", 1, 64),
            cache("ep_head", 1, 16),
            cache("tcp_bind2_bucket", 1, 128),
        ]),
        other_slabs: Reading::Present(Bytes::from_mib(60)),
        merging_unknown: None,
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
        host_conntrack: Reading::missing("nf_conntrack is not loaded"),
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
        processes: vec![
            process(WorkerId::SERVER, user),
            process(WorkerId::client(1), 0),
        ],
        trees: Vec::new(),
        cgroups: Vec::new(),
        process_gaps: Vec::new(),
        cgroup_gaps: Vec::new(),
        kernel_log: Reading::Present(Vec::new()),
        kernel_log_overrun: false,
    }
}

pub(super) fn facts() -> HostFacts {
    let why = "staged";
    HostFacts {
        kernel: "6.18.0".to_owned(),
        architecture: "x86_64".to_owned(),
        boot_id: Reading::missing(why),
        cpus: 2,
        cpu_model: Reading::Present("a processor".to_owned()),
        virtual_machine: false,
        hypervisor: None,
        emulated: false,
        page_size: Bytes::from_kib(4),
        uid: 1000,
        capabilities: Vec::new(),
        first_user_namespace: Reading::Present(true),
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
