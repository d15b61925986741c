//! What is refused, with which status, and that nothing behind it is believed.

mod harness;

use harness::client::End;
use harness::{Server, scaled};

/// Requests that are wrong, and what they get.  `{}` is a valid rest of the head.
const WRONG: &[(u16, &str)] = &[
    // Framing.
    (400, "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n{}0\r\n\r\n"),
    (400, "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n{}abc"),
    (400, "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n{}abcd"),
    (400, "POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n{}abc"),
    (400, "POST / HTTP/1.1\r\nContent-Length: +3\r\n{}abc"),
    (400, "POST / HTTP/1.1\r\nContent-Length: -3\r\n{}abc"),
    (400, "POST / HTTP/1.1\r\nContent-Length: 0x3\r\n{}abc"),
    (400, "POST / HTTP/1.1\r\nContent-Length: 3 3\r\n{}abc"),
    (400, "POST / HTTP/1.1\r\nContent-Length:\r\n{}"),
    (400, "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n{}"),
    (400, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n{}"),
    (400, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n{}"),
    (400, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n{}"),
    (501, "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n{}"),
    (400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n{}0\r\n\r\n"),
    // Chunks.
    (400, "POST /sum HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{}x\r\n"),
    (400, "POST /sum HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{}3\nabc\r\n0\r\n\r\n"),
    (400, "POST /sum HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{}3\r\nabcd\r\n0\r\n\r\n"),
    (400, "POST /sum HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{}-3\r\nabc\r\n0\r\n\r\n"),
    (400, "POST /sum HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{}3;\rx\r\nabc\r\n0\r\n\r\n"),
    (400, "POST /sum HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{}fffffffffffffffff\r\n"),
    (400, "POST /sum HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{}0x3\r\nabc\r\n0\r\n\r\n"),
    // Lines and fields.
    (400, "GET / HTTP/1.1\nHost: x\n\n"),
    (400, "GET / HTTP/1.1\r\nX: a\nY: b\r\n{}"),
    (400, "GET / HTTP/1.1\r\nX: a\r\n folded\r\n{}"),
    (400, "GET / HTTP/1.1\r\n X: a\r\n{}"),
    (400, "GET / HTTP/1.1\r\nX : a\r\n{}"),
    (400, "GET / HTTP/1.1\r\nno colon\r\n{}"),
    (400, "GET / HTTP/1.1\r\n: no name\r\n{}"),
    (400, "GET / HTTP/1.1\r\nX: a\0b\r\n{}"),
    (400, "GET / HTTP/1.1\r\nX: a\x01b\r\n{}"),
    (400, "GET / HTTP/1.1\r\nX: a\rb\r\n{}"),
    (400, "GET / HTTP/1.1\r\nContent-Type: a/b\r\nContent-Type: c/d\r\n{}"),
    // Host.
    (400, "GET / HTTP/1.1\r\n\r\n"),
    (400, "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"),
    // Request lines.
    (400, "GET  / HTTP/1.1\r\n{}"),
    (400, "GET /\tx HTTP/1.1\r\n{}"),
    (400, "GET / x HTTP/1.1\r\n{}"),
    (400, "G@T / HTTP/1.1\r\n{}"),
    (400, "GET relative HTTP/1.1\r\n{}"),
    (400, "GET * HTTP/1.1\r\n{}"),
    (400, "GET x:80 HTTP/1.1\r\n{}"),
    (400, "GET /\x7f HTTP/1.1\r\n{}"),
    (400, "GET /\u{e4} HTTP/1.1\r\n{}"),
    (400, "GET / HTTP/1.1 \r\n{}"),
    (400, "GET / http/1.1\r\n{}"),
    (505, "GET / HTTP/2.0\r\n{}"),
    (505, "GET / HTTP/9.9\r\n{}"),
    (400, "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n"),
    (417, "GET / HTTP/1.1\r\nExpect: 200-ok\r\n{}"),
];

#[test]
fn the_wrong_is_refused_and_nothing_after_it_believed() {
    let server = Server::app(&[]);
    for (status, request) in WRONG {
        let request = request.replace("{}", "Host: x\r\n\r\n");
        let smuggled = "GET /query?smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
        let mut client = server.connect();
        client.try_send(format!("{request}{smuggled}"));
        let response = client.try_response("GET");
        let response = response.unwrap_or_else(|problem| panic!("{request:?}: {problem}"));
        assert_eq!(response.status, *status, "{request:?}");
        if *status != 417 {
            assert_eq!(response.header("connection"), Some("close"), "{request:?}");
            client.end();
        }
    }
    assert_eq!(server.get("/query?alive"), "alive");
    server.stop();
}

#[test]
fn the_wrong_is_refused_octet_by_octet_too() {
    let server = Server::app(&[]);
    for (status, request) in WRONG.iter().step_by(if scaled(20) == 1 { 5 } else { 1 }) {
        let request = request.replace("{}", "Host: x\r\n\r\n");
        let mut client = server.connect();
        for octet in request.as_bytes() {
            if !client.try_send([*octet]) {
                break;
            }
        }
        match client.try_response("GET") {
            Ok(response) => assert_eq!(response.status, *status, "{request:?}"),
            // What was sent after the verdict may have reset the connection before it was read.
            Err(problem) => assert!(problem.contains("reset"), "{request:?}: {problem}"),
        }
    }
    assert_eq!(server.get("/query?alive"), "alive");
    server.stop();
}

#[test]
fn the_right_is_let_through() {
    let server = Server::app(&[]);
    let mut client = server.connect();
    for (method, target, answer) in [
        ("GET", "/query?a=%20&b", "a=%20&b"),
        ("GET", "http://example.org/query?absolute", "absolute"),
        ("GET", "/%71uery?decoded", "decoded"),
        ("get", "/query?lower", "lower"),
        ("M-SEARCH", "/query?token", "token"),
        ("PATCH", "/query?x[]=|", "x[]=|"),
    ] {
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: example.org\r\n\r\n"));
        assert_eq!(client.response(method).text(), answer, "{method} {target}");
    }
    // One empty line before a request is forgiven; `*` is for OPTIONS.
    client.send("\r\nGET /query?1 HTTP/1.1\r\nhOsT:x\r\nX-Empty:\r\nX-Spaces: \t a \t\r\n\r\n");
    assert_eq!(client.response("GET").text(), "1");
    client.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.response("OPTIONS").status, 404);
    server.stop();
}

#[test]
fn limits_of_the_head_answer() {
    let server = Server::app(&[
        "limit_request_line=100",
        "limit_request_fields=10",
        "limit_request_field_size=200",
        "limit_request_head=1k",
    ]);
    let line = |n: usize| format!("GET /query?{} HTTP/1.1\r\nHost: x\r\n\r\n", "q".repeat(n - 20));
    let fields = |n: usize| {
        let fields: String = (1..n).map(|i| format!("X-{i}: 1\r\n")).collect();
        format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
    };
    let size = |n: usize| format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "v".repeat(n - 3));
    let head = |n: usize| {
        let fields: String = (0..6).map(|i| format!("X-{i}: {}\r\n", "v".repeat(n))).collect();
        format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
    };
    for (status, request) in [
        (200, line(90)),
        (414, line(110)),
        (414, line(5000)),
        (200, fields(10)),
        (431, fields(11)),
        (431, fields(200)),
        (200, size(190)),
        (431, size(210)),
        (200, head(120)),
        (431, head(190)),
        (414, "G".repeat(5000)),
    ] {
        let mut client = server.connect();
        client.try_send(&request);
        let response = client.try_response("GET");
        let response = response.unwrap_or_else(|problem| panic!("{problem}: {request:.100}"));
        assert_eq!(response.status, status, "{request:.300}");
        if status != 200 {
            client.end();
        }
    }
    assert_eq!(server.get("/query?alive"), "alive");
    server.stop();
}

#[test]
fn a_head_that_stops_coming_times_out() {
    let server = Server::app(&["header_timeout=1s", "keepalive=60s"]);
    for start in ["G", "GET / HTTP/1.1\r\nHost: x\r\n"] {
        let mut client = server.connect();
        client.send(start);
        let response = client.response("GET");
        assert_eq!((response.status, response.header("connection")), (408, Some("close")));
        assert_eq!(client.end(), End::Closed);
    }
    server.stop();
}

#[test]
fn a_connection_that_says_nothing_is_closed_in_silence() {
    let server = Server::app(&["header_timeout=300ms", "keepalive=300ms"]);
    let mut client = server.connect();
    client.end();
    server.stop();
}

#[test]
fn slow_clients_do_not_disturb_the_others() {
    let server = Server::app(&[]);
    let mut slow: Vec<_> = (0..200).map(|_| server.connect()).collect();
    for client in &mut slow {
        client.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n1");
    }
    assert_eq!(server.get("/query?quick"), "quick");
    for client in &mut slow {
        client.send("2");
        assert_eq!(client.response("POST").text(), "12");
    }
    server.stop();
}
