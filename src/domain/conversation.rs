//! What a client says on each of its connections, and what it takes for an answer.

use serde::{Deserialize, Serialize};

use super::{ByteText, Piece, ProtocolKind, Template};

/// Most steps of a script, those of `open` included.
pub const MOST_STEPS: usize = 1_000;

/// Most bytes of an [`ScriptStep::Until`].
pub(super) const MOST_UNTIL: usize = 256;

/// What a client says on each connection.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conversation {
    /// Nothing: a connection is proved by its handshake alone.
    Tcp,
    /// 16 bytes that no other connection and no other round has, which must come back unchanged.
    #[default]
    Echo,
    /// A request of HTTP/1.1, whose response is read to its end.
    Http(HttpRequest),
    /// Bytes to send and bytes to come, in turn.
    Script(Script),
}

impl Conversation {
    /// Which of them it is.
    #[must_use]
    pub const fn kind(&self) -> ProtocolKind {
        match self {
            Self::Tcp => ProtocolKind::Tcp,
            Self::Echo => ProtocolKind::Echo,
            Self::Http(_) => ProtocolKind::Http,
            Self::Script(_) => ProtocolKind::Script,
        }
    }

    /// Whether an exchange through a connection proves that the program at the other end answers.
    #[must_use]
    pub const fn asks(&self) -> bool {
        !matches!(self, Self::Tcp)
    }

    /// Whether more than one exchange can be had on a connection. A script that sends nothing awaits a greeting, which comes
    /// once.
    #[must_use]
    pub fn repeats(&self) -> bool {
        match self {
            Self::Tcp | Self::Echo | Self::Http(_) => true,
            Self::Script(script) => script.sends(),
        }
    }

    /// Whether it is the echo, which is not written where it goes without saying.
    #[must_use]
    pub const fn is_echo(&self) -> bool {
        matches!(self, Self::Echo)
    }
}

/// A GET request, and the status that its response is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// The path, with its query.
    pub path: Template,
    /// The value of `Host`. Absent means address and port of the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Template>,
    /// Further headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HttpHeader>,
    /// The status that is expected. Absent means 200 to 399.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// A header of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpHeader {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Template,
}

impl Default for HttpRequest {
    fn default() -> Self {
        Self {
            path: Template::parse("/").unwrap_or_default(),
            host: None,
            headers: Vec::new(),
            status: None,
        }
    }
}

impl HttpRequest {
    /// Whether a response may have this status.
    #[must_use]
    pub fn accepts(&self, status: u16) -> bool {
        match self.status {
            Some(wanted) => wanted == status,
            None => (200..400).contains(&status),
        }
    }
}

/// Steps of a conversation.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// What is said once, when a connection is first used: a greeting, a login.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<ScriptStep>,
    /// What is said in each exchange.
    pub steps: Vec<ScriptStep>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScriptStep {
    /// These bytes are sent.
    Send(Template),
    /// The line that comes next begins with these bytes. What stands in the same line after them is passed over, and
    /// nothing where they end a line themselves.
    Expect(ByteText),
    /// Exactly these bytes come next. For what has no lines.
    Exactly(ByteText),
    /// These bytes come sooner or later. What comes before them is passed over.
    Until(ByteText),
}

/// Why a part of a conversation cannot be said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConversationError {
    /// A path that is no path.
    #[error("a path begins with `/`, not with `{0}`")]
    PathStart(String),
    /// A byte that cannot stand in a path.
    #[error("a path has no `{0}`: write it as %{1:02X}")]
    PathByte(ByteText, u8),
    /// A name that no header can have.
    #[error("`{0}` is no name of a header: letters, digits and hyphens")]
    HeaderName(String),
    /// A header that the client writes itself, or that would announce a body.
    #[error("`{0}` is not for `headers`: {1}")]
    OwnHeader(String, &'static str),
    /// A value that would end its line.
    #[error("the value of a header is one line: it has no `{0}`")]
    HeaderValue(ByteText),
    /// A status that HTTP does not have.
    #[error("{0} is no status of HTTP: there are 100 to 599")]
    Status(u16),
    /// No steps.
    #[error("a script has at least one step")]
    NoSteps,
    /// More steps than a script may have.
    #[error("{0} steps are too many: a script has at most {MOST_STEPS}")]
    TooManySteps(usize),
    /// A step that says nothing.
    #[error("there is nothing to send")]
    NothingToSend,
    /// A step that waits for nothing.
    #[error("nothing comes at once: name at least one byte")]
    WaitsForNothing,
    /// A step that waits for more bytes than can be looked for.
    #[error("{0} bytes are too many to look for: at most {MOST_UNTIL}")]
    UntilTooLong(usize),
}

/// Checks a path.
///
/// # Errors
/// When it does not begin with a slash, or has a byte that is not printable ASCII.
pub fn check_path(path: &Template) -> Result<(), ConversationError> {
    let begins = matches!(path.pieces().first(), Some(Piece::Bytes(bytes)) if bytes[0] == b'/');
    if !begins {
        let shown = path.to_string().chars().take(32).collect();
        return Err(ConversationError::PathStart(shown));
    }
    match path.fixed_bytes().find(|byte| !byte.is_ascii_graphic()) {
        Some(byte) => Err(ConversationError::PathByte(
            ByteText::from_bytes(&[byte]),
            byte,
        )),
        None => Ok(()),
    }
}

/// Checks the name of a further header.
///
/// # Errors
/// When it is no token (RFC 9110, 5.6.2), or names a header that is not to be given.
pub fn check_header_name(name: &str) -> Result<(), ConversationError> {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(token) {
        return Err(ConversationError::HeaderName(
            name.chars().take(64).collect(),
        ));
    }
    let own = |why| Err(ConversationError::OwnHeader(name.to_owned(), why));
    match name.to_ascii_lowercase().as_str() {
        "host" => own("give its value as `host`"),
        "content-length" | "transfer-encoding" => own("a request here has no body"),
        _ => Ok(()),
    }
}

/// Checks the value of a header.
///
/// # Errors
/// When it has a CR, an LF or a NUL.
pub fn check_header_value(value: &Template) -> Result<(), ConversationError> {
    match value
        .fixed_bytes()
        .find(|byte| matches!(byte, b'\r' | b'\n' | 0))
    {
        Some(byte) => Err(ConversationError::HeaderValue(ByteText::from_bytes(&[
            byte,
        ]))),
        None => Ok(()),
    }
}

/// Checks an expected status.
///
/// # Errors
/// When HTTP has no such status.
pub fn check_status(status: u16) -> Result<(), ConversationError> {
    if (100..600).contains(&status) {
        Ok(())
    } else {
        Err(ConversationError::Status(status))
    }
}

impl ScriptStep {
    /// Checks the step by itself.
    ///
    /// # Errors
    /// When there is nothing to send or to come, or too much to look for.
    pub fn check(&self) -> Result<(), ConversationError> {
        match self {
            Self::Send(text) if text.pieces().is_empty() => Err(ConversationError::NothingToSend),
            Self::Exactly(text) | Self::Until(text) if text.bytes().is_empty() => {
                Err(ConversationError::WaitsForNothing)
            }
            Self::Until(text) if text.bytes().len() > MOST_UNTIL => {
                Err(ConversationError::UntilTooLong(text.bytes().len()))
            }
            _ => Ok(()),
        }
    }
}

impl Script {
    /// Whether each exchange sends something.
    #[must_use]
    pub fn sends(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step, ScriptStep::Send(_)))
    }

    /// Checks the number of steps.
    ///
    /// # Errors
    /// When there is none that each exchange has, or there are more than [`MOST_STEPS`].
    pub const fn check_size(&self) -> Result<(), ConversationError> {
        let all = self.open.len() + self.steps.len();
        if self.steps.is_empty() {
            Err(ConversationError::NoSteps)
        } else if all > MOST_STEPS {
            Err(ConversationError::TooManySteps(all))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_read_as_it_was_written() {
        let step = |text: &str| Template::parse(text).expect("a template");
        for (conversation, json) in [
            (Conversation::Tcp, r#""tcp""#),
            (Conversation::Echo, r#""echo""#),
            (
                Conversation::Http(HttpRequest::default()),
                r#"{"http":{"path":"/"}}"#,
            ),
            (
                Conversation::Script(Script {
                    open: vec![ScriptStep::Expect(ByteText::from_bytes(b"220 "))],
                    steps: vec![
                        ScriptStep::Send(step(r"NOOP {n}\r\n")),
                        ScriptStep::Exactly(ByteText::from_bytes(&[0xff])),
                    ],
                }),
                r#"{"script":{"open":[{"expect":"220 "}],"steps":[{"send":"NOOP {n}\\r\\n"},{"exactly":"\\xff"}]}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&conversation).expect("JSON"), json);
            assert_eq!(
                serde_json::from_str::<Conversation>(json).expect("a conversation"),
                conversation
            );
        }
    }

    #[test]
    fn a_request_cannot_be_broken_by_its_parts() {
        let template = |text| Template::parse(text).expect("a template");
        for path in ["", "x", "{n}", "/a b", r"/a\r\nX: y", "/ü"] {
            assert!(check_path(&template(path)).is_err(), "{path}");
        }
        assert_eq!(check_path(&template("/{n}?a=%20")), Ok(()));
        for name in ["", "a b", "a:", "Host", "content-LENGTH", "ü"] {
            assert!(check_header_name(name).is_err(), "{name}");
        }
        assert_eq!(check_header_name("X-Real-IP"), Ok(()));
        for value in [r"a\nb", r"a\rb", r"\0"] {
            assert!(check_header_value(&template(value)).is_err(), "{value}");
        }
        assert_eq!(check_header_value(&template("{source} ü")), Ok(()));
        assert!(check_status(99).is_err() && check_status(600).is_err());
    }
}
