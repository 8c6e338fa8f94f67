//! Servers that are there already, named by process or address, and ports that somebody else has: what cannot be measured is
//! refused, what ends meanwhile is told, and what the run did not start goes on.

use std::process::Command;

use crate::foreign::{CONNECTIONS, HOLDS, ended, signal};
use crate::safety::ForNobody;
use crate::support::engine::FakeEngine;
use crate::support::{Lab, Running};

/// A server of the test, in the host's network namespace.
struct Found {
    running: Running,
    address: String,
    port: String,
}

impl Found {
    fn start(lab: &Lab) -> Self {
        let mut running = Running::start(lab.command(&["server", "--listen", "127.0.0.1:0"]));
        let line = running.await_line("listening on ");
        let rest = line.split_once("listening on ").expect("it is there").1;
        let address = rest.split_once(' ').expect("an address").0.to_owned();
        let port = address.rsplit(':').next().expect("a port").to_owned();
        Self {
            running,
            address,
            port,
        }
    }

    /// Ends it by a signal to itself alone.
    fn kill(&self) {
        signal(self.running.pid(), "KILL");
    }

    /// Fails unless it serves still, and ends it.
    #[track_caller]
    fn serves_still(mut self) {
        assert_eq!(self.running.child.try_wait().expect("a child"), None);
        self.running.signal("INT");
        self.running.finish().expect(0);
    }
}

/// A run of a process with this number at this port.
fn of_process(lab: &Lab, pid: u32, port: &str, options: &[&str]) -> Command {
    let pid = pid.to_string();
    let common = ["run", "--progress", "json", "--pid", &pid, "--port", port];
    lab.command(&[&common[..], &["-n", CONNECTIONS], options].concat())
}

#[test]
fn a_process_that_ends_in_mid_run_is_told() {
    let lab = Lab::new();
    // In the ramp once some are open.
    for (options, moment) in [
        (["--set", "ramp.rate=100/s"], "\"established\":2"),
        (["--hold", "100s"], HOLDS),
    ] {
        let server = Found::start(&lab);
        let pid = server.running.pid();
        let mut run = Running::start(of_process(&lab, pid, &server.port, &options));
        run.await_line("{\"phase\":\"ramp\"}");
        run.await_line(moment);
        server.kill();
        server.running.finish();
        let says = format!("server: process {pid} has ended");
        ended(&lab, run, 6, &[&says, "connections: the server ended"]);
        let connections = &lab.result()["connections"];
        assert!(connections["accepted"].as_u64() > Some(0), "{connections}");
    }
}

#[test]
fn a_process_at_whose_port_another_listens_is_refused() {
    let lab = Lab::new();
    let server = Found::start(&lab);
    let other = Found::start(&lab);
    let run = Running::start(of_process(&lab, other.running.pid(), &server.port, &[]));
    let says = format!(
        "process {} does not listen at {}: c1m (process {}) does",
        other.running.pid(),
        server.address,
        server.running.pid()
    );
    ended(&lab, run, 5, &[&says]);
    server.serves_still();
    other.serves_still();
}

#[test]
fn a_port_that_somebody_else_has_is_refused_with_who_it_is() {
    let lab = Lab::new();
    let server = Found::start(&lab);
    let address = &server.address;
    let own = env!("CARGO_BIN_EXE_c1m");
    let command = lab.command(&[
        "run",
        "--progress",
        "json",
        "--place",
        "host",
        "--port",
        &server.port,
        "-n",
        CONNECTIONS,
        "--",
        own,
        "server",
        "--listen",
        address,
    ]);
    let who = format!(
        "port {} is taken: c1m (process {}) listens at {address}",
        server.port,
        server.running.pid()
    );
    let says = [&who, "give the server another port"];
    ended(&lab, Running::start(command), 5, &says);
    server.serves_still();
}

#[test]
fn the_process_of_another_user_is_refused_to_an_ordinary_user() {
    let lab = Lab::new();
    let server = Found::start(&lab);
    let nobody = ForNobody::new();
    let pid = server.running.pid().to_string();
    let words = ["run", "--pid", &pid, "--port", &server.port, "-n", "10"];
    let mut command = nobody.command(&words, &FakeEngine::empty());
    command.env("C1M_RESULTS_DIR", nobody.make("results"));
    let said = Running::start(command).finish().expect(5);
    for text in [
        "Permission denied",
        "hint: the process of another user can be measured as root only",
    ] {
        assert!(said.stderr.contains(text), "{}", said.stderr);
    }
    server.serves_still();
}

/// Its processes may not be looked at, and so their end is no news: that nothing listens any more is.
#[test]
fn a_target_of_another_user_that_ends_in_the_hold_is_told() {
    let lab = Lab::new();
    let server = Found::start(&lab);
    let nobody = ForNobody::new();
    let address = &server.address;
    let words = ["run", "--progress", "json", "--target", address];
    let rest = ["-n", CONNECTIONS, "--hold", "100s"];
    let mut command = nobody.command(&[&words[..], &rest].concat(), &FakeEngine::empty());
    command.env("C1M_RESULTS_DIR", nobody.make("results"));
    let mut run = Running::start(command);
    run.await_line(HOLDS);
    server.kill();
    let said = run.finish().expect(6);
    let text = format!("server: nothing listens at {address} any more");
    assert!(said.stderr.contains(&text), "{}", said.stderr);
    server.running.finish();
}
