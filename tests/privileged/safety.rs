//! A live run survives another's `clean`, whatever namespaces lie between them; and root follows no link that a user has put
//! into a folder of theirs.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use c1m::kernel::identity::{Life, ProcessIdentity};
use c1m::kernel::sys::process;
use serde_json::json;

use crate::support::engine::{Contents, FakeEngine};
use crate::support::{Ended, Lab, Running};

/// The user `nobody`.
const NOBODY: u32 = 65534;

/// A command that does what `command` says inside of `unshare` with these options.
fn unshared(options: &[&str], command: &Command) -> Command {
    let mut outer = Command::new("unshare");
    outer
        .args(options)
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        outer.current_dir(folder);
    }
    outer.stdin(Stdio::null());
    outer
}

const OTHER_PROCESSES: [&str; 4] = ["--pid", "--fork", "--kill-child", "--mount-proc"];
const OTHER_TIME: [&str; 4] = ["--time", "--boottime", "1000000", "--fork"];

/// `clean` looks at every worker of this user, those of other tests too: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

pub(crate) fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn clean(lab: &Lab, engine: &FakeEngine) -> Command {
    let mut command = lab.command(&["clean"]);
    command.env("DOCKER_HOST", engine.url());
    command
}

fn live_run(lab: &Lab) -> Command {
    let scenario = lab.scenario("connections: 500\nplace: netns\nhold: 4s\n");
    lab.command(&["run", &scenario, "--progress", "plain"])
}

/// Runs `clean` while a run holds, and lets the run end: it has to have held.
fn cleaned_while_it_holds(run: Command, cleaning: Command) -> Ended {
    let mut run = Running::start(run);
    run.await_line("hold: ");
    let cleaned = Running::start(cleaning).finish();
    let ended = run.finish().expect(0);
    assert!(
        ended.stdout.starts_with("HELD 500 of 500"),
        "{}",
        ended.stdout
    );
    cleaned
}

#[test]
fn a_run_in_another_time_namespace_survives_a_clean() {
    let _alone = alone();
    let (lab, elsewhere, engine) = (Lab::new(), Lab::new(), FakeEngine::empty());
    let run = unshared(&OTHER_TIME, &live_run(&lab));
    let cleaned = cleaned_while_it_holds(run, clean(&elsewhere, &engine)).expect(9);
    assert!(
        cleaned.stderr.contains("time namespace"),
        "{}",
        cleaned.stderr
    );
}

#[test]
fn a_run_survives_a_clean_in_another_time_namespace() {
    let _alone = alone();
    let (lab, elsewhere, engine) = (Lab::new(), Lab::new(), FakeEngine::empty());
    let cleaning = unshared(&OTHER_TIME, &clean(&elsewhere, &engine));
    let cleaned = cleaned_while_it_holds(live_run(&lab), cleaning).expect(9);
    assert!(
        cleaned.stderr.contains("time namespace"),
        "{}",
        cleaned.stderr
    );
}

#[test]
fn a_run_in_another_process_namespace_survives_a_clean_and_the_other_way_round() {
    let _alone = alone();
    let (lab, elsewhere, engine) = (Lab::new(), Lab::new(), FakeEngine::empty());
    let run = unshared(&OTHER_PROCESSES, &live_run(&lab));
    cleaned_while_it_holds(run, clean(&elsewhere, &engine)).expect(0);
    let cleaning = unshared(&OTHER_PROCESSES, &clean(&elsewhere, &engine));
    cleaned_while_it_holds(live_run(&lab), cleaning).expect(0);
}

#[test]
fn without_a_proc_of_its_own_a_clean_looks_at_no_process() {
    let _alone = alone();
    let (lab, elsewhere, engine) = (Lab::new(), Lab::new(), FakeEngine::empty());
    let cleaning = unshared(
        &["--pid", "--fork", "--kill-child"],
        &clean(&elsewhere, &engine),
    );
    let cleaned = cleaned_while_it_holds(live_run(&lab), cleaning).expect(9);
    assert!(
        cleaned.stderr.contains("not looked at: processes"),
        "{}",
        cleaned.stderr
    );
}

#[test]
fn a_process_in_a_namespace_below_is_found_from_the_first_one() {
    let inode = |pid: u32| {
        let link = fs::read_link(format!("/proc/{pid}/ns/pid")).expect("a namespace");
        let text = link.to_string_lossy().into_owned();
        let inode = text.trim_start_matches("pid:[").trim_end_matches(']');
        inode.parse::<u64>().expect("a number")
    };
    let mut outer = Command::new("unshare")
        .args(["--pid", "--fork", "--kill-child", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stdin = outer.stdin.take().expect("a pipe");
    stdin.write_all(b"x").expect("writes");
    let mut answer = [0];
    let mut stdout = outer.stdout.take().expect("a pipe");
    stdout.read_exact(&mut answer).expect("it runs");
    let id = outer.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("a child");
    let pid = children.trim().parse().expect("a number");
    let inside = ProcessIdentity {
        pid: 1,
        start_time: process::start_time(pid),
        pid_namespace: Some(inode(pid)),
        ..ProcessIdentity::current()
    };
    assert_eq!(inside.life(), Life::Alive);
    let before_it = ProcessIdentity {
        start_time: Some(1),
        ..inside.clone()
    };
    assert_eq!(before_it.life(), Life::Gone);
    drop(stdin);
    outer.wait().expect("ends");
    assert_eq!(inside.life(), Life::Gone);
}

/// Objects of a run that is at work in this process.
fn of_this_process() -> Contents {
    let labels = json!({
        "io.c1m.managed-by": "c1m", "io.c1m.run": "0badcafe",
        "io.c1m.runner": ProcessIdentity::current().to_string(),
    });
    Contents {
        containers: vec![json!({
            "Id": "aaaa", "Names": ["/c1m-0badcafe-server"], "State": "running", "Labels": labels,
        })],
        networks: vec![json!({ "Id": "bbbb", "Name": "c1m-0badcafe-0", "Labels": labels })],
        ..Contents::default()
    }
}

/// As from a container that has the engine's socket.
#[test]
fn objects_of_a_live_run_survive_a_clean_that_cannot_see_its_runner() {
    let _alone = alone();
    let lab = Lab::new();
    let engine = FakeEngine::with(of_this_process());
    for options in [&OTHER_PROCESSES[..], &OTHER_TIME] {
        let cleaning = unshared(options, &clean(&lab, &engine));
        let cleaned = Running::start(cleaning).finish().expect(9);
        assert!(
            cleaned.stderr.contains("container c1m-0badcafe-server"),
            "{}",
            cleaned.stderr
        );
        assert_eq!(engine.changes(), Vec::<String>::new());
    }
}

/// The program where every user may run it, and a folder of `nobody`'s.
pub(crate) struct ForNobody {
    folder: tempfile::TempDir,
}

impl ForNobody {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("opens it");
        copy_program(&folder.path().join("c1m"));
        let this = Self { folder };
        this.make("home");
        this
    }

    /// A folder of `nobody`'s.
    pub(crate) fn make(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir(&path).expect("makes it");
        chown(&path, Some(NOBODY), Some(NOBODY)).expect("gives it");
        path
    }

    pub(crate) fn command(&self, arguments: &[&str], engine: &FakeEngine) -> Command {
        let mut command = Command::new(self.folder.path().join("c1m"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.folder.path().join("home"))
            .env("C1M_RUNTIME_DIR", self.folder.path().join("home/runtime"))
            .env("DOCKER_HOST", engine.url())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .uid(NOBODY)
            .gid(NOBODY);
        command
    }
}

/// Copies the program by a process of its own: a file that this process has open for writing would be inherited by whatever
/// a test beside this one starts, and could not be executed meanwhile (ETXTBSY).
fn copy_program(to: &Path) {
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_c1m"))
        .arg(to)
        .status()
        .expect("cp runs");
    assert!(copied.success(), "{copied}");
}

/// A worker of `nobody`'s, of a runner that is this process, which is root's.
fn worker_of_ours(nobody: &ForNobody, engine: &FakeEngine) -> Child {
    nobody
        .command(&["worker"], engine)
        .env("C1M_RUN", "0badcafe")
        .env("C1M_RUNNER", ProcessIdentity::current().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts")
}

#[test]
fn a_runner_that_hidepid_hides_is_not_gone() {
    let _alone = alone();
    let nobody = ForNobody::new();
    let engine = FakeEngine::empty();
    engine.let_everybody_in();
    let mut worker = worker_of_ours(&nobody, &engine);
    let cleaning = nobody.command(&["clean"], &engine);
    let mut hidden = unshared(
        &[
            "--mount",
            "--",
            "sh",
            "-c",
            "mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"",
            "sh",
        ],
        &cleaning,
    );
    hidden.env("PATH", std::env::var_os("PATH").expect("a path"));
    let cleaned = Running::start(hidden).finish().expect(9);
    assert!(cleaned.stderr.contains("hidepid"), "{}", cleaned.stderr);
    assert!(worker.try_wait().expect("asks").is_none());
    drop(worker.stdin.take());
    worker.wait().expect("ends with its stdin");
}

#[test]
fn a_socket_that_this_user_may_not_use_is_called_so_with_the_cure() {
    let nobody = ForNobody::new();
    let engine = FakeEngine::empty();
    for (arguments, code) in [
        (&["clean"][..], 9),
        (&["run", "-n", "10", "--place", "docker"], 4),
    ] {
        let ended = Running::start(nobody.command(arguments, &engine))
            .finish()
            .expect(code);
        assert!(
            ended.stderr.contains("permission denied on the socket")
                && ended.stderr.contains("sudo")
                && !ended.stderr.contains("start the Docker daemon"),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn a_docker_configuration_that_cannot_be_read_is_warned_of_and_passed_over() {
    let nobody = ForNobody::new();
    let closed = nobody.folder.path().join("closed");
    fs::create_dir_all(closed.join(".docker")).expect("makes it");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("closes it");
    let mut command = nobody.command(
        &["plan", "-n", "10", "--place", "loopback"],
        &FakeEngine::empty(),
    );
    command.env_remove("DOCKER_HOST").env("HOME", &closed);
    let ended = Running::start(command).finish().expect(0);
    assert!(
        ended.stderr.contains("config.json") && ended.stderr.contains("going on without it"),
        "{}",
        ended.stderr
    );
}

#[test]
fn another_user_than_root_gives_nothing_away() {
    let nobody = ForNobody::new();
    let results = nobody.make("results");
    let mut command = nobody.command(
        &["run", "-n", "10", "--place", "loopback", "--hold", "1s"],
        &FakeEngine::empty(),
    );
    command
        .env("SUDO_UID", "0")
        .env("SUDO_GID", "0")
        .env("C1M_RESULTS_DIR", &results);
    Running::start(command).finish().expect(0);
    let run = results.join("latest").canonicalize().expect("a run");
    assert_eq!(run.metadata().expect("is there").uid(), NOBODY);
}

/// A run under sudo of `nobody`'s, into a folder of theirs.
fn under_sudo(lab: &Lab, results: &Path, arguments: &[&str]) -> Command {
    let mut command = lab.command(arguments);
    command
        .env("SUDO_UID", NOBODY.to_string())
        .env("SUDO_GID", NOBODY.to_string())
        .env("C1M_RESULTS_DIR", results);
    command
}

/// What root has and nobody may write: a file and a folder.
struct Victim {
    folder: tempfile::TempDir,
}

impl Victim {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("file"), "of root").expect("writes");
        fs::create_dir(folder.path().join("folder")).expect("makes it");
        Self { folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("file")
    }

    fn folder(&self) -> PathBuf {
        self.folder.path().join("folder")
    }

    #[track_caller]
    fn is_untouched(&self) {
        assert_eq!(fs::read_to_string(self.file()).expect("reads"), "of root");
        assert_eq!(fs::read_dir(self.folder()).expect("lists").count(), 0);
        for path in [self.file(), self.folder()] {
            assert_eq!(path.metadata().expect("is there").uid(), 0);
        }
    }
}

/// Puts a link of `nobody`'s in the place of whatever has the name.
fn plant(at: &Path, to: &Path) {
    match at.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(at).expect("removes it"),
        Ok(_) => fs::remove_file(at).expect("removes it"),
        Err(_) => {}
    }
    symlink(to, at).expect("links");
    std::os::unix::fs::lchown(at, Some(NOBODY), Some(NOBODY)).expect("gives it");
}

fn results_of_nobody(nobody: &ForNobody, victim: &Victim) -> PathBuf {
    let results = nobody.make("results");
    plant(&results.join("latest"), &victim.folder());
    results
}

const SMALL: [&str; 10] = [
    "run",
    "-n",
    "10",
    "--place",
    "loopback",
    "--hold",
    "3s",
    "--progress",
    "plain",
    "--fit",
];

#[test]
fn links_in_the_callers_folder_are_not_followed() {
    let (lab, nobody, victim) = (Lab::new(), ForNobody::new(), Victim::new());
    let results = results_of_nobody(&nobody, &victim);
    let mut run = Running::start(under_sudo(&lab, &results, &SMALL));
    run.await_line("hold: ");
    let folder = results.join("latest").canonicalize().expect("a run");
    assert_eq!(
        folder.parent(),
        Some(&*results.canonicalize().expect("a path"))
    );
    for name in ["report.md", "report.new", "result.json", "result.new"] {
        plant(&folder.join(name), &victim.file());
    }
    // A worker that has not said anything yet has no log yet.
    for name in ["server", "client-1"] {
        plant(&folder.join(format!("workers/{name}.log")), &victim.file());
    }
    run.finish().expect(0);
    victim.is_untouched();
    // What is written is the caller's, and no link.
    for name in ["result.json", "report.md", "plan.json", "charts"] {
        let found = folder.join(name).symlink_metadata().expect("is there");
        assert!(!found.is_symlink() && found.uid() == NOBODY, "{name}");
    }
    // The report is made again by root, and reads no file of root's for the caller.
    for name in ["report.md", "samples.jsonl"] {
        plant(&folder.join(name), &victim.file());
    }
    let directory = folder.to_string_lossy().into_owned();
    let again = Running::start(under_sudo(&lab, &results, &["report", &directory]));
    let again = again.finish().expect(1);
    assert!(again.stderr.contains("samples.jsonl"), "{}", again.stderr);
    victim.is_untouched();
}

#[test]
fn a_folder_that_became_a_link_is_not_written_into() {
    let (lab, nobody, victim) = (Lab::new(), ForNobody::new(), Victim::new());
    let results = results_of_nobody(&nobody, &victim);
    let mut run = Running::start(under_sudo(&lab, &results, &SMALL));
    run.await_line("hold: ");
    let folder = results.join("latest").canonicalize().expect("a run");
    plant(&folder.join("charts"), &victim.folder());
    let ended = run.finish().expect(1);
    assert!(
        ended.stderr.contains("charts is not a directory"),
        "{}",
        ended.stderr
    );
    victim.is_untouched();
}

#[test]
fn what_root_makes_in_a_folder_that_the_caller_may_not_write_to_stays_with_root() {
    let (lab, victim) = (Lab::new(), Victim::new());
    Running::start(under_sudo(&lab, &victim.folder(), &SMALL))
        .finish()
        .expect(0);
    let run = victim
        .folder()
        .join("latest")
        .canonicalize()
        .expect("a run");
    for path in [
        run.clone(),
        run.join("report.md"),
        victim.folder().join("latest"),
    ] {
        let owner = path.symlink_metadata().expect("is there").uid();
        assert_eq!(owner, 0, "{}", path.display());
    }
}
