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
