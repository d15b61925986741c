//! What nginx has around a location that answers by a module of its own: it all goes on working.

mod harness;

use std::process::Command;

use harness::client::{Client, Framing, Response};
use harness::fronts::Dir;
use harness::life::until;
use harness::nginx::{Nginx, waits};
use harness::support;

fn server(inside: &str) -> String {
    format!("server {{ listen ${{IP}}:8080; {inside} }}").replace("${APP}", waits())
}

fn start(inside: &str) -> Nginx {
    Nginx::start(&server(inside))
}

fn connect(nginx: &Nginx) -> Client {
    Client::connect(&nginx.address(8080))
}

fn get(nginx: &Nginx, target: &str) -> Response {
    connect(nginx).get(target)
}

fn text(nginx: &Nginx, target: &str) -> String {
    let response = get(nginx, target);
    assert_eq!(response.status, 200, "{target}: {response:?}");
    response.text()
}

/// A request with these lines in its head.
fn with(nginx: &Nginx, target: &str, lines: &str) -> Response {
    let mut client = connect(nginx);
    client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n{lines}\r\n"));
    client.response("GET")
}

fn values<'a>(response: &'a Response, name: &str) -> Vec<&'a str> {
    let all = response.headers.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name));
    all.map(|(_, value)| value.as_str()).collect()
}

/// FNV-1a, as /tell has it.
fn digest(octets: &[u8]) -> String {
    let sum =
        octets.iter().fold(2166136261u32, |sum, &it| (sum ^ u32::from(it)).wrapping_mul(16777619));
    format!("body: {} {sum:08x}\n", octets.len())
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

// ---- errors ----

#[test]
fn an_error_before_the_head_is_error_pages_to_catch() {
    let nginx = start(
        "location / { gateway_module ${SUITE}; }
        location /page { gateway_module ${SUITE}; error_page 500 = /sorry; }
        location /kept { gateway_module ${SUITE}; error_page 500 /sorry; }
        location /other { gateway_module ${SUITE}; error_page 500 = @other; }
        location /again { gateway_module ${SUITE}; error_page 500 = /app/hello; }
        location /streamed {
            gateway_module ${SUITE}; gateway_request_buffering off; error_page 500 = /app/upload;
        }
        location /body { gateway_module ${SUITE}; error_page 500 = @body; }
        location @body { gateway_module ${APP}; gateway_param PATH_INFO /upload; }
        location /twice { gateway_module ${SUITE}; error_page 500 = /fail; }
        location /app { gateway_module ${APP}; }
        location @other { gateway_module ${APP}; }
        location = /sorry { return 200 sorry; }",
    );
    let client = || connect(&nginx);
    // Without one, the library's page.
    let response = client().get("/fail");
    assert_eq!((response.status, response.text().as_str()), (500, "500 Internal Server Error\n"));
    let response = client().get("/page/fail");
    assert_eq!((response.status, response.text().as_str()), (200, "sorry"));
    let response = client().get("/kept/fail");
    assert_eq!((response.status, response.text().as_str()), (500, "sorry"));
    assert_eq!(client().get("/other/fail").text(), "hello\n");
    assert_eq!(client().get("/again/fail").text(), "hello\n");
    // Once is enough, and the second has a page, too.
    assert_eq!(client().get("/twice/fail").status, 500);
    // What the application itself says stays.
    assert_eq!(client().get("/page/status?code=500").text(), "a body\n");
    // A body that was kept is there for the next one.
    let body = vec![b'x'; 300_000];
    assert_eq!(client().post("/body/fail", &body).text(), "read 300000\n");
    // One that was taken as it came is not, and nobody waits for it.
    for _ in 0..3 {
        let mut client = connect(&nginx);
        client
            .send("POST /streamed/fail HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf");
        assert_eq!(client.response("POST").text(), "read 0\n");
        // What came with the head was nobody's to take.
        let mut client = connect(&nginx);
        client.send("POST /streamed/fail HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nfour");
        assert_eq!(client.response("POST").text(), "read 4\n");
    }
    let log = nginx.read("access.log");
    assert!(log.lines().any(|it| it.starts_with("200 500 ") && it.contains("/page/fail")), "{log}");
    // After the head there is only the end of the connection.
    let mut client = connect(&nginx);
    client.send("GET /fails-late?n=3&size=5 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.head().status, 200);
    let mut octets = Vec::new();
    while octets.len() < 15 {
        octets.extend(client.chunk());
    }
    assert_eq!(octets, b"aaaaabbbbbccccc");
    client.end();
    let mut client = connect(&nginx);
    client.send("GET /stream?n=3&size=5&length=1&more=9 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(client.try_response("GET").is_err());
    nginx.stop_with(|line| {
        line.contains("gateway:") || line.contains("gateway application did not end its answer")
    });
}

#[test]
fn an_application_may_point_to_what_nginx_has() {
    let nginx = start(
        "location / { gateway_module ${APP}; }
        location /files/ { internal; alias ${RUN}/; }
        location /again { internal; gateway_module ${SUITE}; }
        location @named { gateway_module ${SUITE}; gateway_param PATH_INFO /hello; }",
    );
    std::fs::write(nginx.path().join("it.txt"), "of a file").expect("write a file");
    let mut client = connect(&nginx);
    let to = |place: &str| format!("/head?name=X-Accel-Redirect&value={place}");
    for _ in 0..2 {
        let response = client.get(&to("/files/it.txt"));
        assert_eq!((response.status, response.text().as_str()), (200, "of a file"));
        // Some of what the application said counts on, as with proxies.
        assert_eq!(response.header("set-cookie"), Some("a=1"));
        assert_eq!(response.header("content-type"), Some("text/html"));
        assert_eq!(response.header("content-disposition"), Some("attachment; filename=\"it\""));
        assert_eq!((response.header("x-own"), response.header("x-accel-redirect")), (None, None));
        assert_eq!(client.get(&to("@named")).text(), "hello, world\n");
        assert_eq!(client.get(&to("/again/hello%3Fa=b")).text(), "hello, world\n");
        assert_eq!(client.get(&to("/files/missing")).status, 404);
        assert_eq!(client.get(&to("..%2Fetc")).status, 404);
        assert_eq!(client.get("/files/it.txt").status, 404);
    }
    // Not for ever.
    let around = to("/head%3Fname=X-Accel-Redirect%26value=/head");
    assert_eq!(client.get(&around).text(), "of the application\n");
    assert_eq!(client.get(&to("@missing")).status, 500);
    nginx.stop_with(|line| {
        line.contains("missing\" failed (2")
            || line.contains("could not find named location")
            || line.contains("unsafe URI")
    });
}

// ---- what else nginx does with a request ----

#[test]
fn other_handlers_stand_beside_before_and_behind() {
    let nginx = start(
        "location / { gateway_module ${SUITE}; }
        location /app { gateway_module ${APP}; }
        location /proxied/ { proxy_pass http://${IP}:8080/; }
        location /asks { auth_request /auth; gateway_module ${SUITE}; }
        location /refused { auth_request /no; gateway_module ${SUITE}; }
        location = /auth { internal; gateway_module ${APP}; gateway_param PATH_INFO /hello; }
        location = /no { internal; gateway_module ${APP}; gateway_param PATH_INFO /head;
            gateway_param QUERY_STRING 'code=401&name=WWW-Authenticate&value=Basic'; }
        location /copied { mirror /mirror; gateway_module ${SUITE}; }
        location = /mirror { internal; gateway_module ${APP}; gateway_param PATH_INFO /upload; }
        location /rewritten { rewrite ^/rewritten/(.*)$ /$1 last; }
        location /in/place { gateway_module ${SUITE}; rewrite ^/in/place/(.*)$ /hello break; }
        location /returned { gateway_module ${SUITE}; return 302 /hello; }
        location /get { gateway_module ${SUITE}; limit_except GET { deny all; } }
        location /tried { gateway_module off; root ${RUN}; try_files $uri @app; }
        location @app { gateway_module ${APP}; }",
    );
    let mut client = connect(&nginx);
    assert_eq!(client.get("/proxied/hello").text(), "hello, world\n");
    assert_eq!(client.get("/proxied/stream?n=3&size=5").text(), "aaaaabbbbbccccc");
    let body = vec![b'x'; 100_000];
    assert!(client.post("/proxied/tell", &body).text().ends_with(&digest(&body)));
    let told = client.post("/asks/tell", &body).text();
    assert!(told.ends_with(&digest(&body)), "{told}");
    let refused = client.get("/refused/hello");
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some("Basic")));
    // The copy has the same body; nobody waits for its answer.
    let read = |text: &str| -> u64 {
        let value = text.split("octets ").nth(1).and_then(|it| it.split(' ').next());
        value.and_then(|it| it.parse().ok()).expect("a number")
    };
    assert_eq!(read(&text(&nginx, "/app/counts")), 0);
    assert!(client.post("/copied/tell", &body).text().ends_with(&digest(&body)));
    until("the copy was read", || read(&text(&nginx, "/app/counts")) == 100_000);
    assert_eq!(client.get("/rewritten/hello").text(), "hello, world\n");
    assert_eq!(client.get("/in/place/x").text(), "hello, world\n");
    assert_eq!(client.get("/returned").status, 302);
    assert_eq!(client.get("/get/hello").status, 200);
    assert_eq!(client.post("/get/hello", b"x").status, 403);
    assert_eq!(client.get("/tried/x").text(), "hello\n");
    nginx.stop_with(|line| line.contains("access forbidden by rule"));
}

#[test]
fn requests_are_limited_before_they_are_the_applications() {
    let nginx = Nginx::start(&format!(
        "limit_req_zone $server_port zone=one:1m rate=1r/m;
        limit_conn_zone $server_port zone=two:1m;
        {}",
        server(
            "location / { gateway_module ${APP}; }
            location /rare { gateway_module ${APP}; limit_req zone=one burst=2 nodelay; }
            location /few { gateway_module ${APP}; limit_conn two 1; }"
        )
    ));
    let statuses: Vec<u16> = (0..5).map(|_| get(&nginx, "/rare/x").status).collect();
    assert_eq!(statuses, [200, 200, 200, 503, 503]);
    let mut first = connect(&nginx);
    first.send("GET /few/wait HTTP/1.1\r\nHost: x\r\n\r\n");
    until("it waits", || text(&nginx, "/counts").contains("waiting 1 "));
    assert_eq!(get(&nginx, "/few/x").status, 503);
    assert_eq!(text(&nginx, "/release"), "open\n");
    assert_eq!(first.response("GET").text(), "released\n");
    assert_eq!(get(&nginx, "/few/x").status, 200);
    nginx.stop_with(|line| {
        line.contains("limiting requests") || line.contains("limiting connections")
    });
}
