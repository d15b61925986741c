//! Clients that are slow, or that leave.

use gateway::base::error::Kind;
use gateway::gateway::abi::Response as Head;
use gateway::server::engine::Stop;

use super::harness::*;
use super::tools::*;

fn text(status: u16) -> Head<'static> {
    Head::new(status, &TEXT)
}

#[test]
fn a_writer_is_refused_until_the_client_has_taken_something() {
    let (mut server, mut client, desk, handle) = asked(GET);
    handle.start(&text(200)).unwrap();
    let piece = noise(10_000);
    let mut sent = Vec::new();
    for _ in 0..5 {
        let mut refused = false;
        for _ in 0..1000 {
            if !handle.write(&piece).unwrap() {
                refused = true;
                break;
            }
            sent.extend_from_slice(&piece);
            server.settle();
        }
        assert!(refused, "10 MB for a client that reads nothing");
        assert!(!handle.write(&piece).unwrap());
        server.settle();
        assert_eq!(desk.told.take(), [""; 0], "nothing was read");
        server.until("room", |_| {
            client.pull();
            !desk.told.take().is_empty()
        });
        // Once for each refusal.
        server.settle();
        client.pull();
        server.settle();
        assert_eq!(desk.told.take(), [""; 0]);
    }
    handle.end(Ok(())).unwrap();
    let response = server.reply(&mut client);
    assert!(response.body == sent, "{} of {}", response.body.len(), sent.len());
    nothing_left(&mut server, &desk);
}

#[test]
fn a_client_that_leaves_is_told_and_the_memory_stays() {
    for tcp in [false, true] {
        let desk = Desk::default();
        let mut server = Server::new(|_| {}, desk.app());
        let mut client = if tcp { server.connect_tcp() } else { server.connect() };
        client.send("GET /here HTTP/1.1\r\nHost: h\r\n\r\n");
        server.until("the request", |_| desk.len() > 0);
        let handle = desk.take();
        assert!(!handle.is_gone());
        client.reset();
        server.until("aborted", |_| handle.is_gone());
        assert_eq!(desk.told.take(), ["aborted"]);
        server.settle();
        assert_eq!(handle.environ().unwrap().path_info(), b"/here");
        server.until("no connection", |server| {
            let _ = handle.start(&text(200).replacing()).and_then(|()| handle.write(b"x"));
            server.settle();
            server.counters.connections.get() == 0
        });
        assert_eq!(server.counters.in_flight.get(), 1);
        assert_eq!(handle.write(b"more").unwrap_err().kind(), Kind::Closed);
        assert_eq!(handle.environ().unwrap().path_info(), b"/here");
        handle.end(Ok(())).unwrap();
        nothing_left(&mut server, &desk);
        assert_eq!(server.counters.aborted.get(), 1);
        assert_eq!(desk.told.take(), [""; 0]);
    }
}

#[test]
fn who_only_closed_its_half_still_gets_the_answer() {
    let (mut server, mut client, desk, handle) = asked(GET);
    client.half_close();
    server.until("aborted", |_| handle.is_gone());
    assert_eq!(desk.told.take(), ["aborted"]);
    handle.reply(&text(200), b"all the same".to_vec()).unwrap();
    server.until_end(&mut client);
    assert!(client.inbox.ends_with(b"all the same"), "{}", client.shown());
    nothing_left(&mut server, &desk);
}

#[test]
fn who_waits_for_room_or_input_hears_that_the_client_is_gone() {
    let desk = Desk::default();
    let mut server = Server::new(|_| {}, desk.app());
    let mut client = server.connect_tcp();
    client.send(GET);
    server.until("the request", |_| desk.len() > 0);
    let handle = desk.take();
    client.half_close();
    server.until("aborted", |_| desk.told.take() == ["aborted"]);
    handle.start(&text(200)).unwrap();
    while handle.write(&[b'x'; 50_000]).unwrap() {
        server.settle();
    }
    client.reset();
    server.until("writable", |_| desk.told.take() == ["writable"]);
    assert_eq!(handle.write(b"x").unwrap_err().kind(), Kind::Closed);
    handle.end(Ok(())).unwrap();
    nothing_left(&mut server, &desk);

    let mut server = Server::new(
        |config| {
            config.set("request_buffering", "0").unwrap();
        },
        desk.app(),
    );
    let mut client = server.connect_tcp();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n");
    server.until("the request", |_| desk.len() > 0);
    let handle = desk.take();
    assert_eq!(handle.read(&mut [0; 9]).unwrap(), None);
    client.reset();
    server.until("both", |_| handle.is_gone());
    assert_eq!(desk.told.take(), ["readable", "aborted"]);
    assert_eq!(handle.read(&mut [0; 9]).unwrap_err().kind(), Kind::Closed);
    handle.end(Ok(())).unwrap();
    nothing_left(&mut server, &desk);
}

#[test]
fn a_handle_may_be_given_up_while_it_is_told() {
    use super::chandle::{self, CHandle, What};
    use std::sync::Arc;
    for half in [true, false] {
        let app = capp::application(|env, _, _| {
            let ends = |what, handle: CHandle| {
                assert_eq!((what, handle.end(Kind::Closed as i32)), (What::Aborted, chandle::OK));
                assert_eq!(handle.end(0), chandle::STATE);
                assert_eq!(handle.resume(), chandle::STATE);
            };
            CHandle::told(env, Arc::new(ends));
            chandle::DEFERRED
        });
        let mut server = Server::with(|_| {}, app);
        let mut client = server.connect();
        client.send(GET);
        server.settle();
        match half {
            true => client.half_close(),
            false => client.reset(),
        }
        server.until("the end", |server| server.counters.connections.get() == 0);
        assert_eq!(server.counters.in_flight.get(), 0);
    }
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let (mut server, client, desk, handle) = asked_with(
        |config| {
            config.set("write_timeout", "200ms").unwrap();
        },
        GET,
    );
    handle.start(&text(200)).unwrap();
    while handle.write(&[b'x'; 50_000]).unwrap() {
        server.settle();
    }
    server.until("the write timeout", |server| server.counters.write_timeouts.get() == 1);
    assert_eq!(desk.told.take(), ["writable", "aborted"]);
    assert_eq!(handle.write(b"x").unwrap_err().kind(), Kind::Closed);
    handle.end(Ok(())).unwrap();
    nothing_left(&mut server, &desk);
    drop(client);
}

#[test]
fn a_graceful_stop_waits_for_the_answer() {
    let (mut server, mut client, desk, handle) = asked(GET);
    server.stop(Stop::Graceful);
    server.settle();
    assert!(!server.has_stopped());
    handle.reply(&text(200), b"the last".to_vec()).unwrap();
    let response = server.reply(&mut client);
    assert_eq!(response.text(), "the last");
    assert!(response.says_close());
    drop(client);
    server.finish();
    assert_eq!(desk.told.alive(), 0);
}

#[test]
fn a_graceful_stop_waits_for_a_handle_whose_client_has_left() {
    let (mut server, client, desk, handle) = asked(GET);
    client.reset();
    server.until("aborted", |_| handle.is_gone());
    server.stop(Stop::Graceful);
    server.settle();
    assert!(!server.has_stopped());
    handle.end(Ok(())).unwrap();
    server.finish();
    assert_eq!(desk.told.alive(), 0);
}

#[test]
fn a_quick_stop_tells_and_leaves_the_memory_to_the_handle() {
    let (mut server, client, desk, handle) = asked("GET /kept HTTP/1.1\r\nHost: h\r\n\r\n");
    let journal = Journal::default();
    capp::attach(handle.environ().unwrap(), &journal, "let go");
    server.stop(Stop::Quick);
    server.finish();
    assert_eq!(desk.told.take(), ["aborted"]);
    let counters = server.counters.clone();
    drop((server, client));
    assert_eq!(counters.in_flight.get(), 1);
    assert_eq!(handle.environ().unwrap().path_info(), b"/kept");
    assert_eq!(journal.take(), [""; 0]);
    assert_eq!(handle.write(b"x").unwrap_err().kind(), Kind::State, "before start");
    std::thread::spawn(move || handle.end(Ok(()))).join().unwrap().unwrap();
    assert_eq!(journal.take(), ["drop let go"]);
    assert_eq!((counters.in_flight.get(), desk.told.alive()), (0, 0));
}

#[test]
fn ten_thousand_requests_may_wait() {
    let desk = Desk::default();
    let mut server = Server::new(|_| {}, desk.app());
    // One connection each would need 20,000 descriptors in this process.
    let count = match raise_descriptor_limit() {
        files if files > 21_000 => 10_000,
        files => files / 2 - 200,
    };
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = server.connect();
        client.send(GET);
        server.turn(0);
        clients.push(client);
    }
    server.until("all of them", |_| desk.len() == count);
    assert_eq!(server.counters.in_flight.get(), count as u64);
    for number in 0..count {
        desk.take().reply(&text(200), number.to_string().into_bytes()).unwrap();
    }
    server.settle();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(server.reply(client).text(), number.to_string());
    }
    nothing_left(&mut server, &desk);
}

/// The most descriptors that this process may have, which it then may.
fn raise_descriptor_limit() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the struct is ours.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit), 0);
        limit.rlim_cur = limit.rlim_max;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &limit), 0);
    }
    limit.rlim_cur as usize
}
