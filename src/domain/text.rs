//! Bytes as a person writes them: printable characters as they are, the rest as escapes. Also texts with values that differ
//! between connections.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Most bytes of one text.
pub const LONGEST_TEXT: usize = 65_535;

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// A backslash that begins no known escape.
    #[error(r"`\{0}` is no escape: there are \r \n \t \0 \xHH \\")]
    Escape(String),
    /// A name in braces that is no value.
    #[error("`{{{0}}}` is no value: there are {{n}} and {{source}}, and a brace is written twice")]
    Value(String),
    /// A single brace.
    #[error("a `{0}` stands alone: a brace is written twice")]
    Brace(char),
    /// More bytes than a text may have.
    #[error("{0} bytes are too many: a text has at most {LONGEST_TEXT}")]
    TooLong(usize),
}

/// Bytes, written with the escapes `\r \n \t \0 \xHH \\`.
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ByteText(Vec<u8>);

impl ByteText {
    /// Reads a text.
    ///
    /// # Errors
    /// An unknown escape, or too many bytes.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            if letter == '\\' {
                bytes.push(escaped(&mut letters)?);
            } else {
                push(&mut bytes, letter);
            }
        }
        bounded(bytes.len())?;
        Ok(Self(bytes))
    }

    /// Bytes that came from elsewhere.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first line, without its end.
    #[must_use]
    pub fn first_line(&self) -> Self {
        let line = self.0.split(|byte| *byte == b'\n').next();
        let line = line.unwrap_or_default();
        Self(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
    }
}

impl fmt::Display for ByteText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| show(*byte, out))
    }
}

impl TryFrom<String> for ByteText {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        Self::parse(&text)
    }
}

impl From<ByteText> for String {
    fn from(text: ByteText) -> Self {
        text.to_string()
    }
}

/// A text with values that differ between connections: `{n}` and `{source}`. A brace is written twice. Otherwise it is
/// written as a [`ByteText`].
#[derive(Debug, Default, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Template(Vec<Piece>);

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Piece {
    /// The same on each connection.
    Bytes(Vec<u8>),
    /// `{n}`: the number of the connection in its worker, counted from 0.
    Number,
    /// `{source}`: the source address of the connection.
    Source,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// An unknown escape or value, a single brace, or too many bytes.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        bounded(text.len())?;
        let mut pieces = Vec::new();
        let mut bytes = Vec::new();
        let mut letters = text.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' => bytes.push(escaped(&mut letters)?),
                '{' | '}' if letters.as_str().starts_with(letter) => {
                    letters.next();
                    push(&mut bytes, letter);
                }
                '{' => {
                    let (name, rest) = letters
                        .as_str()
                        .split_once('}')
                        .ok_or(TextError::Brace('{'))?;
                    let value = match name {
                        "n" => Piece::Number,
                        "source" => Piece::Source,
                        other => return Err(TextError::Value(other.chars().take(32).collect())),
                    };
                    if !bytes.is_empty() {
                        pieces.push(Piece::Bytes(std::mem::take(&mut bytes)));
                    }
                    pieces.push(value);
                    letters = rest.chars();
                }
                '}' => return Err(TextError::Brace('}')),
                other => push(&mut bytes, other),
            }
        }
        if !bytes.is_empty() {
            pieces.push(Piece::Bytes(bytes));
        }
        Ok(Self(pieces))
    }

    /// Its pieces, in order.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// The bytes that are the same on each connection.
    pub fn fixed_bytes(&self) -> impl Iterator<Item = u8> + '_ {
        self.0
            .iter()
            .flat_map(|piece| match piece {
                Piece::Bytes(bytes) => bytes.as_slice(),
                Piece::Number | Piece::Source => &[],
            })
            .copied()
    }

    /// Whether the source address stands in it.
    #[must_use]
    pub fn names_source(&self) -> bool {
        self.0.contains(&Piece::Source)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Number => out.write_str("{n}"),
            Piece::Source => out.write_str("{source}"),
            Piece::Bytes(bytes) => bytes.iter().try_for_each(|byte| match byte {
                b'{' => out.write_str("{{"),
                b'}' => out.write_str("}}"),
                other => show(*other, out),
            }),
        })
    }
}

impl TryFrom<String> for Template {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        Self::parse(&text)
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.to_string()
    }
}

fn bounded(length: usize) -> Result<(), TextError> {
    if length > LONGEST_TEXT {
        return Err(TextError::TooLong(length));
    }
    Ok(())
}

fn push(bytes: &mut Vec<u8>, letter: char) {
    bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
}

/// The byte of the escape that goes on after its backslash.
fn escaped(letters: &mut std::str::Chars<'_>) -> Result<u8, TextError> {
    Ok(match letters.next() {
        Some('r') => b'\r',
        Some('n') => b'\n',
        Some('t') => b'\t',
        Some('0') => 0,
        Some('\\') => b'\\',
        Some('x') => {
            let digits: String = letters.as_str().chars().take(2).collect();
            let hex = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            let byte = u8::from_str_radix(&digits, 16).ok().filter(|_| hex);
            let byte = byte.ok_or_else(|| TextError::Escape(format!("x{digits}")))?;
            letters.nth(1);
            byte
        }
        other => {
            return Err(TextError::Escape(
                other.map_or_else(String::new, String::from),
            ));
        }
    })
}

fn show(byte: u8, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    match byte {
        b'\r' => out.write_str(r"\r"),
        b'\n' => out.write_str(r"\n"),
        b'\t' => out.write_str(r"\t"),
        0 => out.write_str(r"\0"),
        b'\\' => out.write_str(r"\\"),
        b' '..=b'~' => write!(out, "{}", char::from(byte)),
        other => write!(out, r"\x{other:02x}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_stand_for_bytes() {
        let text = ByteText::parse(r"a\r\n\t\0\x7f\xFF\\ü{n}").expect("a text");
        assert_eq!(text.bytes(), b"a\r\n\t\0\x7f\xff\\\xc3\xbc{n}");
        for wrong in [r"\q", r"\x1", r"\xg0", r"\x+1", "\\"] {
            assert!(matches!(ByteText::parse(wrong), Err(TextError::Escape(_))));
        }
    }

    #[test]
    fn values_stand_in_braces_and_braces_are_doubled() {
        let template = Template::parse(r"/{n}/{{x}}\n{source}").expect("a template");
        let wanted = [
            Piece::Bytes(b"/".to_vec()),
            Piece::Number,
            Piece::Bytes(b"/{x}\n".to_vec()),
            Piece::Source,
        ];
        assert_eq!(template.pieces(), wanted);
        assert!(template.names_source());
        let wrong = |text| Template::parse(text).expect_err("wrong").to_string();
        insta::assert_snapshot!(
            ["{m}", "{", "a}", r"\y", "{n"].map(wrong).join("\n"),
            @r"
        `{m}` is no value: there are {n} and {source}, and a brace is written twice
        a `{` stands alone: a brace is written twice
        a `}` stands alone: a brace is written twice
        `\y` is no escape: there are \r \n \t \0 \xHH \\
        a `{` stands alone: a brace is written twice
        "
        );
    }

    #[test]
    fn the_first_line_is_without_its_end() {
        for text in ["one\r\ntwo", "one\ntwo", "one"] {
            let line = ByteText::from_bytes(text.as_bytes()).first_line();
            assert_eq!(line.to_string(), "one");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..99)) {
            let text = ByteText::from_bytes(&bytes);
            prop_assert_eq!(ByteText::parse(&text.to_string()), Ok(text));
            let template = Template(
                (!bytes.is_empty())
                    .then_some(Piece::Bytes(bytes))
                    .into_iter()
                    .chain([Piece::Number, Piece::Source])
                    .collect(),
            );
            prop_assert_eq!(Template::parse(&template.to_string()), Ok(template));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".*") {
            let _ = ByteText::parse(&text);
            let _ = Template::parse(&text);
        }
    }
}
