//! Which scenario, and what the command line changes in it: shared by every verb that takes a scenario.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};

use super::protocol_args::ProtocolArgs;
use super::{Exit, Failure};
use crate::scenario::{self, Override, Scenario};

/// The heading of what names another server than the lab's own.
const SUBJECT: &str = "A server that is not the lab's own";

/// Connections to such a server where nobody says how many.
const CONNECTIONS_TO_SUBJECT: &str = "10000";

/// A scenario and what is changed in it, as it is given.
#[derive(Debug, Default, Clone, Args)]
pub(super) struct Given {
    /// The name of a scenario that comes with the program (c1m scenarios), or a file; without one, 1,024,000 connections or
    /// as many as fit. What has a slash or ends in .yaml is a file.
    #[arg(value_name = "SCENARIO", env = "C1M_SCENARIO")]
    pub(super) scenario: Option<PathBuf>,
    /// How many connections.
    #[arg(short = 'n', long, value_name = "COUNT", value_parser = connections, env = "C1M_CONNECTIONS")]
    pub(super) connections: Option<String>,
    /// How long to hold them, such as 60s.
    #[arg(long, value_name = "DURATION", value_parser = duration, env = "C1M_HOLD")]
    pub(super) hold: Option<String>,
    /// Where to run.
    #[arg(long, value_enum, env = "C1M_PLACE")]
    pub(super) place: Option<PlaceArg>,
    /// Reduces the number of connections to what fits here, rather than refusing.
    #[arg(long, env = "C1M_FIT")]
    pub(super) fit: bool,
    /// Measures a server of an image, of which a container is started. The image has to be there: none is pulled.
    #[arg(long, value_name = "IMAGE", group = "subject", env = "C1M_IMAGE_OF_SERVER", help_heading = SUBJECT)]
    pub(super) image: Option<String>,
    /// Measures a process that runs already. It is never stopped.
    #[arg(long, value_name = "PID", group = "subject", env = "C1M_PID", help_heading = SUBJECT)]
    pub(super) pid: Option<String>,
    /// Measures whatever listens at this address of this machine already.
    #[arg(long, value_name = "ADDRESS:PORT", group = "subject", env = "C1M_TARGET", help_heading = SUBJECT)]
    pub(super) target: Option<String>,
    /// The port that the server listens on; repeatable.
    #[arg(long = "port", value_name = "PORT", env = "C1M_PORT", value_delimiter = ',', help_heading = SUBJECT)]
    pub(super) ports: Vec<String>,
    /// Measures this program, which is started and ended. With --image: what the container runs. What it gets is set by
    /// --set: server.limits.nofile=N, server.memory=SIZE, server.user=NAME, server.environment.NAME=VALUE.
    #[arg(last = true, value_name = "COMMAND", help_heading = SUBJECT)]
    pub(super) command: Vec<String>,
    /// Sets a key of the scenario, such as server.engine=tokio; repeatable. In the environment: one on each line.
    #[arg(
        long = "set",
        value_name = "KEY=VALUE",
        env = "C1M_SET",
        value_delimiter = '\n'
    )]
    pub(super) set: Vec<String>,
}

/// A scenario and what is changed in it, with what came from the environment rather than from the command line: an error
/// names the one that the user has to change.
#[derive(Debug, Default, Clone)]
pub(super) struct ScenarioArgs {
    given: Given,
    protocol: ProtocolArgs,
    from_environment: BTreeSet<&'static str>,
}

/// Letters of a server's name that are taken into that of its scenario.
const LONGEST_NAME: usize = 40;

/// The arguments that change a scenario: how each is called inside the program, on the command line, in the environment.
const CHANGES: [(&str, &str, &str); 10] = [
    ("connections", "-n", "C1M_CONNECTIONS"),
    ("hold", "--hold", "C1M_HOLD"),
    ("place", "--place", "C1M_PLACE"),
    ("fit", "--fit", "C1M_FIT"),
    ("set", "--set", "C1M_SET"),
    ("image", "--image", "C1M_IMAGE_OF_SERVER"),
    ("pid", "--pid", "C1M_PID"),
    ("target", "--target", "C1M_TARGET"),
    ("ports", "--port", "C1M_PORT"),
    ("command", "--", ""),
];

impl Deref for ScenarioArgs {
    type Target = Given;

    fn deref(&self) -> &Given {
        &self.given
    }
}

impl Args for ScenarioArgs {
    fn augment_args(command: Command) -> Command {
        ProtocolArgs::augment_args(Given::augment_args(command))
    }

    fn augment_args_for_update(command: Command) -> Command {
        ProtocolArgs::augment_args_for_update(Given::augment_args_for_update(command))
    }
}

impl FromArgMatches for ScenarioArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.given = Given::from_arg_matches(matches)?;
        self.protocol = ProtocolArgs::from_arg_matches(matches)?;
        self.from_environment = CHANGES
            .iter()
            .map(|(id, _, _)| *id)
            .filter(|id| matches.value_source(id) == Some(ValueSource::EnvVariable))
            .collect();
        Ok(())
    }
}

/// A place by its name on the command line, as a scenario has it: `auto` is no place of the domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum PlaceArg {
    /// Docker where an engine answers on this kernel, else namespaces, else loopback.
    Auto,
    /// Containers of a Docker engine on this very kernel.
    Docker,
    /// The host's own loopback, in the host's own network namespace.
    Host,
    /// One network, sources in 127/8; needs no privilege.
    Loopback,
    /// Network namespaces joined by veth pairs.
    Netns,
}

impl PlaceArg {
    /// As a scenario says it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Docker => "docker",
            Self::Host => "host",
            Self::Loopback => "loopback",
            Self::Netns => "netns",
        }
    }
}

impl ScenarioArgs {
    /// The scenario with the changes of the command line applied. Without a file and without a number it is reduced to
    /// what fits: somebody who just tries the program shall see it work.
    pub(super) fn load(&self) -> Result<Scenario, Failure> {
        self.load_with(Vec::new())
    }

    /// The same with keys that a verb sets before the command line does.
    pub(super) fn load_with(&self, keys: Vec<(String, String)>) -> Result<Scenario, Failure> {
        let mut changes: Vec<Override> = keys
            .into_iter()
            .map(|(key, value)| Override {
                given_as: format!("{key}={value}"),
                key,
                value,
            })
            .collect();
        let named = !changes.is_empty();
        changes.extend(self.changes(!named)?);
        match &self.scenario {
            Some(name) => scenario::find(name, &changes),
            None => scenario::built_in(&changes),
        }
        .map_err(|errors| Failure::new(Exit::Scenario, errors))
    }

    fn changes(&self, default_number: bool) -> Result<Vec<Override>, Failure> {
        let mut changes = Vec::new();
        if let Some(name) = self.name_of_subject().filter(|_| self.scenario.is_none()) {
            changes.push(Override {
                key: "name".to_owned(),
                given_as: format!("the name {name}"),
                value: json(&name),
            });
        }
        if let Some(count) = &self.connections {
            changes.push(self.change("connections", count));
        }
        if let Some(hold) = &self.hold {
            changes.push(self.change("hold", hold));
        }
        if let Some(place) = self.place {
            changes.push(self.change("place", place.name()));
        }
        if self.fit {
            changes.push(self.change("fit", "yes"));
        }
        self.subject(default_number, &mut changes);
        changes.extend(self.protocol.change()?);
        for text in &self.set {
            let change = Override::from_assignment(text).map_err(|error| {
                Failure::new(Exit::Usage, format!("{}: {error}", self.called("set")))
            })?;
            changes.push(Override {
                given_as: self.given_as("set", text),
                ..change
            });
        }
        Ok(changes)
    }

    /// The name of a scenario that the command line alone says: its server's. Run directories have it in their names.
    fn name_of_subject(&self) -> Option<String> {
        let last = |path: &str| path.rsplit('/').next().map(str::to_owned);
        let name = match (self.command.first(), &self.image, &self.pid, &self.target) {
            (_, Some(image), ..) => last(image)?,
            (Some(program), ..) => last(program)?,
            (_, _, Some(pid), _) => format!("process-{pid}"),
            (.., Some(target)) => target.clone(),
            _ => return None,
        };
        let name: String = name
            .chars()
            .take(LONGEST_NAME)
            .map(|letter| match letter {
                'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => letter,
                _ => '-',
            })
            .collect();
        (!name.is_empty()).then_some(name)
    }

    /// What names another server than the lab's own.
    fn subject(&self, default_number: bool, changes: &mut Vec<Override>) {
        let change = |key: &str, id: &str, value: &str, quoted: String| Override {
            key: format!("server.{key}"),
            value: quoted,
            given_as: self.given_as(id, value),
        };
        for (id, value) in [("image", &self.image), ("target", &self.target)] {
            if let Some(value) = value {
                changes.push(change(id, id, value, json(value)));
            }
        }
        if let Some(pid) = &self.pid {
            changes.push(change("pid", "pid", pid, pid.clone()));
        }
        if !self.command.is_empty() {
            let words = self.command.join(" ");
            changes.push(change("command", "command", &words, json(&self.command)));
        }
        if !self.ports.is_empty() {
            let ports = self.ports.join(",");
            changes.push(change("ports", "ports", &ports, format!("[{ports}]")));
        }
        let named = changes
            .iter()
            .any(|change| change.key.starts_with("server."));
        if default_number && named && self.connections.is_none() && self.scenario.is_none() {
            changes.push(Override {
                key: "connections".to_owned(),
                value: CONNECTIONS_TO_SUBJECT.to_owned(),
                given_as: format!(
                    "{CONNECTIONS_TO_SUBJECT} connections, since -n says nothing else"
                ),
            });
        }
    }

    fn change(&self, key: &str, value: &str) -> Override {
        Override {
            key: key.to_owned(),
            value: value.to_owned(),
            given_as: self.given_as(key, value),
        }
    }

    /// As the user wrote it: `-n 1000`, or `C1M_CONNECTIONS=1000`.
    fn given_as(&self, id: &str, value: &str) -> String {
        let join = if self.from_environment.contains(id) {
            '='
        } else {
            ' '
        };
        format!("{}{join}{value}", self.called(id))
    }

    /// How the user gave the argument `id`: by a flag, or by a variable.
    fn called(&self, id: &str) -> &'static str {
        let (_, flag, variable) = CHANGES
            .iter()
            .find(|(known, _, _)| *known == id)
            .copied()
            .unwrap_or_default();
        if self.from_environment.contains(id) {
            variable
        } else {
            flag
        }
    }
}

/// As YAML, in which JSON is.
fn json(value: &(impl serde::Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("words are text")
}

/// A number of connections, as a scenario takes it: what is wrong with it by itself is an error of the command line.
pub(super) fn connections(text: &str) -> Result<String, String> {
    match scenario::read_count(text)? {
        0 => Err("at least 1 connection is needed".to_owned()),
        _ => Ok(text.to_owned()),
    }
}

fn duration(text: &str) -> Result<String, String> {
    scenario::read_duration(text).map(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_named_after_its_server() {
        let name = |given: Given| {
            ScenarioArgs {
                given,
                ..ScenarioArgs::default()
            }
            .name_of_subject()
        };
        let words = |words: &[&str]| words.iter().copied().map(str::to_owned).collect();
        assert_eq!(name(Given::default()), None);
        let command = Given {
            command: words(&["/usr/sbin/nginx", "-g", "x"]),
            ..Given::default()
        };
        assert_eq!(name(command.clone()).as_deref(), Some("nginx"));
        let image = Given {
            image: Some("registry.example/team/redis:local".to_owned()),
            ..command
        };
        assert_eq!(name(image).as_deref(), Some("redis-local"));
        let pid = Given {
            pid: Some("4242".to_owned()),
            ..Given::default()
        };
        assert_eq!(name(pid).as_deref(), Some("process-4242"));
    }
}
