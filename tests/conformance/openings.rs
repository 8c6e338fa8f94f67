//! Cases about what connections say as they are opened, with a server of lines of the test's own at the other end.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, SocketAddrV4, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;

use c1m::control::{Command, Event};
use c1m::domain::{
    ByteText, Conversation, Counters, EngineKind, LossReason, Opening, Script, ScriptStep, Task,
    Template, VerifyReport, VerifyShare, WorkerSpec,
};

use crate::worker::{Worker, client, server, source};

/// What the server does with a line.
enum Reply {
    Say(&'static str),
    Close,
    Nothing,
}

/// Lines that came, each with how often.
type Heard = Arc<Mutex<BTreeMap<String, u64>>>;

/// A server with a thread for each connection. It ends with the test's process.
fn serve(reply: fn(number: usize, line: &str) -> Reply) -> (SocketAddrV4, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
    let SocketAddr::V4(address) = listener.local_addr().expect("an address") else {
        panic!("it was bound to IPv4");
    };
    let heard = Heard::default();
    let shared = Arc::clone(&heard);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (stream, heard) = (stream.expect("a connection"), Arc::clone(&shared));
            thread::spawn(move || {
                let mut answers = stream.try_clone().expect("a socket");
                // The end of a connection ends its lines.
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    *heard
                        .lock()
                        .expect("not poisoned")
                        .entry(line.clone())
                        .or_default() += 1;
                    match reply(number, &line) {
                        Reply::Say(text) => {
                            answers.write_all(text.as_bytes()).expect("there is room");
                        }
                        Reply::Close => return,
                        Reply::Nothing => {}
                    }
                }
            });
        }
    });
    (address, heard)
}

fn send(text: &str) -> ScriptStep {
    ScriptStep::Send(Template::parse(text).expect("a template"))
}

fn expect(text: &str) -> ScriptStep {
    ScriptStep::Expect(ByteText::parse(text).expect("a text"))
}

/// A login, once, and a question.
fn login() -> Conversation {
    Conversation::Script(Script {
        open: vec![send(r"login\n"), expect("welcome")],
        steps: vec![send(r"ping\n"), expect("pong")],
    })
}

/// What a server says that serves: the answer to a login, and to a question.
fn polite(line: &str) -> Reply {
    Reply::Say(if line == "login" {
        "welcome\n"
    } else {
        "pong\n"
    })
}

/// A client whose connections speak as they are opened.
fn speaking(
    engine: EngineKind,
    test: u8,
    target: SocketAddrV4,
    each: u32,
    exchange: Conversation,
    timeout_ms: u64,
) -> Worker {
    let mut spec = client(engine, target, &[source(engine, test, 0)], each);
    spec.opening = Some(Opening {
        exchange,
        timeout_ms,
    });
    Worker::start(WorkerSpec::Client(spec)).0
}

/// Ramps, and returns the counters at its end and what came of the opening.
fn ramp(dialing: &mut Worker) -> (Counters, VerifyReport) {
    dialing.send(&Command::Begin);
    let report = dialing.wait(|event| match event {
        Event::Greeted { report } => Some(report),
        Event::RampDone { .. } => panic!("the ramp is over before the opening is"),
        _ => None,
    });
    (dialing.ramp_done().0, report)
}

pub(crate) fn connections_speak_as_they_are_opened(engine: EngineKind) {
    let (mut serving, ready) = Worker::start(WorkerSpec::Server(server(engine)));
    let target = ready.listening[0];
    let mut dialing = speaking(engine, 40, target, 600, Conversation::Echo, 20_000);
    let (counters, report) = ramp(&mut dialing);
    assert_eq!((report.asked.count(), report.echoed.count()), (600, 600));
    assert_eq!(counters.answered.count(), 600);
    assert!(counters.unanswered.is_zero());
    serving.wait_counters(|counters| counters.bytes_read == 600 * 16);
    assert_eq!(dialing.verify(VerifyShare::All, 20_000).echoed.count(), 600);
    assert_eq!(dialing.drain(), 600);
    dialing.end();
    serving.end();
}

pub(crate) fn what_opens_a_connection_is_said_once_in_the_ramp_and_not_again(engine: EngineKind) {
    let (target, heard) = serve(|_, line| polite(line));
    let mut dialing = speaking(engine, 41, target, 150, login(), 20_000);
    let (_, report) = ramp(&mut dialing);
    assert_eq!(report.echoed.count(), 150);
    let report = dialing.perform(Task::verify(login(), VerifyShare::All, 20_000));
    assert_eq!((report.asked.count(), report.echoed.count()), (150, 150));
    let heard = heard.lock().expect("not poisoned").clone();
    assert_eq!(
        heard,
        [("login".to_owned(), 150), ("ping".to_owned(), 300)].into()
    );
    assert_eq!(dialing.drain(), 150);
    dialing.end();
}

pub(crate) fn a_wrong_first_answer_is_told_and_the_connection_stays(engine: EngineKind) {
    let (target, _) = serve(|number, line| {
        if number < 50 {
            polite(line)
        } else {
            Reply::Say("too many clients\n")
        }
    });
    let mut dialing = speaking(engine, 42, target, 80, login(), 20_000);
    let (counters, report) = ramp(&mut dialing);
    assert_eq!(
        (counters.answered.count(), counters.unanswered.count()),
        (50, 30)
    );
    assert_eq!(
        (counters.established.count(), counters.lost.count()),
        (80, 0)
    );
    assert_eq!(report.failed, [(LossReason::WrongBytes, 30)]);
    let answer = &report.answers[0];
    assert_eq!(answer.got.bytes(), b"too many clients\n");
    assert_eq!(dialing.drain(), 80);
    dialing.end();
}

pub(crate) fn a_close_instead_of_a_first_answer_is_a_loss(engine: EngineKind) {
    let (target, _) = serve(|number, line| {
        if number < 20 {
            polite(line)
        } else {
            Reply::Close
        }
    });
    let mut dialing = speaking(engine, 43, target, 30, login(), 20_000);
    let (counters, report) = ramp(&mut dialing);
    assert_eq!(
        (counters.answered.count(), counters.unanswered.count()),
        (20, 10)
    );
    assert_eq!(
        (counters.established.count(), counters.lost.count()),
        (20, 10)
    );
    assert_eq!(report.failed, [(LossReason::ClosedByPeer, 10)]);
    assert_eq!(dialing.drain(), 20);
    dialing.end();
}

pub(crate) fn silence_after_the_opening_is_told(engine: EngineKind) {
    let (target, _) = serve(|number, line| {
        if number < 5 {
            polite(line)
        } else {
            Reply::Nothing
        }
    });
    let mut dialing = speaking(engine, 44, target, 12, login(), 300);
    let (counters, report) = ramp(&mut dialing);
    assert_eq!(
        (counters.answered.count(), counters.unanswered.count()),
        (5, 7)
    );
    assert_eq!((report.echoed.count(), report.silent.count()), (5, 7));
    assert_eq!(dialing.drain(), 12);
    dialing.end();
}

pub(crate) fn a_server_is_tried_until_it_answers_rightly(engine: EngineKind) {
    let tried = |target, exchange: &Conversation, within_ms| {
        let spec = client(engine, target, &[source(engine, 45, 0)], 10);
        let (mut dialing, _) = Worker::start(WorkerSpec::Client(spec));
        dialing.send(&Command::Try {
            exchange: exchange.clone(),
            within_ms,
        });
        let failure = dialing.wait(|event| match event {
            Event::Tried { failure } => Some(failure),
            _ => None,
        });
        dialing.end();
        failure
    };
    // The first two connections are not served: a server that is still starting.
    let (target, _) = serve(|number, line| {
        if number < 2 {
            Reply::Say("starting\n")
        } else {
            polite(line)
        }
    });
    assert_eq!(tried(target, &login(), 20_000), None);
    let (target, _) = serve(|_, _| Reply::Say("no\n"));
    let failure = tried(target, &login(), 300).expect("it never answers rightly");
    assert_eq!(failure, r"expected `welcome`, got `no`");
    let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
    let SocketAddr::V4(target) = listener.local_addr().expect("an address") else {
        panic!("it was bound to IPv4");
    };
    drop(listener);
    let failure = tried(target, &login(), 300).expect("nobody listens");
    assert!(failure.contains("cannot connect to"), "{failure}");
}
