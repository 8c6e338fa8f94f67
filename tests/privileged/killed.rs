//! A runner that is killed while a server runs which is not the lab's own: the server's whole process tree ends with it, and
//! `c1m clean` removes what is left. As root the server has a memory control group, which stays until somebody removes it.

use crate::foreign::{Traces, hold, is_in_use, namespace_of, server, signal, wait_until};
use crate::safety::alone;
use crate::support::{Lab, Running};

/// A server with a process beside the one that serves.
fn with_a_child() -> String {
    format!("sleep 1000 & exec {}", server())
}

/// A run that holds, and what belongs to it: its server has two processes.
fn held(lab: &Lab) -> (Running, Traces) {
    let run = hold(lab, &with_a_child());
    let traces = Traces::of(lab);
    assert_eq!(traces.of_server().len(), 2);
    (run, traces)
}

/// The worker that looks after the server.
fn watcher_of(traces: &Traces) -> u32 {
    let server = traces.named("c1m");
    let status = std::fs::read_to_string(format!("/proc/{server}/status")).expect("it lives");
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    parent.expect("a line").trim().parse().expect("a number")
}

#[test]
fn a_killed_runner_takes_its_servers_processes_with_it_and_clean_removes_the_group() {
    let _alone = alone();
    let lab = Lab::new();
    let (run, traces) = held(&lab);
    let namespace = namespace_of(traces.of_server()[0]);
    run.signal("KILL");
    run.finish();
    wait_until("the server's processes are gone", || {
        traces.processes().is_empty() && traces.of_server().is_empty()
    });
    wait_until("the namespace is gone", || !is_in_use(namespace));
    let journal = traces.journal().expect("the group was noted");
    assert!(
        journal.contains(&traces.group.display().to_string()),
        "{journal}"
    );
    let cleaned = lab.clean().expect(0);
    assert!(
        cleaned.stdout.contains("nothing is left") || cleaned.stderr.contains("nothing is left"),
        "{cleaned:?}"
    );
    traces.are_gone();
}

/// The worker is stopped, so that it does not see its runner's end, and then is killed: it ended nothing.
#[test]
fn clean_ends_what_is_left_of_a_server_whose_runner_and_watcher_were_killed() {
    let _alone = alone();
    let lab = Lab::new();
    let (run, traces) = held(&lab);
    let child = traces.named("sleep");
    let namespace = namespace_of(child);
    let watcher = watcher_of(&traces);
    signal(watcher, "STOP");
    run.signal("KILL");
    run.finish();
    signal(watcher, "KILL");
    wait_until("all but the child are gone", || {
        traces.of_server() == [child]
    });
    assert!(is_in_use(namespace), "the child is in it");
    lab.clean().expect(0);
    traces.are_gone();
    assert!(!is_in_use(namespace));
}

#[test]
fn a_killed_watcher_ends_the_run_and_nothing_of_the_server_is_left() {
    let _alone = alone();
    let lab = Lab::new();
    let (run, traces) = held(&lab);
    signal(watcher_of(&traces), "KILL");
    crate::foreign::ended(&lab, run, 6, &["server was ended by signal 9"]);
}
