//! Expect: 100-continue (RFC 9110 section 10.1.1).

use std::io::{Read, Write};
use std::net::TcpStream;

use gateway::gateway::abi::{Environ, Response as Head, StartResponse};
use gateway::gateway::body::Body;

use super::harness::*;

const EXPECT: &str = "Expect: 100-continue\r\n";

fn head_of(request: &[u8]) -> &[u8] {
    let end = request.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    &request[..end]
}

#[test]
fn a_buffered_body_is_asked_for_once_and_before_the_application_runs() {
    let journal = Journal::default();
    let called = journal.clone();
    let mut server = Server::new(
        |_| {},
        move |env: &Environ, start: &StartResponse<'_>| {
            called.add("called");
            echo(env, start)
        },
    );
    for body in [noise(10), noise(40_000), noise(100_000)] {
        let request = post_with(EXPECT, &body);
        let head = head_of(&request).len();
        let mut client = server.connect();
        client.send(&request[..head]);
        server.settle();
        client.pull();
        assert_eq!(client.inbox, b"HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(journal.take().len(), 0, "the body is not there yet");
        server.feed(&mut client, &request[head..head + 5]);
        server.settle();
        client.pull();
        assert_eq!(client.inbox, b"HTTP/1.1 100 Continue\r\n\r\n", "once");
        server.feed(&mut client, &request[head + 5..]);
        let response = server.reply(&mut client);
        assert_eq!(response.interims(), [100]);
        assert!(response.body == body);
        assert!(server.is_kept(&mut client));
        assert_eq!(journal.take().len(), 1);
    }
}

#[test]
fn nobody_is_asked_for_a_body_that_is_there_already() {
    let mut server = Server::new(|_| {}, echo);
    let mut client = server.connect();
    for body in [noise(1), noise(3000)] {
        let response = server.ask_on(&mut client, post_with(EXPECT, &body));
        assert!(response.interim.is_empty());
        assert!(response.body == body);
        assert!(!response.says_close());
    }
}

#[test]
fn http_1_0_is_never_sent_a_100() {
    let mut server = Server::new(|_| {}, echo);
    let mut client = server.connect();
    client.send(format!("POST / HTTP/1.0\r\nContent-Length: 2\r\n{EXPECT}\r\n"));
    server.settle();
    client.pull();
    assert!(client.inbox.is_empty(), "{}", client.shown());
    client.send("ab");
    let response = server.reply(&mut client);
    assert_eq!((response.text(), response.interim.len()), ("ab", 0));
}

#[test]
fn other_expectations_are_a_417() {
    let mut server = Server::new(|_| {}, echo);
    for value in ["200-maybe", "100-continue, other", "100-continue=1"] {
        let mut client = server.connect();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: h\r\nExpect: {value}\r\nContent-Length: 2\r\n\r\nab"
        ));
        let response = server.reply(&mut client);
        assert_eq!(response.status, 417, "{value}");
        assert!(response.says_close());
        server.until_end(&mut client);
        assert!(client.inbox.is_empty());
    }
    assert_eq!(server.counters.rejected.get(), 3);
}

#[test]
fn an_expectation_without_a_body_changes_nothing() {
    let mut server = Server::new(|_| {}, echo);
    let mut client = server.connect();
    for request in [
        format!("GET / HTTP/1.1\r\nHost: h\r\n{EXPECT}\r\n"),
        format!("POST / HTTP/1.1\r\nHost: h\r\n{EXPECT}Content-Length: 0\r\n\r\n"),
    ] {
        let response = server.ask_on(&mut client, &request);
        assert_eq!((response.status, response.interim.len()), (200, 0));
        assert!(!response.says_close(), "{request}");
    }
}

#[test]
fn a_declared_body_that_is_too_large_is_refused_instead_of_asked_for() {
    let mut server = Server::new(
        |config| {
            config.set("max_body", "1000").unwrap();
        },
        echo,
    );
    let mut client = server.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: h\r\n{EXPECT}Content-Length: 1001\r\n\r\n"));
    let response = server.reply(&mut client);
    assert_eq!((response.status, response.interim.len()), (413, 0));
    assert!(response.says_close());
}

/// Reads until the end when the query says so; never waits.
fn streaming_reader() -> gateway::gateway::app::Application {
    use gateway::gateway::abi::{AGAIN, EOF, OK};
    capp::application(|env, start, body| {
        let reads = env.query_string() == b"read";
        if !reads {
            assert_eq!(start.respond(&Head::new(403, &TEXT)), OK);
            body.first = Some(capp::lent(b"no"));
            return OK;
        }
        let env = lasting(env);
        let start = *start;
        let mut all = Vec::new();
        let mut done = false;
        body.next = Some(Box::new(move |out| {
            if done {
                return EOF;
            }
            let mut buf = [0; 4096];
            loop {
                match env.try_read(&mut buf) {
                    Ok(None) => return AGAIN,
                    Ok(Some(0)) => break,
                    Ok(Some(n)) => all.extend_from_slice(&buf[..n]),
                    Err(error) => return error.kind() as i32,
                }
            }
            done = true;
            assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
            *out = capp::lent(&all);
            OK
        }));
        OK
    })
}

fn stream(config: &mut gateway::gateway::config::Config) {
    config.set("request_buffering", "0").unwrap();
}

#[test]
fn a_streamed_body_is_asked_for_by_the_first_read() {
    let mut server = Server::with(stream, streaming_reader());
    let mut client = server.connect();
    for body in [noise(10), noise(100_000)] {
        let length = body.len();
        client.send(format!(
            "POST /?read HTTP/1.1\r\nHost: h\r\n{EXPECT}Content-Length: {length}\r\n\r\n"
        ));
        server.settle();
        client.pull();
        assert_eq!(client.inbox, b"HTTP/1.1 100 Continue\r\n\r\n");
        server.feed(&mut client, &body);
        let response = server.reply(&mut client);
        assert_eq!(response.interims(), [100]);
        assert!(response.body == body);
        assert!(!response.says_close());
    }
}

#[test]
fn an_answer_without_a_read_sends_no_100_and_closes() {
    let mut server = Server::with(stream, streaming_reader());
    let mut client = server.connect();
    client.send(format!("POST /?no HTTP/1.1\r\nHost: h\r\n{EXPECT}Content-Length: 5\r\n\r\n"));
    let response = server.reply(&mut client);
    assert_eq!((response.status, response.interim.len()), (403, 0));
    assert!(response.says_close(), "whether the body comes is not known");
    // What the client sends now may be the body, or another request: it must be neither.
    client.send_anyway(GET.as_bytes());
    server.until_end(&mut client);
    assert!(client.inbox.is_empty(), "{}", client.shown());
    assert_eq!(server.counters.requests.get(), 1);
}

#[test]
fn a_blocking_application_asks_when_it_reads() {
    let journal = Journal::default();
    let says = journal.clone();
    let mut server = Server::blocking(
        |config| {
            config.set("request_buffering", "0").unwrap();
        },
        move |env: &Environ, start: &StartResponse<'_>| {
            says.add("called");
            if env.query_string() == b"no" {
                start.respond(&Head::new(403, &TEXT))?;
                return Ok(Body::from_static(b"no"));
            }
            echo(env, start)
        },
    );
    let mut client = server.connect();
    client.send(format!("POST /?no HTTP/1.1\r\nHost: h\r\n{EXPECT}Content-Length: 5\r\n\r\n"));
    let response = server.reply(&mut client);
    assert_eq!((response.status, response.interim.len()), (403, 0));
    assert!(response.says_close());

    // The application waits in this thread, so the client needs one of its own.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = std::thread::spawn(move || {
        let mut client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("POST /?yes HTTP/1.1\r\nHost: h\r\n{EXPECT}Content-Length: 5\r\n\r\n");
        client.write_all(head.as_bytes()).unwrap();
        let mut interim = [0; 25];
        client.read_exact(&mut interim).unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"abcde").unwrap();
        let mut first = [0; 1];
        client.read_exact(&mut first).unwrap();
        client
    });
    let (theirs, _) = listener.accept().unwrap();
    server.engine.adopt(std::os::fd::IntoRawFd::into_raw_fd(theirs)).unwrap();
    server.until("the client has its answer", |_| client.is_finished());
    let mut client = Client::tcp(client.join().unwrap());
    client.inbox.push(b'H');
    let response = server.reply(&mut client);
    assert_eq!((response.text(), response.interim.len()), ("abcde", 0));
    assert!(!response.says_close());
    assert_eq!(journal.len(), 2);
}
