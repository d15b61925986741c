//! Requests that are taken by whoever asks, instead of an application that is called.

use std::sync::Arc;
use std::time::Duration;

use gateway::gateway::abi::Response as Head;
use gateway::run::pull::Taken;
use gateway::server::engine::Stop;
use gateway::server::pulled::{Event, What};
use gateway::{Config, Deferred, Setup};

use super::harness::*;

const NOW: Option<Duration> = Some(Duration::ZERO);

fn take(server: &Server, max: usize) -> (Taken, Vec<Deferred>) {
    let mut taken = Vec::new();
    let outcome = server.engine.pulled().unwrap().take(&mut taken, max, NOW);
    (outcome, taken)
}

fn events(server: &Server) -> Vec<What> {
    let mut events: Vec<Event> = Vec::new();
    server.engine.pulled().unwrap().events(&mut events, 100, NOW);
    events.into_iter().map(|event| event.what).collect()
}

fn reply(handle: Deferred, text: &str) {
    handle.reply(&Head::new(200, &TEXT), text.into()).unwrap();
}

#[test]
fn they_come_in_order_and_in_batches() {
    let mut server = Server::made_of(|_| {});
    let mut clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n"));
        server.settle();
    }
    let mut number = 0;
    for count in [3, 3, 3, 1] {
        let (outcome, taken) = take(&server, 3);
        assert_eq!((outcome, taken.len()), (Taken::Some, count));
        for handle in taken {
            let path = String::from_utf8(handle.environ().unwrap().path_info().to_vec()).unwrap();
            assert_eq!(path, format!("/{number}"));
            reply(handle, &path);
            assert_eq!(server.reply(&mut clients[number]).text(), path);
            number += 1;
        }
    }
    assert_eq!(take(&server, 3).0, Taken::TimedOut);
}

#[test]
fn threads_that_wait_are_woken_and_told_of_the_end() {
    let mut server = Server::made_of(|_| {});
    let takers: Vec<_> = (0..4)
        .map(|_| {
            let pulled = server.engine.pulled().unwrap().clone();
            std::thread::spawn(move || {
                let mut count = 0;
                let mut batch = Vec::new();
                while pulled.take(&mut batch, 8, None) == Taken::Some {
                    count += batch.len();
                    batch.drain(..).for_each(|handle| reply(handle, "taken"));
                }
                assert_eq!(pulled.events(&mut Vec::new(), 1, None), Taken::Closed);
                count
            })
        })
        .collect();
    let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for _ in 0..50 {
        for client in &mut clients {
            client.send(GET);
        }
        for client in &mut clients {
            assert_eq!(server.reply(client).text(), "taken");
        }
    }
    drop(clients);
    server.stop(Stop::Graceful);
    server.finish();
    let counts: usize = takers.into_iter().map(|taker| taker.join().unwrap()).sum();
    assert_eq!(counts, 1000);
}

#[test]
fn too_many_that_nobody_takes_are_refused() {
    let mut server = Server::made_of(|config| {
        config.set("queue_limit", "2").unwrap();
    });
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(GET);
        server.settle();
    }
    let response = server.reply(&mut clients[2]);
    assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
    assert_eq!((server.counters.shed.get(), server.counters.status[5].get()), (1, 1));
    for (handle, client) in take(&server, 9).1.into_iter().zip(&mut clients) {
        reply(handle, "after all");
        assert_eq!(server.reply(client).text(), "after all");
    }
}

#[test]
fn what_waits_too_long_for_a_taker_is_refused_and_what_was_taken_is_not() {
    let mut server = Server::made_of(|config| {
        config.set("queue_timeout", "100ms").unwrap();
    });
    let (mut taken, mut forgotten) = (server.connect(), server.connect());
    taken.send(GET);
    server.settle();
    let handle = take(&server, 1).1.pop().unwrap();
    forgotten.send(GET);
    assert_eq!(server.reply(&mut forgotten).status, 503);
    assert_eq!(take(&server, 1).0, Taken::TimedOut);
    reply(handle, "late");
    assert_eq!(server.reply(&mut taken).text(), "late");
    // The connection goes on.
    forgotten.send(GET);
    server.settle();
    reply(take(&server, 1).1.pop().unwrap(), "at last");
    assert_eq!(server.reply(&mut forgotten).text(), "at last");
    assert_eq!(server.counters.in_flight.get(), 0);
}

#[test]
fn a_request_whose_client_leaves_before_it_is_taken_is_nobody_s() {
    let mut server = Server::made_of(|_| {});
    let mut client = server.connect_tcp();
    client.send(GET);
    server.until("the request", |server| server.counters.in_flight.get() == 1);
    client.reset();
    server.until("the end", |server| server.counters.connections.get() == 0);
    assert_eq!(take(&server, 1).0, Taken::TimedOut);
    assert_eq!(server.counters.in_flight.get(), 0);
}

#[test]
fn events_are_taken_too_and_forgotten_with_their_request() {
    let mut server = Server::made_of(|config| {
        config.set("request_buffering", "0").unwrap();
    });
    let mut client = server.connect_tcp();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n");
    server.until("the request", |server| server.counters.in_flight.get() == 1);
    let handle = take(&server, 1).1.pop().unwrap();
    assert_eq!(handle.read(&mut [0; 9]).unwrap(), None);
    client.send("a body");
    server.settle();
    server.until("readable", |server| events(server) == [What::Readable]);
    assert_eq!(handle.read(&mut [0; 9]).unwrap(), Some(6));
    handle.start(&Head::new(200, &TEXT)).unwrap();
    while handle.write(&[b'x'; 20_000]).unwrap() {
        server.settle();
    }
    server.until("writable", |server| {
        client.pull();
        events(server) == [What::Writable]
    });
    client.reset();
    server.until("aborted", |_| handle.is_gone());
    handle.end(Ok(())).unwrap();
    assert_eq!(events(&server), []);
    server.until("nothing left", |server| server.counters.in_flight.get() == 0);
}

#[test]
fn who_watches_late_hears_what_was_missed() {
    for closed in [false, true] {
        let mut server = Server::made_of(|_| {});
        let mut client = server.connect_tcp();
        client.send(GET);
        server.until("the request", |server| server.counters.in_flight.get() == 1);
        let handle = take(&server, 1).1.pop().unwrap();
        let told = super::tools::Told::default();
        match closed {
            true => client.reset(),
            false => client.half_close(),
        }
        server.until("aborted", |_| handle.is_gone());
        handle.watch(Arc::new(super::tools::Ear::new(&told))).unwrap();
        assert_eq!(events(&server), [], "the queue's are gone");
        server.until("aborted", |_| told.take() == ["aborted"]);
        handle.end(Ok(())).unwrap();
        server.until("nothing left", |server| server.counters.in_flight.get() == 0);
        assert_eq!(told.alive(), 0);
    }
}

#[test]
fn a_quick_stop_ends_what_nobody_took() {
    let mut server = Server::made_of(|_| {});
    let mut client = server.connect();
    client.send(GET);
    server.settle();
    server.stop(Stop::Quick);
    server.finish();
    assert_eq!(take(&server, 1).0, Taken::Closed);
    assert_eq!(server.counters.in_flight.get(), 0);
    drop(client);
}

#[test]
fn threads_without_an_application_are_a_mistake() {
    let mut config = Config::new();
    config.set("threads", "2").unwrap();
    let error = Setup::new(config).unwrap_err();
    assert!(error.message().contains("there is no application to run"), "{error}");
    let error = gateway::serve(Config::new()).unwrap_err();
    assert!(error.message().contains("gw_config_app"), "{error}");
}

#[test]
fn what_nobody_has_taken_has_no_events() {
    for closed in [false, true] {
        let mut server = Server::made_of(|_| {});
        let mut client = server.connect();
        client.send(GET);
        client.half_close();
        server.until("the request", |server| server.counters.in_flight.get() == 1);
        for _ in 0..5 {
            server.turn(1);
        }
        assert_eq!(events(&server), []);
        let handle = take(&server, 1).1.pop().unwrap();
        if closed {
            // Told to whoever watches, and to nobody else.
            let told = super::tools::Told::default();
            handle.watch(Arc::new(super::tools::Ear::new(&told))).unwrap();
            server.until("aborted", |_| told.take() == ["aborted"]);
        } else {
            server.until("aborted", |server| events(server) == [What::Aborted]);
        }
        assert_eq!(events(&server), []);
        reply(handle, "all the same");
        server.until_end(&mut client);
        assert!(client.inbox.ends_with(b"all the same"), "{}", client.shown());
        assert_eq!(server.counters.in_flight.get(), 0);
    }
}

#[test]
fn what_was_given_up_has_no_events() {
    let mut server = Server::made_of(|config| {
        config.set("request_buffering", "0").unwrap();
    });
    // A writer that was refused, and ends all the same.
    let mut client = server.connect();
    client.send(GET);
    server.settle();
    let handle = take(&server, 1).1.pop().unwrap();
    handle.start(&Head::new(200, &TEXT)).unwrap();
    while handle.write(&[b'x'; 20_000]).unwrap() {
        server.settle();
    }
    handle.end(Ok(())).unwrap();
    assert_eq!(server.reply(&mut client).status, 200);
    assert_eq!(events(&server), []);
    // A reader that found nothing.
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n");
    server.settle();
    let handle = take(&server, 1).1.pop().unwrap();
    assert_eq!(handle.read(&mut [0; 9]).unwrap(), None);
    server.settle();
    client.send("abc");
    reply(handle, "unread");
    assert_eq!(server.reply(&mut client).text(), "unread");
    assert_eq!(events(&server), []);
}

#[test]
fn who_watches_late_hears_what_nobody_has_acted_upon() {
    let mut server = Server::made_of(|config| {
        config.set("request_buffering", "0").unwrap();
    });
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n");
    server.settle();
    let handle = take(&server, 1).1.pop().unwrap();
    assert_eq!(handle.read(&mut [0; 9]).unwrap(), None);
    handle.start(&Head::new(200, &TEXT)).unwrap();
    while handle.write(&[b'x'; 20_000]).unwrap() {
        server.settle();
    }
    // Both wait in the queue of events, which nobody asks.
    server.feed(&mut client, b"abc");
    for _ in 0..10 {
        client.pull();
        server.turn(1);
    }
    let told = super::tools::Told::default();
    handle.watch(Arc::new(super::tools::Ear::new(&told))).unwrap();
    server.settle();
    assert_eq!(told.take(), ["readable", "writable"]);
    assert_eq!(events(&server), []);
    // Once it has acted, it is not told again.
    assert_eq!(handle.read(&mut [0; 9]).unwrap(), Some(3));
    assert!(handle.write(b"more").unwrap());
    handle.watch(Arc::new(super::tools::Ear::new(&told))).unwrap();
    server.settle();
    assert_eq!(told.take(), [""; 0]);
    drop(handle);
    server.until_end(&mut client);
    assert_eq!((server.counters.in_flight.get(), told.alive()), (0, 0));
}

#[test]
fn each_of_a_pipeline_has_its_own_time_to_be_taken() {
    let mut server = Server::made_of(|config| {
        config.set("queue_timeout", "150ms").unwrap();
    });
    let mut client = server.connect();
    client.send(format!("{GET}{GET}"));
    server.settle();
    let first = take(&server, 1).1.pop().unwrap();
    for _ in 0..40 {
        server.turn(5);
    }
    reply(first, "late");
    assert_eq!(server.reply(&mut client).text(), "late");
    // Nobody takes the second: it is refused in its own time, and not before.
    assert_eq!(server.counters.shed.get(), 0);
    assert_eq!(server.counters.in_flight.get(), 1);
    assert_eq!(server.reply(&mut client).status, 503);
    assert_eq!(server.counters.shed.get(), 1);
}

#[test]
fn who_watches_when_the_server_has_gone_hears_it_at_once() {
    for (stopped, dropped) in [(true, false), (true, true), (false, true)] {
        let mut server = Server::made_of(|config| {
            config.set("request_buffering", "0").unwrap();
        });
        let mut client = server.connect();
        client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n");
        server.settle();
        let handle = take(&server, 1).1.pop().unwrap();
        assert_eq!(handle.read(&mut [0; 9]).unwrap(), None);
        let counters = server.counters.clone();
        let mut server = Some(server);
        if stopped {
            server.as_mut().unwrap().stop(Stop::Quick);
            server.as_mut().unwrap().finish();
        }
        if dropped {
            server = None;
        }
        let told = super::tools::Told::default();
        handle.watch(Arc::new(super::tools::Ear::new(&told))).unwrap();
        drop(server);
        assert_eq!(told.take(), ["readable", "aborted"]);
        assert!(handle.read(&mut [0; 9]).is_err());
        drop(handle);
        assert_eq!((told.alive(), counters.in_flight.get()), (0, 0));
    }
}
