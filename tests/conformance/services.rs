//! Cases about what a server does with connections.

use c1m::control::Event;
use c1m::domain::{EngineKind, LossReason, Service, VerifyShare, WorkerSpec};

use crate::sockets_of;
use crate::worker::{Worker, client, server, source};

pub(crate) fn a_server_that_does_not_accept_leaves_them_in_the_queue(engine: EngineKind) {
    let mut spec = server(engine);
    spec.service = Service::Queue;
    let (mut serving, ready) = Worker::start(WorkerSpec::Server(spec));
    let target = ready.listening[0];
    let spec = client(engine, target, &[source(engine, 16, 0)], 100);
    let (mut dialing, _) = Worker::start(WorkerSpec::Client(spec));
    assert_eq!(dialing.ramp().0.opened.count(), 100);
    assert_eq!(serving.counters.opened.count(), 0);
    // Half-open ones would be in another state than ESTABLISHED, which is 01.
    let established = sockets_of(target, source(engine, 16, 0))
        .iter()
        .filter(|line| line.contains(" 01 "))
        .count();
    assert_eq!(established, 200, "both ends of each");
    assert_eq!(dialing.drain(), 100);
    assert_eq!(serving.drain(), 0);
    assert_eq!(
        sockets_of(target, source(engine, 16, 0)),
        Vec::<String>::new()
    );
    dialing.end();
    serving.end();
}

pub(crate) fn a_server_that_does_not_read_is_silent_and_still_notices(engine: EngineKind) {
    let mut spec = server(engine);
    spec.service = Service::Silent;
    let (mut serving, ready) = Worker::start(WorkerSpec::Server(spec));
    let spec = client(engine, ready.listening[0], &[source(engine, 17, 0)], 40);
    let (mut dialing, _) = Worker::start(WorkerSpec::Client(spec));
    dialing.ramp();
    let report = dialing.verify(VerifyShare::All, 300);
    assert_eq!((report.asked.count(), report.silent.count()), (40, 40));
    assert_eq!(serving.counters.bytes_read, 0);
    dialing.drain();
    serving.wait_counters(|counters| counters.lost.count() == 40);
    dialing.end();
    serving.end();
}

pub(crate) fn a_server_that_accepts_and_watches_nothing_still_notices(engine: EngineKind) {
    let mut spec = server(engine);
    spec.service = Service::Accept;
    if engine == EngineKind::Tokio {
        let program = std::process::Command::new(env!("CARGO_BIN_EXE_c1m"));
        let mut refused = Worker::spawn(program, WorkerSpec::Server(spec));
        let (error, hint) = refused.wait(|event| match event {
            Event::Fatal { error, hint } => Some((error, hint)),
            _ => None,
        });
        assert!(
            error.contains("does not offer the service `accept`"),
            "{error}"
        );
        assert!(hint.expect("a hint").contains("epoll"));
        return;
    }
    let (mut serving, ready) = Worker::start(WorkerSpec::Server(spec));
    let target = ready.listening[0];
    let spec = client(engine, target, &[source(engine, 22, 0)], 40);
    let (mut dialing, _) = Worker::start(WorkerSpec::Client(spec));
    dialing.ramp();
    serving.wait_counters(|counters| counters.established.count() == 40);
    let peer = std::net::TcpStream::connect(target).expect("connects");
    serving.wait_counters(|counters| counters.established.count() == 41);
    drop(peer);
    serving.wait_lost(1, LossReason::ClosedByPeer);
    let report = dialing.verify(VerifyShare::All, 300);
    assert_eq!((report.asked.count(), report.silent.count()), (40, 40));
    assert_eq!(serving.counters.bytes_read, 0);
    assert_eq!(serving.drain(), 40);
    assert_eq!(
        sockets_of(target, source(engine, 22, 0)),
        Vec::<String>::new()
    );
    dialing.end();
    serving.end();
}
