//! Which scenario, and what the command line changes in it: shared by every verb that takes a scenario.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Exit, Failure};
use crate::scenario::{self, Override, Scenario};

/// A scenario and what is changed in it.
#[derive(Debug, Default, Clone, Args)]
pub(super) struct ScenarioArgs {
    /// The scenario file; without one, 1,024,000 connections or as many as fit.
    #[arg(value_name = "SCENARIO", env = "C1M_SCENARIO")]
    pub(super) scenario: Option<PathBuf>,
    /// How many connections.
    #[arg(short = 'n', long, value_name = "COUNT", env = "C1M_CONNECTIONS")]
    pub(super) connections: Option<String>,
    /// How long to hold them, such as 60s.
    #[arg(long, value_name = "DURATION", env = "C1M_HOLD")]
    pub(super) hold: Option<String>,
    /// Where to run.
    #[arg(long, value_enum, env = "C1M_PLACE")]
    pub(super) place: Option<PlaceArg>,
    /// Reduces the number of connections to what fits here, rather than refusing.
    #[arg(long, env = "C1M_FIT")]
    pub(super) fit: bool,
    /// Sets a key of the scenario, such as server.engine=tokio; repeatable. In the environment: one on each line.
    #[arg(
        long = "set",
        value_name = "KEY=VALUE",
        env = "C1M_SET",
        value_delimiter = '\n'
    )]
    pub(super) set: Vec<String>,
}

/// A place by its name on the command line.
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
    const fn name(self) -> &'static str {
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
        let changes = self.changes()?;
        match &self.scenario {
            Some(path) => scenario::load(path, &changes),
            None => scenario::built_in(&changes),
        }
        .map_err(|errors| Failure::new(Exit::Scenario, errors))
    }

    fn changes(&self) -> Result<Vec<Override>, Failure> {
        let mut changes = Vec::new();
        if let Some(count) = &self.connections {
            changes.push(Override::from_flag("-n", "connections", count));
        }
        if let Some(hold) = &self.hold {
            changes.push(Override::from_flag("--hold", "hold", hold));
        }
        if let Some(place) = self.place {
            changes.push(Override::from_flag("--place", "place", &place.name()));
        }
        if self.fit {
            changes.push(Override::from_flag("--fit", "fit", &"yes"));
        }
        for text in &self.set {
            let change = Override::from_assignment(text)
                .map_err(|error| Failure::new(Exit::Usage, error))?;
            changes.push(change);
        }
        Ok(changes)
    }
}
