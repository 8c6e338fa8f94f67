//! Cases about what a client says: requests of HTTP and scripts, with a peer of the test's own at the other end.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use c1m::control::Event;
use c1m::domain::{
    ByteText, Conversation, EngineKind, HttpRequest, LossReason, Script, ScriptStep, Task,
    Template, VerifyReport, VerifyShare,
};

use crate::tasks::hold;
use crate::worker::Worker;

/// Milliseconds that an answer may take.
const TIMEOUT_MS: u64 = 20_000;

/// A response in several framings, by the number of the peer.
fn response(peer: usize) -> &'static [u8] {
    match peer % 3 {
        0 => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        1 => {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x\r\n...\r\n0\r\n\r\n"
        }
        _ => b"HTTP/1.1 204 No Content\r\n\r\n",
    }
}

/// Has `dialing` carry out one task while every question that ends in `end` is answered by what `answer` says of the peer's
/// number and the question. An answer is sent byte by byte, in a packet for each.
fn exchange(
    dialing: &mut Worker,
    peers: &[TcpStream],
    conversation: Conversation,
    end: &str,
    answer: impl Fn(usize, &str) -> Vec<u8> + Sync,
) -> VerifyReport {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut heard = vec![Vec::new(); peers.len()];
            while !over.load(Ordering::Relaxed) {
                for (number, (mut peer, heard)) in peers.iter().zip(&mut heard).enumerate() {
                    let mut buffer = [0; 512];
                    match peer.read(&mut buffer) {
                        Ok(count) => heard.extend_from_slice(&buffer[..count]),
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                        Err(error) => panic!("{error}"),
                    }
                    let text = String::from_utf8(heard.clone()).expect("text");
                    let Some(place) = text.find(end) else {
                        continue;
                    };
                    let (question, rest) = text.split_at(place + end.len());
                    for byte in answer(number, question) {
                        peer.write_all(&[byte]).expect("there is room");
                    }
                    *heard = rest.as_bytes().to_vec();
                }
            }
        });
        let report = dialing.perform(Task::verify(conversation, VerifyShare::All, TIMEOUT_MS));
        over.store(true, Ordering::Relaxed);
        report
    })
}

fn unpacked(peers: &[TcpStream]) {
    for peer in peers {
        peer.set_nodelay(true).expect("a socket");
    }
}

fn counts(report: &VerifyReport) -> (u64, u64) {
    (report.asked.count(), report.echoed.count())
}

pub(crate) fn http_is_read_to_its_end_in_whatever_parts(engine: EngineKind) {
    let (mut dialing, peers) = hold(engine, 26, 60);
    unpacked(&peers);
    let request = HttpRequest {
        path: Template::parse("/{n}/{source}").expect("a path"),
        ..HttpRequest::default()
    };
    // The second one finds every connection as the first one should have left it.
    for _ in 0..2 {
        let paths = std::sync::Mutex::new(BTreeSet::new());
        let report = exchange(
            &mut dialing,
            &peers,
            Conversation::Http(request.clone()),
            "\r\n\r\n",
            |peer, question| {
                let path = question.split(' ').nth(1).expect("a path").to_owned();
                let host = format!(
                    "Host: {}\r\n",
                    peers[peer].local_addr().expect("an address")
                );
                assert!(question.contains(&host), "{question}");
                let source = peers[peer].peer_addr().expect("an address").ip();
                assert!(path.ends_with(&format!("/{source}")), "{path}");
                paths.lock().expect("not poisoned").insert(path);
                response(peer).to_vec()
            },
        );
        assert_eq!(counts(&report), (60, 60), "{report:?}");
        assert_eq!(report.answers, []);
        let paths = paths.into_inner().expect("not poisoned");
        let wanted: BTreeSet<String> = (0..60)
            .map(|n| format!("/{n}/{}", crate::worker::source(engine, 26, 0)))
            .collect();
        assert_eq!(paths, wanted, "each connection has a number of its own");
    }
    assert_eq!(dialing.drain(), 60);
    dialing.end();
}

pub(crate) fn wrong_answers_are_told_with_their_first_bytes(engine: EngineKind) {
    let (mut dialing, peers) = hold(engine, 27, 12);
    let http = || Conversation::Http(HttpRequest::default());
    let ask = |dialing: &mut Worker| {
        exchange(dialing, &peers, http(), "\r\n\r\n", |peer, _| {
            match peer % 4 {
                0 => b"HTTP/1.1 503 Unavailable\r\n".to_vec(),
                1 => b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(),
                2 => b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec(),
                _ => response(0).to_vec(),
            }
        })
    };
    let report = ask(&mut dialing);
    assert_eq!(counts(&report), (12, 3));
    let failed: BTreeSet<(String, u64)> = report
        .failed
        .iter()
        .map(|(reason, count)| (reason.to_string(), *count))
        .collect();
    let wanted = [
        ("closed: the response says `Connection: close`", 3),
        ("not HTTP", 3),
        ("status 503", 3),
    ];
    assert_eq!(
        failed,
        wanted
            .map(|(reason, count)| (reason.to_owned(), count))
            .into()
    );
    assert_eq!(report.answers.len(), 3, "{:?}", report.answers);
    // An answer that failed is not followed by another question: its rest may come at any time.
    let report = ask(&mut dialing);
    assert_eq!(counts(&report), (12, 3));
    assert_eq!(report.failed, [(LossReason::AfterFailure, 9)]);
    assert_eq!(dialing.drain(), 12);
    dialing.end();
}

fn step(text: &str) -> ScriptStep {
    ScriptStep::Send(Template::parse(text).expect("a template"))
}

fn expect(text: &str) -> ScriptStep {
    ScriptStep::Expect(ByteText::parse(text).expect("a text"))
}

pub(crate) fn a_greeting_is_kept_for_the_script_that_awaits_it(engine: EngineKind) {
    let (mut dialing, peers) = hold(engine, 28, 40);
    unpacked(&peers);
    for mut peer in &peers {
        peer.write_all(b"220 mail.example ready\r\n")
            .expect("there is room");
    }
    let script = |last: &str| {
        Conversation::Script(Script {
            open: vec![expect("220"), step(r"HELO {source}\r\n"), expect("250")],
            steps: vec![step(r"NOOP {n}\r\n"), expect(last)],
        })
    };
    let answer = |_: usize, question: &str| {
        if question.starts_with("HELO 127.") {
            b"250 hello\r\n".to_vec()
        } else if question.starts_with("NOOP ") {
            b"250 ok\r\n".to_vec()
        } else {
            b"500 what?\r\n".to_vec()
        }
    };
    // Greeting and HELO come once: a second HELO would shift every answer by one.
    for _ in 0..3 {
        let report = exchange(&mut dialing, &peers, script(r"250 ok\r\n"), "\r\n", answer);
        assert_eq!(counts(&report), (40, 40), "{report:?}");
    }
    let report = exchange(&mut dialing, &peers, script("354"), "\r\n", |_, _| {
        b"250 ok\r\n".to_vec()
    });
    assert_eq!(counts(&report), (40, 0));
    assert_eq!(report.failed, [(LossReason::WrongBytes, 40)]);
    let [answer] = &report.answers[..] else {
        panic!("one example: {:?}", report.answers);
    };
    assert!(
        answer.to_string().starts_with("expected `354`, got `2"),
        "{answer}"
    );
    assert_eq!(dialing.drain(), 40);
    dialing.end();
}

pub(crate) fn silence_ends_a_script_with_what_it_awaited(engine: EngineKind) {
    let (mut dialing, _peers) = hold(engine, 29, 3);
    let script = Conversation::Script(Script {
        open: Vec::new(),
        steps: vec![step(r"PING\r\n"), expect("+PONG")],
    });
    let report = dialing.perform(Task::verify(script, VerifyShare::All, 200));
    assert_eq!(counts(&report), (3, 0));
    assert_eq!(report.silent.count(), 3);
    let [answer] = &report.answers[..] else {
        panic!("one example: {:?}", report.answers);
    };
    assert_eq!(answer.to_string(), "no answer in time, expected `+PONG`");
    dialing.end();
}

pub(crate) fn an_end_behind_unread_bytes_is_noticed(engine: EngineKind) {
    let (mut dialing, mut peers) = hold(engine, 30, 20);
    for mut peer in &peers {
        peer.write_all(b"220 ready\r\n").expect("there is room");
    }
    peers.drain(..5);
    let mut lost = 0;
    dialing.wait(|event| {
        if let Event::Lost { note } = event {
            assert_eq!(note.reason, LossReason::ClosedByPeer);
            assert_eq!(note.said.bytes(), b"220 ready\r\n");
            lost += note.count;
        }
        (lost >= 5).then_some(())
    });
    assert_eq!(dialing.drain(), 15);
    dialing.end();
}

pub(crate) fn tcp_asks_nothing(engine: EngineKind) {
    let (mut dialing, peers) = hold(engine, 31, 5);
    let report = dialing.perform(Task::verify(
        Conversation::Tcp,
        VerifyShare::All,
        TIMEOUT_MS,
    ));
    assert_eq!(counts(&report), (0, 0));
    for mut peer in &peers {
        let error = peer.read(&mut [0]).expect_err("nothing was sent");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
    assert_eq!(dialing.drain(), 5);
    dialing.end();
}
