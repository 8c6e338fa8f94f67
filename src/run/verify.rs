//! Verifying: both ends are counted by state through `sock_diag`, and an echo goes through the connections. What a worker
//! believes is not enough: the kernel is asked.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::conductor::{Conductor, Heed};
use crate::control::Command;
use crate::domain::{
    ConnCount, ConnRate, HostIndex, Role, RunEvent, StateCounts, Task, Verification, VerifyShare,
    WorkerId,
};
use crate::observe::count_sockets;

/// How long after the last echo was sent an answer may take.
const ECHO_TIMEOUT: Duration = Duration::from_secs(20);
/// Echoes a second that even a loaded machine manages: with it the time for proving grows with the connections.
const SLOWEST_ECHOES: u64 = 5_000;
/// How long counting the sockets of one host may take.
const COUNTING_TAKES: Duration = Duration::from_secs(60);

impl Conductor<'_> {
    /// Counts, then proves alive.
    pub(super) fn verify(&mut self, share: VerifyShare, rate: Option<ConnRate>) {
        self.count_both_ends();
        if share != VerifyShare::None && self.server_accepts() && self.stop.is_none() {
            self.prove_alive(share, rate);
        }
    }

    /// Whether the server takes connections out of its accept queue and answers.
    pub(super) fn server_accepts(&self) -> bool {
        self.plan.workers.iter().any(|worker| worker.spec.answers())
    }

    pub(super) fn server_established(&self) -> ConnCount {
        self.worker(WorkerId::SERVER)
            .map_or(ConnCount::ZERO, |server| server.counters.established)
    }

    pub(super) fn count_both_ends(&mut self) {
        let listen: Vec<SocketAddrV4> = self.plan.listen().to_vec();
        for host in &self.plan.hosts {
            self.count_host(host.index, &listen);
        }
    }

    fn count_host(&mut self, host: HostIndex, listen: &[SocketAddrV4]) {
        let Some(testbed) = &self.testbed else { return };
        let (sender, receiver) = channel();
        let listen = listen.to_vec();
        let entered = testbed.enter(
            host,
            Box::new(move || {
                // The receiver is gone only when the time was up.
                let _ = sender.send(count_sockets(&listen));
            }),
        );
        let counted = match entered {
            Ok(()) => receiver
                .recv_timeout(COUNTING_TAKES)
                .map_err(|_| format!("no answer within {} s", COUNTING_TAKES.as_secs()))
                .and_then(|counted| counted.map_err(|error| error.to_string())),
            Err(error) => Err(error.to_string()),
        };
        let counted = match counted {
            Ok(counted) => counted,
            Err(why) => {
                self.warn(format!(
                    "the sockets of {} were not counted: {why}",
                    host.name()
                ));
                return;
            }
        };
        let ends: [(Role, &StateCounts); 2] = [
            (Role::Server, &counted.server),
            (Role::Client, &counted.client),
        ];
        for (role, states) in ends {
            let mut here = self.plan.workers_on(host);
            if here.any(|worker| worker.id.role == role) {
                self.log.event(RunEvent::Counted {
                    host,
                    role,
                    states: states.clone(),
                    took_seconds: counted.took_seconds,
                });
            }
        }
    }

    /// Has every client send its echoes. A planned rate is shared by the connections that each client holds. Returns how
    /// long all of it may take.
    fn ask_clients(
        &mut self,
        share: VerifyShare,
        rate: Option<ConnRate>,
        timeout_ms: u64,
    ) -> Duration {
        let held = self.established();
        for worker in self
            .workers
            .iter_mut()
            .filter(|worker| worker.id.role == Role::Client)
        {
            let part = worker.counters.established.as_f64() / held.as_f64().max(1.0);
            let task = Task {
                rate: rate.map(|rate| ConnRate::new(rate.per_second() * part)),
                ..Task::verify(self.plan.protocol.clone(), share, timeout_ms)
            };
            worker.send(&Command::Perform { task });
        }
        let asked = match share {
            VerifyShare::All => held.as_f64(),
            VerifyShare::None => 0.0,
            VerifyShare::Sample(count) => held.as_f64().min(f64::from(count.get())),
        };
        let planned = rate.map_or(0.0, |rate| asked / rate.per_second());
        // Of a plan of more years than a duration holds, nothing is added.
        proving_takes(held, self.ramp_took)
            + Duration::try_from_secs_f64(planned).unwrap_or_default()
    }

    fn prove_alive(&mut self, share: VerifyShare, rate: Option<ConnRate>) {
        #[allow(clippy::cast_possible_truncation)] // 20 s are few milliseconds
        let timeout_ms = ECHO_TIMEOUT.as_millis() as u64;
        let bound = self.ask_clients(share, rate, timeout_ms);
        self.wait(Instant::now() + bound, Heed::Stops, |run| {
            run.clients()
                .all(|worker| worker.verified.is_some() || !worker.alive())
        });
        let reports: BTreeMap<_, _> = self
            .clients()
            .filter_map(|worker| worker.verified.clone().map(|report| (worker.id, report)))
            .collect();
        let unfinished: Vec<WorkerId> = self
            .clients()
            .filter(|worker| worker.verified.is_none())
            .map(|worker| worker.id)
            .collect();
        if !unfinished.is_empty() && self.stop.is_none() {
            let names: Vec<String> = unfinished.iter().map(ToString::to_string).collect();
            self.warn(format!(
                "{} did not finish proving connections alive within {} s",
                names.join(", "),
                bound.as_secs()
            ));
        }
        self.log.event(RunEvent::Verified(Verification {
            clients: reports.into_iter().collect(),
            unfinished,
        }));
    }
}

/// How long proving so many connections alive may take in all: generous, because a loaded machine is slow, and bounded,
/// because it must end.
///
/// An echo is less work than a handshake. So twice the time of the ramp is enough on any machine, an emulated one too.
fn proving_takes(connections: ConnCount, ramp_took: Duration) -> Duration {
    let asking = Duration::from_secs(connections.count() / SLOWEST_ECHOES);
    let asking = asking.max(ramp_took.saturating_mul(2));
    ECHO_TIMEOUT.saturating_add(asking).saturating_add(SLACK)
}

/// Beside asking and waiting for the last answer: the messages to and from the clients.
const SLACK: Duration = Duration::from_secs(5);
