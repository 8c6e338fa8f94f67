//! Memory for each connection: the account adds up, each end has its own, and what was not read or disturbed is said.

use super::{close, report};
use crate::domain::{
    AttributionRow, Bytes, CgroupSample, Limit, MemoryBasis, ObjectSize, Reading, Sample,
    SizeSource, WorkerGap, WorkerId,
};
use crate::report::test_recordings::{
    KERNEL_CLIENT, KERNEL_EACH, KERNEL_SERVER, SERVER_EACH, Staged,
};
use crate::report::{analyse, markdown, text};

/// A worker's control group with so much kernel memory in it.
fn charged(worker: WorkerId, version: u32, kernel: u64) -> CgroupSample {
    CgroupSample {
        worker,
        version,
        charged: Bytes::from_mib(5) + Bytes::new(kernel),
        kernel: Reading::Present(Bytes::from_mib(1) + Bytes::new(kernel)),
        sockets: Reading::missing("this kernel does not account it"),
        anonymous: Reading::Present(Bytes::from_mib(4)),
        limit: Limit::Unlimited,
        oom_kills: Reading::Present(0),
    }
}

/// With a control group for each worker the charge stands beside the attribution: a counter of its own in version 1, a row of
/// `memory.stat` in version 2. It is never the figure.
#[test]
fn the_charge_of_control_groups_stands_beside_the_attribution() {
    const SERVER: u64 = 3700;
    const CLIENT: u64 = 3600;
    for version in [1, 2] {
        let mut recording = Staged::good(8000).recording();
        for sample in &mut recording.samples {
            let open = open(sample);
            sample.cgroups = [(WorkerId::SERVER, SERVER), (WorkerId::client(1), CLIENT)]
                .map(|(worker, each)| charged(worker, version, open * each))
                .into();
        }
        let memory = analyse(&recording).result.memory;
        assert!(close(memory.server.charged_bytes_per_connection, SERVER));
        assert!(close(memory.client.charged_bytes_per_connection, CLIENT));
        assert!(close(
            memory.server.kernel_bytes_per_connection,
            KERNEL_SERVER
        ));

        // One counter that cannot be read is a gap with its reason on that end, and none on the other.
        for sample in &mut recording.samples {
            sample.cgroups[0].kernel = Reading::missing("the kernel does not say");
        }
        let memory = analyse(&recording).result.memory;
        assert_eq!(memory.server.charged_bytes_per_connection, None);
        let how = &memory.server.how["charged_bytes_per_connection"];
        assert!(how.contains("the kernel does not say"), "{how}");
        assert!(close(memory.client.charged_bytes_per_connection, CLIENT));
    }
}

/// Connections open at a staged sample.
fn open(sample: &Sample) -> u64 {
    (sample.files.present().expect("staged").0 - 2000) / 2
}

/// 100,000 connections right after a run of 2,048,000, whose last 128 MiB came free meanwhile: `MemFree` fell by 6,897 B per
/// connection, slab grew by 8,238 B, and the objects take 8,204 B of it.
#[test]
fn memory_that_comes_free_meanwhile_disturbs_the_figure_and_does_not_lower_it() {
    const CONNECTIONS: u64 = 100_000;
    const SLAB: u64 = 8238;
    const OBJECTS: u64 = 8204;
    const FREED: u64 = 128 << 20;
    let mut recording = Staged::good(CONNECTIONS).recording();
    for sample in &mut recording.samples {
        let open = open(sample);
        let more = Bytes::new(open * (SLAB - KERNEL_EACH));
        let freed = Bytes::new(FREED * open / CONNECTIONS);
        if let Reading::Present(memory) = &mut sample.memory {
            memory.slab += more;
            memory.slab_unreclaimable += more;
            memory.free = (memory.free + freed).saturating_sub(more);
        }
        if let Reading::Present(slabs) = &mut sample.slabs {
            let objects = OBJECTS - KERNEL_SERVER - KERNEL_CLIENT;
            slabs[0].pages += Bytes::new(open * objects);
        }
    }
    let report = analyse(&recording);
    let detail = report.memory.present().expect("measured");
    let by_free = detail.free_drop / CONNECTIONS as f64 - SERVER_EACH as f64;
    assert!((by_free - 6896.0).abs() < 1.0, "{by_free}");
    let memory = &report.result.memory;
    assert!(close(memory.both.kernel_bytes_per_connection, SLAB));
    let unexplained = memory.unexplained_fraction.expect("known");
    let at_most = (SLAB - OBJECTS) as f64 / SLAB as f64;
    assert!((0.0..at_most).contains(&unexplained), "{unexplained}");
    let why = memory.disturbed.as_deref().expect("disturbed");
    assert!(why.contains("MemFree") && why.contains("128 MiB"), "{why}");
    let residual = memory.free_residual_bytes_per_connection.value;
    assert!(residual.is_some_and(|bytes| (bytes + 1342.2).abs() < 0.1));
    let doubts = report.result.doubts.join(" ");
    assert!(doubts.contains("disturbed"), "{doubts}");
}

/// The rows of the account add up to the whole, and to each side's figure.
#[test]
fn the_account_adds_up() {
    let result = report(&Staged::good(8000)).result;
    let rows = &result.memory.attribution;
    let sum = |field: fn(&AttributionRow) -> f64| rows.iter().map(field).sum::<f64>() / 8000.0;
    assert!(close(Some(sum(|row| row.bytes)), KERNEL_EACH + SERVER_EACH));
    assert!(close(
        Some(sum(|row| row.server_bytes)),
        KERNEL_SERVER + SERVER_EACH
    ));
    assert!(close(
        Some(sum(|row| row.client_bytes)),
        KERNEL_EACH - KERNEL_SERVER
    ));
    let unsplit = result.memory.shared_bytes_per_connection.expect("known");
    let both = result.memory.both.bytes_per_connection.expect("known");
    assert!(
        (sum(|row| row.server_bytes) + sum(|row| row.client_bytes) + unsplit - both).abs() < 1e-6
    );
}

/// A server that accepts and watches nothing has no object of epoll: what lies in the shared cache is the clients'.
#[test]
fn a_server_that_watches_nothing_is_charged_for_no_watch() {
    let mut recording = Staged::good(8000).recording();
    let Reading::Present(summary) = &mut recording.summary else {
        panic!("there is a summary");
    };
    let crate::domain::WorkerSpec::Server(server) = &mut summary.workers[0].planned.spec else {
        panic!("the first worker is the server");
    };
    server.service = crate::domain::Service::Accept;
    for sample in &mut recording.samples {
        if let Reading::Present(slabs) = &mut sample.slabs {
            let gone = ["eventpoll_pwq", "ep_head", "tcp_bind2_bucket"];
            slabs.retain(|cache| !gone.contains(&cache.name.as_str()));
            let cache = slabs
                .iter_mut()
                .find(|cache| cache.name == "eventpoll_epi")
                .expect("staged");
            cache.merged = ["eventpoll_epi", "tcp_bind2_bucket"]
                .map(str::to_owned)
                .into();
        }
    }
    let memory = analyse(&recording).result.memory;
    let of = |name: &str| {
        memory
            .attribution
            .iter()
            .filter(|row| row.object.contains(name))
            .map(|row| (row.server_bytes / 8000.0, row.client_bytes / 8000.0))
            .fold((0.0, 0.0), |sum, row| (sum.0 + row.0, sum.1 + row.1))
    };
    let (server, client) = of("eventpoll");
    assert!(
        server.abs() < 0.01 && client.abs() < 0.01,
        "{server} {client}"
    );
    let (server, client) = of("tcp_bind2_bucket");
    assert!(
        server.abs() < 0.01 && (client - 128.0).abs() < 0.01,
        "{server} {client}"
    );
}

/// Watched descriptors and bind buckets in one cache: what the server is known to have is taken off first.
#[test]
fn a_merged_cache_is_split_by_known_numbers() {
    let mut recording = Staged::good(8000).recording();
    for sample in &mut recording.samples {
        let open = open(sample);
        if let Reading::Present(slabs) = &mut sample.slabs {
            slabs.retain(|cache| cache.name != "tcp_bind2_bucket");
            let cache = slabs
                .iter_mut()
                .find(|cache| cache.name == "eventpoll_epi")
                .expect("staged");
            cache.merged = [
                "eventpoll_epi",
                "fib6_node",
                "tcp_bind2_bucket",
                "tcp_bind_bucket",
            ]
            .map(str::to_owned)
            .into();
            // One for the server, one and a half for the clients.
            cache.objects += open + open / 2;
            cache.pages += Bytes::new((open + open / 2) * 128);
        }
    }
    let memory = analyse(&recording).result.memory;
    assert!(close(
        memory.server.kernel_bytes_per_connection,
        KERNEL_SERVER
    ));
    assert!(close(
        memory.client.kernel_bytes_per_connection,
        KERNEL_CLIENT + 64
    ));
}

/// Half of the directory entries found room in slabs that were there before: they are taken all the same.
#[test]
fn objects_in_slabs_that_were_there_before_count() {
    let mut recording = Staged::good(8000).recording();
    for sample in &mut recording.samples {
        let open = open(sample);
        if let Reading::Present(slabs) = &mut sample.slabs {
            let cache = slabs
                .iter_mut()
                .find(|cache| cache.name == "dentry")
                .expect("staged");
            // 21 objects in a slab of one page.
            cache.slot = Bytes::new(192);
            cache.slots_per_slab = Some(21);
            cache.pages = Bytes::new(1_000_000 + open * 195);
        }
        if let Reading::Present(memory) = &mut sample.memory {
            memory.slab_reclaimable = memory
                .slab_reclaimable
                .saturating_sub(Bytes::new(open * 195));
            memory.free += Bytes::new(open * 195);
        }
    }
    let report = analyse(&recording);
    let share = 4096.0 / 21.0;
    let memory = &report.result.memory;
    let dentries = memory.attribution.iter().find(|row| row.object == "dentry");
    let bytes = dentries.expect("a row").bytes;
    assert!((bytes - 16_000.0 * share).abs() < 1.0, "{bytes}");
    let both = memory.both.kernel_bytes_per_connection.expect("known");
    assert!((both - (KERNEL_EACH as f64 - 195.0 + 2.0 * share - 195.0)).abs() < 0.1);
    assert_eq!(memory.disturbed, None);
}

/// An ordinary user may not read slabinfo: the split is modelled, and says so.
#[test]
fn without_slabinfo_the_split_is_modelled_and_the_sum_is_not() {
    let mut recording = Staged::good(50_000).recording();
    for sample in &mut recording.samples {
        sample.slabs = Reading::missing("cannot read /proc/slabinfo: Permission denied");
    }
    if let Reading::Present(facts) = &mut recording.facts {
        facts.objects.source = SizeSource::BtfEstimate;
        facts.objects.objects = [
            ("TCP", 2520.0),
            ("sock_inode_cache", 862.0),
            ("filp", 195.0),
        ]
        .map(|(name, bytes)| ObjectSize {
            name: name.to_owned(),
            bytes,
        })
        .into();
    }
    let report = analyse(&recording);
    let memory = &report.result.memory;
    assert_eq!(memory.server.basis, Some(MemoryBasis::Modelled));
    assert_eq!(memory.both.basis, Some(MemoryBasis::Counted));
    assert!(close(memory.both.kernel_bytes_per_connection, KERNEL_EACH));
    let server = memory.server.kernel_bytes_per_connection.expect("modelled");
    assert!((3577.0..3700.0).contains(&server), "{server}");
    let page = markdown(&report, &[]);
    assert!(page.contains("modelled, not counted"), "{page}");
}

/// A thousand connections take about 8 MB, of which partly filled slabs may be a twentieth.
#[test]
fn a_small_number_of_connections_is_not_measurable() {
    let report = report(&Staged::good(1000));
    let memory = &report.result.memory;
    assert_eq!(memory.server.kernel_bytes_per_connection, None);
    let how = &memory.server.how["kernel_bytes_per_connection"];
    assert!(how.contains("not measurable at 1,000 connections"), "{how}");
    assert!(memory.server.user_bytes_per_connection.is_some());
}

/// A log that could not be read, or was overrun, is not a log without a line; counters that could not be read are not zeros.
#[test]
fn what_was_not_read_is_not_called_absent() {
    let gap = |change: fn(&mut Sample)| {
        let mut recording = Staged::good(8000).recording();
        for sample in &mut recording.samples {
            change(sample);
        }
        let report = analyse(&recording);
        (markdown(&report, &[]), report.result.doubts.join(" "))
    };
    let (page, doubts) = gap(|sample| sample.kernel_log = Reading::missing("EPERM"));
    assert!(doubts.contains("EPERM") && !page.contains("no such line was recorded"));
    let (page, doubts) = gap(|sample| sample.kernel_log_overrun = sample.number == 7);
    assert!(doubts.contains("wrote over messages"), "{doubts}");
    assert!(!page.contains("no such line was recorded"));
    let (_, doubts) = gap(|sample| {
        sample.namespaces[0].tcp = Reading::missing("cannot read netstat");
    });
    assert!(doubts.contains("cannot read netstat"), "{doubts}");
    let (page, _) = gap(|sample| sample.per_cpu_free = Reading::missing("no zoneinfo"));
    assert!(page.contains("| residual | unknown | unknown | no zoneinfo |"));
    let (page, doubts) = gap(|sample| sample.merging_unknown = Some("no links".to_owned()));
    assert!(doubts.contains("no links") && page.contains("no links"));
    let (page, _) = gap(|sample| {
        sample.cgroup_gaps.push(WorkerGap {
            worker: WorkerId::SERVER,
            gap: "memory.current is gone".to_owned(),
        });
    });
    assert!(page.contains("memory.current is gone"));
}

/// A process that could not be read makes a gap with its reason, and no zero.
#[test]
fn a_worker_that_was_not_sampled_is_a_gap() {
    let mut recording = Staged::good(8000).recording();
    for sample in &mut recording.samples {
        sample.processes.remove(0);
        sample.process_gaps.push(WorkerGap {
            worker: WorkerId::SERVER,
            gap: "cannot read /proc/7/status: Permission denied".to_owned(),
        });
    }
    let report = analyse(&recording);
    let memory = &report.result.memory;
    for side in [&memory.server, &memory.both] {
        assert_eq!(side.user_bytes_per_connection, None);
        assert_eq!(side.bytes_per_connection, None);
        let how = &side.how["user_bytes_per_connection"];
        assert!(how.contains("/proc/7/status"), "{how}");
    }
    assert!(memory.client.user_bytes_per_connection.is_some());
    assert!(report.result.doubts.join(" ").contains("/proc/7/status"));
    assert!(!text(&report).contains("0.000 user"));
}
