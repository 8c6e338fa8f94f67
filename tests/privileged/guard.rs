//! The guard while nothing is being opened: somebody lowers the limit of the control group that all of it runs in.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::support::{DEADLINE, Lab, Running};

/// What a process of the group holds besides the lab, so that the limit can be set close to what is used.
const BALLAST: u64 = 300 * 1024 * 1024;
/// What is left when the limit was lowered: less than the eighth of a limit that has to stay, and enough to go on.
const LEFT: u64 = 20 * 1024 * 1024;

/// A memory control group, version 1 or 2, with a process that holds memory in it.
struct Group {
    directory: PathBuf,
    used: &'static str,
    limit: &'static str,
    ballast: Child,
}

impl Group {
    fn new(name: &str) -> Self {
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let (mount, used, limit) = if v1.exists() {
            (v1, "memory.usage_in_bytes", "memory.limit_in_bytes")
        } else {
            let v2 = Path::new("/sys/fs/cgroup");
            (v2, "memory.current", "memory.max")
        };
        let directory = mount.join(format!("c1m-test-{name}-{}", std::process::id()));
        fs::create_dir(&directory).expect("a control group can be made");
        assert!(
            directory.join(limit).exists(),
            "{} has no memory controller",
            directory.display()
        );
        let hold = format!("head -c {BALLAST} /dev/zero | tail -c {BALLAST} | sleep 1000");
        let ballast = inside(&directory, Command::new("/bin/sh").args(["-c", &hold]))
            .process_group(0)
            .spawn()
            .expect("a process in the group");
        let group = Self {
            directory,
            used,
            limit,
            ballast,
        };
        let until = Instant::now() + DEADLINE;
        while group.used() < BALLAST {
            assert!(Instant::now() < until, "the group does not fill");
            // The group's usage can only be read again.
            thread::sleep(Duration::from_millis(20));
        }
        group
    }

    fn used(&self) -> u64 {
        let text = fs::read_to_string(self.directory.join(self.used)).expect("what is used");
        text.trim().parse().expect("a number")
    }

    fn lower_the_limit(&self) {
        let limit = self.used() + LEFT;
        fs::write(self.directory.join(self.limit), limit.to_string()).expect("a limit");
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let group = format!("-{}", self.ballast.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.ballast.wait();
        let until = Instant::now() + DEADLINE;
        // It can be removed once the kernel has let go of its last process.
        while fs::remove_dir(&self.directory).is_err() && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The same command inside a group.
fn inside(directory: &Path, command: &Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell
        .arg("-c")
        .arg("echo $$ > \"$0\" && exec \"$@\"")
        .arg(directory.join("cgroup.procs"))
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            shell.env(name, value);
        }
    }
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    shell
}

#[test]
fn a_limit_that_is_lowered_in_the_hold_ends_the_run_before_anything_is_killed() {
    let lab = Lab::new();
    let group = Group::new("run");
    let scenario = lab.scenario("connections: 1000\nhold: 100s\nplace: loopback\n");
    let command = lab.command(&["run", &scenario, "--progress", "json"]);
    let mut run = Running::start(inside(&group.directory, &command));
    run.await_line("{\"phase\":\"hold\"}");
    group.lower_the_limit();
    run.await_line("the guard ended the hold");
    let ended = run.finish().expect(6);
    assert!(
        ended.stdout.contains("the guard ended the hold at 1,000"),
        "{}",
        ended.stdout
    );
    let result = lab.result();
    assert_eq!(result["verdict"], "stopped");
    assert_eq!(result["connections"]["lost"], 0, "closed on purpose");
    let name = group.directory.file_name().expect("a name");
    assert!(
        lab.report()
            .contains(&format!("control group /{}", name.to_string_lossy())),
        "{}",
        lab.report()
    );
}

#[test]
fn a_client_by_hand_closes_its_connections_before_memory_runs_out() {
    let lab = Lab::new();
    let mut server = Running::start(lab.command(&["server", "--listen", "127.0.0.1:0"]));
    let line = server.await_line("listening on ");
    let rest = line.split_once("listening on ").expect("it is there").1;
    let address = rest.split_once(' ').expect("an address").0.to_owned();
    let group = Group::new("client");
    let command = lab.command(&["client", &address, "-n", "100"]);
    let mut client = Running::start(inside(&group.directory, &command));
    client.await_line("100 of 100 echoed");
    group.lower_the_limit();
    let ended = client.finish().expect(6);
    assert!(
        ended
            .stderr
            .contains("every connection was closed before memory ran out"),
        "{}",
        ended.stderr
    );
    server.signal("INT");
    server.finish().expect(0);
}
