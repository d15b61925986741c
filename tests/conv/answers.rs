//! Bodies of responses: how they are framed, what is never sent, what is sent first.

use gateway::base::error::{Error, Kind};
use gateway::base::octets::{CHUNK_FLUSH, CHUNK_LAST, Chunk, Pair};
use gateway::gateway::abi::{AGAIN, EOF, Environ, OK, Response as Head, StartResponse};
use gateway::gateway::app::Application;
use gateway::gateway::body::Body;

use super::harness::*;

/// An application whose next() gives these, and then the end.
fn pieces(head: &'static [Pair<'static>], given: Vec<&'static str>) -> Application {
    capp::application(move |_, start, body| {
        assert_eq!(start.respond(&Head::new(200, head)), OK);
        let mut given = given.clone().into_iter();
        body.next = Some(Box::new(move |out| match given.next() {
            Some("error") => Kind::App as i32,
            Some(text) => {
                *out = capp::lent(text.as_bytes());
                OK
            }
            None => EOF,
        }));
        OK
    })
}

const GET_1_0: &str = "GET / HTTP/1.0\r\n\r\n";
const GET_1_0_KEPT: &str = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";

static FIVE: [Pair<'static>; 1] = [Pair::new(b"Content-Length", b"5")];

#[test]
fn a_body_that_is_all_there_has_a_length() {
    let mut server = Server::new(|_| {}, hello);
    let mut client = server.connect();
    for request in [GET, GET_1_0_KEPT, GET_1_0] {
        let response = server.ask_on(&mut client, request);
        assert_eq!((response.framing, response.text()), (Framing::Length(6), "hello\n"));
        assert_eq!(response.says_close(), request == GET_1_0);
    }
}

#[test]
fn an_empty_body_has_length_0() {
    for app in [
        Application::new(|_: &Environ, start: &StartResponse<'_>| {
            start.respond(&Head::new(200, &TEXT))?;
            Ok(Body::empty())
        })
        .nonblocking(),
        pieces(&TEXT, vec![]),
        pieces(&TEXT, vec!["", "", ""]),
    ] {
        let mut server = Server::with(|_| {}, app);
        let mut client = server.connect();
        assert_eq!(server.ask_on(&mut client, GET).framing, Framing::Length(0));
        assert_eq!(server.ask_on(&mut client, GET_1_0_KEPT).framing, Framing::Length(0));
        assert!(server.is_kept(&mut client));
    }
}

#[test]
fn an_unknown_length_is_chunked_on_1_1_and_ends_with_the_connection_on_1_0() {
    let mut server = Server::with(|_| {}, pieces(&TEXT, vec!["ab", "", "cde", ""]));
    let mut client = server.connect();
    let response = server.ask_on(&mut client, GET);
    assert_eq!((response.framing, response.text()), (Framing::Chunked, "abcde"));
    assert_eq!(response.chunks, [2, 3]);
    assert!(!response.says_close());
    for request in [GET_1_0, GET_1_0_KEPT] {
        let mut client = server.connect();
        let response = server.ask_on(&mut client, request);
        assert_eq!((response.framing, response.text()), (Framing::Close, "abcde"));
        assert!(response.says_close());
    }
}

#[test]
fn an_iterator_with_a_content_length_is_framed_by_it() {
    let mut server = Server::with(|_| {}, pieces(&FIVE, vec!["ab", "", "cde"]));
    let mut client = server.connect();
    for request in [GET, GET_1_0_KEPT] {
        let response = server.ask_on(&mut client, request);
        assert_eq!((response.framing, response.text()), (Framing::Length(5), "abcde"));
    }
    assert!(server.is_kept(&mut client));
}

#[test]
fn first_and_next_are_one_body() {
    let app = capp::application(|_, start, body| {
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        body.first = Some(capp::lent(b"one "));
        let mut left = 2;
        body.next = Some(Box::new(move |out| {
            left -= 1;
            match left {
                1 => *out = capp::lent(b"two"),
                _ => return EOF,
            }
            OK
        }));
        OK
    });
    let response = Server::with(|_| {}, app).ask(GET);
    assert_eq!((response.text(), response.framing), ("one two", Framing::Chunked));
}

#[test]
fn an_error_in_the_first_next_is_a_clean_500() {
    for given in [vec!["error"], vec!["", "", "error"]] {
        for head in [&TEXT[..], &FIVE] {
            let head: &'static [Pair<'static>] = Box::leak(head.to_vec().into_boxed_slice());
            let mut server = Server::with(|_| {}, pieces(head, given.clone()));
            let mut client = server.connect();
            let response = server.ask_on(&mut client, GET);
            assert_eq!(response.status, 500);
            assert!(server.is_kept(&mut client));
            assert_eq!(server.counters.app_errors.get(), 1);
            assert_eq!(server.counters.status[5].get(), 1);
            assert_eq!(server.counters.status[2].get(), 0);
        }
    }
}

#[test]
fn an_error_in_a_later_next_truncates_visibly() {
    for (head, request) in [(&TEXT, GET), (&FIVE, GET), (&TEXT, GET_1_0)] {
        let mut server = Server::with(|_| {}, pieces(head, vec!["abc", "error"]));
        let mut client = server.connect_tcp();
        client.send(request);
        let response = server.truncated(&mut client);
        assert_eq!((response.status, response.text()), (200, "abc"));
        assert_eq!(client.end, Some(End::Reset), "a reset, whatever the framing");
        assert_eq!(server.counters.aborted.get(), 1);
        assert_eq!(server.counters.app_errors.get(), 1);
    }
}

#[test]
fn an_iterator_in_rust_that_fails_or_panics_truncates_as_well() {
    for panics in [false, true] {
        let app = move |_: &Environ, start: &StartResponse<'_>| {
            start.respond(&Head::new(200, &TEXT))?;
            Ok(Body::from_chunks((0..3).map(move |n| match n {
                0 => Ok(b"abc".to_vec()),
                _ if panics => panic!("inside an iterator"),
                _ => Err(Error::new(Kind::App, "why it failed")),
            })))
        };
        let mut server = Server::new(|_| {}, app);
        let mut client = server.connect();
        client.send(GET);
        assert_eq!(server.truncated(&mut client).text(), "abc");
        assert_eq!(server.counters.app_errors.get(), 1);
        let why = if panics { "inside an iterator" } else { "why it failed" };
        assert_eq!(server.log.with(why).len(), 1, "{:?}", server.log.lines());
    }
}

#[test]
fn more_than_the_content_length_is_cut_off_with_one_warning() {
    let mut server = Server::with(|_| {}, pieces(&FIVE, vec!["abc", "defg", "hij", "klm"]));
    let mut client = server.connect();
    let response = server.ask_on(&mut client, GET);
    assert_eq!((response.framing, response.text()), (Framing::Length(5), "abcde"));
    assert!(server.is_kept(&mut client), "the framing is whole");
    assert_eq!(server.log.with("longer").len(), 1, "{:?}", server.log.lines());
    assert_eq!(server.log.with("longer")[0].id.len(), 16);

    let app = |_: &Environ, start: &StartResponse<'_>| {
        start.respond(&Head::new(200, &FIVE))?;
        Ok(Body::from_static(b"abcdefghijkl"))
    };
    let mut server = Server::new(|_| {}, app);
    assert_eq!(server.ask(GET).text(), "abcde");
    assert_eq!(server.log.with("longer").len(), 1);
}

#[test]
fn less_than_the_content_length_is_a_500_while_that_is_possible() {
    let short = |_: &Environ, start: &StartResponse<'_>| {
        start.respond(&Head::new(200, &FIVE))?;
        Ok(Body::from_static(b"abc"))
    };
    for app in
        [Application::new(short).nonblocking(), pieces(&FIVE, vec![]), pieces(&FIVE, vec!["", ""])]
    {
        let mut server = Server::with(|_| {}, app);
        let mut client = server.connect();
        let response = server.ask_on(&mut client, GET);
        assert_eq!(response.status, 500);
        assert!(server.is_kept(&mut client));
        assert_eq!(server.log.with("Content-Length is 5").len(), 1);
    }
}

#[test]
fn less_than_the_content_length_is_visible_when_the_head_is_sent() {
    let mut server = Server::with(|_| {}, pieces(&FIVE, vec!["ab", "cd"]));
    let mut client = server.connect_tcp();
    client.send([GET, GET].concat());
    let response = server.truncated(&mut client);
    assert_eq!((response.framing, response.text()), (Framing::Length(5), "abcd"));
    assert_eq!(client.end, Some(End::Reset));
    assert_eq!(server.counters.requests.get(), 1, "no second answer in place of the rest");
    assert_eq!(server.log.with("Content-Length is 5").len(), 1);
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let journal = Journal::default();
    let told = journal.clone();
    let app = capp::application(move |env, start, body| {
        body.journal = Some(told.clone());
        let known = env.query_string() != b"unknown";
        let own = env.query_string() == b"own";
        assert_eq!(start.respond(&Head::new(200, if own { &FIVE } else { &TEXT })), OK);
        if known {
            body.first = Some(capp::owned(&told, "first", b"abcde".to_vec()));
        } else {
            let told = told.clone();
            body.next = Some(Box::new(move |out| {
                told.add("next");
                assert!(told.len() < 5, "it is asked for what nobody will see");
                *out = capp::lent(b"abcde");
                OK
            }));
        }
        OK
    });
    let mut server = Server::with(|_| {}, app);
    let mut client = server.connect();
    for query in ["known", "own", "unknown"] {
        let request = format!("HEAD /?{query} HTTP/1.1\r\nHost: h\r\n\r\n");
        let response = server.ask_on(&mut client, request);
        assert_eq!((response.status, response.body.len()), (200, 0));
        let length = if query == "unknown" { None } else { Some("5") };
        assert_eq!(response.header("Content-Length"), length, "{query}");
        assert_eq!(journal.count("close"), 1, "{query}");
        journal.take();
    }
    assert!(server.is_kept(&mut client));
    assert_eq!(server.counters.sent.get(), 0);
}

#[test]
fn a_head_with_a_longer_or_shorter_content_length_keeps_it() {
    let app = |_: &Environ, start: &StartResponse<'_>| {
        start.respond(&Head::new(200, &FIVE))?;
        Ok(Body::empty())
    };
    let mut server = Server::new(|_| {}, app);
    let response = server.ask("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((response.status, response.header("Content-Length")), (200, Some("5")));
    assert!(server.log.lines().is_empty(), "{:?}", server.log.lines());
}

#[test]
fn a_204_and_a_304_have_no_body_whatever_the_application_says() {
    for status in [204, 304] {
        for (given, own) in [(vec![], false), (vec!["abc"], false), (vec!["abcde"], true)] {
            let silent = given.is_empty();
            let app = capp::application(move |_, start, body| {
                let head: &[Pair<'static>] = if own { &FIVE } else { &[] };
                assert_eq!(start.respond(&Head::new(status, head)), OK);
                let mut given = given.clone().into_iter();
                body.next = Some(Box::new(move |out| match given.next() {
                    Some(text) => {
                        *out = capp::lent(text.as_bytes());
                        OK
                    }
                    None => EOF,
                }));
                OK
            });
            let mut server = Server::with(|_| {}, app);
            let mut client = server.connect();
            let response = server.ask_on(&mut client, GET);
            assert_eq!(response.status, status);
            let length = (status == 304 && own).then_some("5");
            assert_eq!(response.header("Content-Length"), length);
            // The next response is where it belongs.
            assert_eq!(server.ask_on(&mut client, GET).status, status);
            let warnings = server.log.with("longer").len();
            assert_eq!(warnings, if silent { 0 } else { 2 }, "one each: {:?}", server.log.lines());
        }
    }
}

#[test]
fn what_is_written_leaves_before_the_body() {
    let app = capp::application(|_, start, body| {
        let (rc, write) = start.open(&Head::new(200, &TEXT));
        assert_eq!(rc, OK);
        assert_eq!(write.write(&capp::lent(b"1 ")), OK);
        assert_eq!(write.write(&capp::lent(b"")), OK);
        // Only ours until write() returns.
        let mut passing = vec![b'2'; 20_000];
        assert_eq!(write.write(&capp::lent(&passing)), OK);
        passing.fill(b'!');
        body.first = Some(capp::lent(b" 3 "));
        let mut left = 2;
        body.next = Some(Box::new(move |out| {
            left -= 1;
            if left == 0 {
                return EOF;
            }
            assert_eq!(write.write(&capp::lent(b"4 ")), OK);
            *out = capp::lent(b"5");
            OK
        }));
        OK
    });
    let response = Server::with(|_| {}, app).ask(GET);
    let expected = format!("1 {} 3 4 5", "2".repeat(20_000));
    assert!(response.text() == expected, "{}", response.body.escape_ascii());
}

#[test]
fn a_write_commits_the_head_and_an_error_after_it_cuts() {
    let app = |env: &Environ, start: &StartResponse<'_>| {
        let writer = start.respond(&Head::new(200, &TEXT))?;
        if env.query_string() == b"empty" {
            assert!(writer.write(b"")?);
        } else {
            assert!(writer.write(b"begun")?);
        }
        Err(Error::new(Kind::App, "no more"))
    };
    let mut server = Server::new(|_| {}, app);
    let mut client = server.connect();
    client.send(GET);
    assert_eq!(server.truncated(&mut client).text(), "begun");
    assert_eq!(server.ask("GET /?empty HTTP/1.1\r\nHost: h\r\n\r\n").status, 500);
}

#[test]
fn what_is_only_written_needs_no_body() {
    let app = |_: &Environ, start: &StartResponse<'_>| {
        let writer = start.respond(&Head::new(200, &TEXT))?;
        assert!(writer.write(b"all ")?);
        assert!(writer.write(b"of it")?);
        Ok(Body::empty())
    };
    let response = Server::new(|_| {}, app).ask(GET);
    assert_eq!((response.text(), response.framing), ("all of it", Framing::Chunked));
}

#[test]
fn write_never_exceeds_the_content_length() {
    let app = |_: &Environ, start: &StartResponse<'_>| {
        let writer = start.respond(&Head::new(200, &FIVE))?;
        assert!(writer.write(b"abcd")?);
        assert!(writer.write(b"efgh")?);
        Ok(Body::from_static(b"ijkl"))
    };
    let mut server = Server::new(|_| {}, app);
    let mut client = server.connect();
    assert_eq!(server.ask_on(&mut client, GET).text(), "abcde");
    assert!(server.is_kept(&mut client));
    assert_eq!(server.log.with("longer").len(), 1);
}

#[test]
fn chunks_of_every_size_arrive_as_they_are() {
    // Copied, lent and released ones, around the sizes where the way to the socket changes.
    let journal = Journal::default();
    let told = journal.clone();
    let sizes = [1, 4095, 4096, 4097, 16_384, 16_385, 65_536, 300_000];
    let content: &'static [u8] = noise(300_000).leak();
    let app = capp::application(move |_, start, body| {
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        let told = told.clone();
        let mut n = 0;
        body.next = Some(Box::new(move |out| {
            let Some(size) = sizes.get(n / 2) else { return EOF };
            let text = &content[..*size];
            *out = match n % 2 {
                0 => capp::lent(text),
                _ => capp::owned(&told, &size.to_string(), text.to_vec()),
            };
            n += 1;
            OK
        }));
        OK
    });
    let mut server = Server::with(|_| {}, app);
    let response = server.ask(GET);
    let expected: Vec<u8> = sizes.iter().flat_map(|size| [&content[..*size]; 2].concat()).collect();
    assert!(response.body == expected);
    assert_eq!(journal.len(), sizes.len(), "each release once: {:?}", journal.take());
}

#[test]
fn a_lent_chunk_is_sent_before_its_giver_is_asked_again() {
    // The application uses one buffer again and again, as the convention allows.
    let app = capp::application(|_, start, body| {
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        let mut buffer = vec![0; 50_000];
        let mut n = 0_u8;
        body.next = Some(Box::new(move |out| {
            n += 1;
            if n > 40 {
                return EOF;
            }
            buffer.fill(n);
            *out = capp::lent(&buffer);
            OK
        }));
        OK
    });
    let mut server = Server::with(|_| {}, app);
    let response = server.ask(GET);
    assert_eq!(response.body.len(), 2_000_000);
    for (n, piece) in response.body.chunks(50_000).enumerate() {
        assert!(
            piece.iter().all(|octet| usize::from(*octet) == n + 1),
            "piece {n} was overwritten"
        );
    }
}

#[test]
fn the_last_chunk_may_say_so() {
    let app = capp::application(|_, start, body| {
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        let mut calls = 0;
        body.next = Some(Box::new(move |out| {
            calls += 1;
            assert_eq!(calls, 1, "asked again after the last chunk");
            *out = Chunk { flags: CHUNK_LAST, ..capp::lent(b"all") };
            OK
        }));
        OK
    });
    let mut server = Server::with(|_| {}, app);
    let mut client = server.connect();
    assert_eq!(server.ask_on(&mut client, GET).text(), "all");
    assert_eq!(server.ask_on(&mut client, GET).text(), "all");
}

#[test]
fn a_flushed_chunk_does_not_wait_for_company() {
    let app = capp::application(|env, start, body| {
        let env = lasting(env);
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        let mut sent = false;
        body.next = Some(Box::new(move |out| {
            if !sent {
                sent = true;
                *out = Chunk { flags: CHUNK_FLUSH, ..capp::lent(b"now") };
                return OK;
            }
            match env.try_read(&mut [0; 10]) {
                Ok(None) => AGAIN,
                _ => EOF,
            }
        }));
        OK
    });
    let mut server = Server::with(
        |config| {
            config.set("request_buffering", "0").unwrap();
        },
        app,
    );
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n");
    server.settle();
    client.pull();
    assert!(client.inbox.ends_with(b"3\r\nnow\r\n"), "{}", client.shown());
    client.send("x");
    assert_eq!(server.reply(&mut client).text(), "now");
}

#[test]
fn bodies_in_rust_arrive() {
    let app = |env: &Environ, start: &StartResponse<'_>| {
        start.respond(&Head::new(200, &TEXT))?;
        Ok(match env.query_string() {
            b"static" => Body::from_static(b"static"),
            b"vec" => Body::from_vec(vec![b'v'; 100_000]),
            b"chunks" => Body::from_chunks((0..3).map(|n| Ok(n.to_string().into_bytes()))),
            _ => Body::empty(),
        })
    };
    let mut server = Server::new(|_| {}, app);
    let mut client = server.connect();
    let mut ask = |query: &str| {
        server.ask_on(&mut client, format!("GET /?{query} HTTP/1.1\r\nHost: h\r\n\r\n"))
    };
    assert_eq!(ask("static").text(), "static");
    assert_eq!(ask("vec").text(), "v".repeat(100_000));
    assert_eq!(ask("chunks").text(), "012");
    assert_eq!(ask("empty").text(), "");
}
