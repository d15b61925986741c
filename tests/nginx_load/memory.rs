//! nginx in one process under valgrind: every kind of answer and of end, and nothing is lost or misused.

use std::time::Duration;

use crate::harness::client::Client;
use crate::harness::nginx::Nginx;
use crate::harness::until;
use crate::{Gate, PORT, app, count};

/// What a client asks for and gets, in each of three ways to run.
const ANSWERS: [(&str, u16, usize); 14] = [
    ("/hello", 200, 13),
    ("/empty", 200, 0),
    ("/write", 200, 14),
    ("/file?size=100000&offset=10", 200, 100_000),
    ("/stream?n=40&size=5000", 200, 200_000),
    ("/stream?n=5&size=100&length=1", 200, 500),
    ("/stream?n=3&size=10&pause=2", 200, 30),
    ("/defer", 200, 6),
    ("/headers", 200, 8),
    ("/many?n=80&size=100", 200, 5),
    ("/cached", 200, 7),
    ("/status?code=204", 204, 0),
    ("/status?code=404", 404, 7),
    ("/hints", 200, 16),
];

fn everything(address: &str, gate: &Gate) {
    for place in ["/loop", "/threads", "/streamed"] {
        let mut client = Client::connect(address);
        for (target, status, length) in ANSWERS {
            for method in ["GET", "HEAD"] {
                client.send(format!("{method} {place}{target} HTTP/1.1\r\nHost: x\r\n\r\n"));
                let response = client.response(method);
                assert_eq!(response.status, status, "{place}{target}");
                let length = if method == "GET" { length } else { 0 };
                assert_eq!(response.body.len(), length, "{place}{target}");
            }
        }
        // In memory, in a file, and of no known length.
        for length in [0, 100, 40_000] {
            let body = "b".repeat(length);
            let tell = format!("{place}/tell");
            assert!(client.post(&tell, &body).text().contains(&format!("body: {length} ")));
            assert_eq!(client.post(&format!("{place}/echo"), &body).body.len(), length);
            let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
            let chunked = if length == 0 { "0\r\n\r\n" } else { &chunked };
            let head = format!("POST {place}/relay HTTP/1.1\r\nHost: x\r\n");
            client.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunked}"));
            assert_eq!(client.response("POST").body.len(), length);
        }
        // An error before the head is nginx's to show where it is told to, and else the library's.
        let get = |target: &str| Client::connect(address).get(&format!("{place}{target}"));
        assert_eq!(get("/fail").status, 500);
        assert!(get("/page/fail").text().starts_with("first "));
        assert_eq!(get("/page/status?code=503").status, 503);
        client.send(format!("GET {place}/fails-late?n=2&size=9 HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(client.try_response("GET").is_err());
        leave(address, place);
    }
    parts(address, gate);
}

/// In the head, the body, before the answer, and in it.
fn leave(address: &str, place: &str) {
    for (text, at_least) in [
        (format!("GET {place}/hello HTTP/1.1\r\nHo"), 0),
        (format!("POST {place}/tell HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\nb"), 0),
        (format!("POST {place}/relay HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\nb"), 0),
        (format!("GET {place}/defer HTTP/1.1\r\nHost: x\r\n\r\n"), 0),
        (format!("GET {place}/stream?n=900&size=5000 HTTP/1.1\r\nHost: x\r\n\r\n"), 9000),
        (format!("GET {place}/stream?n=99&size=9&pause=20 HTTP/1.1\r\nHost: x\r\n\r\n"), 1),
        (format!("GET {place}/file?size=4000000 HTTP/1.1\r\nHost: x\r\n\r\n"), 9000),
    ] {
        let mut client = Client::connect(address);
        client.send(text);
        client.at_least(at_least).expect("a part of the answer");
    }
}

/// Requests within a page, those that break, and those that end with the server.
fn parts(address: &str, gate: &Gate) {
    let page = "/ssi/say?text=%3c!--%23+include+virtual=%22/flow?id=a%26n=30%26size=9000%22+--%3e\
        %3c!--%23+include+virtual=%22/blocks/flow?id=b%26n=30%26size=9000%22+--%3e";
    let mut client = Client::connect(address);
    assert_eq!(client.get(page).body.len(), 2 * 30 * 9000);
    client.send(format!("GET {page} HTTP/1.1\r\nHost: x\r\n\r\n"));
    client.slow_down(Duration::from_millis(5));
    assert_eq!(client.response("GET").body.len(), 2 * 30 * 9000);
    let mut client = Client::connect(address);
    client.send(format!("GET {page} HTTP/1.1\r\nHost: x\r\n\r\n"));
    client.at_least(5000).expect("a part of the page");
    drop(client);
    // Later than nginx waits, and broken while it runs.
    assert_eq!(Client::connect(address).get("/impatient/hold").status, 504);
    until("that is over", || count(address, "holding", "") == 0);
    let mut client = Client::connect(address);
    let head = "POST /impatient/hold HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(format!("{head}3\r\nabc\r\n"));
    until("it runs", || count(address, "holding", "") > 0);
    client.send("no length\r\n");
    assert_eq!(client.response("POST").status, 400);
    let held = ["", "/blocks"].map(|prefix| gate.hold(address, prefix));
    until("they run", || count(address, "holding", "") == 2);
    drop(held);
    until("all is over", || {
        let counts = Client::connect(address).get("/loop/counts").text();
        counts.starts_with("open 0 later 0 ")
            && count(address, "holding", "") == 0
            && ["a", "b"].iter().all(|id| {
                count(address, "closed", id) == count(address, "opened", id)
                    && count(address, "released", id) == count(address, "made", id)
            })
    });
    assert_eq!(["a", "b"].map(|id| count(address, "twice", id)), [0, 0]);
}

#[test]
fn valgrind_finds_nothing() {
    let http = format!(
        "server {{ listen ${{IP}}:{PORT}; client_body_buffer_size 8k;
            location / {{ gateway_module {0}; }}
            location /ssi {{ ssi on; gateway_module {0}; }}
            location /blocks {{ gateway_module {0} blocks; gateway_threads 3; }}
            location /impatient {{
                gateway_module {0}; gateway_read_timeout 1s; gateway_request_buffering off;
            }}
            location /loop {{ gateway_module ${{SUITE}}; }}
            location /loop/page {{
                gateway_module ${{SUITE}}; gateway_intercept_errors on; error_page 500 503 /sorry;
            }}
            location /threads {{ gateway_module ${{SUITE}} blocks; gateway_threads 3; }}
            location /threads/page {{
                gateway_module ${{SUITE}} blocks; gateway_threads 3; error_page 500 503 /sorry;
            }}
            location /streamed {{ gateway_module ${{SUITE}}; gateway_request_buffering off; }}
            location /streamed/page {{
                gateway_module ${{SUITE}}; gateway_request_buffering off; error_page 500 503 @sorry;
            }}
            location @sorry {{ gateway_module {0}; }}
        }}",
        app()
    );
    let nginx = Nginx::under_valgrind(&http);
    let (address, gate) = (nginx.address(PORT), Gate::of(&nginx));
    everything(&address, &gate);
    nginx.stop_with(|line| {
        ["fail", "did not end", "timed out", "invalid chunked body"]
            .iter()
            .any(|it| line.contains(it))
    });
}
