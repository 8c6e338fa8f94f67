//! How far a server has accepted what its kernel has established, from the kernel's own list of sockets.
//!
//! A handshake ends in the accept queue of the listening socket, without any doing of the server. Only accept(2) gives a
//! connection a file, and so an inode (`inet_accept` in `net/ipv4/af_inet.c`).

use std::net::SocketAddrV4;

use super::count::CountError;
use crate::domain::{AcceptState, ListenQueue, TcpState};
use crate::kernel::netlink::sock_diag::{Family, ListedSocket, SockDiag, StateSet};

/// Looks at the server's end of the connections to `targets`, in the calling thread's network namespace.
///
/// # Errors
/// When the kernel gives no list.
pub fn accept_state(targets: &[SocketAddrV4]) -> Result<AcceptState, CountError> {
    let mut ports: Vec<u16> = targets.iter().map(SocketAddrV4::port).collect();
    ports.sort_unstable();
    ports.dedup();
    let mut targets = targets.to_vec();
    targets.sort_unstable();
    let mut state = AcceptState::default();
    let mut diag = SockDiag::open()?;
    for port in ports {
        for family in [Family::V4, Family::V6] {
            diag.for_each_at_port(family, StateSet::ALL, port, |socket| {
                add(&mut state, &targets, socket);
            })?;
        }
    }
    state.queues.sort_by_key(|queue| queue.address);
    Ok(state)
}

/// The accept queues of `targets` alone. That costs next to nothing: listening sockets are in a list of their own.
///
/// # Errors
/// When the kernel gives no list.
pub fn accept_queues(targets: &[SocketAddrV4]) -> Result<Vec<ListenQueue>, CountError> {
    let mut queues = listening()?;
    queues.retain(|(queue, _)| targets.iter().any(|target| queue.serves(*target)));
    Ok(queues.into_iter().map(|(queue, _)| queue).collect())
}

/// Every listening socket in the calling thread's network namespace, with its inode.
///
/// # Errors
/// When the kernel gives no list.
pub fn listening() -> Result<Vec<(ListenQueue, u32)>, CountError> {
    let mut queues = Vec::new();
    let mut diag = SockDiag::open()?;
    for family in [Family::V4, Family::V6] {
        diag.for_each(family, StateSet::only(TcpState::Listen), |socket| {
            queues.push((queue(socket), socket.inode));
        })?;
    }
    queues.sort_by_key(|(queue, inode)| (queue.address, *inode));
    Ok(queues)
}

fn queue(socket: &ListedSocket) -> ListenQueue {
    ListenQueue {
        address: (socket.local_ip, socket.local.port()).into(),
        length: u64::from(socket.receive_queue),
        limit: u64::from(socket.send_queue),
    }
}

fn add(state: &mut AcceptState, targets: &[SocketAddrV4], socket: &ListedSocket) {
    if socket.state == TcpState::Listen {
        let queue = queue(socket);
        if targets.iter().any(|target| queue.serves(*target)) {
            state.queues.push(queue);
        }
        return;
    }
    // On loopback the client's end is in the same list. Its own port may be the server's, its address is not.
    if targets.binary_search(&socket.local).is_err() {
        return;
    }
    match (socket.state, socket.inode) {
        (TcpState::Established | TcpState::CloseWait, 0) => state.waiting += 1,
        (TcpState::Established, _) => state.accepted += 1,
        (TcpState::CloseWait, _) => {
            state.accepted += 1;
            state.closed_by_client += 1;
        }
        (TcpState::SynRecv | TcpState::NewSynRecv, _) => state.half_open += 1,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(state: TcpState, local: &str, inode: u32) -> ListedSocket {
        let local: SocketAddrV4 = local.parse().expect("an address");
        ListedSocket {
            state,
            local,
            remote: "127.64.0.1:5000".parse().expect("an address"),
            receive_queue: 3,
            send_queue: 5,
            local_ip: (*local.ip()).into(),
            inode,
        }
    }

    #[test]
    fn established_is_not_accepted() {
        let targets = ["127.0.0.1:80".parse().expect("an address")];
        let mut state = AcceptState::default();
        for (kind, local, inode) in [
            (TcpState::Established, "127.0.0.1:80", 7),
            (TcpState::Established, "127.0.0.1:80", 0),
            (TcpState::Established, "127.0.0.1:80", 0),
            (TcpState::CloseWait, "127.0.0.1:80", 9),
            (TcpState::NewSynRecv, "127.0.0.1:80", 0),
            (TcpState::TimeWait, "127.0.0.1:80", 0),
            // A client whose own port is the server's.
            (TcpState::Established, "127.64.0.9:80", 8),
            (TcpState::Listen, "0.0.0.0:80", 4),
            (TcpState::Listen, "0.0.0.0:81", 4),
        ] {
            add(&mut state, &targets, &socket(kind, local, inode));
        }
        assert_eq!(
            (
                state.accepted,
                state.waiting,
                state.half_open,
                state.closed_by_client
            ),
            (2, 2, 1, 1)
        );
        assert_eq!(state.queues.len(), 1);
        assert!((state.fullness() - 0.6).abs() < 1e-9);
    }

    #[test]
    fn a_listener_of_this_process_is_seen_with_what_waits() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let std::net::SocketAddr::V4(address) = listener.local_addr().expect("an address") else {
            panic!("an IPv4 address was asked for");
        };
        let first = std::net::TcpStream::connect(address).expect("a connection");
        let second = std::net::TcpStream::connect(address).expect("a connection");
        let before = accept_state(&[address]).expect("a list");
        assert_eq!((before.accepted, before.waiting), (0, 2));
        assert_eq!(before.queues[0].length, 2);
        let accepted = listener.accept().expect("a connection");
        let after = accept_state(&[address]).expect("a list");
        assert_eq!((after.accepted, after.waiting), (1, 1));
        drop((first, second, accepted));
    }
}
