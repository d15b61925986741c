//! The whole connection machine under clients that do anything in any order: what they send is cut
//! from good and bad requests and from noise, and they stop, read, half-close and reset when they
//! like.  Whatever they do, nothing panics, nothing is left behind, and others are served.
//!
//! Deterministic: a seed makes a run.  `STORM_RUNS` makes more of them.

#[path = "conv/harness/mod.rs"]
mod harness;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use gateway::base::error::{Error, Kind, Result};
use gateway::base::octets::Pair;
use gateway::gateway::abi::{Environ, Response as Head, StartResponse};
use gateway::gateway::body::Body;
use harness::*;

/// A small generator (xorshift64*), so that a seed is all there is to a run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    fn pick<'a>(&mut self, from: &[&'a [u8]]) -> &'a [u8] {
        from[self.below(from.len())]
    }
}

const PIECES: [&[u8]; 24] = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /chunks HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /endless HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /fail HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /late HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /promise HTTP/1.1\r\nHost: x\r\n\r\n",
    b"HEAD /chunks HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 30000\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n",
    b"POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\nHost: x\n\n",
    b"BREW /pot HTTP/9.9\r\n\r\n",
    b"\r\n",
    b"\0\x01\x02\x16\x03\x01",
    b"12345",
    b"0\r\n\r\n",
    b": ",
];

/// Counts what is opened and closed.
#[derive(Clone, Default)]
struct Count(Arc<(AtomicUsize, AtomicUsize)>);

struct Chunks(Count, usize);

impl Iterator for Chunks {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.1 = self.1.checked_sub(1)?;
        match self.1 {
            7 => Some(Err(Error::new(Kind::App, "in the middle"))),
            n => Some(Ok(vec![b'a' + (n % 26) as u8; n % 5000])),
        }
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        self.0.0.1.fetch_add(1, SeqCst);
    }
}

fn storm_app(count: Count) -> impl Fn(&Environ, &StartResponse<'_>) -> Result<Body> + Send + Sync {
    static BIG: [u8; 300_000] = [b'x'; 300_000];
    move |env, start| {
        let chunks = |n| {
            count.0.0.fetch_add(1, SeqCst);
            Body::from_chunks(Chunks(count.clone(), n))
        };
        let promise = [Pair::new(b"Content-Length", b"99")];
        match env.path_info() {
            b"/fail" => return Err(Error::new(Kind::App, "at once")),
            b"/promise" => {
                start.respond(&Head::new(200, &promise))?;
                return Ok(chunks(5));
            }
            b"/echo" => return echo(env, start),
            _ => start.respond(&Head::new(200, &[]))?,
        };
        Ok(match env.path_info() {
            b"/chunks" => chunks(6),
            b"/late" => chunks(12),
            b"/endless" => chunks(usize::MAX),
            b"/big" => Body::from_static(&BIG),
            _ => Body::from_static(b"hello\n"),
        })
    }
}

/// One run: a few clients, each doing what chance says.
fn storm(seed: u64, streaming: &str, threads: &str) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let count = Count::default();
    let mut server = Server::new(
        |config| {
            config.set("request_buffering", streaming).unwrap();
            config.set("threads", threads).unwrap();
            config.set("body_buffer", "1k").unwrap();
            config.set("output_buffer", "32k").unwrap();
        },
        storm_app(count.clone()),
    );
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..60 {
        if clients.len() < 4 && (clients.is_empty() || random.below(3) == 0) {
            let client = if random.below(2) == 0 { server.connect() } else { server.connect_tcp() };
            clients.push(client);
        }
        let who = random.below(clients.len());
        match random.below(12) {
            0..6 => {
                let piece = random.pick(&PIECES);
                let cut =
                    if random.below(3) == 0 { random.below(piece.len()) } else { piece.len() };
                clients[who].send_anyway(&piece[..cut]);
            }
            6..8 => clients[who].pull_up_to(100_000),
            8 => clients[who].half_close(),
            9 => clients.swap_remove(who).reset(),
            10 => drop(clients.swap_remove(who)),
            _ => {}
        }
        server.turn(0);
    }
    assert_eq!(
        server.ask("GET /fine HTTP/1.1\r\nHost: x\r\n\r\n").text(),
        "hello\n",
        "seed {seed}"
    );
    drop(clients);
    server.until("everybody is gone", |server| server.counters.connections.get() == 0);
    server.until("every request is over", |server| server.counters.in_flight.get() == 0);
    assert_eq!(count.0.0.load(SeqCst), count.0.1.load(SeqCst), "seed {seed}: opened and closed");
}

fn runs() -> u64 {
    std::env::var("STORM_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(300)
}

#[test]
fn buffered_requests_on_the_loop() {
    (1..=runs()).for_each(|seed| storm(seed, "1", "0"));
}

#[test]
fn streamed_requests_on_the_loop() {
    (1..=runs()).for_each(|seed| storm(seed, "0", "0"));
}

#[test]
fn buffered_requests_on_threads() {
    (1..=runs() / 4).for_each(|seed| storm(seed, "1", "2"));
}
