//! The ready-made application `forward`, in front of real servers: examples of this library, and
//! listeners that do what servers should not.

mod harness;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use harness::client::{End, Framing};
use harness::{PATIENCE, SIGKILL, Server, kill, program, until};

/// In front of these.
fn forward(args: &str, options: &[&str]) -> Server {
    let app = format!("app=forward {args}");
    let first = [&*app, "bind={}", "workers=2", "errorlog=-", "loglevel=info"];
    Server::start(&program(&["tests/c/builtin.c"]), &[&first, options].concat())
}

fn example(name: &str) -> Server {
    Server::start(&program(&[&format!("examples/{name}.c")]), &[])
}

/// Answers every connection so, when a head has come, and tells what came: before it answers, so that whoever
/// has the answer can hear of it.
fn upstream(answer: &'static str) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (tell, told) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut octet = [0];
                match stream.read(&mut octet) {
                    Ok(1) => head.push(octet[0]),
                    _ => break,
                }
            }
            if tell.send(String::from_utf8_lossy(&head).into_owned()).is_err() {
                return;
            }
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (url, told)
}

/// An address at which nobody listens: no server of the tests has one that ends so.
fn nobody() -> String {
    static COUNT: AtomicU16 = AtomicU16::new(1);
    let (pid, port) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    format!("http://127.{}.{}.255:{port}", 1 + (pid >> 8) % 254, pid % 256)
}

/// One who takes connections, and says nothing.
fn silent() -> (String, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    (format!("http://{}", listener.local_addr().expect("an address")), listener)
}

fn ask(server: &Server, method: &str, target: &str, fields: &str) -> (u16, String) {
    let mut client = server.connect();
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: the.host:81\r\n{fields}\r\n"));
    let response = client.response(method);
    (response.status, response.text())
}

#[test]
fn a_request_goes_on_and_its_answer_comes_back() {
    let environ = example("environ");
    let to = format!("to={}", environ.url("/base/"));
    let server = forward(&to, &["forwarded_allow_ips=none"]);
    let fields = "X-Own: 1\r\nX-Own: 2\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n\
                  Forwarded: for=evil\r\nTE: trailers\r\nKeep-Alive: 3\r\nConnection: X-Hop, close\r\n\
                  X-Hop: gone\r\nX-Forwarded-Prefix: /evil\r\n";
    let (status, told) = ask(&server, "GET", "/a%2Fb/%C3%A4?q=%20", fields);
    assert_eq!(status, 200);
    for line in [
        "REQUEST_METHOD = 'GET'",
        "PATH_INFO = '/base/a/b/Ã¤'",
        "QUERY_STRING = 'q=%20'",
        "HTTP_HOST = 'the.host:81'",
        "HTTP_X_OWN = '1,2'",
        "HTTP_X_FORWARDED_FOR = '127.0.0.1'",
        "HTTP_X_FORWARDED_PROTO = 'http'",
        "HTTP_X_FORWARDED_HOST = 'the.host:81'",
        "HTTP_FORWARDED = 'for=127.0.0.1;proto=http;host=\"the.host:81\"'",
    ] {
        assert!(told.lines().any(|it| it == line), "{line} is not in\n{told}");
    }
    // Nothing else: neither what is hop-by-hop, nor what a client library says of itself.
    for name in ["TE ", "KEEP_ALIVE", "X_HOP", "PREFIX", "USER_AGENT", "ACCEPT", "CONTENT_LENGTH"] {
        let said = told.lines().any(|it| it.starts_with(&format!("HTTP_{name}")));
        assert!(!said, "HTTP_{name} is in\n{told}");
    }
    server.stop();

    // Whoever is believed is added to, and the host is the upstream's.
    let server = forward(&format!("{to} host=upstream"), &["forwarded_allow_ips=*"]);
    let (_, told) = ask(&server, "GET", "/", "X-Forwarded-For: 1.2.3.4\r\nForwarded: for=x\r\n");
    for line in [
        format!("HTTP_HOST = '{}'", environ.address()),
        "HTTP_X_FORWARDED_FOR = '1.2.3.4, 127.0.0.1'".into(),
        "HTTP_FORWARDED = 'for=x, for=127.0.0.1;proto=http;host=\"the.host:81\"'".into(),
    ] {
        assert!(told.lines().any(|it| it == line), "{line} is not in\n{told}");
    }
    server.stop();
    environ.stop();
}

#[test]
fn an_answer_keeps_what_is_its() {
    let (url, told) = upstream(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 404 Nothing Here\r\nSet-Cookie: a=1\r\n\
         Set-Cookie: b=2\r\nConnection: close, X-Hop\r\nX-Hop: gone\r\nKeep-Alive: 3\r\n\
         Content-Length: 5\r\nETag: \"x\"\r\nContent-Encoding: gzip\r\n\r\n12345",
    );
    let server = forward(&format!("to={url}"), &[]);
    for method in ["GET", "HEAD", "DELETE", "PROPFIND"] {
        let mut client = server.connect();
        // What many a server takes for X-Forwarded-For does not go on.
        client.send(format!("{method} /x HTTP/1.1\r\nHost: h\r\nX_Forwarded_For: 9.9.9.9\r\n\r\n"));
        let response = client.response(method);
        assert_eq!(response.status, 404, "{response:?}");
        let cookies = response.headers.iter().filter(|it| it.0.eq_ignore_ascii_case("set-cookie"));
        let cookies: Vec<_> = cookies.map(|it| it.1.clone()).collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
        assert_eq!(response.header("content-length"), Some("5"));
        assert_eq!(response.header("content-encoding"), Some("gzip"));
        assert_eq!((response.header("x-hop"), response.header("keep-alive")), (None, None));
        assert!(response.keeps_alive(), "{response:?}");
        assert_eq!(response.text(), if method == "HEAD" { "" } else { "12345" });
        let head = told.recv().expect("a head");
        assert!(head.starts_with(&format!("{method} /x HTTP/1.1\r\n")), "{head}");
        assert!(!head.contains("9.9.9.9"), "{head}");
    }
    server.stop();
}

/// What middleware around it says counts, and not what the client sent.
#[test]
fn an_environ_of_middleware_goes_on() {
    let (url, told) = upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let server = forward(&format!("to={url}"), &["use=request_id accept=none"]);
    let mut client = server.connect();
    client.send(
        "GET / HTTP/1.1\r\nHost: h\r\nX-Request-ID: forged\r\nConnection: X-Request-ID\r\n\r\n",
    );
    let response = client.response("GET");
    let id = response.header("x-request-id").expect("it is named").to_owned();
    let head = told.recv().expect("a head").to_ascii_lowercase();
    let lines: Vec<_> = head.lines().filter(|it| it.starts_with("x-request-id:")).collect();
    assert_eq!(lines, [format!("x-request-id: {id}").to_ascii_lowercase()], "{head}");
    assert_ne!(id, "forged");
    server.stop();
}

#[test]
fn bodies_stream_both_ways() {
    let (echo, stream) = (example("echo"), example("stream"));
    for options in [&[][..], &["request_buffering=off"]] {
        let server = forward(&format!("to={}", echo.url("")), options);
        let body: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
        let mut client = server.connect();
        client
            .send(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len()));
        let response = client.exchange(&body, "POST");
        assert!(response.body == body, "{options:?}");
        let mut client = server.connect();
        client.send("PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
        assert_eq!(client.response("PUT").text(), "abcde", "{options:?}");
        assert_eq!(server.connect().post("/", b"").status, 200);
        server.stop();
    }
    // What has come is passed on before the rest is there.
    let server = forward(&format!("to={}", stream.url("")), &[]);
    let mut client = server.connect();
    client.send("GET /?from=10 HTTP/1.1\r\nHost: h\r\n\r\n");
    let response = client.response("GET");
    assert_eq!(response.framing, Framing::Chunked);
    assert!(response.text().ends_with("\n1\nlift-off\n"));
    server.stop();
    [echo, stream].into_iter().for_each(|it| drop(it.stop()));

    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let to = format!("to=http://{}", listener.local_addr().expect("an address"));
    let server = forward(&to, &["request_buffering=off"]);
    let mut client = server.connect();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc");
    let (mut end, _) = listener.accept().expect("a connection");
    until_has(&mut end, "abc");
    client.send("def");
    until_has(&mut end, "def");
    end.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nABC").expect("write");
    assert_eq!(client.head().status, 200);
    assert_eq!(client.at_least(3), Ok(()));
    end.write_all(b"DEF").expect("write");
    assert_eq!(client.at_least(6), Ok(()));
    drop(client);
    server.stop();
}

/// Reads until this has come.
fn until_has(from: &mut TcpStream, end: &str) {
    from.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let mut got = Vec::new();
    while !got.ends_with(end.as_bytes()) {
        let mut octet = [0];
        from.read_exact(&mut octet).expect("an octet");
        got.push(octet[0]);
    }
}

#[test]
fn each_has_its_turn() {
    let (a, heard_a) = upstream("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na");
    let (b, heard_b) = upstream("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb");
    let server = forward(&format!("to={a},{b}"), &["workers=1"]);
    let told: String = (0..6).map(|_| ask(&server, "GET", "/", "").1).collect();
    assert!(["ababab", "bababa"].contains(&&*told), "{told}");
    assert_eq!((heard_a.try_iter().count(), heard_b.try_iter().count()), (3, 3));
    server.stop();
}

#[test]
fn who_is_not_there_rests() {
    let (a, _heard) = upstream("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na");
    let gone = nobody();
    let server = forward(&format!("to={gone},{a} rest=1h"), &["workers=1"]);
    // Also what must not be done twice: it was not sent.
    for _ in 0..3 {
        assert_eq!(ask(&server, "POST", "/", "Content-Length: 0\r\n"), (200, "a".into()));
    }
    let ended = server.stop();
    // Asked once.
    assert_eq!(ended.stderr.matches(&*format!("forward: {gone}: ")).count(), 1, "{ended:?}");

    // Where there is nobody else, it is asked all the same.
    let server = forward(&format!("to={gone},{} rest=1h", nobody()), &["workers=1"]);
    for _ in 0..2 {
        assert_eq!(ask(&server, "GET", "/", ""), (502, "no upstream answers\n".into()));
    }
    let ended = server.stop();
    assert_eq!(ended.stderr.matches("forward: http://").count(), 4, "{ended:?}");
}

#[test]
fn what_may_be_done_twice_is() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
    for (method, fields, expected) in [
        ("GET", "", 200),
        ("DELETE", "", 200),
        ("POST", "Content-Length: 0\r\n", 502),
        ("PATCH", "", 502),
    ] {
        // It hangs up without a word.
        let (rude, heard) = upstream("");
        let (a, _heard) = upstream(answer);
        let server = forward(&format!("to={rude},{a}"), &["workers=1"]);
        assert_eq!(ask(&server, method, "/", fields).0, expected, "{method}");
        assert_eq!(heard.recv().map(|it| it.starts_with(method)), Ok(true));
        server.stop();
    }
}

#[test]
fn who_says_nothing_is_a_504() {
    let (url, _listener) = silent();
    let server = forward(&format!("to={url} timeout=2s"), &[]);
    assert_eq!(ask(&server, "GET", "/", ""), (504, "no answer in time\n".into()));
    server.stop();

    // In the middle of a body it is a cut.
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let to = format!("to=http://{} timeout=2s", listener.local_addr().expect("an address"));
    let server = forward(&to, &[]);
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let (mut end, _) = listener.accept().expect("a connection");
    end.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").expect("write");
    assert_eq!(client.head().status, 200);
    assert_eq!(client.at_least(3), Ok(()));
    assert!(client.at_least(4).is_err());
    let ended = server.stop();
    assert!(ended.stderr.contains("forward: the answer broke off"), "{ended:?}");
    drop(end);
}

/// Another answers the next; what had begun is visibly cut.
#[test]
fn one_is_killed_in_the_middle() {
    let doomed = example("stream");
    let (a, _heard) = upstream("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na");
    let server = forward(&format!("to={},{a}", doomed.url("")), &["workers=1"]);
    let mut client = server.connect();
    client.send("GET /?from=100000000 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.head().status, 200);
    assert!(!client.chunk().is_empty());
    kill(doomed.pid(), SIGKILL);
    for pid in doomed.workers() {
        kill(pid, SIGKILL);
    }
    until("it listens no more", || TcpStream::connect(doomed.address()).is_err());
    client.drain();
    assert!(matches!(client.end(), End::Closed | End::Reset));
    for _ in 0..4 {
        assert_eq!(ask(&server, "GET", "/", ""), (200, "a".into()));
    }
    let ended = server.stop();
    assert!(ended.stderr.contains("forward: the answer broke off"), "{ended:?}");
}

#[test]
fn what_cannot_be_forwarded_is_said() {
    let (a, heard) = upstream("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na");
    let server = forward(&format!("to={a}"), &[]);
    assert_eq!(ask(&server, "OPTIONS", "*", "").0, 400);
    // What looks like another host is a path.
    assert_eq!(ask(&server, "GET", "//evil.org/@x", "").0, 200);
    assert!(heard.recv().expect("a head").starts_with("GET //evil.org/@x HTTP/1.1\r\n"));
    assert_eq!(ask(&server, "GET", "http://evil.org/y", "").0, 200);
    assert!(heard.recv().expect("a head").starts_with("GET /y HTTP/1.1\r\n"));
    server.stop();
}
