//! Ctrl-C once and twice, a runner killed, a worker killed: at each phase, by really doing it. The phases are awaited by
//! the program's own progress, never by a sleep.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::support::{DEADLINE, Lab, Running, signal};

/// Slow enough in each phase to be hit there: a rate bounds the ramp, a hold follows.
const SLOW: &str = "connections: 2000\nramp:\n  rate: 500/s\nhold: 100s\nplace: loopback\n";
const PHASES: [&str; 4] = ["provision", "baseline", "ramp", "hold"];

fn start(lab: &Lab) -> Running {
    let scenario = lab.scenario(SLOW);
    Running::start(lab.command(&["run", &scenario, "--progress", "json"]))
}

/// Worker processes of a runner: its children that were started as workers.
pub(super) fn workers_of(runner: u32) -> Vec<u32> {
    let output = Command::new("ps")
        .args(["-o", "pid=,args=", "--ppid", &runner.to_string()])
        .output()
        .expect("ps runs");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| line.contains(" worker"))
        .filter_map(|line| line.split_whitespace().next()?.parse().ok())
        .collect()
}

pub(super) fn await_gone(pids: &[u32]) {
    let until = Instant::now() + DEADLINE;
    for pid in pids {
        while Path::new(&format!("/proc/{pid}")).exists() {
            assert!(Instant::now() < until, "worker {pid} outlives its runner");
            // The end of somebody else's child can only be polled for.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn ctrl_c_at_each_phase_ends_in_a_partial_report() {
    for phase in PHASES {
        let lab = Lab::new();
        let mut run = start(&lab);
        run.await_line(&format!("{{\"phase\":\"{phase}\"}}"));
        let workers = workers_of(run.pid());
        run.signal("INT");
        run.finish().expect(130);
        await_gone(&workers);
        assert_eq!(lab.result()["verdict"], "interrupted", "in {phase}");
        assert!(lab.report().contains("INTERRUPTED"), "in {phase}");
    }
}

#[test]
fn sigterm_ends_with_its_own_code() {
    let lab = Lab::new();
    let mut run = start(&lab);
    run.await_line("{\"phase\":\"hold\"}");
    run.signal("TERM");
    run.finish().expect(143);
}

#[test]
fn a_closed_terminal_ends_with_its_own_code() {
    let lab = Lab::new();
    let mut run = start(&lab);
    run.await_line("{\"phase\":\"hold\"}");
    run.signal("HUP");
    run.finish().expect(129);
    assert_eq!(lab.result()["verdict"], "interrupted");
}

#[test]
fn a_second_ctrl_c_stops_the_waiting_and_names_the_command_that_cleans_up() {
    let lab = Lab::new();
    let mut run = start(&lab);
    run.await_line("{\"phase\":\"hold\"}");
    let workers = workers_of(run.pid());
    assert_eq!(workers.len(), 2, "a server and a client");
    // A worker that is stopped cannot be drained: the runner has to wait for it, which is what the second signal is for.
    for pid in &workers {
        kill(*pid, "STOP");
    }
    run.signal("INT");
    run.await_line("{\"phase\":\"drain\"}");
    run.signal("INT");
    let ended = run.finish().expect(130);
    assert!(ended.stderr.contains("c1m clean"), "{}", ended.stderr);
    for pid in &workers {
        kill(*pid, "CONT");
    }
    await_gone(&workers);
}

#[test]
fn a_killed_runner_takes_its_workers_with_it_at_each_phase() {
    for phase in PHASES {
        let lab = Lab::new();
        let mut run = start(&lab);
        run.await_line(&format!("{{\"phase\":\"{phase}\"}}"));
        let workers = workers_of(run.pid());
        run.signal("KILL");
        let ended = run.finish();
        assert_eq!(ended.status.code(), None, "killed, in {phase}");
        await_gone(&workers);
        lab.clean().expect(0);
        // The lock died with its owner: the next run starts.
        let scenario = lab.scenario("connections: 100\nhold: 0s\nplace: loopback\n");
        lab.run(&["run", &scenario]).expect(0);
    }
}

/// A run whose client is stopped during the hold, so that verifying waits for it as long as the test needs.
fn start_with_a_client_that_stops(lab: &Lab) -> (Running, Vec<u32>) {
    let scenario = lab.scenario("connections: 500\nhold: 5s\nplace: loopback\n");
    let mut run = Running::start(lab.command(&["run", &scenario, "--progress", "json"]));
    run.await_line("{\"phase\":\"hold\"}");
    let workers = workers_of(run.pid());
    assert_eq!(workers.len(), 2, "a server and a client");
    kill(workers[1], "STOP");
    run.await_line("{\"phase\":\"verify\"}");
    (run, workers)
}

#[test]
fn ctrl_c_while_verifying_ends_in_a_partial_report() {
    let lab = Lab::new();
    let (mut run, workers) = start_with_a_client_that_stops(&lab);
    run.signal("INT");
    run.await_line("{\"phase\":\"drain\"}");
    kill(workers[1], "CONT");
    run.finish().expect(130);
    await_gone(&workers);
    assert_eq!(lab.result()["verdict"], "interrupted");
}

#[test]
fn a_runner_killed_while_verifying_or_draining_takes_its_workers_with_it() {
    for phase in ["verify", "drain"] {
        let lab = Lab::new();
        let (mut run, workers) = start_with_a_client_that_stops(&lab);
        if phase == "drain" {
            run.signal("INT");
            run.await_line("{\"phase\":\"drain\"}");
        }
        run.signal("KILL");
        run.finish();
        // It may be gone already: `clean` of a test beside this one ends orphans too.
        let _ = Command::new("kill")
            .args(["-CONT", &workers[1].to_string()])
            .status()
            .expect("kill runs");
        await_gone(&workers);
        lab.clean().expect(0);
    }
}

/// The last phases take milliseconds, so the signal may come too late for the phase; what must hold does not depend on it.
#[test]
fn whatever_hits_the_last_phases_nothing_is_left() {
    for phase in ["tune", "teardown", "restore"] {
        for signal in ["INT", "KILL"] {
            let lab = Lab::new();
            let scenario = lab.scenario("connections: 500\nhold: 0s\nplace: loopback\n");
            let mut run = Running::start(lab.command(&["run", &scenario, "--progress", "json"]));
            run.await_line(&format!("{{\"phase\":\"{phase}\"}}"));
            let workers = workers_of(run.pid());
            run.signal(signal);
            run.finish();
            await_gone(&workers);
            lab.clean().expect(0);
            lab.run(&["run", &scenario]).expect(0);
        }
    }
}

#[test]
fn a_recording_that_was_cut_off_can_still_be_reported() {
    let lab = Lab::new();
    let mut run = start(&lab);
    run.await_line("{\"phase\":\"hold\"}");
    run.signal("KILL");
    run.finish();
    let directory = lab.latest().canonicalize().expect("a run directory");
    // The code says that the recording has no end; the report is made all the same.
    lab.run(&["report", &directory.to_string_lossy()]).expect(7);
    assert_ne!(lab.result()["verdict"], "held", "a run without an end");
    assert!(!lab.report().contains("HELD "), "{}", lab.report());
}

#[test]
fn a_killed_server_ends_the_run_within_five_seconds_of_its_death() {
    let lab = Lab::new();
    let mut run = start(&lab);
    run.await_line("{\"phase\":\"hold\"}");
    let server = workers_of(run.pid())[0];
    kill(server, "KILL");
    run.await_line("server was ended by signal 9");
    let ended = run.finish();
    assert_eq!(ended.code(), 6, "{}", ended.stderr);
    assert_eq!(lab.result()["verdict"], "missed");
    assert!(lab.report().contains("signal 9"));
}

#[test]
fn a_killed_client_ends_the_run_and_its_losses_are_counted() {
    let lab = Lab::new();
    let mut run = start(&lab);
    run.await_line("{\"phase\":\"hold\"}");
    let client = workers_of(run.pid())[1];
    kill(client, "KILL");
    run.await_line("client-1 was ended by signal 9");
    let ended = run.finish();
    assert_eq!(ended.code(), 6, "{}", ended.stderr);
    assert!(lab.report().contains("client-1"));
}

#[test]
fn a_worker_killed_at_any_phase_is_named_and_leaves_nothing() {
    // Before the ramp nothing was measured; later something was missed.
    for (phase, code) in [("baseline", 7), ("ramp", 6)] {
        let lab = Lab::new();
        let mut run = start(&lab);
        run.await_line(&format!("{{\"phase\":\"{phase}\"}}"));
        let workers = workers_of(run.pid());
        assert_eq!(workers.len(), 2, "a server and a client");
        kill(workers[1], "KILL");
        run.await_line("client-1 was ended by signal 9");
        let ended = run.finish();
        assert_eq!(ended.code(), code, "in {phase}: {}", ended.stderr);
        await_gone(&workers);
        assert!(
            lab.report().contains("client-1 was ended by signal 9"),
            "in {phase}"
        );
    }
}

pub(super) fn kill(pid: u32, name: &str) {
    signal(&pid.to_string(), name);
}
