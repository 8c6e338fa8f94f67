//! Parsers on files of several kernels, in `tests/fixtures/procfs/KERNEL/`: those of 6.18 are captured, the others written
//! after the kernels' sources. What has to come out stands beside them in `expected.json`.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::{Limit, Reading};

const KERNELS: [&str; 4] = ["6.18", "6.1", "5.10", "2.6.32"];

fn fixture(kernel: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/procfs")
        .join(kernel)
}

fn of_kernel(kernel: &str) -> Procfs {
    Procfs::with_page_size(fixture(kernel), Bytes::from_kib(4))
}

/// Links of `/sys/kernel/slab`, kept as a list: a file `name target`.
fn names(kernel: &str) -> CacheNames {
    let links = std::fs::read_to_string(fixture(kernel).join("slab-links")).unwrap_or_default();
    let pair = |line: &str| {
        let (name, target) = line.split_once(' ').unwrap();
        (name.to_owned(), target.to_owned())
    };
    CacheNames::of_links(links.lines().map(pair))
}

fn net(kernel: &str) -> PathBuf {
    fixture(kernel).join("proc/1234/net")
}

/// A reading as JSON; of a gap only that it is one, because its reason names a path.
fn shown<T: serde::Serialize>(result: Result<T, ProcError>) -> Value {
    match Reading::from(result) {
        Reading::Present(value) => json!(value),
        Reading::Missing(_) => json!("gap"),
    }
}

fn everything(kernel: &str) -> Value {
    let mut proc = of_kernel(kernel);
    let net = net(kernel);
    let limits = proc.descriptor_limits(1234);
    json!({
        "memory": shown(proc.meminfo()),
        "per_cpu_free": shown(proc.per_cpu_free()),
        "slabs": shown(proc.slabs(&names(kernel)).map(|slabs| slabs.of_connections)),
        "other_slabs": shown(proc.slabs(&names(kernel)).map(|slabs| slabs.others)),
        "cpu": shown(proc.cpu()),
        "files": shown(proc.open_files().map(|files| (files.open, files.limit))),
        "softnet_dropped": shown(proc.softnet_dropped()),
        "sockets": shown(proc.sockstat(&net)),
        "tcp": shown(proc.tcp_counters(&net)),
        "conntrack": shown(proc.conntrack(&net)),
        "process": shown(proc.process(WorkerId::SERVER, 1234)),
        "limits": shown(limits.map(|limits| (limits.soft, limits.hard))),
    })
}

#[test]
fn every_file_of_every_kernel_says_what_stands_beside_it() {
    for kernel in KERNELS {
        let path = fixture(kernel).join("expected.json");
        let expected: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(everything(kernel), expected, "{}", path.display());
    }
}

#[test]
fn the_articles_million_stood_at_two_pages_of_buffers() {
    let sockets = of_kernel("2.6.32").sockstat(&net("2.6.32")).unwrap();
    assert_eq!(sockets.tcp_in_use, 1_024_009);
    assert_eq!(sockets.tcp_memory, Pages::new(2));
    let files = of_kernel("2.6.32").open_files().unwrap();
    assert_eq!((files.open, files.limit), (1_025_216, 1_048_576));
}

#[test]
fn caches_that_share_slabs_are_one_row_under_the_name_that_matters() {
    let slabs = of_kernel("6.18")
        .slabs(&names("6.18"))
        .unwrap()
        .of_connections;
    let epoll = slabs
        .iter()
        .find(|cache| cache.name == "eventpoll_epi")
        .unwrap();
    for name in ["eventpoll_epi", "tcp_bind_bucket", "tcp_bind2_bucket"] {
        assert!(epoll.merged.iter().any(|merged| merged == name), "{name}");
    }
    let alone = |name: &str| slabs.iter().all(|cache| cache.name != name);
    assert!(alone("tcp_bind_bucket") && alone("tcp_bind2_bucket"));
    // Listed by the kernel as pool_workqueue and as anon_vma_chain.
    assert!(
        slabs
            .iter()
            .any(|cache| cache.name == "skbuff_fclone_cache")
    );
    assert!(slabs.iter().any(|cache| cache.name == "eventpoll_pwq"));
}

#[test]
fn the_share_of_a_page_counts_the_waste_of_a_slab() {
    let rows = of_kernel("6.18").slab_rows().unwrap();
    let names = names("6.18");
    let share = |name| {
        let row = names.row_of(name, &rows).unwrap();
        row.share(Bytes::from_kib(4)).unwrap()
    };
    assert!((share("TCP") - 2520.6).abs() < 0.1);
    assert!((share("sock_inode_cache") - 862.3).abs() < 0.1);
    assert!((share("tcp_bind2_bucket") - 128.0).abs() < f64::EPSILON);
}

#[test]
fn a_name_with_brackets_does_not_shift_the_fields() {
    let sample = of_kernel("6.1").process(WorkerId::client(2), 1234).unwrap();
    assert_eq!((sample.user_ticks, sample.system_ticks), (17, 233));
    assert_eq!(sample.file_backed, Bytes::from_kib(2908));
}

#[test]
fn an_unlimited_table_is_no_number() {
    let limits = of_kernel("5.10").descriptor_limits(1234).unwrap();
    assert_eq!(limits.hard, Limit::Unlimited);
}

#[test]
fn a_file_that_is_missing_and_a_file_that_is_broken_are_told_apart() {
    let mut proc = of_kernel("6.1");
    let gone = proc.process(WorkerId::client(1), 99_999).unwrap_err();
    assert!(gone.is_absent(), "{gone}");
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("proc")).unwrap();
    std::fs::write(root.path().join("proc/meminfo"), "MemTotal: much kB\n").unwrap();
    let broken = Procfs::new(root.path()).meminfo().unwrap_err();
    assert!(!broken.is_absent());
    assert!(
        broken
            .to_string()
            .ends_with("MemTotal is \"much\", not a number")
    );
}

fn parse_all(text: &str) {
    let page = Bytes::from_kib(4);
    let _ = meminfo::parse(text);
    let _ = zoneinfo::per_cpu_free(text);
    let _ = slabinfo::parse(text);
    let _ = slabinfo::of_connections(text, &CacheNames::default(), page);
    let _ = stat::parse(text);
    let _ = files::parse(text);
    let _ = files::number_alone(text);
    let _ = softnet::dropped(text);
    let _ = sockstat::parse(text);
    let _ = netstat::parse(text);
    let _ = netstat::parse_extension(text);
    let _ = netstat::conntrack_entries(text);
    let _ = process::status(text);
    let _ = process::times(text);
    let _ = process::resident_of_statm(text, page);
    let _ = process::descriptor_limits(text);
}

/// All files of a kernel, one behind the other.
fn all_files(kernel: &str) -> Vec<u8> {
    let mut pending = vec![fixture(kernel)];
    let mut bytes = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            pending.extend(
                std::fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            bytes.extend(std::fs::read(path).unwrap());
        }
    }
    bytes
}

proptest! {
    #[test]
    fn no_bytes_make_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        parse_all(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_cut_and_no_wrong_byte_makes_a_parser_panic(
        kernel in 0..KERNELS.len(),
        from in any::<prop::sample::Index>(),
        length in 0_usize..3000,
        wrong in any::<(prop::sample::Index, u8)>(),
    ) {
        let whole = all_files(KERNELS[kernel]);
        let from = from.index(whole.len());
        let mut cut = whole[from..whole.len().min(from + length)].to_vec();
        if !cut.is_empty() {
            let at = wrong.0.index(cut.len());
            cut[at] = wrong.1;
        }
        let text = String::from_utf8_lossy(&cut);
        parse_all(&text);
        parse_all(&format!("slabinfo - version: 2.1\n{text}"));
    }
}
