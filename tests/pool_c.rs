//! Application threads of a C program.

mod harness;

use std::path::PathBuf;

use harness::{SIGINT, SIGTERM, Server, program, scaled, until};

fn pool() -> PathBuf {
    program(&["tests/c/pool.c"])
}

/// One process that serves.
fn serve(options: &[&str]) -> Server {
    Server::start(&pool(), &[&["{}", "worker_model=inline"], options].concat())
}

/// A count of `/counts`.
fn count(server: &Server, name: &str) -> u64 {
    let counts = server.get("/counts");
    let mut words = counts.split(' ').skip_while(|word| *word != name).skip(1);
    words.next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{name}: {counts}"))
}

/// Everything that was made is released and everything that was opened closed, on threads.
fn assert_balanced(server: &Server, streams: u64) {
    until("all are closed", || count(server, "closed") == streams);
    assert_eq!(count(server, "made"), count(server, "released"));
    assert_eq!(count(server, "in_main"), 0);
}

#[test]
fn everything_runs_on_the_threads() {
    for threads in ["threads=1", "threads=4"] {
        let server = serve(&[threads]);
        let rounds = scaled(60);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut client = server.connect();
                    for round in 0..rounds {
                        let size = 1 + round * 997 % 20_000;
                        let body = client.get(&format!("/stream?n=5&size={size}")).body;
                        let pieces: Vec<_> = body.chunks(size).collect();
                        assert_eq!(pieces.len(), 5);
                        assert!(pieces.iter().zip(b'a'..).all(|(p, c)| p.iter().all(|o| *o == c)));
                        assert_eq!(client.post("/sum", &body).text(), (5 * size).to_string());
                        assert_eq!(client.get("/write?n=2").body.len(), 200_000);
                    }
                });
            }
        });
        assert_balanced(&server, 4 * rounds as u64);
        server.stop();
    }
}

#[test]
fn clients_that_leave_and_clients_that_are_slow() {
    let server = serve(&["threads=2", "loglevel=info"]);
    let rounds = scaled(40) as u64;
    for round in 0..rounds {
        let mut client = server.connect();
        client.send("GET /stream?n=100&size=100000 HTTP/1.1\r\nHost: x\r\n\r\n");
        if round % 2 == 0 {
            client.read_some(1);
        }
        drop(client);
    }
    let mut slow = server.connect();
    slow.send("GET /stream?n=100&size=100000 HTTP/1.1\r\nHost: x\r\n\r\n");
    slow.read_some(1);
    until("all others are closed", || count(&server, "closed") == rounds);
    assert!(slow.drain() > 9_000_000);
    assert_balanced(&server, rounds + 1);

    let mut writer = server.connect();
    writer.send("GET /write?n=100000 HTTP/1.1\r\nHost: x\r\n\r\n");
    writer.read_some(1);
    drop(writer);
    let ended = server.stop();
    assert!(ended.stderr.contains("GW_ERR_CLOSED"), "{ended:?}");
}

#[test]
fn a_streamed_upload_blocks_its_thread_only() {
    let server = serve(&["threads=2", "request_buffering=0"]);
    let mut slow = server.connect();
    slow.send("POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n12345");
    for _ in 0..scaled(40) {
        server.get("/hello");
    }
    slow.send([b'x'; 95]);
    assert_eq!(slow.response("POST").text(), "100");
    server.stop();
}

#[test]
fn a_full_queue_and_a_long_wait_are_503s() {
    let server = serve(&["threads=1", "queue_limit=1", "queue_timeout=1s", STATS]);
    let mut clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients[..2] {
        client.send("GET /hello?ms=4000 HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    // The other of the two waits in vain, and so does a third.
    until("one of them runs", || runs(&server));
    let response = clients[2].get("/hello");
    assert_eq!((response.status, response.header("retry-after")), (503, Some("1")));
    let mut statuses = [clients[0].response("GET").status, clients[1].response("GET").status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 503]);
    assert_eq!(clients[2].get("/hello").status, 200);
    server.stop();
}

const STATS: &str = "stats_path=/stats";

/// Whether the application has a request; its threads need not be free to say so.
fn runs(server: &Server) -> bool {
    server.get("/stats").contains("\"phase\":\"app\"")
}

/// What a worker logs that ends by itself; one that is killed does not.
const EXITING: &str = "Worker exiting";

#[test]
fn a_worker_whose_thread_never_returns_ends_at_a_quick_stop() {
    let server = Server::start(
        &pool(),
        &["{}", "workers=1", "threads=2", "graceful_timeout=1h", "loglevel=info"],
    );
    let mut client = server.connect();
    client.send("GET /forever HTTP/1.1\r\nHost: x\r\n\r\n");
    // The other thread says that this one runs.
    until("it runs", || count(&server, "called") >= 2);
    server.signal(SIGINT);
    let ended = server.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.stderr.contains(EXITING), "{ended:?}");
}

#[test]
fn a_worker_whose_thread_never_returns_ends_after_graceful_timeout() {
    let server = Server::start(
        &pool(),
        &["{}", "workers=1", "threads=2", "graceful_timeout=500ms", "loglevel=info"],
    );
    let mut client = server.connect();
    client.send("GET /forever HTTP/1.1\r\nHost: x\r\n\r\n");
    until("it runs", || count(&server, "called") >= 2);
    server.signal(SIGTERM);
    let ended = server.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.stderr.contains(EXITING), "{ended:?}");
}

#[test]
fn a_graceful_stop_waits_for_a_thread() {
    let server = Server::start(&pool(), &["{}", "workers=1", "threads=1", STATS]);
    // Its worker is there.
    server.get("/hello");
    let mut client = server.connect();
    client.send("GET /hello?ms=2000 HTTP/1.1\r\nHost: x\r\n\r\n");
    until("it runs", || runs(&server));
    server.signal(SIGTERM);
    let response = client.response("GET");
    assert_eq!((response.status, response.keeps_alive()), (200, false));
    assert_eq!(server.end().status, Some(0));
}

#[test]
fn options_that_cannot_be_are_refused_by_name() {
    let ended = Server::launch(&pool(), &["{}", "worker_model=inline", "threads=0"]).end();
    assert_eq!(ended.status, Some(1));
    assert!(ended.stderr.contains("threads = 0") && ended.stderr.contains("\"pool\""), "{ended:?}");
}

#[test]
fn servers_leave_no_thread_and_no_descriptor() {
    let count = scaled(200).max(20).to_string();
    let ended = Server::launch(&pool(), &["cycle", &count]).end();
    assert_eq!(
        (ended.status, &*ended.stdout),
        (Some(0), "threads +0 descriptors +0\n"),
        "{ended:?}"
    );
}

#[test]
fn a_server_is_not_freed_by_its_own_application() {
    let ended = Server::launch(&pool(), &["inside"]).end();
    assert_eq!((ended.status, &*ended.stdout), (Some(0), "alive\n"), "{ended:?}");
}
