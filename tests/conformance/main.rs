//! One suite over every engine: the same cases, each against the program's own worker process on loopback.

mod limits;
mod openings;
mod ports;
mod protocols;
mod services;
mod tasks;
mod worker;

use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::process::Command as Process;
use std::time::Duration;

use c1m::control::{Command, Event};
use c1m::domain::{
    Acceptors, ConnRate, ConnectFailure, DescriptorTables, EngineKind, Keepalive, Load, LossReason,
    VerifyShare, WorkerSpec,
};
use limits::{
    many_tables_hold_more_than_the_limit, one_table_stops_a_client_at_the_limit,
    one_table_stops_a_server_at_the_limit,
};
use openings::{
    a_close_instead_of_a_first_answer_is_a_loss, a_server_is_tried_until_it_answers_rightly,
    a_wrong_first_answer_is_told_and_the_connection_stays, connections_speak_as_they_are_opened,
    silence_after_the_opening_is_told,
    what_opens_a_connection_is_said_once_in_the_ramp_and_not_again,
};
use ports::{
    every_choice_of_ports_opens_all, ports_in_use_are_replaced,
    ports_in_use_without_spare_ones_are_reported, several_targets_share_the_ports_of_a_source,
};
use protocols::{
    a_greeting_is_kept_for_the_script_that_awaits_it, an_end_behind_unread_bytes_is_noticed,
    http_is_read_to_its_end_in_whatever_parts, silence_ends_a_script_with_what_it_awaited,
    tcp_asks_nothing, wrong_answers_are_told_with_their_first_bytes,
};
use services::{
    a_server_that_accepts_and_watches_nothing_still_notices,
    a_server_that_does_not_accept_leaves_them_in_the_queue,
    a_server_that_does_not_read_is_silent_and_still_notices,
};
use tasks::{
    changed_bytes_are_wrong, echoes_keep_to_a_planned_pace,
    late_answers_are_read_while_others_are_asked,
};
use worker::{Worker, client, sample, server, source};

/// Runs each case on each engine.
macro_rules! on_both_engines {
    ($($case:ident),+ $(,)?) => {
        mod epoll {
            $(#[test] fn $case() { crate::$case(c1m::domain::EngineKind::Epoll); })+
        }
        mod tokio {
            $(#[test] fn $case() { crate::$case(c1m::domain::EngineKind::Tokio); })+
        }
    };
}

on_both_engines!(
    all_are_opened_held_echoed_and_leave_nothing,
    a_sample_is_spread_over_all_tables,
    a_client_notices_a_fin,
    a_client_notices_a_reset_while_it_dials,
    a_killed_server_is_a_reset_for_each_connection,
    a_server_notices_closed_peers,
    a_stopped_ramp_keeps_what_it_has,
    a_rate_is_not_exceeded,
    the_window_bounds_what_is_under_way_and_silence_times_out,
    ports_in_use_are_replaced,
    ports_in_use_without_spare_ones_are_reported,
    several_targets_share_the_ports_of_a_source,
    every_choice_of_ports_opens_all,
    many_tables_hold_more_than_the_limit,
    one_table_stops_a_client_at_the_limit,
    one_table_stops_a_server_at_the_limit,
    a_server_that_does_not_accept_leaves_them_in_the_queue,
    a_server_that_does_not_read_is_silent_and_still_notices,
    a_server_that_accepts_and_watches_nothing_still_notices,
    changed_bytes_are_wrong,
    echoes_keep_to_a_planned_pace,
    late_answers_are_read_while_others_are_asked,
    http_is_read_to_its_end_in_whatever_parts,
    wrong_answers_are_told_with_their_first_bytes,
    a_greeting_is_kept_for_the_script_that_awaits_it,
    silence_ends_a_script_with_what_it_awaited,
    an_end_behind_unread_bytes_is_noticed,
    tcp_asks_nothing,
    connections_speak_as_they_are_opened,
    what_opens_a_connection_is_said_once_in_the_ramp_and_not_again,
    a_wrong_first_answer_is_told_and_the_connection_stays,
    a_close_instead_of_a_first_answer_is_a_loss,
    silence_after_the_opening_is_told,
    a_server_is_tried_until_it_answers_rightly,
    several_acceptors_take_all,
    keepalive_changes_nothing_else,
    refusals_are_reported_with_their_class,
    an_address_in_use_is_fatal_with_a_hint,
    a_runner_of_another_version_is_refused_with_both,
    the_end_of_stdin_ends_a_ramp_and_leaves_nothing,
);

fn start_pair(
    engine: EngineKind,
    test: u8,
    sources: u8,
    each: u32,
) -> (Worker, Worker, SocketAddrV4) {
    let (serving, ready) = Worker::start(WorkerSpec::Server(server(engine)));
    let target = ready.listening[0];
    let sources: Vec<Ipv4Addr> = (0..sources)
        .map(|index| source(engine, test, index))
        .collect();
    let (dialing, _) = Worker::start(WorkerSpec::Client(client(engine, target, &sources, each)));
    (serving, dialing, target)
}

/// Sockets of the kernel's table, in whatever state, between `target` and the /24 of `source`.
///
/// Only the sources of a test tell its sockets from others: the kernel gives a port of a listener that is gone to the
/// next one, while connections to the old one are still in TIME_WAIT.
fn sockets_of(target: SocketAddrV4, source: Ipv4Addr) -> Vec<String> {
    let target = format!(
        "{:08X}:{:04X}",
        u32::from_ne_bytes(target.ip().octets()),
        target.port()
    );
    let [a, b, c, _] = source.octets();
    let source = format!("{c:02X}{b:02X}{a:02X}:");
    let table = fs::read_to_string("/proc/net/tcp").expect("the table of sockets");
    table
        .lines()
        .filter(|line| line.contains(&target) && line.contains(&source))
        .map(str::to_owned)
        .collect()
}

fn all_are_opened_held_echoed_and_leave_nothing(engine: EngineKind) {
    let (mut serving, mut dialing, target) = start_pair(engine, 1, 2, 300);
    let (counters, seconds) = dialing.ramp();
    assert_eq!(
        (counters.opened.count(), counters.established.count()),
        (600, 600)
    );
    assert_eq!(counters.failed_total().count(), 0);
    assert!(seconds > 0.0);
    serving.wait_counters(|counters| counters.established.count() == 600);
    let report = dialing.verify(VerifyShare::All, 20_000);
    assert_eq!((report.asked.count(), report.echoed.count()), (600, 600));
    assert_eq!(
        report.latency.0.iter().map(|(_, count)| count).sum::<u64>(),
        600
    );
    assert!(
        matches!(report.load, Some(Load::ClosedLoop { window }) if window > 0),
        "{:?}",
        report.load
    );
    serving.wait_counters(|counters| counters.bytes_read >= 600 * 16);
    // A second round is not disturbed by the first.
    assert_eq!(dialing.verify(VerifyShare::All, 20_000).echoed.count(), 600);
    serving.send(&Command::Drain);
    assert_eq!(dialing.drain(), 600);
    serving.drained();
    assert_eq!(
        sockets_of(target, source(engine, 1, 0)),
        Vec::<String>::new()
    );
    dialing.end();
    serving.end();
}

fn a_sample_is_spread_over_all_tables(engine: EngineKind) {
    let (serving, mut dialing, _) = start_pair(engine, 2, 1, 200);
    dialing.ramp();
    let report = dialing.verify(sample(30), 20_000);
    assert_eq!((report.asked.count(), report.echoed.count()), (30, 30));
    assert_eq!(dialing.verify(VerifyShare::None, 20_000).asked.count(), 0);
    dialing.end();
    serving.end();
}

/// A listener of the test's own, and a client that dials it.
fn dial_the_test(
    engine: EngineKind,
    test: u8,
    each: u32,
    rate: Option<f64>,
) -> (TcpListener, Worker) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listens");
    let SocketAddr::V4(target) = listener.local_addr().expect("an address") else {
        unreachable!("bound to an IPv4 address");
    };
    let mut spec = client(engine, target, &[source(engine, test, 0)], each);
    spec.rate = rate.map(ConnRate::new);
    let (dialing, _) = Worker::start(WorkerSpec::Client(spec));
    (listener, dialing)
}

fn accept(listener: &TcpListener, count: usize) -> Vec<TcpStream> {
    (0..count)
        .map(|_| listener.accept().expect("accepts").0)
        .collect()
}

fn reset(streams: impl Iterator<Item = TcpStream>) {
    for stream in streams {
        socket2::SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .expect("lingers");
    }
}

fn a_client_notices_a_fin(engine: EngineKind) {
    let (listener, mut dialing) = dial_the_test(engine, 3, 50, None);
    dialing.send(&Command::Begin);
    let mut peers = accept(&listener, 50);
    dialing.ramp_done();
    peers.drain(..5);
    dialing.wait_lost(5, LossReason::ClosedByPeer);
    dialing.wait_counters(|counters| counters.lost.count() == 5);
    assert_eq!(dialing.counters.established.count(), 45);
    // Nothing is counted twice: the drain finds exactly the others.
    assert_eq!(dialing.drain(), 45);
    dialing.end();
}

fn a_client_notices_a_reset_while_it_dials(engine: EngineKind) {
    let (listener, mut dialing) = dial_the_test(engine, 4, 5_000, Some(50.0));
    dialing.send(&Command::Begin);
    let mut peers = accept(&listener, 20);
    dialing.wait_counters(|counters| counters.opened.count() >= 20);
    reset(peers.drain(..7));
    // A sweep may pass between two of the resets: they are told in one note or in several.
    let mut lost = 0;
    dialing.wait(|event| match event {
        Event::RampDone { .. } => panic!("the ramp was to last for longer"),
        Event::Lost { note } => {
            assert_eq!(note.reason, LossReason::Reset);
            lost += note.count;
            (lost == 7).then_some(())
        }
        _ => None,
    });
    dialing.send(&Command::StopRamp);
    let (counters, _) = dialing.ramp_done();
    assert_eq!(counters.lost.count(), 7);
    assert_eq!(counters.established.count() + 7, counters.opened.count());
    dialing.end();
}

fn a_killed_server_is_a_reset_for_each_connection(engine: EngineKind) {
    let (serving, mut dialing, target) = start_pair(engine, 5, 1, 100);
    dialing.ramp();
    dialing.verify(VerifyShare::All, 20_000);
    serving.kill();
    dialing.wait_lost(100, LossReason::Reset);
    assert_eq!(dialing.drain(), 0);
    assert_eq!(
        sockets_of(target, source(engine, 5, 0)),
        Vec::<String>::new()
    );
    dialing.end();
}

fn a_server_notices_closed_peers(engine: EngineKind) {
    let (mut serving, ready) = Worker::start(WorkerSpec::Server(server(engine)));
    let mut peers: Vec<TcpStream> = (0..30)
        .map(|_| TcpStream::connect(ready.listening[0]).expect("connects"))
        .collect();
    serving.wait_counters(|counters| counters.established.count() == 30);
    peers.drain(..4);
    serving.wait_lost(4, LossReason::ClosedByPeer);
    reset(peers.drain(..6));
    serving.wait_lost(6, LossReason::Reset);
    serving.wait_counters(|counters| counters.lost.count() == 10);
    assert_eq!(serving.counters.established.count(), 20);
    assert_eq!(serving.drain(), 20);
    let ended = peers[0].read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(ended, Err(std::io::ErrorKind::ConnectionReset));
    serving.end();
}

fn a_stopped_ramp_keeps_what_it_has(engine: EngineKind) {
    let (serving, ready) = Worker::start(WorkerSpec::Server(server(engine)));
    let mut spec = client(engine, ready.listening[0], &[source(engine, 6, 0)], 9_000);
    spec.rate = Some(ConnRate::new(100.0));
    let (mut dialing, _) = Worker::start(WorkerSpec::Client(spec));
    dialing.send(&Command::Begin);
    dialing.wait_counters(|counters| counters.opened.count() >= 10);
    dialing.send(&Command::StopRamp);
    let (counters, _) = dialing.ramp_done();
    assert!((10..9_000).contains(&counters.opened.count()));
    assert_eq!(counters.failed_total().count(), 0);
    let report = dialing.verify(VerifyShare::All, 20_000);
    assert_eq!(report.echoed, counters.opened);
    dialing.end();
    serving.end();
}

fn a_rate_is_not_exceeded(engine: EngineKind) {
    let (serving, ready) = Worker::start(WorkerSpec::Server(server(engine)));
    let mut spec = client(engine, ready.listening[0], &[source(engine, 7, 0)], 101);
    spec.rate = Some(ConnRate::new(200.0));
    let (mut dialing, _) = Worker::start(WorkerSpec::Client(spec));
    let (counters, seconds) = dialing.ramp();
    assert_eq!(counters.opened.count(), 101);
    // The last one is due half a second after the first.
    assert!(seconds >= 0.5, "{seconds}");
    dialing.end();
    serving.end();
}

fn the_window_bounds_what_is_under_way_and_silence_times_out(engine: EngineKind) {
    // A queue of one that nobody takes from: the kernel lets two in and answers no further SYN.
    let listener =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
    listener.bind(&any.into()).expect("binds");
    listener.listen(1).expect("listens");
    let target = listener
        .local_addr()
        .expect("an address")
        .as_socket_ipv4()
        .expect("IPv4");
    let mut spec = client(engine, target, &[source(engine, 8, 0)], 22);
    spec.in_flight = 10;
    spec.connect_timeout_ms = 700;
    // Two threads could both find the last place of the queue free: then three believe that they are in.
    spec.dialers = Some(1);
    let (mut dialing, _) = Worker::start(WorkerSpec::Client(spec));
    dialing.send(&Command::Begin);
    let counters = dialing.wait(|event| match event {
        Event::Progress { counters, .. } => {
            assert!(counters.in_flight.count() <= 10);
            None
        }
        Event::RampDone { counters, .. } => Some(counters),
        _ => None,
    });
    assert_eq!(counters.opened.count(), 2);
    assert_eq!(counters.failed[&ConnectFailure::TimedOut], 20);
    assert_eq!(counters.in_flight.count(), 0);
    dialing.end();
}

fn several_acceptors_take_all(engine: EngineKind) {
    for tables in [DescriptorTables::Many, DescriptorTables::One] {
        let mut spec = server(engine);
        spec.acceptors = Acceptors::Count(NonZeroU32::new(3).expect("not zero"));
        spec.tables = tables;
        let (mut serving, ready) = Worker::start(WorkerSpec::Server(spec));
        let spec = client(engine, ready.listening[0], &[source(engine, 18, 0)], 300);
        let (mut dialing, _) = Worker::start(WorkerSpec::Client(spec));
        assert_eq!(dialing.ramp().0.opened.count(), 300);
        assert_eq!(dialing.verify(VerifyShare::All, 20_000).echoed.count(), 300);
        serving.send(&Command::Drain);
        dialing.drain();
        serving.drained();
        dialing.end();
        serving.end();
    }
}

fn keepalive_changes_nothing_else(engine: EngineKind) {
    let keepalive = Some(Keepalive {
        idle_seconds: 600,
        interval_seconds: 10,
        probes: 3,
    });
    let mut spec = server(engine);
    spec.keepalive = keepalive;
    let (serving, ready) = Worker::start(WorkerSpec::Server(spec));
    let mut spec = client(engine, ready.listening[0], &[source(engine, 19, 0)], 20);
    spec.keepalive = keepalive;
    let (mut dialing, _) = Worker::start(WorkerSpec::Client(spec));
    dialing.ramp();
    assert_eq!(dialing.verify(VerifyShare::All, 20_000).echoed.count(), 20);
    // The timer of keepalive is 02 in the kernel's table; both ends have it.
    let armed = sockets_of(ready.listening[0], source(engine, 19, 0))
        .iter()
        .filter(|line| line.contains(" 02:"))
        .count();
    assert_eq!(armed, 40);
    dialing.end();
    serving.end();
}

fn refusals_are_reported_with_their_class(engine: EngineKind) {
    let (listener, mut dialing) = dial_the_test(engine, 20, 60, None);
    let target = listener.local_addr().expect("an address");
    drop(listener);
    let (counters, _) = dialing.ramp();
    assert_eq!(counters.opened.count(), 0);
    assert_eq!(counters.failed[&ConnectFailure::Refused], 60);
    let note = dialing.wait(|event| match event {
        Event::ConnectFailed { note } => Some(note),
        _ => None,
    });
    assert_eq!(note.failure, ConnectFailure::Refused);
    assert_eq!(SocketAddr::V4(note.target), target);
    dialing.end();
}

fn an_address_in_use_is_fatal_with_a_hint(engine: EngineKind) {
    let (serving, ready) = Worker::start(WorkerSpec::Server(server(engine)));
    let mut spec = server(engine);
    spec.listen = ready.listening;
    let program = Process::new(env!("CARGO_BIN_EXE_c1m"));
    let mut second = Worker::spawn(program, WorkerSpec::Server(spec));
    let (error, hint) = second.wait(|event| match event {
        Event::Fatal { error, hint } => Some((error, hint)),
        _ => None,
    });
    assert!(error.contains("cannot listen on 127.0.0.1:"), "{error}");
    assert!(hint.expect("a hint").contains("ss -ltnp"));
    serving.end();
}

fn a_runner_of_another_version_is_refused_with_both(engine: EngineKind) {
    let theirs = c1m::control::VERSION + 1;
    let mut worker = Worker::spawn_silent(Process::new(env!("CARGO_BIN_EXE_c1m")));
    worker.send(&Command::Start {
        version: theirs,
        spec: WorkerSpec::Server(server(engine)),
    });
    let error = worker.wait(|event| match event {
        Event::Fatal { error, .. } => Some(error),
        _ => None,
    });
    for version in [c1m::control::VERSION, theirs] {
        assert!(error.contains(&format!("version {version}")), "{error}");
    }
}

fn the_end_of_stdin_ends_a_ramp_and_leaves_nothing(engine: EngineKind) {
    let (serving, ready) = Worker::start(WorkerSpec::Server(server(engine)));
    let target = ready.listening[0];
    let mut spec = client(engine, target, &[source(engine, 21, 0)], 9_000);
    spec.rate = Some(ConnRate::new(200.0));
    let (mut dialing, _) = Worker::start(WorkerSpec::Client(spec));
    dialing.send(&Command::Begin);
    dialing.wait_counters(|counters| counters.opened.count() >= 20);
    dialing.end();
    serving.end();
    assert_eq!(
        sockets_of(target, source(engine, 21, 0)),
        Vec::<String>::new()
    );
}
