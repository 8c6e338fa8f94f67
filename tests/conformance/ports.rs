//! Cases about source ports.

use std::net::{Ipv4Addr, TcpListener};

use c1m::control::Event;
use c1m::domain::{ConnectFailure, EngineKind, PortChoice, PortRange, VerifyShare, WorkerSpec};

use crate::start_pair;
use crate::worker::{Worker, client, server, source};

/// Takes ports of a source away.
fn occupy(source: Ipv4Addr, ports: &[u16]) -> Vec<TcpListener> {
    ports
        .iter()
        .map(|port| TcpListener::bind((source, *port)).expect("the port is free"))
        .collect()
}

pub(crate) fn ports_in_use_are_replaced(engine: EngineKind) {
    let _taken = occupy(source(engine, 9, 0), &[20_000, 20_050, 20_099, 20_100]);
    let (serving, mut dialing, _) = start_pair(engine, 9, 1, 100);
    let (counters, _) = dialing.ramp();
    assert_eq!(counters.opened.count(), 100);
    // The first spare port is taken as well.
    assert_eq!(counters.ports_replaced, 4);
    dialing.end();
    serving.end();
}

pub(crate) fn ports_in_use_without_spare_ones_are_reported(engine: EngineKind) {
    let from = source(engine, 10, 0);
    let _taken = occupy(from, &[20_001, 20_002]);
    let (serving, ready) = Worker::start(WorkerSpec::Server(server(engine)));
    let mut spec = client(engine, ready.listening[0], &[from], 50);
    spec.shards[0].ports = PortRange::new(20_000, 20_050).expect("a range");
    let (mut dialing, _) = Worker::start(WorkerSpec::Client(spec));
    let (counters, _) = dialing.ramp();
    assert_eq!(counters.opened.count(), 49);
    assert_eq!(counters.failed[&ConnectFailure::NoPorts], 1);
    let note = dialing.wait(|event| match event {
        Event::ConnectFailed { note } => Some(note),
        _ => None,
    });
    assert_eq!((note.failure, note.source), (ConnectFailure::NoPorts, from));
    dialing.end();
    serving.end();
}

pub(crate) fn several_targets_share_the_ports_of_a_source(engine: EngineKind) {
    let mut spec = server(engine);
    spec.listen = vec![spec.listen[0]; 3];
    let (serving, ready) = Worker::start(WorkerSpec::Server(spec));
    let mut spec = client(engine, ready.listening[0], &[source(engine, 11, 0); 3], 50);
    for (shard, target) in spec.shards.iter_mut().zip(&ready.listening) {
        shard.target = *target;
    }
    let (mut dialing, _) = Worker::start(WorkerSpec::Client(spec));
    let (counters, _) = dialing.ramp();
    assert_eq!((counters.opened.count(), counters.ports_replaced), (150, 0));
    assert_eq!(dialing.verify(VerifyShare::All, 20_000).echoed.count(), 150);
    dialing.end();
    serving.end();
}

pub(crate) fn every_choice_of_ports_opens_all(engine: EngineKind) {
    let choices = [
        PortChoice::Explicit,
        PortChoice::Range,
        PortChoice::NoPort,
        PortChoice::Kernel,
    ];
    let (serving, ready) = Worker::start(WorkerSpec::Server(server(engine)));
    for (index, choice) in (0..).zip(choices) {
        let mut spec = client(engine, ready.listening[0], &[source(engine, 12, index)], 40);
        spec.ports = choice;
        // Inside what net.ipv4.ip_local_port_range is anywhere: outside of it the kernel does not choose.
        spec.shards[0].ports = PortRange::new(40_000, 49_999).expect("a range");
        let (mut dialing, _) = Worker::start(WorkerSpec::Client(spec));
        let (counters, _) = dialing.ramp();
        assert_eq!(counters.opened.count(), 40, "{choice}: {counters:?}");
        dialing.end();
    }
    serving.end();
}
