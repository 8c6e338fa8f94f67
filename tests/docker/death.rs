//! A client's container that dies, is paused, or is killed for memory, while others hold their connections: seen within 5 s,
//! with exit code and reason.

use std::time::{Duration, Instant};

use c1m::control::Command;
use c1m::domain::{HostIndex, WorkerId};
use c1m::provision::{ExitReport, FromWorker};

use crate::docker;
use crate::place::Place;

/// The bound that the lab promises.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

/// Waits for a worker's end. The deadline is the promise itself.
fn end_of(place: &Place, worker: usize) -> ExitReport {
    let until = Instant::now() + SEEN_WITHIN;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let (from, message) = place
            .told
            .recv_timeout(left)
            .expect("its end is seen within 5 s");
        if let (true, FromWorker::Exited(report)) = (from == place.plan.workers[worker].id, message)
        {
            return report;
        }
    }
}

fn container(place: &Place, host: usize) -> String {
    format!("c1m-{}-{}", place.run, HostIndex(host).name())
}

#[test]
fn a_client_that_is_killed_is_named_with_its_exit_code() {
    let mut place = Place::up(0xd0c2_0001, &[]);
    place.open_all();
    docker(&["kill", &container(&place, 1)]);
    let report = end_of(&place, 1);
    assert_eq!((report.code, report.signal), (Some(137), Some(9)));
    assert_eq!(report.oom_killed, Some(false));
    place.down();
}

#[test]
fn a_client_that_is_paused_counts_as_gone_and_is_removed_all_the_same() {
    let mut place = Place::up(0xd0c2_0002, &[]);
    place.open_all();
    docker(&["pause", &container(&place, 1)]);
    let report = end_of(&place, 1);
    assert_eq!((report.code, report.signal), (None, Some(19)));
    place.down();
}

#[test]
fn a_client_that_is_killed_for_memory_says_so() {
    let mut place = Place::up(0xd0c2_0003, &["connections=100000"]);
    let name = container(&place, 1);
    docker(&["update", "--memory", "24m", "--memory-swap", "24m", &name]);
    for (index, spec) in place.plan.workers.clone().into_iter().enumerate() {
        place.workers[index]
            .send(&Command::start(spec.spec))
            .expect("sent");
        place.await_from(index, |event| {
            matches!(event, c1m::control::Event::Ready { .. })
        });
    }
    place.workers[1].send(&Command::Begin).expect("sent");
    let until = Instant::now() + Duration::from_secs(60);
    let report = loop {
        let left = until.saturating_duration_since(Instant::now());
        let (from, message) = place.told.recv_timeout(left).expect("it dies");
        if let (true, FromWorker::Exited(report)) = (from == WorkerId::client(1), message) {
            break report;
        }
    };
    assert_eq!(report.oom_killed, Some(true), "{report:?}");
    place.down();
}
