//! Request bodies on threads: whole, in a file, and while they arrive.

use gateway::gateway::abi::{Environ, OK, Response as Head, StartResponse};
use gateway::gateway::app::Application;
use gateway::gateway::body::Body;

use super::harness::*;
use super::tools::*;

/// Reads to the end, noting each piece, and returns the body.
fn echoing(seen: &Seen) -> Application {
    let seen = seen.clone();
    Application::new(move |env: &Environ, start: &StartResponse<'_>| {
        seen.note("call");
        if env.path_info() == b"/blind" {
            return hello(env, start);
        }
        let (mut all, mut buf) = (Vec::new(), vec![0; 100_000]);
        loop {
            match env.read(&mut buf) {
                Ok(0) => break,
                Ok(n) => all.extend_from_slice(&buf[..n]),
                Err(error) => {
                    seen.note(&format!("{:?}", error.kind()));
                    return Err(error);
                }
            }
            seen.note(&format!("read {}", all.len()));
        }
        start.respond(&Head::new(200, &TEXT))?;
        Ok(Body::from_vec(all))
    })
}

#[test]
fn a_body_is_whole_before_a_thread_is_taken() {
    let seen = Seen::default();
    let mut server = Server::with(options("threads=1"), echoing(&seen));
    let mut client = server.connect();
    for body in [noise(10), noise(100_000)] {
        let before = seen.elsewhere().len();
        let request = post(&body);
        server.feed(&mut client, &request[..request.len() - 1]);
        assert_eq!(server.ask(get("/blind")).text(), "hello\n", "the thread is free");
        assert_eq!(seen.elsewhere().len(), before + 1);
        server.feed(&mut client, &request[request.len() - 1..]);
        assert!(server.reply(&mut client).body == body);
    }
}

#[test]
fn a_large_body_comes_from_a_file() {
    let (seen, dir) = (Seen::default(), Dir::new());
    let config = options(&format!("threads=2 body_buffer=1k spool_dir={}", dir.0.display()));
    let mut server = Server::with(config, echoing(&seen));
    let body = noise(1_000_000);
    let mut client = server.connect();
    for _ in 0..3 {
        assert!(server.ask_on(&mut client, post(&body)).body == body);
        let request = [POST_CHUNKED.as_bytes(), &chunked(&body, 7000)].concat();
        assert!(server.ask_on(&mut client, request).body == body);
    }
    assert!(dir.is_empty());
}

#[test]
fn read_blocks_on_the_thread_until_something_comes() {
    let seen = Seen::default();
    let mut server = Server::with(options("threads=1 request_buffering=0"), echoing(&seen));
    for head in ["POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 15\r\n\r\n", POST_CHUNKED] {
        let before = seen.elsewhere().len();
        let mut client = server.connect();
        client.send(head);
        server.until("it is called", |_| seen.elsewhere().len() == before + 1);
        for n in 1..=3 {
            let is_chunked = head == POST_CHUNKED;
            client.send(if is_chunked { "5\r\n12345\r\n" } else { "12345" });
            server.until("it has read", |_| seen.elsewhere().len() == before + 1 + n);
            assert_eq!(seen.elsewhere().last().unwrap(), &format!("read {}", 5 * n));
        }
        if head == POST_CHUNKED {
            client.send("0\r\n\r\n");
        }
        assert_eq!(server.reply(&mut client).text(), "123451234512345");
        assert_eq!(server.ask_on(&mut client, get("/blind")).text(), "hello\n");
    }
}

#[test]
fn others_are_served_while_a_read_blocks() {
    let seen = Seen::default();
    let mut server = Server::with(options("threads=2 request_buffering=0"), echoing(&seen));
    let mut slow = server.connect();
    let request = post(&noise(500_000));
    slow.send(&request[..1000]);
    server.until("it has read", |_| seen.elsewhere().len() == 2);
    let mut fast = server.connect();
    for _ in 0..20 {
        assert_eq!(server.ask_on(&mut fast, post(b"fast")).text(), "fast");
    }
    server.feed(&mut slow, &request[1000..]);
    assert!(server.reply(&mut slow).body == noise(500_000));
}

#[test]
fn read_ends_with_an_error_when_the_body_is_cut_short() {
    let seen = Seen::default();
    let mut server = Server::with(options("threads=1 request_buffering=0"), echoing(&seen));
    let mut client = server.connect();
    client.send(&post(&noise(1000))[..500]);
    server.until("it has read", |_| seen.elsewhere().len() == 2);
    client.half_close();
    server.until("it is over", |server| server.counters.in_flight.get() == 0);
    assert_eq!(seen.elsewhere().last().unwrap(), "Closed");
    server.until_end(&mut client);
    assert!(client.inbox.is_empty(), "no answer to half a request: {}", client.shown());
    assert_eq!(server.ask(get("/blind")).text(), "hello\n", "the thread is free");
}

#[test]
fn read_ends_with_an_error_after_body_timeout() {
    let seen = Seen::default();
    let config = options("threads=1 request_buffering=0 body_timeout=300ms");
    let mut server = Server::with(config, echoing(&seen));
    let mut client = server.connect();
    client.send(&post(&noise(1000))[..500]);
    let response = server.reply(&mut client);
    assert_eq!((response.status, response.says_close()), (408, true));
    assert_eq!(seen.elsewhere().last().unwrap(), "Timeout");
    assert_eq!(server.counters.body_timeouts.get(), 1);
}

#[test]
fn read_ends_with_an_error_when_the_body_is_malformed_or_too_large() {
    let seen = Seen::default();
    let config = options("threads=1 request_buffering=0 max_body=1k");
    let mut server = Server::with(config, echoing(&seen));
    for (body, status, kind) in
        [("5\r\n12345\r\nnonsense\r\n", 400, "Protocol"), ("500\r\n", 413, "Limit")]
    {
        let mut client = server.connect();
        client.send(POST_CHUNKED);
        client.send("3\r\nabc\r\n");
        let before = seen.elsewhere().len();
        server.until("it has read", |_| seen.elsewhere().len() >= before + 2);
        client.send(body);
        assert_eq!(server.reply(&mut client).status, status);
        assert_eq!(seen.elsewhere().last().unwrap(), kind);
    }
}

const EXPECT: &str = "Expect: 100-continue\r\n";

#[test]
fn who_waits_for_a_100_and_then_says_nothing_holds_no_thread() {
    let seen = Seen::default();
    let mut server = Server::with(options("threads=1"), echoing(&seen));
    let mut silent = server.connect();
    silent.send(format!("POST / HTTP/1.1\r\nHost: h\r\n{EXPECT}Content-Length: 8\r\n\r\n"));
    server.until("a 100", |_| {
        silent.pull();
        !silent.inbox.is_empty()
    });
    assert_eq!(server.ask(get("/blind")).text(), "hello\n");
    silent.send("the body");
    let response = server.reply(&mut silent);
    assert_eq!((response.interims(), response.text()), (vec![100], "the body"));
    seen.elsewhere();
}

#[test]
fn a_100_is_sent_by_the_first_read() {
    let (seen, gate) = (Seen::default(), Gate::default());
    let wait = gate.clone();
    let app = Application::new(move |env: &Environ, start: &StartResponse<'_>| {
        wait.pass();
        echo(env, start)
    });
    let mut server = Server::with(options("threads=1 request_buffering=0"), app);
    let mut client = server.connect();
    for _ in 0..2 {
        let request = post_with(EXPECT, b"the body");
        let (head, body) = request.split_at(request.len() - 8);
        client.send(head);
        server.until("it is called", |_| gate.waiting() == 1);
        server.settle();
        client.pull();
        assert!(client.inbox.is_empty(), "before it read: {}", client.shown());
        gate.open(1);
        server.until("a 100", |_| {
            client.pull();
            !client.inbox.is_empty()
        });
        client.send(body);
        let response = server.reply(&mut client);
        assert_eq!((response.interims(), response.text()), (vec![100], "the body"));
    }
    assert!(seen.elsewhere().is_empty());
}

#[test]
fn no_100_is_sent_for_an_application_that_answers_without_reading() {
    let mut server =
        Server::with(options("threads=1 request_buffering=0"), echoing(&Seen::default()));
    let mut client = server.connect();
    client.send(format!("POST /blind HTTP/1.1\r\nHost: h\r\n{EXPECT}Content-Length: 8\r\n\r\n"));
    let response = server.reply(&mut client);
    assert_eq!((response.interims(), response.text()), (vec![], "hello\n"));
    assert!(response.says_close());
    assert_eq!(server.until_end(&mut client), End::Clean);
}

#[test]
fn an_iterator_that_waits_for_the_body_gives_its_thread_back() {
    use gateway::base::octets::Chunk;
    use gateway::gateway::abi::{AGAIN, EOF};
    let seen = Seen::default();
    let noted = seen.clone();
    let app = blocking(move |env, start, body| {
        if env.path_info() == b"/small" {
            return start.respond(&Head::new(200, &TEXT));
        }
        let env = capp_env(env);
        let noted = noted.clone();
        body.next = Some(Box::new(move |out: &mut Chunk| {
            let mut buf = [0; 100];
            match env.get().try_read(&mut buf) {
                Ok(None) => AGAIN,
                Ok(Some(0)) => EOF,
                Ok(Some(n)) => {
                    *out = owned(&noted, buf[..n].to_vec());
                    OK
                }
                Err(error) => error.kind() as i32,
            }
        }));
        start.respond(&Head::new(200, &TEXT))
    });
    let mut server = Server::with(options("threads=1 request_buffering=0"), app);
    let mut client = server.connect();
    client.send("POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 15\r\n\r\n");
    for n in 1..=3 {
        server.settle();
        assert_eq!(server.ask(get("/small")).status, 200, "the thread is free");
        client.send("12345");
        server.until("it comes back", |_| {
            client.pull();
            client.inbox.windows(5).filter(|w| w == b"12345").count() == n
        });
    }
    assert_eq!(server.reply(&mut client).chunks, [5; 3]);
    assert_eq!(seen.elsewhere(), ["release"; 3]);
}

/// An environ that `next` may use: it lives as long as the request.
#[derive(Clone, Copy)]
struct Env(*const Environ);

// SAFETY: used in the calls of its request only, one at a time.
unsafe impl Send for Env {}

impl Env {
    fn get(&self) -> &Environ {
        // SAFETY: alive until close() has returned.
        unsafe { &*self.0 }
    }
}

fn capp_env(env: &Environ) -> Env {
    Env(env)
}
