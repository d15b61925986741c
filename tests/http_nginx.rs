//! What nginx does with connections, bodies and answers around a location that answers by a module of its own: it
//! all goes on working.

mod harness;

use std::process::Command;

use harness::client::{Framing, Response};
use harness::fronts::Dir;
use harness::nginx::{connect, digest, get, start, text, with};
use harness::{support, until};

fn values<'a>(response: &'a Response, name: &str) -> Vec<&'a str> {
    let all = response.headers.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name));
    all.map(|(_, value)| value.as_str()).collect()
}

fn gunzip(octets: &[u8]) -> Vec<u8> {
    let dir = Dir::new();
    let file = dir.path().join("it.gz");
    std::fs::write(&file, octets).expect("write a file");
    let out = support::output(Command::new("gzip").arg("-dc").arg(&file));
    assert!(out.status.success(), "{out:?}");
    out.stdout
}

// ---- connections ----

#[test]
fn connections_are_kept_and_requests_pipelined() {
    let nginx = start("location / { gateway_module ${SUITE}; }");
    let mut client = connect(&nginx);
    for _ in 0..50 {
        assert_eq!(client.get("/hello").text(), "hello, world\n");
        assert_eq!(client.post("/echo", b"some octets").text(), "some octets");
        assert_eq!(client.get("/stream?n=3&size=5").text(), "aaaaabbbbbccccc");
    }
    let mut all = String::new();
    for i in 0..40 {
        all += match i % 4 {
            0 => "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n",
            1 => "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody",
            2 => "HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n",
            _ => "GET /defer HTTP/1.1\r\nHost: x\r\n\r\n",
        };
    }
    client.send(all);
    for i in 0..40 {
        match i % 4 {
            0 => assert_eq!(client.response("GET").text(), "hello, world\n"),
            1 => assert_eq!(client.response("POST").text(), "body"),
            2 => assert_eq!(client.response("HEAD").header("content-length"), Some("13")),
            _ => assert_eq!(client.response("GET").text(), "later\n"),
        }
    }
    for status in [204, 304] {
        let response = client.get(&format!("/status?code={status}"));
        assert_eq!((response.status, response.framing), (status, Framing::None));
    }
    // HTTP/1.0 has no chunks, and an application may end the connection.
    let mut old = connect(&nginx);
    old.send("GET /stream?n=3&size=5 HTTP/1.0\r\n\r\n");
    let response = old.response("GET");
    assert_eq!((response.text().as_str(), response.framing), ("aaaaabbbbbccccc", Framing::Close));
    nginx.stop();
}

#[test]
fn early_hints_are_dropped_where_nginx_has_none() {
    let nginx = start("location / { gateway_module ${SUITE}; }");
    let mut client = connect(&nginx);
    for _ in 0..2 {
        assert_eq!(client.get("/hints").text(), "after the hints\n");
    }
    nginx.stop();
}

// ---- bodies of requests ----

#[test]
fn bodies_of_requests_come_whole_from_wherever_nginx_has_them() {
    let nginx = start(
        "location / { gateway_module ${SUITE}; }
        location /file { gateway_module ${SUITE}; client_body_in_file_only clean; }
        location /single { gateway_module ${SUITE}; client_body_in_single_buffer on; client_body_buffer_size 2k; }
        location /limited { gateway_module ${SUITE}; client_max_body_size 1000; }
        location /streamed { gateway_module ${SUITE}; gateway_request_buffering off; }
        location /streamed/limited {
            gateway_module ${SUITE}; gateway_request_buffering off; client_max_body_size 1000;
        }",
    );
    let mut client = connect(&nginx);
    let body: Vec<u8> =
        (0..1 << 20).map(|i: u32| (i.wrapping_mul(2654435761) >> 13) as u8).collect();
    for at in ["", "/file", "/single", "/streamed"] {
        for n in [0, 1, 1024, 16_384, 100_000, 1 << 20] {
            let told = client.post(&format!("{at}/tell"), &body[..n]).text();
            assert!(told.ends_with(&digest(&body[..n])), "{at} {n}: {told}");
        }
        for n in [5, 50_000] {
            client.send(format!(
                "POST {at}/tell HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            ));
            for part in body[..n].chunks(7_000) {
                client.send(format!("{:x}\r\n", part.len()));
                client.send(part);
                client.send("\r\n");
            }
            client.send("0\r\n\r\n");
            let told = client.response("POST").text();
            assert!(told.ends_with(&digest(&body[..n])), "{at} {n} in chunks: {told}");
        }
        let echoed = client.post(&format!("{at}/echo"), &body);
        assert!(echoed.body == body);
    }
    assert_eq!(client.post("/limited/tell", &body[..1000]).status, 200);
    for at in ["/limited", "/streamed/limited"] {
        let mut client = connect(&nginx);
        client.send(format!("POST {at}/tell HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n"));
        assert_eq!(client.response("POST").status, 413);
        let mut client = connect(&nginx);
        client.send(format!(
            "POST {at}/tell HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n"
        ));
        client.send([&body[..1001], b"\r\n0\r\n\r\n"].concat());
        assert_eq!(client.response("POST").status, 413);
    }
    // 100-continue, before the body is there.
    client.send(
        "POST /tell HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n",
    );
    assert_eq!(client.head().status, 100);
    client.send("ab");
    assert!(client.response("POST").text().ends_with(&digest(b"ab")));
    nginx.stop_with(|line| line.contains("too large") || line.contains("too large body"));
}

// ---- filters ----

#[test]
fn answers_are_compressed_as_nginx_is_told() {
    let nginx = start(
        "gzip on; gzip_types text/plain application/octet-stream; gzip_min_length 20;
        location / { gateway_module ${SUITE}; }
        location /app { gateway_module ${APP}; }",
    );
    let accept = "Accept-Encoding: gzip\r\n";
    let stream = with(&nginx, "/stream?n=100&size=1000", accept);
    assert_eq!(stream.header("content-encoding"), Some("gzip"));
    assert!(stream.body.len() < 10_000);
    let plain: Vec<u8> = (0..100).flat_map(|i| [b'a' + i % 26; 1000]).collect();
    assert!(gunzip(&stream.body) == plain);
    assert!(get(&nginx, "/stream?n=100&size=1000").body == plain);
    // A file, and an answer with a length and an ETag, which becomes a weak one.
    let file = with(&nginx, "/file?size=200000", accept);
    assert_eq!(file.header("content-encoding"), Some("gzip"));
    assert_eq!(gunzip(&file.body).len(), 200_000);
    // With a charset; too short; and one that is compressed already.
    let mut client = connect(&nginx);
    client.send(format!("GET /many?n=1 HTTP/1.1\r\nHost: x\r\n{accept}\r\n"));
    assert_eq!(client.response("GET").header("content-encoding"), None);
    let already = with(&nginx, "/gzip", accept);
    assert_eq!(values(&already, "content-encoding"), ["gzip"]);
    assert_eq!(gunzip(&already.body), b"gzip\n");
    // What is written before a pause can be read before it is over.
    let mut client = connect(&nginx);
    client.send(format!(
        "GET /app/chunks?n=20&size=100&after=10 HTTP/1.1\r\nHost: x\r\n{accept}\r\n"
    ));
    assert_eq!(client.head().header("content-encoding"), Some("gzip"));
    assert!(!client.chunk().is_empty());
    assert_eq!(text(&nginx, "/app/release"), "open\n");
    while !client.chunk().is_empty() {}
    nginx.stop();
}

#[test]
fn a_charset_is_no_part_of_the_type_that_filters_look_for() {
    let nginx = start(
        "gzip on; gzip_types text/plain; gzip_min_length 1;
        location / { gateway_module ${SUITE}; sub_filter_types text/plain; sub_filter headers replaced; }
        location /plain { gateway_module ${SUITE}; }",
    );
    let response = with(&nginx, "/headers", "Accept-Encoding: gzip\r\n");
    assert_eq!(response.header("content-encoding"), Some("gzip"));
    assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(gunzip(&response.body), b"replaced\n");
    // What is another representation has another ETag.
    let response = with(&nginx, "/plain/cached", "Accept-Encoding: gzip\r\n");
    assert_eq!(gunzip(&response.body), b"cached\n");
    assert_eq!(response.header("etag"), Some("W/\"1\""));
    nginx.stop();
}

#[test]
fn caching_is_said_by_the_application_and_nginx() {
    let nginx = start(
        "location / { gateway_module ${SUITE}; }
        location /expires { gateway_module ${SUITE}; expires 1h; }
        location /added { gateway_module ${SUITE}; add_header Cache-Control public; add_header X-Added yes; }
        location /app { gateway_module ${APP}; expires 1h; }",
    );
    let response = get(&nginx, "/cached");
    assert_eq!(response.header("etag"), Some("\"1\""));
    assert_eq!(response.header("last-modified"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_eq!(response.header("cache-control"), Some("max-age=60"));
    // Conditions are the application's: it looks at the ETag only.
    assert_eq!(with(&nginx, "/cached", "If-None-Match: \"1\"\r\n").status, 304);
    let since = "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    assert_eq!(with(&nginx, "/cached", since).status, 200);
    // `expires` says it instead of the application, `add_header` beside it.
    let response = get(&nginx, "/expires/cached");
    assert_eq!(values(&response, "cache-control"), ["max-age=3600"]);
    assert!(response.header("expires").is_some());
    let response = get(&nginx, "/added/cached");
    assert_eq!(values(&response, "cache-control"), ["max-age=60", "public"]);
    assert_eq!(response.header("x-added"), Some("yes"));
    let response = get(&nginx, "/app/head?name=Expires&value=0");
    assert_eq!(values(&response, "expires").len(), 1);
    assert_ne!(response.header("expires"), Some("0"));
    // Locations stay as they are.
    let response = get(&nginx, "/redirect?to=/else/where%3Fa=b");
    assert_eq!((response.status, response.header("location")), (302, Some("/else/where?a=b")));
    nginx.stop();
}

#[test]
fn files_go_to_the_client_with_sendfile_and_without() {
    const SIZE: usize = 30_000_000;
    let nginx = start(
        "location / { gateway_module ${SUITE}; sendfile on; tcp_nopush on; sendfile_max_chunk 1m; }
        location /copied { gateway_module ${SUITE}; sendfile off; output_buffers 2 64k; }
        location /pool { gateway_module ${SUITE}; sendfile on; aio threads; }
        location /read { gateway_module ${SUITE}; aio threads; }
        location /direct { gateway_module ${SUITE}; directio 1m; }",
    );
    let mut lines = Vec::with_capacity(SIZE + 100);
    while lines.len() < SIZE {
        lines.extend(format!("line at {}\n", lines.len()).into_bytes());
    }
    for at in ["", "/copied", "/pool", "/read", "/direct"] {
        let mut client = connect(&nginx);
        let response = client.get(&format!("{at}/file?size={SIZE}"));
        assert_eq!(response.header("content-length"), Some("30000000"));
        assert!(response.body[..] == lines[..SIZE], "{at}");
        let response = client.get(&format!("{at}/file?size=5000"));
        assert!(response.body[..] == lines[..5000], "{at}: the next one");
    }
    nginx.stop();
}

#[test]
fn small_pieces_go_together_and_a_pause_lets_go_of_them() {
    let nginx = start(
        "error_log ${RUN}/debug.log debug;
        location / { gateway_module ${APP}; postpone_output 1460; }",
    );
    let mut client = connect(&nginx);
    client.send("GET /chunks?n=100&size=10&after=50 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.head().status, 200);
    let mut body = Vec::new();
    while body.len() < 500 {
        body.extend(client.chunk());
    }
    assert_eq!(text(&nginx, "/release"), "open\n");
    loop {
        let chunk = client.chunk();
        if chunk.is_empty() {
            break;
        }
        body.extend(chunk);
    }
    assert_eq!(body.len(), 1000);
    // By few calls: one before the pause and one after it, and those of /release.
    let count = |what: &str| nginx.read("debug.log").matches(what).count();
    until("both connections are idle", || count("set http keepalive handler") == 2);
    let calls = count(" writev: ");
    assert!((3..=8).contains(&calls), "{calls} calls for 100 pieces");
    nginx.stop();
}

#[test]
fn a_rate_limit_delays_and_loses_nothing() {
    let nginx = start(
        "location / { gateway_module ${SUITE}; limit_rate 400k; limit_rate_after 100k; }
        location /plain { gateway_module ${SUITE}; }",
    );
    for target in ["/stream?n=300&size=1000", "/file?size=300000"] {
        let limited = get(&nginx, target);
        assert_eq!(limited.body.len(), 300_000);
        assert!(limited.body == get(&nginx, &format!("/plain{target}")).body);
    }
    nginx.stop();
}
