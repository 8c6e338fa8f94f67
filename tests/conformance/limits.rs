//! Cases about descriptor tables under a small limit.

use c1m::control::{Command, Event};
use c1m::domain::{ConnectFailure, DescriptorTables, EngineKind, VerifyShare, WorkerSpec};

use crate::sockets_of;
use crate::worker::{Worker, client, server, source};

pub(crate) fn many_tables_hold_more_than_the_limit(engine: EngineKind) {
    let (serving, ready) = Worker::start_limited(WorkerSpec::Server(server(engine)), 1_024);
    assert!(ready.tables >= 5, "{} tables for 5,000", ready.tables);
    let spec = client(engine, ready.listening[0], &[source(engine, 13, 0)], 3_000);
    let (mut dialing, ready) = Worker::start_limited(WorkerSpec::Client(spec), 1_024);
    assert!(ready.tables >= 3, "{} tables for 3,000", ready.tables);
    let (counters, _) = dialing.ramp();
    assert_eq!(counters.opened.count(), 3_000);
    assert_eq!(
        dialing.verify(VerifyShare::All, 30_000).echoed.count(),
        3_000
    );
    assert_eq!(dialing.drain(), 3_000);
    dialing.end();
    serving.end();
}

pub(crate) fn one_table_stops_a_client_at_the_limit(engine: EngineKind) {
    let (serving, ready) = Worker::start(WorkerSpec::Server(server(engine)));
    let mut spec = client(engine, ready.listening[0], &[source(engine, 14, 0)], 2_000);
    spec.tables = DescriptorTables::One;
    let (mut dialing, ready) = Worker::start_limited(WorkerSpec::Client(spec), 1_024);
    assert_eq!(ready.tables, 1);
    let (counters, _) = dialing.ramp();
    let opened = counters.opened.count();
    assert!((900..1_024).contains(&opened), "{opened}");
    assert_eq!(
        counters.failed[&ConnectFailure::NoDescriptors],
        2_000 - opened
    );
    // It goes on with what it has.
    assert_eq!(
        dialing.verify(VerifyShare::All, 20_000).echoed.count(),
        opened
    );
    dialing.end();
    serving.end();
}

pub(crate) fn one_table_stops_a_server_at_the_limit(engine: EngineKind) {
    let mut spec = server(engine);
    spec.tables = DescriptorTables::One;
    let (mut serving, ready) = Worker::start_limited(WorkerSpec::Server(spec), 1_024);
    let target = ready.listening[0];
    let spec = client(engine, target, &[source(engine, 15, 0)], 1_500);
    let (mut dialing, _) = Worker::start(WorkerSpec::Client(spec));
    // The others wait in the accept queue.
    assert_eq!(dialing.ramp().0.opened.count(), 1_500);
    serving.wait(|event| match event {
        Event::Warning { text } if text.contains("EMFILE") => Some(()),
        _ => None,
    });
    serving.wait_counters(|counters| counters.failed.contains_key(&ConnectFailure::NoDescriptors));
    let held = serving.counters.established.count();
    assert!((900..1_024).contains(&held), "{held}");
    serving.send(&Command::Drain);
    dialing.drain();
    serving.drained();
    dialing.end();
    serving.end();
    assert_eq!(
        sockets_of(target, source(engine, 15, 0)),
        Vec::<String>::new()
    );
}
