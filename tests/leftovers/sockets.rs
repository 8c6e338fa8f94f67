//! `clean` has ended a process only when each of its threads is gone, with the sockets in that thread's table.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use assert_cmd::cargo::CommandCargoExt;

use crate::engine::FakeEngine;
use crate::{alone, c1m, dead_runner};

#[test]
fn an_orphan_with_many_sockets_is_gone_with_all_of_them_when_clean_returns() {
    let _alone = alone();
    let folder = tempfile::tempdir().expect("a folder");
    let engine = FakeEngine::empty();
    let started = |arguments: &[&str], runner: Option<&str>, word: &str| {
        let mut command = Command::cargo_bin("c1m").expect("is built");
        command.args(arguments).stderr(Stdio::piped());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        if let Some(runner) = runner {
            command.env("C1M_RUN", "0badcafe").env("C1M_RUNNER", runner);
        }
        let mut child = command.spawn().expect("starts");
        let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let mut lines = lines.map_while(Result::ok);
        let line = lines
            .find(|line| line.contains(word))
            .unwrap_or_else(|| panic!("it ended without {word:?}"));
        (child, line, lines)
    };
    let runner = dead_runner();
    let (mut orphan, line, _server_says) = started(
        &["server", "--listen", "127.0.0.1:0"],
        Some(&runner),
        "listening on ",
    );
    let rest = line.split_once("listening on ").expect("it is there").1;
    let address = rest.split_once(' ').expect("an address").0;
    let (mut client, _, _client_says) =
        started(&["client", address, "-n", "10000"], None, "echoed");
    let cleaned = c1m(&folder.path().join("c1m"), &engine, &["clean"])
        .assert()
        .success();
    let said = String::from_utf8_lossy(&cleaned.get_output().stdout).into_owned();
    assert!(
        said.contains(&format!("process {} ", orphan.id())),
        "{said}"
    );
    // A process can be waited for once its last thread is gone.
    assert!(orphan.try_wait().expect("asks").is_some());
    client.kill().expect("ends it");
    client.wait().expect("is ours");
}
