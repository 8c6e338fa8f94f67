//! Nobody reads the program's output, because the pipe is closed or was never there: the end of the text, and no failure.

#[path = "support/mod.rs"]
mod support;

use std::process::{Command, Stdio};

use support::Lab;

/// Verbs that print data, each with arguments that let it end by itself.
const VERBS: [&[&str]; 11] = [
    &["man"],
    &["scenarios"],
    &["completions", "bash"],
    &["schema", "scenario"],
    &["validate", "lab/scenarios/smoke.yaml"],
    &[
        "plan",
        "lab/scenarios/smoke.yaml",
        "-n",
        "100",
        "--place",
        "loopback",
    ],
    &["count"],
    &["clean", "--dry-run"],
    &["restore", "--dry-run"],
    &["observe", "--count", "1"],
    &["--help"],
];

fn end_of(mut command: Command) -> (Option<i32>, String) {
    let ended = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    (ended.status.code(), said)
}

#[test]
fn a_reader_that_is_gone_is_the_end_of_the_text() {
    let lab = Lab::new();
    for arguments in VERBS {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = lab.command(arguments);
        command.stdout(writer).stderr(Stdio::piped());
        let child = command.spawn().expect("the program starts");
        let ended = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}: {said}");
        assert!(said.is_empty(), "{arguments:?}: {said}");
    }
}

#[test]
fn a_stream_that_was_never_there_is_no_failure() {
    let lab = Lab::new();
    for arguments in VERBS {
        for closed in [">&-", "2>&-"] {
            let mut shell = Command::new("/bin/sh");
            shell
                .arg("-c")
                .arg(format!("exec \"$0\" \"$@\" {closed}"))
                .arg(env!("CARGO_BIN_EXE_c1m"))
                .args(arguments)
                .env("C1M_RUNTIME_DIR", lab.folder.path().join("runtime"))
                .current_dir(env!("CARGO_MANIFEST_DIR"));
            let (code, said) = end_of(shell);
            assert_eq!(code, Some(0), "{arguments:?} {closed}: {said}");
        }
    }
}

#[test]
fn a_run_without_readers_holds_and_is_recorded() {
    let lab = Lab::new();
    let scenario = lab.scenario("connections: 200\nhold: 0s\nplace: loopback\n");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let other = writer.try_clone().expect("the same pipe");
    drop(reader);
    let mut command = lab.command(&["run", &scenario]);
    let status = command.stdout(writer).stderr(other).status();
    assert_eq!(status.expect("the program starts").code(), Some(0));
    assert_eq!(lab.result()["verdict"], "held");
}
