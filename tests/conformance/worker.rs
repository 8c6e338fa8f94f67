//! A worker under test: the program's own worker process, driven by lines as the runner drives it.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU32;
use std::process::{Child, ChildStdin, Command as Process, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use c1m::control::{Command, Event};
use c1m::domain::{
    Acceptors, ClientSpec, ConnCount, Conversation, Counters, DescriptorTables, EngineKind,
    LossReason, PortChoice, PortRange, ServerSpec, Service, Shard, Task, VerifyReport, VerifyShare,
    WorkerSpec,
};

/// Long enough for a debug build on a busy machine; reached only when something hangs.
const DEADLINE: Duration = Duration::from_secs(60);

/// A worker.
pub(crate) struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
    events: Receiver<Event>,
    /// What came while something else was waited for.
    earlier: VecDeque<Event>,
    /// The newest counters.
    pub(crate) counters: Counters,
}

impl Worker {
    /// Starts one with the limit of descriptors that this process has.
    pub(crate) fn start(spec: WorkerSpec) -> (Self, Ready) {
        Self::from_process(Process::new(env!("CARGO_BIN_EXE_c1m")), spec)
    }

    /// Starts one with a hard limit of descriptors.
    pub(crate) fn start_limited(spec: WorkerSpec, limit: u32) -> (Self, Ready) {
        let mut shell = Process::new("/bin/sh");
        shell
            .arg("-c")
            .arg(format!("ulimit -n {limit} && exec \"$0\" \"$@\""))
            .arg(env!("CARGO_BIN_EXE_c1m"));
        Self::from_process(shell, spec)
    }

    fn from_process(process: Process, spec: WorkerSpec) -> (Self, Ready) {
        let mut worker = Self::spawn(process, spec);
        let ready = worker.wait(|event| match event {
            Event::Ready {
                tables, listening, ..
            } => Some(Ready { tables, listening }),
            _ => None,
        });
        (worker, ready)
    }

    /// Starts one and waits for nothing.
    pub(crate) fn spawn(process: Process, spec: WorkerSpec) -> Self {
        let mut worker = Self::spawn_silent(process);
        worker.send(&Command::start(spec));
        worker
    }

    /// Starts one that has been told nothing yet.
    pub(crate) fn spawn_silent(mut process: Process) -> Self {
        let mut child = process
            .arg("worker")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the worker starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let stdin = child.stdin.take();
        let (told, events) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line)
                    .unwrap_or_else(|error| panic!("{error} in the worker's line {line}"));
                if told.send(event).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            stdin,
            events,
            earlier: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    pub(crate) fn send(&mut self, command: &Command) {
        let mut line = serde_json::to_string(command).expect("a command is JSON");
        line.push('\n');
        let stdin = self.stdin.as_mut().expect("stdin is open");
        stdin.write_all(line.as_bytes()).expect("the worker reads");
    }

    /// Waits for an event that `wanted` makes something of. Others are kept for later waits.
    pub(crate) fn wait<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        for _ in 0..self.earlier.len() {
            let event = self.earlier.pop_front().expect("it was counted");
            if let Some(found) = wanted(event.clone()) {
                return found;
            }
            self.earlier.push_back(event);
        }
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = match self.events.recv_timeout(left) {
                Ok(event) => event,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("nothing came; before: {:?}", self.earlier)
                }
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("the worker ended; before: {:?}", self.earlier)
                }
            };
            if let Event::Progress { counters, .. } = &event {
                self.counters = counters.clone();
            }
            let progress = matches!(event, Event::Progress { .. });
            if let Some(found) = wanted(event.clone()) {
                return found;
            }
            if !progress {
                self.earlier.push_back(event);
            }
        }
    }

    /// Waits until the counters are as wanted.
    pub(crate) fn wait_counters(&mut self, wanted: impl Fn(&Counters) -> bool) {
        if wanted(&self.counters) {
            return;
        }
        self.wait(|event| match event {
            Event::Progress { counters, .. } if wanted(&counters) => Some(()),
            _ => None,
        });
    }

    /// Dials and waits for the end of the ramp.
    pub(crate) fn ramp(&mut self) -> (Counters, f64) {
        self.send(&Command::Begin);
        self.ramp_done()
    }

    pub(crate) fn ramp_done(&mut self) -> (Counters, f64) {
        self.wait(|event| match event {
            Event::RampDone { counters, seconds } => Some((counters, seconds)),
            _ => None,
        })
    }

    pub(crate) fn verify(&mut self, share: VerifyShare, timeout_ms: u64) -> VerifyReport {
        self.perform(Task::verify(Conversation::Echo, share, timeout_ms))
    }

    pub(crate) fn perform(&mut self, task: Task) -> VerifyReport {
        self.send(&Command::Perform { task });
        self.wait(|event| match event {
            Event::Performed { report } => Some(report),
            _ => None,
        })
    }

    /// Waits until so many losses were told, and checks that each has the reason.
    pub(crate) fn wait_lost(&mut self, count: u64, reason: LossReason) {
        let mut lost = 0;
        self.wait(|event| {
            if let Event::Lost { note } = event {
                assert_eq!(note.reason, reason);
                lost += note.count;
            }
            (lost >= count).then_some(())
        });
        assert_eq!(lost, count);
    }

    pub(crate) fn drain(&mut self) -> u64 {
        self.send(&Command::Drain);
        self.drained()
    }

    pub(crate) fn drained(&mut self) -> u64 {
        self.wait(|event| match event {
            Event::Drained { closed } => Some(closed.count()),
            _ => None,
        })
    }

    /// Closes stdin, as a runner does that dies, and waits for the worker's end.
    pub(crate) fn end(mut self) {
        drop(self.stdin.take());
        let status = self.child.wait().expect("it can be waited for");
        assert!(status.success(), "the worker ended with {status}");
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It has ended already where the test came to its end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a worker says when it is ready.
pub(crate) struct Ready {
    pub(crate) tables: u64,
    pub(crate) listening: Vec<SocketAddrV4>,
}

/// A server on a port that the kernel chooses.
pub(crate) fn server(engine: EngineKind) -> ServerSpec {
    ServerSpec {
        engine,
        listen: vec![SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)],
        backlog: 4096,
        acceptors: Acceptors::Auto,
        service: Service::Echo,
        keepalive: None,
        tables: DescriptorTables::Many,
        capacity: ConnCount::new(5_000),
    }
}

/// A client with one shard for each source.
pub(crate) fn client(
    engine: EngineKind,
    target: SocketAddrV4,
    sources: &[Ipv4Addr],
    each: u32,
) -> ClientSpec {
    ClientSpec {
        engine,
        shards: sources
            .iter()
            .map(|source| Shard {
                source: *source,
                target,
                ports: PortRange::new(20_000, 29_999).expect("a range"),
                count: each,
            })
            .collect(),
        ports: PortChoice::Explicit,
        in_flight: 64,
        rate: None,
        tables: DescriptorTables::Many,
        dialers: None,
        connect_timeout_ms: 30_000,
        keepalive: None,
        opening: None,
    }
}

/// A source address of this test alone: tests run side by side on one loopback.
pub(crate) fn source(engine: EngineKind, test: u8, index: u8) -> Ipv4Addr {
    let engine = match engine {
        EngineKind::Epoll => 77,
        EngineKind::Tokio => 78,
    };
    Ipv4Addr::new(127, engine, test, index + 1)
}

pub(crate) fn sample(count: u32) -> VerifyShare {
    VerifyShare::Sample(NonZeroU32::new(count).expect("not zero"))
}
