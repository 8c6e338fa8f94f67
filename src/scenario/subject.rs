//! The server of a scenario where it is not the lab's own: which one, and what contradicts it.

use std::net::SocketAddrV4;

use super::contradiction::Contradiction;
use super::quantity;
use super::raw::RawServer;
use crate::domain::{Bytes, CommandSubject, ImageSubject, StartOptions, Subject};

/// Keys that say which server is measured. One of them at most.
const WHICH: [&str; 4] = ["command", "image", "pid", "target"];

/// The subject, where the scenario names one. `command` beside `image` is what the container runs.
pub(super) fn subject(server: &RawServer, wrong: &mut Vec<Contradiction>) -> Option<Subject> {
    let said: Vec<&str> = WHICH
        .into_iter()
        .filter(|key| match *key {
            "command" => server.command.is_some(),
            "image" => server.image.is_some(),
            "pid" => server.pid.is_some(),
            _ => server.target.is_some(),
        })
        .collect();
    let which = match said.as_slice() {
        [] => {
            without_subject(server, wrong);
            return None;
        }
        [one] => *one,
        ["command", "image"] => "image",
        [one, others @ ..] => {
            for other in others {
                wrong.push(
                    Contradiction::at(
                        &["server", other],
                        format!("`{one}` names the server that is measured already"),
                    )
                    .with_hint(format!("keep one of `{one}` and `{other}`")),
                );
            }
            return None;
        }
    };
    own_keys(server, which, wrong);
    if server.ports.is_none() && which != "target" {
        wrong.push(
            Contradiction::at(
                &["server", which],
                "which port this server listens on is not said",
            )
            .with_hint("ports: [8080] under `server`, or --port 8080"),
        );
    }
    let memory = memory(server, wrong);
    match which {
        "command" => {
            if server.mounts.is_some() {
                wrong.push(Contradiction::at(
                    &["server", "mounts"],
                    "a command sees all files of this machine",
                ));
            }
            let words = words(server, wrong);
            Some(Subject::Command(CommandSubject {
                words,
                options: options(server, memory),
                groups: Vec::new(),
            }))
        }
        "image" => {
            let image = server.image.clone().unwrap_or_default();
            if image.trim().is_empty() {
                wrong.push(Contradiction::at(
                    &["server", "image"],
                    "an image has a name",
                ));
            }
            Some(Subject::Image(ImageSubject {
                image,
                words: server.command.clone().unwrap_or_default(),
                options: options(server, memory),
                mounts: mounts(server, wrong),
            }))
        }
        "pid" => {
            started_keys(server, which, wrong);
            server.pid.map(|pid| Subject::Process { pid })
        }
        _ => {
            started_keys(server, which, wrong);
            target(server, wrong).map(|address| Subject::Target { address })
        }
    }
}

/// The address of a target: an IPv4 address and a port.
fn target(server: &RawServer, wrong: &mut Vec<Contradiction>) -> Option<SocketAddrV4> {
    let text = server.target.as_deref()?;
    if server.ports.is_some() {
        wrong.push(Contradiction::at(
            &["server", "ports"],
            "`target` has the port already",
        ));
    }
    match text.parse::<SocketAddrV4>() {
        Ok(address) if address.port() != 0 && !address.ip().is_unspecified() => Some(address),
        _ => {
            wrong.push(
                Contradiction::at(
                    &["server", "target"],
                    format!("`{text}` is no address and port of IPv4"),
                )
                .with_hint("target: 127.0.0.1:8080"),
            );
            None
        }
    }
}

fn words(server: &RawServer, wrong: &mut Vec<Contradiction>) -> Vec<String> {
    let words = server.command.clone().unwrap_or_default();
    if words.first().is_none_or(String::is_empty) {
        wrong.push(
            Contradiction::at(&["server", "command"], "a command has a program")
                .with_hint("command: [nginx, -g, \"daemon off;\"]"),
        );
    }
    words
}

/// Each is two absolute paths with a colon between them. The engine would take other words for options.
fn mounts(server: &RawServer, wrong: &mut Vec<Contradiction>) -> Vec<String> {
    let mounts = server.mounts.clone().unwrap_or_default();
    for (index, mount) in mounts.iter().enumerate() {
        let right = mount.split_once(':').is_some_and(|(here, there)| {
            here.starts_with('/') && there.starts_with('/') && !there.contains(':')
        });
        if !right {
            wrong.push(
                Contradiction::at(
                    &["server", "mounts", &index.to_string()],
                    format!("`{mount}` is not two absolute paths"),
                )
                .with_hint("/here:/there; what is mounted is read only"),
            );
        }
    }
    mounts
}

fn options(server: &RawServer, memory: Option<Bytes>) -> StartOptions {
    StartOptions {
        environment: server.environment.clone().unwrap_or_default(),
        working_folder: server.working_folder.clone(),
        user: server.user.clone(),
        nofile: server.limits.as_ref().and_then(|limits| limits.nofile),
        memory,
    }
}

fn memory(server: &RawServer, wrong: &mut Vec<Contradiction>) -> Option<Bytes> {
    let text = server.memory.as_deref()?;
    let bytes = quantity::bytes(text);
    // Less holds no program.
    if bytes.is_none_or(|bytes| bytes < Bytes::from_kib(1024)) {
        wrong.push(
            Contradiction::at(
                &["server", "memory"],
                format!("`{text}` is no size of at least 1 MiB"),
            )
            .with_hint("memory: 64MiB"),
        );
    }
    bytes
}

/// What only the lab's own server has.
fn own_keys(server: &RawServer, which: &str, wrong: &mut Vec<Contradiction>) {
    let keys = [
        ("engine", server.engine.is_some()),
        ("addresses", server.addresses.is_some()),
        ("backlog", server.backlog.is_some()),
        ("acceptors", server.acceptors.is_some()),
        ("service", server.service.is_some()),
        ("accept", server.accept.is_some()),
        ("read", server.read.is_some()),
        ("keepalive", server.keepalive.is_some()),
    ];
    for (key, _) in keys.iter().filter(|(_, said)| *said) {
        wrong.push(
            Contradiction::at(
                &["server", key],
                format!("this is for the lab's own server, and `{which}` names another one"),
            )
            .with_hint(format!(
                "remove `{key}`: the server is configured by its own means"
            )),
        );
    }
}

/// What only a server has that the run starts.
fn started_keys(server: &RawServer, which: &str, wrong: &mut Vec<Contradiction>) {
    refuse(
        server,
        &format!("`{which}` names a server that runs already, and nothing of it is changed"),
        wrong,
    );
}

fn without_subject(server: &RawServer, wrong: &mut Vec<Contradiction>) {
    refuse(
        server,
        "this is for a server that the run starts (`command` or `image`)",
        wrong,
    );
}

fn refuse(server: &RawServer, why: &str, wrong: &mut Vec<Contradiction>) {
    let keys = [
        ("environment", server.environment.is_some()),
        ("working_folder", server.working_folder.is_some()),
        ("user", server.user.is_some()),
        ("limits", server.limits.is_some()),
        ("memory", server.memory.is_some()),
        ("mounts", server.mounts.is_some()),
        ("ready_within", server.ready_within.is_some()),
    ];
    for (key, _) in keys.iter().filter(|(_, said)| *said) {
        wrong.push(Contradiction::at(&["server", key], why.to_owned()));
    }
}
