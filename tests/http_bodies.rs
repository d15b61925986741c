//! Request bodies: with a length, in chunks, spooled, streamed, expected, refused.

mod harness;

use harness::client::End;
use harness::{Server, scaled, until};

/// Body octets that show where they belong, and what `/sum` says of them.
fn body(n: usize) -> (Vec<u8>, String) {
    let body: Vec<u8> = (0..n).map(|i| (i * 7 % 251) as u8).collect();
    let sum: u64 = body.iter().map(|octet| u64::from(*octet)).sum();
    (body, format!("{n} octets, sum {sum}, then 2\n"))
}

fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut octets = Vec::new();
    for chunk in body.chunks(size) {
        octets.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        octets.extend(chunk);
        octets.extend(b"\r\n");
    }
    octets.extend(b"0\r\n\r\n");
    octets
}

#[test]
fn bodies_arrive_whole() {
    let server = Server::app(&["body_buffer=4k"]);
    let mut client = server.connect();
    // In the read buffer, in memory, at the limit of memory, in a file.
    for n in [0, 1, 100, 4095, 4096, 4097, 70_000, scaled(3_000_000)] {
        let (octets, sum) = body(n);
        assert_eq!(client.post("/sum", &octets).text(), sum);
        assert_eq!(client.post("/sum?cap=100", &octets).text(), sum);
        for size in [1000, 17, 100_000] {
            client.send("POST /sum HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
            client.send(chunked(&octets, size));
            assert_eq!(client.response("POST").text(), sum, "in chunks of {size}");
        }
    }
    server.stop();
}

/// Streamed, an application on the loop is called before its body is there: what has come with the
/// head can be read, and waiting is refused by name.
#[test]
fn a_streamed_body_never_blocks_the_loop() {
    let server = Server::app(&["request_buffering=0"]);
    let mut client = server.connect();
    client.send("POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(client.response("POST").text(), "4 octets, sum 430, then 2\n");
    client.send("POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf");
    assert_eq!(client.response("POST").status, 500);
    drop(client);
    let ended = server.stop();
    assert!(ended.stderr.contains("block"), "{ended:?}");
}

/// An application that may block is called before its body is there, and waits for it.
#[test]
fn a_streamed_body_is_waited_for() {
    let server = Server::app(&["request_buffering=0", "blocking=1"]);
    let mut client = server.connect();
    for n in [0, 1, 100, 70_000, scaled(3_000_000)] {
        let (octets, sum) = body(n);
        assert_eq!(client.post("/sum", &octets).text(), sum);
        client.send("POST /sum HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(chunked(&octets, 1000));
        assert_eq!(client.response("POST").text(), sum, "chunked");
    }

    // Read and written piece by piece: the client may send more when it has seen what came back.
    client.send("POST /relay HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n");
    client.send("Transfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.response("POST").status, 100);
    client.send("4\r\nfour\r\n");
    assert_eq!(client.head().header("transfer-encoding"), Some("chunked"));
    assert_eq!(client.chunk(), b"four");
    client.send("3\r\nsix\r\n0\r\n\r\n");
    assert_eq!(client.chunk(), b"six");
    assert_eq!(client.chunk(), b"");
    assert_eq!(client.get("/query?next").text(), "next");

    // Cut in the middle: the application sees an error, not an end.
    let mut client = server.connect();
    client.send("POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf");
    client.finish();
    if let Ok(response) = client.try_response("POST") {
        assert_eq!(response.status / 100, 5, "{response:?}");
    }
    server.stop();
}

/// write() waits for a client that reads slowly, where the application may block.
#[test]
fn what_is_relayed_waits_for_the_client() {
    let server = Server::app(&["request_buffering=0", "blocking=1"]);
    let (octets, _) = body(scaled(16 << 20));
    let mut client = server.connect();
    let n = octets.len();
    client.send(format!("POST /relay HTTP/1.1\r\nHost: x\r\nContent-Length: {n}\r\n\r\n"));
    let response = client.exchange(&octets, "POST");
    assert!(response.body == octets, "{} octets of {n}, or other ones", response.body.len());
    server.stop();
}

#[test]
fn a_body_is_read_in_lines() {
    let server = Server::app(&[]);
    let mut client = server.connect();
    let response = client.post("/lines", "one\ntwo\n\na line longer than the buffer\nend");
    assert_eq!(response.text(), "[one\n][two\n][\n][a line longer th][an the buffer\n][end]");
    assert_eq!(client.post("/lines", "").text(), "");
    server.stop();
}

#[test]
fn a_body_never_runs_into_the_next_request() {
    let server = Server::app(&[]);
    let mut client = server.connect();
    client.send(
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12345\
         POST /one HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabcde\
         POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\n\r\n\
         GET /query?after HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    assert_eq!(client.response("POST").text(), "12345");
    assert_eq!(client.response("POST").text(), "a\n");
    assert_eq!(client.response("POST").text(), "xy");
    assert_eq!(client.response("GET").text(), "after");
    server.stop();
}

#[test]
fn trailers_are_read_and_may_be_wrong() {
    let server = Server::app(&[]);
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = server.connect();
    client.send(format!("{head}3\r\nabc\r\n0\r\nX-One: 1\r\nX-Two: 2\r\n\r\n"));
    assert_eq!(client.response("POST").text(), "abc");
    for wrong in ["Content-Length: 3\r\n\r\n", "X-One : 1\r\n\r\n", "no colon\r\n\r\n", "X: 1\n\n"]
    {
        let mut client = server.connect();
        client.send(format!("{head}3\r\nabc\r\n0\r\n{wrong}"));
        assert_eq!(client.response("POST").status, 400, "{wrong:?}");
        client.end();
    }
    server.stop();
}

#[test]
fn continue_is_said_when_the_body_is_wanted() {
    let server = Server::app(&["request_buffering=0"]);
    let mut client = server.connect();
    let head = "HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";

    // The application reads: first 100, then the answer.
    client.send(format!("POST /one {head}"));
    let interim = client.response("POST");
    assert_eq!((interim.status, interim.reason.as_str()), (100, "Continue"));
    drop(client);

    // It does not read: no 100, and the answer at once.
    let mut client = server.connect();
    client.send(format!("POST / {head}"));
    let response = client.response("POST");
    assert_eq!((response.status, response.text().as_str()), (200, "hello, world\n"));
    server.stop();
}

#[test]
fn continue_comes_with_buffered_bodies_too() {
    let server = Server::app(&[]);
    let mut client = server.connect();
    client.send(
        "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-Continue\r\nContent-Length: 4\r\n\r\n",
    );
    assert_eq!(client.response("POST").status, 100);
    client.send("body");
    assert_eq!(client.response("POST").text(), "body");

    // The body is there already: 100 may be left out, the answer may not.
    client.send(
        "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\nnow!",
    );
    let mut response = client.response("POST");
    if response.status == 100 {
        response = client.response("POST");
    }
    assert_eq!(response.text(), "now!");

    // HTTP/1.0 knows no 100.
    client.send("POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nold");
    assert_eq!(client.response("POST").text(), "old");
    assert_eq!(client.end(), End::Closed);
    server.stop();
}

#[test]
fn other_expectations_are_refused() {
    let server = Server::app(&[]);
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: x\r\nExpect: a-miracle\r\n\r\n");
    assert_eq!(client.response("GET").status, 417);
    server.stop();
}

#[test]
fn a_body_too_large_is_refused() {
    let server = Server::app(&["max_body=1000"]);
    let (octets, sum) = body(1000);
    let mut client = server.connect();
    assert_eq!(client.post("/sum", &octets).text(), sum);

    // Declared: before a single octet of it.
    client.send("POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n");
    assert_eq!(client.response("POST").status, 413);
    client.end();

    // In chunks: at the octet.
    let mut client = server.connect();
    client.send("POST /sum HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(chunked(&octets, 100));
    assert_eq!(client.response("POST").text(), sum);
    client.send("POST /sum HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(chunked(&body(1001).0, 100));
    assert_eq!(client.response("POST").status, 413);
    client.end();

    // 413 also reaches a client that is told to wait.
    let mut client = server.connect();
    client
        .send("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9999\r\n\r\n");
    assert_eq!(client.response("POST").status, 413);
    server.stop();
}

#[test]
fn a_body_that_stops_coming_times_out() {
    let server = Server::app(&["body_timeout=1s"]);
    let mut client = server.connect();
    client.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf!");
    assert_eq!(client.response("POST").status, 408);
    client.end();
    server.stop();
}

#[test]
fn a_spooled_body_leaves_no_file() {
    let dir = harness::support::scratch_dir().join(format!("spool-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("create a directory");
    let server = Server::app(&["body_buffer=1k", &format!("spool_dir={}", dir.display())]);
    let (octets, sum) = body(100_000);
    let mut client = server.connect();
    client.send("POST /sum HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
    client.send(&octets[..50_000]);
    let fds = || {
        let fds = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("its descriptors");
        let links = fds.filter_map(|fd| std::fs::read_link(fd.expect("a descriptor").path()).ok());
        links.filter(|link| link.starts_with(&dir)).count()
    };
    // In valgrind the descriptors are the same process's, too.
    until("the body goes to a file", || fds() > 0);
    assert_eq!(std::fs::read_dir(&dir).expect("the directory").count(), 0, "a name is visible");
    client.send(&octets[50_000..]);
    assert_eq!(client.response("POST").text(), sum);
    assert_eq!(client.get("/query?x").text(), "x");
    assert_eq!(fds(), 0, "the file stays open");
    server.stop();
    std::fs::remove_dir(&dir).expect("the directory is empty");
}

/// Large: larger than what is kept in memory, and than any socket buffer.
#[test]
fn a_large_upload_is_the_same_at_the_other_end() {
    let server = Server::app(&["max_body=64m"]);
    let (octets, sum) = body(scaled(32 << 20));
    assert_eq!(server.connect().post("/sum", &octets).text(), sum);
    server.stop();
}
