//! Connections: kept, closed, pipelined, cut; and how responses are framed on them.

mod harness;

use std::net::TcpListener;

use harness::client::{Client, End, Framing};
use harness::{SIGTERM, Server, curl, program, scaled};

#[test]
fn a_connection_is_kept() {
    let server = Server::app(&[]);
    let mut client = server.connect();
    for n in 0..scaled(10_000) {
        let response = client.get(&format!("/query?{n}"));
        assert_eq!(response.text(), n.to_string());
        assert!(response.keeps_alive());
    }
    server.stop();
}

#[test]
fn close_is_obeyed_and_said() {
    let server = Server::app(&[]);
    for value in ["close", "Close", "foo, close", "close,"] {
        let mut client = server.connect();
        client.send(format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: {value}\r\n\r\n"));
        let response = client.response("GET");
        assert_eq!((response.status, response.header("connection")), (200, Some("close")));
        assert_eq!(client.end(), End::Closed, "{value}");
    }
    server.stop();
}

#[test]
fn http_1_0_closes_unless_asked() {
    let server = Server::app(&[]);
    let mut client = server.connect();
    client.send("GET / HTTP/1.0\r\n\r\n");
    let response = client.response("GET");
    assert_eq!((response.status, response.text().as_str()), (200, "hello, world\n"));
    assert!(!response.keeps_alive());
    assert_eq!(client.end(), End::Closed);

    let mut client = server.connect();
    for _ in 0..3 {
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let response = client.response("GET");
        assert_eq!(response.header("content-length"), Some("13"));
        let connection = response.header("connection").expect("it is kept, and says so");
        assert_eq!(connection.to_lowercase(), "keep-alive");
    }
    // A body of unknown length ends with the connection, whatever was asked.
    client.send("GET /chunks?n=3 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let response = client.response("GET");
    assert_eq!(response.framing, Framing::Close);
    assert_eq!(response.text(), "aaaaaaaaaabbbbbbbbbbcccccccccc");
    server.stop();
}

#[test]
fn no_keepalive_is_said_at_once() {
    let server = Server::app(&["keepalive=0"]);
    let mut client = server.connect();
    let response = client.get("/");
    assert_eq!((response.status, response.header("connection")), (200, Some("close")));
    assert_eq!(client.end(), End::Closed);
    server.stop();
}

/// RFC 9112 section 9.6: octets that meet a closed socket reset the connection, and destroy what of
/// the answer is still on its way.
#[test]
fn a_pipelined_request_does_not_destroy_the_last_answer() {
    let server = Server::app(&["keepalive=0"]);
    for rounds in 1..=scaled(20) as u64 {
        let mut client = server.connect();
        // More than the client's socket takes, and less than both.
        client.send("GET /chunks?n=40&size=10000 HTTP/1.1\r\nHost: x\r\n\r\n");
        server.wait_for_count("closed", rounds);
        client.send("GET /query?never HTTP/1.1\r\nHost: x\r\n\r\n");
        let response = client.response("GET");
        assert_eq!((response.body.len(), response.keeps_alive()), (400_000, false));
        assert_eq!(client.end(), End::Closed);
    }
    server.stop();
}

#[test]
fn an_idle_connection_is_closed_in_silence() {
    let server = Server::app(&["keepalive=300ms", "header_timeout=60s"]);
    let mut client = server.connect();
    assert_eq!(client.get("/").status, 200);
    assert_eq!(client.end(), End::Closed);
    server.stop();
}

#[test]
fn fifty_pipelined_requests_are_answered_in_order() {
    let server = Server::app(&[]);
    let mut client = server.connect();
    let requests = |n| format!("GET /query?{n} HTTP/1.1\r\nHost: x\r\n\r\n");
    client.send((0..50).map(requests).collect::<String>());
    for n in 0..50 {
        assert_eq!(client.response("GET").text(), n.to_string());
    }

    // All kinds together, and the last one closes.
    client.send("HEAD /query?a HTTP/1.1\r\nHost: x\r\n\r\n");
    client.send("GET /chunks?n=2&size=3 HTTP/1.1\r\nHost: x\r\n\r\n");
    client.send("GET /status?code=204 HTTP/1.1\r\nHost: x\r\n\r\n");
    client.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
    client.send("GET /query?z HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    client.send("GET /query?never HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.response("HEAD").header("content-length"), Some("1"));
    assert_eq!(client.response("GET").text(), "aaabbb");
    assert_eq!(client.response("GET").status, 204);
    assert_eq!(client.response("POST").text(), "body");
    assert_eq!(client.response("GET").text(), "z");
    client.end();
    server.stop();
}

#[test]
fn pipelined_requests_follow_a_body_that_nobody_reads() {
    for buffering in ["request_buffering=1", "request_buffering=0"] {
        let server = Server::app(&[buffering]);
        let mut client = server.connect();
        let next: String =
            (0..50).map(|n| format!("GET /query?{n} HTTP/1.1\r\nHost: x\r\n\r\n")).collect();
        for length in [1, 100, 20_000] {
            // What looks like a request in the body is none.
            let body = "GET /smuggled HTTP/1.1\r\n\r\n".repeat(1 + length / 26);
            let head = "POST / HTTP/1.1\r\nHost: x\r\n";
            client.send(format!("{head}Content-Length: {length}\r\n\r\n{}", &body[..length]));
            client.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n"));
            client.send(format!("{length:x}\r\n{}\r\n0\r\n\r\n{next}", &body[..length]));
            assert_eq!(client.response("POST").text(), "hello, world\n");
            assert_eq!(client.response("POST").text(), "hello, world\n");
            for n in 0..50 {
                assert_eq!(client.response("GET").text(), n.to_string(), "{buffering} {length}");
            }
        }
        server.stop();
    }
}

#[test]
fn a_request_may_come_octet_by_octet() {
    let server = Server::app(&[]);
    let mut client = server.connect();
    let request = "POST /echo?q HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
                   4\r\nWiki\r\n5;a=\"b\"\r\npedia\r\n0\r\nX-Trailer: t\r\n\r\n";
    for octet in request.as_bytes() {
        client.send([*octet]);
    }
    assert_eq!(client.response("POST").text(), "Wikipedia");
    // Cut at every place, in two.
    for at in (1..request.len()).step_by(if scaled(20) == 1 { 9 } else { 1 }) {
        client.send(&request[..at]);
        std::thread::sleep(std::time::Duration::from_micros(200));
        client.send(&request[at..]);
        assert_eq!(client.response("POST").text(), "Wikipedia", "cut at {at}");
    }
    server.stop();
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let server = Server::app(&[]);
    let mut client = server.connect();
    for target in ["/", "/query?abc", "/chunks?n=2", "/claim?claim=20&n=2", "/nothing-here"] {
        let get = client.get(target);
        client.send(format!("HEAD {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let head = client.response("HEAD");
        assert_eq!(head.status, get.status, "{target}");
        let names = |r: &harness::client::Response| {
            // A HEAD need not say how a body would have been framed.
            let may_differ = ["date", "transfer-encoding"];
            let same = |name: &str| !may_differ.contains(&&*name.to_ascii_lowercase());
            r.headers.iter().filter(|(n, _)| same(n)).cloned().collect::<Vec<_>>()
        };
        assert_eq!(names(&head), names(&get), "{target}");
    }
    assert_eq!(client.get("/query?intact").text(), "intact");
    assert_eq!(server.count("opened"), server.count("closed"));
    server.stop();
}

#[test]
fn some_statuses_have_no_body() {
    let server = Server::app(&[]);
    let mut client = server.connect();
    for code in [204, 304] {
        let response = client.get(&format!("/status?code={code}"));
        assert_eq!((response.status, response.framing), (code, Framing::None));
        assert_eq!(response.header("transfer-encoding"), None);
        if code == 204 {
            assert_eq!(response.header("content-length"), None);
        }
        assert_eq!(client.get("/query?next").text(), "next", "{code}");
    }
    for code in [200, 205, 404, 418, 500, 599, 999] {
        let response = client.get(&format!("/status?code={code}"));
        assert_eq!(response.status, code);
        assert_eq!(client.get("/query?next").text(), "next", "{code}");
    }
    server.stop();
}

#[test]
fn unknown_lengths_are_chunked() {
    let server = Server::app(&[]);
    let mut client = server.connect();
    let response = client.get("/chunks?n=3&size=5");
    assert_eq!((response.framing, response.text().as_str()), (Framing::Chunked, "aaaaabbbbbccccc"));
    let response = client.get("/chunks?n=1&size=1000000");
    assert_eq!((response.framing, response.body.len()), (Framing::Chunked, 1_000_000));
    let response = client.get("/chunks?n=0");
    assert_eq!(response.body.len(), 0);
    assert!(response.keeps_alive());
    let response = client.get("/claim?claim=15&n=3&size=5");
    assert_eq!((response.framing, response.text().as_str()), (Framing::Length, "aaaaabbbbbccccc"));
    server.stop();
}

#[test]
fn a_connection_taken_from_the_peer_is_let_go() {
    let server = Server::app(&[]);
    for request in [
        "",
        "G",
        "GET / HTTP/1.1\r\nHo",
        "POST /echo HTTP/1.1\r\nHost: x\r\n\
                     Content-Length: 10\r\n\r\nfive!",
        "GET /chunks?n=-1 HTTP/1.1\r\nHost: x\r\n\r\n",
    ] {
        let mut client = server.connect();
        client.send(request);
        drop(client);
    }
    server.wait_for_count("closed", 1);
    assert_eq!(server.count("opened"), 1);
    server.stop();
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    let server = Server::app(&[]);
    let mut client = server.connect();
    client.send("GET /query?1 HTTP/1.1\r\nHost: x\r\n\r\nGET /query?2 HTTP/1.1\r\nHost: x\r\n\r\n");
    client.finish();
    assert_eq!(client.response("GET").text(), "1");
    assert_eq!(client.response("GET").text(), "2");
    assert_eq!(client.end(), End::Closed);
    server.stop();
}

#[test]
fn a_unix_socket_serves_as_well() {
    let path = harness::support::scratch_dir().join(format!("socket-{}", std::process::id()));
    let name = path.to_str().expect("a plain path");
    let server = Server::app(&[&format!("bind=unix:{name}")]);
    // Who is answered knows that all listeners are there.
    assert_eq!(server.get("/query?by-address"), "by-address");
    assert_eq!(curl(&["--unix-socket", name, "http://host/query?by-path"]), "by-path");
    let url = "http://host:81/variable?name=SERVER_NAME";
    assert_eq!(curl(&["--unix-socket", name, url]), "host");
    server.stop();
    assert!(!path.exists(), "the socket is left behind");
}

#[test]
fn an_ipv6_listener_serves_as_well() {
    let free = match TcpListener::bind("[::1]:0") {
        Ok(listener) => listener.local_addr().expect("its address").to_string(),
        Err(error) => {
            eprintln!("NO IPV6 HERE ({error}): only the refusal is tested");
            let ended = Server::launch(
                &program(&["tests/c/app.c"]),
                &["{}", "worker_model=inline", "bind=[::1]:8000"],
            )
            .end();
            assert_eq!(ended.status, Some(1), "{ended:?}");
            assert!(ended.stderr.contains("[::1]:8000"), "{ended:?}");
            return;
        }
    };
    let server = Server::app(&[&format!("bind={free}"), "loglevel=info"]);
    // Who is answered knows that all listeners are there.
    assert_eq!(server.get("/query?by-address"), "by-address");
    let port = free.rsplit_once(':').expect("a port").1;
    let variable = |name| curl(&["-g", &format!("http://{free}/variable?name={name}")]);
    assert_eq!(variable("REMOTE_ADDR"), "::1");
    assert_eq!(variable("SERVER_PORT"), port);
    assert_eq!(variable("HTTP_HOST"), free);
    let mut client = Client::connect(&free);
    client.send("GET /variable?name=SERVER_NAME HTTP/1.0\r\n\r\n");
    assert_eq!(client.response("GET").text(), "::1");
    client.end();
    let ended = server.stop();
    assert!(ended.stderr.contains(&format!("Listening at: {free}")), "{ended:?}");
}

#[test]
fn a_graceful_stop_lets_requests_finish() {
    let server = Server::app(&["output_buffer=16k"]);
    let mut idle = server.connect();
    assert_eq!(idle.get("/").status, 200);
    let mut busy = server.connect();
    let n = scaled(2000);
    busy.send(format!("GET /chunks?n={n}&size=10000 HTTP/1.1\r\nHost: x\r\n\r\n"));
    // Its answer is larger than what the sockets hold: it is under way when the stop comes.
    while server.count("produced") == 0 {}
    server.signal(SIGTERM);
    let response = busy.response("GET");
    assert_eq!(response.body.len(), n * 10_000);
    assert_eq!(idle.end(), End::Closed);
    assert_eq!(busy.end(), End::Closed);
    assert_eq!(server.end().status, Some(0));
}

#[test]
fn a_graceful_stop_does_not_wait_for_a_body_that_nobody_reads() {
    let server = Server::app(&["graceful_timeout=1h", "body_timeout=1h", "request_buffering=0"]);
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nsome");
    assert_eq!(client.response("POST").status, 200);
    server.signal(SIGTERM);
    assert_eq!(server.end().status, Some(0));
    drop(client);
}

#[test]
fn a_producer_waits_for_a_client_that_does_not_read() {
    let server = Server::app(&["write_timeout=60s"]);
    let mut client = server.connect();
    client.send("GET /chunks?n=-1&size=65536 HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut before = u64::MAX;
    // Until nothing more is produced: the buffers are full.
    while server.count("produced") != before || before == 0 {
        before = server.count("produced");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert!(before < 64 << 20, "{before} octets for a client that reads none");
    assert_eq!(server.count("closed"), 0);
    drop(client);
    server.wait_for_count("closed", 1);
    server.stop();
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let server = Server::app(&["write_timeout=300ms"]);
    let mut client = server.connect();
    client.send("GET /chunks?n=-1&size=65536 HTTP/1.1\r\nHost: x\r\n\r\n");
    server.wait_for_count("closed", 1);
    assert!(client.drain() > 0);
    server.stop();
}

#[test]
fn connections_beyond_the_cap_wait_their_turn() {
    let server = Server::app(&["worker_connections=2", "keepalive=60s"]);
    let mut first = server.connect();
    let mut second = server.connect();
    assert_eq!(first.get("/").status, 200);
    assert_eq!(second.get("/").status, 200);
    let mut third = server.connect();
    third.send("GET /query?third HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(third.is_silent());
    drop(first);
    assert_eq!(third.response("GET").text(), "third");
    drop((second, third));
    server.stop();
}
