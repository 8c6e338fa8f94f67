//! A kernel setting: its key, its scope, the wanted value, and what became of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::HostIndex;

/// Whom a setting binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingScope {
    /// The whole machine: written through the journal, put back afterwards.
    Host,
    /// One network namespace: vanishes with it.
    Namespace,
}

/// The wanted value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingValue {
    /// At least this: a value that is larger already is left alone.
    AtLeast(u64),
    /// Exactly this text, fields separated by single spaces.
    Exactly(String),
}

impl fmt::Display for SettingValue {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(value) => write!(out, "at least {value}"),
            Self::Exactly(text) => out.pad(text),
        }
    }
}

/// A setting that the plan wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingChange {
    /// The key as sysctl(8) writes it, with dots: `net.ipv4.ip_local_port_range`.
    pub key: String,
    /// Whom it binds.
    pub scope: SettingScope,
    /// The wanted value.
    pub wanted: SettingValue,
    /// Why it is wanted, in one sentence.
    pub reason: String,
}

/// What became of a setting in one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingRecord {
    /// What was wanted.
    #[serde(flatten)]
    pub change: SettingChange,
    /// In which host of the topology; absent for the machine itself.
    pub host: Option<HostIndex>,
    /// The value that was found; absent where the key does not exist.
    pub before: Option<String>,
    /// The value that was read back afterwards.
    pub in_force: Option<String>,
    /// Whether it was written; a value that suffices is left alone.
    pub changed: bool,
    /// Why it is not as wanted, where it is not. One missing key does not end a run.
    pub error: Option<String>,
}

impl SettingRecord {
    /// Where it is: `server`, `client-1` and so on; `host` for the machine; `parent namespace` for the one that the
    /// others are made in.
    #[must_use]
    pub fn place(&self) -> String {
        match (self.host, self.change.scope) {
            (Some(host), _) => host.name(),
            (None, SettingScope::Host) => "host".to_owned(),
            (None, SettingScope::Namespace) => "parent namespace".to_owned(),
        }
    }
}

/// What became of putting a setting of the host back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreOutcome {
    /// The old value is in force again.
    Restored,
    /// It was the old value already.
    AlreadyThere,
    /// Somebody else changed it meanwhile, to this value: it was left alone and is reported.
    ChangedByOthers(String),
    /// It could not be written.
    Failed(String),
}
