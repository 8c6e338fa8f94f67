//! Names of runs, workers and hosts of the topology.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Role;

/// The name of one run, unique on a machine: eight hexadecimal digits. It stands in the name of everything that a run
/// creates, so that orphans can be told and removed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RunId(String);

impl RunId {
    /// From a number that the caller drew.
    #[must_use]
    pub fn from_random(number: u32) -> Self {
        Self(format!("{number:08x}"))
    }

    /// From text such as a label; nothing when it is not eight hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 8 && text.bytes().all(hex)).then(|| Self(text.to_owned()))
    }

    /// The eight digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

/// One host of the planned topology: a namespace, a container, or simply the machine. The server's is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HostIndex(pub usize);

impl HostIndex {
    /// Where the server runs.
    pub const SERVER: Self = Self(0);

    /// `server`, `client-1`, `client-2` and so on.
    #[must_use]
    pub fn name(self) -> String {
        match self.0 {
            0 => "server".to_owned(),
            number => format!("client-{number}"),
        }
    }
}

/// One worker of a run: what it does, and its number among those that do the same. Servers count from 0, clients from 1.
/// Which host it runs on is for the plan to say.
///
/// In files it is its name, `server` or `client-3`. Recordings of schema version 1 have a number instead: 0 is the
/// server, n is client n.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "WrittenWorkerId", into = "String")]
pub struct WorkerId {
    /// What it does.
    pub role: Role,
    /// Its number among those of its role.
    pub number: u32,
}

impl WorkerId {
    /// The first server: the only one in every place of today.
    pub const SERVER: Self = Self {
        role: Role::Server,
        number: 0,
    };

    /// The client of this number; the first is 1.
    #[must_use]
    pub const fn client(number: u32) -> Self {
        Self {
            role: Role::Client,
            number,
        }
    }

    /// Whether it accepts connections.
    #[must_use]
    pub const fn is_server(self) -> bool {
        matches!(self.role, Role::Server)
    }

    /// Whether it opens connections.
    #[must_use]
    pub const fn is_client(self) -> bool {
        matches!(self.role, Role::Client)
    }

    /// From its name; nothing when it is none.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name == "server" {
            return Some(Self::SERVER);
        }
        let (role, number) = name.split_once('-')?;
        let role = match role {
            "client" => Role::Client,
            "server" => Role::Server,
            _ => return None,
        };
        Some(Self {
            role,
            number: number.parse().ok()?,
        })
    }
}

impl fmt::Display for WorkerId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::SERVER {
            out.pad("server")
        } else {
            out.pad(&format!("{}-{}", self.role, self.number))
        }
    }
}

impl From<WorkerId> for String {
    fn from(worker: WorkerId) -> Self {
        worker.to_string()
    }
}

/// A worker as files have it.
#[derive(Deserialize)]
#[serde(try_from = "NameOrNumber")]
struct WrittenWorkerId(WorkerId);

#[derive(Deserialize)]
#[serde(untagged)]
enum NameOrNumber {
    Number(u32),
    Name(String),
}

impl TryFrom<NameOrNumber> for WrittenWorkerId {
    type Error = String;
    fn try_from(written: NameOrNumber) -> Result<Self, Self::Error> {
        match written {
            NameOrNumber::Number(0) => Ok(Self(WorkerId::SERVER)),
            NameOrNumber::Number(number) => Ok(Self(WorkerId::client(number))),
            NameOrNumber::Name(name) => WorkerId::parse(&name)
                .map(Self)
                .ok_or_else(|| format!("{name} is the name of no worker")),
        }
    }
}

impl From<WrittenWorkerId> for WorkerId {
    fn from(written: WrittenWorkerId) -> Self {
        written.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_written_by_name_and_read_from_older_numbers() {
        for (worker, name, number) in [
            (WorkerId::SERVER, "\"server\"", Some("0")),
            (WorkerId::client(3), "\"client-3\"", Some("3")),
            (
                WorkerId {
                    role: Role::Server,
                    number: 2,
                },
                "\"server-2\"",
                None,
            ),
        ] {
            assert_eq!(serde_json::to_string(&worker).expect("writes"), name);
            for text in [Some(name), number].into_iter().flatten() {
                assert_eq!(
                    serde_json::from_str::<WorkerId>(text).expect("reads"),
                    worker
                );
            }
        }
        assert!(serde_json::from_str::<WorkerId>("\"client\"").is_err());
    }
}
