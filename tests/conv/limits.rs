//! Every limit answers: a status, a counter, a line that names the limit and its value.

use gateway::base::log::Level;
use gateway::gateway::config::Config;
use gateway::wire::Limit;

use super::harness::*;

struct Case {
    what: &'static str,
    options: &'static [(&'static str, &'static str)],
    request: Vec<u8>,
    status: u16,
    limit: Limit,
    /// What the log line must name.
    names: &'static str,
}

fn configure(options: &'static [(&'static str, &'static str)]) -> impl FnOnce(&mut Config) {
    move |config| {
        for (name, value) in options {
            config.set(name, value).unwrap();
        }
    }
}

fn cases() -> Vec<Case> {
    let long_line = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "l".repeat(100));
    let fields = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(10));
    let field = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(200));
    let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: 0123456789\r\n".repeat(20));
    let extensions = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(2000));
    let overhead =
        "1;a=bcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz\r\nx\r\n".repeat(1000);
    let trailers = format!("0\r\n{}\r\n", "X: y\r\n".repeat(100));
    vec![
        Case {
            what: "request line",
            options: &[("limit_request_line", "64")],
            request: long_line.into_bytes(),
            status: 414,
            limit: Limit::Line,
            names: "limit_request_line = 64",
        },
        Case {
            what: "number of fields",
            options: &[("limit_request_fields", "8")],
            request: fields.into_bytes(),
            status: 431,
            limit: Limit::Fields,
            names: "limit_request_fields = 8",
        },
        Case {
            what: "one field",
            options: &[("limit_request_field_size", "128")],
            request: field.into_bytes(),
            status: 431,
            limit: Limit::FieldSize,
            names: "limit_request_field_size = 128",
        },
        Case {
            what: "the head",
            options: &[
                ("limit_request_line", "128"),
                ("limit_request_field_size", "128"),
                ("limit_request_head", "256"),
            ],
            request: head.into_bytes(),
            status: 431,
            limit: Limit::Head,
            names: "limit_request_head = 256",
        },
        Case {
            what: "a declared body",
            options: &[("max_body", "1000")],
            request: b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n".to_vec(),
            status: 413,
            limit: Limit::Body,
            names: "max_body = 1000",
        },
        Case {
            what: "a chunked body",
            options: &[("max_body", "1000")],
            request: [POST_CHUNKED.as_bytes(), &chunked(&noise(1001), 100)].concat(),
            status: 413,
            limit: Limit::Body,
            names: "max_body = 1000",
        },
        Case {
            what: "a chunk-size line",
            options: &[],
            request: (POST_CHUNKED.to_owned() + &extensions).into_bytes(),
            status: 400,
            limit: Limit::ChunkOverhead,
            names: "chunk-size line",
        },
        Case {
            what: "much framing for little data",
            options: &[],
            request: (POST_CHUNKED.to_owned() + &overhead).into_bytes(),
            status: 400,
            limit: Limit::ChunkOverhead,
            names: "chunk framing",
        },
        Case {
            what: "trailers",
            options: &[],
            request: (POST_CHUNKED.to_owned() + &trailers).into_bytes(),
            status: 431,
            limit: Limit::ChunkOverhead,
            names: "trailer",
        },
    ]
}

#[test]
fn each_breach_has_its_status_counter_and_line() {
    for case in cases() {
        let what = case.what;
        let mut server = Server::new(configure(case.options), echo);
        let mut client = server.connect_tcp();
        client.send(&case.request);
        let response = server.reply(&mut client);
        assert_eq!(response.status, case.status, "{what}");
        assert!(response.says_close(), "{what}");
        assert_eq!(server.until_end(&mut client), End::Clean, "{what}");
        assert!(client.inbox.is_empty(), "{what}: {}", client.shown());
        assert_eq!(server.counters.limit(case.limit).get(), 1, "{what}");
        let others: u64 = server.counters.limits.iter().map(|counter| counter.get()).sum();
        assert_eq!((others, server.counters.rejected.get()), (1, 1), "{what}");
        assert_eq!(server.counters.status[4].get(), 1, "{what}");
        let lines = server.log.with(case.names);
        assert_eq!(lines.len(), 1, "{what}: {:?}", server.log.lines());
        assert_eq!(lines[0].level, Level::Warn, "{what}");
    }
}

#[test]
fn a_body_of_the_exact_size_passes() {
    let mut server = Server::new(configure(&[("max_body", "1000")]), echo);
    let body = noise(1000);
    assert!(server.ask(post(&body)).body == body);
    let request = [POST_CHUNKED.as_bytes(), &chunked(&body, 100)].concat();
    assert!(server.ask(request).body == body);
    assert_eq!(server.counters.rejected.get(), 0);
}

#[test]
fn a_refused_declared_body_is_not_read_first() {
    let mut server = Server::new(configure(&[("max_body", "1000")]), echo);
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n");
    assert_eq!(server.reply(&mut client).status, 413);
}

#[test]
fn a_refused_body_that_is_on_its_way_does_not_destroy_the_answer() {
    let mut server = Server::new(configure(&[("max_body", "1000")]), echo);
    let mut client = server.connect_tcp();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n");
    client.send(noise(100_000));
    server.settle();
    client.send_anyway(&noise(100_000));
    assert_eq!(server.reply(&mut client).status, 413);
}

#[test]
fn a_malformed_request_is_a_line_too() {
    let mut server = Server::new(|_| {}, echo);
    let response = server.ask("GET / HTTP/1.1\r\nHost: h\r\nsecret value\r\n\r\n");
    assert_eq!(response.status, 400);
    let lines = server.log.with("400");
    assert_eq!((lines.len(), lines[0].level), (1, Level::Info));
    assert!(lines[0].text.contains("unix:"), "it says from where: {}", lines[0].text);
    assert!(server.log.with("secret").is_empty(), "it does not repeat what was sent");
    // In a body that came later, too.
    let mut client = server.connect();
    client.send(POST_CHUNKED.to_owned() + "zz\r\n");
    assert_eq!(server.reply(&mut client).status, 400);
    assert_eq!(server.log.with("400").len(), 2, "{:?}", server.log.lines());
}

#[test]
fn a_head_request_that_is_refused_gets_no_body() {
    let mut server = Server::new(|_| {}, echo);
    let mut client = server.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n");
    let response = server.reply_to_head(&mut client);
    assert_eq!(response.status, 400);
    server.until_end(&mut client);
    assert!(client.inbox.is_empty(), "{}", client.shown());
}
