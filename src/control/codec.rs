//! One JSON object per line: a strict writer and a tolerant reader. A line that cannot be read is an error of its own and
//! does not end the stream, because a worker's runtime may print a line that is not ours.

use std::io::{self, BufRead, Write};
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Lines longer than this are refused: the longest honest message, a spec with hundreds of shards, is far below.
const LONGEST_LINE: u64 = 16 * 1024 * 1024;

/// Why no message came.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The pipe broke.
    #[error("cannot read a message: {0}")]
    Read(#[from] io::Error),
    /// The line is no message.
    #[error("not a message: {why}: {line}")]
    Malformed {
        /// What the JSON reader says.
        why: String,
        /// The beginning of the line.
        line: String,
    },
}

/// Writes one message and flushes it.
///
/// # Errors
/// When the pipe is broken.
pub fn write_line<M: Serialize>(to: &mut impl Write, message: &M) -> io::Result<()> {
    let mut line = serde_json::to_vec(message).map_err(io::Error::other)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()
}

/// Reads messages from a stream until it ends.
#[derive(Debug)]
pub struct LineReader<R, M> {
    from: R,
    message: PhantomData<M>,
}

impl<R: BufRead, M: DeserializeOwned> LineReader<R, M> {
    /// A reader of messages of one kind.
    pub const fn new(from: R) -> Self {
        Self {
            from,
            message: PhantomData,
        }
    }
}

impl<R: BufRead, M: DeserializeOwned> Iterator for LineReader<R, M> {
    type Item = Result<M, CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut bounded = io::Read::take(&mut self.from, LONGEST_LINE);
            match bounded.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) if line.iter().all(u8::is_ascii_whitespace) => {}
                Ok(_) => break,
                Err(error) => return Some(Err(error.into())),
            }
        }
        Some(serde_json::from_slice(&line).map_err(|error| {
            CodecError::Malformed {
                why: error.to_string(),
                line: String::from_utf8_lossy(&line)
                    .trim_end()
                    .chars()
                    .take(200)
                    .collect(),
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::control::{Command, Event};

    #[test]
    fn a_foreign_line_does_not_end_the_stream() {
        let text = b"warning: something\n\n{\"command\":\"begin\"}\n".to_vec();
        let mut reader = LineReader::<_, Command>::new(Cursor::new(text));
        assert!(matches!(
            reader.next(),
            Some(Err(CodecError::Malformed { .. }))
        ));
        assert_eq!(
            reader.next().expect("a line").expect("a message"),
            Command::Begin
        );
        assert!(reader.next().is_none());
    }

    #[test]
    fn messages_survive_the_line() {
        let event = Event::Warning {
            text: "two\nlines".to_owned(),
        };
        let mut buffer = Vec::new();
        write_line(&mut buffer, &event).expect("writes");
        assert_eq!(buffer.split_inclusive(|byte| *byte == b'\n').count(), 1);
        let back = LineReader::<_, Event>::new(Cursor::new(buffer)).next();
        assert_eq!(back.expect("a line").expect("a message"), event);
    }
}
