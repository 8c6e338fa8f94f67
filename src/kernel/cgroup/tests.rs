//! Control groups of both versions, and a hybrid, as directories in `tests/fixtures/cgroup/`.

use proptest::prelude::*;

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/cgroup")
        .join(name)
}

fn hierarchy(name: &str) -> MemoryHierarchy {
    MemoryHierarchy::find(&fixture(name)).unwrap()
}

#[test]
fn version_2_tells_kernel_memory_and_socket_buffers_apart() {
    let hierarchy = hierarchy("v2");
    assert_eq!(hierarchy.version(), CgroupVersion::V2);
    assert_eq!(hierarchy.group_of(None).unwrap(), "/lab.slice/c1m.service");
    assert_eq!(hierarchy.group_of(Some(1234)).unwrap(), "/lab.slice/server");
    let sample = hierarchy
        .sample(WorkerId::SERVER, "/lab.slice/server")
        .unwrap();
    assert_eq!(sample.version, 2);
    assert_eq!(sample.charged, Bytes::new(80_932_864));
    assert_eq!(sample.kernel, Reading::Present(Bytes::new(78_680_064)));
    assert_eq!(sample.sockets, Reading::Present(Bytes::new(8192)));
    assert_eq!(sample.anonymous, Reading::Present(Bytes::new(413_696)));
    assert_eq!(sample.limit, Limit::At(Bytes::from_mib(512)));
    assert_eq!(sample.oom_kills, Reading::Present(1));
}

#[test]
fn rows_that_an_older_version_2_lacks_are_gaps() {
    let sample = hierarchy("v2")
        .sample(WorkerId::client(1), "/lab.slice/old-kernel")
        .unwrap();
    assert!(sample.kernel.gap().unwrap().contains("has no kernel"));
    assert_eq!(sample.limit, Limit::Unlimited);
    assert_eq!(sample.anonymous, Reading::Present(Bytes::new(4096)));
}

#[test]
fn a_limit_above_us_binds_when_it_leaves_less_than_ours() {
    let hierarchy = hierarchy("v2");
    // The group has 512 MiB and uses 77 of them; the slice above has 600 and uses 580, of which 20 can be dropped.
    let least = hierarchy.least_limit("/lab.slice/server").unwrap();
    assert_eq!(least.path, "/lab.slice");
    assert_eq!(least.left(), Bytes::from_mib(40));
    assert_eq!(
        hierarchy.levels_of("/lab.slice/server"),
        ["/lab.slice/server", "/lab.slice", "/"]
    );
    assert_eq!(hierarchy.least_limit("/"), None);
}

#[test]
fn version_1_has_its_figures_in_files_of_their_own() {
    let hierarchy = hierarchy("v1");
    assert_eq!(hierarchy.version(), CgroupVersion::V1);
    assert_eq!(hierarchy.group_of(None).unwrap(), "/lab/runner");
    let sample = hierarchy
        .sample(WorkerId::client(3), "/lab/server")
        .unwrap();
    assert_eq!(sample.version, 1);
    assert_eq!(sample.charged, Bytes::new(18_948_096));
    assert_eq!(sample.kernel, Reading::Present(Bytes::new(16_125_952)));
    assert_eq!(sample.sockets, Reading::Present(Bytes::ZERO));
    assert_eq!(sample.anonymous, Reading::Present(Bytes::new(1_839_104)));
    assert_eq!(sample.limit, Limit::Unlimited);
    assert_eq!(sample.oom_kills, Reading::Present(0));
}

#[test]
fn a_limit_that_only_its_consequence_shows_is_found_in_version_1() {
    let least = hierarchy("v1").least_limit("/lab/server").unwrap();
    assert_eq!(least.limit, Bytes::from_mib(1024));
    assert_eq!(least.path, "above /lab/server");
}

#[test]
fn in_a_hybrid_version_1_has_the_memory() {
    let hierarchy = hierarchy("hybrid");
    assert_eq!(hierarchy.version(), CgroupVersion::V1);
    assert_eq!(hierarchy.group_of(None).unwrap(), "/user.slice");
}

#[test]
fn a_container_sees_its_own_group_at_the_mount_point() {
    let hierarchy = hierarchy("container-v1");
    assert_eq!(hierarchy.group_of(None).unwrap(), "/");
    let least = hierarchy.least_limit("/").unwrap();
    assert_eq!(least.limit, Bytes::from_mib(256));
}

#[test]
fn a_machine_without_the_controller_says_so() {
    let error = MemoryHierarchy::find(&fixture("none")).unwrap_err();
    assert!(matches!(error, CgroupError::NoController { .. }), "{error}");
}

#[test]
fn socket_accounting_is_switched_on_once_and_binds_nothing() {
    let root = tempfile::tempdir().unwrap();
    let group = root.path().join("memory/lab");
    fs::create_dir_all(&group).unwrap();
    fs::create_dir_all(root.path().join("proc/self")).unwrap();
    let mounts = "35 31 0:32 / /memory rw,relatime - cgroup cgroup rw,memory\n";
    fs::write(root.path().join("proc/self/mountinfo"), mounts).unwrap();
    let file = group.join("memory.kmem.tcp.limit_in_bytes");
    fs::write(&file, "9223372036854771712\n").unwrap();
    let version_1 = MemoryHierarchy::find(root.path()).unwrap();
    let switch = || version_1.enable_socket_accounting("/lab").unwrap();
    assert_eq!(switch(), SocketAccounting::SwitchedOn);
    assert_eq!(fs::read_to_string(&file).unwrap(), "1099511627776\n");
    assert_eq!(switch(), SocketAccounting::WasOn);
    let always = hierarchy("v2").enable_socket_accounting("/lab.slice/server");
    assert_eq!(always.unwrap(), SocketAccounting::Always);
}

proptest! {
    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC*") {
        let path = Path::new("file");
        let _ = hierarchy::Mount::parse(&text);
        let _ = hierarchy::membership(&text, CgroupVersion::V1, "memory");
        let _ = hierarchy::membership(&text, CgroupVersion::V2, "memory");
        let _ = parse_number(&text, path);
        let _ = row(&text, "anon", path);
    }
}
