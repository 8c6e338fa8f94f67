//! The lab in containers of the Docker engine of this machine, with the `docker` command, `nsenter` and /proc as second
//! witnesses. Needs root and an engine; fails loudly where one is missing.

#[path = "../support/mod.rs"]
mod support;

mod death;
mod engine;
mod image;
mod interrupt;
mod kill;
mod link;
mod owners;
mod place;

use std::process::Command;

use support::Lab;

/// What `docker` prints.
#[track_caller]
pub(crate) fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker")
        .args(arguments)
        .output()
        .expect("the docker command is there");
    assert!(output.status.success(), "docker {arguments:?}: {output:?}");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

/// A network that a test made; it is removed whatever becomes of the test, because it would be in the way of the next ones.
pub(crate) struct Network(pub(crate) &'static str);

impl Drop for Network {
    fn drop(&mut self) {
        // It may be gone already: some are made for that.
        let _ = Command::new("docker")
            .args(["network", "rm", self.0])
            .output();
    }
}

/// What a program prints.
#[track_caller]
pub(crate) fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    String::from_utf8(output.stdout).expect("text")
}

/// Everything that a run could leave: containers, networks, packet rules, links, processes of ours.
pub(crate) fn traces() -> Vec<String> {
    let mut traces = Vec::new();
    for text in [
        docker(&["ps", "-a", "--no-trunc", "--format", "container {{.Names}}"]),
        docker(&["network", "ls", "--format", "network {{.Name}}"]),
        printed("nft", &["list", "tables"]),
        printed("ip", &["-o", "link", "show", "type", "veth"]),
        printed(
            "sysctl",
            &[
                "-n",
                "net.core.somaxconn",
                "net.ipv4.ip_local_port_range",
                "net.ipv4.tcp_child_ehash_entries",
                "fs.file-max",
            ],
        ),
    ] {
        traces.extend(text.lines().map(str::to_owned));
    }
    traces.sort();
    traces
}

/// A scenario in containers, small enough for any machine.
pub(crate) fn small(lab: &Lab, more: &str) -> String {
    lab.scenario(&format!(
        "connections: 3000\nplace: docker\nclients:\n  groups:\n    - hosts: 2\n      connections_per_address: 1500\n{more}"
    ))
}
