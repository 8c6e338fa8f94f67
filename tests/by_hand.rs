//! A server and a client by hand: what they say, how they end, and what each notices of the other's end.

#[path = "support/mod.rs"]
mod support;

use std::net::TcpListener;

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
fn nobody_listens() {
    let lab = Lab::new();
    let free = TcpListener::bind("127.0.0.1:0")
        .expect("binds")
        .local_addr()
        .expect("an address");
    let client = lab
        .run(&["client", &free.to_string(), "-n", "3", "--hold", "1s"])
        .expect(6);
    assert!(
        client.stderr.contains("refused (ECONNREFUSED)"),
        "{}",
        client.stderr
    );
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
