//! With application threads: where a deferred request's callbacks run, and many threads at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;

use gateway::Config;
use gateway::gateway::abi::{Environ, Response as Head, StartResponse};
use gateway::gateway::app::Application;
use gateway::gateway::body::Body;
use gateway::gateway::deferred::Shared;

use super::harness::*;
use super::tools::*;

fn pooled(config: &mut Config) {
    config.set("threads", "3").unwrap();
}

#[test]
fn a_request_that_was_deferred_holds_no_thread() {
    let desk = Desk::default();
    let mut server =
        Server::with(|config| drop(config.set("threads", "1")), Application::new(desk.app()));
    let mut clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(GET);
    }
    server.until("all of them", |_| desk.len() == 50);
    server.until("back from the thread", |server| !server.engine.is_running());
    for (number, client) in clients.iter_mut().enumerate() {
        desk.take().reply(&Head::new(200, &TEXT), vec![b'a' + number as u8 % 26; number]).unwrap();
        assert_eq!(server.reply(client).body.len(), number);
    }
    nothing_left(&mut server, &desk);
}

#[test]
fn what_hangs_on_a_request_is_let_go_by_an_application_thread() {
    /// Remembers the thread that dropped it.
    struct Trace(Arc<Mutex<Vec<ThreadId>>>);
    impl Drop for Trace {
        fn drop(&mut self) {
            self.0.lock().unwrap().push(std::thread::current().id());
        }
    }
    for leaves in [false, true] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let desk = Desk::default();
        let (kept, trace) = (desk.clone(), Arc::clone(&seen));
        let app = move |env: &Environ, _: &StartResponse<'_>| {
            capp::attach_value(env, Box::new(Trace(Arc::clone(&trace))));
            kept.keep(env)?;
            Ok(Body::later())
        };
        let mut server = Server::with(pooled, Application::new(app));
        let mut client = server.connect();
        client.send(GET);
        server.until("the request", |_| desk.len() == 1);
        let handle = desk.take();
        if leaves {
            client.reset();
            server.until("aborted", |_| handle.is_gone());
            handle.end(Ok(())).unwrap();
        } else {
            handle.reply(&Head::new(200, &TEXT), b"x".to_vec()).unwrap();
            assert_eq!(server.reply(&mut client).text(), "x");
        }
        server.until("let go", |_| seen.lock().unwrap().len() == 1);
        assert_ne!(seen.lock().unwrap()[0], std::thread::current().id());
        server.until("nothing left", |server| server.counters.in_flight.get() == 0);
        nothing_left(&mut server, &desk);
    }
}

#[test]
fn events_are_told_on_the_loop() {
    struct Where(Arc<Mutex<Vec<ThreadId>>>);
    impl gateway::Events for Where {
        fn readable(&self, _: &Arc<Shared>) {}
        fn writable(&self, _: &Arc<Shared>) {
            self.0.lock().unwrap().push(std::thread::current().id());
        }
        fn aborted(&self, _: &Arc<Shared>) {
            self.0.lock().unwrap().push(std::thread::current().id());
        }
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let handles = Arc::new(Mutex::new(Vec::new()));
    let (told, kept) = (Arc::clone(&seen), Arc::clone(&handles));
    let app = move |env: &Environ, _: &StartResponse<'_>| {
        let handle = env.defer(Some(Arc::new(Where(Arc::clone(&told)))))?;
        handle.start(&Head::new(200, &TEXT))?;
        // Refused in the application's thread, and told of on the loop.
        while handle.write(&[b'x'; 10_000])? {}
        kept.lock().unwrap().push(handle);
        Ok(Body::later())
    };
    let mut server = Server::with(pooled, Application::new(app));
    let mut client = server.connect();
    client.send(GET);
    server.until("writable", |_| {
        client.pull();
        seen.lock().unwrap().len() == 1
    });
    client.reset();
    server.until("aborted", |_| seen.lock().unwrap().len() == 2);
    let here = std::thread::current().id();
    assert!(seen.lock().unwrap().iter().all(|thread| *thread == here));
    let handle = handles.lock().unwrap().pop().unwrap();
    handle.end(Ok(())).unwrap();
    server.until("nothing left", |server| server.counters.in_flight.get() == 0);
}

/// Requests of every kind, answered by threads that know nothing of each other, for clients of which
/// some leave: everything is answered once, and nothing is left.
#[test]
fn many_threads_answer_many_clients() {
    for threads in ["0", "2"] {
        let (sender, receiver) = std::sync::mpsc::channel::<gateway::Deferred>();
        let (sender, receiver) = (Mutex::new(sender), Arc::new(Mutex::new(receiver)));
        let app = move |env: &Environ, _: &StartResponse<'_>| {
            let handle = env.defer(None)?;
            sender.lock().unwrap().send(handle).unwrap();
            Ok(Body::later())
        };
        let app = Application::new(app).nonblocking();
        let mut server = Server::with(|config| drop(config.set("threads", threads)), app);
        let answered = Arc::new(AtomicUsize::new(0));
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let (receiver, answered) = (Arc::clone(&receiver), Arc::clone(&answered));
                std::thread::spawn(move || {
                    loop {
                        let next = receiver.lock().unwrap().recv();
                        let Ok(handle) = next else { return };
                        answer(handle);
                        answered.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let mut clients: Vec<Option<Client>> = (0..60).map(|_| Some(server.connect())).collect();
        let mut asked = 0;
        for round in 0..20 {
            for (number, place) in clients.iter_mut().enumerate() {
                let Some(client) = place else { continue };
                let size = (round * 7 + number * 1013) % 5000;
                client.send(post(&vec![b'y'; size]));
                asked += 1;
                if (round + number) % 17 == 0 {
                    place.take().unwrap().reset();
                }
            }
            server.turn(0);
            for (number, place) in clients.iter_mut().enumerate() {
                match place {
                    Some(client) => {
                        let size = (round * 7 + number * 1013) % 5000;
                        assert_eq!(server.reply(client).body.len(), size);
                    }
                    None => *place = Some(server.connect()),
                }
            }
        }
        server.until("all answers", |server| {
            // A client that reset its connection may have taken its request back.
            server.counters.in_flight.get() == 0
        });
        assert!(answered.load(Ordering::SeqCst) <= asked);
        drop(clients);
        server.until("no connection", |server| server.counters.connections.get() == 0);
        drop(server);
        for worker in workers {
            worker.join().unwrap();
        }
    }
}

/// One of the ways to answer, chosen by the size of the body.
fn answer(handle: gateway::Deferred) {
    let mut all = Vec::new();
    let mut buf = [0; 333];
    while let Ok(Some(n @ 1..)) = handle.read(&mut buf) {
        all.extend_from_slice(&buf[..n]);
    }
    if let Some(env) = handle.environ() {
        assert_eq!(env.request_method(), b"POST");
    }
    if all.len() % 3 == 0 {
        let _ = handle.reply(&Head::new(200, &TEXT), all);
        return;
    }
    if handle.start(&Head::new(200, &TEXT)).is_ok() {
        for piece in all.chunks(700) {
            while let Ok(false) = handle.write(piece) {
                std::thread::yield_now();
            }
        }
    }
    let _ = handle.end(Ok(()));
}
