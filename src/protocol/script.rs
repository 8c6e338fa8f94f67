//! A client that says what a script says: bytes to send and bytes to come, in turn. Enough for every protocol of lines
//! (Redis, memcached, SMTP, POP3), and for short exchanges of bytes.

use std::net::Ipv4Addr;
use std::time::Duration;

use super::fill::fill;
use super::{Connection, Mistake, Output, Past, Protocol, Step};
use crate::domain::{ByteText, LossReason, Script, ScriptStep, Template};

/// A script.
#[derive(Debug, Clone)]
pub struct Scripted {
    /// Those that are said once come first.
    steps: Vec<ScriptStep>,
    /// Where an exchange begins on a connection that was used before.
    first: u16,
    timeout: Duration,
    names_ends: bool,
    /// Nothing is sent: what comes behind the greeting belongs to a conversation that is not had.
    greeting: bool,
}

/// How far a script has come.
#[derive(Debug, Clone, Copy)]
pub struct ScriptState {
    index: u32,
    source: Ipv4Addr,
    step: u16,
    /// Bytes of the present answer that have come as expected.
    came: u16,
    /// Whether all of them have, and the rest of their line is passed over.
    passing: bool,
}

const _: () = assert!(size_of::<ScriptState>() <= 16);

impl Scripted {
    /// A script whose every exchange takes at most `timeout`.
    #[must_use]
    pub fn new(script: &Script, timeout: Duration) -> Self {
        let steps: Vec<ScriptStep> = script.open.iter().chain(&script.steps).cloned().collect();
        Self {
            names_ends: steps
                .iter()
                .any(|step| matches!(step, ScriptStep::Send(text) if Template::names_source(text))),
            greeting: !steps.iter().any(|step| matches!(step, ScriptStep::Send(_))),
            first: u16::try_from(script.open.len()).unwrap_or(u16::MAX),
            steps,
            timeout,
        }
    }

    /// Sends whatever is to be sent before the next answer. Returns [`Step::Done`] after the last step.
    fn speak(&self, state: &mut ScriptState, out: &mut Output) -> Step {
        while let Some(ScriptStep::Send(text)) = self.steps.get(usize::from(state.step)) {
            fill(text, state.index, state.source, out);
            state.step += 1;
        }
        if usize::from(state.step) < self.steps.len() {
            Step::Wait
        } else {
            Step::Done
        }
    }

    /// The bytes that are awaited, and how.
    fn awaited(&self, step: u16) -> Option<(&ByteText, Awaited)> {
        match self.steps.get(usize::from(step))? {
            ScriptStep::Send(_) => None,
            ScriptStep::Expect(text) if text.bytes().ends_with(b"\n") => {
                Some((text, Awaited::Whole))
            }
            ScriptStep::Expect(text) => Some((text, Awaited::BeginningOfLine)),
            ScriptStep::Exactly(text) => Some((text, Awaited::Whole)),
            ScriptStep::Until(text) => Some((text, Awaited::Somewhere)),
        }
    }
}

/// How bytes are awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// They are all of the answer.
    Whole,
    /// They begin a line, whose rest is passed over.
    BeginningOfLine,
    /// They end what comes; what is before them is passed over.
    Somewhere,
}

/// Takes what is before the end of `wanted`, and that, off `bytes`. Returns whether all of it has come.
fn take_until(state: &mut ScriptState, wanted: &[u8], bytes: &mut &[u8]) -> bool {
    let mut came = usize::from(state.came);
    let mut taken = 0;
    while came < wanted.len() && taken < bytes.len() {
        let byte = bytes[taken];
        taken += 1;
        // Where the byte does not go on, the end of what has come may be a shorter beginning.
        while wanted[came] != byte && came > 0 {
            came = (0..came)
                .rev()
                .find(|shorter| wanted[came - shorter..came] == wanted[..*shorter])
                .unwrap_or(0);
        }
        came += usize::from(wanted[came] == byte);
    }
    *bytes = &bytes[taken..];
    state.came = u16::try_from(came).unwrap_or(u16::MAX);
    came == wanted.len()
}

/// Takes what belongs to the present answer off `bytes`. Returns whether the answer is whole, or nothing when it is wrong.
fn take(state: &mut ScriptState, wanted: &[u8], how: Awaited, bytes: &mut &[u8]) -> Option<bool> {
    if how == Awaited::Somewhere {
        return Some(take_until(state, wanted, bytes));
    }
    if !state.passing {
        let missing = &wanted[usize::from(state.came)..];
        let here = missing.len().min(bytes.len());
        if bytes[..here] != missing[..here] {
            return None;
        }
        *bytes = &bytes[here..];
        state.came = state
            .came
            .saturating_add(u16::try_from(here).unwrap_or(u16::MAX));
        if here < missing.len() {
            return Some(false);
        }
        if how == Awaited::Whole {
            return Some(true);
        }
        state.passing = true;
    }
    let end = bytes.iter().position(|byte| *byte == b'\n');
    *bytes = end.map_or(&[], |end| &bytes[end + 1..]);
    Some(end.is_some())
}

impl Protocol for Scripted {
    type State = ScriptState;
    const READS: bool = true;
    const IN_ORDER: bool = true;

    fn names_ends(&self) -> bool {
        self.names_ends
    }

    fn begin(&self, connection: &Connection) -> ScriptState {
        ScriptState {
            index: connection.index,
            source: connection.source(),
            step: match connection.past {
                Past::New => 0,
                Past::Used | Past::Failed => self.first,
            },
            came: 0,
            passing: false,
        }
    }

    fn on_open(&self, connection: &Connection, state: &mut ScriptState, out: &mut Output) -> Step {
        if connection.past == Past::Failed {
            return Step::Failed(Mistake::Wrong(LossReason::AfterFailure));
        }
        self.speak(state, out)
    }

    fn on_bytes(&self, state: &mut ScriptState, mut bytes: &[u8], out: &mut Output) -> Step {
        while !bytes.is_empty() {
            let Some((wanted, how)) = self.awaited(state.step) else {
                return Step::Failed(Mistake::Wrong(LossReason::Excess));
            };
            match take(state, wanted.bytes(), how, &mut bytes) {
                None => return Step::Failed(Mistake::Answer { step: state.step }),
                Some(false) => return Step::Wait,
                Some(true) => {}
            }
            state.step += 1;
            state.came = 0;
            state.passing = false;
            if self.speak(state, out) == Step::Done {
                return if bytes.is_empty() || self.greeting {
                    Step::Done
                } else {
                    Step::Failed(Mistake::Wrong(LossReason::Excess))
                };
            }
        }
        Step::Wait
    }

    fn on_tick(&self, state: &mut ScriptState, elapsed: Duration, _: &mut Output) -> Step {
        if elapsed < self.timeout {
            Step::Wait
        } else {
            Step::Failed(Mistake::NoAnswer { step: state.step })
        }
    }

    fn expected(&self, mistake: Mistake) -> String {
        let (Mistake::Answer { step } | Mistake::NoAnswer { step }) = mistake else {
            return String::new();
        };
        self.awaited(step)
            .map_or_else(String::new, |(text, _)| match text.bytes() {
                [] => "a line".to_owned(),
                _ => format!("`{text}`"),
            })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(1);

    fn send(text: &str) -> ScriptStep {
        ScriptStep::Send(Template::parse(text).expect("a template"))
    }

    fn expect(text: &str) -> ScriptStep {
        ScriptStep::Expect(ByteText::parse(text).expect("a text"))
    }

    fn exactly(text: &str) -> ScriptStep {
        ScriptStep::Exactly(ByteText::parse(text).expect("a text"))
    }

    fn until(text: &str) -> ScriptStep {
        ScriptStep::Until(ByteText::parse(text).expect("a text"))
    }

    fn scripted(open: &[ScriptStep], steps: &[ScriptStep]) -> Scripted {
        let (open, steps) = (open.to_vec(), steps.to_vec());
        Scripted::new(&Script { open, steps }, TIMEOUT)
    }

    /// The verdict on `parts`, and what was sent.
    fn talk(script: &Scripted, connection: Connection, parts: &[&[u8]]) -> (Step, Vec<u8>) {
        let mut out = Output::new();
        let mut state = script.begin(&connection);
        let mut step = script.on_open(&connection, &mut state, &mut out);
        for part in parts {
            if step != Step::Wait {
                break;
            }
            step = script.on_bytes(&mut state, part, &mut out);
        }
        (step, out.bytes().to_vec())
    }

    const NEW: Connection = Connection::new(0, 0);
    const USED: Connection = Connection {
        past: Past::Used,
        ..NEW
    };

    #[test]
    fn the_rest_of_a_line_is_passed_over_unless_the_expectation_ends_it() {
        for (expectation, answer, verdict) in [
            ("+PONG", "+PONG\r\n", Step::Done),
            ("+PONG", "+PONG and more\n", Step::Done),
            ("+PONG", "+PONG", Step::Wait),
            (r"+PONG\r\n", "+PONG\r\n", Step::Done),
            (r"$5\r\nhello", "$5\r\nhello\r\n", Step::Done),
            ("", "anything\r\n", Step::Done),
            (
                "+PONG",
                "-ERR\r\n",
                Step::Failed(Mistake::Answer { step: 1 }),
            ),
            (
                "+PONG",
                "+PONG\r\nmore",
                Step::Failed(Mistake::Wrong(LossReason::Excess)),
            ),
        ] {
            let script = scripted(&[], &[send("PING\r\n"), expect(expectation)]);
            let (step, sent) = talk(&script, NEW, &[answer.as_bytes()]);
            assert_eq!(step, verdict, "{expectation} {answer}");
            assert_eq!(sent, b"PING\r\n");
        }
    }

    #[test]
    fn what_comes_behind_a_greeting_is_not_looked_at() {
        let answer = b"SSH-2.0-x\r\n\0\0\x01";
        let greeting = scripted(&[], &[expect("SSH-")]);
        assert_eq!(talk(&greeting, NEW, &[answer]).0, Step::Done);
        let asked = scripted(&[], &[send("x"), expect("SSH-")]);
        let excess = Step::Failed(Mistake::Wrong(LossReason::Excess));
        assert_eq!(talk(&asked, NEW, &[answer]).0, excess);
    }

    #[test]
    fn bytes_without_lines_are_expected_exactly() {
        let script = scripted(
            &[],
            &[
                send(r"\0\0"),
                exactly("N"),
                send(r"\x01"),
                exactly(r"\x02\x03"),
            ],
        );
        let (step, sent) = talk(&script, NEW, &[b"N", b"\x02", b"\x03"]);
        assert_eq!((step, sent.as_slice()), (Step::Done, &b"\0\0\x01"[..]));
    }

    #[test]
    fn what_opens_a_connection_is_said_once() {
        let script = scripted(
            &[expect("220"), send("HELO {source}\r\n"), expect("250")],
            &[send("NOOP {n}\r\n"), expect("250")],
        );
        let first = Connection {
            index: 7,
            ends: Some(super::super::ConnectionEnds {
                source: Ipv4Addr::LOCALHOST,
                target: "127.0.0.1:25".parse().expect("an address"),
            }),
            ..NEW
        };
        let answers: [&[u8]; 3] = [b"220 mail\r\n", b"250 hello\r\n", b"250 ok\r\n"];
        let (step, sent) = talk(&script, first, &answers);
        assert_eq!(step, Step::Done);
        assert_eq!(sent, b"HELO 127.0.0.1\r\nNOOP 7\r\n");
        let (step, sent) = talk(&script, USED, &[b"250 ok\r\n"]);
        assert_eq!((step, sent.as_slice()), (Step::Done, &b"NOOP 0\r\n"[..]));
    }

    #[test]
    fn a_connection_that_has_failed_is_not_asked_again() {
        let script = scripted(&[], &[send("PING\r\n"), expect("+PONG")]);
        let failed = Connection {
            past: Past::Failed,
            ..NEW
        };
        let (step, sent) = talk(&script, failed, &[]);
        assert_eq!(step, Step::Failed(Mistake::Wrong(LossReason::AfterFailure)));
        assert_eq!(sent, b"");
    }

    #[test]
    fn silence_names_what_was_awaited() {
        let script = scripted(&[], &[send("PING\r\n"), expect("+PONG")]);
        let mut state = script.begin(&NEW);
        let mut out = Output::new();
        script.on_open(&NEW, &mut state, &mut out);
        assert_eq!(
            script.on_tick(&mut state, TIMEOUT / 2, &mut out),
            Step::Wait
        );
        let silent = Mistake::NoAnswer { step: 1 };
        assert_eq!(
            script.on_tick(&mut state, TIMEOUT, &mut out),
            Step::Failed(silent)
        );
        assert_eq!(script.expected(silent), "`+PONG`");
    }

    fn steps() -> impl Strategy<Value = Vec<ScriptStep>> {
        let step = prop_oneof![
            Just(send("x")),
            "[ab\n]{0,3}".prop_map(|text| expect(&text)),
            "[ab\n]{1,3}".prop_map(|text| exactly(&text)),
            "[ab]{1,4}".prop_map(|text| until(&text)),
        ];
        proptest::collection::vec(step, 1..6)
    }

    #[test]
    fn what_comes_before_awaited_bytes_is_passed_over() {
        let script = scripted(&[], &[send("x"), exactly("R"), until(r"Z\0\0\0\x05I")]);
        let answer = b"R\0\0\0\x08\0\0\0\0S\0\0\0\x0ea\0ZZ\0\0\0\x05Z\0\0\0\x05I";
        assert_eq!(talk(&script, NEW, &[answer]).0, Step::Done);
        let (early, _) = answer.split_at(answer.len() - 1);
        assert_eq!(talk(&script, NEW, &[early]).0, Step::Wait);
    }

    proptest! {
        #[test]
        fn awaited_bytes_are_found_where_they_first_stand(
            wanted in "[ab]{1,6}", bytes in "[ab]{1,40}"
        ) {
            let script = scripted(&[], &[until(&wanted)]);
            let mut state = script.begin(&NEW);
            let mut left = bytes.as_bytes();
            let found = take_until(&mut state, wanted.as_bytes(), &mut left);
            match bytes.find(&wanted) {
                Some(place) => {
                    prop_assert!(found);
                    prop_assert_eq!(left.len(), bytes.len() - place - wanted.len());
                }
                None => prop_assert!(!found && left.is_empty()),
            }
        }

        #[test]
        fn any_split_gives_the_same_verdict(
            steps in steps(), bytes in "[ab\n]{0,12}", cuts in proptest::collection::vec(1_usize..4, 12)
        ) {
            let script = scripted(&[], &steps);
            let whole = talk(&script, NEW, &[bytes.as_bytes()]);
            let mut rest = bytes.as_bytes();
            let mut parts = Vec::new();
            for cut in cuts {
                let (part, behind) = rest.split_at(cut.min(rest.len()));
                parts.extend((!part.is_empty()).then_some(part));
                rest = behind;
            }
            let cut = talk(&script, NEW, &parts);
            // What comes behind the end in another part is not looked at any more.
            let excess = Step::Failed(Mistake::Wrong(LossReason::Excess));
            let end = |step| if step == excess { Step::Done } else { step };
            prop_assert_eq!(end(whole.0), end(cut.0));
            prop_assert_eq!(whole.1, cut.1);
        }
    }
}
