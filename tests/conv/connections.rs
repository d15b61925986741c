//! Connections: when they are kept, pipelining, half-closed clients, the cap per worker.

use gateway::gateway::abi::{Environ, Response as Head, StartResponse};
use gateway::gateway::body::Body;

use super::harness::*;

/// Answers with the target.
fn name(env: &Environ, start: &StartResponse<'_>) -> gateway::base::error::Result<Body> {
    start.respond(&Head::new(200, &TEXT))?;
    Ok(Body::from_vec(env.request_uri().to_vec()))
}

#[test]
fn a_connection_is_kept_as_version_and_header_say() {
    let cases = [
        ("HTTP/1.1", "", true),
        ("HTTP/1.1", "Connection: keep-alive\r\n", true),
        ("HTTP/1.1", "Connection: close\r\n", false),
        ("HTTP/1.1", "Connection: Close\r\n", false),
        ("HTTP/1.1", "Connection: x, close\r\n", false),
        ("HTTP/1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("HTTP/1.1", "Connection: keep-alive, close\r\n", false),
        ("HTTP/1.0", "", false),
        ("HTTP/1.0", "Connection: keep-alive\r\n", true),
        ("HTTP/1.0", "Connection: Keep-Alive\r\n", true),
        ("HTTP/1.0", "Connection: keep-alive, close\r\n", false),
        ("HTTP/1.0", "Connection: close\r\n", false),
    ];
    let mut server = Server::new(|_| {}, hello);
    for (version, line, kept) in cases {
        let mut client = server.connect();
        let response =
            server.ask_on(&mut client, format!("GET / {version}\r\nHost: h\r\n{line}\r\n"));
        assert_eq!(!response.says_close(), kept, "{version} {line}");
        assert_eq!(server.is_kept(&mut client), kept, "{version} {line}");
        let says_kept = response.header("Connection") == Some("keep-alive");
        assert_eq!(says_kept, kept && version == "HTTP/1.0", "{version} {line}");
        if kept {
            assert_eq!(server.ask_on(&mut client, GET).text(), "hello\n");
        } else {
            assert_eq!(client.end, Some(End::Clean));
        }
    }
}

#[test]
fn an_answer_may_close_its_connection_and_no_other() {
    let mut server = Server::new(
        |_| {},
        |env: &Environ, start: &StartResponse<'_>| {
            let head = Head::new(200, &TEXT);
            start.respond(&if env.request_uri() == b"/last" { head.closing() } else { head })?;
            Ok(Body::from_vec(env.request_uri().to_vec()))
        },
    );
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        let mut client = server.connect();
        for (path, closes) in [("/", false), ("/last", true)] {
            let request =
                format!("GET {path} {version}\r\nConnection: keep-alive\r\nHost: h\r\n\r\n");
            let response = server.ask_on(&mut client, request);
            assert_eq!((response.text(), response.says_close()), (path, closes), "{version}");
        }
        assert_eq!(server.until_end(&mut client), End::Clean);
    }
}

#[test]
fn keepalive_0_closes_every_connection_and_says_so() {
    let mut server = Server::new(
        |config| {
            config.set("keepalive", "0").unwrap();
        },
        hello,
    );
    for request in [GET, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"] {
        let mut client = server.connect();
        assert!(server.ask_on(&mut client, request).says_close());
        assert_eq!(server.until_end(&mut client), End::Clean);
    }
}

#[test]
fn nothing_is_read_behind_a_request_that_closes() {
    let mut server = Server::new(|_| {}, hello);
    let mut client = server.connect_tcp();
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".to_owned() + GET + GET);
    let response = server.reply(&mut client);
    assert!(response.says_close());
    // The answer is not destroyed by a reset for what was not read.
    assert_eq!(server.until_end(&mut client), End::Clean);
    assert!(client.inbox.is_empty());
    assert_eq!(server.counters.requests.get(), 1);
}

#[test]
fn a_connection_serves_10_000_requests() {
    let mut server = Server::new(|_| {}, name);
    let mut client = server.connect();
    for n in 0..10_000 {
        client.send(format!("GET /{n} HTTP/1.1\r\nHost: h\r\n\r\n"));
        server.turn(-1);
        client.pull();
        let response = client.take_response(false).expect("one turn answers one request");
        assert_eq!(response.text(), format!("/{n}"));
        assert!(client.inbox.is_empty());
    }
    assert_eq!(server.counters.accepted.get(), 1);
    assert_eq!(server.counters.requests.get(), 10_000);
    assert_eq!(server.counters.status[2].get(), 10_000);
}

/// 50 requests with and without bodies, and the targets in their order.
fn fifty() -> (Vec<u8>, Vec<String>) {
    let mut wire = Vec::new();
    let mut targets = Vec::new();
    for n in 0..50 {
        let target = format!("/{n}");
        match n % 3 {
            0 => wire.extend(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").bytes()),
            1 => {
                let body = noise(n * 10);
                let head = format!(
                    "POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                wire.extend(head.bytes());
                wire.extend(body);
            }
            _ => {
                let head = format!(
                    "PUT {target} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                );
                wire.extend(head.bytes());
                wire.extend(chunked(&noise(n), 7));
            }
        }
        targets.push(target);
    }
    (wire, targets)
}

#[test]
fn fifty_pipelined_requests_are_answered_in_order() {
    let (wire, targets) = fifty();
    let mut server = Server::new(|_| {}, name);
    let mut client = server.connect();
    client.send(&wire);
    for target in &targets {
        assert_eq!(server.reply(&mut client).text(), target);
    }
    assert!(server.is_kept(&mut client));
    assert!(client.inbox.is_empty());
}

#[test]
fn pipelined_requests_may_be_cut_anywhere() {
    let (wire, targets) = fifty();
    let mut server = Server::new(|_| {}, name);
    let mut random = 12345_usize;
    for round in 0..30 {
        let mut client = server.connect();
        let mut rest = &wire[..];
        while !rest.is_empty() {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let most = if round == 0 { 1 } else { (random >> 33) % 300 + 1 };
            let (piece, later) = rest.split_at(most.min(rest.len()));
            client.send(piece);
            server.turn(0);
            rest = later;
        }
        for target in &targets {
            assert_eq!(server.reply(&mut client).text(), target, "round {round}");
        }
        assert!(server.is_kept(&mut client));
        assert!(client.inbox.is_empty());
    }
}

#[test]
fn each_answer_leaves_before_the_next_request_arrives() {
    let mut server = Server::new(|_| {}, name);
    let mut client = server.connect();
    client.send("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHo");
    assert_eq!(server.reply(&mut client).text(), "/1");
    client.send("st: h\r\n\r\n");
    assert_eq!(server.reply(&mut client).text(), "/2");
}

#[test]
fn one_empty_line_before_a_request_is_tolerated() {
    let mut server = Server::new(|_| {}, name);
    let mut client = server.connect();
    client.send("\r\n".to_owned() + GET + "\r\n" + GET);
    assert_eq!(server.reply(&mut client).text(), "/");
    assert_eq!(server.reply(&mut client).text(), "/");
    assert!(server.is_kept(&mut client));
}

#[test]
fn a_half_closed_client_gets_all_its_answers() {
    // No timeout helps: the end is seen behind the requests.
    let mut server = Server::new(
        |config| {
            config.set("keepalive", "1h").unwrap();
        },
        name,
    );
    for tcp in [false, true] {
        let mut client = if tcp { server.connect_tcp() } else { server.connect() };
        let (wire, targets) = fifty();
        client.send(&wire);
        client.half_close();
        for target in &targets {
            assert_eq!(server.reply(&mut client).text(), target);
        }
        assert_eq!(server.until_end(&mut client), End::Clean);
    }
    assert_eq!(server.counters.aborted.get(), 0);
}

#[test]
fn a_half_closed_client_gets_a_long_answer() {
    let app = |_: &Environ, start: &StartResponse<'_>| {
        start.respond(&Head::new(200, &TEXT))?;
        Ok(Body::from_chunks((0..100).map(|_| Ok(vec![b'x'; 50_000]))))
    };
    let mut server = Server::new(|_| {}, app);
    let mut client = server.connect();
    client.send(GET);
    client.half_close();
    assert_eq!(server.reply(&mut client).body.len(), 5_000_000);
    assert_eq!(server.until_end(&mut client), End::Clean);
}

#[test]
fn clients_that_come_and_go_leave_nothing() {
    let mut server = Server::new(|_| {}, name);
    for part in ["", "\r\n", "G", "GET / HTTP/1.1\r\n", GET] {
        for tcp in [false, true] {
            let mut client = if tcp { server.connect_tcp() } else { server.connect() };
            client.send_anyway(part.as_bytes());
            server.turn(0);
            if tcp {
                client.reset();
            } else {
                drop(client);
            }
            server.until("it is forgotten", |server| server.counters.connections.get() == 0);
        }
    }
    assert_eq!(server.counters.in_flight.get(), 0);
    assert_eq!(server.counters.accepted.get(), 10);
}

#[test]
fn after_connect_a_connection_is_never_used_again() {
    let mut server = Server::new(|_| {}, name);
    let mut client = server.connect();
    client.send("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n".to_owned() + GET);
    server.until_end(&mut client);
    let response = client.take_response(false).unwrap();
    assert!(response.says_close());
    assert_eq!(server.counters.requests.get(), 1);
}

#[test]
fn a_malformed_request_is_answered_and_closes_in_order() {
    let mut server = Server::new(|_| {}, name);
    let mut client = server.connect_tcp();
    client.send(GET.to_owned() + "GET / HTTP/1.1\r\nHost : h\r\n\r\n" + GET);
    assert_eq!(server.reply(&mut client).text(), "/");
    let response = server.reply(&mut client);
    assert_eq!(response.status, 400);
    assert!(response.says_close());
    assert_eq!(server.until_end(&mut client), End::Clean);
    assert!(client.inbox.is_empty());
    assert_eq!(server.counters.rejected.get(), 1);
    assert_eq!(server.counters.status[4].get(), 1);
}

#[test]
fn connections_beyond_the_cap_wait_and_are_served_later() {
    let mut server = Server::new(
        |config| {
            config.set("worker_connections", "3").unwrap();
            config.set("bind", "127.0.0.1:0").unwrap();
        },
        name,
    );
    let mut clients: Vec<_> = (0..6).map(|_| server.dial()).collect();
    for client in &mut clients {
        client.send(GET);
    }
    server.until("some are accepted", |server| server.counters.accepted.get() == 3);
    server.settle();
    assert_eq!(server.counters.connections.get(), 3);
    assert_eq!(server.counters.accepted.get(), 3);
    assert_eq!(server.counters.connections_full.get(), 1);
    let lines = server.log.with("worker_connections = 3");
    assert_eq!(lines.len(), 1, "{:?}", server.log.lines());
    let mut served = 0;
    while let Some(at) = clients.iter_mut().position(|client| {
        client.pull();
        !client.inbox.is_empty()
    }) {
        let mut client = clients.remove(at);
        assert_eq!(server.reply(&mut client).status, 200);
        served += 1;
        drop(client);
        let wanted = (3 + served).min(6);
        server.until("another is accepted", |server| server.counters.accepted.get() == wanted);
        server.settle();
        assert!(server.counters.connections.get() <= 3);
    }
    assert_eq!(served, 6);
}

#[test]
fn listeners_and_their_ports_are_told_apart() {
    let mut server = Server::new(
        |config| {
            config.set("bind", "127.0.0.1:0,127.0.0.2:0").unwrap();
        },
        |env: &Environ, start: &StartResponse<'_>| {
            let name = [env.server_name(), b":", env.server_port()].concat();
            start.respond(&Head::new(200, &TEXT))?;
            Ok(Body::from_vec(name))
        },
    );
    let locals: Vec<_> =
        server.engine.listeners().iter().map(|listener| listener.local().to_owned()).collect();
    assert_eq!(locals.len(), 2);
    for local in locals {
        let mut client = Client::tcp(std::net::TcpStream::connect(&local).unwrap());
        client.send(GET);
        assert_eq!(server.reply(&mut client).text(), local);
    }
}
