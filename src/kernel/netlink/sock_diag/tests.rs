//! Answers of the kernel, put together by hand.

use proptest::prelude::*;

use super::*;

fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn established(local: [u8; 4], port: u16, remote: [u8; 4], remote_port: u16) -> Vec<u8> {
    let mut body = vec![0; MESSAGE + 8];
    body[0] = AF_INET;
    body[1] = 1;
    body[4..6].copy_from_slice(&port.to_be_bytes());
    body[6..8].copy_from_slice(&remote_port.to_be_bytes());
    body[8..12].copy_from_slice(&local);
    body[24..28].copy_from_slice(&remote);
    body
}

#[test]
fn sockets_are_shown_and_the_end_is_seen() {
    let mut piece = message(
        BY_FAMILY,
        &established([127, 0, 0, 1], 9000, [127, 0, 0, 2], 1024),
    );
    piece.extend(message(DONE, &0_u32.to_ne_bytes()));
    let mut seen = Vec::new();
    let progress = fold_piece(&piece, &mut |socket| seen.push(*socket)).unwrap();
    assert_eq!(progress, Progress::Done);
    assert_eq!(
        seen,
        [ListedSocket {
            state: TcpState::Established,
            local: "127.0.0.1:9000".parse().unwrap(),
            remote: "127.0.0.2:1024".parse().unwrap(),
            receive_queue: 0,
            send_queue: 0,
            local_ip: "127.0.0.1".parse().unwrap(),
            inode: 0,
        }]
    );
}

#[test]
fn a_mapped_address_shows_as_the_one_it_maps() {
    let mut body = established([0; 4], 80, [0; 4], 1024);
    body[0] = AF_INET6;
    body[18..24].copy_from_slice(&[0xff, 0xff, 198, 18, 0, 1]);
    assert_eq!(
        socket(&body).unwrap().local,
        "198.18.0.1:80".parse().unwrap()
    );
}

#[test]
fn a_refusal_carries_the_errno() {
    let piece = message(ERROR, &(-2_i32).to_ne_bytes());
    assert_eq!(
        fold_piece(&piece, &mut |_| ()).unwrap(),
        Progress::Refused(2)
    );
}

#[test]
fn states_are_numbered_as_the_kernel_does() {
    assert_eq!(StateSet::only(TcpState::Established), StateSet(2));
    assert_eq!(StateSet::all_but(TcpState::Established), StateSet(0x1ffc));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(piece in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = fold_piece(&piece, &mut |_| ());
    }

    #[test]
    fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        for kind in [BY_FAMILY, DONE, ERROR, 0] {
            let _ = fold_piece(&message(kind, &body), &mut |_| ());
        }
    }
}
