//! The directives of nginx's module: where an application is, what it is told, and what `nginx -t` says.

mod harness;

use harness::client::{Client, Response};
use harness::nginx::{Nginx, application, get, server, start, text, waits, with};
use harness::{SIGKILL, kill, until};

fn post(nginx: &Nginx, target: &str, body: &[u8]) -> Response {
    Client::connect(&nginx.address(8080)).post(target, body)
}

/// SCRIPT_NAME and PATH_INFO of a request.
fn split(nginx: &Nginx, target: &str) -> (String, String) {
    let told = text(nginx, target);
    let value = |name: &str| {
        let mut lines = told.lines().filter_map(|line| line.strip_prefix(name));
        lines.next().and_then(|it| it.strip_prefix(": ")).unwrap_or_else(|| panic!("{told}"))
    };
    (value("script_name").replace('"', ""), value("path_info").replace('"', ""))
}

fn pair(a: &str, b: &str) -> (String, String) {
    (a.to_owned(), b.to_owned())
}

fn instance(nginx: &Nginx, target: &str) -> String {
    let told = text(nginx, target);
    told.split("instance ").nth(1).unwrap_or_else(|| panic!("{told}")).to_owned()
}

// ---- where an application is ----

#[test]
fn an_application_is_inherited_from_http_and_server_until_off() {
    let nginx = Nginx::start(
        &"gateway_module ${APP} outer;
        server {
            listen ${IP}:8080;
            location /inner { gateway_module ${SUITE}; }
            location /off { gateway_module off; root ${RUN}; }
            location /off/on { gateway_module ${SUITE}; }
            location /says { return 200 'of nginx'; }
            location /passed/ { proxy_pass http://${IP}:8081/; }
            location /status { stub_status; limit_except GET { deny all; } }
            location /also/ {
                proxy_pass http://${IP}:8081/;
                if ($arg_q) { add_header X-If yes; }
            }
            location /if/ { if ($arg_q) { add_header X-If yes; } }
            location /only/ { limit_except GET { deny all; } }
        }
        server {
            listen ${IP}:8081;
            gateway_module off;
            location / { return 200 'behind $uri'; }
        }"
        .replace("${APP}", waits()),
    );
    assert_eq!(text(&nginx, "/"), "hello\n");
    assert_eq!(text(&nginx, "/inner/hello"), "hello, world\n");
    assert_eq!(get(&nginx, "/off/nothing").status, 404);
    assert_eq!(text(&nginx, "/off/on/hello"), "hello, world\n");
    assert_eq!(text(&nginx, "/says"), "of nginx");
    assert_eq!(text(&nginx, "/passed/x"), "behind /x");
    assert!(text(&nginx, "/status").starts_with("Active connections"));
    // What is nested in a location that answers by other means does not change hands.
    assert_eq!(text(&nginx, "/also/x"), "behind /x");
    let nested = get(&nginx, "/also/x?q=1");
    assert_eq!((nested.text(), nested.header("x-if")), ("behind /x".to_owned(), Some("yes")));
    let nested = get(&nginx, "/if/x?q=1");
    assert_eq!((nested.text(), nested.header("x-if")), ("hello\n".to_owned(), Some("yes")));
    assert_eq!(text(&nginx, "/only/x"), "hello\n");
    assert_eq!(post(&nginx, "/only/x", b"").status, 403);
    assert_eq!(text(&nginx, "/hello"), "hello\n");
    nginx.stop_with(|line| {
        line.contains("off/nothing\" failed (2") || line.contains("access forbidden by rule")
    });
}

#[test]
fn script_name_is_the_prefix_of_the_location() {
    let nginx = start(
        "location / { gateway_module ${SUITE}; }
        location /app { gateway_module ${SUITE}; }
        location /slash/ { gateway_module ${SUITE}; }
        location /outer { gateway_module ${SUITE}; location /outer/tell/nested { } }
        location /outer/own { gateway_module ${SUITE}; }
        location = /tell/exact { gateway_module ${SUITE}; }
        location ~ ^/tell/reg { gateway_module ${SUITE}; }
        location ^~ /first { gateway_module ${SUITE}; }
        location /back { rewrite ^/back(.*)$ /app/tell$1 last; }
        location /named { try_files /nothing @named; }
        location @named { gateway_module ${SUITE}; }",
    );
    for (target, script, path) in [
        ("/tell", "", "/tell"),
        ("/app/tell", "/app", "/tell"),
        ("/app/tell/%C3%A4", "/app", "/tell/\\xc3\\xa4"),
        ("/slash/tell/x/", "/slash", "/tell/x/"),
        ("/outer/tell", "/outer", "/tell"),
        ("/outer/tell/nested/x", "/outer", "/tell/nested/x"),
        ("/outer/own/tell", "/outer/own", "/tell"),
        ("/tell/exact", "", "/tell/exact"),
        ("/tell/regular", "", "/tell/regular"),
        ("/first/tell", "/first", "/tell"),
        ("/back/x", "/app", "/tell/x"),
    ] {
        assert_eq!(split(&nginx, target), pair(script, path), "{target}");
    }
    // A prefix ends where a segment does, and a named location has none.
    assert_eq!(get(&nginx, "/apple").text(), "nothing at: \"/apple\"\n");
    assert_eq!(get(&nginx, "/app").text(), "nothing at: \"\"\n");
    assert_eq!(get(&nginx, "/named/x").text(), "nothing at: \"/named/x\"\n");
    nginx.stop();
}

#[test]
fn an_if_and_limit_except_may_have_an_application_of_their_own() {
    let nginx = start(
        "location / {
            gateway_module ${SUITE};
            if ($arg_other) { gateway_module ${APP}; }
        }
        location /limited {
            gateway_module ${SUITE};
            limit_except GET { gateway_module ${APP}; }
        }",
    );
    assert_eq!(text(&nginx, "/hello"), "hello, world\n");
    assert_eq!(text(&nginx, "/hello?other=1"), "hello\n");
    assert_eq!(text(&nginx, "/limited/hello"), "hello, world\n");
    assert_eq!(post(&nginx, "/limited/hello", b"x").text(), "hello\n");
    nginx.stop();
}

// ---- what it is told ----

#[test]
fn parameters_are_variables_of_the_application() {
    let nginx = start(
        "gateway_param OUTER 'yes';
        gateway_module ${APP};
        location / { }
        location /moved { gateway_module ${SUITE}; gateway_param SCRIPT_NAME /moved/by; }
        location /aside { gateway_module ${SUITE}; gateway_param SCRIPT_NAME /else; }
        location /both {
            gateway_module ${SUITE};
            gateway_param PATH_INFO /tell/it;
            gateway_param SCRIPT_NAME /both/of;
        }",
    );
    let asked = "q=OUTER,ONE,EMPTY,LEFT_OUT,REMOTE_ADDR,HTTP_X_MADE,QUERY_STRING";
    // Without any of its own it has those around it; else only its own.
    let told = text(&nginx, &format!("/vars?{asked}"));
    assert!(told.starts_with("OUTER=yes\nONE-\nEMPTY-\nLEFT_OUT-\nREMOTE_ADDR=127."), "{told}");
    let with_its_own = start(
        "gateway_param OUTER 'yes';
        location /own {
            gateway_module ${APP};
            gateway_param ONE '$arg_one-$request_method';
            gateway_param EMPTY '$arg_none';
            gateway_param LEFT_OUT '$arg_none' if_not_empty;
            gateway_param REMOTE_ADDR 192.0.2.1;
            gateway_param HTTP_X_MADE '$host';
            gateway_param QUERY_STRING '$args&added=1';
        }",
    );
    let told = text(&with_its_own, &format!("/own/vars?one=two&{asked}"));
    assert_eq!(
        told,
        format!(
            "OUTER-\nONE=two-GET\nEMPTY=\nLEFT_OUT-\nREMOTE_ADDR=192.0.2.1\nHTTP_X_MADE=x\n\
             QUERY_STRING=one=two&{asked}&added=1\n"
        )
    );
    with_its_own.stop();
    // SCRIPT_NAME alone moves PATH_INFO, where the path begins so.
    assert_eq!(split(&nginx, "/moved/by/tell"), pair("/moved/by", "/tell"));
    assert_eq!(get(&nginx, "/aside/tell").text(), "nothing at: \"/aside/tell\"\n");
    assert_eq!(split(&nginx, "/both/x"), pair("/both/of", "/tell/it"));
    nginx.stop();
}

#[test]
fn options_are_inherited_and_overridden() {
    let nginx = start(
        "gateway_set max_body 10;
        gateway_module ${APP};
        location / { }
        location /more { gateway_module ${APP}; gateway_set max_body 20; }
        location /none { gateway_module off; return 200 none; }",
    );
    assert_eq!(post(&nginx, "/upload", &[b'x'; 10]).text(), "read 10\n");
    let refused = post(&nginx, "/upload", &[b'x'; 11]);
    // It is the library's page.
    let page = "413 Content Too Large: the body is too large\n";
    assert_eq!((refused.status, refused.text().as_str()), (413, page));
    assert_eq!(post(&nginx, "/more/upload", &[b'x'; 20]).text(), "read 20\n");
    assert_eq!(post(&nginx, "/more/upload", &[b'x'; 21]).status, 413);
    nginx.stop();
}

#[test]
fn locations_that_say_the_same_share_an_application() {
    let nginx = start(
        "location /one { gateway_module ${APP} a; }
        location /two { gateway_module ${APP} a; }
        location /args { gateway_module ${APP} a b; }
        location /more { gateway_module ${APP} a; gateway_set max_body 1k; }
        location /streamed { gateway_module ${APP} a; gateway_request_buffering off; }
        location /params { gateway_module ${APP} a; gateway_param X y; }",
    );
    let one = instance(&nginx, "/one/counts");
    for same in ["/two/counts", "/params/counts"] {
        assert_eq!(instance(&nginx, same), one, "{same}");
    }
    let others: Vec<_> =
        ["/args", "/more", "/streamed"].map(|it| instance(&nginx, &format!("{it}/counts"))).into();
    for (i, other) in others.iter().enumerate() {
        assert!(*other != one && !others[..i].contains(other), "{one} {others:?}");
    }
    nginx.stop();
}

#[test]
fn the_body_may_be_kept_from_the_application() {
    let nginx = start(
        "location / { gateway_module ${SUITE}; gateway_pass_request_body off; }
        location /passed { gateway_module ${SUITE}; }",
    );
    let address = nginx.address(8080);
    let body = vec![b'x'; 300_000];
    let mut client = Client::connect(&address);
    for _ in 0..2 {
        let told = client.post("/tell", &body).text();
        assert!(told.contains("content_length: none\n"), "{told}");
        assert!(told.ends_with("body: 0 811c9dc5\n"), "{told}");
        let told = client.post("/passed/tell", &body).text();
        assert!(told.contains("content_length: \"300000\"") && told.contains("body: 300000 "));
    }
    client.send(
        "POST /tell HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    assert!(client.response("POST").text().ends_with("body: 0 811c9dc5\n"));
    assert_eq!(client.get("/hello").text(), "hello, world\n");
    nginx.stop();
}

// ---- what becomes of its answers ----

#[test]
fn errors_of_the_application_may_be_nginxs_to_show() {
    let nginx = start(
        "gateway_module ${APP};
        error_page 404 401 = /page;
        error_page 503 @other;
        location = /page { gateway_module off; return 200 'the page'; }
        location @other { gateway_module ${SUITE}; }
        location /shown { gateway_module ${APP}; gateway_intercept_errors on; }
        location /own { gateway_module ${APP}; }",
    );
    let own = get(&nginx, "/own/head?code=404");
    assert_eq!((own.status, own.text().as_str()), (404, "of the application\n"));
    let shown = get(&nginx, "/shown/head?code=404");
    assert_eq!((shown.status, shown.text().as_str()), (200, "the page"));
    // Nothing of the answer that was given up is left; but how to log in is.
    assert_eq!((shown.header("x-own"), shown.header("set-cookie")), (None, None));
    let shown = get(&nginx, "/shown/head?code=401&name=WWW-Authenticate&value=Basic");
    assert_eq!(shown.text(), "the page");
    assert_eq!(shown.header("www-authenticate"), Some("Basic"));
    // One for which there is no page is as it was.
    assert_eq!(get(&nginx, "/shown/head?code=410").text(), "of the application\n");
    assert_eq!(get(&nginx, "/shown/head?code=302").status, 302);
    assert_eq!(get(&nginx, "/shown/head?code=503").text(), "nothing at: \"/shown/head\"\n");
    nginx.stop();
}

#[test]
fn ranges_of_answers_are_nginxs_where_they_are_asked_for() {
    let nginx = start(
        "location / { gateway_module ${SUITE}; }
        location /ranges { gateway_module ${SUITE}; gateway_force_ranges on; }",
    );
    // The application's "hello, world" has a length; its own ranges are its own.
    let range = "Range: bytes=2-5\r\n";
    assert_eq!(with(&nginx, "/hello", range).status, 200);
    let own = with(&nginx, "/range", range);
    assert_eq!((own.status, own.text().as_str()), (206, "2345"));
    let part = with(&nginx, "/ranges/hello", range);
    assert_eq!((part.status, part.text().as_str()), (206, "llo,"));
    assert_eq!(part.header("content-range"), Some("bytes 2-5/13"));
    let two = with(&nginx, "/ranges/hello", "Range: bytes=0-1,4-5\r\n");
    assert_eq!((two.status, two.body.len()), (200, 13));
    let beyond = with(&nginx, "/ranges/hello", "Range: bytes=100-\r\n");
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */13")));
    // If-Range has the ETag, or not.
    let same = with(&nginx, "/ranges/cached", "Range: bytes=0-1\r\nIf-Range: \"1\"\r\n");
    assert_eq!((same.status, same.text().as_str()), (206, "ca"));
    let changed = with(&nginx, "/ranges/cached", "Range: bytes=0-1\r\nIf-Range: \"2\"\r\n");
    assert_eq!((changed.status, changed.text().as_str()), (200, "cached\n"));
    let date = "Range: bytes=0-1\r\nIf-Range: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    assert_eq!(with(&nginx, "/ranges/cached", date).status, 206);
    // Of a file, and of what comes in pieces of known length.
    let file = with(&nginx, "/ranges/file?size=100000", "Range: bytes=50000-50003\r\n");
    assert_eq!((file.status, file.body.len()), (206, 4));
    let pieces =
        with(&nginx, "/ranges/stream?n=20&size=1000&length=1", "Range: bytes=999-1000\r\n");
    assert_eq!((pieces.status, pieces.text().as_str()), (206, "ab"));
    nginx.stop();
}

// ---- nginx -t ----

/// What `nginx -t` says of a server with this, which is wrong.
fn refused(inside: &str) -> String {
    let (is_good, said) = Nginx::test("", &server(&format!("\n{inside}\n")));
    assert!(!is_good, "{inside}: {said}");
    assert!(said.contains("test failed"), "{inside}: {said}");
    said
}

/// The line of what `server` was given: the frame and what is always in `http { }` are before it.
fn says(said: &str, parts: &[&str]) {
    let line = said.lines().find(|line| line.contains("[emerg]"));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    for part in parts {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
    let place = line.rsplit_once("nginx.conf:").unwrap_or_else(|| panic!("no place in {line}"));
    let number: usize = place.1.trim().parse().unwrap_or_else(|_| panic!("no line in {line}"));
    assert!(number > 10, "{line}");
}

/// The number of the line at which the configuration has `text`.
fn line_of(said: &str) -> usize {
    let line = said.lines().find(|line| line.contains("[emerg]")).expect("an error");
    line.rsplit(':').next().and_then(|it| it.trim().parse().ok()).expect("a line")
}

#[test]
fn a_configuration_that_is_wrong_is_refused_with_its_line() {
    let module = application("tests/c/module.c").display().to_string();
    let tested = |args: &str| refused(&format!("location / {{ gateway_module {module} {args}; }}"));
    says(
        &refused("location / { gateway_module /nowhere/x.so; }"),
        &["gateway_module \"/nowhere/x.so\"", "No such file or directory"],
    );
    says(
        &refused("location / { gateway_module /etc/passwd; }"),
        &["gateway_module \"/etc/passwd\""],
    );
    says(&tested("newer"), &["it was built for ABI 7 of libgateway, and this is ABI 0", &module]);
    says(&tested("older loader"), &["too new for this loader"]);
    says(&tested("fail"), &["no database"]);
    says(&tested("fail silently"), &["gateway_module"]);
    says(&tested("nothing"), &["gateway_module"]);
    says(&tested("no call"), &["gateway_module"]);
    // One that ends the process it is tried in ends no other.
    says(&tested("die"), &["gateway_module", &module]);
    says(&tested("leave"), &["gateway_module", &module]);
    let at = "location / { gateway_module ${SUITE};";
    says(&refused(&format!("{at} gateway_set no_such_option 1; }}")), &["no_such_option"]);
    says(&refused(&format!("{at} gateway_set max_body much; }}")), &["max_body", "much"]);
    says(&refused(&format!("{at} gateway_threads some; }}")), &["threads", "some"]);
    says(&refused(&format!("{at} gateway_set bind 127.0.0.1:1; }}")), &["bind"]);
    says(
        &refused(&format!("{at} gateway_set request_buffering 0; }}")),
        &["gateway_set", "use \"gateway_request_buffering\""],
    );
    says(
        &refused(&format!("{at} gateway_module ${{SUITE}}; }}")),
        &["\"gateway_module\"", "is duplicate"],
    );
    says(
        &refused(&format!("{at} gateway_request_buffering off; gateway_request_buffering on; }}")),
        &["is duplicate"],
    );
    says(&refused("location / { gateway_module off now; }"), &["has arguments after \"off\""]);
    says(&refused(&format!("{at} gateway_param A b c; }}")), &["invalid parameter \"c\""]);
    says(&refused(&format!("{at} gateway_param CONTENT_LENGTH 1; }}")), &["CONTENT_LENGTH"]);
    says(&refused(&format!("{at} gateway_read_timeout soon; }}")), &["invalid value"]);
    says(&refused("gateway_module;"), &["invalid number of arguments"]);
    says(
        &refused("location / { gateway_module ${APP} serial; gateway_threads 2; }"),
        &["threads = 2", "GW_APP_SERIAL"],
    );
}

#[test]
fn the_line_is_that_of_the_directive() {
    let first = line_of(&refused("gateway_module /nowhere/x.so;"));
    let third = line_of(&refused("\n\ngateway_module /nowhere/x.so;"));
    assert_eq!(third, first + 2);
    // Inherited, and of the http block: where it was said.
    let (is_good, said) = Nginx::test(
        "",
        "gateway_module /nowhere/x.so;\nserver { listen ${IP}:8080;\nlocation / { }\n}",
    );
    assert!(!is_good);
    let (_, later) = Nginx::test(
        "",
        "\n\n\n\ngateway_module /nowhere/x.so;\nserver { listen ${IP}:8080;\nlocation / { }\n}",
    );
    assert_eq!(line_of(&later), line_of(&said) + 4);
}

#[test]
fn a_good_configuration_is_good_and_starts_nothing() {
    let (is_good, said) = Nginx::test(
        "",
        &server(
            "gateway_module ${APP} blocks; gateway_threads 4; gateway_set queue_timeout 5s;
            gateway_param A $host; gateway_pass_request_body on; gateway_intercept_errors off;
            gateway_force_ranges on; gateway_ignore_client_abort on; gateway_read_timeout 5s;
            location / { gateway_request_buffering off; }
            location /x { if ($arg_q) { gateway_module off; } }",
        ),
    );
    assert!(is_good, "{said}");
    assert!(said.contains("test is successful"), "{said}");
}

#[test]
fn an_if_takes_an_application_away_or_gives_one() {
    let nginx = start(
        "location /app/ {
            gateway_module ${SUITE};
            if ($arg_q) { gateway_module off; }
            if ($arg_b) { gateway_module ${APP}; }
        }
        location = /one { root ${RUN}; if ($arg_b) { gateway_module ${SUITE}; } }",
    );
    assert_eq!(get(&nginx, "/app/hello").status, 200);
    assert_eq!(get(&nginx, "/app/hello?q=1").status, 404);
    assert_eq!(get(&nginx, "/app/head?code=404&b=1").text(), "of the application\n");
    let told = get(&nginx, "/one?b=1").text();
    assert!(told.contains("nothing at: \"/one\""), "{told}");
    nginx.stop_with(|line| line.contains("hello\" failed (2"));
}

#[test]
fn one_location_has_one_handler() {
    let both = "location / { gateway_module ${SUITE}; proxy_pass http://127.0.0.1:1; }";
    let (is_good, said) = Nginx::test("", &server(both));
    assert!(!is_good && said.contains("beside another handler"), "{said}");
    let (is_good, said) = Nginx::test(
        "",
        &server(
            "location / { proxy_pass http://127.0.0.1:1; limit_except GET { gateway_module ${SUITE}; } }",
        ),
    );
    assert!(is_good, "{said}");
}

#[test]
fn the_time_of_an_answer_may_be_asked_for_before_its_end() {
    let nginx =
        start("location / { gateway_module ${SUITE}; add_header X-Time $gateway_app_time; }");
    let answer = get(&nginx, "/stream?n=5&size=10&pause=20");
    assert_eq!((answer.status, answer.body.len()), (200, 50));
    assert!(answer.header("x-time").is_some_and(|it| it.starts_with("0.")));
    nginx.stop();
}

#[test]
fn a_worker_that_cannot_load_its_application_answers_503_and_tries_again() {
    let nginx =
        start("location / { gateway_module ${APP} ${RUN}/broken; } location /fine { return 204; }");
    assert_eq!(get(&nginx, "/hello").status, 200);
    // No configuration is read for the worker that takes the place of one that was killed.
    let broken = nginx.path().join("broken");
    std::fs::write(&broken, "").expect("write a file");
    let first = nginx.workers();
    kill(first[0], SIGKILL);
    until("there is another worker", || {
        let now = nginx.workers();
        !now.is_empty() && now != first
    });
    assert_eq!((get(&nginx, "/hello").status, get(&nginx, "/fine").status), (503, 204));
    std::fs::remove_file(&broken).expect("remove the file");
    until("it is tried again", || get(&nginx, "/hello").status == 200);
    assert!(nginx.log().contains("broken is in the way"), "{}", nginx.log());
    drop(nginx);
}
