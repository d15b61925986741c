//! What start_response accepts, and what becomes of the head.

use gateway::base::error::{Error, Kind};
use gateway::base::log::Level;
use gateway::base::octets::{Octets, Pair};
use gateway::gateway::abi::{AGAIN, EOF, Environ, OK, Response as Head, StartResponse};
use gateway::gateway::body::Body;

use super::harness::*;

const STATE: i32 = Kind::State as i32;
const PROTOCOL: i32 = Kind::Protocol as i32;

#[test]
fn status_reason_and_headers_arrive_exactly_and_in_order() {
    let app = capp::application(|_, start, body| {
        let fields = [
            Pair::new(b"X-b", b"1"),
            Pair::new(b"x-A", b""),
            Pair::new(b"Set-Cookie", b"a=1"),
            Pair::new(b"set-cookie", b"b=2; Path=/"),
            Pair::new(b"X-Space", b"  a  b\t"),
        ];
        let mut head = Head::new(299, &fields);
        head.reason = Octets::new(b"Quite All Right");
        assert_eq!(start.respond(&head), OK);
        body.first = Some(capp::lent(b"x"));
        OK
    });
    let response = Server::with(|_| {}, app).ask(GET);
    assert_eq!((response.status, &response.reason[..]), (299, "Quite All Right"));
    let fields: Vec<_> = response.headers.iter().map(|(n, v)| format!("{n}={v}")).take(5).collect();
    assert_eq!(
        fields,
        ["X-b=1", "x-A=", "Set-Cookie=a=1", "set-cookie=b=2; Path=/", "X-Space=a  b\t".trim_end()]
    );
    assert_eq!(response.header("Content-Length"), Some("1"));
}

#[test]
fn the_standard_phrase_and_a_date_are_added_unless_given() {
    let app = |env: &Environ, start: &StartResponse<'_>| {
        let date = [Pair::new(b"date", b"Mon, 01 Jan 2001 00:00:00 GMT")];
        let with_date = env.query_string() == b"date";
        start.respond(&Head::new(404, if with_date { &date } else { &[] }))?;
        Ok(Body::empty())
    };
    let mut server = Server::new(|_| {}, app);
    let response = server.ask(GET);
    assert_eq!((response.status, &response.reason[..]), (404, "Not Found"));
    assert!(httpdate::parse_http_date(response.header("Date").unwrap()).is_ok());
    let response = server.ask("GET /?date HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(response.header("Date"), Some("Mon, 01 Jan 2001 00:00:00 GMT"));
}

#[test]
fn a_second_head_needs_replace() {
    let app = capp::application(|_, start, body| {
        assert_eq!(start.respond(&Head::new(200, &[Pair::new(b"X-First", b"1")])), OK);
        assert_eq!(start.respond(&Head::new(201, &[])), STATE);
        body.first = Some(capp::lent(b"x"));
        OK
    });
    let mut server = Server::with(|_| {}, app);
    let response = server.ask(GET);
    assert_eq!((response.status, response.header("X-First")), (200, Some("1")));
    assert_eq!(server.log.with("called twice").len(), 1);
}

#[test]
fn replace_replaces_everything_until_the_head_is_sent() {
    let app = capp::application(|_, start, body| {
        let first = [
            Pair::new(b"X-First", b"1"),
            Pair::new(b"Content-Length", b"99"),
            Pair::new(b"Date", b"x"),
        ];
        assert_eq!(start.respond(&Head::new(200, &first)), OK);
        let start = *start;
        let mut calls = 0;
        body.next = Some(Box::new(move |out| {
            calls += 1;
            match calls {
                1 => *out = capp::lent(b""),
                2 => {
                    // An empty chunk has not sent it.
                    let second = [Pair::new(b"X-Second", b"2")];
                    assert_eq!(start.respond(&Head::new(503, &second).replacing()), OK);
                    *out = capp::lent(b"sorry");
                }
                3 => {
                    assert_eq!(start.respond(&Head::new(200, &[]).replacing()), STATE);
                    assert_eq!(start.respond(&Head::new(200, &[])), STATE);
                    *out = capp::lent(b"!");
                }
                _ => return EOF,
            }
            OK
        }));
        OK
    });
    let mut server = Server::with(|_| {}, app);
    let response = server.ask(GET);
    assert_eq!((response.status, response.text()), (503, "sorry!"));
    assert_eq!((response.header("X-First"), response.header("X-Second")), (None, Some("2")));
    assert_eq!(response.framing, Framing::Chunked);
}

#[test]
fn replacing_a_sent_head_is_an_error_that_cuts_if_it_is_returned() {
    let journal = Journal::default();
    let told = journal.clone();
    let app = capp::application(move |_, start, body| {
        let (_, write) = start.open(&Head::new(200, &TEXT));
        assert_eq!(write.write(&capp::lent(b"begun")), OK);
        body.journal = Some(told.clone());
        let rc = start.respond(&Head::new(500, &[]).replacing());
        assert_eq!(rc, STATE);
        rc
    });
    let mut server = Server::with(|_| {}, app);
    let mut client = server.connect();
    client.send(GET);
    let response = server.truncated(&mut client);
    assert_eq!((response.status, response.text()), (200, "begun"));
    assert_eq!(server.counters.app_errors.get(), 1);
}

#[test]
fn no_head_is_a_500() {
    for with_body in [false, true] {
        let app = capp::application(move |_, _, body| {
            if with_body {
                body.first = Some(capp::lent(b"naked"));
            }
            OK
        });
        let mut server = Server::with(|_| {}, app);
        let mut client = server.connect();
        let response = server.ask_on(&mut client, GET);
        assert_eq!(response.status, 500);
        assert!(!response.text().contains("naked"));
        assert_eq!(server.log.with("without start_response").len(), 1);
        assert_eq!(server.counters.app_errors.get(), 1);
        assert!(!response.says_close() && server.is_kept(&mut client));
    }
}

#[test]
fn a_status_has_three_digits_and_a_wrong_one_changes_nothing() {
    let app = capp::application(|_, start, body| {
        for status in [0, 1, 99, 1000, u16::MAX] {
            assert_eq!(start.respond(&Head::new(status, &[])), PROTOCOL, "{status}");
        }
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK, "nothing was started");
        assert_eq!(start.respond(&Head::new(1000, &[]).replacing()), PROTOCOL);
        body.first = Some(capp::lent(b"x"));
        OK
    });
    let mut server = Server::with(|_| {}, app);
    assert_eq!(server.ask(GET).status, 200);
    assert_eq!(server.log.with("is not a status").len(), 6);
}

#[test]
fn a_reason_with_a_line_end_is_refused() {
    for reason in [&b"OK\r\nX-Evil: 1"[..], b"a\nb", b"a\0b"] {
        let app = move |_: &Environ, start: &StartResponse<'_>| {
            let mut head = Head::new(200, &[]);
            head.reason = Octets::new(reason);
            start.respond(&head)?;
            Ok(Body::from_static(b"x"))
        };
        let mut server = Server::new(|_| {}, app);
        let response = server.ask(GET);
        assert_eq!((response.status, response.header("X-Evil")), (500, None));
    }
}

#[test]
fn invalid_headers_are_a_clean_500_and_a_line_that_names_them_but_not_their_values() {
    let cases: [(&str, &[u8], &[u8]); 16] = [
        ("X-Split", b"X-Split", b"secret\r\nX-Evil: 1"),
        ("X-Lf", b"X-Lf", b"secret\nb"),
        ("X-Cr", b"X-Cr", b"secret\rb"),
        ("X-Nul", b"X-Nul", b"secret\0b"),
        ("a b", b"a b", b"secret"),
        ("a\\r\\nb", b"a\r\nb", b"secret"),
        ("\"\"", b"", b"secret"),
        ("na:me", b"na:me", b"secret"),
        ("Connection", b"Connection", b"secret"),
        ("keep-alive", b"keep-alive", b"secret"),
        ("Transfer-Encoding", b"Transfer-Encoding", b"chunked, secret"),
        ("Upgrade", b"Upgrade", b"secret"),
        ("TE", b"TE", b"secret"),
        ("Trailer", b"Trailer", b"secret"),
        ("Proxy-Authenticate", b"Proxy-Authenticate", b"secret"),
        ("Content-Length", b"Content-Length", b"12secret"),
    ];
    for (shown, name, value) in cases {
        let app = move |_: &Environ, start: &StartResponse<'_>| {
            start
                .respond(&Head::new(200, &[Pair::new(b"X-Fine", b"1"), Pair::new(name, value)]))?;
            Ok(Body::from_static(b"x"))
        };
        let mut server = Server::new(|_| {}, app);
        let mut client = server.connect();
        let response = server.ask_on(&mut client, GET);
        assert_eq!(response.status, 500, "{shown}");
        assert_eq!((response.header("X-Fine"), response.header("X-Evil")), (None, None));
        let lines = server.log.with(shown);
        assert_eq!(lines.len(), 1, "{shown}: {:?}", server.log.lines());
        assert_eq!((lines[0].level, lines[0].id.len()), (Level::Error, 16));
        assert!(server.log.with("secret").is_empty() && !response.text().contains("secret"));
        assert!(server.is_kept(&mut client), "the connection has done nothing wrong");
    }
}

#[test]
fn content_lengths_that_disagree_are_refused_and_equal_ones_are_one() {
    let app = |env: &Environ, start: &StartResponse<'_>| {
        let second: &[u8] = if env.query_string() == b"same" { b"1" } else { b"2" };
        let fields = [Pair::new(b"Content-Length", b"1"), Pair::new(b"content-length", second)];
        start.respond(&Head::new(200, &fields))?;
        Ok(Body::from_static(b"x"))
    };
    let mut server = Server::new(|_| {}, app);
    assert_eq!(server.ask("GET /?same HTTP/1.1\r\nHost: h\r\n\r\n").framing, Framing::Length(1));
    assert_eq!(server.ask(GET).status, 500);
}

#[test]
fn more_header_octets_than_any_client_takes_are_refused() {
    let app = |_: &Environ, start: &StartResponse<'_>| {
        let value = vec![b'v'; 300_000];
        start.respond(&Head::new(200, &[Pair::new(b"X-Large", &value)]))?;
        Ok(Body::empty())
    };
    let mut server = Server::new(|_| {}, app);
    assert_eq!(server.ask(GET).status, 500);
    assert_eq!(server.log.with("octets of header fields").len(), 1);
}

fn hints(journal: &Journal) -> gateway::gateway::app::Application {
    let journal = journal.clone();
    capp::application(move |_, start, body| {
        let link = [Pair::new(b"Link", b"</a.css>; rel=preload")];
        assert_eq!(start.respond(&Head::new(103, &link)), OK);
        assert_eq!(start.respond(&Head::new(103, &[])), OK);
        // It is not the head.
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        assert_eq!(start.respond(&Head::new(103, &link)), OK, "before it is sent");
        let start = *start;
        let journal = journal.clone();
        let mut calls = 0;
        body.next = Some(Box::new(move |out| {
            calls += 1;
            if calls > 2 {
                return EOF;
            }
            if calls == 2 {
                assert_eq!(start.respond(&Head::new(103, &link)), OK, "silently nothing");
                journal.add("late");
            }
            *out = capp::lent(b"x");
            OK
        }));
        OK
    })
}

#[test]
fn early_hints_come_before_the_head_on_1_1() {
    let journal = Journal::default();
    let mut server = Server::with(|_| {}, hints(&journal));
    let response = server.ask(GET);
    assert_eq!(response.interims(), [103, 103, 103]);
    assert_eq!(response.interim[0].1, [("Link".to_owned(), "</a.css>; rel=preload".to_owned())]);
    assert_eq!((response.status, response.text()), (200, "xx"));
    assert_eq!(journal.count("late"), 1);
}

#[test]
fn early_hints_are_nothing_on_1_0() {
    let journal = Journal::default();
    let mut server = Server::with(|_| {}, hints(&journal));
    let response = server.ask("GET / HTTP/1.0\r\n\r\n");
    assert_eq!((response.interim.len(), response.text()), (0, "xx"));
    assert_eq!(journal.count("late"), 1);
}

#[test]
fn early_hints_leave_at_once() {
    // The application has said its hint, and waits.
    let app = capp::application(|env, start, body| {
        assert_eq!(start.respond(&Head::new(103, &[Pair::new(b"Link", b"x")])), OK);
        let (env, start) = (lasting(env), *start);
        body.next = Some(Box::new(move |_| match env.try_read(&mut [0; 10]) {
            Ok(None) => AGAIN,
            Ok(Some(0)) => {
                assert_eq!(start.respond(&Head::new(204, &[])), OK);
                EOF
            }
            Ok(Some(_)) => AGAIN,
            Err(error) => error.kind() as i32,
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
    assert_eq!(client.inbox, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
    client.send("x");
    let response = server.reply(&mut client);
    assert_eq!((response.status, response.interims()), (204, vec![103]));
}

#[test]
fn early_hints_are_checked_like_any_head() {
    let app = capp::application(|_, start, body| {
        assert_eq!(start.respond(&Head::new(103, &[Pair::new(b"Link", b"a\r\nb: c")])), PROTOCOL);
        assert_eq!(start.respond(&Head::new(103, &[Pair::new(b"Content-Length", b"1")])), PROTOCOL);
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        body.first = Some(capp::lent(b"x"));
        OK
    });
    let response = Server::with(|_| {}, app).ask(GET);
    assert_eq!((response.status, response.interim.len()), (200, 0));
}

#[test]
fn a_101_is_refused() {
    let app = capp::application(|_, start, body| {
        let upgrade = Kind::Unsupported as i32;
        assert_eq!(start.respond(&Head::new(101, &[])), upgrade);
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        body.first = Some(capp::lent(b"still http"));
        OK
    });
    let mut server = Server::with(|_| {}, app);
    let mut client = server.connect();
    let request = "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let response = server.ask_on(&mut client, request);
    assert_eq!((response.status, response.text()), (200, "still http"));
    assert!(server.is_kept(&mut client));
    assert_eq!(server.log.with("101").len(), 1);
}

#[test]
fn start_response_is_for_the_time_of_the_request() {
    use std::sync::Mutex;
    let leaked: &'static Mutex<Option<capp::Start>> = Box::leak(Box::default());
    let journal = Journal::default();
    let told = journal.clone();
    let app = capp::application(move |_, start, body| {
        assert_eq!(start.respond(&Head::new(200, &TEXT)), OK);
        body.first = Some(capp::lent(b"x"));
        *leaked.lock().unwrap() = Some(*start);
        let (start, told) = (*start, told.clone());
        // In close() it may be called, and is too late.
        body.close = Some(Box::new(move || {
            told.add(start.respond(&Head::new(200, &[]).replacing()).to_string());
        }));
        OK
    });
    let mut server = Server::with(|_| {}, app);
    assert_eq!(server.ask(GET).text(), "x");
    assert_eq!(journal.take(), [STATE.to_string()]);
}

#[test]
fn an_error_of_the_application_is_a_500_that_tells_the_client_nothing() {
    let app = |env: &Environ, start: &StartResponse<'_>| match env.query_string() {
        b"panic" => panic!("the secret {}", 7),
        b"late" => {
            start.respond(&Head::new(200, &[Pair::new(b"X-Mine", b"1")]))?;
            Err(Error::new(Kind::App, "the secret"))
        }
        _ => Err(Error::new(Kind::App, "the secret")),
    };
    let mut server = Server::new(|_| {}, app);
    let mut client = server.connect();
    for (n, query) in ["", "late", "panic"].into_iter().enumerate() {
        let request = format!("GET /?{query} HTTP/1.1\r\nHost: h\r\n\r\n");
        let response = server.ask_on(&mut client, request);
        assert_eq!((response.status, response.header("X-Mine")), (500, None), "{query}");
        assert!(!response.text().contains("secret"));
        assert_eq!(server.log.with("the secret").len(), n + 1);
        assert_eq!(server.counters.app_errors.get(), n as u64 + 1);
        assert!(server.is_kept(&mut client), "it is kept after an error");
    }
}
