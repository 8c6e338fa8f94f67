//! Nobody reads what the run tells, or the runner itself stands still: the run must not depend on either.

use std::fs;
use std::io::{PipeReader, Write};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use super::interrupts::{await_gone, kill, workers_of};
use super::support::{DEADLINE, Lab, Running};

/// A run whose stderr is a pipe that is full and that nobody reads.
fn start_unread(lab: &Lab, scenario: &str) -> (Child, PipeReader) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let size = rustix::pipe::fcntl_setpipe_size(&writer, 4096).expect("a small pipe");
    writer.write_all(&vec![b'x'; size]).expect("it fills");
    let scenario = lab.scenario(scenario);
    let child = lab
        .command(&["run", &scenario, "--progress", "json"])
        .stdout(std::process::Stdio::null())
        .stderr(writer)
        .spawn()
        .expect("the program starts");
    (child, reader)
}

/// Waits until the recording says that a phase began: stderr cannot tell.
fn await_phase(lab: &Lab, phase: &str) {
    let until = Instant::now() + DEADLINE;
    let wanted = format!("\"event\":\"phase_began\",\"phase\":\"{phase}\"");
    while !fs::read_to_string(lab.latest().join("events.jsonl"))
        .is_ok_and(|events| events.contains(&wanted))
    {
        assert!(Instant::now() < until, "the recording has no {phase}");
        // A file can only be looked at again.
        thread::sleep(Duration::from_millis(20));
    }
}

fn await_end(mut child: Child) -> Option<i32> {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status.code();
        }
        if Instant::now() > until {
            let _ = child.kill();
            panic!("it does not end while nobody reads its stderr");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_run_ends_though_nobody_reads_its_stderr() {
    let lab = Lab::new();
    let (child, _unread) = start_unread(&lab, super::SMALL);
    assert_eq!(await_end(child), Some(0));
    assert_eq!(lab.result()["verdict"], "held");
}

#[test]
fn ctrl_c_works_though_nobody_reads_stderr() {
    let lab = Lab::new();
    let (child, _unread) = start_unread(&lab, "connections: 500\nhold: 100s\nplace: loopback\n");
    await_phase(&lab, "hold");
    kill(child.id(), "INT");
    assert_eq!(await_end(child), Some(130));
    assert_eq!(lab.result()["verdict"], "interrupted");
}

#[test]
fn a_second_ctrl_c_works_though_nobody_reads_stderr() {
    let lab = Lab::new();
    let (child, _unread) = start_unread(&lab, "connections: 500\nhold: 100s\nplace: loopback\n");
    await_phase(&lab, "hold");
    let workers = workers_of(child.id());
    // A worker that is stopped cannot be drained: the runner has to wait for it, which is what the second signal is for.
    for pid in &workers {
        kill(*pid, "STOP");
    }
    kill(child.id(), "INT");
    await_phase(&lab, "drain");
    kill(child.id(), "INT");
    let code = await_end(child);
    for pid in &workers {
        // It may be gone already: `clean` of a test beside this one ends orphans too.
        let _ = std::process::Command::new("kill")
            .args(["-CONT", &pid.to_string()])
            .status()
            .expect("kill runs");
    }
    await_gone(&workers);
    assert_eq!(code, Some(130));
}

/// Established connections in the network namespace of a process, by the kernel's own counter.
fn established(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/net/snmp")).expect("counters of TCP");
    let mut rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("Tcp: "))
        .map(|row| row.split(' ').collect::<Vec<_>>());
    let (names, values) = (rows.next().expect("names"), rows.next().expect("values"));
    let at = names
        .iter()
        .position(|name| *name == "CurrEstab")
        .expect("a column");
    values[at].parse().expect("a number")
}

#[test]
fn a_ramp_pauses_while_the_runner_is_stopped_and_goes_on_afterwards() {
    let lab = Lab::new();
    let scenario =
        lab.scenario("connections: 3000\nramp:\n  rate: 300/s\nhold: 0s\nplace: loopback\n");
    let mut run = Running::start(lab.command(&["run", &scenario, "--progress", "json"]));
    run.await_line("{\"phase\":\"ramp\"}");
    let client = workers_of(run.pid())[1];
    let until = Instant::now() + DEADLINE;
    while established(client) == 0 {
        assert!(Instant::now() < until, "no connection is opened");
        thread::sleep(Duration::from_millis(20));
    }
    run.signal("STOP");
    // At 300 connections a second, two seconds without a new one are a pause.
    let (mut before, mut since) = (established(client), Instant::now());
    while since.elapsed() < Duration::from_secs(2) {
        let now = established(client);
        if now != before {
            (before, since) = (now, Instant::now());
        }
        if Instant::now() > until {
            run.signal("KILL");
            panic!("clients go on opening connections");
        }
        thread::sleep(Duration::from_millis(20));
    }
    run.signal("CONT");
    // Both ends are in the namespace, and the ramp was not over.
    assert!(before < 6000, "the ramp ended while the runner was stopped");
    let ended = run.finish().expect(0);
    assert!(
        ended.stderr.contains("the runner stood still"),
        "{}",
        ended.stderr
    );
    assert_eq!(lab.result()["connections"]["held"], 3000);
}
