//! Who gets how much: connections are spread over the workers, whatever these are, and limits that
//! are reached answer.

mod harness;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use harness::client::{Client, End};
use harness::life::tell;
use harness::{SIGKILL, SIGSTOP, Server, kill, program, scaled, until};

/// What a worker is.
const MODELS: [&str; 3] = ["worker_model=fork", "worker_model=threads", "worker_model=exec"];

const WORKERS: usize = 4;

/// Four workers that are ready.
fn start(options: &[&str]) -> Server {
    start_some(&[&["workers=4"], options].concat(), WORKERS)
}

fn start_some(options: &[&str], workers: usize) -> Server {
    let server = Server::start(
        &program(&["tests/c/master.c"]),
        &[&["{}", "signals=1", "keepalive=60s"], options].concat(),
    );
    // Up to the end of the connection: then the request is nobody's any more.
    let state = || {
        let mut client = server.connect();
        client.send("GET /state HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let text = client.response("GET").text();
        client.end();
        text
    };
    until("all are ready", || state().contains(&format!("readies {workers} ")));
    server
}

/// Jain's index: 1 when all have the same, 1/n when one has all.
fn jain(counts: &BTreeMap<String, usize>) -> f64 {
    let [sum, squares] =
        [1, 2].map(|n| counts.values().map(|count| (*count as f64).powi(n)).sum::<f64>());
    sum * sum / (WORKERS as f64 * squares)
}

fn who(client: &mut Client, connection: &str) -> String {
    client.send(format!("GET /who HTTP/1.1\r\nHost: x\r\nConnection: {connection}\r\n\r\n"));
    client.response("GET").text()
}

/// Requests with a connection each, by several clients at once.
fn short(server: &Server, requests: usize) -> BTreeMap<String, usize> {
    let (asked, counts) = (AtomicUsize::new(0), Mutex::<BTreeMap<_, _>>::default());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while asked.fetch_add(1, Ordering::Relaxed) < requests {
                    let worker = who(&mut server.connect(), "close");
                    *counts.lock().unwrap().entry(worker).or_default() += 1;
                }
            });
        }
    });
    counts.into_inner().unwrap()
}

/// Connections that come one after the other, and stay.
fn long(server: &Server, connections: usize) -> BTreeMap<String, usize> {
    let mut clients = Vec::new();
    let mut counts = BTreeMap::new();
    for _ in 0..connections {
        let mut client = server.connect();
        *counts.entry(who(&mut client, "keep-alive")).or_default() += 1;
        clients.push(client);
    }
    counts
}

/// From which sockets workers accept.
const MODES: [&str; 2] = ["accept_mode=shared", "accept_mode=reuseport"];

/// Which workers are idle is the scheduler's choice where others use the machine: of three rounds one
/// must do.
fn evenly(what: &str, least: f64, round: impl Fn() -> BTreeMap<String, usize>) {
    let index = |counts: BTreeMap<String, usize>| {
        println!("{what}: {:.3} {counts:?}", jain(&counts));
        jain(&counts)
    };
    assert!((0..3).any(|_| index(round()) >= least), "{what}");
}

#[test]
fn short_requests_are_spread_evenly() {
    for (model, mode) in MODELS.iter().flat_map(|model| MODES.map(|mode| (*model, mode))) {
        let server = start(&[model, mode]);
        evenly(&format!("{model} {mode}: short"), 0.95, || short(&server, scaled(5000).max(400)));
        server.stop();
    }
}

#[test]
fn long_connections_are_spread_evenly() {
    for (model, mode) in MODELS.iter().flat_map(|model| MODES.map(|mode| (*model, mode))) {
        let server = start(&[model, mode]);
        evenly(&format!("{model} {mode}: long"), 0.9, || long(&server, 200));
        server.stop();
    }
}

/// Those that hold more than the others wait for nobody who does not serve.
#[test]
fn who_is_stopped_or_gone_keeps_nobody_waiting() {
    let server = start(&[MODELS[0]]);
    let mut kept = Vec::new();
    let mut open = |n: usize| -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..n {
            let mut client = server.connect();
            *counts.entry(who(&mut client, "keep-alive")).or_default() += 1;
            kept.push(client);
        }
        counts
    };
    let workers = server.workers();
    workers[..2].iter().for_each(|worker| kill(*worker, SIGSTOP));
    let counts = open(200);
    assert_eq!(counts.len(), 2, "{counts:?}");
    // And what the dead had counts for nobody.
    workers[..2].iter().for_each(|worker| kill(*worker, SIGKILL));
    until("all are there again", || server.get("/state").contains("readies 6 "));
    let counts = open(200);
    let old: usize = workers[2..].iter().filter_map(|it| counts.get(&it.to_string())).sum();
    println!("after a death: {counts:?}");
    assert!(old < 100, "the new ones have less to do: {counts:?}");
    server.stop();
}

/// A socket of a worker's own does not go with the worker, nor with its place.
#[test]
fn the_queue_of_a_worker_outlives_it() {
    let server = start(&[MODELS[0], MODES[1]]);
    let victim = server.workers()[0];
    // Stopped, it is there for the kernel and for the others.
    kill(victim, SIGSTOP);
    let mut clients: Vec<_> = (0..40).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(|client| client.send("GET /who HTTP/1.1\r\nHost: x\r\n\r\n"));
    kill(victim, SIGKILL);
    for client in &mut clients {
        assert_eq!(client.response("GET").status, 200);
    }
    server.stop();
}

#[test]
fn fewer_workers_and_new_ones_lose_no_connection() {
    for (model, mode) in MODELS.iter().flat_map(|model| MODES.map(|mode| (*model, mode))) {
        let mut server = start(&[model, mode]);
        let address = server.address().to_owned();
        let ends = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !ends.load(Ordering::Relaxed) {
                        who(&mut Client::connect(&address), "close");
                    }
                });
            }
            let mut do_until = |what: &str, is: &str| {
                server.stdin(what);
                until(what, || server.get("/state").contains(is));
            };
            do_until("scale 1\n", "exits 3 ");
            do_until("scale 6\n", "readies 9 ");
            do_until("reload\n", "reloads 1 ");
            do_until("scale 2\n", "exits 13 ");
            ends.store(true, Ordering::Relaxed);
        });
        server.stop();
    }
}

/// A reload that lasts, since a worker of before has something to do, keeps nobody waiting at the new
/// address: also not at the socket of the worker that is still to come.
#[test]
fn a_new_address_is_served_from_the_first_new_worker_on() {
    // Threads for all that hang, and more: one worker looks after the socket of another that is new.
    let options = ["workers=2", "threads=18", "accept_mode=reuseport", "graceful_timeout=1h"];
    let mut server = start_some(&options, 2);
    let mut busy: Vec<_> = (0..16).map(|_| server.connect()).collect();
    busy.iter_mut().for_each(|client| ask(client, "/hang"));
    until("they are there", || server.get("/state").contains(" inside 16 "));
    let address = server.address().replace(":8000", ":8001");
    server.stdin(&format!("reload bind={address}\n"));
    until("it listens there", || Client::try_connect(&address).is_ok());
    for _ in 0..20 {
        assert_eq!(Client::connect(&address).get("/").status, 200);
    }
    server.stdin("release\n");
    for client in &mut busy {
        assert_eq!(client.response("GET").status, 200);
    }
    server.stop();
}

fn ask(client: &mut Client, path: &str) {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
}

/// What the application of a worker has at once is limited, and a probe finds a place beside it.
#[test]
fn requests_beyond_the_cap_are_told_to_come_back() {
    for model in MODELS {
        let options = [model, "workers=1", "threads=8", "worker_requests=2", "errorlog=-"];
        let mut server = start_some(&[&options[..], &["health_path=/hang"]].concat(), 1);
        // Two that count, a probe beside them, and another probe too many.
        let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(|client| ask(client, "/hang"));
        let mut refused = None;
        until("one is refused", || {
            refused = clients.iter_mut().position(|client| !client.is_silent());
            refused.is_some()
        });
        let mut refused = clients.remove(refused.unwrap());
        let response = refused.response("GET");
        assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
        // The connection is kept, and no other path has a chance.
        assert!(response.keeps_alive());
        ask(&mut refused, "/");
        assert_eq!(refused.response("GET").status, 503);
        assert!(clients.iter_mut().all(|client| client.is_silent()));

        server.stdin("release\n");
        for client in &mut clients {
            assert_eq!(client.response("GET").status, 200);
        }
        // There is room again, as soon as those who have their answer are counted.
        let mut sent_away = 2;
        until("there is room", || {
            ask(&mut refused, "/");
            let is_served = refused.response("GET").status == 200;
            sent_away += usize::from(!is_served);
            is_served
        });
        for _ in 0..20 {
            ask(&mut refused, "/");
            assert_eq!(refused.response("GET").status, 200);
        }
        tell(&mut server, "limits");
        let ended = server.stop();
        let line = format!("limits: requests {sent_away} ");
        assert!(ended.stdout.contains(&line), "{line}: {ended:?}");
        assert!(ended.stderr.contains("worker_requests = 2 reached"), "{ended:?}");
    }
}

/// A probe finds a place, for connections that are kept and idle give way to it.
#[test]
fn idle_connections_give_way_to_a_probe() {
    let options =
        [MODELS[0], "workers=1", "worker_connections=3", "health_path=/who", "keepalive=1h"];
    let server = start_some(&options, 1);
    let mut kept: Vec<_> = (0..5)
        .map(|_| {
            let mut client = server.connect();
            assert_eq!(client.get("/").status, 200);
            client
        })
        .collect();
    // The oldest ones, and no more than that.
    let mut last = kept.split_off(3);
    for client in &mut kept {
        assert_eq!(client.end(), End::Closed);
    }
    for client in &mut last {
        assert_eq!(client.get("/who").status, 200);
    }
    server.stop();
}

/// The same when they become idle after the worker had no room any more.
#[test]
fn connections_that_become_idle_late_give_way_too() {
    let options = ["workers=1", "worker_connections=3", "health_path=/who", "keepalive=1h"];
    let server = start_some(&options, 1);
    let mut busy: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for client in &mut busy {
        client.send("GET / HTTP/1.1\r\n");
    }
    // It waits in the queue for as long as nobody is idle.
    let mut probe = server.connect();
    ask(&mut probe, "/who");
    for client in &mut busy {
        client.send("Host: x\r\n\r\n");
        assert_eq!(client.response("GET").status, 200);
    }
    assert_eq!(probe.response("GET").status, 200);
    server.stop();
}

/// What is said of a listener reaches the kernel, which says so.
#[test]
fn listeners_have_the_options_that_they_were_given() {
    let path = harness::support::scratch_dir().join(format!("load-{}.sock", std::process::id()));
    let options = "backlog=64&nodelay=0&defer_accept=5&fastopen=16&rcvbuf=20000&sndbuf=30000";
    let bind = format!("bind={{}}?{options},unix:{}?mode=606", path.display());
    for (mode, seats) in MODES.into_iter().zip([1, 2]) {
        let mut server = start_some(&["workers=2", mode, &bind], 2);
        let address = server.address().to_owned();
        tell(&mut server, "listeners");
        let ended = server.stop();
        let said: Vec<_> = ended.stdout.lines().filter(|it| it.starts_with("listener: ")).collect();
        assert_eq!(said.len(), seats + 1, "{ended:?}");
        for (seat, line) in said[..seats].iter().enumerate() {
            let expected = format!(
                "listener: {address} port 8000 seat {seat} backlog 64 nodelay 0 defer_accept 1 \
                 fastopen 16 reuse_port {} rcvbuf 40000 sndbuf 60000 mode 0",
                u8::from(seats > 1)
            );
            assert_eq!(*line, expected);
        }
        let unix = format!("listener: unix:{} port 0 seat 0 backlog 0 ", path.display());
        assert!(said[seats].starts_with(&unix) && said[seats].ends_with("mode 606"), "{said:?}");
    }
}

/// And what cannot be is said before anything is started.
#[test]
fn listeners_refuse_what_they_cannot_have() {
    for (bind, message) in [
        ("bind={}?backlok=1", "no listener option 'backlok': known are backlog, "),
        ("bind={}?backlog=many", "backlog = 'many': expected a whole number from 1 to 65535"),
        ("bind={}?mode=600", ":8000: only a unix socket in the file system has a mode"),
        ("bind=unix:/tmp/x?nodelay=1", "nodelay has no meaning for a unix socket"),
        (
            "bind=unix:/tmp/x?owner=no-such-user",
            "bind unix:/tmp/x: user = no-such-user: there is no such user",
        ),
    ] {
        let ended = Server::launch(&program(&["tests/c/master.c"]), &["{}", bind]).end();
        assert_eq!(ended.status, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(message), "{bind}: {ended:?}");
    }
}
