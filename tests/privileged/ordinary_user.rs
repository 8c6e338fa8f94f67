//! Places made by an ordinary user, in a user namespace of the runner's own. A program by itself, because that has to be
//! entered before the process has a second thread. Root gives its rights away first (setpriv), with a copy of this program
//! that the other user can read.

mod plans;

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::{Command, ExitCode};
use std::sync::mpsc;

use c1m::domain::PlaceMaking;
use c1m::domain::{HostIndex, RunId, SettingValue, WorkerId};
use c1m::host::Runtime;
use c1m::provision::{self, ExitReport, FromWorker, Testbed, WorkerProgram, enter_user_namespace};

/// The user that this is tried as: nobody.
const NOBODY: &str = "65534";

/// The argument with which this program finds itself to be the ordinary user.
const AS_USER: &str = "as-ordinary-user";

#[allow(clippy::print_stdout)] // this is the harness: what it found is for stdout
fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == AS_USER) {
        as_ordinary_user();
        return ExitCode::SUCCESS;
    }
    let folder = tempfile::tempdir().expect("a folder");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("opens it");
    let copy = folder.path().join("ordinary_user");
    fs::copy(std::env::current_exe().expect("a path"), &copy).expect("copies");
    let own = folder.path().join("own");
    fs::create_dir(&own).expect("makes it");
    let nobody: u32 = NOBODY.parse().expect("a number");
    chown(&own, Some(nobody), Some(nobody)).expect("gives it away");
    let status = Command::new("setpriv")
        .args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")])
        .arg("--clear-groups")
        .arg(&copy)
        .arg(AS_USER)
        .current_dir(&own)
        .status()
        .expect("runs setpriv (util-linux)");
    for name in ["file", "c1m"] {
        let owner = own.join(name).metadata().expect("was made").uid();
        assert_eq!(owner, nobody, "{name} belongs to the user");
    }
    println!("places of an ordinary user: {status}");
    if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn as_ordinary_user() {
    provision::user_namespace_allowed().expect("is allowed");
    enter_user_namespace().expect("enters");
    fs::write("file", "made inside").expect("writes");
    // Found at the user's own place, not at root's, although the user is root in here.
    let own = std::env::current_dir().expect("a folder");
    let runtime = Runtime::open(Some(own.clone())).expect("makes it");
    assert_eq!(runtime.path(), own.join("c1m"));
    private_loopback();
    netns();
}

fn private_loopback() {
    let how = PlaceMaking::PrivateLoopback {
        in_user_namespace: true,
    };
    let mut plan = plans::plan(how, vec![plans::host(0, 0, 1, 1)]);
    plan.settings.established_hash_entries = Some(65_536);
    let place = up(&plan);
    let size = inside(&*place, 0, || {
        fs::read_to_string("/proc/sys/net/ipv4/tcp_ehash_entries").expect("reads")
    });
    assert_eq!(size.trim(), "65536");
    inside(&*place, 0, || {
        let listener = TcpListener::bind((Ipv4Addr::new(127, 9, 9, 9), 0)).expect("listens");
        TcpStream::connect(listener.local_addr().expect("an address")).expect("connects");
    });
    down(place);
}

fn netns() {
    let how = PlaceMaking::Netns {
        in_user_namespace: true,
    };
    let mut plan = plans::plan(how, vec![plans::host(0, 1, 1, 1), plans::host(1, 1, 2, 8)]);
    plan.settings.namespace = vec![plans::setting(
        "net.ipv4.ip_local_port_range",
        SettingValue::Exactly("1024 65535".to_owned()),
    )];
    let mut place = up(&plan);
    let wrong: Vec<_> = place
        .settings()
        .into_iter()
        .filter(|record| record.error.is_some())
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let server = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 1), 9000);
    let listener = inside(&*place, 0, move || {
        TcpListener::bind(server).expect("listens")
    });
    let opened = inside(&*place, 1, move || {
        TcpStream::connect(server).expect("connects")
    });
    let (_, peer) = listener.accept().expect("accepts");
    assert_eq!(peer, opened.local_addr().expect("an address"));
    drop((listener, opened));
    let (inbox, events) = mpsc::channel();
    let handle = place
        .spawn(&plans::any_worker(1, 1), inbox)
        .expect("starts");
    drop(handle);
    let expected = ExitReport {
        code: Some(0),
        signal: None,
        oom_killed: None,
    };
    match events.recv().expect("ends") {
        (worker, FromWorker::Exited(report)) => {
            assert_eq!((worker, report), (WorkerId::client(1), expected));
        }
        other => panic!("unexpected: {other:?}"),
    }
    down(place);
}

fn up(plan: &c1m::plan::Plan) -> Box<dyn Testbed> {
    let program = WorkerProgram::other("/bin/cat", Vec::<OsString>::new());
    provision::up_with(plan, &RunId::from_random(2), program).expect("is made")
}

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

fn down(place: Box<dyn Testbed>) {
    let errors: Vec<String> = place.down().iter().map(ToString::to_string).collect();
    assert!(errors.is_empty(), "{errors:?}");
}
