//! Where a request goes besides its application: error pages, other locations, X-Accel-Redirect, and what
//! nginx asks or refuses before.

mod harness;

use harness::nginx::{Nginx, connect, digest, get, server, start, text};
use harness::until;

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
        location /copied/streamed {
            mirror /mirror/streamed; gateway_module ${SUITE}; gateway_request_buffering off;
        }
        location = /mirror/streamed {
            internal; gateway_module ${APP}; gateway_request_buffering off;
            gateway_param PATH_INFO /upload;
        }
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
    let long: Vec<u8> = (0..3_000_000).map(|i: u32| (i / 100) as u8).collect();
    assert!(client.post("/copied/streamed/tell", &long).text().ends_with(&digest(&long)));
    until("the copy was read", || read(&text(&nginx, "/app/counts")) == 3_100_000);
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

#[test]
fn what_is_said_to_nginx_is_not_told_to_the_client() {
    // nginx overrides with charsets that it has heard of.
    let nginx = start(
        "location / { gateway_module ${APP}; }
        location /other { charset koi8-r; }",
    );
    for (name, value) in
        [("X-Accel-Limit-Rate", "100000"), ("X-Accel-Expires", "1"), ("X-Accel-Buffering", "no")]
    {
        let answer = get(&nginx, &format!("/head?code=200&name={name}&value={value}"));
        assert_eq!((answer.status, answer.header(name)), (200, None));
    }
    let answer = get(&nginx, "/head?code=200&name=X-Accel-Charset&value=koi8-r");
    assert_eq!(answer.header("x-accel-charset"), None);
    assert_eq!(answer.header("content-type"), Some("text/html; charset=koi8-r"));
    nginx.stop();
}
