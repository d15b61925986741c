//! Foreign code that the library runs for a handle: releases of chunks, events, hooks.  No lock is
//! held meanwhile, each runs once, and one that panics costs nobody but itself.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use gateway::base::octets::Chunk;
use gateway::gateway::abi::{APP_THREADSAFE, Environ, Response as Head, StartResponse};
use gateway::gateway::body::Body;

use super::chandle::{self, CHandle};
use super::harness::*;
use super::tools::*;

type Handles = Arc<Mutex<Vec<CHandle>>>;

fn asked_in_c() -> (Server, Client, CHandle) {
    let handles = Handles::default();
    let mut server = Server::with(|_| {}, c_app(&handles));
    let mut client = server.connect();
    client.send(GET);
    server.settle();
    let handle = handles.lock().unwrap().pop().unwrap();
    (server, client, handle)
}

/// A chunk whose release uses the handle, and counts.
fn curious(len: usize, handle: CHandle, released: &Arc<AtomicUsize>) -> Chunk {
    let released = Arc::clone(released);
    chandle::chunk(vec![b'x'; len], move || {
        handle.resume();
        released.fetch_add(1, SeqCst);
    })
}

#[test]
fn a_release_may_use_the_handle_whatever_the_chunk_was() {
    within_patience(|| {
        let (mut server, mut client, handle) = asked_in_c();
        let released = Arc::new(AtomicUsize::new(0));
        assert_eq!(handle.start(&Head::new(200, &TEXT)), chandle::OK);
        for len in [0, 10, 100_000] {
            assert_eq!(handle.write(&curious(len, handle, &released)), chandle::OK);
            server.settle();
            client.pull();
        }
        server.until("released", |_| {
            client.pull();
            released.load(SeqCst) == 3
        });
        let chunks = [0, 10, 100_000].map(|len| curious(len, handle, &released));
        // It holds the handle that is being given up: only its memory is asked of it here.
        for chunk in chunks {
            handle.write(&chunk);
        }
        assert_eq!(handle.end(0), chandle::OK);
        assert_eq!(server.reply(&mut client).body.len(), 200_020);
        assert_eq!(released.load(SeqCst), 6);
    });
}

#[test]
fn what_a_client_that_leaves_did_not_take_is_released_without_a_lock() {
    for len in [10, 100_000] {
        within_patience(move || {
            let (mut server, client, handle) = asked_in_c();
            let released = Arc::new(AtomicUsize::new(0));
            handle.start(&Head::new(200, &TEXT));
            assert_eq!(handle.write(&curious(len, handle, &released)), chandle::OK);
            // Both are news of the same turn, and the connection's comes first.
            client.reset();
            server.until("no connection", |server| server.counters.connections.get() == 0);
            assert_eq!(released.load(SeqCst), 1);
            assert_eq!(handle.end(0), chandle::OK);
            server.settle();
            assert_eq!(server.counters.in_flight.get(), 0);
        });
    }
}

#[test]
fn with_threads_a_chunk_is_released_when_it_is_sent() {
    let handles = Handles::default();
    let kept = Arc::clone(&handles);
    let app = capp::with_flags(APP_THREADSAFE, move |env, _, _| {
        kept.lock().unwrap().push(CHandle::new(env));
        chandle::DEFERRED
    });
    let mut server = Server::with(|config| drop(config.set("threads", "1")), app);
    let mut client = server.connect();
    client.send(GET);
    server.until("the request", |_| !handles.lock().unwrap().is_empty());
    let handle = handles.lock().unwrap().pop().unwrap();
    let released = Arc::new(AtomicUsize::new(0));
    handle.start(&Head::new(200, &TEXT));
    for round in 1..10 {
        let counted = Arc::clone(&released);
        let chunk = chandle::chunk(vec![b'x'; 50_000], move || {
            counted.fetch_add(1, SeqCst);
        });
        assert_eq!(handle.write(&chunk), chandle::OK);
        server.until("released", |_| {
            client.pull();
            released.load(SeqCst) == round
        });
    }
    handle.end(0);
    assert_eq!(server.reply(&mut client).body.len(), 450_000);
}

#[test]
fn with_threads_chunks_are_released_before_what_hangs_on_the_request() {
    let handles = Handles::default();
    let journal = Journal::default();
    let (kept, noted) = (Arc::clone(&handles), journal.clone());
    let app = capp::with_flags(APP_THREADSAFE, move |env, _, _| {
        capp::attach(env, &noted, "hung");
        kept.lock().unwrap().push(CHandle::new(env));
        chandle::DEFERRED
    });
    let mut server = Server::with(|config| drop(config.set("threads", "1")), app);
    for leaves in [false, true] {
        let mut client = server.connect();
        client.send(GET);
        server.until("the request", |_| !handles.lock().unwrap().is_empty());
        let handle = handles.lock().unwrap().pop().unwrap();
        handle.start(&Head::new(200, &TEXT));
        handle.write(&capp::owned(&journal, "chunk", vec![b'x'; 50_000]));
        if leaves {
            server.settle();
            client.reset();
            server.until("no connection", |server| server.counters.connections.get() == 0);
            handle.end(0);
        } else {
            handle.end(0);
            assert_eq!(server.reply(&mut client).body.len(), 50_000);
        }
        server.until("let go", |_| journal.len() == 2);
        assert_eq!(journal.take(), ["release chunk", "drop hung"]);
    }
}

#[test]
fn an_event_that_panics_costs_nobody_else() {
    struct Panics;
    impl gateway::Events for Panics {
        fn readable(&self, _: &Arc<gateway::gateway::deferred::Shared>) {}
        fn writable(&self, _: &Arc<gateway::gateway::deferred::Shared>) {}
        fn aborted(&self, _: &Arc<gateway::gateway::deferred::Shared>) {
            panic!("on purpose");
        }
    }
    impl Drop for Panics {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                panic!("on purpose, too");
            }
        }
    }
    let handles = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&handles);
    let mut server = Server::new(
        |_| {},
        move |env: &Environ, _: &StartResponse<'_>| {
            kept.lock().unwrap().push(env.defer(Some(Arc::new(Panics)))?);
            Ok(Body::later())
        },
    );
    for half in [true, false] {
        let mut client = server.connect();
        client.send("GET /there HTTP/1.1\r\nHost: h\r\n\r\n");
        server.settle();
        let handle = handles.lock().unwrap().pop().unwrap();
        match half {
            true => client.half_close(),
            false => client.reset(),
        }
        server.until("aborted", |_| handle.is_gone());
        server.settle();
        assert_eq!(handle.environ().unwrap().path_info(), b"/there");
        handle.reply(&Head::new(200, &TEXT), Vec::new()).unwrap();
        server.until("the end", |server| server.counters.in_flight.get() == 0);
    }
    assert_eq!(server.log.with("on purpose").len(), 4);
}

#[test]
fn an_access_hook_may_read_what_is_left_of_a_body() {
    for later in [true, false] {
        within_patience(move || {
            let rest = Arc::new(Mutex::new(Vec::new()));
            let read = Arc::clone(&rest);
            let mut server = Server::new(
                move |config| {
                    config.on_access(move |access| {
                        let mut buf = [0; 100];
                        let got = access.env.try_read(&mut buf).unwrap();
                        read.lock().unwrap().push(got);
                    });
                },
                move |env: &Environ, start: &StartResponse<'_>| {
                    if later {
                        env.defer(None)?.reply(&Head::new(200, &TEXT), b"unread".to_vec())?;
                        return Ok(Body::later());
                    }
                    start.respond(&Head::new(200, &TEXT))?;
                    Ok(Body::from_static(b"unread"))
                },
            );
            let mut client = server.connect();
            client.send(post(b"12345"));
            assert_eq!(server.reply(&mut client).text(), "unread");
            assert_eq!(*rest.lock().unwrap(), [Some(5)]);
        });
    }
}
