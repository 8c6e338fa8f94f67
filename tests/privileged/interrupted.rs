//! A search for a limit that a terminal interrupts: Ctrl-C reaches the whole process group at once.

use std::os::unix::process::CommandExt as _;

use crate::foreign::{CONNECTIONS, HOLDS, PORT, Traces, server};
use crate::support::{self, Lab, Running};

#[test]
fn ctrl_c_ends_a_search_and_the_run_that_holds_and_leaves_nothing() {
    let lab = Lab::new();
    let script = server();
    let words = [
        "limit",
        "--progress",
        "json",
        "--port",
        PORT,
        "-n",
        CONNECTIONS,
        "--hold",
        "100s",
        "--protocol",
        "echo",
        "--",
        "sh",
        "-c",
        &script,
    ];
    let mut command = lab.command(&words);
    command.process_group(0);
    let mut search = Running::start(command);
    // The search has a hold of no length; the second one is that of the run which holds what was found.
    search.await_line(HOLDS);
    search.await_line(HOLDS);
    support::signal(&format!("-{}", search.pid()), "INT");
    let ended = search.finish().expect(130);
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert!(said.contains("interrupted: what was to be held"), "{said}");
    assert!(!said.to_lowercase().contains("left behind"), "{said}");
    Traces::of(&lab).are_gone();
}
