//! Workers that are threads of one C program (`worker_model=threads`).

mod harness;

use std::path::PathBuf;

use harness::client::{Client, End};
use harness::{Ended, SIGINT, SIGTERM, Server, program, scaled, until};

fn threads() -> PathBuf {
    program(&["tests/c/threads.c"])
}

fn start(options: &[&str]) -> Server {
    Server::start(&threads(), &[&["{}", "signals=1"], options].concat())
}

fn launch(options: &[&str]) -> Ended {
    Server::launch(&threads(), &[&["{}"], options].concat()).end()
}

/// What it printed after "`when`: ".
fn said<'a>(ended: &'a Ended, when: &str) -> &'a str {
    let line = ended.stdout.lines().find_map(|line| line.strip_prefix(when)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("no {when}: {ended:?}"))
}

/// It has ended well, with `workers` that began and ended, and nothing is left.
fn assert_clean(ended: &Ended, workers: usize) {
    assert_eq!(ended.status, Some(0), "{ended:?}");
    said(ended, "GW_OK");
    let nothing = format!("threads 1 descriptors +0 inits {workers} exits {workers} drops 1 bad 0");
    assert_eq!(said(ended, "then"), nothing, "{ended:?}");
}

/// One of the numbers of `/stats`.
fn stat(server: &Server, name: &str) -> u64 {
    let stats = server.get("/stats");
    let mut words = stats.split(' ').skip_while(|word| *word != name).skip(1);
    words.next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{name}: {stats}"))
}

/// Clients that wait at the gate, each of them in a thread that runs the application.
fn at_the_gate(server: &Server, count: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for waiting in 1..=count {
        let mut client = server.connect();
        client.send("GET /gate HTTP/1.1\r\nHost: x\r\n\r\n");
        clients.push(client);
        until("it waits", || server.get("/inside") == waiting.to_string());
    }
    clients
}

fn serves(options: &[&str]) {
    let server = start(&[&["workers=3"], options].concat());
    let rounds = scaled(100);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut kept = server.connect();
                for round in 0..rounds {
                    let body = vec![b'a' + (round % 26) as u8; 1 + round * 997 % 70_000];
                    assert!(kept.post("/echo", &body).body == body, "the body came back changed");
                    assert_eq!(kept.get("/").text(), "hello\n");
                    assert_eq!(server.connect().get("/").text(), "hello\n");
                }
            });
        }
    });
    assert_eq!(server.get("/where"), "main 0 is_worker 0 multithread 1 multiprocess 0");
    // All signals are blocked but those that an instruction raises.
    assert_eq!(server.get("/signals"), " 4 5 7 8 11 31");
    assert!(server.workers().is_empty(), "it has forked");
    // Each worker counts what it has done after the client has its answer.
    until("all is counted, but for who asks", || {
        let [workers, connections, requests, in_flight, answered] =
            ["workers", "connections", "requests", "in_flight", "2xx"]
                .map(|name| stat(&server, name));
        // Asked one after the other.
        (workers, connections, in_flight, answered) == (3, 1, 1, requests + 1)
    });
    assert!(stat(&server, "requests") > 18 * rounds as u64);
    let octets: usize = 6 * (0..rounds).map(|round| 1 + round * 997 % 70_000).sum::<usize>();
    assert_eq!(stat(&server, "received"), octets as u64);
    assert_clean(&server.stop(), 3);
}

#[test]
fn an_application_on_threads_of_each_worker() {
    serves(&["threads=2", "how=run"]);
}

#[test]
fn an_application_on_each_loop() {
    serves(&["app=nonblocking", "how=turn"]);
}

#[test]
fn a_serial_application_on_each_loop() {
    serves(&["app=serial", "how=run"]);
}

/// `/stats` has no arbiter there.
#[test]
fn gw_serve_with_its_own_signals() {
    let server = Server::start(&threads(), &["{}", "workers=2", "how=serve", "loglevel=info"]);
    assert_eq!(server.get("/"), "hello\n");
    let ended = server.stop();
    assert_clean(&ended, 2);
    for text in ["Handling signal: term", "Booting worker in thread: 1", "(thread: 0)"] {
        assert!(ended.stderr.contains(text), "{text}: {ended:?}");
    }
}

/// A loop that a serial application holds takes no connections; the others do.
#[test]
fn one_worker_that_waits_does_not_hold_the_others() {
    let server = start(&["workers=2", "app=serial"]);
    let mut clients = at_the_gate(&server, 1);
    for _ in 0..scaled(50) {
        assert_eq!(server.connect().get("/").text(), "hello\n");
    }
    server.get("/open");
    assert_eq!(clients[0].response("GET").text(), "hello\n");
    assert_clean(&server.stop(), 2);
}

#[test]
fn a_graceful_stop_answers_what_is_there() {
    let server = start(&["workers=3", "threads=1", "graceful_timeout=1h", "keepalive=1h"]);
    let mut half = Vec::new();
    for _ in 0..6 {
        let mut client = server.connect();
        client.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf");
        half.push(client);
    }
    let mut idle = server.connect();
    assert_eq!(idle.get("/").text(), "hello\n");
    until("all are accepted", || stat(&server, "in_flight") == 7);
    server.signal(SIGTERM);
    assert_eq!(idle.end(), End::Closed);
    until("nobody listens", || std::net::TcpStream::connect(server.address()).is_err());
    for client in &mut half {
        client.send("full");
        let response = client.response("POST");
        assert_eq!((&*response.text(), response.keeps_alive()), ("halffull", false));
    }
    assert_clean(&server.end(), 3);
}

#[test]
fn after_graceful_timeout_the_rest_is_cut() {
    let server = start(&["workers=2", "graceful_timeout=300ms", "body_timeout=1h"]);
    let mut client = server.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf");
    until("it is accepted", || stat(&server, "in_flight") == 2);
    server.signal(SIGTERM);
    assert_clean(&server.end(), 2);
}

#[test]
fn a_quick_stop_is_at_once() {
    let server = start(&["workers=2", "graceful_timeout=1h", "body_timeout=1h"]);
    let mut client = server.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf");
    until("it is accepted", || stat(&server, "in_flight") == 2);
    server.signal(SIGINT);
    assert_clean(&server.end(), 2);
}

/// The stop waits for an application that returns in time.
#[test]
fn an_application_that_returns_late_is_waited_for() {
    let server = start(&["workers=2", "threads=3", "graceful_timeout=1h"]);
    let mut clients = at_the_gate(&server, 2);
    // Begins to stop, and opens the gate when the connections are cut.
    clients.push(server.connect());
    clients[2].send("GET /late HTTP/1.1\r\nHost: x\r\n\r\n");
    for client in &mut clients {
        // What was complete by then may still reach its client.
        client.drain();
    }
    assert_clean(&server.end(), 2);
}

/// Applications that do not return, on threads and on loops: the stop ends, says how many they are,
/// and nothing is freed that they use.
fn is_left_behind(options: &[&str], waiting: usize, stop: &str, message: &str) {
    let server = start(&[&["graceful_timeout=300ms", "errorlog=-"], options].concat());
    let _clients = at_the_gate(&server, waiting);
    match stop {
        "TERM" => server.signal(SIGTERM),
        path => {
            let mut client = server.connect();
            client.send(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n"));
            client.drain();
        }
    }
    let ended = server.end();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert_eq!(
        said(&ended, "GW_ERR_TIMEOUT"),
        format!(
            "stop the workers: {message} did not end in time, and cannot be killed: each ends when \
             the application returns that it runs"
        )
    );
    assert!(said(&ended, "then").contains(" drops 0 "), "{ended:?}");
    assert_eq!(
        said(&ended, "last"),
        "threads 1 descriptors +0 inits 3 exits 3 drops 1 bad 0",
        "{ended:?}"
    );
    assert!(ended.stderr.contains("does not end"), "{ended:?}");
    assert!(!ended.stdout.contains("listens: "), "{ended:?}");
}

#[test]
fn threads_that_hang_are_left_behind_by_a_graceful_stop() {
    is_left_behind(&["workers=3", "threads=3"], 2, "TERM", "2 threads");
}

#[test]
fn threads_that_hang_are_left_behind_by_a_kill() {
    is_left_behind(&["workers=3", "threads=2"], 1, "/kill", "1 thread");
}

#[test]
fn loops_that_hang_are_left_behind() {
    is_left_behind(&["workers=3", "app=serial"], 2, "/quick", "2 threads");
}

#[test]
fn a_worker_that_is_refused_stops_everything() {
    for how in ["run", "serve", "turn"] {
        let ended = launch(&["workers=2", "init=refuse", "errorlog=-", &format!("how={how}")]);
        assert_eq!(ended.status, Some(3), "{ended:?}");
        assert_eq!(said(&ended, "GW_ERR_APP"), BOOT, "{ended:?}");
        assert_eq!(
            said(&ended, "last"),
            "threads 1 descriptors +0 inits 2 exits 1 drops 1 bad 0",
            "{ended:?}"
        );
        let reason = "worker_init returned -15: application failed";
        assert!(ended.stderr.contains(reason), "{ended:?}");
    }
}

const BOOT: &str = "Worker failed to boot.";

/// The same hooks in processes.
#[test]
fn forked_workers_have_the_hooks_too() {
    let ended =
        launch(&["worker_model=fork", "workers=2", "init=refuse", "errorlog=-", "how=serve"]);
    assert_eq!(ended.status, Some(3), "{ended:?}");
    assert_eq!(said(&ended, "GW_ERR_APP"), BOOT);
    assert!(ended.stderr.contains("worker_init returned -15"), "{ended:?}");

    let server = start(&["worker_model=fork", "workers=2", "errorlog=-", "loglevel=info"]);
    assert_eq!(server.get("/where"), "main 0 is_worker 1 multithread 0 multiprocess 1");
    for _ in 0..10 {
        assert_eq!(server.get("/"), "hello\n");
    }
    let ended = server.stop();
    assert!(said(&ended, "stats").starts_with("workers 0 accepted "), "{ended:?}");
    assert!(
        said(&ended, "stats").ends_with(" connections 0 requests 11 in_flight 0 2xx 11 received 0"),
        "{ended:?}"
    );
}

#[test]
fn an_application_that_is_not_threadsafe_is_refused_by_name() {
    for (app, workers, text) in [
        ("unsafe", "2", "workers = 2: "),
        ("unsafe", "0", "workers = 0 (one for each CPU): "),
        ("serial-unsafe", "3", "workers = 3: "),
    ] {
        let ended = launch(&[&format!("app={app}"), &format!("workers={workers}")]);
        assert_eq!(ended.status, Some(1), "{ended:?}");
        assert_eq!(
            said(&ended, "GW_ERR_INVALID"),
            format!(
                "{text}worker_model = threads would enter application \"threads\" from several \
                 threads, and it is not GW_APP_THREADSAFE: say so, or set workers = 1"
            )
        );
    }
    // One at a time is what it is made for.
    for app in ["app=unsafe", "app=serial-unsafe"] {
        let server = start(&[app, "workers=1"]);
        let said = server.get("/where");
        assert_eq!(said, "main 0 is_worker 0 multithread 0 multiprocess 0");
        assert_clean(&server.stop(), 1);
    }
}

#[test]
fn arbiters_leave_no_thread_and_no_descriptor() {
    let count = scaled(200).max(20).to_string();
    let ended = Server::launch(&threads(), &["cycle", &count]).end();
    assert_eq!(
        (ended.status, &*ended.stdout),
        (Some(0), "threads +0 descriptors +0\n"),
        "{ended:?}"
    );
}
