//! Ends told apart, and this machine's own connections counted.

use std::net::{TcpListener, TcpStream};

use super::*;

fn socket(local: &str, remote: &str) -> ListedSocket {
    ListedSocket {
        state: TcpState::Established,
        local: local.parse().unwrap(),
        remote: remote.parse().unwrap(),
        receive_queue: 0,
        send_queue: 0,
        local_ip: Ipv4Addr::LOCALHOST.into(),
        inode: 1,
    }
}

#[test]
fn the_listening_address_tells_the_ends_apart() {
    let ends = Ends::of(&[
        "127.0.0.1:9000".parse().unwrap(),
        "0.0.0.0:9001".parse().unwrap(),
    ]);
    let end = |local, remote| ends.end_of(&socket(local, remote));
    assert_eq!(end("127.0.0.1:9000", "127.0.0.2:1024"), End::Server);
    assert_eq!(end("127.0.0.2:1024", "127.0.0.1:9000"), End::Client);
    // The port alone does not make it the server's.
    assert_eq!(end("127.0.0.2:9000", "127.0.0.1:9000"), End::Client);
    assert_eq!(end("127.0.0.9:9001", "127.0.0.2:1024"), End::Server);
    assert_eq!(end("127.0.0.2:22", "127.0.0.1:80"), End::Other);
}

fn counted(listen: &str, sockets: &[ListedSocket]) -> (u64, u64) {
    let ends = Ends::of(&[listen.parse().unwrap()]);
    let mut tallies = Tallies::default();
    for socket in sockets {
        tallies.add(socket, ends.end_of(socket));
    }
    tallies.resolve();
    let established = |tally: &Tally| tally.states().of(TcpState::Established).count();
    (established(&tallies.server), established(&tallies.client))
}

#[test]
fn a_client_whose_port_is_the_servers_is_still_a_client() {
    let listener = ListedSocket {
        state: TcpState::Listen,
        ..socket("0.0.0.0:9000", "0.0.0.0:0")
    };
    let server = socket("198.18.0.1:9000", "198.18.1.1:9000");
    let client = socket("198.18.1.1:9000", "198.18.0.1:9000");
    // Each end in a namespace of its own, and both in one.
    assert_eq!(counted("0.0.0.0:9000", &[listener, server]), (1, 0));
    assert_eq!(counted("0.0.0.0:9000", &[client]), (0, 1));
    assert_eq!(counted("0.0.0.0:9000", &[client, listener, server]), (1, 1));
    // The exact address leaves no doubt.
    assert_eq!(counted("198.18.0.1:9000", &[client, server]), (1, 1));
}

#[test]
fn both_ends_of_a_connection_on_this_machine_are_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddrV4 = listener.local_addr().unwrap().to_string().parse().unwrap();
    let streams: Vec<_> = (0..5)
        .map(|_| {
            (
                TcpStream::connect(address).unwrap(),
                listener.accept().unwrap(),
            )
        })
        .collect();
    for count in [
        count_sockets(&[address]).unwrap(),
        count_sockets_at_port(address.port()).unwrap(),
    ] {
        assert_eq!(count.server.of(TcpState::Established), ConnCount::new(5));
        assert_eq!(count.client.of(TcpState::Established), ConnCount::new(5));
        assert_eq!(count.server.of(TcpState::Listen), ConnCount::new(1));
    }
    assert!(current_established().unwrap() >= ConnCount::new(10));
    drop(streams);
}
