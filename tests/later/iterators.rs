//! Iterators that have nothing to give, until their handle says otherwise.

use std::sync::{Arc, Mutex};

use gateway::base::octets::Chunk;
use gateway::gateway::abi::{AGAIN, APP_NONBLOCKING, APP_THREADSAFE, EOF, OK, Response as Head};
use gateway::gateway::app::Application;
use gateway::server::engine::Stop;
use gateway::{Config, Deferred, Resumer};

use super::harness::*;
use super::tools::{Desk, nothing_left};

/// What an iterator of the test gives next.
#[derive(Clone, Default)]
struct Feed(Arc<Mutex<Inside>>);

#[derive(Default)]
struct Inside {
    chunks: std::collections::VecDeque<&'static [u8]>,
    ended: bool,
    asked: usize,
    closed: usize,
    handle: Option<Deferred>,
}

impl Feed {
    fn push(&self, chunk: &'static [u8]) {
        self.0.lock().unwrap().chunks.push_back(chunk);
    }

    fn end(&self) {
        self.0.lock().unwrap().ended = true;
    }

    fn asked(&self) -> usize {
        self.0.lock().unwrap().asked
    }

    fn closed(&self) -> usize {
        self.0.lock().unwrap().closed
    }

    fn resumer(&self) -> Resumer {
        self.0.lock().unwrap().handle.as_ref().unwrap().resumer().unwrap()
    }

    fn give_up(&self) {
        let handle = self.0.lock().unwrap().handle.take();
        handle.unwrap().end(Ok(())).unwrap();
    }

    /// Gives what the test has pushed, and AGAIN otherwise.
    fn app(&self, flags: u32) -> Application {
        let feed = self.clone();
        capp::with_flags(flags, move |env, start, body| {
            feed.0.lock().unwrap().handle = Some(env.defer(None).unwrap());
            start.respond(&Head::new(200, &TEXT));
            let (asked, closed) = (feed.clone(), feed.clone());
            body.next = Some(Box::new(move |out| asked.next(out)));
            body.close = Some(Box::new(move || closed.0.lock().unwrap().closed += 1));
            OK
        })
    }

    fn next(&self, out: &mut Chunk) -> i32 {
        let mut inside = self.0.lock().unwrap();
        inside.asked += 1;
        if let Some(text) = inside.chunks.pop_front() {
            *out = capp::lent(text);
            return OK;
        }
        if inside.ended { EOF } else { AGAIN }
    }
}

const LOOP: u32 = APP_NONBLOCKING | APP_THREADSAFE;

fn asked(flags: u32, configure: impl FnOnce(&mut Config)) -> (Server, Client, Feed) {
    let feed = Feed::default();
    let mut server = Server::with(configure, feed.app(flags));
    let mut client = server.connect();
    client.send(GET);
    server.until("the first question", |_| feed.asked() > 0);
    server.settle();
    (server, client, feed)
}

#[test]
fn it_is_asked_again_when_it_is_resumed_and_not_before() {
    for flags in [LOOP, APP_THREADSAFE] {
        let (mut server, mut client, feed) = asked(flags, |_| {});
        for piece in [&b"one,"[..], b"two,", b"three"] {
            let before = feed.asked();
            for _ in 0..5 {
                server.turn(5);
            }
            assert_eq!(feed.asked(), before);
            feed.push(piece);
            feed.resumer().resume().unwrap();
            server.until("the piece", |_| {
                client.pull();
                client.inbox.ends_with(&[piece, b"\r\n"].concat())
            });
        }
        feed.end();
        feed.resumer().resume().unwrap();
        assert_eq!(server.reply(&mut client).text(), "one,two,three");
        server.until("close", |_| feed.closed() == 1);
        feed.give_up();
        nothing_left(&mut server, &Desk::default());
    }
}

/// Also while the client has not taken what came before, and takes it bit by bit.
#[test]
fn it_is_asked_once_for_each_time_that_it_has_nothing() {
    static PIECE: [u8; 8000] = [b'~'; 8000];
    for flags in [LOOP, APP_THREADSAFE] {
        for pieces in [1, 500] {
            let (mut server, mut client, feed) = asked(flags, |_| {});
            assert_eq!(feed.asked(), 1);
            (0..pieces).for_each(|_| feed.push(&PIECE));
            feed.resumer().resume().unwrap();
            let mut got = 0;
            server.until("all pieces", |server| {
                server.settle();
                client.pull();
                got += client.inbox.iter().filter(|octet| **octet == b'~').count();
                client.inbox.clear();
                got == pieces * PIECE.len()
            });
            for _ in 0..5 {
                server.turn(5);
            }
            assert_eq!(feed.asked(), 1 + pieces + 1, "{flags} {pieces}");
            client.reset();
            feed.end();
            feed.resumer().resume().unwrap();
            server.until("close", |_| feed.closed() == 1);
            feed.give_up();
        }
    }
}

/// Nobody resumes it: it waits for the client, which has not taken what the call wrote.
#[test]
fn room_for_a_write_that_was_refused_wakes_it() {
    const PIECES: usize = 1000;
    let feed = Feed::default();
    let inner = feed.clone();
    let app = capp::with_flags(LOOP, move |env, start, body| {
        inner.0.lock().unwrap().handle = Some(env.defer(None).unwrap());
        let (_, write) = start.open(&Head::new(200, &TEXT));
        let mut written = 0;
        let mut go_on = move || {
            while written < PIECES {
                match write.write(&capp::lent(&[b'~'; 1000])) {
                    OK => written += 1,
                    other => return other,
                }
            }
            EOF
        };
        assert_eq!(go_on(), AGAIN);
        let mut is_first = true;
        body.next =
            Some(Box::new(move |_| if std::mem::take(&mut is_first) { AGAIN } else { go_on() }));
        OK
    });
    let mut server = Server::with(|config| drop(config.set("output_buffer", "16k")), app);
    assert_eq!(server.ask(GET).text(), "~".repeat(1000 * PIECES));
    feed.give_up();
    nothing_left(&mut server, &Desk::default());
}

#[test]
fn another_thread_wakes_the_loop() {
    let (mut server, mut client, feed) = asked(LOOP, |_| {});
    let resumer = feed.resumer();
    let pushing = std::thread::spawn(move || {
        for _ in 0..1000 {
            feed.push(b"x");
            resumer.resume().unwrap();
        }
        feed.end();
        resumer.resume().unwrap();
    });
    // Without a limit: what nobody wakes would hang.
    while client.total == 0 || !client.inbox.ends_with(b"0\r\n\r\n") {
        server.turn(-1);
        client.pull();
    }
    pushing.join().unwrap();
    assert_eq!(server.reply(&mut client).text(), "x".repeat(1000));
}

#[test]
fn a_resumption_may_come_before_it_is_needed_and_at_a_time() {
    for flags in [LOOP, APP_THREADSAFE] {
        let (mut server, mut client, feed) = asked(flags, |_| {});
        // The soonest counts, and each counts once.
        for ms in [60_000, 30, 90_000] {
            feed.resumer().resume_after(ms).unwrap();
        }
        feed.push(b"in time");
        let before = feed.asked();
        server.until("the time", |_| feed.asked() > before);
        server.until("the piece", |_| {
            client.pull();
            client.inbox.ends_with(b"in time\r\n")
        });
        server.settle();
        feed.end();
        feed.resumer().resume_after(0).unwrap();
        assert_eq!(server.reply(&mut client).text(), "in time");
        feed.give_up();
    }
}

#[test]
fn an_iterator_without_its_handle_is_asked_once_more() {
    let (mut server, mut client, feed) = asked(LOOP, |_| {});
    feed.push(b"last words");
    feed.give_up();
    server.settle();
    let response = server.truncated(&mut client);
    assert_eq!(response.text(), "last words");
    assert_eq!(server.log.with("nothing will wake it").len(), 1);
    assert_eq!(feed.closed(), 1);
}

#[test]
fn a_client_that_leaves_closes_what_waits() {
    for flags in [LOOP, APP_THREADSAFE] {
        let (mut server, client, feed) = asked(flags, |_| {});
        client.reset();
        // The socket's end alone could be half of a conversation: the next piece tells.
        feed.push(b"anybody?");
        feed.resumer().resume().unwrap();
        server.until("close", |_| feed.closed() == 1);
        server.until("no connection", |server| server.counters.connections.get() == 0);
        feed.give_up();
        nothing_left(&mut server, &Desk::default());
    }
}

#[test]
fn a_stop_closes_what_waits() {
    for flags in [LOOP, APP_THREADSAFE] {
        let (mut server, client, feed) = asked(flags, |_| {});
        server.stop(Stop::Quick);
        server.finish();
        drop(server);
        assert_eq!(feed.closed(), 1);
        feed.give_up();
        drop(client);
    }
}

/// A timer that runs out while the request waits for a thread is not the end of its time to wait.
#[test]
fn a_time_that_comes_while_no_thread_is_free_waits() {
    let gate = Arc::new(Mutex::new(()));
    let (feed, gated) = (Feed::default(), Arc::clone(&gate));
    let inner = feed.clone();
    let app = capp::with_flags(APP_THREADSAFE, move |env, start, body| {
        if env.path_info() == b"/gate" {
            drop(gated.lock().unwrap());
            start.respond(&Head::new(200, &TEXT));
            return OK;
        }
        inner.0.lock().unwrap().handle = Some(env.defer(None).unwrap());
        start.respond(&Head::new(200, &TEXT));
        let (asked, closed) = (inner.clone(), inner.clone());
        body.next = Some(Box::new(move |out| asked.next(out)));
        body.close = Some(Box::new(move || closed.0.lock().unwrap().closed += 1));
        OK
    });
    let mut server = Server::with(|config| drop(config.set("threads", "1")), app);
    let mut client = server.connect();
    feed.push(b"one,");
    client.send(GET);
    server.until("the first piece", |_| {
        client.pull();
        client.inbox.ends_with(b"one,\r\n")
    });
    server.settle();
    let held = gate.lock().unwrap();
    let mut other = server.connect();
    other.send("GET /gate HTTP/1.1\r\nHost: h\r\n\r\n");
    server.until("the thread is busy", |server| server.engine.running() == 1);
    let before = feed.asked();
    feed.push(b"two");
    feed.end();
    feed.resumer().resume_after(10).unwrap();
    for _ in 0..20 {
        server.turn(5);
    }
    assert_eq!(feed.asked(), before);
    drop(held);
    server.until("asked", |_| feed.asked() > before);
    assert_eq!(server.reply(&mut client).text(), "one,two");
    assert_eq!(server.counters.shed.get(), 0);
    assert_eq!(server.reply(&mut other).status, 200);
    feed.give_up();
}

/// Waits for more of a streamed body, and for a time: whichever comes first.
#[test]
fn a_time_comes_also_while_it_waits_for_a_body() {
    for flags in [LOOP, APP_THREADSAFE] {
        let feed = Feed::default();
        let inner = feed.clone();
        let app = capp::with_flags(flags, move |env, start, body| {
            inner.0.lock().unwrap().handle = Some(env.defer(None).unwrap());
            start.respond(&Head::new(200, &TEXT));
            let (asked, env) = (inner.clone(), lasting(env));
            body.next = Some(Box::new(move |out| {
                let got = std::iter::repeat_with(|| env.try_read(&mut [0; 4]).unwrap());
                if got.take_while(Option::is_some).any(|got| got == Some(0)) {
                    asked.end();
                }
                asked.next(out)
            }));
            OK
        });
        let mut server = Server::with(
            |config| {
                config.set("request_buffering", "0").unwrap();
                config.set("body_timeout", "60s").unwrap();
            },
            app,
        );
        let mut client = server.connect();
        client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n");
        server.until("the first question", |_| feed.asked() > 0);
        server.settle();
        for piece in [&b"one,"[..], b"two,"] {
            let asked = feed.asked();
            feed.resumer().resume_after(20).unwrap();
            server.settle();
            assert_eq!(feed.asked(), asked, "not yet");
            feed.push(piece);
            server.until("the piece", |_| {
                client.pull();
                client.inbox.ends_with(&[piece, b"\r\n"].concat())
            });
            server.settle();
        }
        let asked = feed.asked();
        for _ in 0..10 {
            server.turn(5);
        }
        assert_eq!(feed.asked(), asked, "a time comes once");
        client.send("0123456789");
        assert_eq!(server.reply(&mut client).text(), "one,two,");
        feed.give_up();
        nothing_left(&mut server, &Desk::default());
    }
}

/// A time that comes does not prolong that of the body.
#[test]
fn a_body_has_its_time_whatever_else_comes() {
    let feed = Feed::default();
    let inner = feed.clone();
    let app = capp::with_flags(LOOP, move |env, start, body| {
        inner.0.lock().unwrap().handle = Some(env.defer(None).unwrap());
        start.respond(&Head::new(200, &TEXT));
        let (asked, env) = (inner.clone(), lasting(env));
        body.next = Some(Box::new(move |out| {
            if env.try_read(&mut [0; 10]).is_err() {
                asked.end();
            }
            asked.resumer().resume_after(5).unwrap();
            asked.next(out)
        }));
        OK
    });
    let mut server = Server::with(
        |config| {
            config.set("request_buffering", "0").unwrap();
            config.set("body_timeout", "200ms").unwrap();
        },
        app,
    );
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n");
    server.until("the timeout", |server| server.counters.body_timeouts.get() == 1);
    assert!((3..100).contains(&feed.asked()), "{}", feed.asked());
    assert_eq!(server.reply(&mut client).text(), "");
    feed.give_up();
}

#[test]
fn a_handle_of_an_iterator_resumes_and_does_nothing_else() {
    use gateway::base::error::Kind;
    let (mut server, mut client, feed) = asked(LOOP, |_| {});
    let handle = feed.0.lock().unwrap().handle.take().unwrap();
    assert!(handle.environ().is_none());
    assert_eq!(handle.start(&Head::new(200, &TEXT)).unwrap_err().kind(), Kind::State);
    assert_eq!(handle.write(b"lost").unwrap_err().kind(), Kind::State);
    assert_eq!(handle.read(&mut [0; 9]).unwrap_err().kind(), Kind::State);
    feed.end();
    handle.resumer().unwrap().resume().unwrap();
    assert_eq!(server.reply(&mut client).text(), "");
    // The request is over, and the handle is not.
    assert_eq!(handle.read(&mut [0; 9]).unwrap_err().kind(), Kind::State);
    let error = handle.reply(&Head::new(200, &TEXT), b"lost".to_vec()).unwrap_err();
    assert_eq!(error.kind(), Kind::State);
    server.settle();
    client.pull();
    assert!(client.inbox.is_empty(), "{}", client.shown());
}

#[test]
fn an_iterator_with_a_handle_sees_that_its_client_has_left() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let app = capp::application(move |env, start, body| {
        let handle = env.defer(None).unwrap();
        start.respond(&Head::new(200, &TEXT));
        let (env, told) = (lasting(env), Arc::clone(&told));
        let mut count = 0;
        body.next = Some(Box::new(move |out| {
            let _ = &handle;
            told.lock().unwrap().push(capp::is_gone(env));
            count += 1;
            *out = capp::lent(b"piece,");
            if count < 3 { OK } else { EOF }
        }));
        OK
    });
    let mut server = Server::with(|_| {}, app);
    let mut client = server.connect();
    client.send(GET);
    client.half_close();
    server.until_end(&mut client);
    assert_eq!(*seen.lock().unwrap(), [true; 3]);
}

/// The application returned an error, while the handle waited for more of a body.
#[test]
fn who_waits_in_vain_is_told() {
    let desk = Desk::default();
    let kept = desk.clone();
    let mut server = Server::new(
        |config| {
            config.set("request_buffering", "0").unwrap();
        },
        move |env: &gateway::Environ, _: &gateway::gateway::abi::StartResponse<'_>| {
            kept.keep(env)?;
            let handle = kept.take();
            assert_eq!(handle.read(&mut [0; 9])?, None);
            kept.put(handle);
            Err(gateway::base::error::Kind::App.into())
        },
    );
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n");
    assert_eq!(server.reply(&mut client).status, 500);
    assert_eq!(desk.told.take(), ["readable"]);
    let handle = desk.take();
    assert!(handle.read(&mut [0; 9]).is_err());
    drop(handle);
    nothing_left(&mut server, &desk);
}
