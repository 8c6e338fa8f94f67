//! A panic in a thread of a worker, and what the run makes of it. A program by itself, without the usual harness: the runner
//! starts its own file as its workers, so that a worker can be had here that is the real one with one thread more, and that
//! thread panics. No production code has a switch for it.

#[path = "support/mod.rs"]
mod support;

use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use support::{Lab, Running};

/// The worker in whose working directory this file appears, and who removes it, panics.
const PANIC_NOW: &str = "panic-now";

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("worker") => {
            thread::Builder::new()
                .name("table-7".to_owned())
                .spawn(panic_when_told)
                .expect("a thread");
            program()
        }
        Some("run") => program(),
        // Whatever arguments a test harness is given.
        _ => {
            a_worker_that_panics_is_gone_and_the_report_says_why();
            ExitCode::SUCCESS
        }
    }
}

/// This file as `c1m`.
fn program() -> ExitCode {
    ExitCode::from(c1m::cli::main(std::env::args_os()).code())
}

fn panic_when_told() {
    while std::fs::remove_file(PANIC_NOW).is_err() {
        // A file can only be looked for again.
        thread::sleep(Duration::from_millis(20));
    }
    panic!("the table\nis gone");
}

fn a_worker_that_panics_is_gone_and_the_report_says_why() {
    let lab = Lab::new();
    let scenario = lab.scenario("connections: 500\nhold: 100s\nplace: loopback\n");
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command
        .args(["run", &scenario, "--progress", "json"])
        .env("C1M_RUNTIME_DIR", lab.folder.path().join("runtime"))
        .env("C1M_RESULTS_DIR", lab.results())
        .current_dir(lab.folder.path());
    let mut run = Running::start(command);
    run.await_line("{\"phase\":\"hold\"}");
    std::fs::write(lab.folder.path().join(PANIC_NOW), "").expect("a file");
    let line = run.await_line(" panicked: ");
    assert!(line.contains("the table is gone (thread table-7"), "{line}");
    let ended = run.finish().expect(6);
    assert!(
        ended
            .stdout
            .contains("panicked: the table is gone (thread table-7"),
        "{}",
        ended.stdout
    );
    assert_eq!(lab.result()["verdict"], "missed");
    assert!(
        lab.report().contains("panicked: the table is gone"),
        "{}",
        lab.report()
    );
}
