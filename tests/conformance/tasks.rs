//! Cases about tasks, with a peer of the test's own that answers as the case wants it.

use std::collections::HashSet;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use c1m::control::Command;
use c1m::domain::{
    ConnRate, Conversation, EngineKind, Load, LossReason, Task, VerifyShare, WorkerSpec,
};

use crate::worker::{Worker, client, source};
use crate::{accept, start_pair};

/// Bytes of an echo.
const TOKEN: usize = 16;

/// Echoes under way at once in the cases about a window.
const WINDOW: usize = 16;

/// How long a step of a case may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// A client that holds `count` connections to a listener of the test.
pub(crate) fn hold(engine: EngineKind, test: u8, count: u32) -> (Worker, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
    let SocketAddr::V4(target) = listener.local_addr().expect("an address") else {
        unreachable!("bound to an IPv4 address");
    };
    let mut spec = client(engine, target, &[source(engine, test, 0)], count);
    spec.in_flight = u32::try_from(WINDOW).expect("small");
    spec.dialers = Some(1);
    let (mut dialing, _) = Worker::start(WorkerSpec::Client(spec));
    dialing.send(&Command::Begin);
    let peers = accept(&listener, usize::try_from(count).expect("small"));
    dialing.ramp_done();
    for peer in &peers {
        peer.set_nonblocking(true).expect("a socket");
    }
    (dialing, peers)
}

/// What has come on a connection, as far as it is a whole echo.
fn asked(mut peer: &TcpStream) -> Option<[u8; TOKEN]> {
    let mut token = [0; TOKEN];
    match peer.read(&mut token) {
        Ok(TOKEN) => Some(token),
        Ok(count) => panic!("{count} bytes came"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("{error}"),
    }
}

/// Bytes that lie unread at the client's ends with these ports.
fn unread(ports: &HashSet<u16>, host: std::net::Ipv4Addr) -> u64 {
    let host = format!("{:08X}", u32::from_ne_bytes(host.octets()));
    let table = fs::read_to_string("/proc/net/tcp").expect("the table of sockets");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let (address, port) = words.next()?.split_once(':')?;
            let port = u16::from_str_radix(port, 16).ok()?;
            let (_, unread) = words.nth(2)?.split_once(':')?;
            (address == host && ports.contains(&port))
                .then(|| u64::from_str_radix(unread, 16).ok())
                .flatten()
        })
        .sum()
}

pub(crate) fn late_answers_are_read_while_others_are_asked(engine: EngineKind) {
    // So many that asking them all, a window for each 100 ms of silence, takes far longer than reading an answer.
    let (mut dialing, peers) = hold(engine, 23, 1_500);
    let host = source(engine, 23, 0);
    let task = Task::verify(Conversation::Echo, VerifyShare::All, 60_000);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let deadline = Instant::now() + DEADLINE;
            let mut held_back = Vec::new();
            while held_back.len() <= WINDOW {
                assert!(Instant::now() < deadline, "{} were asked", held_back.len());
                for peer in &peers {
                    held_back.extend(asked(peer).map(|token| (peer, token)));
                }
            }
            // These have waited until others were asked in their place.
            let ports: HashSet<u16> = held_back
                .drain(..WINDOW)
                .map(|(mut peer, token)| {
                    peer.write_all(&token).expect("there is room");
                    peer.peer_addr().expect("an address").port()
                })
                .collect();
            let deadline = Instant::now() + Duration::from_secs(4);
            while unread(&ports, host) > 0 {
                assert!(
                    Instant::now() < deadline,
                    "answers lie unread until every connection was asked"
                );
            }
            for (mut peer, token) in held_back {
                peer.write_all(&token).expect("there is room");
            }
            while !over.load(Ordering::Relaxed) {
                for mut peer in &peers {
                    if let Some(token) = asked(peer) {
                        peer.write_all(&token).expect("there is room");
                    }
                }
            }
        });
        let report = dialing.perform(task);
        over.store(true, Ordering::Relaxed);
        assert_eq!(
            (report.asked.count(), report.echoed.count()),
            (1_500, 1_500)
        );
    });
    dialing.end();
}

pub(crate) fn changed_bytes_are_wrong(engine: EngineKind) {
    let (mut dialing, peers) = hold(engine, 24, 12);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for (index, mut peer) in peers.iter().enumerate() {
                    if let Some(mut token) = asked(peer) {
                        token[TOKEN - 1] ^= u8::from(index % 3 == 0);
                        peer.write_all(&token).expect("there is room");
                    }
                }
            }
        });
        let report = dialing.verify(VerifyShare::All, 20_000);
        over.store(true, Ordering::Relaxed);
        assert_eq!((report.asked.count(), report.echoed.count()), (12, 8));
        assert_eq!(report.failed, [(LossReason::WrongBytes, 4)]);
        assert_eq!(report.examples.len(), 4);
    });
    // The connections are as they were: nobody has ended them.
    assert_eq!(dialing.drain(), 12);
    dialing.end();
}

pub(crate) fn echoes_keep_to_a_planned_pace(engine: EngineKind) {
    let (serving, mut dialing, _) = start_pair(engine, 25, 1, 101);
    dialing.ramp();
    let rate = ConnRate::new(200.0);
    let begun = Instant::now();
    let report = dialing.perform(Task {
        rate: Some(rate),
        ..Task::verify(Conversation::Echo, VerifyShare::All, 20_000)
    });
    // The last one is due half a second after the first.
    assert!(begun.elapsed() >= Duration::from_millis(500));
    assert_eq!((report.asked.count(), report.echoed.count()), (101, 101));
    assert_eq!(report.load, Some(Load::Planned { rate }));
    dialing.end();
    serving.end();
}
