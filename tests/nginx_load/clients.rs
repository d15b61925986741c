//! Clients that leave, that are slow, and that all ask what takes its time.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use crate::harness::client::Client;
use crate::harness::nginx::Nginx;
use crate::harness::until;
use crate::{Gate, PORT, app, count, memory_of, server};

/// Connections that are ended somewhere; GATEWAY_ABORTS says another number.
const ABORTS: u64 = 10_000;

/// Numbers that look random, and are the same each time (Knuth's constants).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % n
    }
}

/// `tests/c/suite.c` in all ways: on the loop, on threads, with bodies that come while it runs.
fn suite() -> String {
    format!(
        "server {{ listen ${{IP}}:{PORT}; client_body_buffer_size 8k;
            location /loop {{ gateway_module ${{SUITE}}; }}
            location /threads {{ gateway_module ${{SUITE}} blocks; gateway_threads 4; }}
            location /streamed {{ gateway_module ${{SUITE}}; gateway_request_buffering off; }}
        }}"
    )
}

/// One connection, which ends at a moment that the dice say.
fn leave(address: &str, dice: &mut Dice) {
    let place = ["/loop", "/threads", "/streamed"][dice.below(3) as usize];
    let Ok(mut client) = Client::try_connect(address) else { panic!("nginx does not listen") };
    match dice.below(5) {
        // In the head.
        0 => {
            let head = format!("GET {place}/hello HTTP/1.1\r\nHost: x\r\nX-One: two\r\n\r\n");
            client.try_send(&head[..dice.below(head.len() as u64) as usize]);
        }
        // In the body.
        1 => {
            let what = ["echo", "tell", "relay", "early"][dice.below(4) as usize];
            let head = format!("POST {place}/{what} HTTP/1.1\r\nHost: x\r\n");
            let body = "body".repeat(10_000);
            let sent = &body[..dice.below(body.len() as u64) as usize];
            client.try_send(match dice.below(2) {
                0 => format!("{head}Content-Length: {}\r\n\r\n{sent}", body.len()),
                _ => format!("{head}Transfer-Encoding: chunked\r\n\r\n9c40\r\n{sent}"),
            });
        }
        // In the answer, before it has begun or later.
        2 => {
            let what = ["stream?n=40&size=5000", "file?size=200000", "stream?n=9&size=99&pause=2"];
            let what = what[dice.below(3) as usize];
            client.try_send(format!("GET {place}/{what} HTTP/1.0\r\nHost: x\r\n\r\n"));
            if dice.below(2) == 0 {
                let _ = client.at_least(1 + dice.below(100_000) as usize);
            }
        }
        // While an answer is awaited that comes later.
        3 => {
            client.try_send(format!("GET {place}/defer HTTP/1.1\r\nHost: x\r\n\r\n"));
        }
        // Behind an answer, in the next request.
        _ => {
            assert_eq!(client.get(&format!("{place}/hello")).text(), "hello, world\n");
            client.try_send(format!("POST {place}/echo HTTP/1.1\r\nHost: x\r\nContent-Le"));
        }
    }
}

#[test]
fn ten_thousand_clients_leave() {
    let nginx = Nginx::start(&suite());
    let address = nginx.address(PORT);
    let workers = nginx.workers();
    let all = std::env::var("GATEWAY_ABORTS").ok().and_then(|n| n.parse().ok()).unwrap_or(ABORTS);
    let is_idle = || {
        let counts = Client::connect(&address).get("/loop/counts").text();
        counts.starts_with("open 0 later 0 ")
    };
    let mut resident = Vec::new();
    for quarter in 0..4 {
        thread::scope(|scope| {
            for of in 0..4 {
                let mut dice = Dice(7 + 4 * quarter + of);
                let address = &address;
                scope.spawn(move || (0..all / 16).for_each(|_| leave(address, &mut dice)));
            }
        });
        until("nothing is under way", is_idle);
        resident.push(memory_of(workers[0], "VmRSS"));
    }
    assert_eq!(nginx.workers(), workers, "{}", nginx.log());
    assert!(resident[3] < resident[1] + 4 * 1024, "KiB after each quarter: {resident:?}");
    let log = nginx.log();
    let is_bad = |line: &&str| line.contains("[warn]") && !line.contains("to a temporary file");
    assert_eq!(log.lines().find(is_bad), None);
    nginx.stop();
}

/// A server that does not hide slow clients in its sockets.
fn narrow() -> String {
    suite().replace(&format!(":{PORT};"), &format!(":{PORT} sndbuf=16k;"))
}

/// Slow ones get all, while fast ones are served, and cost no memory to speak of.
#[test]
fn slow_readers() {
    const SLOW: usize = 50;
    const MIB: usize = 1024 * 1024;
    let nginx = Nginx::start(&narrow());
    let address = nginx.address(PORT);
    let targets = [
        "/loop/stream?n=64&size=16384",
        "/loop/file?size=1048576",
        "/threads/file?size=1048576",
        "/loop/stream?n=1024&size=1024&length=1",
    ];
    let whole = targets.map(|target| Client::connect(&address).get(target).body);
    assert!(whole.iter().all(|body| body.len() == MIB));
    let worker = nginx.workers()[0];
    let before = memory_of(worker, "VmHWM");
    let (begun, served) = (Barrier::new(SLOW + 1), Barrier::new(SLOW + 1));
    thread::scope(|scope| {
        for n in 0..SLOW {
            let (address, target, whole) = (&address, targets[n % 4], &whole[n % 4]);
            let (begun, served) = (&begun, &served);
            scope.spawn(move || {
                let mut client = Client::connect(address);
                client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
                client.at_least(1).expect("an answer");
                begun.wait();
                served.wait();
                client.slow_down(std::time::Duration::from_millis(5));
                assert!(client.response("GET").body == *whole, "{target}");
            });
        }
        begun.wait();
        let mut fast = Client::connect(&address);
        for _ in 0..500 {
            assert_eq!(fast.get("/loop/hello").text(), "hello, world\n");
        }
        served.wait();
    });
    let grown = memory_of(worker, "VmHWM").saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB for {SLOW} MiB");
    nginx.stop();
}

/// All threads wait, and the rest of the server does not.
#[test]
fn a_blocking_application_beside_a_fast_one() {
    let nginx = Nginx::start(&format!(
        "server {{ listen ${{IP}}:{PORT};
            location / {{ gateway_module {0}; }}
            location /blocks {{
                gateway_module {0} blocks; gateway_threads 2; gateway_set queue_limit 3;
            }}
        }}",
        app()
    ));
    let (address, gate) = (nginx.address(PORT), Gate::of(&nginx));
    let mut held: Vec<_> = (0..2).map(|_| gate.hold(&address, "/blocks")).collect();
    until("both threads wait", || count(&address, "holding", "") == 2);
    let mut fast = Client::connect(&address);
    for n in 0..500 {
        assert!(fast.get(&format!("/?{n}")).text().ends_with(&format!(" {n}\n")));
    }
    // More wait for a thread, and one too many is told so: which of them is not said.
    let mut queued: Vec<_> = (0..4).map(|_| gate.hold(&address, "/blocks")).collect();
    let log = || nginx.read("access.log");
    until("one is sent away", || log().lines().any(|line| line.starts_with("503 503 ")));
    for n in 0..100 {
        assert!(fast.get(&format!("/?{n}")).text().ends_with(&format!(" {n}\n")));
    }
    assert_eq!(count(&address, "holding", ""), 2);
    gate.open();
    held.append(&mut queued);
    let mut statuses: Vec<_> = held
        .iter_mut()
        .map(|client| {
            let response = client.response("GET");
            let is_held = response.text().ends_with(" held\n");
            assert_eq!(is_held, response.status == 200, "{response:?}");
            assert!(is_held || !response.text().contains("nginx"), "{response:?}");
            response.status
        })
        .collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 200, 200, 200, 503]);
    assert_eq!(count(&address, "holding", ""), 0);
    nginx.stop();
}

/// A stream that never ends is not all that a worker does, also where its client is never what it waits
/// for: gzip makes so little of it.
#[test]
fn an_endless_stream_keeps_nobody_waiting() {
    let blocks = format!("location /blocks {{ gateway_module {} blocks; }}", app());
    let nginx = Nginx::start(&server(&format!("gzip on; gzip_types text/plain; {blocks}")));
    let address = nginx.address(PORT);
    for (n, prefix) in ["", "/blocks"].into_iter().enumerate() {
        let mut endless = Client::connect(&address);
        let target = format!("{prefix}/flow?id=a&n=1000000000&size=4000");
        endless.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n"));
        assert_eq!(endless.head().header("content-encoding"), Some("gzip"));
        let (ends, taken) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !ends.load(Ordering::Relaxed) {
                    endless.read_some(usize::MAX);
                    taken.fetch_add(1, Ordering::Relaxed);
                }
            });
            let mut other = Client::connect(&address);
            for n in 0..100 {
                let before = taken.load(Ordering::Relaxed);
                assert!(other.get(&format!("/?{n}")).text().ends_with(&format!(" {n}\n")));
                until("the stream goes on", || taken.load(Ordering::Relaxed) > before);
            }
            ends.store(true, Ordering::Relaxed);
        });
        drop(endless);
        until("all is over", || {
            count(&address, "closed", "a") == n as u64 + 1
                && count(&address, "released", "a") == count(&address, "made", "a")
        });
    }
    nginx.stop();
}
