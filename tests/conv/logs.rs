//! What is told of requests: access log lines, the access hook, lines of the error log.

use gateway::base::error::{Error, Kind};
use gateway::base::octets::Pair;
use gateway::gateway::abi::{Environ, Response as Head, StartResponse};
use gateway::gateway::body::Body;
use gateway::gateway::config::Config;

use super::harness::*;

fn app(env: &Environ, start: &StartResponse<'_>) -> gateway::base::error::Result<Body> {
    let fields = [Pair::new(b"X-Kind", b"k"), Pair::new(b"Content-Type", b"text/plain")];
    match env.path_info() {
        b"/fail" => return Err(Error::new(Kind::App, "it failed")),
        b"/cut" => {
            start.respond(&Head::new(200, &fields))?;
            let fails = Err(Error::new(Kind::App, "it failed late"));
            return Ok(Body::from_chunks([Ok(b"12345".to_vec()), fails]));
        }
        b"/chunks" => {
            start.respond(&Head::new(200, &fields))?;
            return Ok(Body::from_chunks((0..4).map(|_| Ok(b"12345".to_vec()))));
        }
        b"/empty" => {
            start.respond(&Head::new(204, &[]))?;
            return Ok(Body::empty());
        }
        b"/echo" => return echo(env, start),
        _ => {}
    }
    start.respond(&Head::new(200, &fields))?;
    Ok(Body::from_static(b"hello\n"))
}

fn request(line: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: h\r\nUser-Agent: test\r\nReferer: /r\r\n\r\n")
}

/// One of each kind of request.
fn all_kinds(server: &mut Server) {
    server.ask(request("GET /normal?q=1"));
    server.ask(request("HEAD /normal"));
    server.ask(request("GET /chunks"));
    server.ask(request("GET /empty"));
    server.ask(request("GET /fail"));
    let mut client = server.connect();
    client.send(request("GET /cut"));
    server.truncated(&mut client);
    server.ask("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    server.settle();
}

#[test]
fn each_request_is_a_line_of_the_access_log() {
    let dir = Dir::new();
    let path = dir.0.join("access");
    let mut server = Server::new(
        |config| {
            config.set("accesslog", path.to_str().unwrap()).unwrap();
            config
                .set("access_log_format", "%(h)s %(m)s %(U)s %(q)s %(H)s %(s)s %(B)s \"%(f)s\" \"%(a)s\" %({x-kind}o)s %({host}i)s %({REQUEST_URI}e)s")
                .unwrap();
        },
        app,
    );
    all_kinds(&mut server);
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines,
        [
            "unix: GET /normal q=1 HTTP/1.1 200 6 \"/r\" \"test\" k h /normal?q=1",
            "unix: HEAD /normal  HTTP/1.1 200 0 \"/r\" \"test\" k h /normal",
            "unix: GET /chunks  HTTP/1.1 200 20 \"/r\" \"test\" k h /chunks",
            "unix: GET /empty  HTTP/1.1 204 0 \"/r\" \"test\" - h /empty",
            "unix: GET /fail  HTTP/1.1 500 26 \"/r\" \"test\" - h /fail",
            "unix: GET /cut  HTTP/1.1 200 5 \"/r\" \"test\" k h /cut",
            "unix: POST /echo  HTTP/1.1 200 3 \"-\" \"-\" - h /echo",
        ]
    );
    assert!(text.ends_with('\n'));
}

#[test]
fn the_common_format_is_gunicorn_s() {
    let dir = Dir::new();
    let path = dir.0.join("access");
    let mut server = Server::new(
        |config| {
            config.set("accesslog", path.to_str().unwrap()).unwrap();
        },
        app,
    );
    server.ask(request("GET /a\u{22}b".replace('\u{22}', "%22").as_str()));
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once('[').unwrap();
    let (_, after) = rest.split_once(']').unwrap();
    assert_eq!(before, "unix: - - ");
    assert_eq!(after, " \"GET /a%22b HTTP/1.1\" 200 6 \"/r\" \"test\"\n");
}

#[test]
fn the_hook_is_told_of_each_request() {
    let journal = Journal::default();
    let told = journal.clone();
    let mut server = Server::new(
        |config: &mut Config| {
            config.on_access(move |access| {
                assert!(access.took_ns >= access.read_ns && access.took_ns >= access.app_ns);
                assert!(access.start_ns > 1_600_000_000_000_000_000);
                assert_eq!(access.id.as_slice().len(), 16);
                assert_eq!(access.id.as_slice(), access.env.get(b"gateway.request_id").as_slice());
                let kind = access.headers.iter().any(|field| field.name.as_slice() == b"X-Kind");
                told.add(format!(
                    "{} {} {} sent {} received {} kind {kind}",
                    access.env.request_method().escape_ascii(),
                    access.env.path_info().escape_ascii(),
                    access.status,
                    access.sent,
                    access.received,
                ));
            });
        },
        app,
    );
    all_kinds(&mut server);
    assert_eq!(
        journal.take(),
        [
            "GET /normal 200 sent 6 received 0 kind true",
            "HEAD /normal 200 sent 0 received 0 kind true",
            "GET /chunks 200 sent 20 received 0 kind true",
            "GET /empty 204 sent 0 received 0 kind false",
            "GET /fail 500 sent 26 received 0 kind false",
            "GET /cut 200 sent 5 received 0 kind true",
            "POST /echo 200 sent 3 received 3 kind false",
        ]
    );
    assert_eq!((server.counters.sent.get(), server.counters.received.get()), (60, 3));
}

#[test]
fn a_request_that_never_reached_the_application_is_told_too() {
    let journal = Journal::default();
    let told = journal.clone();
    let mut server = Server::new(
        |config: &mut Config| {
            config.set("max_body", "10").unwrap();
            config.on_access(move |access| told.add(format!("{}", access.status)));
        },
        app,
    );
    let request = [POST_CHUNKED.as_bytes(), &chunked(&noise(11), 5)].concat();
    let mut client = server.connect();
    client.send(request);
    assert_eq!(server.reply(&mut client).status, 413);
    assert_eq!(journal.take(), ["413"]);
}

#[test]
fn lines_of_the_error_log_carry_the_id_that_the_application_sees() {
    let journal = Journal::default();
    let told = journal.clone();
    let mut server = Server::new(
        |_| {},
        move |env: &Environ, start: &StartResponse<'_>| {
            told.add(env.get(b"gateway.request_id").as_slice().escape_ascii().to_string());
            app(env, start)
        },
    );
    server.ask(request("GET /fail"));
    let mut client = server.connect();
    client.send(request("GET /cut"));
    server.truncated(&mut client);
    server.ask(request("GET /fail"));
    let ids = journal.take();
    assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2], "{ids:?}");
    for (id, text) in ids.iter().zip(["it failed", "it failed late", "it failed"]) {
        let lines: Vec<_> =
            server.log.with(text).into_iter().filter(|line| line.id == *id).collect();
        assert_eq!(lines.len(), 1, "{text}: {:?}", server.log.lines());
    }
}

#[test]
fn nothing_is_logged_about_requests_that_go_well() {
    let mut server = Server::new(|_| {}, app);
    for line in ["GET /normal", "HEAD /normal", "GET /chunks", "GET /empty"] {
        server.ask(request(line));
    }
    server.ask(post(b"abc"));
    assert!(server.log.lines().is_empty(), "{:?}", server.log.lines());
}
