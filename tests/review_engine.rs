//! What a review of the engine found: each test is a case that once went wrong.

#[path = "conv/harness/mod.rs"]
mod harness;

use std::ffi::c_void;
use std::thread::sleep;
use std::time::{Duration, Instant};

use gateway::base::octets::{CHUNK_FILE, Chunk};
use gateway::gateway::abi::{APP_THREADSAFE, Environ, Response as Head, StartResponse};
use gateway::gateway::app::Application;
use gateway::gateway::body::Body;
use gateway::server::engine::Stop;
use gateway::sys::sock;

use harness::capp::{CBody, Start, application, attach, lent, with_flags};
use harness::*;

unsafe extern "C" {
    fn gw_environ_put(
        env: *mut Environ,
        key: *const c_void,
        value: *mut c_void,
        drop: Option<unsafe extern "C" fn(value: *mut c_void)>,
    ) -> i32;
    fn gw_environ_at(env: *const Environ, key: *const c_void) -> *mut c_void;
}

/// A foreign loop sleeps on the descriptor after adopt(): it must wake for what is left.
#[test]
fn adopting_makes_the_descriptor_readable() {
    let mut server = Server::new(|_| {}, hello);
    server.settle();
    let (mut client, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    // More requests than one drive answers.
    std::io::Write::write_all(&mut client, GET.repeat(300).as_bytes()).unwrap();
    server.engine.adopt(std::os::fd::IntoRawFd::into_raw_fd(theirs)).unwrap();
    assert!(sock::wait_readable(server.engine.fd(), 0).unwrap());
    let mut client = Client::unix(client);
    for _ in 0..300 {
        server.reply(&mut client);
    }
}

/// "Requests that are there are answered."
#[test]
fn a_stop_answers_the_request_that_an_idle_connection_has_sent() {
    let mut server = Server::new(|_| {}, hello);
    let mut client = server.connect_tcp();
    server.ask_on(&mut client, GET);
    server.settle();
    client.send(GET);
    sleep(Duration::from_millis(20));
    server.stop(Stop::Graceful);
    let response = server.reply(&mut client);
    assert!(response.says_close());
    assert_eq!(server.until_end(&mut client), End::Clean);
    server.finish();
}

#[test]
fn a_stop_answers_everybody_in_the_queue() {
    let listening = |config: &mut gateway::gateway::config::Config| {
        config.set("bind", "127.0.0.1:0").unwrap();
    };
    let mut server = Server::new(listening, hello);
    let mut queued: Vec<_> = (0..100).map(|_| server.dial()).collect();
    for client in &mut queued {
        client.send(GET);
    }
    server.stop(Stop::Graceful);
    for client in &mut queued {
        assert_eq!(server.reply(client).status, 200);
    }
}

/// Ctrl-C does not begin what it is about to cut.
#[test]
fn a_quick_stop_begins_nothing() {
    let listening = |config: &mut gateway::gateway::config::Config| {
        config.set("bind", "127.0.0.1:0").unwrap();
    };
    let mut server = Server::new(listening, hello);
    let mut client = server.dial();
    client.send(GET);
    sleep(Duration::from_millis(20));
    server.stop(Stop::Quick);
    server.finish();
    assert_eq!(server.counters.requests.get(), 0);
}

/// The time that an application takes is not taken from those who wait.
#[test]
fn a_slow_application_leaves_the_keep_alive_time_whole() {
    let slow = |env: &Environ, start: &StartResponse<'_>| {
        sleep(Duration::from_millis(1700));
        hello(env, start)
    };
    let mut server = Server::blocking(|config| drop(config.set("keepalive", "1500ms")), slow);
    let mut client = server.connect();
    server.ask_on(&mut client, GET);
    for _ in 0..10 {
        server.turn(10);
    }
    client.pull();
    assert_eq!(client.end, None, "it has waited 100 ms, of 1500");
    server.ask_on(&mut client, GET);
}

/// A body that ends with the connection looks whole unless the connection is reset.
#[test]
fn what_a_quick_stop_cuts_is_seen_to_be_cut() {
    for drops in [false, true] {
        let mut server = Server::with(
            |_| {},
            application(|_, start: &Start, body: &mut CBody| {
                start.respond(&Head::new(200, &TEXT));
                static PIECE: [u8; 30_000] = [b'x'; 30_000];
                body.next = Some(Box::new(|out| {
                    *out = lent(&PIECE);
                    0
                }));
                0
            }),
        );
        let mut client = server.connect_tcp();
        client.send("GET / HTTP/1.0\r\n\r\n");
        server.settle();
        client.pull_up_to(1000);
        if drops {
            drop(server);
            while client.end.is_none() {
                client.pull();
            }
        } else {
            server.stop(Stop::Quick);
            server.until_end(&mut client);
        }
        assert_eq!(client.end, Some(End::Reset));
    }
}

/// The same when the application is done, and the rest waits in the queue.
#[test]
fn what_waits_at_a_quick_stop_is_seen_to_be_cut() {
    let mut server = Server::with(
        |config| drop(config.set("output_buffer", "64m")),
        application(|_, start: &Start, body: &mut CBody| {
            start.respond(&Head::new(200, &TEXT));
            let mut left = 2000;
            let text = [b'x'; 10_000];
            body.next = Some(Box::new(move |out| {
                if left == 0 {
                    return 2;
                }
                left -= 1;
                *out = lent(&text);
                0
            }));
            0
        }),
    );
    let mut client = server.connect_tcp();
    client.send("GET / HTTP/1.0\r\n\r\n");
    server.settle();
    assert_eq!(server.counters.in_flight.get(), 0, "it is only to be sent");
    server.stop(Stop::Quick);
    assert_eq!(server.until_end(&mut client), End::Reset);
}

/// One request has one answer, also when the rest of its body never comes.
#[test]
fn an_unread_body_that_stops_coming_gets_no_second_answer() {
    let configure = |config: &mut gateway::gateway::config::Config| {
        config.set("request_buffering", "0").unwrap();
        config.set("body_timeout", "100ms").unwrap();
    };
    let mut server = Server::new(configure, hello);
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nab");
    assert_eq!(server.reply(&mut client).status, 200);
    assert_eq!(server.until_end(&mut client), End::Clean);
    assert!(client.inbox.is_empty(), "{}", client.shown());
}

#[test]
fn a_late_head_request_gets_no_body() {
    let mut server = Server::new(|config| drop(config.set("header_timeout", "100ms")), hello);
    let mut client = server.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: h\r\n");
    server.until_end(&mut client);
    assert!(client.inbox.starts_with(b"HTTP/1.1 408 "), "{}", client.shown());
    assert!(client.inbox.ends_with(b"\r\n\r\n"), "{}", client.shown());
}

/// A chunk that cannot be sent must not be announced.
#[test]
fn a_chunk_without_data_is_a_500() {
    let null = |len| Chunk { len, ..Chunk::EMPTY };
    let endless_file = Chunk { len: u64::MAX, flags: CHUNK_FILE, ..Chunk::EMPTY };
    let endless = Chunk { len: u64::MAX, ..lent(b"x") };
    let negative = Chunk { len: 1, offset: -1, flags: CHUNK_FILE, ..Chunk::EMPTY };
    for chunk in [null(5), null(5000), null(100_000), endless_file, endless, negative] {
        struct Foreign(Chunk);
        // SAFETY: plain numbers.
        unsafe impl Send for Foreign {}
        // SAFETY: plain numbers.
        unsafe impl Sync for Foreign {}
        let foreign = Foreign(chunk);
        let mut server = Server::with(
            |_| {},
            application(move |_, start: &Start, body: &mut CBody| {
                let foreign = &foreign;
                start.respond(&Head::new(200, &TEXT));
                body.first = Some(foreign.0);
                0
            }),
        );
        let response = server.ask(GET);
        assert_eq!(response.status, 500, "{chunk:?}");
    }
}

static KEYS: [u8; 2] = [0; 2];

fn key(n: usize) -> *const c_void {
    (&raw const KEYS[n]).cast()
}

/// What was hung first is still there when what was hung last is dropped.
#[test]
fn a_drop_may_look_at_what_hangs_on_the_request() {
    thread_local! {
        static SEEN: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }
    unsafe extern "C" fn look(value: *mut c_void) {
        // SAFETY: the value is the environ of this request, which is still there.
        let first = unsafe { gw_environ_at(value.cast(), key(0)) };
        SEEN.set(first as usize);
    }
    let mut server = Server::with(
        |_| {},
        application(|env, start: &Start, _: &mut CBody| {
            let env = std::ptr::from_ref(env).cast_mut();
            // SAFETY: the environ of a running request.
            unsafe {
                assert_eq!(gw_environ_put(env, key(0), 7 as *mut c_void, None), 0);
                assert_eq!(gw_environ_put(env, key(1), env.cast(), Some(look)), 0);
            }
            start.respond(&Head::new(204, &[]))
        }),
    );
    assert_eq!(server.ask(GET).status, 204);
    assert_eq!(SEEN.get(), 7);
}

/// A client that floods the loop has one turn among the others, and no more of them with time.
#[test]
fn a_flood_does_not_slow_the_others_down() {
    let mut server = Server::with(|_| {}, Application::new(hello).nonblocking());
    let mut flood = server.connect();
    let piece = GET.repeat(400);
    let mut most = 0;
    for _ in 0..60 {
        let before = server.counters.requests.get();
        flood.try_send(piece.as_bytes());
        server.turn(0);
        flood.pull();
        flood.inbox.clear();
        most = most.max(server.counters.requests.get() - before);
    }
    assert!(most <= 300, "{most} requests of one connection in one turn");
}

/// The end that came with the last octets, in one event.
#[test]
fn the_end_behind_a_request_is_seen() {
    // Nothing but the end that is seen would end them.
    let for_ever = |config: &mut gateway::gateway::config::Config| {
        config.set("keepalive", "1h").unwrap();
        config.set("body_timeout", "1h").unwrap();
    };
    for tcp in [false, true] {
        let mut server = Server::new(for_ever, hello);
        let mut client = if tcp { server.connect_tcp() } else { server.connect() };
        server.ask_on(&mut client, GET);
        client.send(GET);
        client.half_close();
        sleep(Duration::from_millis(20));
        assert_eq!(server.reply(&mut client).status, 200);
        server.until_end(&mut client);

        let mut client = if tcp { server.connect_tcp() } else { server.connect() };
        server.ask_on(&mut client, GET);
        client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab");
        client.half_close();
        sleep(Duration::from_millis(20));
        server.until_end(&mut client);
    }
}

/// A client on a unix socket that sent its request and went is still heard.
#[test]
fn a_request_whose_sender_went_is_served() {
    let mut server = Server::new(|_| {}, hello);
    let mut client = server.connect();
    server.ask_on(&mut client, GET);
    client.send(GET);
    drop(client);
    server.settle();
    assert_eq!(server.counters.requests.get(), 2);
    assert_eq!(server.counters.connections.get(), 0);
}

/// However many slots the engine keeps for later.
#[test]
fn requests_that_are_cut_are_no_longer_in_flight() {
    let mut server = Server::new(|_| {}, echo);
    let mut clients: Vec<_> = (0..150).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab");
    }
    server.settle();
    assert_eq!(server.counters.in_flight.get(), 150);
    drop(clients);
    server.settle();
    assert_eq!(server.counters.connections.get(), 0);
    assert_eq!(server.counters.in_flight.get(), 0);
}

/// A request that a thread has begun when the engine is dropped.
#[test]
fn what_a_thread_began_is_closed_when_the_engine_goes() {
    let journal = Journal::default();
    let notes = journal.clone();
    let app = with_flags(APP_THREADSAFE, move |env, start: &Start, body: &mut CBody| {
        attach(env, &notes, "value");
        notes.add("called");
        sleep(Duration::from_millis(300));
        start.respond(&Head::new(200, &TEXT));
        static PIECE: [u8; 60_000] = [b'x'; 60_000];
        body.next = Some(Box::new(|out| {
            *out = lent(&PIECE);
            0
        }));
        body.journal = Some(notes.clone());
        0
    });
    let mut server = Server::with(|config| drop(config.set("threads", "1")), app);
    let mut client = server.connect();
    client.send(GET);
    server.until("the application is called", |_| journal.count("called") == 1);
    drop(server);
    assert_eq!(journal.take(), ["called", "close", "drop value"]);
}

/// What the processor raises must reach the host's handler on every thread.
#[test]
fn threads_do_not_block_faults() {
    let _server = Server::with(|config| drop(config.set("threads", "1")), Application::new(hello));
    // A thread names itself, a moment after it was made.
    let named = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let read = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("status"));
        let all = tasks.filter_map(|task| read(task.unwrap()).ok());
        all.filter(|status| status.starts_with("Name:\tgateway-")).collect::<Vec<_>>()
    };
    let since = Instant::now();
    while named().is_empty() {
        assert!(since.elapsed() < PATIENCE, "no thread has its name");
    }
    for status in named() {
        let line = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
        let blocked = u64::from_str_radix(line, 16).unwrap();
        // ILL, TRAP, BUS, FPE, SEGV, SYS
        for signal in [4, 5, 7, 8, 11, 31] {
            assert_eq!(blocked >> (signal - 1) & 1, 0, "signal {signal}");
        }
        assert_eq!(blocked >> (15 - 1) & 1, 1, "TERM is for the host's threads");
    }
}

/// A middleware that replaced the function alone.
#[test]
fn a_replaced_input_is_read_also_by_lines() {
    unsafe extern "C" fn line(
        _: *mut c_void,
        buf: *mut c_void,
        _: usize,
        _: u32,
        n: *mut usize,
    ) -> i32 {
        // SAFETY: the convention: room for at least one octet, and for a number.
        unsafe {
            *buf.cast::<u8>() = b'\n';
            *n = 1;
        }
        0
    }
    let app = |env: &Environ, start: &StartResponse<'_>| {
        let mine = env.derive()?;
        // As a C program sees it: `read` stands before `ctx` and `impl`, at the end.
        let words = size_of::<Environ>() / size_of::<usize>();
        // SAFETY: inside the struct, whose layout the header has.
        unsafe {
            *std::ptr::from_mut(mine).cast::<usize>().add(words - 3) = line as *const () as usize
        };
        let mut buf = [0; 10];
        let n = mine.read_line(&mut buf)?;
        start.respond(&Head::new(200, &TEXT))?;
        Ok(Body::from_vec(buf[..n].to_vec()))
    };
    let mut server = Server::new(|_| {}, app);
    assert_eq!(server.ask(post(b"the client's\n")).text(), "\n");
}

/// An application that is told so and returns it has not failed.
#[test]
fn a_client_that_left_is_no_failure_of_the_application() {
    let mut server = Server::with(
        |_| {},
        application(|_, start: &Start, _: &mut CBody| {
            let (_, writer) = start.open(&Head::new(200, &TEXT));
            let piece = [b'x'; 1000];
            for _ in 0..10 {
                let rc = writer.write(&lent(&piece));
                if rc != 0 {
                    return rc;
                }
            }
            0
        }),
    );
    let mut client = server.connect();
    client.send(GET);
    drop(client);
    server.settle();
    assert_eq!(server.counters.requests.get(), 1);
    assert_eq!(server.counters.app_errors.get(), 0, "{:?}", server.log.lines());
    assert_eq!(server.counters.aborted.get(), 1);
    assert!(server.log.with("application").is_empty());
}

/// As one of a listener of ours: small pieces do not wait for each other.
#[test]
fn an_adopted_tcp_connection_sends_at_once() {
    use std::os::fd::IntoRawFd;
    let mut server = Server::new(|_| {}, hello);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (theirs, _) = listener.accept().unwrap();
    let twin = theirs.try_clone().unwrap();
    assert!(!twin.nodelay().unwrap());
    server.engine.adopt(theirs.into_raw_fd()).unwrap();
    assert!(twin.nodelay().unwrap());
}
