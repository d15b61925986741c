//! What is answered through a handle, and what a handle refuses.

use gateway::base::error::{Error, Kind};
use gateway::base::log::Level;
use gateway::base::octets::Pair;
use gateway::gateway::abi::{Environ, Response as Head, StartResponse};
use gateway::gateway::body::Body;

use super::harness::*;
use super::tools::*;

fn text(status: u16) -> Head<'static> {
    Head::new(status, &TEXT)
}

#[test]
fn a_reply_has_its_length_and_leaves_the_connection() {
    let (mut server, mut client, desk, handle) = asked(GET);
    assert!(client.inbox.is_empty());
    handle.reply(&text(200), b"at last\n".to_vec()).unwrap();
    let response = server.reply(&mut client);
    assert_eq!((response.status, response.text()), (200, "at last\n"));
    assert_eq!(response.header("content-length"), Some("8"));
    assert_eq!(response.header("content-type"), Some("text/plain"));
    assert!(!response.says_close());

    client.send(GET);
    server.settle();
    desk.take().reply(&text(404), Vec::new()).unwrap();
    let response = server.reply(&mut client);
    assert_eq!((response.status, response.header("content-length")), (404, Some("0")));
    assert_eq!(server.counters.requests.get(), 2);
    assert_eq!(server.counters.status[2].get() + server.counters.status[4].get(), 2);
    nothing_left(&mut server, &desk);
    assert_eq!(desk.told.take(), [""; 0]);
}

#[test]
fn a_reply_inside_the_call_needs_no_other_turn() {
    let mut server = Server::new(
        |_| {},
        |env: &Environ, _: &StartResponse<'_>| {
            env.defer(None)?.reply(&text(200), b"at once".to_vec())?;
            Ok(Body::later())
        },
    );
    assert_eq!(server.ask(GET).text(), "at once");
    nothing_left(&mut server, &Desk::default());
}

#[test]
fn a_reply_may_close_its_connection() {
    let (mut server, mut client, _desk, handle) = asked(GET);
    handle.reply(&text(200).closing(), b"the last".to_vec()).unwrap();
    let response = server.reply(&mut client);
    assert!(response.says_close() && response.text() == "the last");
    assert_eq!(server.until_end(&mut client), End::Clean);
}

#[test]
fn pieces_leave_when_they_are_written() {
    let (mut server, mut client, desk, handle) = asked(GET);
    let hints = [Pair::new(b"Link", b"</style.css>; rel=preload")];
    handle.start(&Head::new(103, &hints)).unwrap();
    handle.start(&text(200)).unwrap();
    server.settle();
    client.pull();
    assert!(client.inbox.starts_with(b"HTTP/1.1 103 "), "{}", client.shown());
    let before = client.inbox.len();
    for piece in ["one,", "two,", "", "three"] {
        assert!(handle.write(piece.as_bytes()).unwrap());
        server.settle();
        client.pull();
        assert!(client.inbox.ends_with(format!("{piece}\r\n").as_bytes()) || piece.is_empty());
    }
    assert!(client.inbox.len() > before);
    handle.end(Ok(())).unwrap();
    let response = server.reply(&mut client);
    assert_eq!(response.text(), "one,two,three");
    assert_eq!(response.interims(), [103]);
    assert_eq!(response.header("transfer-encoding"), Some("chunked"));
    nothing_left(&mut server, &desk);
}

#[test]
fn hints_come_before_an_answer_that_is_whole() {
    let (mut server, mut client, desk, handle) = asked(GET);
    let hints = [Pair::new(b"Link", b"</style.css>; rel=preload")];
    handle.start(&Head::new(103, &hints)).unwrap();
    handle.reply(&text(200), b"all".to_vec()).unwrap();
    let response = server.reply(&mut client);
    assert_eq!((response.interims(), response.text()), (vec![103], "all"));
    assert_eq!(response.header("content-length"), Some("3"));
    nothing_left(&mut server, &desk);
}

#[test]
fn what_was_written_before_the_loop_looked_has_a_length() {
    let (mut server, mut client, _desk, handle) = asked(GET);
    handle.start(&text(200)).unwrap();
    assert!(handle.write(b"all ").unwrap());
    assert!(handle.write(&[b'x'; 9000]).unwrap());
    handle.end(Ok(())).unwrap();
    let response = server.reply(&mut client);
    assert_eq!(response.header("content-length"), Some("9004"));
    assert!(response.text().starts_with("all xxxx"));
}

#[test]
fn head_and_bodiless_statuses_have_no_body() {
    let (mut server, mut client, _desk, handle) = asked("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    handle.reply(&text(200), b"unseen".to_vec()).unwrap();
    let response = server.reply_to_head(&mut client);
    assert_eq!((response.header("content-length"), response.text()), (Some("6"), ""));

    let (mut server, mut client, _desk, handle) = asked("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    handle.start(&text(200)).unwrap();
    for _ in 0..3 {
        assert!(handle.write(b"unseen").unwrap());
        server.settle();
    }
    assert_eq!(server.counters.in_flight.get(), 1, "its memory is the handle's");
    handle.end(Ok(())).unwrap();
    assert_eq!(server.reply_to_head(&mut client).text(), "");

    let (mut server, mut client, _desk, handle) = asked(GET);
    handle.reply(&text(204), Vec::new()).unwrap();
    let response = server.reply(&mut client);
    assert_eq!((response.status, response.header("content-length")), (204, None));
}

#[test]
fn an_old_client_gets_the_end_as_the_end() {
    let (mut server, mut client, _desk, handle) = asked("GET / HTTP/1.0\r\n\r\n");
    handle.start(&text(200)).unwrap();
    assert!(handle.write(b"old ").unwrap());
    server.settle();
    assert!(handle.write(b"style").unwrap());
    handle.end(Ok(())).unwrap();
    assert_eq!(server.until_end(&mut client), End::Clean);
    assert!(client.inbox.ends_with(b"\r\n\r\nold style"), "{}", client.shown());
}

#[test]
fn a_handle_that_is_forgotten_or_fails_is_a_500() {
    let (mut server, mut client, _desk, handle) = asked(GET);
    drop(handle);
    assert_eq!(server.reply(&mut client).status, 500);

    let (mut server, mut client, desk, handle) = asked(GET);
    handle.start(&text(200)).unwrap();
    handle.end(Err(Error::from(Kind::App))).unwrap();
    let response = server.reply(&mut client);
    assert_eq!(response.status, 500);
    assert!(!response.says_close());
    assert_eq!(server.counters.app_errors.get(), 1);
    nothing_left(&mut server, &desk);
}

#[test]
fn a_failure_behind_the_head_is_cut() {
    let (mut server, mut client, desk, handle) = asked(GET);
    handle.start(&text(200)).unwrap();
    assert!(handle.write(b"begun").unwrap());
    server.settle();
    handle.end(Err(Error::from(Kind::App))).unwrap();
    let response = server.truncated(&mut client);
    assert_eq!(response.text(), "begun");
    nothing_left(&mut server, &desk);
}

#[test]
fn a_length_is_kept_or_the_answer_is_none() {
    let promise = [Pair::new(b"Content-Length", b"10")];
    // Too short, before anything was sent.
    let (mut server, mut client, _desk, handle) = asked(GET);
    handle.reply(&Head::new(200, &promise), b"short".to_vec()).unwrap();
    assert_eq!(server.reply(&mut client).status, 500);
    // Too short, and on its way.
    let (mut server, mut client, _desk, handle) = asked(GET);
    handle.start(&Head::new(200, &promise)).unwrap();
    assert!(handle.write(b"short").unwrap());
    server.settle();
    handle.end(Ok(())).unwrap();
    assert_eq!(server.truncated(&mut client).text(), "short");
    // Too long.
    let (mut server, mut client, _desk, handle) = asked(GET);
    handle.start(&Head::new(200, &promise)).unwrap();
    for _ in 0..4 {
        assert!(handle.write(b"four").unwrap());
    }
    handle.end(Ok(())).unwrap();
    assert_eq!(server.reply(&mut client).text(), "fourfourfo");
    assert_eq!(server.log.with("cut off").len(), 1);
}

#[test]
fn a_head_is_refused_where_start_response_would_refuse_it() {
    let (mut server, mut client, _desk, handle) = asked(GET);
    let kind = |result: gateway::Result<()>| result.unwrap_err().kind();
    assert_eq!(handle.write(b"too early").unwrap_err().kind(), Kind::State);
    assert_eq!(kind(handle.start(&Head::new(99, &[]))), Kind::Protocol);
    assert_eq!(kind(handle.start(&Head::new(200, &[Pair::new(b"a b", b"c")]))), Kind::Protocol);
    assert_eq!(kind(handle.start(&Head::new(101, &[]))), Kind::Unsupported);
    handle.start(&text(200)).unwrap();
    assert_eq!(kind(handle.start(&text(201))), Kind::State);
    handle.start(&text(202).replacing()).unwrap();
    assert!(handle.write(b"taken").unwrap());
    assert_eq!(kind(handle.start(&text(203).replacing())), Kind::State);
    server.settle();
    assert_eq!(kind(handle.start(&text(203).replacing())), Kind::State);
    handle.end(Ok(())).unwrap();
    assert_eq!(server.reply(&mut client).status, 202);
}

#[test]
fn why_a_head_is_refused_is_logged() {
    let hints = [Pair::new(b"Link", b"</style.css>; rel=preload")];
    for (name, value, why) in [
        ("a b", "c", r#"header "a b": the name is not a token"#),
        ("X-Two", "a\r\nb", r#"header "X-Two": the value has a control character"#),
        ("Connection", "close", r#"header "Connection": hop-by-hop"#),
    ] {
        let (mut server, mut client, _desk, handle) = asked(GET);
        let bad = [Pair::new(name.as_bytes(), value.as_bytes())];
        for status in [200, 103] {
            assert_eq!(handle.start(&Head::new(status, &bad)).unwrap_err().kind(), Kind::Protocol);
        }
        handle.start(&Head::new(103, &hints)).unwrap();
        handle.reply(&text(200), b"all".to_vec()).unwrap();
        // It changes nothing else.
        let response = server.reply(&mut client);
        assert_eq!((response.interims(), response.text()), (vec![103], "all"));
        assert_eq!(response.header("content-length"), Some("3"));
        let lines = server.log.with(why);
        assert_eq!(lines.len(), 2, "{why}: {:?}", server.log.lines());
        assert!(lines.iter().all(|line| line.level == Level::Error && line.id.len() == 16));
    }
}

#[test]
fn a_refused_reply_is_a_500_and_gives_the_handle_up() {
    let (mut server, mut client, desk, handle) = asked(GET);
    let bad = [Pair::new(b"X", b"a\nb")];
    let error = handle.reply(&Head::new(200, &bad), b"x".to_vec()).unwrap_err();
    assert_eq!(error.kind(), Kind::Protocol);
    assert_eq!(server.reply(&mut client).status, 500);
    assert_eq!(server.log.with("control character").len(), 1);
    nothing_left(&mut server, &desk);
}

#[test]
fn a_head_of_start_response_counts() {
    let desk = Desk::default();
    let kept = desk.clone();
    let mut server = Server::new(
        |_| {},
        move |env: &Environ, start: &StartResponse<'_>| {
            start.respond(&text(203))?;
            kept.keep(env)?;
            Ok(Body::later())
        },
    );
    let mut client = server.connect();
    client.send(GET);
    server.settle();
    let handle = desk.take();
    assert_eq!(handle.start(&text(200)).unwrap_err().kind(), Kind::State);
    assert!(handle.write(b"from afar").unwrap());
    handle.end(Ok(())).unwrap();
    let response = server.reply(&mut client);
    assert_eq!((response.status, response.text()), (203, "from afar"));
}

#[test]
fn one_handle_for_each_request_and_none_without_asking() {
    let mut server = Server::new(
        |_| {},
        |env: &Environ, _: &StartResponse<'_>| {
            if env.path_info() == b"/none" {
                return Ok(Body::later());
            }
            let first = env.defer(None)?;
            assert_eq!(env.defer(None).unwrap_err().kind(), Kind::State);
            first.reply(&text(200), b"one".to_vec())?;
            assert_eq!(env.defer(None).unwrap_err().kind(), Kind::State);
            Ok(Body::later())
        },
    );
    assert_eq!(server.ask(GET).text(), "one");
    assert_eq!(server.ask("GET /none HTTP/1.1\r\nHost: h\r\n\r\n").status, 500);
    assert_eq!(server.log.with("GW_DEFERRED without gw_defer").len(), 1);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let desk = Desk::default();
    let mut server = Server::new(|_| {}, desk.app());
    let mut client = server.connect();
    client.send(format!("{GET}{GET}{GET}"));
    for answer in ["first", "second", "third"] {
        server.settle();
        assert_eq!(desk.len(), 1, "one at a time");
        desk.take().reply(&text(200), answer.into()).unwrap();
        assert_eq!(server.reply(&mut client).text(), answer);
    }
    nothing_left(&mut server, &desk);
}

#[test]
fn the_environ_is_there_until_the_handle_is_given_up() {
    let request = "GET /p%41th?q=1 HTTP/1.1\r\nHost: h\r\nCookie: a=b\r\nCookie: c=d\r\n\r\n";
    let (mut server, mut client, _desk, handle) = asked(request);
    // More arrives meanwhile, and must not move what is there.
    for _ in 0..100 {
        client.send([b'x'; 100]);
        server.settle();
    }
    let env = handle.environ().unwrap();
    assert_eq!((env.path_info(), env.query_string()), (&b"/pAth"[..], &b"q=1"[..]));
    assert_eq!(env.get(b"HTTP_COOKIE").as_slice(), b"a=b; c=d");
    assert_eq!(env.query(b"q").as_slice(), b"1");
    handle.reply(&text(200), Vec::new()).unwrap();
    assert_eq!(server.reply(&mut client).status, 200);
}

#[test]
fn a_handle_knows_what_start_response_did_in_the_same_call() {
    let mut server = Server::new(
        |_| {},
        |env: &Environ, start: &StartResponse<'_>| {
            let handle = env.defer(None)?;
            let writer = start.respond(&text(203))?;
            assert_eq!(handle.start(&text(200)).unwrap_err().kind(), Kind::State);
            if env.path_info() == b"/sent" {
                writer.write(b"sent ")?;
                let error = handle.start(&text(200).replacing()).unwrap_err();
                assert_eq!(error.kind(), Kind::State, "the head is the client's");
            }
            assert!(handle.write(b"in the call")?);
            handle.end(Ok(()))?;
            Ok(Body::later())
        },
    );
    let response = server.ask(GET);
    assert_eq!((response.status, response.text()), (203, "in the call"));
    let response = server.ask("GET /sent HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((response.status, response.text()), (203, "sent in the call"));
}

#[test]
fn a_100_of_the_handle_is_the_only_one() {
    let head = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    let (mut server, mut client, desk, handle) = asked_with(
        |config| {
            config.set("request_buffering", "0").unwrap();
        },
        head,
    );
    handle.start(&Head::new(100, &[])).unwrap();
    assert_eq!(handle.read(&mut [0; 9]).unwrap(), None);
    server.settle();
    client.send("body");
    server.settle();
    assert_eq!(handle.read(&mut [0; 9]).unwrap(), Some(4));
    handle.reply(&text(200), Vec::new()).unwrap();
    let response = server.reply(&mut client);
    assert_eq!(response.interims(), [100]);
    assert!(!response.says_close());
    nothing_left(&mut server, &desk);
}

#[test]
fn no_sum_of_lengths_is_too_large() {
    use super::chandle;
    let handles = Default::default();
    let mut server = Server::with(|_| {}, c_app(&handles));
    let mut client = server.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    server.settle();
    let handle = handles.lock().unwrap().pop().unwrap();
    let journal = Journal::default();
    let chunk = |name| capp::file(&journal, name, 0, 0, i64::MAX as u64);
    assert_eq!(handle.reply(&text(200), &[chunk("a"), chunk("b"), chunk("c")]), chandle::OK);
    assert_eq!(server.reply_to_head(&mut client).status, 200);
    server.until("the end", |server| server.counters.in_flight.get() == 0);
    assert_eq!(journal.len(), 3);
}
