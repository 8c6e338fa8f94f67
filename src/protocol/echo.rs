//! The echo: a server that sends back every byte, and a client that proves by it that a connection is alive.

use std::time::Duration;

use super::{Connection, Mistake, Output, Protocol, Step};
use crate::domain::LossReason;

/// The server's side: every byte goes back.
#[derive(Debug, Clone, Copy)]
pub struct Echo;

const _: () = assert!(size_of::<<Echo as Protocol>::State>() == 0);

impl Protocol for Echo {
    type State = ();
    const READS: bool = true;

    fn begin(&self, _: &Connection) {}

    fn on_open(&self, _: &Connection, (): &mut (), _: &mut Output) -> Step {
        Step::Wait
    }

    fn on_bytes(&self, (): &mut (), bytes: &[u8], out: &mut Output) -> Step {
        out.write(bytes);
        Step::Wait
    }

    fn on_tick(&self, (): &mut (), _: Duration, _: &mut Output) -> Step {
        Step::Wait
    }
}

/// Bytes of a token.
const TOKEN: usize = 16;

/// Bytes that are not those of the token.
const WRONG: Mistake = Mistake::Wrong(LossReason::WrongBytes);

/// Where the number of the round stands in a token.
const ROUND: std::ops::Range<usize> = 4..8;

/// The client's side of one round of echoes: a token that no other connection has goes out, and must come back.
///
/// A token is four numbers of 32 bits, most significant byte first: the worker's, the round's, the table's, the connection's.
/// A token of another round of the same worker is an echo that came too late for that round. It is passed over.
#[derive(Debug, Clone, Copy)]
pub struct EchoProof {
    worker: u32,
    round: u32,
    timeout: Duration,
}

/// How much of a token has come back.
#[derive(Debug, Clone, Copy)]
pub struct ProofState {
    table: u32,
    number: u32,
    /// Bytes of the present token that have come.
    came: u8,
    /// Whether the present token is one of another round.
    late: bool,
}

const _: () = assert!(size_of::<ProofState>() <= 16);

impl EchoProof {
    /// A round. `worker` differs between the workers of a run, `round` between the rounds of a worker.
    #[must_use]
    pub const fn new(worker: u32, round: u32, timeout: Duration) -> Self {
        Self {
            worker,
            round,
            timeout,
        }
    }

    fn token(&self, table: u32, number: u32) -> [u8; TOKEN] {
        let mut token = [0; TOKEN];
        let numbers = [self.worker, self.round, table, number];
        for (part, number) in token.chunks_exact_mut(4).zip(numbers) {
            part.copy_from_slice(&number.to_be_bytes());
        }
        token
    }
}

impl Protocol for EchoProof {
    type State = ProofState;
    const READS: bool = true;

    fn begin(&self, connection: &Connection) -> ProofState {
        ProofState {
            table: connection.table,
            number: connection.number,
            came: 0,
            late: false,
        }
    }

    fn on_open(&self, _: &Connection, state: &mut ProofState, out: &mut Output) -> Step {
        out.write(&self.token(state.table, state.number));
        Step::Wait
    }

    fn on_bytes(&self, state: &mut ProofState, bytes: &[u8], _: &mut Output) -> Step {
        let token = self.token(state.table, state.number);
        let mut bytes = bytes.iter();
        while let Some(byte) = bytes.next() {
            let at = usize::from(state.came);
            if *byte != token[at] {
                // Only the number of the round tells an echo that came too late from bytes that are wrong.
                state.late |= ROUND.contains(&at);
                if !state.late {
                    return Step::Failed(WRONG);
                }
            }
            state.came += 1;
            if at + 1 < TOKEN {
                continue;
            }
            if !state.late {
                // More than was asked for is wrong too.
                return if bytes.len() == 0 {
                    Step::Done
                } else {
                    Step::Failed(WRONG)
                };
            }
            state.came = 0;
            state.late = false;
        }
        Step::Wait
    }

    fn on_tick(&self, _: &mut ProofState, elapsed: Duration, _: &mut Output) -> Step {
        if elapsed < self.timeout {
            Step::Wait
        } else {
            Step::Failed(Mistake::Silence)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONNECTION: Connection = Connection::new(3, 1 << 17);

    fn proof(round: u32) -> EchoProof {
        EchoProof::new(77, round, Duration::from_secs(1))
    }

    fn sent(proof: &EchoProof, connection: Connection) -> Vec<u8> {
        let mut out = Output::new();
        let mut state = proof.begin(&connection);
        let step = proof.on_open(&connection, &mut state, &mut out);
        assert_eq!(step, Step::Wait);
        out.bytes().to_vec()
    }

    fn answer(proof: &EchoProof, parts: &[&[u8]]) -> Step {
        let mut state = proof.begin(&CONNECTION);
        let mut step = Step::Wait;
        for part in parts {
            assert_eq!(step, Step::Wait, "nothing is called after the end");
            step = proof.on_bytes(&mut state, part, &mut Output::new());
        }
        step
    }

    #[test]
    fn tokens_differ_by_table_connection_and_round() {
        let other_table = Connection {
            table: 4,
            ..CONNECTION
        };
        let other_number = Connection {
            number: 9,
            ..CONNECTION
        };
        let token = sent(&proof(1), CONNECTION);
        assert_ne!(token, sent(&proof(1), other_table));
        assert_ne!(token, sent(&proof(1), other_number));
        assert_ne!(token, sent(&proof(2), CONNECTION));
    }

    #[test]
    fn another_connections_token_is_wrong() {
        let other = Connection {
            number: 9,
            ..CONNECTION
        };
        let wrong = Step::Failed(WRONG);
        assert_eq!(answer(&proof(1), &[&sent(&proof(1), other)]), wrong);
        assert_eq!(answer(&proof(1), &[b"HTTP/1.1 400 Bad"]), wrong);
    }

    #[test]
    fn more_than_was_asked_for_is_wrong() {
        let mut bytes = sent(&proof(1), CONNECTION);
        bytes.push(0);
        let wrong = Step::Failed(WRONG);
        assert_eq!(answer(&proof(1), &[&bytes]), wrong);
    }

    #[test]
    fn silence_is_a_mistake_only_after_the_time() {
        let mut state = proof(1).begin(&CONNECTION);
        let mut tick = |millis| {
            let elapsed = Duration::from_millis(millis);
            proof(1).on_tick(&mut state, elapsed, &mut Output::new())
        };
        assert_eq!(tick(999), Step::Wait);
        assert_eq!(tick(1_000), Step::Failed(Mistake::Silence));
    }

    #[test]
    fn the_server_sends_back_what_came() {
        let mut out = Output::new();
        assert_eq!(Echo.on_bytes(&mut (), b"one", &mut out), Step::Wait);
        assert_eq!(Echo.on_bytes(&mut (), b"two", &mut out), Step::Wait);
        assert_eq!(out.bytes(), b"onetwo");
    }

    proptest! {
        #[test]
        fn the_token_is_known_in_whatever_parts_and_behind_late_ones(
            late in 0_u32..4, cut in 1_usize..16
        ) {
            let mut bytes: Vec<u8> = (0..late)
                .flat_map(|round| sent(&proof(100 + round), CONNECTION))
                .collect();
            bytes.extend(sent(&proof(1), CONNECTION));
            let parts: Vec<&[u8]> = bytes.chunks(cut).collect();
            prop_assert_eq!(answer(&proof(1), &parts), Step::Done);
            let (_, all_but_the_last) = parts.split_last().expect("a part");
            prop_assert_eq!(answer(&proof(1), all_but_the_last), Step::Wait);
        }
    }
}
