//! A stop loses nobody: not who waits in a queue, not who keeps a connection and asks in that moment;
//! and whoever sends requests hears of it first.

mod harness;

use std::collections::BTreeSet;

use harness::client::{Client, End};
use harness::life::tell;
use harness::{Ended, SIGCONT, SIGINT, SIGSTOP, SIGTERM, Server, kill, program, until};

const SIGHUP: i32 = 1;
const SIGTTOU: i32 = 22;

/// What a worker is.
const MODELS: [&str; 3] = ["worker_model=fork", "worker_model=threads", "worker_model=exec"];

/// From which sockets they accept.
const MODES: [&str; 2] = ["accept_mode=shared", "accept_mode=reuseport"];

const WORKERS: usize = 2;

fn start(options: &[&str]) -> Server {
    let server = Server::start(
        &program(&["tests/c/master.c"]),
        &[&["{}", "signals=1", "workers=2", "keepalive=60s", "errorlog=-"], options].concat(),
    );
    until("all are ready", || server.get("/state").contains(&format!("readies {WORKERS} ")));
    server
}

fn ask(client: &mut Client, path: &str) {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
}

/// Everybody of the server, one after the other.
fn all(server: &Server, signal: i32) {
    server.workers().into_iter().chain([server.pid()]).for_each(|pid| kill(pid, signal));
}

fn is_well(ended: &Ended) {
    assert_eq!(ended.status, Some(0), "{ended:?}");
}

/// Who was in a queue when the stop came is answered, also beyond `worker_connections`.
#[test]
fn who_waits_in_the_queue_is_answered() {
    for (model, mode) in MODELS.iter().flat_map(|model| MODES.map(|mode| (*model, mode))) {
        let server = start(&[model, mode, "worker_connections=10"]);
        let mut kept: Vec<_> = (0..4).map(|_| server.connect()).collect();
        kept.iter_mut().for_each(|client| assert_eq!(client.get("/").status, 200));
        all(&server, SIGSTOP);
        let mut clients: Vec<_> = (0..100).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| ask(client, "/"));
        server.signal(SIGTERM);
        all(&server, SIGCONT);
        for (n, client) in clients.iter_mut().enumerate() {
            let response = client.try_response("GET");
            let response = response.unwrap_or_else(|end| panic!("{model} {mode}: {n}: {end}"));
            assert_eq!(response.status, 200, "{model} {mode}");
        }
        drop((kept, clients));
        is_well(&server.end());
    }
}

/// A client that keeps its connection and asks in the moment of the stop is answered.
#[test]
fn a_request_that_meets_the_stop_is_answered_with_close() {
    for model in MODELS {
        let server = start(&[model]);
        let mut clients: Vec<_> = (0..40).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.get("/").status, 200));
        // Some before it, the others while it is on its way to the workers.
        let (before, after) = clients.split_at_mut(10);
        before.iter_mut().for_each(|client| ask(client, "/"));
        server.signal(SIGTERM);
        after.iter_mut().for_each(|client| ask(client, "/"));
        for client in &mut clients {
            let response = client.try_response("GET");
            let response = response.unwrap_or_else(|end| panic!("{model}: {end}"));
            assert_eq!(response.status, 200, "{model}");
        }
        // Nobody is kept, and nobody is reset.
        for client in &mut clients {
            assert_eq!(client.end(), End::Closed, "{model}");
        }
        is_well(&server.end());
    }
}

/// The same for those whose worker goes while others serve on.
#[test]
fn a_request_that_meets_a_reload_or_fewer_workers_is_answered() {
    for (model, signal, sign) in
        MODELS.iter().flat_map(|m| [(m, SIGHUP, "exits 2 "), (m, SIGTTOU, "exits 1 ")])
    {
        let server = start(&[model]);
        let (mut clients, mut workers) = (Vec::new(), BTreeSet::new());
        until("both workers have some", || {
            let mut client = server.connect();
            workers.insert(client.get("/who").text());
            clients.push(client);
            clients.len() >= 30 && workers.len() == WORKERS
        });
        server.signal(signal);
        let mut closed = 0;
        until("it is done", || {
            clients = std::mem::take(&mut clients)
                .into_iter()
                .filter_map(|mut client| {
                    ask(&mut client, "/");
                    let response = client.try_response("GET");
                    let response = response.unwrap_or_else(|end| panic!("{model} {signal}: {end}"));
                    assert_eq!(response.status, 200, "{model}");
                    closed += usize::from(!response.keeps_alive());
                    response.keeps_alive().then_some(client)
                })
                .collect();
            server.get("/state").contains(sign)
        });
        assert!(closed > 0, "{model} {signal}: those of a worker that goes are told so");
        drop(clients);
        is_well(&server.stop());
    }
}

/// Who has nothing to ask is not waited for longer than two seconds, and not cut.
#[test]
fn idle_connections_end_by_themselves() {
    for model in MODELS {
        let server = start(&[model, "graceful_timeout=60s"]);
        let mut clients: Vec<_> = (0..8).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.get("/").status, 200));
        server.signal(SIGTERM);
        for client in &mut clients {
            assert_eq!(client.end(), End::Closed, "{model}");
        }
        is_well(&server.end());
    }
}

/// The same for those who never asked, also where a head may take for ever.
#[test]
fn who_never_asked_is_not_waited_for_however_long_a_head_may_take() {
    let server = start(&["header_timeout=0", "graceful_timeout=1h"]);
    let mut clients: Vec<_> = (0..8).map(|_| server.connect()).collect();
    server.signal(SIGTERM);
    for client in &mut clients {
        assert_eq!(client.end(), End::Closed);
    }
    is_well(&server.end());
}

/// Before the stop comes a time in which the server says that it is not ready, and serves.
#[test]
fn a_lame_duck_serves_and_says_so() {
    for model in MODELS {
        let mut server = start(&[model, "lame_duck=1h", "health_path=/who"]);
        assert_eq!(server.connect().get("/who").status, 200);
        tell(&mut server, "limits");
        server.signal(SIGTERM);
        until("it says so", || server.connect().get("/who").status == 503);
        // Kept and new connections, as before; dead workers are replaced, and reloads are not begun.
        let mut kept = server.connect();
        for _ in 0..20 {
            let response = kept.get("/");
            assert!(response.status == 200 && response.keeps_alive(), "{model}");
            assert_eq!(server.connect().get("/").status, 200);
        }
        let response = kept.get("/who");
        assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
        server.signal(SIGHUP);
        until("the reload is refused", || server.get("/state").contains("failures 1 "));
        tell(&mut server, "limits");
        // The second one is meant.
        server.signal(SIGTERM);
        until("it stops", || !kept.get("/").keeps_alive());
        let ended = server.end();
        is_well(&ended);
        let ready: Vec<_> =
            ended.stdout.lines().filter_map(|line| line.split_once(" ready ")).collect();
        assert_eq!(ready.iter().map(|(_, is)| *is).collect::<Vec<_>>(), ["1", "0"], "{ended:?}");
        assert!(ended.stderr.contains("(lame_duck)"), "{ended:?}");
    }
}

#[test]
fn a_lame_duck_ends_with_its_time_and_with_a_quick_stop() {
    for model in MODELS {
        let server = start(&[model, "lame_duck=300ms"]);
        is_well(&server.stop());
        let server = start(&[model, "lame_duck=1h"]);
        server.signal(SIGTERM);
        server.get("/");
        server.signal(SIGINT);
        is_well(&server.end());
    }
}

/// A server without an arbiter does the same.
#[test]
fn a_lame_duck_of_one_serves_and_says_so() {
    let server = Server::app(&["lame_duck=1h", "health_path=/query", "signals=1"]);
    let mut kept = server.connect();
    assert_eq!(kept.get("/query").status, 200);
    server.signal(SIGTERM);
    until("it says so", || kept.get("/query").status == 503);
    let response = kept.get("/");
    assert!(response.status == 200 && response.keeps_alive());
    assert_eq!(server.connect().get("/").status, 200);
    server.signal(SIGTERM);
    until("it stops", || !kept.get("/").keeps_alive());
    is_well(&server.end());
}
