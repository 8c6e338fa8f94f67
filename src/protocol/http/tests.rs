//! Tests of the HTTP client: responses of every framing, and that no split of the bytes changes the verdict.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::domain::HttpHeader;
use crate::protocol::ConnectionEnds;

const NEW: Connection = Connection::new(0, 0);

fn http(status: Option<u16>) -> Http {
    let request = HttpRequest {
        status,
        ..HttpRequest::default()
    };
    Http::new(&request, Duration::from_secs(1))
}

/// The verdict on `parts`.
fn answer(http: &Http, parts: &[&[u8]]) -> Step {
    let mut out = Output::new();
    let mut state = http.begin(&NEW);
    let mut step = http.on_open(&NEW, &mut state, &mut out);
    for part in parts {
        if step != Step::Wait {
            break;
        }
        step = http.on_bytes(&mut state, part, &mut out);
    }
    step
}

const fn failed(reason: LossReason) -> Step {
    Step::Failed(Mistake::Wrong(reason))
}

#[test]
fn each_framing_ends_where_it_says() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ncontent-length:5 \r\n\r\nhello",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200\r\nContent-Length: 1\r\n\r\n.",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 900\r\n\r\n",
        "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n.",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 7\r\n\r\n0\r\nTrailer: x\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnections: close\r\nX-Connection: close\r\nContent-Length: 0\r\n\r\n",
    ] {
        assert_eq!(
            answer(&http(None), &[response.as_bytes()]),
            Step::Done,
            "{response}"
        );
        let but_the_last = &response.as_bytes()[..response.len() - 1];
        assert_eq!(
            answer(&http(None), &[but_the_last]),
            Step::Wait,
            "{response}"
        );
        let more = format!("{response}x");
        assert_eq!(
            answer(&http(None), &[more.as_bytes()]),
            failed(LossReason::Excess),
            "{response}"
        );
    }
}

#[test]
fn each_fault_has_its_name() {
    use ClosingSign::{ConnectionClose, NoLength, NotChunked, OldVersion};
    use LossReason::{Closes, Malformed, NotHttp, Status};
    for (response, reason) in [
        ("SSH-2.0-OpenSSH_9.2\r\n", NotHttp),
        ("HTTP/2 200\r\n\r\n", NotHttp),
        ("HTTP/1.1 20x OK\r\n", NotHttp),
        ("HTTP/1.1 2000 OK\r\n", NotHttp),
        ("HTTP/1.1 099 OK\r\n", NotHttp),
        ("HTTP/1.1 503 Service Unavailable\r\n", Status(503)),
        ("HTTP/1.1 101 Switching Protocols\r\n", Status(101)),
        (
            "HTTP/1.1 200 OK\r\nConnection: foo, Close\r\nContent-Length: 0\r\n\r\n",
            Closes(ConnectionClose),
        ),
        (
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            Closes(OldVersion),
        ),
        ("HTTP/1.1 200 OK\r\nServer: x\r\n\r\n", Closes(NoLength)),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
            Closes(NotChunked),
        ),
        (
            "HTTP/1.1 200 OK\r\nno header\r\n",
            Malformed(HttpFault::HeaderLine),
        ),
        (
            "HTTP/1.1 200 OK\r\n folded: x\r\n",
            Malformed(HttpFault::HeaderLine),
        ),
        ("HTTP/1.1 200 OK\r\n\rx", Malformed(HttpFault::HeaderLine)),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n",
            Malformed(HttpFault::Length),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1 1\r\n",
            Malformed(HttpFault::Length),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length:\r\n",
            Malformed(HttpFault::Length),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n",
            Malformed(HttpFault::Length),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n",
            Malformed(HttpFault::Length),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
            Malformed(HttpFault::Chunk),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n",
            Malformed(HttpFault::Chunk),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxx",
            Malformed(HttpFault::Chunk),
        ),
    ] {
        assert_eq!(
            answer(&http(None), &[response.as_bytes()]),
            failed(reason),
            "{response}"
        );
    }
}

#[test]
fn a_status_may_be_named() {
    let upgrade = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n";
    assert_eq!(answer(&http(Some(101)), &[upgrade]), Step::Done);
    let missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(answer(&http(Some(404)), &[missing]), Step::Done);
    let step = answer(&http(Some(404)), &[b"HTTP/1.1 200 OK\r\n"]);
    assert_eq!(step, failed(LossReason::Status(200)));
    let Step::Failed(mistake) = step else {
        unreachable!("it failed");
    };
    assert_eq!(http(Some(404)).expected(mistake), "404");
    assert_eq!(http(None).expected(mistake), "200 to 399");
}

#[test]
fn a_request_has_the_values_of_its_connection() {
    let template = |text| Template::parse(text).expect("a template");
    let connection = Connection {
        index: 12,
        ends: Some(ConnectionEnds {
            source: Ipv4Addr::new(127, 1, 0, 1),
            target: "127.0.0.1:8080".parse().expect("an address"),
        }),
        ..NEW
    };
    let written = |request: &HttpRequest| {
        let http = Http::new(request, Duration::from_secs(1));
        assert!(http.names_ends());
        let mut out = Output::new();
        let mut state = http.begin(&connection);
        assert_eq!(http.on_open(&connection, &mut state, &mut out), Step::Wait);
        String::from_utf8(out.bytes().to_vec()).expect("text")
    };
    assert_eq!(
        written(&HttpRequest::default()),
        "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
    );
    let request = HttpRequest {
        path: template("/user/{n}"),
        host: Some(template("example.org")),
        headers: vec![HttpHeader {
            name: "X-Real-IP".to_owned(),
            value: template("{source}"),
        }],
        status: None,
    };
    assert_eq!(
        written(&request),
        "GET /user/12 HTTP/1.1\r\nHost: example.org\r\nX-Real-IP: 127.1.0.1\r\n\r\n"
    );
}

#[test]
fn a_connection_that_has_failed_is_not_asked_again() {
    let connection = Connection {
        past: Past::Failed,
        ..NEW
    };
    let mut out = Output::new();
    let step = http(None).on_open(&connection, &mut HttpState::new(), &mut out);
    assert_eq!(step, failed(LossReason::AfterFailure));
    assert_eq!(out.bytes(), b"");
}

/// Responses of which most are nearly right.
fn response() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("Content-Length: 3\r\n"),
        Just("content-length: 12 \n"),
        Just("Transfer-Encoding: chunked\r\n"),
        Just("Transfer-Encoding: gzip\r\n"),
        Just("Connection: keep-alive\r\n"),
        Just("Connection: close\r\n"),
        Just("Server: x\r\n"),
        Just("bad\r\n"),
        Just("\r\n"),
        Just("abc"),
        Just("3\r\nabc\r\n"),
        Just("0\r\n\r\n"),
        Just("HTTP/1.1 200 OK\r\n"),
    ];
    let start = prop_oneof![
        Just("HTTP/1.1 200 OK\r\n"),
        Just("HTTP/1.0 200 OK\r\n"),
        Just("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 x\r\n"),
        Just("HTTP/1.1 500 x\r\n"),
    ];
    (start, proptest::collection::vec(line, 0..8))
        .prop_map(|(start, lines)| format!("{start}{}", lines.concat()))
}

proptest! {
    #[test]
    fn any_split_gives_the_same_verdict(
        bytes in prop_oneof![response().prop_map(String::into_bytes), proptest::collection::vec(any::<u8>(), 0..64)],
        cut in 1_usize..9
    ) {
        let parts: Vec<&[u8]> = bytes.chunks(cut).collect();
        let whole = answer(&http(None), &[&bytes]);
        // What comes behind the end in another part is not looked at any more.
        let end = |step| if step == failed(LossReason::Excess) { Step::Done } else { step };
        let cut = answer(&http(None), &parts);
        if !bytes.is_empty() {
            prop_assert_eq!(end(whole), end(cut));
        }
    }
}
