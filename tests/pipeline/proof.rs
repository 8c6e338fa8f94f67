//! What was not proved is not held: clients that stop while they verify, and servers that give nothing to prove.

use super::support::{Lab, Running};

/// A client that is stopped before its echoes cannot finish them. The run ends, and names it.
#[test]
fn a_client_that_is_stopped_while_it_verifies_makes_the_run_invalid() {
    let lab = Lab::new();
    let scenario = lab.scenario("connections: 2000\nhold: 1s\nplace: loopback\n");
    let mut run = Running::start(lab.command(&["run", &scenario, "--progress", "json"]));
    run.await_line("{\"phase\":\"hold\"}");
    let clients = super::interrupts::workers_of(run.pid());
    let stopped = *clients.last().expect("the last worker is a client");
    super::interrupts::kill(stopped, "STOP");
    // Its connections can only be closed by itself or by its end: it goes on once the proof is over.
    run.await_line("{\"phase\":\"drain\"}");
    super::interrupts::kill(stopped, "CONT");
    run.finish().expect(7);
    let result = lab.result();
    assert_eq!(result["verdict"], "invalid");
    let reasons = result["reasons"].to_string();
    assert!(
        reasons.contains("client-1 did not finish proving"),
        "{reasons}"
    );
    let first = lab.report().lines().next().unwrap_or_default().to_owned();
    assert!(
        first.starts_with("**INVALID: client-1 did not finish"),
        "{first}"
    );
}

/// Without a proof the first line says so.
#[test]
fn a_run_without_proof_says_so_in_its_first_line() {
    for set in ["verify=none", "server.read=no", "server.accept=no"] {
        let lab = Lab::new();
        let scenario =
            lab.scenario("connections: 500\nhold: 0s\nplace: loopback\nserver:\n  backlog: 1000\n");
        let ended = lab.run(&["run", &scenario, "--set", set]).expect(0);
        let first = ended.stdout.lines().next().unwrap_or_default();
        assert!(
            first.contains("0 lost, not proved by an echo"),
            "{set}: {first}"
        );
    }
}
