//! Request bodies that are complete before the application is called.

use gateway::base::error::{Kind, Result};
use gateway::gateway::abi::{Environ, Response as Head, StartResponse};
use gateway::gateway::body::Body;
use gateway::gateway::config::Config;

use super::harness::*;

/// Sizes around the limits: one octet, a view (16 KiB), memory (the preset is 64 KiB), a file.
const SIZES: [usize; 10] = [1, 2, 999, 16_383, 16_384, 16_385, 65_536, 65_537, 200_000, 1_000_000];

fn spool_in(dir: &Dir) -> impl FnOnce(&mut Config) {
    let path = dir.0.to_str().unwrap().to_owned();
    move |config| {
        config.set("spool_dir", &path).unwrap();
    }
}

#[test]
fn a_body_of_any_size_arrives_whole_at_once_and_in_pieces() {
    let dir = Dir::new();
    let mut server = Server::new(spool_in(&dir), echo);
    for size in SIZES {
        let body = noise(size);
        let request = post(&body);
        assert!(server.ask(&request).body == body, "{size} octets at once");
        let mut client = server.connect();
        for piece in request.chunks(request.len().div_ceil(7)) {
            server.feed(&mut client, piece);
        }
        let response = server.reply(&mut client);
        assert!(response.body == body, "{size} octets in pieces");
        assert!(dir.is_empty(), "the spool file has no name");
    }
}

#[test]
fn a_small_body_arrives_octet_by_octet() {
    let mut server = Server::new(|_| {}, echo);
    let mut client = server.connect();
    for octet in post(b"line one\nline two") {
        client.send([octet]);
        server.settle();
    }
    assert_eq!(server.reply(&mut client).text(), "line one\nline two");
}

#[test]
fn an_empty_body_ends_at_once_however_it_is_framed() {
    let mut server = Server::new(
        |_| {},
        |env: &Environ, start: &StartResponse<'_>| {
            let length = format!("{} {}", env.content_length(), env.read(&mut [0; 8])?);
            start.respond(&Head::new(200, &TEXT))?;
            Ok(Body::from_vec(length.into_bytes()))
        },
    );
    assert_eq!(server.ask(post(b"")).text(), "0 0");
    assert_eq!(server.ask(POST_CHUNKED.to_owned() + "0\r\n\r\n").text(), "-1 0");
    assert_eq!(server.ask("POST / HTTP/1.1\r\nHost: h\r\n\r\n").text(), "-1 0");
    assert_eq!(server.ask(GET).text(), "-1 0");
}

#[test]
fn chunked_bodies_arrive_without_their_framing() {
    let dir = Dir::new();
    let mut server = Server::new(spool_in(&dir), echo);
    for (size, chunk) in [(1, 1), (5000, 1), (5000, 4999), (300_000, 777), (300_000, 65_536)] {
        let body = noise(size);
        let request = [POST_CHUNKED.as_bytes(), &chunked(&body, chunk)].concat();
        assert!(server.ask(&request).body == body, "{size} in chunks of {chunk}");
        let mut client = server.connect();
        for piece in request.chunks(611) {
            server.feed(&mut client, piece);
        }
        assert!(server.reply(&mut client).body == body, "{size} in chunks of {chunk}, cut");
        assert!(dir.is_empty());
    }
}

#[test]
fn a_chunked_body_has_a_body_but_no_content_length() {
    let mut server = Server::new(
        |_| {},
        |env: &Environ, start: &StartResponse<'_>| {
            let missing = env.get(b"CONTENT_LENGTH").is_missing();
            let has_body = env.flags() & gateway::gateway::abi::ENV_HAS_BODY != 0;
            start.respond(&Head::new(200, &TEXT))?;
            Ok(Body::from_vec(format!("{missing} {has_body}").into_bytes()))
        },
    );
    assert_eq!(server.ask(POST_CHUNKED.to_owned() + "1\r\nx\r\n0\r\n\r\n").text(), "true true");
    assert_eq!(server.ask(post(b"x")).text(), "false true");
    assert_eq!(server.ask(GET).text(), "true false");
}

#[test]
fn trailers_are_swallowed_and_the_next_request_is_intact() {
    let mut server = Server::new(|_| {}, echo);
    let mut client = server.connect();
    let with_trailers = "3\r\nabc\r\n0\r\nX-Sum: 1\r\nContent-Digest: x\r\n\r\n";
    client.send(
        POST_CHUNKED.to_owned() + with_trailers + std::str::from_utf8(&post(b"next")).unwrap(),
    );
    assert_eq!(server.reply(&mut client).text(), "abc");
    assert_eq!(server.reply(&mut client).text(), "next");
}

#[test]
fn a_trailer_that_belongs_into_the_head_is_refused_and_never_reaches_the_application() {
    let journal = Journal::default();
    let called = journal.clone();
    let mut server = Server::new(
        |_| {},
        move |env: &Environ, start: &StartResponse<'_>| {
            called.add("called");
            echo(env, start)
        },
    );
    let mut client = server.connect();
    client.send(POST_CHUNKED.to_owned() + "3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n" + GET);
    let response = server.reply(&mut client);
    assert_eq!(response.status, 400);
    assert!(response.says_close());
    assert_eq!(server.until_end(&mut client), End::Clean);
    assert!(client.inbox.is_empty(), "what follows is not a request: {}", client.shown());
    assert_eq!(journal.len(), 0);
}

/// Reads in the way that the query says, and answers with what it got, "|" between the pieces.
fn reader(env: &Environ, start: &StartResponse<'_>) -> Result<Body> {
    let mut all = Vec::new();
    let mut buf = [0; 6];
    loop {
        let n = match env.query_string() {
            b"line" => env.read_line(&mut buf)?,
            b"exact" => env.read(&mut buf[..5])?,
            _ => env.read(&mut buf)?,
        };
        if n == 0 {
            break;
        }
        all.extend_from_slice(&buf[..n]);
        all.push(b'|');
    }
    // The end stays the end.
    assert_eq!(env.read(&mut buf)?, 0);
    assert_eq!(env.read_line(&mut buf)?, 0);
    assert_eq!(env.read_all(10)?.as_slice(), b"");
    start.respond(&Head::new(200, &TEXT))?;
    Ok(Body::from_vec(all))
}

#[test]
fn reads_and_lines_stop_at_the_exact_end() {
    for body_buffer in ["64k", "4"] {
        let mut server = Server::new(
            |config| {
                config.set("body_buffer", body_buffer).unwrap();
            },
            reader,
        );
        let ask = |server: &mut Server, query: &str, body: &str, chunk: usize| {
            let framing = match chunk {
                0 => format!("Content-Length: {}\r\n\r\n{body}", body.len()),
                size => {
                    let chunks = chunked(body.as_bytes(), size);
                    format!("Transfer-Encoding: chunked\r\n\r\n{}", chunks.escape_ascii())
                        .replace("\\r\\n", "\r\n")
                        .replace("\\n", "\n")
                }
            };
            let mut client = server.connect();
            client.send(format!("POST /?{query} HTTP/1.1\r\nHost: h\r\n{framing}{GET}"));
            let text = server.reply(&mut client).text().to_owned();
            assert_eq!(server.reply(&mut client).text(), "", "the next request");
            text
        };
        for chunk in [0, 1, 3, 100] {
            for (query, body) in [("exact", "1234512345"), ("", "1234567")] {
                // A read may be short where the file ends and memory begins.
                let pieces = ask(&mut server, query, body, chunk);
                assert_eq!(pieces.replace('|', ""), body);
            }
            let lines = "one\ntwo-is-long\n\nlast";
            assert_eq!(
                ask(&mut server, "line", lines, chunk),
                "one\n|two-is|-long\n|\n|last|",
                "chunks of {chunk}, body_buffer {body_buffer}"
            );
            assert_eq!(ask(&mut server, "line", "one\n", chunk), "one\n|");
        }
    }
}

#[test]
fn read_all_gives_what_is_left_and_knows_its_limit() {
    let app = |env: &Environ, start: &StartResponse<'_>| {
        let mut first = [0; 2];
        let n = env.read(&mut first)?;
        assert_eq!(n, 2);
        let rest = env.read_all(5).map(|rest| rest.as_slice().to_vec());
        start.respond(&Head::new(200, &TEXT))?;
        Ok(Body::from_vec(match rest {
            Ok(rest) => rest,
            Err(error) => format!("{:?}", error.kind()).into_bytes(),
        }))
    };
    for body_buffer in ["64k", "1"] {
        let mut server = Server::new(
            |config| {
                config.set("body_buffer", body_buffer).unwrap();
            },
            app,
        );
        assert_eq!(server.ask(post(b"ab12345")).text(), "12345");
        assert_eq!(server.ask(post(b"ab123456")).text(), "Limit");
        assert_eq!(server.ask(post(b"ab")).text(), "");
        let request = [POST_CHUNKED.as_bytes(), &chunked(b"ab12345", 3)].concat();
        assert_eq!(server.ask(request).text(), "12345");
    }
}

#[test]
fn a_body_cut_short_never_reaches_the_application() {
    let journal = Journal::default();
    let called = journal.clone();
    let dir = Dir::new();
    let mut server =
        Server::new(spool_in(&dir), move |env: &Environ, start: &StartResponse<'_>| {
            called.add("called");
            echo(env, start)
        });
    let whole = [
        post(&noise(10)),
        post(&noise(30_000)),
        post(&noise(150_000)),
        [POST_CHUNKED.as_bytes(), &chunked(&noise(100), 10)].concat(),
        // All the data, and no last chunk.
        [POST_CHUNKED.as_bytes(), b"3\r\nabc\r\n0\r\n "].concat(),
    ];
    for (n, request) in whole.iter().enumerate() {
        let mut client = server.connect();
        if n % 2 == 0 {
            server.feed(&mut client, &request[..request.len() - 1]);
        } else {
            // All at once, with the end.
            client.send(&request[..request.len() - 1]);
        }
        client.half_close();
        server.until_end(&mut client);
        assert!(client.inbox.is_empty(), "{n}: {}", client.shown());
        assert_eq!(server.counters.aborted.get(), n as u64 + 1);
        assert_eq!(server.counters.in_flight.get(), 0);
        assert!(dir.is_empty());
    }
    assert_eq!(journal.len(), 0);
    assert_eq!(server.counters.connections.get(), 0);
}

#[test]
fn pipelined_requests_are_intact_behind_bodies_read_unread_and_partly_read() {
    let app = |env: &Environ, start: &StartResponse<'_>| {
        let mut buf = [0; 3];
        match env.path_info() {
            b"/unread" => {}
            b"/partly" => assert_eq!(env.read(&mut buf)?, 3),
            _ => {
                read_to_end(env, 500)?;
            }
        }
        start.respond(&Head::new(200, &TEXT))?;
        Ok(Body::from_vec(env.request_uri().to_vec()))
    };
    for buffering in ["0", "1"] {
        let mut server = Server::blocking(
            |config| {
                config.set("request_buffering", buffering).unwrap();
            },
            app,
        );
        // The smuggled request must stay a body.
        let body = [GET.as_bytes(), &noise(1000)].concat();
        let mut wire = Vec::new();
        let mut expected = Vec::new();
        for n in 0..12 {
            let path = ["/read", "/unread", "/partly"][n % 3];
            let target = format!("{path}?{n}");
            wire.extend_from_slice(format!("POST {target} HTTP/1.1\r\nHost: h\r\n").as_bytes());
            if n % 2 == 0 {
                wire.extend_from_slice(
                    format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes(),
                );
                wire.extend_from_slice(&body);
            } else {
                wire.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                wire.extend_from_slice(&chunked(&body, 100));
            }
            expected.push(target);
        }
        let mut client = server.connect();
        client.send(&wire);
        let mut got = Vec::new();
        for _ in 0..expected.len() {
            got.push(server.reply(&mut client).text().to_owned());
        }
        assert_eq!(got, expected, "request_buffering = {buffering}");
        assert!(server.is_kept(&mut client));
        assert!(client.inbox.is_empty());
    }
}

#[test]
fn a_spool_directory_that_is_gone_is_a_507_and_a_line() {
    let dir = Dir::new();
    let mut server = Server::new(spool_in(&dir), echo);
    std::fs::remove_dir(&dir.0).unwrap();
    let mut client = server.connect();
    server.feed(&mut client, &post(&noise(100_000)));
    let response = server.reply(&mut client);
    assert_eq!(response.status, 507);
    assert!(response.says_close());
    let line = &server.log.with("spool a request body")[0];
    assert!(line.text.contains(dir.0.to_str().unwrap()), "it says where: {}", line.text);
    assert_eq!(line.id.len(), 16);
    assert_eq!(server.ask(post(b"small")).text(), "small");
}

#[test]
fn a_body_that_was_replaced_by_a_middleware_is_read_instead() {
    use gateway::gateway::abi::Input;
    unsafe extern "C" fn no_more(
        _: *mut std::ffi::c_void,
        _: *mut std::ffi::c_void,
        _: usize,
        _: u32,
        n: *mut usize,
    ) -> i32 {
        // SAFETY: the caller's number.
        unsafe { *n = 0 };
        gateway::gateway::abi::EOF
    }
    let mut server = Server::new(
        |_| {},
        |env: &Environ, start: &StartResponse<'_>| {
            let derived = env.derive()?;
            // SAFETY: the function takes no context.
            unsafe { derived.set_input(Input { read: Some(no_more), ctx: std::ptr::null_mut() }) };
            assert_eq!(derived.read(&mut [0; 9])?, 0);
            assert_eq!(derived.read_line(&mut [0; 9])?, 0);
            assert_eq!(derived.read_all(9)?.as_slice(), b"");
            echo(env, start)
        },
    );
    assert_eq!(server.ask(post(b"mine")).text(), "mine");
}

#[test]
fn a_read_of_nothing_takes_nothing() {
    let mut server = Server::new(
        |_| {},
        |env: &Environ, start: &StartResponse<'_>| {
            assert_eq!(env.read(&mut [])?, 0);
            assert_eq!(env.try_read(&mut []).unwrap_err().kind(), Kind::Invalid);
            echo(env, start)
        },
    );
    assert_eq!(server.ask(post(b"all of it")).text(), "all of it");
}
