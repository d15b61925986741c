//! A warm connection allocates nothing per request.
//!
//! Its own test program, since it counts what the whole process allocates, and one test, since
//! others in the same process would allocate, too.

#[path = "conv/harness/mod.rs"]
mod harness;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use gateway::gateway::abi::{Environ, Response as Head, StartResponse};
use gateway::gateway::body::Body;

use harness::{Client, Server, TEXT};

struct Counting;

static ON: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);

fn count() {
    if ON.load(SeqCst) {
        COUNT.fetch_add(1, SeqCst);
    }
}

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Says hello, and reads the body if there is one.
fn app(env: &Environ, start: &StartResponse<'_>) -> gateway::base::error::Result<Body> {
    let mut buf = [0; 1024];
    let mut total = 0;
    loop {
        match env.read(&mut buf)? {
            0 => break,
            n => total += n,
        }
    }
    assert_eq!(total as i64, env.content_length.max(0));
    start.respond(&Head::new(200, &TEXT))?;
    Ok(Body::from_static(b"hello, world\n"))
}

/// Send `request`, turn, receive as many octets as `answer` has; what was allocated meanwhile.
fn round(server: &mut Server, client: &mut Client, request: &[u8], answer: usize) -> u64 {
    client.send(request);
    client.inbox.clear();
    let before = COUNT.load(SeqCst);
    ON.store(true, SeqCst);
    server.engine.turn(-1).unwrap();
    ON.store(false, SeqCst);
    client.pull();
    assert_eq!(client.inbox.len(), answer, "one turn answers: {}", client.shown());
    COUNT.load(SeqCst) - before
}

#[test]
fn a_warm_connection_allocates_nothing() {
    let get = b"GET /hello?x=1 HTTP/1.1\r\nHost: localhost:8000\r\nUser-Agent: curl/8.0\r\n\
                Accept: */*\r\n\r\n";
    let post = b"POST /hello HTTP/1.1\r\nHost: localhost:8000\r\nContent-Type: a/b\r\n\
                 Content-Length: 20\r\n\r\n01234567890123456789";
    let encoded = b"GET /a%20b HTTP/1.1\r\nHost: h\r\nCookie: a\r\n\r\n";
    let pipelined = get.repeat(16);
    let mixed = [&get[..], post, get, post, encoded].concat();
    let mut server = Server::new(|_| {}, app);
    for (what, request) in [
        ("hello", &get[..]),
        ("a small body", post),
        ("an encoded path", encoded),
        ("pipelined", &pipelined),
        ("mixed", &mixed),
    ] {
        let mut client = server.connect();
        client.send(request);
        server.settle();
        client.pull();
        let answer = client.inbox.len();
        assert!(answer > 0);
        for _ in 0..50 {
            round(&mut server, &mut client, request, answer);
        }
        let allocated: u64 =
            (0..1000).map(|_| round(&mut server, &mut client, request, answer)).sum();
        // A second goes by now and then: its date is made without help, too.
        assert_eq!(allocated, 0, "{what}: allocations in 1,000 rounds");
    }
}

#[test]
fn the_count_counts() {
    // The other test switches it on for the time of a turn only, but may do so now.
    let before = COUNT.load(SeqCst);
    ON.store(true, SeqCst);
    drop(std::hint::black_box(vec![1_u8; 100]));
    ON.store(false, SeqCst);
    assert!(COUNT.load(SeqCst) > before);
}
