//! Bad luck that takes root to bring about: memory that shrinks under a ramp, a disk that fills, a clock that is another.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::{Lab, Running};

/// A memory control group of this test, on version 1 or 2, removed at the end.
struct Group {
    path: PathBuf,
    limit: &'static str,
    usage: &'static str,
}

impl Group {
    fn new(name: &str) -> Self {
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let (root, limit, usage) = if v1.is_dir() {
            (v1, "memory.limit_in_bytes", "memory.usage_in_bytes")
        } else {
            (Path::new("/sys/fs/cgroup"), "memory.max", "memory.current")
        };
        if !v1.is_dir() {
            fs::write(root.join("cgroup.subtree_control"), "+memory")
                .expect("the memory controller can be handed down");
        }
        let path = root.join(format!("c1m-test-{name}-{}", std::process::id()));
        fs::create_dir(&path).expect("a control group");
        Self { path, limit, usage }
    }

    fn limit_to_usage_and(&self, more: u64) {
        let usage: u64 = fs::read_to_string(self.path.join(self.usage))
            .expect("usage")
            .trim()
            .parse()
            .expect("a number");
        fs::write(self.path.join(self.limit), (usage + more).to_string()).expect("a limit");
    }

    fn limit_to(&self, bytes: u64) {
        fs::write(self.path.join(self.limit), bytes.to_string()).expect("a limit");
    }

    /// The command, started inside the group.
    fn inside(&self, lab: &Lab, arguments: &[&str]) -> Command {
        let procs = self.path.join("cgroup.procs");
        let inner = lab.command(arguments);
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("echo $$ > {} && exec \"$@\"", procs.display()))
            .arg("sh")
            .arg(inner.get_program())
            .args(inner.get_args());
        for (key, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        command
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whoever is still inside keeps it: the test has failed already, and says so.
        let _ = fs::remove_dir(&self.path);
    }
}

#[test]
fn the_guard_stops_a_ramp_when_memory_shrinks_under_it() {
    let group = Group::new("guard");
    group.limit_to(4 << 30);
    let lab = Lab::new();
    let scenario =
        lab.scenario("connections: 20000\nramp:\n  rate: 500/s\nhold: 60s\nplace: loopback\n");
    let mut run = Running::start(group.inside(&lab, &["run", &scenario, "--progress", "json"]));
    run.await_line("{\"phase\":\"ramp\"}");
    group.limit_to_usage_and(100 << 20);
    run.await_line("the guard stopped the ramp");
    let ended = run.finish().expect(6);
    let result = lab.result();
    assert_eq!(result["verdict"], "stopped", "{}", ended.stderr);
    let peak = result["connections"]["established_peak"]
        .as_u64()
        .expect("a number");
    assert!(peak < 20_000, "it was not stopped: {peak}");
    assert!(
        lab.report().contains("would have fitted"),
        "{}",
        lab.report()
    );
}

#[test]
fn a_disk_that_fills_ends_the_run_with_a_report() {
    let lab = Lab::new();
    let disk = lab.folder.path().join("disk");
    fs::create_dir(&disk).expect("a directory");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"])
        .arg(&disk)
        .status()
        .expect("mount runs");
    assert!(mounted.success(), "a tmpfs of 12 MB");
    let scenario =
        lab.scenario("connections: 2000\nramp:\n  rate: 500/s\nhold: 60s\nplace: loopback\n");
    let results = disk.join("results");
    let mut run = Running::start(lab.command(&[
        "run",
        &scenario,
        "--progress",
        "json",
        "--results-dir",
        &results.to_string_lossy(),
    ]));
    run.await_line("{\"phase\":\"ramp\"}");
    // Everything that is left is taken by somebody else.
    let filled = Command::new("dd")
        .args(["if=/dev/zero", "bs=4096", "status=none"])
        .arg(format!("of={}", disk.join("filler").display()))
        .status()
        .expect("dd runs");
    assert!(!filled.success(), "dd ends when the disk is full");
    let ended = run.finish();
    let report = fs::read_to_string(results.join("latest/report.md"));
    Command::new("umount")
        .arg(&disk)
        .status()
        .expect("umount runs");
    assert_eq!(ended.code(), 1, "{}", ended.stderr);
    assert!(
        ended.stderr.contains("could not be recorded"),
        "{}",
        ended.stderr
    );
    assert!(!report.expect("a partial report").contains("HELD "));
}

#[test]
fn a_clock_that_reads_a_day_later_changes_nothing() {
    let lab = Lab::new();
    let scenario = lab.scenario("connections: 1000\nhold: 1s\nplace: netns\n");
    let inner = lab.command(&["run", &scenario]);
    let mut command = Command::new("unshare");
    command
        .args([
            "--time",
            "--monotonic",
            "86400",
            "--boottime",
            "86400",
            "--fork",
        ])
        .arg(inner.get_program())
        .args(inner.get_args());
    for (key, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    Running::start(command).finish().expect(0);
    let total = lab.result()["elapsed_seconds"]["total"]
        .as_f64()
        .expect("a number");
    assert!(
        (0.0..3600.0).contains(&total),
        "{total} s: the axis of time jumped"
    );
}

#[test]
fn an_ordinary_user_holds_connections_without_any_privilege() {
    // A user without a name, a group or a home: what it may do, everybody may.
    let lab = Lab::new();
    Command::new("chown")
        .args(["65534:65534"])
        .arg(lab.folder.path())
        .status()
        .expect("chown runs");
    for place in ["loopback", "netns"] {
        let scenario = lab.scenario(&format!("connections: 1000\nhold: 1s\nplace: {place}\n"));
        let program = lab.folder.path().join("c1m");
        // By a process of its own, so that no test beside this one inherits the open file (ETXTBSY).
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_c1m"))
            .arg(&program)
            .status()
            .expect("cp runs");
        assert!(copied.success(), "a copy that the user may run");
        let inner = lab.command(&["run", &scenario]);
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program)
            .args(inner.get_args())
            .env("C1M_RUNTIME_DIR", lab.folder.path().join("runtime"))
            .env("C1M_RESULTS_DIR", lab.results())
            .current_dir(lab.folder.path());
        let ended = Running::start(command).finish().expect(0);
        assert!(
            ended.stdout.starts_with("HELD 1,000 of 1,000"),
            "{place}: {}",
            ended.stdout
        );
        assert!(
            ended.stderr.contains("user"),
            "it says why there: {}",
            ended.stderr
        );
    }
}
