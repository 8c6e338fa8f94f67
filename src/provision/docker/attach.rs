//! The stream to a worker in a container: commands to its stdin, events from its stdout, lines of its stderr as logs, and
//! its end, or that it was paused, as soon as the engine or the stream tells.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::ContainerState;
use bollard::query_parameters::AttachContainerOptionsBuilder;
use futures_util::StreamExt;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{
    UnboundedReceiver, UnboundedSender, WeakUnboundedSender, unbounded_channel,
};

use super::engine::{Engine, failed, said};
use crate::control::{CodecError, Command, Event, LineReader, write_line};
use crate::domain::WorkerId;
use crate::kernel::sys::process::ProcessHandle;
use crate::provision::{
    ExitReport, FromWorker, HEARTBEAT, Inbox, ProvisionError, Remote, WorkerHandle,
};

/// How often a container whose stream has ended is asked whether it has.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// How long it is asked before its end is reported without an exit code: a process that dies with hundreds of thousands
/// of sockets closes them one by one first, and its death is to be known within 5 s.
const ASK_FOR: Duration = Duration::from_secs(4);

/// Longer lines are cut: the longest honest one is far below.
const LONGEST_LINE: usize = 16 * 1024 * 1024;

/// What a container's exit code says when a signal ended it: 128 and the signal's number.
const BY_SIGNAL: i32 = 128;

/// The number of SIGSTOP, which a paused worker is reported with.
const STOPPED: i32 = 19;

/// A container that was attached to before it was started, so that nothing of what its worker says is missed.
#[derive(Debug)]
pub(super) struct Attached {
    route: Arc<Route>,
    commands: Option<UnboundedSender<Vec<u8>>>,
}

impl Attached {
    /// Attaches to a container that is not started yet.
    pub(super) fn to(engine: &Engine, id: &str, name: &str) -> Result<Self, ProvisionError> {
        let docker = engine.docker();
        let streams = engine
            .wait({
                let (docker, id) = (docker.clone(), id.to_owned());
                async move {
                    let options = AttachContainerOptionsBuilder::default()
                        .stdin(true)
                        .stdout(true)
                        .stderr(true)
                        .stream(true)
                        .build();
                    docker.attach_container(&id, Some(options)).await
                }
            })
            .map_err(failed(format!("cannot attach to container {name}")))?;
        let route = Arc::new(Route::default());
        let (commands, to_write) = unbounded_channel();
        engine.spawn(write_commands(streams.input, to_write));
        engine.spawn({
            let (route, id) = (Arc::clone(&route), id.to_owned());
            let mut output = streams.output;
            async move {
                let mut stdout = Lines::default();
                let mut stderr = Lines::default();
                while let Some(Ok(part)) = output.next().await {
                    match part {
                        LogOutput::StdErr { message } => {
                            stderr.push(&message, |line| route.deliver(log_line(line)));
                        }
                        other => {
                            stdout.push(other.as_ref(), |line| route.deliver(event_line(line)));
                        }
                    }
                }
                let report = exit_of(&docker, &id, &route).await;
                route.deliver(FromWorker::Exited(report));
            }
        });
        Ok(Self {
            route,
            commands: Some(commands),
        })
    }

    /// Where the engine's events about this container are told.
    pub(super) fn route(&self) -> Arc<Route> {
        Arc::clone(&self.route)
    }

    /// Sends a command.
    pub(super) fn send(&self, command: &Command) -> io::Result<()> {
        let mut line = Vec::new();
        write_line(&mut line, command)?;
        self.commands
            .as_ref()
            .and_then(|commands| commands.send(line).ok())
            .ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))
    }

    /// Waits for the event that `pick` takes, at most until `deadline`. Everything else that comes is kept for the inbox.
    pub(super) fn await_event<T>(
        &self,
        deadline: Instant,
        mut pick: impl FnMut(&FromWorker) -> Option<T>,
    ) -> Option<T> {
        let mut state = self.route.lock();
        loop {
            if let Destination::Held(held) = &mut state.destination
                && let Some(index) = held.iter().position(|message| pick(message).is_some())
            {
                return pick(&held.remove(index));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self
                .route
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// From here on everything goes to the inbox; what was kept goes first. Closing the returned handle ends the worker.
    pub(super) fn hand_over(
        &mut self,
        worker: WorkerId,
        inbox: Inbox,
        process: Arc<ContainerProcess>,
    ) -> ContainerHandle {
        self.route.set_inbox(worker, inbox);
        ContainerHandle {
            commands: self.commands.take(),
            process,
        }
    }
}

/// Where what a worker says goes, and what is known of its end.
#[derive(Debug, Default)]
pub(super) struct Route {
    state: Mutex<RouteState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct RouteState {
    destination: Destination,
    killed_for_memory: bool,
    ended: bool,
}

#[derive(Debug)]
enum Destination {
    /// Nobody listens yet: everything is kept.
    Held(Vec<FromWorker>),
    Inbox(WorkerId, Inbox),
}

impl Default for Destination {
    fn default() -> Self {
        Self::Held(Vec::new())
    }
}

impl Route {
    /// A process of the container was killed for memory, says the engine.
    pub(super) fn note_killed_for_memory(&self) {
        self.lock().killed_for_memory = true;
    }

    /// Somebody paused the container: it holds its connections, answers nothing, and counts as gone.
    pub(super) fn note_paused(&self, name: &str) {
        self.deliver(FromWorker::Event(Event::Warning {
            text: format!(
                "container {name} was paused by somebody: it holds its connections and does nothing"
            ),
        }));
        self.deliver(FromWorker::Exited(ExitReport {
            code: None,
            signal: Some(STOPPED),
            oom_killed: Some(false),
        }));
    }

    fn deliver(&self, message: FromWorker) {
        let mut state = self.lock();
        if matches!(message, FromWorker::Exited(_)) && std::mem::replace(&mut state.ended, true) {
            return;
        }
        match &mut state.destination {
            Destination::Held(held) => held.push(message),
            // Nobody listens when the conductor is gone.
            Destination::Inbox(worker, inbox) => drop(inbox.send((*worker, message))),
        }
        self.changed.notify_all();
    }

    fn set_inbox(&self, worker: WorkerId, inbox: Inbox) {
        let mut state = self.lock();
        if let Destination::Held(held) = &mut state.destination {
            for message in held.drain(..) {
                drop(inbox.send((worker, message)));
            }
        }
        state.destination = Destination::Inbox(worker, inbox);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, RouteState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The process of a container, as it is seen from here.
#[derive(Debug)]
pub(super) struct ContainerProcess {
    pub(super) pid: u32,
    pub(super) handle: ProcessHandle,
    /// Its memory control group, where it has one of its own.
    pub(super) cgroup: Option<String>,
}

/// The runner's side of a worker in a container. Dropping it closes the worker's stdin, and that ends the worker.
#[derive(Debug)]
pub(super) struct ContainerHandle {
    commands: Option<UnboundedSender<Vec<u8>>>,
    process: Arc<ContainerProcess>,
}

impl WorkerHandle for ContainerHandle {
    fn send(&mut self, command: &Command) -> io::Result<()> {
        let mut line = Vec::new();
        write_line(&mut line, command)?;
        self.commands
            .as_ref()
            .and_then(|commands| commands.send(line).ok())
            .ok_or_else(|| io::Error::from(io::ErrorKind::BrokenPipe))
    }

    fn remote(&self) -> Remote {
        let commands = self.commands.as_ref().map(UnboundedSender::downgrade);
        Box::new(move |command| {
            let mut line = Vec::new();
            if let Some(commands) = commands.as_ref().and_then(WeakUnboundedSender::upgrade)
                && write_line(&mut line, command).is_ok()
            {
                // A worker that is gone is reported as gone by its exit.
                let _ = commands.send(line);
            }
        })
    }

    fn pid(&self) -> Option<u32> {
        Some(self.process.pid)
    }

    fn cgroup(&self) -> Option<String> {
        self.process.cgroup.clone()
    }

    fn kill(&mut self) {
        self.commands = None;
        // It fails only when the process is gone.
        let _ = self.process.handle.kill();
    }
}

/// Writes each line to the worker's stdin until nobody can send any more, then closes it. While there is none it writes a
/// heartbeat, from the first line on.
async fn write_commands(
    mut stdin: Pin<Box<dyn AsyncWrite + Send>>,
    mut lines: UnboundedReceiver<Vec<u8>>,
) {
    let mut beat = Vec::new();
    let mut next = match write_line(&mut beat, &Command::Alive) {
        Ok(()) => lines.recv().await,
        // A message without content can always be written.
        Err(_) => None,
    };
    while let Some(line) = next {
        let written = async {
            stdin.write_all(&line).await?;
            stdin.flush().await
        };
        if written.await.is_err() {
            return;
        }
        next = tokio::time::timeout(HEARTBEAT, lines.recv())
            .await
            .unwrap_or_else(|_| Some(beat.clone()));
    }
    // The worker may be gone already.
    let _ = stdin.shutdown().await;
}

/// How the container ended: asked again and again, because its stream ends before the engine knows of its end.
async fn exit_of(docker: &Docker, id: &str, route: &Route) -> ExitReport {
    let deadline = Instant::now() + ASK_FOR;
    let mut report = ExitReport {
        code: None,
        signal: None,
        oom_killed: None,
    };
    loop {
        match docker.inspect_container(id, None).await {
            Ok(found) => {
                let state = found.state.unwrap_or_default();
                if state.running == Some(false) {
                    report = exit_report(&state);
                    break;
                }
            }
            Err(Error::DockerResponseServerError {
                status_code: 404, ..
            }) => break,
            Err(error) => {
                tracing::debug!(container = id, "cannot ask how it ended: {}", said(&error));
            }
        }
        if Instant::now() >= deadline {
            break;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    if route.lock().killed_for_memory {
        report.oom_killed = Some(true);
    }
    report
}

fn exit_report(state: &ContainerState) -> ExitReport {
    let code = state.exit_code.and_then(|code| i32::try_from(code).ok());
    ExitReport {
        code,
        signal: code
            .map(|code| code - BY_SIGNAL)
            .filter(|signal| (1..=64).contains(signal)),
        oom_killed: state.oom_killed,
    }
}

fn event_line(line: &[u8]) -> FromWorker {
    match LineReader::<_, Event>::new(line).next() {
        Some(Ok(event)) => FromWorker::Event(event),
        Some(Err(error @ CodecError::Malformed { .. })) => FromWorker::Log(error.to_string()),
        Some(Err(CodecError::Read(_))) | None => log_line(line),
    }
}

fn log_line(line: &[u8]) -> FromWorker {
    FromWorker::Log(String::from_utf8_lossy(line).trim_end().to_owned())
}

/// Puts lines together from parts that begin and end anywhere.
#[derive(Debug, Default)]
struct Lines {
    begun: Vec<u8>,
}

impl Lines {
    fn push(&mut self, part: &[u8], mut each: impl FnMut(&[u8])) {
        for piece in part.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.begun.len() > LONGEST_LINE {
                if !self.begun.iter().all(u8::is_ascii_whitespace) {
                    each(&self.begun);
                }
                self.begun.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_exit_code_above_128_names_the_signal() {
        let state = |code| ContainerState {
            exit_code: Some(code),
            oom_killed: Some(false),
            ..ContainerState::default()
        };
        assert_eq!(exit_report(&state(137)).signal, Some(9));
        assert_eq!(exit_report(&state(1)).signal, None);
        assert_eq!(exit_report(&state(0)).code, Some(0));
    }

    #[test]
    fn what_came_before_the_inbox_is_not_lost_and_an_end_is_told_once() {
        let route = Route::default();
        route.deliver(FromWorker::Log("early".to_owned()));
        let (inbox, received) = std::sync::mpsc::channel();
        route.set_inbox(WorkerId::client(1), inbox);
        route.note_paused("c");
        route.deliver(FromWorker::Exited(ExitReport {
            code: Some(0),
            signal: None,
            oom_killed: None,
        }));
        let seen: Vec<_> = received.try_iter().map(|(_, message)| message).collect();
        assert_eq!(seen.len(), 3);
        assert!(
            matches!(seen.last(), Some(FromWorker::Exited(report)) if report.signal == Some(STOPPED))
        );
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_where_parts_end(
            text in "[a-z\n]{0,200}",
            cuts in proptest::collection::vec(0_usize..200, 0..6),
        ) {
            let mut whole = Vec::new();
            Lines::default().push(text.as_bytes(), |line| whole.push(line.to_vec()));
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let mut lines = Lines::default();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts.into_iter().chain([text.len()]) {
                lines.push(&text.as_bytes()[from..cut], |line| pieces.push(line.to_vec()));
                from = cut;
            }
            prop_assert_eq!(whole, pieces);
        }
    }
}
