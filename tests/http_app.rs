//! The calling convention, seen through a socket: start_response, write, next, close, environ.

mod harness;

use harness::client::{End, Framing};
use harness::{Server, scaled};

#[test]
fn the_head_waits_for_the_first_octet() {
    let server = Server::app(&[]);
    let mut client = server.connect();
    // Empty chunks do not commit it: a failure after them is still a clean 500.
    let response = client.get("/failing?n=0&empty=5");
    assert_eq!((response.status, response.framing), (500, Framing::Length));
    assert_eq!(client.get("/chunks?n=2&size=3&empty=5").text(), "aaabbb");
    assert_eq!(server.count("opened"), 2);
    assert_eq!(server.count("closed"), 2);
    server.stop();
}

#[test]
fn a_failure_after_the_head_cuts_the_response() {
    let server = Server::app(&[]);
    let mut client = server.connect();
    client.send("GET /failing?n=3 HTTP/1.1\r\nHost: x\r\n\r\n");
    let problem = client.try_response("GET").expect_err("the response looks whole");
    assert!(problem.contains("ended") || problem.contains("reset"), "{problem}");
    server.wait_for_count("closed", 1);

    // Where only the end of the connection ends the body, the end must be a reset.
    let mut client = server.connect();
    client.send("GET /failing?n=3 HTTP/1.0\r\n\r\n");
    let problem = client.try_response("GET").expect_err("the response looks whole");
    assert!(problem.contains("reset"), "{problem}");
    server.stop();
}

#[test]
fn a_length_is_never_exceeded_and_a_shortfall_shows() {
    let server = Server::app(&[]);
    let mut client = server.connect();
    let response = client.get("/claim?claim=25&n=3&size=10");
    assert_eq!(response.text(), "aaaaaaaaaabbbbbbbbbbccccc");
    assert_eq!(client.get("/query?intact").text(), "intact");

    client.send(
        "GET /claim?claim=35&n=3&size=10 HTTP/1.1\r\nHost: x\r\n\r\n\
         GET /query?never HTTP/1.1\r\nHost: x\r\n\r\n",
    );
    let problem = client.try_response("GET").expect_err("the response looks whole");
    assert!(problem.contains("30 octets of 35") || problem.contains("reset"), "{problem}");
    server.wait_for_count("closed", 2);
    let ended = server.stop();
    assert!(ended.stderr.contains("35"), "no word of the shortfall: {ended:?}");
}

#[test]
fn close_comes_once_in_every_ending() {
    let server = Server::app(&[]);
    let mut opened = 0;
    for target in ["/chunks?n=3", "/chunks?n=0", "/claim?claim=5&n=3", "/claim?claim=0&n=3"] {
        for method in ["GET", "HEAD"] {
            let mut client = server.connect();
            client.send(format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
            client.response(method);
            opened += 1;
            server.wait_for_count("closed", opened);
        }
    }
    for target in ["/failing?n=3", "/failing?n=0", "/claim?claim=50&n=3"] {
        let mut client = server.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        let _ = client.try_response("GET");
        opened += 1;
        server.wait_for_count("closed", opened);
    }
    // The client leaves in the middle; and before it has read anything.
    for read in [100_000, 0] {
        let mut client = server.connect();
        client.send("GET /claim?claim=1000000000&n=-1&size=1000 HTTP/1.1\r\nHost: x\r\n\r\n");
        if read > 0 {
            client.read_some(read);
        }
        drop(client);
        opened += 1;
        server.wait_for_count("closed", opened);
    }
    assert_eq!(server.count("opened"), opened);
    server.stop();
}

#[test]
fn chunks_are_released() {
    let server = Server::app(&[]);
    assert_eq!(server.get("/"), "hello, world\n");
    server.wait_for_count("released", 1);
    assert_eq!(server.get("/writing"), "one,two,three");
    server.wait_for_count("released", 3);
    // Also those that nobody sends.
    assert_eq!(server.connect().get("/no-head").status, 500);
    server.wait_for_count("released", 4);
    server.stop();
}

#[test]
fn what_is_written_leaves_first() {
    let server = Server::app(&[]);
    let mut client = server.connect();
    let response = client.get("/writing");
    assert_eq!((response.text().as_str(), response.framing), ("one,two,three", Framing::Chunked));
    client.send("HEAD /writing HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.response("HEAD").status, 200);
    client.send("GET /writing HTTP/1.0\r\n\r\n");
    assert_eq!(client.response("GET").text(), "one,two,three");
    assert_eq!(client.end(), End::Closed);
    server.stop();
}

#[test]
fn a_second_head_needs_replace() {
    let server = Server::app(&[]);
    let mut client = server.connect();
    let response = client.get("/twice");
    assert_eq!((response.status, response.text().as_str()), (200, "GW_ERR_STATE"));
    let response = client.get("/twice?replace=1");
    assert_eq!((response.status, response.text().as_str()), (404, "GW_OK"));
    let response = client.get("/too-late");
    assert_eq!((response.status, response.text().as_str()), (200, "written, GW_ERR_STATE"));
    server.stop();
}

#[test]
fn wrong_heads_are_refused_and_never_sent() {
    let server = Server::app(&[]);
    let mut client = server.connect();
    let mut which = 0;
    loop {
        let response = client.get(&format!("/refused?which={which}"));
        assert_eq!(response.header("x-injected"), None);
        if response.text() == "no more" {
            break;
        }
        assert_eq!((response.status, &*response.text()), (200, "GW_ERR_PROTOCOL"), "{which}");
        // The application gives up: a clean 500 that does not show the value.
        let response = client.get(&format!("/refused?which={which}&return=1"));
        assert_eq!(response.status, 500, "{which}");
        assert!(!response.text().contains("Injected"), "{response:?}");
        which += 1;
    }
    assert!(which > 10);
    for code in [0, 99, 1000, 65_535] {
        let response = client.get(&format!("/status?code={code}"));
        assert_eq!((response.status, &*response.text()), (200, "GW_ERR_PROTOCOL"), "{code}");
    }
    server.stop();
}

#[test]
fn early_hints_come_before_the_head() {
    let server = Server::app(&[]);
    let mut client = server.connect();
    client.send("GET /early HTTP/1.1\r\nHost: x\r\n\r\n");
    let hints = client.response("GET");
    assert_eq!((hints.status, hints.header("link")), (103, Some("</style.css>; rel=preload")));
    assert_eq!(client.response("GET").text(), "after the hints\n");
    assert_eq!(client.get("/query?next").text(), "next");

    client.send("GET /early HTTP/1.0\r\n\r\n");
    let response = client.response("GET");
    assert_eq!((response.status, response.text().as_str()), (200, "after the hints\n"));
    server.stop();
}

#[test]
fn failures_of_the_application_are_clean_500s() {
    let server = Server::app(&[]);
    let mut client = server.connect();
    for target in ["/fail", "/no-head"] {
        let response = client.get(target);
        assert_eq!((response.status, response.framing), (500, Framing::Length), "{target}");
        assert!(!response.text().contains("on purpose"), "{response:?}");
    }
    assert_eq!(server.get("/query?alive"), "alive");
    let ended = server.stop();
    assert!(ended.stderr.contains("the application fails on purpose"), "{ended:?}");
}

#[test]
fn variables_are_what_cgi_says() {
    let server = Server::app(&[]);
    let (host, port) = server.address().split_once(':').expect("host:port");
    let ask = |target: &str, name: &str, headers: &str| {
        let mut client = server.connect();
        let joint = if target.contains('?') { '&' } else { '?' };
        client.send(format!("GET {target}{joint}name={name} HTTP/1.1\r\nHost: h\r\n{headers}\r\n"));
        client.response("GET").text()
    };
    for (name, value) in [
        ("REQUEST_METHOD", "GET"),
        ("SCRIPT_NAME", ""),
        ("PATH_INFO", "/variable"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_NAME", host),
        ("SERVER_PORT", port),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("HTTP_HOST", "h"),
        ("wsgi.url_scheme", "http"),
        ("QUERY_STRING", "name=QUERY_STRING"),
        ("REQUEST_URI", "/variable?name=REQUEST_URI"),
        ("CONTENT_TYPE", "GW_ERR_NOT_FOUND"),
        ("CONTENT_LENGTH", "GW_ERR_NOT_FOUND"),
        ("HTTP_NOTHING", "GW_ERR_NOT_FOUND"),
        ("wsgi.multithread", "GW_ERR_NOT_FOUND"),
        ("PATH", "GW_ERR_NOT_FOUND"),
    ] {
        assert_eq!(ask("/variable", name, ""), value, "{name}");
    }
    assert_eq!(ask("/v%61riable", "PATH_INFO", ""), "/variable");
    assert_eq!(ask("/v%61riable", "REQUEST_URI", ""), "/v%61riable?name=REQUEST_URI");
    assert_eq!(ask("/variable?a=%41%2B+", "QUERY_STRING", ""), "a=%41%2B+&name=QUERY_STRING");
    let cases = [
        ("HTTP_X_A", "X-A: 1\r\nx-a: 2\r\n", "1,2"),
        ("HTTP_COOKIE", "Cookie: a=1\r\nCookie: b=2\r\n", "a=1; b=2"),
        ("HTTP_X_A", "X_A: forged\r\n", "GW_ERR_NOT_FOUND"),
        ("HTTP_X_A", "X_A: forged\r\nX-A: true\r\n", "true"),
        ("HTTP_X_A", "X-A:  \t spaces \t \r\n", "spaces"),
        ("HTTP_X_A", "X-A:\r\n", ""),
        ("CONTENT_TYPE", "Content-Type: a/b\r\n", "a/b"),
        ("CONTENT_LENGTH", "Content-Length: 0\r\n", "0"),
        ("HTTP_CONTENT_TYPE", "Content-Type: a/b\r\n", "GW_ERR_NOT_FOUND"),
        ("HTTP_CONTENT_LENGTH", "Content-Length: 0\r\n", "GW_ERR_NOT_FOUND"),
        ("HTTP_X_UTF", "X-UTF: \u{e4}\r\n", "\u{e4}"),
    ];
    for (name, headers, value) in cases {
        assert_eq!(ask("/variable", name, headers), value, "{name} of {headers:?}");
    }
    server.stop();
}

#[test]
fn values_live_as_long_as_the_request() {
    let server = Server::app(&[]);
    let error = -8; // GW_ERR_NOT_FOUND
    for n in 1..=3 {
        assert_eq!(server.get("/values"), format!("first second ada {error} none"));
        server.wait_for_count("dropped", 2 * n);
    }
    assert_eq!(server.count("hung"), 6);
    server.stop();
}

#[test]
fn no_octet_is_lost_under_many_connections() {
    let server = Server::app(&[]);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.connect();
                for i in 0..scaled(300) {
                    let size = (i * 997 + thread) % 5000 + 1;
                    let body = client.get(&format!("/chunks?n=7&size={size}")).body;
                    assert_eq!(body.len(), 7 * size);
                    assert!(body.chunks(size).zip(b'a'..).all(|(c, x)| c.iter().all(|o| *o == x)));
                }
            });
        }
    });
    assert_eq!(server.count("opened"), server.count("closed"));
    server.stop();
}
