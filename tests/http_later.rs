//! Answers of a C program that come later, from its own threads.

mod harness;

use std::path::PathBuf;

use harness::{SIGINT, SIGTERM, Server, program, scaled, until};

fn later() -> PathBuf {
    program(&["tests/c/later.c"])
}

/// gw_serve reports errors, of which some tests make more than a pipe holds.
const QUIET: &str = "errorlog=/dev/null";

/// Handed out by an application, on the loop and on threads; and taken, also in workers.
fn every_way(mut test: impl FnMut(&[&str])) {
    for way in [
        &["{}"][..],
        &["{}", "threads=2"],
        &["take", "{}"],
        &["serve", "{}", QUIET, "workers=2"],
        &["serve", "{}", QUIET, "workers=2", "worker_model=threads"],
        &["serve", "{}", QUIET, "worker_model=inline"],
    ] {
        test(way);
    }
}

#[test]
fn replies_of_every_kind() {
    every_way(|way| {
        let server = Server::start(&later(), way);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut client = server.connect();
                    for round in 0..scaled(100) {
                        let response = client.get(&format!("/reply?round={round}"));
                        assert_eq!(response.text(), format!("[round={round}]"));
                        assert!(response.header("content-length").is_some());
                        assert_eq!(client.get("/bad").status, 500);
                        assert_eq!(client.get("/fail").status, 500);
                    }
                });
            }
        });
        server.stop();
    });
}

#[test]
fn streams_that_are_larger_than_any_buffer() {
    every_way(|way| {
        let server = Server::start(&later(), way);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut client = server.connect();
                    for size in [1, 100, 5_000, 200_000] {
                        let n = scaled(60);
                        let response = client.get(&format!("/stream?n={n}&size={size}"));
                        assert_eq!(response.status, 200);
                        let body = response.body;
                        assert_eq!(body.len(), n * size);
                        let pieces = body.chunks(size).zip((b'a'..=b'z').cycle());
                        assert!(pieces.into_iter().all(|(piece, c)| piece.iter().all(|o| *o == c)));
                    }
                });
            }
        });
        server.stop();
    });
}

#[test]
fn bodies_are_read_as_they_arrive() {
    every_way(|way| {
        let server = Server::start(&later(), &[way, &["request_buffering=0"]].concat());
        let mut client = server.connect();
        let body: Vec<u8> = (0..300_000_u32).map(|i| (i * 7 % 251) as u8).collect();
        for _ in 0..scaled(10) {
            assert!(client.post("/echo", &body[..20_000]).body == body[..20_000]);
        }
        // One that waits for the other side at every step.
        client.send("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send("3\r\none\r\n");
        client.head();
        assert_eq!(client.chunk(), b"one");
        client.send("3\r\ntwo\r\n");
        assert_eq!(client.chunk(), b"two");
        client.send("0\r\n\r\n");
        assert_eq!(client.chunk(), b"");
        server.stop();
    });
}

#[test]
fn iterators_that_are_resumed() {
    for way in [&["{}"][..], &["{}", "threads=2"]] {
        let server = Server::start(&later(), way);
        let mut client = server.connect();
        for n in [0, 1, 2, 7, 40] {
            assert_eq!(client.get(&format!("/ticks?n={n}")).text(), "tick ".repeat(n));
        }
        until("all are closed", || client.get("/counts").text().contains("closed 5 "));
        server.stop();
    }
}

#[test]
fn clients_that_leave_cost_nobody_anything() {
    every_way(|way| {
        // The counts of one process.
        let way = &way.iter().map(|arg| arg.replace("workers=2", "workers=1")).collect::<Vec<_>>();
        let way: &[&str] = &way.iter().map(String::as_str).collect::<Vec<_>>();
        let server = Server::start(&later(), way);
        let rounds = scaled(60);
        for round in 0..rounds {
            let mut client = server.connect();
            client.send("GET /stream?n=1000&size=100000 HTTP/1.1\r\nHost: x\r\n\r\n");
            if round % 2 == 0 {
                client.read_some(1);
            }
        }
        let mut client = server.connect();
        until("all are given up and dropped", || {
            let counts = client.get("/counts").text();
            let count = |name: &str| {
                let mut words = counts.split(' ').skip_while(|word| *word != name).skip(1);
                words.next().and_then(|n| n.parse::<usize>().ok()).expect("a count")
            };
            assert_eq!(count("wrong"), 0);
            // All but the one that asks.
            count("given_up") > rounds && count("dropped") == count("watched") - 1
        });
        server.stop();
    });
}

#[test]
fn a_stop_in_the_middle() {
    every_way(|way| {
        for signal in [SIGTERM, SIGINT] {
            let server = Server::start(&later(), &[way, &["graceful_timeout=1"]].concat());
            let mut clients = Vec::new();
            for number in 0..8 {
                let mut client = server.connect();
                client.send("GET /stream?n=1000&size=100000 HTTP/1.1\r\nHost: x\r\n\r\n");
                // The program has four threads: the others wait.
                if number < 4 {
                    client.read_some(1);
                }
                clients.push(client);
            }
            server.signal(signal);
            let ended = server.end();
            assert_eq!(ended.status, Some(0), "{ended:?}");
        }
    });
}

#[test]
fn a_handle_outlives_its_server() {
    let ended = Server::launch(&later(), &["orphan"]).end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
}
