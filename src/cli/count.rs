//! `c1m count`: TCP sockets by state, counted by the kernel itself.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::format::Format;
use super::{Exit, Failure, output};
use crate::domain::{ConnCount, StateCounts};
use crate::observe::{SocketCount, count_sockets, count_sockets_at_port, inside_namespace};

/// Counts TCP sockets by state: a million in about a second.
#[derive(Debug, Args)]
pub(super) struct CountArgs {
    /// Counts in this network namespace: a name that `ip netns` knows, or a file such as /proc/PID/ns/net.
    #[arg(long, value_name = "NAMESPACE", env = "C1M_NETNS")]
    netns: Option<PathBuf>,
    /// Tells the server's end (this is its port) and the clients' end (this is the other side's port) apart.
    #[arg(long, value_name = "PORT", env = "C1M_PORT")]
    port: Option<u16>,
    /// The form of the answer.
    #[arg(long, value_enum, default_value = "text", env = "C1M_FORMAT")]
    format: Format,
}

pub(super) fn run(args: &CountArgs) -> Result<Exit, Failure> {
    let count = || match args.port {
        Some(port) => count_sockets_at_port(port),
        None => count_sockets(&[]),
    };
    let counted = match &args.netns {
        Some(name) => inside_namespace(&namespace_file(name), count),
        None => count(),
    };
    let counted = counted.map_err(|error| {
        let hint = error.hint();
        Failure::new(Exit::Failed, error).with_hint(hint)
    })?;
    let text = match args.format {
        Format::Json => serde_json::to_string(&counted).context("cannot write JSON")? + "\n",
        Format::Text if args.port.is_some() => table(&counted),
        Format::Text => plain(&counted),
    };
    output::print(&text)?;
    Ok(Exit::Done)
}

/// A bare name means what `ip netns add` makes of it.
pub(super) fn namespace_file(name: &Path) -> PathBuf {
    if name.components().count() == 1 {
        Path::new("/run/netns").join(name)
    } else {
        name.to_owned()
    }
}

/// One column.
fn plain(counted: &SocketCount) -> String {
    let mut text = String::new();
    for (state, count) in &counted.other.0 {
        line(
            &mut text,
            &format!("{state:<12} {:>12}", ConnCount::new(*count)),
        );
    }
    text + &footer(counted)
}

/// A column for each end.
fn table(counted: &SocketCount) -> String {
    let ends = [&counted.server, &counted.client, &counted.other];
    let mut text = format!(
        "{:<12} {:>12} {:>12} {:>12}\n",
        "state", "server", "client", "other"
    );
    let states: BTreeSet<_> = ends.iter().flat_map(|end| end.0.keys()).collect();
    for state in states {
        let [server, client, other] = ends.map(|end| end.of(*state).to_string());
        line(
            &mut text,
            &format!("{state:<12} {server:>12} {client:>12} {other:>12}"),
        );
    }
    text + &footer(counted)
}

fn footer(counted: &SocketCount) -> String {
    let sum = |end: &StateCounts| end.0.values().sum::<u64>();
    let all = sum(&counted.server) + sum(&counted.client) + sum(&counted.other);
    format!(
        "{} sockets, counted in {:.3} s\n",
        ConnCount::new(all),
        counted.took_seconds
    )
}

fn line(text: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TcpState;

    #[test]
    fn a_name_is_one_of_ip_netns_and_a_path_is_itself() {
        let file = |name: &str| namespace_file(Path::new(name));
        assert_eq!(file("lab"), Path::new("/run/netns/lab"));
        assert_eq!(file("/proc/1/ns/net"), Path::new("/proc/1/ns/net"));
        assert_eq!(file("./lab"), Path::new("./lab"));
    }

    #[test]
    fn both_ends_stand_side_by_side() {
        let end = |states: &[(TcpState, u64)]| StateCounts(states.iter().copied().collect());
        let counted = SocketCount {
            server: end(&[(TcpState::Established, 1_024_000), (TcpState::Listen, 1)]),
            client: end(&[(TcpState::Established, 1_023_999), (TcpState::SynSent, 1)]),
            other: end(&[]),
            took_seconds: 0.8123,
        };
        assert_eq!(
            table(&counted),
            "\
state              server       client        other
ESTABLISHED     1,024,000    1,023,999            0
SYN_SENT                0            1            0
LISTEN                  1            0            0
2,048,001 sockets, counted in 0.812 s
"
        );
    }
}
