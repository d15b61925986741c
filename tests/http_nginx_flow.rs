//! Applications inside of nginx that wait, stream, and are left: what runs beside them, how far they may be
//! ahead of their client, and what they hear.

mod harness;

use std::io::Write;

use harness::client::Client;
use harness::nginx::{Nginx, connect, get, waits};
use harness::until;

/// `tests/c/nginx_app.c` on the loop at /, on two threads at /threads, on one at /one, with bodies as they come
/// below /streamed.
const BOTH: &str = "
    location / { gateway_module ${APP}; }
    location /threads { gateway_module ${APP} blocks; gateway_threads 2; }
    location /one { gateway_module ${APP} blocks one; gateway_threads 1; }
    location /serial { gateway_module ${APP} blocks serial; }
    location /streamed { gateway_module ${APP}; gateway_request_buffering off; }
    location /streamed/threads {
        gateway_module ${APP} blocks; gateway_threads 2; gateway_request_buffering off;
    }
    location /quick { gateway_module ${SUITE}; }
";

/// A file of the module has one state: which of its instances is asked does not matter.  One that blocks
/// needs a copy, since `blocks` is a part of it.
fn server(inside: &str) -> String {
    let copy = {
        static MADE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
        MADE.get_or_init(|| {
            let copy = waits().replace(".so", "-blocks.so");
            let fresh = format!("{copy}.{}", std::process::id());
            std::fs::copy(waits(), &fresh).expect("copy the module");
            std::fs::rename(&fresh, &copy).expect("put the module in place");
            copy
        })
    };
    format!("server {{ listen ${{IP}}:8080; {inside} }}")
        .replace("${APP} blocks", &format!("{copy} blocks"))
        .replace("${APP}", waits())
}

fn start(inside: &str) -> Nginx {
    Nginx::start(&server(inside))
}

/// Send a request, and do not wait.
fn ask(nginx: &Nginx, target: &str) -> Client {
    let mut client = connect(nginx);
    client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
    client
}

/// One of the numbers of /counts, at this prefix.
fn count(nginx: &Nginx, at: &str, name: &str) -> u64 {
    let told = get(nginx, &format!("{at}/counts")).text();
    let value = told.split(&format!("{name} ")).nth(1).and_then(|it| it.split(' ').next());
    value.and_then(|it| it.parse().ok()).unwrap_or_else(|| panic!("{name} in {told}"))
}

fn wait_for(nginx: &Nginx, at: &str, name: &str, value: u64) {
    until(&format!("{name} {value} at {at}"), || count(nginx, at, name) == value);
}

fn release(nginx: &Nginx, at: &str) {
    assert_eq!(get(nginx, &format!("{at}/release")).text(), "open\n");
}

// ---- what waits stops nobody ----

#[test]
fn an_application_that_waits_stops_nobody_else() {
    for (slow, at) in [("", ""), ("/threads", "/threads"), ("/serial", "/threads")] {
        let nginx = start(BOTH);
        let mut waiting = ask(&nginx, &format!("{slow}/wait"));
        wait_for(&nginx, at, "waiting", 1);
        let mut client = connect(&nginx);
        for _ in 0..200 {
            assert_eq!(client.get("/quick/hello").text(), "hello, world\n");
        }
        assert_eq!(count(&nginx, at, "waiting"), 1);
        release(&nginx, at);
        assert_eq!(waiting.response("GET").text(), "released\n");
        nginx.stop();
    }
}

/// One that is asked again as soon as it has said "not now", for ever.
#[test]
fn an_iterator_that_never_rests_stops_nobody_else() {
    let nginx = start(BOTH);
    let mut restless = ask(&nginx, "/chunks?n=3&size=2&after=2&spin=1");
    assert_eq!(restless.head().status, 200);
    let mut client = connect(&nginx);
    for _ in 0..200 {
        assert_eq!(client.get("/quick/hello").text(), "hello, world\n");
    }
    release(&nginx, "");
    let mut body = restless.chunk();
    while body.len() < 6 {
        body.extend(restless.chunk());
    }
    assert_eq!(body, b"aabbcc");
    nginx.stop();
}

#[test]
fn many_answers_come_from_other_threads() {
    let nginx = start(BOTH);
    let mut all: Vec<Client> = (0..200).map(|_| ask(&nginx, "/wait")).collect();
    wait_for(&nginx, "", "waiting", 200);
    release(&nginx, "");
    for client in &mut all {
        assert_eq!(client.response("GET").text(), "released\n");
        assert_eq!(client.get("/quick/hello").text(), "hello, world\n");
    }
    wait_for(&nginx, "", "dropped", 200);
    assert_eq!(count(&nginx, "", "aborted"), 0);
    nginx.stop();
}

#[test]
fn the_log_says_what_the_application_did() {
    let nginx = start(&format!("location /none {{ return 204; }} {BOTH}"));
    let mut first = ask(&nginx, "/one/wait");
    wait_for(&nginx, "/threads", "waiting", 1);
    let mut second = ask(&nginx, "/one/behind");
    let mut client = connect(&nginx);
    for _ in 0..200 {
        client.get("/quick/hello");
    }
    release(&nginx, "/threads");
    assert_eq!(first.response("GET").text(), "released\n");
    assert_eq!(second.response("GET").text(), "hello\n");
    assert_eq!(client.get("/none").status, 204);
    assert_eq!(client.get("/head?code=404").status, 404);
    // "$status $gateway_status $gateway_app_time $gateway_queue_time ..."
    let line = |what: &str| {
        let mut found = String::new();
        until(what, || {
            let log = nginx.read("access.log");
            found = log.lines().find(|it| it.contains(what)).unwrap_or_default().to_owned();
            !found.is_empty()
        });
        found.split(' ').take(4).map(str::to_owned).collect::<Vec<_>>()
    };
    let seconds = |text: &str| text.parse::<f64>().unwrap_or_else(|_| panic!("{text}"));
    let waited = line("/one/wait");
    assert_eq!(waited[..2], ["200", "200"]);
    assert!(seconds(&waited[2]) > 0.0, "{waited:?}");
    let behind = line("/one/behind");
    assert!(seconds(&behind[3]) > 0.0 && seconds(&behind[2]) >= seconds(&behind[3]), "{behind:?}");
    assert_eq!(line("/quick/hello")[3], "0.000");
    assert_eq!(line("/none"), ["204", "-", "-", "-"]);
    assert_eq!(line("/head?code=404")[..2], ["404", "404"]);
    nginx.stop();
}

// ---- how far an application may be ahead ----

/// The octets of `n` chunks of `size`, as the application makes them.
fn expected(n: usize, size: usize) -> Vec<u8> {
    (0..n).flat_map(|i| vec![b'a' + (i % 26) as u8; size]).collect()
}

#[test]
fn a_slow_reader_holds_the_application_back() {
    const N: usize = 3000;
    const SIZE: usize = 10_000;
    for at in ["", "/threads"] {
        let nginx = start(BOTH);
        let mut slow = ask(&nginx, &format!("{at}/chunks?n={N}&size={SIZE}"));
        assert_eq!(slow.head().status, 200);
        // It goes on until buffers are full, and then no further.
        let mut made = 0;
        until("it makes no more", || {
            let mut client = connect(&nginx);
            for _ in 0..100 {
                assert_eq!(client.get("/quick/hello").text(), "hello, world\n");
            }
            let before = std::mem::replace(&mut made, count(&nginx, at, "made"));
            made > 0 && made == before
        });
        assert!(made < N as u64 / 2, "{made} of {N} chunks for a client that reads nothing");
        let mut body = Vec::new();
        loop {
            let chunk = slow.chunk();
            if chunk.is_empty() {
                break;
            }
            body.extend(chunk);
        }
        assert!(body == expected(N, SIZE), "{} octets at {at}", body.len());
        assert_eq!(count(&nginx, at, "made"), N as u64);
        wait_for(&nginx, at, "open", 0);
        assert_eq!(slow.get("/quick/hello").status, 200);
        nginx.stop();
    }
}

#[test]
fn a_request_body_is_read_as_it_comes() {
    for at in ["/streamed", "/streamed/threads"] {
        let nginx = start(BOTH);
        let counts = if at == "/streamed" { "" } else { "/threads" };
        let mut client = connect(&nginx);
        client.send(format!("POST {at}/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 200\r\n\r\n"));
        // Each part is with the application before the next one is sent.
        for sent in [50, 100, 150] {
            client.send([b'x'; 50]);
            wait_for(&nginx, counts, "octets", sent);
        }
        client.send([b'x'; 50]);
        assert_eq!(client.response("POST").text(), "read 200\n");
        // In chunks, too.
        let head =
            format!("POST {at}/upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(head);
        client.send("5\r\nhello\r\n");
        wait_for(&nginx, counts, "octets", 205);
        client.send("6\r\n world\r\n0\r\n\r\n");
        assert_eq!(client.response("POST").text(), "read 11\n");
        // Where nothing is said of that, it is not called before all is there.
        let called = count(&nginx, counts, "called");
        client.send("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhell");
        let mut other = connect(&nginx);
        for _ in 0..100 {
            other.get("/quick/hello");
        }
        assert_eq!(count(&nginx, counts, "called"), called);
        client.send("o");
        assert_eq!(client.response("POST").text(), "read 5\n");
        nginx.stop();
    }
}

/// The client is not late where the application is.
#[test]
fn a_body_that_the_application_does_not_take_is_waited_for() {
    let size = 3_000_000;
    for at in ["/streamed", "/streamed/threads"] {
        let nginx = start(&format!("client_body_timeout 1500ms; {BOTH}"));
        let counts = if at == "/streamed" { "" } else { "/threads" };
        let mut client = connect(&nginx);
        client.send(format!(
            "POST {at}/upload?hold=1 HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
        ));
        // In pieces of which nginx waits for each.
        for _ in 0..30 {
            client.send([b'x'; 10_000]);
            get(&nginx, "/quick/hello");
        }
        let mut sender = client.sender();
        let sending = std::thread::spawn(move || sender.write_all(&vec![b'x'; size - 300_000]));
        wait_for(&nginx, counts, "called", 1);
        // One that began later is late before.
        let mut late = connect(&nginx);
        late.send("POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhell");
        assert_eq!(late.drain(), 0);
        release(&nginx, counts);
        assert_eq!(client.response("POST").text(), format!("read {size}\n"));
        sending.join().expect("a thread").expect("all was sent");
        nginx.stop();
    }
}

// ---- those who leave, and those who never answer ----

#[test]
fn the_application_hears_that_its_client_has_left() {
    let nginx = start(BOTH);
    // Deferred: its event, before anybody answers.
    let client = ask(&nginx, "/wait");
    wait_for(&nginx, "", "waiting", 1);
    drop(client);
    wait_for(&nginx, "", "aborted", 1);
    // On a thread: gw_environ_gone.
    let client = ask(&nginx, "/threads/wait");
    wait_for(&nginx, "/threads", "waiting", 1);
    drop(client);
    wait_for(&nginx, "/threads", "gone", 1);
    wait_for(&nginx, "/threads", "waiting", 0);
    // In the middle of an answer: close().
    for at in ["", "/threads"] {
        let mut client = ask(&nginx, &format!("{at}/chunks?n=10&after=5"));
        assert_eq!(client.head().status, 200);
        client.chunk();
        assert_eq!(count(&nginx, at, "open"), 1);
        drop(client);
        wait_for(&nginx, at, "open", 0);
    }
    // In the middle of its body.
    for (at, counts) in [("/streamed", ""), ("/streamed/threads", "/threads")] {
        let before = count(&nginx, counts, "octets");
        let mut client = connect(&nginx);
        client
            .send(format!("POST {at}/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf"));
        wait_for(&nginx, counts, "octets", before + 4);
        drop(client);
        wait_for(&nginx, counts, "open", 0);
    }
    release(&nginx, "");
    wait_for(&nginx, "", "dropped", 2);
    nginx.stop();
}

/// The application is given up before nginx answers by other means, also where it reads a body.
#[test]
fn a_request_that_goes_elsewhere_leaves_its_application() {
    let nginx = start(&format!(
        "location /over {{
            gateway_module ${{APP}}; gateway_request_buffering off;
            client_max_body_size 1000; error_page 413 = /wait;
        }}
        {BOTH}"
    ));
    let mut client = connect(&nginx);
    client.send("POST /over/upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(format!("1f4\r\n{}\r\n", "x".repeat(500)));
    wait_for(&nginx, "", "octets", 500);
    client.send(format!("1f5\r\n{}\r\n", "x".repeat(501)));
    wait_for(&nginx, "", "waiting", 1);
    wait_for(&nginx, "", "open", 0);
    release(&nginx, "");
    assert_eq!(client.response("POST").text(), "released\n");
    nginx.stop_with(|line| line.contains("client intended to send too large"));
}

#[test]
fn who_leaves_while_waiting_for_a_thread_costs_none() {
    let nginx = start(BOTH);
    let mut first = ask(&nginx, "/one/wait");
    wait_for(&nginx, "/threads", "waiting", 1);
    let second = ask(&nginx, "/one/behind");
    let mut third = ask(&nginx, "/one/last");
    get(&nginx, "/quick/hello");
    drop(second);
    until("nginx knows", || nginx.read("access.log").contains("/one/behind"));
    release(&nginx, "/threads");
    assert_eq!(first.response("GET").text(), "released\n");
    assert_eq!(third.response("GET").text(), "hello\n");
    assert_eq!(count(&nginx, "/threads", "called"), 2);
    nginx.stop();
}

#[test]
fn the_application_may_be_left_alone_with_what_it_does() {
    let nginx = start(&format!(
        "location /alone {{ gateway_module ${{APP}}; gateway_ignore_client_abort on; }} {BOTH}"
    ));
    let client = ask(&nginx, "/alone/wait");
    wait_for(&nginx, "", "waiting", 1);
    drop(client);
    // One that left later is noticed, and still this one is not.
    let other = ask(&nginx, "/wait");
    wait_for(&nginx, "", "waiting", 2);
    drop(other);
    wait_for(&nginx, "", "aborted", 1);
    release(&nginx, "");
    wait_for(&nginx, "", "dropped", 2);
    assert_eq!(count(&nginx, "", "aborted"), 1);
    let logged = || nginx.read("access.log").lines().any(|it| it.contains("/alone/wait"));
    until("it was answered", logged);
    let log = nginx.read("access.log");
    let line = log.lines().find(|it| it.contains("/alone/wait")).expect("a line");
    assert!(line.starts_with("200 200 "), "{line}");
    nginx.stop();
}

#[test]
fn an_application_that_never_answers_is_given_up() {
    let timed_out = |line: &str| line.contains("gateway application timed out");
    let nginx = start(&format!(
        "location /late {{ gateway_module ${{APP}}; gateway_read_timeout 300ms; }}
        location /late/threads {{
            gateway_module ${{APP}} blocks; gateway_threads 2; gateway_read_timeout 300ms;
        }}
        location /late/page {{
            gateway_module ${{APP}}; gateway_read_timeout 300ms; error_page 504 = /sorry;
        }}
        location = /sorry {{ gateway_module off; return 200 sorry; }}
        {BOTH}"
    ));
    for (at, heard) in [("", "aborted"), ("/threads", "gone")] {
        let mut client = ask(&nginx, &format!("/late{at}/wait"));
        assert_eq!(client.response("GET").status, 504, "{at}");
        wait_for(&nginx, at, heard, 1);
        // The connection is as good as before.
        assert_eq!(client.get("/quick/hello").text(), "hello, world\n");
        // After the head it can only be cut.
        let mut client = ask(&nginx, &format!("/late{at}/chunks?n=10&after=5"));
        assert_eq!(client.head().status, 200);
        let mut body = Vec::new();
        while body.len() < 50 {
            body.extend(client.chunk());
        }
        assert_eq!(body, expected(5, 10));
        client.end();
        wait_for(&nginx, at, "open", 0);
    }
    assert_eq!(get(&nginx, "/late/page/wait").text(), "sorry");
    release(&nginx, "");
    release(&nginx, "/threads");
    until("all is logged", || nginx.read("access.log").contains("/late/page/wait"));
    let log = nginx.read("access.log");
    assert!(
        log.lines().any(|it| it.starts_with("504 504 ") && it.contains("\"GET /late/wait")),
        "{log}"
    );
    assert!(
        log.lines().any(|it| it.starts_with("200 504 ") && it.contains("/late/page/wait")),
        "{log}"
    );
    assert!(nginx.errors().iter().any(|line| timed_out(line)));
    nginx.stop_with(timed_out);
}

/// A page of the application's into which nginx puts others, and a client of which only one is the reader's.
const PAGE: &str = "
    send_timeout 300ms;
    ssi_types text/plain;
    sub_filter_types text/plain;
    location /page {
        gateway_module ${APP}; ssi on;
        sub_filter bbbbbbbbbb '<!--# include virtual=\"/wait\" -->';
    }
    location /two {
        gateway_module off; ssi on; default_type text/plain;
        return 200 '<!--# include virtual=\"/chunks?n=3000&size=10000\" --><!--# include virtual=\"/quick/stream?n=100000&size=1&pause=20\" -->';
    }
";

#[test]
fn a_client_that_does_not_read_is_late_whichever_part_of_a_page_goes_on() {
    let timed_out = |nginx: &Nginx| {
        let mut stuck = ask(nginx, "/two");
        assert_eq!(stuck.head().status, 200);
        until("the first part has begun", || count(nginx, "", "made") > 0);
        wait_for(nginx, "", "open", 0);
        assert!(count(nginx, "", "made") < 3000);
    };
    let nginx = start(&format!("{PAGE}{BOTH}"));
    // One that reads is not late, however long a part of its page takes.
    let mut page = ask(&nginx, "/page/chunks?n=6&size=10&after=2");
    assert_eq!(page.head().status, 200);
    wait_for(&nginx, "", "waiting", 1);
    // The other part of its answer waits, too.
    let mut body = page.chunk();
    let streams = count(&nginx, "", "open");
    assert_eq!((body.as_slice(), streams), (&b"aaaaaaaaaa"[..], 1));
    let mut stuck = ask(&nginx, "/chunks?n=3000&size=10000");
    assert_eq!(stuck.head().status, 200);
    wait_for(&nginx, "", "open", 1);
    release(&nginx, "");
    loop {
        let chunk = page.chunk();
        if chunk.is_empty() {
            break;
        }
        body.extend(chunk);
    }
    let body = String::from_utf8(body).expect("text");
    assert_eq!(body, "aaaaaaaaaareleased\nccccccccccddddddddddeeeeeeeeeeffffffffff");
    wait_for(&nginx, "", "open", 0);
    nginx.stop();
    let nginx = start(&format!("{PAGE}{BOTH}"));
    timed_out(&nginx);
    nginx.stop();
}
