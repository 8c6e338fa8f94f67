//! The protocol of a scenario: what its clients say, from the words of a file and back to them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ServerPart;
use super::contradiction::Contradiction;
use super::raw::{RawHttp, RawProtocol, RawProtocolName, RawScript, RawScriptParts, RawStep};
use crate::domain::{
    Conversation, ConversationError, HttpHeader, HttpRequest, Script, ScriptStep, Template,
    check_header_name, check_header_value, check_path, check_status,
};

/// What the clients say where nobody says it: the echo. To a server that is not the lab's own they say nothing, because it
/// is not known what it understands.
pub(super) fn default_protocol(server: &ServerPart) -> Conversation {
    if server.subject.is_some() {
        Conversation::Tcp
    } else {
        Conversation::Echo
    }
}

/// What the clients say. The default is the echo.
pub(super) fn protocol(raw: Option<&RawProtocol>, wrong: &mut Vec<Contradiction>) -> Conversation {
    match raw {
        None | Some(RawProtocol::Named(RawProtocolName::Echo)) => Conversation::Echo,
        Some(RawProtocol::Named(RawProtocolName::Tcp)) => Conversation::Tcp,
        Some(RawProtocol::Named(RawProtocolName::Http)) => {
            Conversation::Http(HttpRequest::default())
        }
        Some(RawProtocol::Http(raw)) => Conversation::Http(http(&raw.http, wrong)),
        Some(RawProtocol::Script(raw)) => Conversation::Script(script(&raw.script, wrong)),
    }
}

/// Whether the server understands what the clients say. Our own echoes, and knows nothing else.
pub(super) fn check_protocol(
    protocol: &Conversation,
    server: &ServerPart,
    wrong: &mut Vec<Contradiction>,
) {
    // What another server understands is not known before it is asked.
    if server.subject.is_some() {
        return;
    }
    let what = match protocol {
        Conversation::Tcp | Conversation::Echo => return,
        Conversation::Http(_) => "knows no HTTP",
        Conversation::Script(_) => "follows no script",
    };
    wrong.push(
        Contradiction::at(
            &["protocol"],
            format!(
                "the server here is the lab's own (its service is {}): it {what}",
                server.service
            ),
        )
        .with_hint("protocol: echo, or protocol: tcp"),
    );
}

fn http(raw: &RawHttp, wrong: &mut Vec<Contradiction>) -> HttpRequest {
    let mut check = |keys: &[&str], checked: Result<(), ConversationError>| {
        let path: Vec<&str> = ["protocol", "http"].iter().chain(keys).copied().collect();
        wrong.extend(
            checked
                .err()
                .map(|error| Contradiction::at(&path, error.to_string())),
        );
    };
    let text =
        |raw: &Option<super::quantity::TemplateText>| raw.as_ref().map(|text| text.0.clone());
    let default = HttpRequest::default();
    let path = text(&raw.path).unwrap_or(default.path);
    check(&["path"], check_path(&path));
    let host = text(&raw.host);
    if let Some(host) = &host {
        check(&["host"], check_header_value(host));
    }
    let headers = raw.headers.iter().flatten();
    let headers = headers.map(|(name, value)| {
        check(&["headers", name], check_header_name(name));
        check(&["headers", name], check_header_value(&value.0));
        HttpHeader {
            name: name.clone(),
            value: value.0.clone(),
        }
    });
    let headers = headers.collect();
    if let Some(status) = raw.status {
        check(&["status"], check_status(status));
    }
    HttpRequest {
        path,
        host,
        headers,
        status: raw.status,
    }
}

fn script(raw: &RawScript, wrong: &mut Vec<Contradiction>) -> Script {
    let mut steps = |raw: &[RawStep], below: &[&str]| -> Vec<ScriptStep> {
        let each = raw.iter().enumerate().map(|(number, raw)| {
            let (name, step) = step(raw);
            if let Err(error) = step.check() {
                let number = number.to_string();
                let path: Vec<&str> = ["protocol", "script"]
                    .iter()
                    .chain(below)
                    .copied()
                    .chain([number.as_str(), name])
                    .collect();
                wrong.push(Contradiction::at(&path, error.to_string()));
            }
            step
        });
        each.collect()
    };
    let script = match raw {
        RawScript::Steps(raw) => Script {
            open: Vec::new(),
            steps: steps(raw, &[]),
        },
        RawScript::Parts(RawScriptParts { open, steps: each }) => Script {
            open: steps(open, &["open"]),
            steps: steps(each, &["steps"]),
        },
    };
    if let Err(error) = script.check_size() {
        wrong.push(Contradiction::at(
            &["protocol", "script"],
            error.to_string(),
        ));
    }
    script
}

fn step(raw: &RawStep) -> (&'static str, ScriptStep) {
    match raw {
        RawStep::Send(text) => ("send", ScriptStep::Send(text.0.clone())),
        RawStep::Expect(text) => ("expect", ScriptStep::Expect(text.0.clone())),
        RawStep::Exactly(text) => ("exactly", ScriptStep::Exactly(text.0.clone())),
        RawStep::Until(text) => ("until", ScriptStep::Until(text.0.clone())),
    }
}

/// A conversation as the value of the key `protocol`, in one line: JSON is YAML.
#[must_use]
pub fn protocol_text(conversation: &Conversation) -> String {
    // Texts, numbers and maps of texts: nothing that JSON cannot say.
    serde_json::to_string(&ProtocolText::of(conversation)).unwrap_or_default()
}

/// The value of the key `protocol`, as a file says it.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ProtocolText<'c> {
    Tcp,
    Echo,
    Http(HttpText<'c>),
    Script(ScriptText<'c>),
}

#[derive(Serialize)]
pub(super) struct HttpText<'c> {
    path: &'c Template,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'c Template>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<&'c str, &'c Template>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum ScriptText<'c> {
    Steps(&'c [ScriptStep]),
    Parts(&'c Script),
}

impl<'c> ProtocolText<'c> {
    pub(super) fn of(conversation: &'c Conversation) -> Self {
        match conversation {
            Conversation::Tcp => Self::Tcp,
            Conversation::Echo => Self::Echo,
            Conversation::Http(request) => Self::Http(HttpText {
                path: &request.path,
                host: request.host.as_ref(),
                headers: request
                    .headers
                    .iter()
                    .map(|header| (header.name.as_str(), &header.value))
                    .collect(),
                status: request.status,
            }),
            Conversation::Script(script) if script.open.is_empty() => {
                Self::Script(ScriptText::Steps(&script.steps))
            }
            Conversation::Script(script) => Self::Script(ScriptText::Parts(script)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Conversation, Vec<String>) {
        let value = serde_json::from_str(text).expect("JSON");
        let raw: RawProtocol = serde_json::from_value(value).expect("a protocol");
        let mut wrong = Vec::new();
        let conversation = protocol(Some(&raw), &mut wrong);
        let said = wrong
            .into_iter()
            .map(|wrong| format!("{}: {}", wrong.path.join("."), wrong.message))
            .collect();
        (conversation, said)
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for text in [
            r#""tcp""#,
            r#""echo""#,
            r#"{"http":{"path":"/"}}"#,
            r#"{"http":{"path":"/{n}","host":"a","headers":{"X-A":"{source}"},"status":204}}"#,
            r#"{"script":[{"send":"PING\\r\\n"},{"expect":"+PONG"}]}"#,
            r#"{"script":{"open":[{"expect":"220"}],"steps":[{"exactly":"\\xff"},{"until":"z"}]}}"#,
        ] {
            let (conversation, wrong) = read(text);
            assert_eq!(wrong, Vec::<String>::new(), "{text}");
            assert_eq!(protocol_text(&conversation), text);
        }
        assert_eq!(
            read(r#""http""#).0,
            Conversation::Http(HttpRequest::default())
        );
    }

    #[test]
    fn what_no_schema_can_say_is_found() {
        let wrong: Vec<String> = [
            r#"{"http":{"path":"a","host":"\\n","headers":{"Host":"b","X:":"c"},"status":99}}"#,
            r#"{"script":[{"send":""},{"exactly":""}]}"#,
            r#"{"script":{"open":[{"send":""}],"steps":[]}}"#,
        ]
        .into_iter()
        .flat_map(|text| read(text).1)
        .collect();
        insta::assert_snapshot!(wrong.join("\n"));
    }
}
