//! A server and a client by hand: what they say, how they end, and what each notices of the other's end.

#[path = "support/mod.rs"]
mod support;

use std::net::TcpListener;
use std::thread;

use support::{Lab, Running};

/// A server on a port that the kernel chose, with its address.
fn server(lab: &Lab) -> (Running, String) {
    let mut server = Running::start(lab.command(&["server", "--listen", "127.0.0.1:0"]));
    let line = server.await_line("listening on ");
    let rest = line.split_once("listening on ").expect("it is there").1;
    let address = rest.split_once(' ').expect("an address").0.to_owned();
    (server, address)
}

#[test]
fn a_client_opens_verifies_and_holds_and_the_server_sees_it_go() {
    let lab = Lab::new();
    let (mut server, address) = server(&lab);
    let client = lab
        .run(&["client", &address, "-n", "200", "--hold", "1s"])
        .expect(0);
    assert!(client.stderr.contains("opened 200 in"), "{}", client.stderr);
    assert!(
        client.stderr.contains("200 of 200 echoed"),
        "{}",
        client.stderr
    );
    server.await_line("lost ");
    server.signal("INT");
    server.finish().expect(0);
}

#[test]
fn a_client_says_when_and_why_its_connections_were_lost() {
    let lab = Lab::new();
    let (server, address) = server(&lab);
    let mut client = Running::start(lab.command(&["client", &address, "-n", "100"]));
    client.await_line("100 of 100 echoed");
    server.signal("KILL");
    drop(server.finish());
    let line = client.await_line("lost ");
    assert!(line.contains("first 127.1.0.1:"), "{line}");
    client.signal("INT");
    client.finish().expect(6);
}

#[test]
fn a_client_that_has_lost_everything_ends() {
    let lab = Lab::new();
    let (server, address) = server(&lab);
    let mut client = Running::start(lab.command(&["client", &address, "-n", "100"]));
    client.await_line("100 of 100 echoed");
    server.signal("KILL");
    drop(server.finish());
    let ended = client.finish().expect(6);
    assert!(
        ended.stderr.contains("nothing is left to hold"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_client_stopped_right_after_its_server_died_has_lost_its_connections() {
    let lab = Lab::new();
    let (server, address) = server(&lab);
    let mut client = Running::start(lab.command(&["client", &address, "-n", "500"]));
    client.await_line("500 of 500 echoed");
    server.signal("KILL");
    drop(server.finish());
    client.signal("INT");
    let ended = client.finish().expect(6);
    assert!(
        ended
            .stderr
            .contains("500 of 500 connections were lost, 0 were open"),
        "{}",
        ended.stderr
    );
}

/// As a server does that has a limit on its connections: it accepts the others and closes them.
#[test]
fn connections_that_the_server_closes_at_once_are_lost() {
    for engine in ["epoll", "tokio"] {
        let lab = Lab::new();
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let address = listener.local_addr().expect("an address").to_string();
        thread::spawn(move || {
            let mut kept = Vec::new();
            for connection in listener.incoming().map_while(Result::ok) {
                if kept.len() < 30 {
                    kept.push(connection);
                }
            }
        });
        let few = ["-n", "100", "--verify", "0", "--hold", "1s"];
        let ended = lab
            .run(&[&["client", &address, "--engine", engine][..], &few].concat())
            .expect(6);
        assert!(
            ended
                .stderr
                .contains("70 of 100 connections were lost, 30 were open at the end"),
            "{engine}: {}",
            ended.stderr
        );
    }
}

#[test]
fn connections_that_nobody_accepts_are_told() {
    let lab = Lab::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("an address").to_string();
    let few = ["-n", "50", "--verify", "0", "--hold", "1s"];
    let ended = lab
        .run(&[&["client", &address][..], &few].concat())
        .expect(6);
    assert!(
        ended
            .stderr
            .contains("50 of 50 connections wait in the server's accept queue"),
        "{}",
        ended.stderr
    );
}

#[test]
fn nobody_listens_and_the_client_ends() {
    let lab = Lab::new();
    let free = TcpListener::bind("127.0.0.1:0")
        .expect("binds")
        .local_addr()
        .expect("an address");
    let client = lab.run(&["client", &free.to_string(), "-n", "3"]).expect(6);
    assert!(
        client.stderr.contains("3 failed: refused (ECONNREFUSED)"),
        "{}",
        client.stderr
    );
}

#[test]
fn no_connections_and_no_rate_are_usage_errors() {
    let lab = Lab::new();
    for wrong in [
        ["-n", "0"],
        ["--rate", "0"],
        ["--rate", "nan"],
        ["--in-flight", "0"],
    ] {
        lab.run(&[&["client", "127.0.0.1:9"][..], &wrong].concat())
            .expect(2);
    }
}

/// 192.0.2.0/24 is set aside for documentation, and no packet is sent to it here.
#[test]
fn load_on_another_machine_needs_the_users_word_and_a_rate() {
    let lab = Lab::new();
    let elsewhere = ["client", "192.0.2.1:9", "-n", "1", "--source", "127.1.0.1"];
    for (given, missing) in [
        (&[][..], "--i-own-this-target and --rate are missing"),
        (&["--rate", "10"], "--i-own-this-target is missing"),
        (&["--i-own-this-target"], "--rate is missing"),
    ] {
        let ended = lab.run(&[&elsewhere[..], given].concat()).expect(2);
        assert!(ended.stderr.contains(missing), "{}", ended.stderr);
    }
    // Its own source address cannot reach that machine, so that this ends before anything is sent.
    let given = ["--i-own-this-target", "--rate", "10"];
    let ended = lab.run(&[&elsewhere[..], &given].concat()).expect(6);
    assert!(ended.stderr.contains("opened 0"), "{}", ended.stderr);
}

#[test]
fn a_worker_without_a_runner_puts_no_load_on_another_machine() {
    let lab = Lab::new();
    let spec = r#"{"client":{"engine":"epoll","shards":[{"source":"127.1.0.1","target":"192.0.2.1:9","ports":[1024,65535],"count":1}],"ports":"explicit","in_flight":1,"rate":null,"tables":"one","dialers":1,"connect_timeout_ms":1000,"keepalive":null}}"#;
    let ended = lab.run(&["worker", "--spec", spec]).expect(2);
    assert!(
        ended.stderr.contains("192.0.2.1 is not on this kernel"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_server_on_every_interface_says_so() {
    let lab = Lab::new();
    let mut server = Running::start(lab.command(&["server", "--listen", "0.0.0.0:0"]));
    server.await_line("listens on every interface");
    server.await_line("listening on ");
    server.signal("INT");
    server.finish().expect(0);
}

#[test]
fn a_port_that_is_taken_is_named_with_a_hint() {
    let lab = Lab::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = taken.local_addr().expect("an address").to_string();
    let server = lab.run(&["server", "--listen", &address]).expect(1);
    assert!(
        server
            .stderr
            .contains(&format!("cannot listen on {address}"))
            && server.stderr.contains("in use")
            && server.stderr.contains("hint: "),
        "{}",
        server.stderr
    );
}

/// A scenario cannot name addresses, only how many: the one place where two clients could be given the same one is here.
#[test]
fn the_same_source_twice_and_too_few_sources_are_usage_errors() {
    let lab = Lab::new();
    let twice = ["--source", "127.1.0.1", "--source", "127.1.0.1"];
    let ended = lab
        .run(&[&["client", "127.0.0.1:9"][..], &twice].concat())
        .expect(2);
    assert!(
        ended.stderr.contains("127.1.0.1 is given twice"),
        "{}",
        ended.stderr
    );
    let ended = lab
        .run(&[
            "client",
            "127.0.0.1:9",
            "-n",
            "64001",
            "--source",
            "127.1.0.1",
        ])
        .expect(2);
    assert!(
        ended.stderr.contains("need 2 source addresses"),
        "{}",
        ended.stderr
    );
}
