//! A warm connection allocates nothing per request.
//!
//! Its own test program, since it has its own allocator.  What is counted is what the test's thread
//! allocates while its engine turns.

#[path = "conv/harness/mod.rs"]
mod harness;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::{Duration, Instant};

use gateway::gateway::abi::{Environ, Response as Head, StartResponse};
use gateway::gateway::app::Application;
use gateway::gateway::body::Body;

use harness::{Client, GET, Server, TEXT};

struct Counting;

thread_local! {
    static ON: Cell<bool> = const { Cell::new(false) };
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends allocates nothing that would be counted.
    let _ = ON.try_with(|on| {
        if on.get() {
            COUNT.set(COUNT.get() + 1);
        }
    });
}

/// How often `work` allocates.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    ON.set(true);
    work();
    ON.set(false);
    COUNT.get() - before
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
    assert_eq!(total as i64, env.content_length().max(0));
    start.respond(&Head::new(200, &TEXT))?;
    Ok(Body::from_static(b"hello, world\n"))
}

/// Send `request`, turn, receive as many octets as `answer` has; what was allocated meanwhile.
fn round(server: &mut Server, client: &mut Client, request: &[u8], answer: usize) -> u64 {
    client.send(request);
    client.inbox.clear();
    let allocated = allocations(|| {
        server.engine.turn(-1).unwrap();
    });
    client.pull();
    assert_eq!(client.inbox.len(), answer, "one turn answers: {}", client.shown());
    allocated
}

#[test]
fn a_warm_connection_allocates_nothing() {
    allocates_nothing(Server::new(|_| {}, app));
}

/// Nor does finding out which of several applications a request is for.
#[test]
fn mounts_allocate_nothing() {
    let app = || Application::new(app).nonblocking();
    allocates_nothing(Server::made_of(|config| {
        for place in ["/", "/hello", "/a b", "*.example.org/", "localhost/hello"] {
            config.mount(place, app()).unwrap();
        }
    }));
}

fn allocates_nothing(mut server: Server) {
    let get = b"GET /hello?x=1 HTTP/1.1\r\nHost: localhost:8000\r\nUser-Agent: curl/8.0\r\n\
                Accept: */*\r\n\r\n";
    let post = b"POST /hello HTTP/1.1\r\nHost: localhost:8000\r\nContent-Type: a/b\r\n\
                 Content-Length: 20\r\n\r\n01234567890123456789";
    let encoded = b"GET /a%20b HTTP/1.1\r\nHost: h\r\nCookie: a\r\n\r\n";
    let pipelined = get.repeat(16);
    let mixed = [&get[..], post, get, post, encoded].concat();
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
        assert_eq!(allocated, 0, "{what}: allocations in 1,000 rounds");
    }
    // A second goes by: its date is made without help, too.
    let mut client = server.connect();
    client.send(get);
    server.settle();
    client.pull();
    let (answer, since) = (client.inbox.len(), Instant::now());
    let mut allocated = 0;
    while since.elapsed() < Duration::from_millis(1500) {
        allocated += round(&mut server, &mut client, get, answer);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(allocated, 0, "allocations in a new second");
}

/// Nor does a timer that comes out before its time and is set again.
#[test]
fn timers_allocate_nothing() {
    let mut server = Server::new(|config| drop(config.set("keepalive", "500ms")), app);
    let mut client = server.connect();
    client.send(GET);
    server.settle();
    client.pull();
    let answer = client.inbox.len();
    for _ in 0..50 {
        round(&mut server, &mut client, GET.as_bytes(), answer);
    }
    let (mut allocated, since) = (0, Instant::now());
    while since.elapsed() < Duration::from_millis(1500) {
        allocated += round(&mut server, &mut client, GET.as_bytes(), answer);
    }
    assert_eq!(allocated, 0, "allocations while a timer came out");
    assert_eq!(server.counters.idle_closed.get(), 0);
}

#[test]
fn the_count_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1_u8; 100]))), 1);
    assert_eq!(allocations(|| ()), 0);
}
