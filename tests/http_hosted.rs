//! Hosted mode: a foreign server without sockets (`tests/c/host.c`) feeds requests in and pulls answers
//! out, with applications on its own thread and on ours; and a foreign server with clients of its own,
//! `examples/libevent_host.c`.

mod harness;

use std::path::PathBuf;
use std::process::Command;

use harness::{Server, program, support, until};

/// A scenario of the program, with these options.
fn plays(scenario: &str, options: &[&str]) {
    let args = [&[scenario], options].concat();
    let ended = Server::launch(&program(&["tests/c/host.c"]), &args).end();
    assert_eq!(ended.status, Some(0), "{args:?}: {ended:?}");
    assert_eq!(ended.stdout, "well\n", "{args:?}");
}

/// On the host's thread, on one of ours, and on several.
fn plays_everywhere(scenario: &str, options: &[&str]) {
    plays(scenario, options);
    for threads in ["threads=1", "threads=4"] {
        plays(scenario, &[options, &[threads]].concat());
    }
}

#[test]
fn answers_come_out_as_they_were_given() {
    plays_everywhere("answers", &[]);
    plays_everywhere("answers", &["output_buffer=16k", "request_timeout=20s"]);
}

#[test]
fn an_environ_is_copied_and_completed() {
    plays("environs", &[]);
    plays("environs", &["threads=1"]);
}

#[test]
fn errors_before_the_head_are_pages_and_behind_it_cuts() {
    plays_everywhere("errors", &[]);
}

#[test]
fn bodies_are_complete_before_they_are_read() {
    plays_everywhere("bodies", &["max_body=1m", "body_buffer=64k"]);
}

#[test]
fn bodies_are_read_while_they_are_fed() {
    for threads in ["threads=1", "threads=4"] {
        plays("streams", &["request_buffering=0", "body_buffer=64k", threads]);
    }
}

#[test]
fn nobody_gets_ahead_of_what_was_released() {
    plays_everywhere("pressure", &["output_buffer=64k"]);
}

#[test]
fn an_exchange_is_freed_at_any_moment() {
    plays_everywhere("frees", &["output_buffer=64k"]);
}

#[test]
fn ten_thousand_requests() {
    plays_everywhere("many", &[]);
}

#[test]
fn who_blocks_keeps_nobody_waiting() {
    plays("beside", &["threads=2"]);
}

#[test]
fn what_takes_too_long_is_answered_or_cut() {
    let options = ["request_timeout=500ms", "stream_timeout=700ms", "output_buffer=64k"];
    plays("timeouts", &options);
    plays("timeouts", &[&options[..], &["threads=4"]].concat());
}

#[test]
fn what_was_lent_outlives_its_host() {
    let options = ["graceful_timeout=100ms", "output_buffer=64k"];
    plays("leaves", &options);
    plays("leaves", &[&options[..], &["threads=4"]].concat());
}

// ---- libevent's HTTP server ----

/// The server, and the application of `tests/c/hosted_app.h` in a module.
fn libevent(options: &[&str]) -> Server {
    let ask = Command::new("pkg-config").args(["--cflags", "--libs", "libevent"]).output();
    let found = ask.ok().filter(|found| found.status.success());
    let found = found.expect("pkg-config finds no libevent: install libevent-dev (make setup)");
    let flags = String::from_utf8(found.stdout).expect("flags are text");
    let flags: Vec<&str> = flags.split_whitespace().collect();
    let make = |source: &str, kind: &str, flags: &[&str]| -> PathBuf {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("hosted-{}-{count}.{kind}", std::process::id());
        let out = support::scratch_dir().join(name);
        support::compile_c(&support::root().join(source), &out, flags);
        out
    };
    let program = make("examples/libevent_host.c", "host", &flags);
    let module = make("tests/c/hosted_module.c", "so", &["-shared", "-fPIC"]);
    let module = module.to_str().expect("a plain path");
    Server::start(&program, &[&["{ip}", "8000", module], options].concat())
}

fn curl(args: &[&str]) -> String {
    let said = Command::new("curl").args(["-s", "-S", "--max-time", "60"]).args(args).output();
    let said = said.expect("curl is there (make setup)");
    assert!(said.status.success(), "curl {args:?}: {}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).expect("text")
}

#[test]
fn libevent_serves_with_our_applications() {
    let server = libevent(&["threads=2"]);
    let url = server.url("/");
    let twice = curl(&["-w", "[%{http_code} %{num_connects}]", &url, &url]);
    assert_eq!(twice, "hello\n[200 1]hello\n[200 0]", "one connection for both");
    assert_eq!(curl(&[&server.url("/stream?n=3&size=4")]), "aaaabbbbcccc");
    let body = "0123456789".repeat(50_000);
    let sum = body.bytes().fold(0u32, |sum, c| sum.wrapping_mul(31).wrapping_add(c.into()));
    let mut client = server.connect();
    for _ in 0..3 {
        assert_eq!(client.post("/sum", &body).text(), format!("500000 {sum}"));
        let file = client.get("/file");
        assert_eq!((file.body.len(), &file.body[29_996..]), (30_000, &b"file"[..]));
        assert_eq!(client.get("/later?ms=2").text(), "later\n");
        assert_eq!(client.get("/fail").status, 500);
        assert_eq!(client.get("/status?code=204").status, 204);
    }
    let large = client.get("/stream?n=60&size=100000&owned=1");
    assert_eq!(large.body.len(), 6_000_000);
    let environ = client.get("/environ").text();
    assert!(environ.contains("PATH_INFO=/environ\n") && environ.contains("hosted 1"), "{environ}");
    assert!(environ.contains("REMOTE_ADDR=127."), "{environ}");
    drop(client);
    server.stop();
}

#[test]
fn clients_of_libevent_that_leave_are_heard_of() {
    let server = libevent(&["threads=2", "output_buffer=64k"]);
    let count = |name: &str| -> u64 {
        let counts = server.get("/counts");
        let mut words = counts.split_whitespace().skip_while(|word| *word != name).skip(1);
        words.next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{name}: {counts}"))
    };
    for round in 0..20 {
        let mut client = server.connect();
        let calls = count("calls");
        if round % 2 == 0 {
            client.send("GET /stream?n=100000&size=50000&owned=1 HTTP/1.1\r\nHost: x\r\n\r\n");
            client.read_some(1000);
        } else {
            client.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n");
            until("the application hangs", || count("calls") > calls);
        }
        drop(client);
        until("it has heard of it", || {
            count("aborted") + count("closed") == round + 1 && count("made") == count("released")
        });
    }
    assert_eq!((count("aborted"), count("closed"), count("early")), (10, 10, 0));
    // What ends behind its head is no whole answer.
    let mut client = server.connect();
    client.send("GET /stream?n=4&size=3&fail=1 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(client.try_response("GET").is_err());
    drop(client);
    server.stop();
}
