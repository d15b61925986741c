//! Bodies of requests: where there is no room for the rest, where they break, and where several read them.

use crate::harness::client::{Client, Response};
use crate::harness::nginx::Nginx;
use crate::harness::until;
use crate::{Gate, PORT, app, count, server};

/// The head of a POST with a chunked body, and `n` chunks of 1 KiB of that.
fn chunked(path: &str, n: usize) -> String {
    let chunks = format!("400\r\n{}\r\n", "b".repeat(1024)).repeat(n);
    format!("POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}")
}

fn after(gate: &Gate, path: &str) -> String {
    format!("{path}?until={}", gate.path().display())
}

/// The application reads late; whatever of a body finds no room is kept, also its end.
#[test]
fn no_part_of_a_body_is_lost_where_there_is_no_room() {
    let nginx = Nginx::start(&server("gateway_request_buffering off; gateway_set body_buffer 4k;"));
    let (address, gate) = (nginx.address(PORT), Gate::of(&nginx));
    let mut clients: Vec<_> = (1..=24)
        .map(|n| {
            let mut client = Client::connect(&address);
            client.send(chunked(&after(&gate, "/sum"), n) + "0\r\n\r\n");
            client
        })
        .collect();
    until("they wait", || count(&address, "holding", "") == 24);
    gate.open();
    for (n, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.response("POST").text(), format!("{} octets\n", (n + 1) * 1024));
    }
    nginx.stop();
}

/// A body that is no body is a 400 of nginx's, and the application's answer is not wanted.
fn malformed(more: &str) -> Response {
    let nginx = Nginx::start(&server(&format!("gateway_request_buffering off; {more}")));
    let (address, gate) = (nginx.address(PORT), Gate::of(&nginx));
    let mut client = Client::connect(&address);
    client.send(chunked(&after(&gate, "/hold"), 3));
    until("it runs", || count(&address, "holding", "") == 1);
    client.send("no length\r\n");
    let response = client.response("POST");
    // nginx still reads what the client may send, and the request is there.
    gate.open();
    until("it has ended", || count(&address, "holding", "") == 0);
    assert_eq!(Client::connect(&address).get("/?1").status, 200);
    drop(client);
    nginx.stop_with(|line| line.contains("invalid chunked body"));
    response
}

#[test]
fn a_body_that_breaks_ends_the_request() {
    let response = malformed("");
    assert_eq!(response.status, 400);
    assert!(response.text().contains("<center>nginx"), "{response:?}");
}

/// The page is the application's, too: a body that was begun to be read is none of its own.
#[test]
fn a_body_that_breaks_has_an_error_page() {
    let response = malformed("error_page 400 /sorry;");
    assert_eq!(response.status, 400);
    assert!(response.text().starts_with("first "), "{response:?}");
}

/// The same after an error of the application, whether the body was read or not.
#[test]
fn an_error_page_after_a_body_that_was_streamed() {
    let nginx = Nginx::start(&format!(
        "server {{ listen ${{IP}}:{PORT}; error_page 500 /sorry; gateway_request_buffering off;
            location / {{ gateway_module {}; }}
            location /suite {{ gateway_module ${{SUITE}}; }}
        }}",
        app()
    ));
    let address = nginx.address(PORT);
    for (path, length) in [("/suite/fail", 10), ("/suite/fail", 300_000)] {
        let body = "b".repeat(length);
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        for parts in [[head.clone() + &body, String::new()], [head, body]] {
            let mut client = Client::connect(&address);
            for part in parts {
                client.try_send(part);
            }
            let response = client.response("POST");
            assert_eq!(response.status, 500);
            assert!(response.text().starts_with("first "), "{response:?}");
        }
    }
    nginx.stop_with(|line| {
        ["fails on purpose", "application failed"].iter().any(|it| line.contains(it))
    });
}

/// Parts of a page that each read the body of the main request.
#[test]
fn subrequests_read_the_same_body() {
    let nginx = Nginx::start(&format!(
        "server {{ listen ${{IP}}:{PORT}; ssi on;
            client_header_buffer_size 64k; client_body_buffer_size 64k;
            location / {{ gateway_module {0}; }}
            location /streamed {{
                gateway_module {0}; gateway_request_buffering off; gateway_set body_buffer 4k;
            }}
        }}",
        app()
    ));
    let (address, gate) = (nginx.address(PORT), Gate::of(&nginx));
    let include = |path: &str| format!("<!--%23 include virtual=\"{}\" -->", after(&gate, path));
    let parts = ["/streamed/sum", "/sum", "/streamed/sum"].map(include).join("|");
    let mut client = Client::connect(&address);
    let text = format!("/say?text={}", parts.replace(' ', "+"));
    client.send(chunked(&text, 20) + "0\r\n\r\n");
    until("they wait", || count(&address, "holding", "") == 3);
    gate.open();
    let all = ["20480 octets\n"; 3].join("|");
    assert_eq!(client.response("POST").text(), all);
    nginx.stop();
}
