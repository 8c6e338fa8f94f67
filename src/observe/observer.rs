//! The observer's thread. Its deadlines are origin + n x interval on the monotonic clock: a sample that takes long does not
//! shift those after it, a tick that was missed is skipped and not made up for, and setting the clock changes nothing.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, thread};

use super::probes::{Probes, Watched};
use crate::domain::{HostIndex, Sample, TreeRoot, WorkerId};
use crate::kernel::clock::thread_cpu_time;

/// Takes every sample, on the observer's thread.
pub type Sink = Box<dyn FnMut(Sample) + Send>;

/// How to observe.
#[derive(Debug, Clone)]
pub struct ObserverConfig {
    /// The moment that samples count their seconds from.
    pub origin: Instant,
    /// Time from tick to tick.
    pub interval: Duration,
    /// Below which `proc`, `sys` and `dev` lie: `/` but in tests.
    pub root: PathBuf,
}

impl ObserverConfig {
    /// Of the machine itself, once a second.
    #[must_use]
    pub fn every_second(origin: Instant) -> Self {
        Self {
            origin,
            interval: Duration::from_secs(1),
            root: PathBuf::from("/"),
        }
    }
}

/// What observing cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ObserverCost {
    /// Samples taken.
    pub samples: u64,
    /// Ticks that were skipped because the sample before took too long, or the machine was too busy.
    pub missed: u64,
    /// Processor time of the observer's thread, in seconds.
    pub cpu_seconds: f64,
    /// How long it observed, in seconds.
    pub seconds: f64,
}

/// The observer's thread has ended, which it does only when it panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the observer's thread has ended")]
pub struct ObserverGone;

/// A running observer. Dropping it ends its thread.
#[derive(Debug)]
pub struct Observer {
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<ObserverCost>>,
}

impl Observer {
    /// Starts to observe; the first sample comes at the next tick.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(config: ObserverConfig, sink: Sink) -> io::Result<Self> {
        let (orders, inbox) = channel();
        let thread = thread::Builder::new()
            .name("observer".into())
            .spawn(move || Watch::new(config, sink).run(&inbox))?;
        Ok(Self {
            orders: Some(orders),
            thread: Some(thread),
        })
    }

    /// From now on samples tell of a network namespace, by a directory such as `/proc/1234/net`.
    pub fn watch_namespace(&self, host: HostIndex, proc_net: PathBuf) {
        self.order(Order::WatchNamespace(host, proc_net));
    }

    /// Samples tell no more of the namespace of `host`.
    pub fn forget_namespace(&self, host: HostIndex) {
        self.order(Order::ForgetNamespace(host));
    }

    /// From now on samples tell of a process. A worker has one process: a second call replaces the first.
    pub fn watch_process(&self, worker: WorkerId, pid: u32) {
        self.order(Order::WatchProcess(worker, pid));
    }

    /// The same for the processes of a server that is not the lab's own: their sum stands for the worker.
    pub fn watch_tree(&self, worker: WorkerId, root: TreeRoot) {
        self.order(Order::WatchTree(worker, root));
    }

    /// Samples tell no more of the process of `worker`.
    pub fn forget_process(&self, worker: WorkerId) {
        self.order(Order::ForgetProcess(worker));
    }

    /// From now on samples tell of a control group, named by its path below the memory controller's mount.
    pub fn watch_cgroup(&self, worker: WorkerId, path: impl Into<String>) {
        self.order(Order::WatchCgroup(worker, path.into()));
    }

    /// Samples tell no more of the control group of `worker`.
    pub fn forget_cgroup(&self, worker: WorkerId) {
        self.order(Order::ForgetCgroup(worker));
    }

    /// Takes a sample now, beside the ticks. It is numbered with the others and goes to the sink too, before this returns.
    ///
    /// # Errors
    /// When the observer's thread has ended.
    pub fn sample_now(&self) -> Result<Sample, ObserverGone> {
        let (answer, sample) = channel();
        self.order(Order::SampleNow(answer));
        sample.recv().map_err(|_| ObserverGone)
    }

    /// Ends it and says what it cost. No sample comes after this returns.
    ///
    /// # Errors
    /// When the observer's thread had ended before.
    pub fn stop(mut self) -> Result<ObserverCost, ObserverGone> {
        self.end().ok_or(ObserverGone)
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            // A thread that has ended is noticed by `sample_now` and `stop`.
            let _ = orders.send(order);
        }
    }

    fn end(&mut self) -> Option<ObserverCost> {
        self.orders = None;
        self.thread.take()?.join().ok()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the thread is told. It ends when nobody is left to tell it anything.
#[derive(Debug)]
enum Order {
    WatchNamespace(HostIndex, PathBuf),
    ForgetNamespace(HostIndex),
    WatchProcess(WorkerId, u32),
    WatchTree(WorkerId, TreeRoot),
    ForgetProcess(WorkerId),
    WatchCgroup(WorkerId, String),
    ForgetCgroup(WorkerId),
    SampleNow(Sender<Sample>),
}

/// The state of the thread.
struct Watch {
    ticks: Ticks,
    probes: Probes,
    sink: Sink,
    began: Instant,
    samples: u64,
    missed: u64,
}

impl Watch {
    fn new(config: ObserverConfig, sink: Sink) -> Self {
        let ticks = Ticks {
            origin: config.origin,
            interval: config.interval.max(Duration::from_millis(1)),
        };
        Self {
            ticks,
            probes: Probes::new(config.root),
            sink,
            began: Instant::now(),
            samples: 0,
            missed: 0,
        }
    }

    fn run(mut self, inbox: &Receiver<Order>) -> ObserverCost {
        let mut tick = self.ticks.after(Instant::now());
        loop {
            let deadline = self.ticks.at(tick);
            let wait = deadline.saturating_duration_since(Instant::now());
            match inbox.recv_timeout(wait) {
                Ok(order) => self.obey(order),
                Err(RecvTimeoutError::Timeout) => {
                    self.sample(false);
                    let next = self.ticks.after(Instant::now());
                    self.missed += next.saturating_sub(tick + 1);
                    tick = next;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        ObserverCost {
            samples: self.samples,
            missed: self.missed,
            cpu_seconds: thread_cpu_time().as_secs_f64(),
            seconds: self.began.elapsed().as_secs_f64(),
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::WatchNamespace(host, net) => {
                self.probes.namespaces.insert(host, net);
            }
            Order::ForgetNamespace(host) => {
                self.probes.namespaces.remove(&host);
            }
            Order::WatchProcess(worker, pid) => {
                self.probes.processes.insert(worker, Watched::Process(pid));
            }
            Order::WatchTree(worker, root) => {
                self.probes.processes.insert(worker, Watched::Tree(root));
            }
            Order::ForgetProcess(worker) => {
                self.probes.processes.remove(&worker);
            }
            Order::WatchCgroup(worker, path) => {
                self.probes.cgroups.insert(worker, path);
            }
            Order::ForgetCgroup(worker) => {
                self.probes.cgroups.remove(&worker);
            }
            Order::SampleNow(answer) => {
                let sample = self.sample(true);
                // Whoever asked may have given up meanwhile.
                let _ = answer.send(sample);
            }
        }
    }

    fn sample(&mut self, mark: bool) -> Sample {
        let sample = self.probes.sample(self.samples, self.ticks.origin, mark);
        self.samples += 1;
        (self.sink)(sample.clone());
        sample
    }
}

/// The deadlines.
#[derive(Debug, Clone, Copy)]
struct Ticks {
    origin: Instant,
    interval: Duration,
}

impl Ticks {
    /// The number of the first tick that lies behind `now`.
    fn after(self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.origin).as_nanos();
        u64::try_from(elapsed / self.interval.as_nanos() + 1).unwrap_or(u64::MAX)
    }

    fn at(self, tick: u64) -> Instant {
        let nanoseconds = self.interval.as_nanos().saturating_mul(u128::from(tick));
        let since = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        self.origin + since
    }
}

#[cfg(test)]
mod tests;
