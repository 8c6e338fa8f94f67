//! A client of HTTP/1.1 (RFC 9112): one GET request, whose response is read to its end, so that the connection serves the
//! next exchange too.
//!
//! Written by hand. The parsers that there are as crates want the head of a response in one buffer for each connection, and
//! a million of them would be gigabytes. This one keeps 16 bytes for each connection and takes the bytes as they come.

use std::time::Duration;

use super::fill::fill;
use super::{Connection, Mistake, Output, Past, Protocol, Step};
use crate::domain::{ClosingSign, HttpFault, HttpRequest, LossReason, Template};

/// What every response begins with.
const VERSION: &[u8] = b"HTTP/1.";

/// A request, and what its response has to be.
#[derive(Debug, Clone)]
pub struct Http {
    request: HttpRequest,
    timeout: Duration,
    names_ends: bool,
}

/// How far a response has come.
#[derive(Debug, Clone, Copy)]
pub struct HttpState {
    /// Bytes of the body, or of a chunk, that are still to come.
    left: u64,
    status: u16,
    place: Place,
    /// Bytes of the present word that have come.
    at: u8,
    /// Which of [`HEADERS`] or [`TOKENS`] the present word may still be, one bit for each.
    known: u8,
    /// What the head has said so far, see [`flag`].
    flags: u8,
}

const _: () = assert!(size_of::<HttpState>() <= 16);

/// The headers that say where a response ends.
const HEADERS: [&[u8]; 3] = [b"content-length", b"transfer-encoding", b"connection"];
const ALL_HEADERS: u8 = 0b111;

/// Words in the values of these headers.
const TOKENS: [&[u8]; 3] = [b"close", b"keep-alive", b"chunked"];
const CLOSE: u8 = 0b001;
const KEEP_ALIVE: u8 = 0b010;
const CHUNKED: u8 = 0b100;

/// What a head says.
mod flag {
    /// HTTP/1.0.
    pub(super) const OLD: u8 = 1;
    /// `Connection: close`.
    pub(super) const CLOSE: u8 = 1 << 1;
    /// `Connection: keep-alive`.
    pub(super) const KEEP_ALIVE: u8 = 1 << 2;
    /// `Content-Length`.
    pub(super) const LENGTH: u8 = 1 << 3;
    /// `Transfer-Encoding`.
    pub(super) const CODED: u8 = 1 << 4;
    /// `Transfer-Encoding` whose last coding is `chunked`.
    pub(super) const CHUNKED: u8 = 1 << 5;
}

/// Where in a response the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Place {
    Version,
    MinorVersion,
    BeforeStatus,
    Status,
    LineStart,
    Name,
    LengthValue,
    CodingValue,
    ConnectionValue,
    RestOfLine,
    HeadEnd,
    Body,
    ChunkSize,
    ChunkExtension,
    ChunkData,
    ChunkEnd,
    TrailerStart,
    Trailer,
    TrailerEnd,
}

impl Http {
    /// Requests that wait at most `timeout` for their response.
    #[must_use]
    pub fn new(request: &HttpRequest, timeout: Duration) -> Self {
        let mut texts = request.headers.iter().map(|header| &header.value);
        Self {
            names_ends: request.host.as_ref().is_none_or(Template::names_source)
                || request.path.names_source()
                || texts.any(Template::names_source),
            request: request.clone(),
            timeout,
        }
    }

    /// Whether the head of this response is followed by another one (RFC 9110, 15.2).
    fn is_interim(&self, status: u16) -> bool {
        (100..200).contains(&status) && status != 101 && self.request.status != Some(status)
    }

    /// One byte of everything but bodies. Nothing when the response goes on.
    fn take(&self, state: &mut HttpState, byte: u8) -> Option<Step> {
        match state.place {
            Place::Version => {
                if byte != VERSION[usize::from(state.at)] {
                    return wrong(LossReason::NotHttp);
                }
                state.at += 1;
                if usize::from(state.at) == VERSION.len() {
                    state.place = Place::MinorVersion;
                }
            }
            Place::MinorVersion => {
                if !byte.is_ascii_digit() {
                    return wrong(LossReason::NotHttp);
                }
                if byte == b'0' {
                    state.flags |= flag::OLD;
                }
                state.place = Place::BeforeStatus;
            }
            Place::BeforeStatus => {
                if byte != b' ' {
                    return wrong(LossReason::NotHttp);
                }
                (state.place, state.at, state.status) = (Place::Status, 0, 0);
            }
            Place::Status => return self.status(state, byte),
            Place::LineStart => match byte {
                b'\r' => state.place = Place::HeadEnd,
                b'\n' => return self.head_end(state),
                // Leading white space would go on with the line before it: forbidden since RFC 7230.
                b' ' | b'\t' | b':' => return malformed(HttpFault::HeaderLine),
                _ => {
                    (state.place, state.at, state.known) = (Place::Name, 0, ALL_HEADERS);
                    spell(state, &HEADERS, byte);
                }
            },
            Place::Name => return name(state, byte),
            Place::LengthValue => return length(state, byte),
            Place::CodingValue | Place::ConnectionValue => tokens(state, byte),
            Place::RestOfLine => {
                if byte == b'\n' {
                    state.place = Place::LineStart;
                }
            }
            Place::HeadEnd => {
                return if byte == b'\n' {
                    self.head_end(state)
                } else {
                    malformed(HttpFault::HeaderLine)
                };
            }
            _ => return chunk(state, byte),
        }
        None
    }

    fn status(&self, state: &mut HttpState, byte: u8) -> Option<Step> {
        if state.at == 3 {
            state.place = match byte {
                b' ' | b'\r' => Place::RestOfLine,
                b'\n' => Place::LineStart,
                _ => return wrong(LossReason::NotHttp),
            };
            return None;
        }
        if !byte.is_ascii_digit() {
            return wrong(LossReason::NotHttp);
        }
        state.at += 1;
        state.status = state.status * 10 + u16::from(byte - b'0');
        if state.at < 3 {
            return None;
        }
        match state.status {
            ..100 => wrong(LossReason::NotHttp),
            status if self.is_interim(status) || self.request.accepts(status) => None,
            status => wrong(LossReason::Status(status)),
        }
    }

    /// The head is over: what says where the response ends (RFC 9112, 6.3)?
    fn head_end(&self, state: &mut HttpState) -> Option<Step> {
        let has = |flag| state.flags & flag != 0;
        if self.is_interim(state.status) {
            *state = HttpState::new();
            return None;
        }
        if state.status == 101 {
            return Some(Step::Done);
        }
        if has(flag::CLOSE) {
            return wrong(LossReason::Closes(ClosingSign::ConnectionClose));
        }
        if has(flag::OLD) && !has(flag::KEEP_ALIVE) {
            return wrong(LossReason::Closes(ClosingSign::OldVersion));
        }
        if state.status < 200 || matches!(state.status, 204 | 304) {
            return Some(Step::Done);
        }
        if has(flag::CODED) {
            if !has(flag::CHUNKED) {
                return wrong(LossReason::Closes(ClosingSign::NotChunked));
            }
            (state.place, state.at, state.left) = (Place::ChunkSize, 0, 0);
            return None;
        }
        if !has(flag::LENGTH) {
            return wrong(LossReason::Closes(ClosingSign::NoLength));
        }
        if state.left == 0 {
            return Some(Step::Done);
        }
        state.place = Place::Body;
        None
    }
}

impl HttpState {
    const fn new() -> Self {
        Self {
            left: 0,
            status: 0,
            place: Place::Version,
            at: 0,
            known: 0,
            flags: 0,
        }
    }
}

#[allow(clippy::unnecessary_wraps)] // it stands where nothing would mean that the response goes on
const fn wrong(reason: LossReason) -> Option<Step> {
    Some(Step::Failed(Mistake::Wrong(reason)))
}

const fn malformed(fault: HttpFault) -> Option<Step> {
    wrong(LossReason::Malformed(fault))
}

/// One more letter of a word: whatever of `words` does not have it there is ruled out.
fn spell(state: &mut HttpState, words: &[&[u8]; 3], byte: u8) {
    let at = usize::from(state.at);
    for (bit, word) in words.iter().enumerate() {
        if word.get(at) != Some(&byte.to_ascii_lowercase()) {
            state.known &= !(1 << bit);
        }
    }
    state.at = state.at.saturating_add(1);
}

/// Whether the word that has ended is this one.
fn spelt(state: &HttpState, words: &[&[u8]; 3], bit: u8) -> bool {
    let place = bit.trailing_zeros() as usize;
    state.known & bit != 0 && words[place].len() == usize::from(state.at)
}

fn name(state: &mut HttpState, byte: u8) -> Option<Step> {
    match byte {
        b'\r' | b'\n' => return malformed(HttpFault::HeaderLine),
        b':' => {
            let place = if spelt(state, &HEADERS, 0b001) {
                // A second one: which of the two holds?
                if state.flags & flag::LENGTH != 0 {
                    return malformed(HttpFault::Length);
                }
                state.left = 0;
                Place::LengthValue
            } else if spelt(state, &HEADERS, 0b010) {
                state.flags |= flag::CODED;
                Place::CodingValue
            } else if spelt(state, &HEADERS, 0b100) {
                Place::ConnectionValue
            } else {
                Place::RestOfLine
            };
            (state.place, state.at, state.known) = (place, 0, CLOSE | KEEP_ALIVE | CHUNKED);
        }
        _ => spell(state, &HEADERS, byte),
    }
    None
}

/// A byte of the value of `Content-Length`. `at` is 0 before the digits, 1 among them, 2 behind them.
fn length(state: &mut HttpState, byte: u8) -> Option<Step> {
    match (byte, state.at) {
        (b'0'..=b'9', 0 | 1) => {
            let digit = u64::from(byte - b'0');
            let longer = state.left.checked_mul(10);
            let Some(left) = longer.and_then(|left| left.checked_add(digit)) else {
                return malformed(HttpFault::Length);
            };
            (state.left, state.at) = (left, 1);
        }
        (b' ' | b'\t', 0) => {}
        (b' ' | b'\t' | b'\r', 1 | 2) => state.at = 2,
        (b'\n', 1 | 2) => {
            state.flags |= flag::LENGTH;
            state.place = Place::LineStart;
        }
        _ => return malformed(HttpFault::Length),
    }
    None
}

/// A byte of a list of words.
fn tokens(state: &mut HttpState, byte: u8) {
    if !matches!(byte, b' ' | b'\t' | b',' | b'\r' | b'\n') {
        return spell(state, &TOKENS, byte);
    }
    if state.at > 0 {
        if state.place == Place::CodingValue {
            // The last coding counts.
            state.flags &= !flag::CHUNKED;
            if spelt(state, &TOKENS, CHUNKED) {
                state.flags |= flag::CHUNKED;
            }
        } else if spelt(state, &TOKENS, CLOSE) {
            state.flags |= flag::CLOSE;
        } else if spelt(state, &TOKENS, KEEP_ALIVE) {
            state.flags |= flag::KEEP_ALIVE;
        }
    }
    (state.at, state.known) = (0, CLOSE | KEEP_ALIVE | CHUNKED);
    if byte == b'\n' {
        state.place = Place::LineStart;
    }
}

/// A byte of what stands around chunks (RFC 9112, 7.1).
fn chunk(state: &mut HttpState, byte: u8) -> Option<Step> {
    match state.place {
        Place::ChunkSize => match byte {
            b'\n' if state.at > 0 => chunk_begins(state),
            b';' | b' ' | b'\t' | b'\r' if state.at > 0 => state.place = Place::ChunkExtension,
            _ => {
                let digit = char::from(byte).to_digit(16).map(u64::from);
                let Some(digit) = digit.filter(|_| state.left >> 60 == 0) else {
                    return malformed(HttpFault::Chunk);
                };
                state.left = (state.left << 4) | digit;
                state.at = 1;
            }
        },
        Place::ChunkExtension => {
            if byte == b'\n' {
                chunk_begins(state);
            }
        }
        Place::ChunkEnd => match byte {
            b'\r' if state.at == 0 => state.at = 1,
            b'\n' => (state.place, state.at, state.left) = (Place::ChunkSize, 0, 0),
            _ => return malformed(HttpFault::Chunk),
        },
        Place::TrailerStart => match byte {
            b'\n' => return Some(Step::Done),
            b'\r' => state.place = Place::TrailerEnd,
            _ => state.place = Place::Trailer,
        },
        Place::Trailer => {
            if byte == b'\n' {
                state.place = Place::TrailerStart;
            }
        }
        // The end of the trailers: everything else was taken before.
        _ => {
            return if byte == b'\n' {
                Some(Step::Done)
            } else {
                malformed(HttpFault::Chunk)
            };
        }
    }
    None
}

const fn chunk_begins(state: &mut HttpState) {
    state.at = 0;
    state.place = if state.left == 0 {
        Place::TrailerStart
    } else {
        Place::ChunkData
    };
}

impl Protocol for Http {
    type State = HttpState;
    const READS: bool = true;
    const IN_ORDER: bool = true;

    fn names_ends(&self) -> bool {
        self.names_ends
    }

    fn begin(&self, _: &Connection) -> HttpState {
        HttpState::new()
    }

    fn on_open(&self, connection: &Connection, _: &mut HttpState, out: &mut Output) -> Step {
        if connection.past == Past::Failed {
            return Step::Failed(Mistake::Wrong(LossReason::AfterFailure));
        }
        let (index, source) = (connection.index, connection.source());
        let request = &self.request;
        out.write(b"GET ");
        fill(&request.path, index, source, out);
        out.write(b" HTTP/1.1\r\nHost: ");
        match (&request.host, connection.ends) {
            (Some(host), _) => fill(host, index, source, out),
            (None, Some(ends)) => out.write(ends.target.to_string().as_bytes()),
            // The peer has reset it already: what is sent will tell.
            (None, None) => out.write(b"localhost"),
        }
        for header in &request.headers {
            out.write(b"\r\n");
            out.write(header.name.as_bytes());
            out.write(b": ");
            fill(&header.value, index, source, out);
        }
        out.write(b"\r\n\r\n");
        Step::Wait
    }

    fn on_bytes(&self, state: &mut HttpState, mut bytes: &[u8], _: &mut Output) -> Step {
        while let Some((byte, rest)) = bytes.split_first() {
            let step = if matches!(state.place, Place::Body | Place::ChunkData) {
                let here = usize::try_from(state.left).unwrap_or(usize::MAX);
                let here = here.min(bytes.len());
                bytes = &bytes[here..];
                state.left -= here as u64;
                match (state.left, state.place) {
                    (0, Place::Body) => Some(Step::Done),
                    (0, _) => {
                        (state.place, state.at) = (Place::ChunkEnd, 0);
                        None
                    }
                    _ => None,
                }
            } else {
                bytes = rest;
                self.take(state, *byte)
            };
            match step {
                None => {}
                Some(Step::Done) if !bytes.is_empty() => {
                    return Step::Failed(Mistake::Wrong(LossReason::Excess));
                }
                Some(step) => return step,
            }
        }
        Step::Wait
    }

    fn on_tick(&self, _: &mut HttpState, elapsed: Duration, _: &mut Output) -> Step {
        if elapsed < self.timeout {
            Step::Wait
        } else {
            Step::Failed(Mistake::Silence)
        }
    }

    fn expected(&self, mistake: Mistake) -> String {
        match mistake {
            Mistake::Wrong(LossReason::Status(_)) => self
                .request
                .status
                .map_or_else(|| "200 to 399".to_owned(), |status| status.to_string()),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests;
