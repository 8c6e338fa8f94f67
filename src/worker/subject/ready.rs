//! Waiting for a server: whether its port is free before it starts, until it listens, and who listens instead.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddrV4;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::{Server, SubjectError, facts};
use crate::control::Command;
use crate::domain::{ListenQueue, Subject, SubjectFacts, SubjectSpec, TreeRoot};
use crate::kernel::procfs::Procfs;
use crate::observe;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Refuses to start a server whose port somebody else holds.
pub(super) fn ports_are_free(listen: &[SocketAddrV4]) -> Result<(), SubjectError> {
    let queues = observe::listening()
        .map_err(|error| SubjectError::new(format!("cannot list who listens: {error}")))?;
    let Some((queue, inode)) = queues
        .iter()
        .find(|(queue, _)| listen.iter().any(|target| queue.serves(*target)))
    else {
        return Ok(());
    };
    let by = owners(&[*inode]).first().map_or_else(
        || "another process".to_owned(),
        |(pid, name)| format!("{name} (process {pid})"),
    );
    Err(SubjectError::new(format!(
        "port {} is taken: {by} listens at {}",
        queue.address.port(),
        queue.address
    ))
    .with_hint("end it, give the server another port, or measure that server with --pid"))
}

/// Waits until the server listens at every address, and says what is known of it then. Nothing when the worker is told to
/// end before.
pub(super) fn wait(
    spec: &SubjectSpec,
    server: &mut Server,
    inbox: &Receiver<Command>,
) -> Result<Option<SubjectFacts>, SubjectError> {
    let deadline = Instant::now() + Duration::from_secs(u64::from(spec.ready_seconds));
    loop {
        let queues = observe::accept_queues(&spec.listen)
            .map_err(|error| SubjectError::new(format!("cannot list who listens: {error}")))?;
        let missing: Vec<SocketAddrV4> = spec
            .listen
            .iter()
            .filter(|target| !queues.iter().any(|queue| queue.serves(**target)))
            .copied()
            .collect();
        if missing.is_empty() {
            if let Subject::Process { pid } = spec.subject {
                must_listen_itself(pid, &spec.listen)?;
            }
            return Ok(Some(facts(&spec.listen, server.root())));
        }
        if let Some(how) = server.end() {
            return Err(ended_early(&how, &missing, &server.last_lines()));
        }
        if Instant::now() >= deadline || !spec.subject.is_started() {
            return Err(not_listening(spec, server, &missing));
        }
        match inbox.recv_timeout(LOOK_EVERY) {
            Ok(Command::Exit) | Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn ended_early(how: &str, missing: &[SocketAddrV4], last_lines: &[String]) -> SubjectError {
    let error = SubjectError::new(format!("{how} before it listened at {}", listed(missing)));
    match last_lines {
        [] => error.with_hint("it wrote nothing"),
        lines => error.with_hint(format!("its last lines: {}", lines.join(" | "))),
    }
}

fn not_listening(spec: &SubjectSpec, server: &Server, missing: &[SocketAddrV4]) -> SubjectError {
    let what = match spec.subject {
        Subject::Command(_) | Subject::Image(_) => format!(
            "the server does not listen at {} within {} s",
            listed(missing),
            spec.ready_seconds
        ),
        Subject::Process { pid } => {
            format!("process {pid} does not listen at {}", listed(missing))
        }
        Subject::Target { .. } => format!("nothing listens at {}", listed(missing)),
    };
    let elsewhere = server.root().map(listens_at).unwrap_or_default();
    let background = match server {
        Server::Started(program) if program.left_processes().is_some() => {
            "; it went into the background, and its processes run"
        }
        _ => "",
    };
    let last = server.last_lines();
    let error = SubjectError::new(format!("{what}{background}"));
    if !elsewhere.is_empty() {
        let addresses: Vec<String> = elsewhere
            .iter()
            .map(|queue| queue.address.to_string())
            .collect();
        return error.with_hint(format!(
            "it listens at {}: give that port, and have it listen at 127.0.0.1 or at every address",
            addresses.join(", ")
        ));
    }
    match last.as_slice() {
        [] => error.with_hint("it listens nowhere; is --port right?"),
        lines => error.with_hint(format!(
            "it listens nowhere; its last lines: {}",
            lines.join(" | ")
        )),
    }
}

pub(super) fn listed(addresses: &[SocketAddrV4]) -> String {
    let texts: Vec<String> = addresses.iter().take(4).map(ToString::to_string).collect();
    let more = addresses.len().saturating_sub(texts.len());
    if more == 0 {
        texts.join(", ")
    } else {
        format!("{} and {more} more", texts.join(", "))
    }
}

/// Where the processes of a tree listen.
fn listens_at(root: TreeRoot) -> Vec<ListenQueue> {
    let inodes: BTreeSet<u32> = Procfs::new("/")
        .tree(root)
        .unwrap_or_default()
        .iter()
        .flat_map(|row| sockets_of(row.pid))
        .collect();
    observe::listening()
        .unwrap_or_default()
        .into_iter()
        .filter(|(_, inode)| inodes.contains(inode))
        .map(|(queue, _)| queue)
        .collect()
}

/// Refuses a process where others listen in its place: the connections would be theirs, and the figures this one's. Where
/// nobody who listens may be looked at, it is believed.
fn must_listen_itself(pid: u32, listen: &[SocketAddrV4]) -> Result<(), SubjectError> {
    let owners = owners(&listeners(listen).unwrap_or_default());
    let tree = Procfs::new("/")
        .tree(TreeRoot::From(pid))
        .unwrap_or_default();
    let is_of_tree = |owner: u32| tree.iter().any(|row| row.pid == owner);
    match owners.first() {
        Some((other, name)) if !owners.iter().any(|(owner, _)| is_of_tree(*owner)) => {
            let at = listed(listen);
            let error =
                format!("process {pid} does not listen at {at}: {name} (process {other}) does");
            Err(SubjectError::new(error).with_hint("give its number to --pid, or the right port"))
        }
        _ => Ok(()),
    }
}

/// The process that listens at the first of these addresses, as far as it may be looked at. Of several the one that
/// started the others.
pub(super) fn owner_of(listen: &[SocketAddrV4]) -> Option<u32> {
    let owners = owners(&listeners(listen)?);
    let pids: BTreeSet<u32> = owners.iter().map(|(pid, _)| *pid).collect();
    let rows = Procfs::new("/").processes().ok()?;
    rows.iter()
        .filter(|row| pids.contains(&row.pid) && !pids.contains(&row.parent))
        .map(|row| row.pid)
        .min()
}

/// Inodes of the sockets that listen at these addresses.
fn listeners(listen: &[SocketAddrV4]) -> Option<Vec<u32>> {
    let queues = observe::listening().ok()?;
    let here = queues
        .iter()
        .filter(|(queue, _)| listen.iter().any(|target| queue.serves(*target)));
    Some(here.map(|(_, inode)| *inode).collect())
}

/// Processes that have one of these sockets: number and name.
fn owners(inodes: &[u32]) -> Vec<(u32, String)> {
    Procfs::new("/")
        .processes()
        .unwrap_or_default()
        .into_iter()
        .filter(|row| {
            sockets_of(row.pid)
                .iter()
                .any(|inode| inodes.contains(inode))
        })
        .map(|row| (row.pid, row.name))
        .collect()
}

/// Inodes of the sockets of a process; none where it may not be looked at.
fn sockets_of(pid: u32) -> Vec<u32> {
    descriptors_of(pid)
        .iter()
        .filter_map(|(_, link)| {
            link.strip_prefix("socket:[")?
                .strip_suffix(']')?
                .parse()
                .ok()
        })
        .collect()
}

/// The descriptors of a process, each with what it refers to; none where it may not be looked at.
fn descriptors_of(pid: u32) -> Vec<(PathBuf, String)> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let link = fs::read_link(entry.path()).ok()?;
            Some((entry.path(), link.to_string_lossy().into_owned()))
        })
        .collect()
}

/// Whether a name means here the file that a process has open: a server in a mount namespace of its own has names of its
/// own, and the same name may be another program's file here.
fn is_the_same_file(descriptor: &Path, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (fs::metadata(descriptor), fs::metadata(path)) else {
        return false;
    };
    open.is_file() && (open.dev(), open.ino()) == (named.dev(), named.ino())
}

/// Regular files that these processes have open, and whose name is that of a log.
pub(super) fn logs_of(pids: impl Iterator<Item = u32>) -> Vec<String> {
    pids.take(SubjectFacts::MOST_PROCESSES)
        .flat_map(descriptors_of)
        .filter(|(descriptor, link)| {
            let path = Path::new(link);
            let named_as_log = path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().contains("log"));
            named_as_log && path.is_absolute() && is_the_same_file(descriptor, path)
        })
        .map(|(_, link)| link)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}
