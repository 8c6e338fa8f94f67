//! What is in no file: marks of unfinished work, and addresses of the web that nobody has looked at.

use std::fs;
use std::path::{Path, PathBuf};

use super::{files, root};

/// What says that work is not finished. Put together here, so that this file has none of them.
const UNFINISHED: [[&str; 2]; 7] = [
    ["todo", "!("],
    ["unimplemented", "!("],
    ["dbg", "!("],
    ["TO", "DO"],
    ["FIX", "ME"],
    ["XX", "X"],
    ["// t", "mp"],
];

/// Hosts that sources and pages may name: specifications, the kernel's own pages, tools that a reader has to fetch, and
/// names that nobody has (RFC 2606). Each was looked at by somebody.
const HOSTS: [&str; 11] = [
    "127.0.0.1",
    "docs.kernel.org",
    "github.com",
    "json-schema.org",
    "keepachangelog.com",
    "localhost",
    "man7.org",
    "semver.org",
    "sh.rustup.rs",
    "www.rfc-editor.org",
    // The name space of SVG, in each chart.
    "www.w3.org",
];

/// Text files of the repository that people write, with their contents. Recorded reports and snapshots are left out.
fn written() -> Vec<(PathBuf, String)> {
    let mut paths = Vec::new();
    for ending in [".rs", ".md", ".yaml", ".toml"] {
        for folder in ["src", "tests", "docs", "lab", "compose"] {
            files(&root().join(folder), ending, &mut paths);
        }
    }
    for name in [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "Cargo.toml",
        "build.rs",
    ] {
        paths.push(root().join(name));
    }
    let recorded = [Path::new("docs/results"), Path::new("tests/fixtures")];
    paths
        .into_iter()
        .filter(|path| {
            !recorded
                .iter()
                .any(|folder| path.starts_with(root().join(folder)))
        })
        .map(|path| {
            let text = fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path, text)
        })
        .collect()
}

/// The host of each address of the web in `line`.
fn hosts_in(line: &str) -> Vec<&str> {
    ["http://", "https://"]
        .iter()
        .flat_map(|scheme| line.split(scheme).skip(1))
        .map(|rest| {
            let end = rest
                .find(|letter: char| !(letter.is_ascii_alphanumeric() || ".-".contains(letter)))
                .unwrap_or(rest.len());
            rest[..end].trim_end_matches('.')
        })
        .filter(|host| !host.is_empty())
        .collect()
}

#[test]
fn no_mark_of_unfinished_work_is_left() {
    let marks = UNFINISHED.map(|parts| parts.concat());
    let mut wrong = Vec::new();
    for (path, text) in written() {
        for (number, line) in text.lines().enumerate() {
            for mark in marks.iter().filter(|mark| line.contains(mark.as_str())) {
                wrong.push(format!("{}:{}: {mark}", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn addresses_of_the_web_lead_to_hosts_that_are_known() {
    let mut wrong = Vec::new();
    for (path, text) in written() {
        for (number, line) in text.lines().enumerate() {
            for host in hosts_in(line) {
                if !HOSTS.contains(&host) {
                    wrong.push(format!("{}:{}: {host}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "not on the list:\n{}", wrong.join("\n"));
}

#[test]
fn the_host_of_an_address_is_found() {
    let line = "see <https://man7.org/linux>, http://127.0.0.1:80 and https://{name}";
    let mut hosts = hosts_in(line);
    hosts.sort_unstable();
    assert_eq!(hosts, ["127.0.0.1", "man7.org"]);
}
