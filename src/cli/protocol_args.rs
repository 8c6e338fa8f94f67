//! What the clients say, as the command line says it: shared by every verb whose clients speak to a server.

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};

use super::{Exit, Failure};
use crate::domain::{
    ByteText, Conversation, HttpHeader, HttpRequest, Script, ScriptStep, Template,
    check_header_name, check_header_value, check_path,
};
use crate::scenario::{self, Override};

/// The arguments as they are given, one by one.
#[derive(Debug, Default, Clone, Args)]
#[group(skip)]
struct Given {
    /// What is said on each connection, and what is taken for an answer. A script is given by --send and --expect.
    #[arg(long, value_enum, env = "C1M_PROTOCOL")]
    protocol: Option<ProtocolChoice>,
    /// The path that HTTP asks for. An n in braces is the number of the connection, {source} its source address.
    #[arg(long, value_name = "PATH", value_parser = path, env = "C1M_PATH")]
    path: Option<Template>,
    /// The value of HTTP's Host; absent means address and port of the target.
    #[arg(long, value_name = "HOST", value_parser = header_value, env = "C1M_HOST_HEADER")]
    host_header: Option<Template>,
    /// A header of HTTP; repeatable. In the environment: one on each line.
    #[arg(
        long = "header",
        value_name = "NAME:VALUE",
        value_parser = header,
        env = "C1M_HEADER",
        value_delimiter = '\n'
    )]
    headers: Vec<HttpHeader>,
    /// The status that HTTP has to answer; absent means any from 200 to 399.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(100..=599), env = "C1M_STATUS")]
    status: Option<u16>,
    /// Bytes to send, with the escapes \r \n \t \0 \xHH \\; repeatable. An n in braces is the number of the connection,
    /// {source} its source address, a brace is written twice. With --expect, --expect-exactly and --expect-until in
    /// the order given it is a script.
    #[arg(long, value_name = "TEXT", value_parser = template, env = "C1M_SEND", allow_hyphen_values = true)]
    send: Vec<Template>,
    /// How the line begins that comes next, with the same escapes; repeatable. The rest of the line is passed over.
    #[arg(long, value_name = "TEXT", value_parser = bytes, env = "C1M_EXPECT", allow_hyphen_values = true)]
    expect: Vec<ByteText>,
    /// Exactly the bytes that come next, with the same escapes; repeatable. For what has no lines.
    #[arg(long, value_name = "TEXT", value_parser = bytes, env = "C1M_EXPECT_EXACTLY", allow_hyphen_values = true)]
    expect_exactly: Vec<ByteText>,
    /// Bytes that come sooner or later, with the same escapes; repeatable. What comes before them is passed over.
    #[arg(long, value_name = "TEXT", value_parser = bytes, env = "C1M_EXPECT_UNTIL", allow_hyphen_values = true)]
    expect_until: Vec<ByteText>,
    /// Stands between steps: those before it are said once, when a connection is first used, such as a login. Those after
    /// it are said in each exchange.
    #[arg(long)]
    then: bool,
}

/// What is said, by its name. A script has none here: its steps are flags of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProtocolChoice {
    /// Nothing: a connection is proved by its handshake alone.
    Tcp,
    /// 16 bytes of its own for each connection, which have to come back.
    Echo,
    /// A GET request of HTTP/1.1, whose response is read to its end.
    Http,
}

/// What the clients say, as the command line says it.
#[derive(Debug, Default, Clone)]
pub(super) struct ProtocolArgs {
    given: Given,
    /// The steps of a script, in the order of the command line.
    script: Script,
}

impl Args for ProtocolArgs {
    fn augment_args(command: Command) -> Command {
        Given::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Given::augment_args_for_update(command)
    }
}

impl FromArgMatches for ProtocolArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.given = Given::from_arg_matches(matches)?;
        let given = &self.given;
        let mut steps = Vec::new();
        let sends = given.send.iter().cloned().map(ScriptStep::Send);
        steps.extend(places(matches, "send").zip(sends));
        let expects = given.expect.iter().cloned().map(ScriptStep::Expect);
        steps.extend(places(matches, "expect").zip(expects));
        let exact = given.expect_exactly.iter().cloned();
        steps.extend(places(matches, "expect_exactly").zip(exact.map(ScriptStep::Exactly)));
        let later = given.expect_until.iter().cloned();
        steps.extend(places(matches, "expect_until").zip(later.map(ScriptStep::Until)));
        steps.sort_by_key(|(place, _)| *place);
        let once = match matches.index_of("then").filter(|_| given.then) {
            Some(then) => steps.iter().filter(|(place, _)| *place < then).count(),
            None => 0,
        };
        let mut open: Vec<ScriptStep> = steps.into_iter().map(|(_, step)| step).collect();
        let steps = open.split_off(once);
        self.script = Script { open, steps };
        Ok(())
    }
}

/// Where the values of an argument stand on the command line. One out of the environment comes last: to send, then to expect.
fn places(matches: &ArgMatches, id: &str) -> Box<dyn Iterator<Item = usize>> {
    match (matches.value_source(id), matches.indices_of(id)) {
        (Some(ValueSource::CommandLine), Some(indices)) => {
            Box::new(indices.collect::<Vec<_>>().into_iter())
        }
        _ => Box::new(std::iter::repeat(usize::MAX)),
    }
}

impl ProtocolArgs {
    /// What is said; nothing where the command line says nothing of it.
    pub(super) fn conversation(&self) -> Result<Option<Conversation>, Failure> {
        let Given {
            protocol,
            path,
            host_header,
            headers,
            status,
            ..
        } = &self.given;
        let of_http =
            path.is_some() || host_header.is_some() || !headers.is_empty() || status.is_some();
        let wrong = |what: &str| Err(Failure::new(Exit::Usage, what));
        let says = self.given.then || !self.script.steps.is_empty() || !self.script.open.is_empty();
        match (protocol, of_http, says) {
            (_, true, true) => {
                wrong("--send and --expect say a script, --path, --header and --status a request")
            }
            (Some(_), _, true) => wrong("--send and --expect say a script: leave --protocol out"),
            (Some(ProtocolChoice::Tcp | ProtocolChoice::Echo), true, _) => {
                wrong("--path, --host-header, --header and --status belong to --protocol http")
            }
            (None, false, false) => Ok(None),
            (Some(ProtocolChoice::Tcp), ..) => Ok(Some(Conversation::Tcp)),
            (Some(ProtocolChoice::Echo), ..) => Ok(Some(Conversation::Echo)),
            (Some(ProtocolChoice::Http), ..) | (None, true, _) => {
                Ok(Some(Conversation::Http(HttpRequest {
                    path: path.clone().unwrap_or_else(|| HttpRequest::default().path),
                    host: host_header.clone(),
                    headers: distinct(headers)?,
                    status: *status,
                })))
            }
            (None, false, true) => self.script().map(Some),
        }
    }

    fn script(&self) -> Result<Conversation, Failure> {
        let script = self.script.clone();
        let mut steps = script.open.iter().chain(&script.steps);
        let checked = steps.try_for_each(ScriptStep::check);
        checked
            .and_then(|()| script.check_size())
            .map_err(|error| Failure::new(Exit::Usage, error))?;
        Ok(Conversation::Script(script))
    }

    /// The same as a change of a scenario.
    pub(super) fn change(&self) -> Result<Option<Override>, Failure> {
        let conversation = self.conversation()?;
        Ok(conversation.map(|conversation| Override {
            key: "protocol".to_owned(),
            value: scenario::protocol_text(&conversation),
            given_as: match conversation {
                Conversation::Script(_) => "--send, --expect".to_owned(),
                other => format!("--protocol {}", other.kind()),
            },
        }))
    }
}

/// A scenario has each header once.
fn distinct(headers: &[HttpHeader]) -> Result<Vec<HttpHeader>, Failure> {
    for (number, header) in headers.iter().enumerate() {
        if headers[..number]
            .iter()
            .any(|other| other.name.eq_ignore_ascii_case(&header.name))
        {
            return Err(Failure::new(
                Exit::Usage,
                format!("--header {} is given twice", header.name),
            ));
        }
    }
    Ok(headers.to_vec())
}

fn template(text: &str) -> Result<Template, String> {
    Template::parse(text).map_err(|error| error.to_string())
}

fn bytes(text: &str) -> Result<ByteText, String> {
    ByteText::parse(text).map_err(|error| error.to_string())
}

fn path(text: &str) -> Result<Template, String> {
    let path = template(text)?;
    check_path(&path).map_err(|error| error.to_string())?;
    Ok(path)
}

fn header_value(text: &str) -> Result<Template, String> {
    let value = template(text)?;
    check_header_value(&value).map_err(|error| error.to_string())?;
    Ok(value)
}

fn header(text: &str) -> Result<HttpHeader, String> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| format!("expected NAME:VALUE, not `{text}`"))?;
    check_header_name(name).map_err(|error| error.to_string())?;
    Ok(HttpHeader {
        name: name.to_owned(),
        value: header_value(value.trim_start())?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(words: &[&str]) -> Result<Option<Conversation>, String> {
        let command = ProtocolArgs::augment_args(Command::new("c1m").no_binary_name(true));
        let matches = command
            .try_get_matches_from(words)
            .map_err(|error| error.to_string())?;
        ProtocolArgs::from_arg_matches(&matches)
            .map_err(|error| error.to_string())?
            .conversation()
            .map_err(|failure| failure.to_string())
    }

    fn said(words: &[&str]) -> String {
        match given(words) {
            Ok(Some(conversation)) => scenario::protocol_text(&conversation),
            Ok(None) => "nothing".to_owned(),
            Err(error) => error,
        }
    }

    #[test]
    fn each_protocol_can_be_said() {
        for (words, text) in [
            (&[][..], "nothing"),
            (&["--protocol", "tcp"], r#""tcp""#),
            (&["--protocol", "http"], r#"{"http":{"path":"/"}}"#),
            (
                &["--status", "204"],
                r#"{"http":{"path":"/","status":204}}"#,
            ),
            (
                &[
                    "--path",
                    "/{n}",
                    "--header",
                    "X-A: {source}",
                    "--host-header",
                    "h",
                ],
                r#"{"http":{"path":"/{n}","host":"h","headers":{"X-A":"{source}"}}}"#,
            ),
            (
                &[
                    "--expect",
                    "220",
                    "--send",
                    "A",
                    "--send",
                    "B",
                    "--expect",
                    "-1",
                    "--expect-exactly",
                    r"\0",
                ],
                r#"{"script":[{"expect":"220"},{"send":"A"},{"send":"B"},{"expect":"-1"},{"exactly":"\\0"}]}"#,
            ),
            (
                &[
                    "--send",
                    "A",
                    "--expect-until",
                    "Z",
                    "--then",
                    "--send",
                    "B",
                    "--expect",
                    "C",
                ],
                r#"{"script":{"open":[{"send":"A"},{"until":"Z"}],"steps":[{"send":"B"},{"expect":"C"}]}}"#,
            ),
        ] {
            assert_eq!(said(words), text, "{words:?}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (words, part) in [
            (
                &["--protocol", "tcp", "--path", "/"][..],
                "belong to --protocol http",
            ),
            (
                &["--protocol", "http", "--send", "x"],
                "leave --protocol out",
            ),
            (&["--path", "/", "--send", "x"], "say a script"),
            (&["--header", "A:1", "--header", "a:2"], "given twice"),
            (&["--header", "A"], "expected NAME:VALUE"),
            (&["--header", "Host: x"], "give its value as `host`"),
            (&["--path", "x"], "begins with `/`"),
            (&["--send", r"\q"], "is no escape"),
            (&["--send", ""], "nothing to send"),
            (&["--status", "99"], "100..=599"),
        ] {
            let said = given(words).expect_err(&format!("{words:?}"));
            assert!(said.contains(part), "{words:?}: {said}");
        }
    }
}
