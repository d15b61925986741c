//! The environ: every CGI variable and what it follows from (RFC 3875, PEP 3333).

use std::collections::BTreeMap;

use gateway::base::error::{Kind, Result};
use gateway::base::octets::Pair;
use gateway::gateway::abi::{Environ, Response as Head, StartResponse};
use gateway::gateway::body::Body;

use super::harness::*;

/// All variables, one a line, as next_var gives them; `-` stands for a missing one in `get`.
fn dump(env: &Environ, start: &StartResponse<'_>) -> Result<Body> {
    let mut text = String::new();
    let mut cursor = 0;
    while let Some(Pair { name, value }) = env.next_var(&mut cursor) {
        let (name, value) = (name.as_slice().escape_ascii(), value.as_slice().escape_ascii());
        text.push_str(&format!("{name}={value}\n"));
    }
    start.respond(&Head::new(200, &TEXT))?;
    Ok(Body::from_vec(text.into_bytes()))
}

type Vars = BTreeMap<String, String>;

fn parse(response: &Response) -> Vars {
    let mut vars = BTreeMap::new();
    for line in response.text().lines() {
        let (name, value) = line.split_once('=').unwrap();
        let before = vars.insert(name.to_owned(), value.to_owned());
        assert!(before.is_none(), "{name} came twice");
    }
    vars
}

fn vars(request: &str) -> Vars {
    let response = Server::new(|_| {}, dump).ask(request);
    assert_eq!(response.status, 200, "{request}: {}", response.text());
    parse(&response)
}

fn var<'a>(vars: &'a Vars, name: &str) -> &'a str {
    vars.get(name).map_or("-", String::as_str)
}

/// What `get` says about these names, for a request.
fn get(request: &str, names: &'static [&'static str]) -> Vec<String> {
    let app = move |env: &Environ, start: &StartResponse<'_>| {
        let values: Vec<_> = names
            .iter()
            .map(|name| match env.get(name.as_bytes()) {
                value if value.is_missing() => "-".to_owned(),
                value => value.as_slice().escape_ascii().to_string(),
            })
            .collect();
        start.respond(&Head::new(200, &TEXT))?;
        Ok(Body::from_vec(values.join("\n").into_bytes()))
    };
    let response = Server::new(|_| {}, app).ask(request);
    assert_eq!(response.status, 200, "{request}");
    response.text().split('\n').map(str::to_owned).collect()
}

#[test]
fn a_request_has_the_variables_of_cgi() {
    let vars = vars(
        "POST /a/b?x=1&y HTTP/1.1\r\nHost: example.org:81\r\nContent-Type: text/x\r\n\
         Content-Length: 2\r\nX-My-Header: v\r\nAccept: */*\r\n\r\nab",
    );
    let expected = [
        ("CONTENT_LENGTH", "2"),
        ("CONTENT_TYPE", "text/x"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("HTTP_ACCEPT", "*/*"),
        ("HTTP_HOST", "example.org:81"),
        ("HTTP_X_MY_HEADER", "v"),
        ("PATH_INFO", "/a/b"),
        ("QUERY_STRING", "x=1&y"),
        ("REMOTE_ADDR", "unix:"),
        ("REMOTE_PORT", ""),
        ("REQUEST_METHOD", "POST"),
        ("REQUEST_URI", "/a/b?x=1&y"),
        ("SCRIPT_NAME", ""),
        ("SERVER_NAME", "example.org"),
        ("SERVER_PORT", "81"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("SERVER_SOFTWARE", concat!("libgateway/", env!("CARGO_PKG_VERSION"))),
    ];
    let got: Vec<_> = vars.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(got, expected);
}

#[test]
fn get_knows_what_next_var_tells_and_the_names_of_wsgi() {
    let request = "GET /?q HTTP/1.0\r\n\r\n";
    assert_eq!(
        get(
            request,
            &["QUERY_STRING", "RAW_URI", "REQUEST_URI", "wsgi.url_scheme", "REQUEST_SCHEME"]
        ),
        ["q", "/?q", "/?q", "http", "http"]
    );
    assert_eq!(
        get(request, &["HTTPS", "HTTP_HOST", "NO_SUCH", "", "wsgi.multithread", "REMOTE_USER"]),
        ["-"; 6]
    );
    assert_eq!(
        get(request, &["SERVER_PROTOCOL", "SERVER_NAME", "SERVER_PORT"]),
        ["HTTP/1.0", "localhost", "80"]
    );
    assert_eq!(get(request, &["gateway.request_id"])[0].len(), 16);
}

#[test]
fn next_var_and_all_vars_agree_with_get() {
    let app = |env: &Environ, start: &StartResponse<'_>| {
        let mut cursor = 0;
        let mut count = 0;
        while let Some(pair) = env.next_var(&mut cursor) {
            assert_eq!(env.get(pair.name.as_slice()).as_slice(), pair.value.as_slice());
            let listed = &env.all_vars()?[count];
            assert_eq!(listed.name.as_slice(), pair.name.as_slice());
            count += 1;
        }
        assert_eq!(env.all_vars()?.len(), count);
        assert!(env.next_var(&mut cursor).is_none(), "the end stays the end");
        cursor = u64::MAX;
        assert!(env.next_var(&mut cursor).is_none());
        dump(env, start)
    };
    let request = "GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\na: 2\r\nCookie: x\r\nA: 3\r\n\r\n";
    let vars = parse(&Server::new(|_| {}, app).ask(request));
    assert_eq!(var(&vars, "HTTP_A"), "1,2,3");
}

#[test]
fn the_method_is_any_token_in_its_own_spelling() {
    for method in ["GET", "get", "PROPFIND", "X-my_Method!"] {
        let request = format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(var(&vars(&request), "REQUEST_METHOD"), method);
    }
}

#[test]
fn the_path_is_decoded_and_the_rest_is_not() {
    for (target, path, query) in [
        ("/", "/", ""),
        ("/a%20b", "/a b", ""),
        ("/a%2Fb%2fc", "/a/b/c", ""),
        ("/%25", "/%", ""),
        ("/%2525", "/%25", ""),
        ("/caf%C3%A9", "/caf\\xc3\\xa9", ""),
        ("/%FF%fe", "/\\xff\\xfe", ""),
        ("/%0d%0a", "/\\r\\n", ""),
        ("/a+b", "/a+b", ""),
        ("/a?b%20c=%2F", "/a", "b%20c=%2F"),
        ("/a?b?c", "/a", "b?c"),
        ("/a?", "/a", ""),
        ("//a//b/../c", "//a//b/../c", ""),
        ("/a;v=1", "/a;v=1", ""),
    ] {
        let vars = vars(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(var(&vars, "PATH_INFO"), path, "{target}");
        assert_eq!(var(&vars, "QUERY_STRING"), query, "{target}");
        assert_eq!(var(&vars, "REQUEST_URI"), target, "as it came");
        assert_eq!(var(&vars, "SCRIPT_NAME"), "");
    }
}

#[test]
fn an_absolute_target_wins_over_the_host_header() {
    for (target, host, path, query) in [
        ("http://real.example/a?q", "real.example", "/a", "q"),
        ("HTTP://real.example:8080", "real.example:8080", "/", ""),
        ("https://real.example?q", "real.example", "/", "q"),
        ("http://[::1]:81/%41", "[::1]:81", "/A", ""),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: other.example\r\n\r\n");
        let vars = vars(&request);
        assert_eq!(var(&vars, "HTTP_HOST"), host, "{target}");
        assert_eq!((var(&vars, "PATH_INFO"), var(&vars, "QUERY_STRING")), (path, query));
        assert_eq!(var(&vars, "REQUEST_URI"), target);
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, port),
            _ => (host, "80"),
        };
        assert_eq!(
            (var(&vars, "SERVER_NAME"), var(&vars, "SERVER_PORT")),
            (name, port),
            "{target}"
        );
        // It is not the client's word that tells the scheme.
        assert_eq!(get(&request, &["wsgi.url_scheme", "HTTP_HOST"]), ["http", host]);
    }
}

#[test]
fn asterisk_and_authority_have_no_path() {
    let options = vars("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((var(&options, "PATH_INFO"), var(&options, "REQUEST_URI")), ("*", "*"));
    assert_eq!(var(&options, "QUERY_STRING"), "");
    let app = |env: &Environ, start: &StartResponse<'_>| {
        let text = [
            env.request_method(),
            env.path_info(),
            env.request_uri(),
            env.get(b"HTTP_HOST").as_slice(),
            env.server_name(),
            env.server_port(),
        ]
        .join(&b'|');
        start.respond(&Head::new(405, &TEXT))?;
        Ok(Body::from_vec(text))
    };
    let response =
        Server::new(|_| {}, app).ask("CONNECT a.example:443 HTTP/1.1\r\nHost: b.example\r\n\r\n");
    assert_eq!(response.text(), "CONNECT||a.example:443|a.example:443|a.example|443");
}

#[test]
fn fields_that_come_twice_are_joined() {
    let request = "GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nCookie: a=1\r\nx-a: 2\r\nCookie: b=2\r\n\
                   X-Empty:\r\nX-a: \r\ncookie: c=3\r\n\r\n";
    let vars = vars(request);
    assert_eq!(var(&vars, "HTTP_X_A"), "1,2,");
    assert_eq!(var(&vars, "HTTP_COOKIE"), "a=1; b=2; c=3");
    assert_eq!(var(&vars, "HTTP_X_EMPTY"), "");
    assert_eq!(
        get(request, &["HTTP_X_A", "HTTP_COOKIE", "HTTP_X_EMPTY"]),
        ["1,2,", "a=1; b=2; c=3", ""]
    );
}

#[test]
fn names_with_an_underscore_are_dropped() {
    let request = "GET / HTTP/1.1\r\nHost: h\r\nX_Real_Ip: evil\r\nX-Real_Ip: evil\r\n\r\n";
    assert!(!vars(request).contains_key("HTTP_X_REAL_IP"));
    assert_eq!(get(request, &["HTTP_X_REAL_IP"]), ["-"]);
    let request = "GET / HTTP/1.1\r\nHost: h\r\nX_Real_Ip: evil\r\nX-Real-Ip: good\r\n\r\n";
    assert_eq!(var(&vars(request), "HTTP_X_REAL_IP"), "good");
    assert_eq!(get(request, &["HTTP_X_REAL_IP"]), ["good"]);
    let app = |env: &Environ, start: &StartResponse<'_>| {
        let names: Vec<_> = env.headers().iter().map(|field| field.name.as_slice()).collect();
        start.respond(&Head::new(200, &TEXT))?;
        Ok(Body::from_vec(names.join(&b' ')))
    };
    let response = Server::new(|_| {}, app).ask(request);
    assert_eq!(response.text(), "Host X_Real_Ip X-Real-Ip", "the raw list has all");
}

#[test]
fn content_type_and_length_have_no_http_twins() {
    let request =
        "POST / HTTP/1.1\r\nHost: h\r\ncontent-type: a/b\r\ncontent-length: 003\r\n\r\nabc";
    let names = &["CONTENT_TYPE", "CONTENT_LENGTH", "HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"];
    assert_eq!(get(request, names), ["a/b", "3", "-", "-"]);
    assert!(vars(request).keys().all(|name| !name.starts_with("HTTP_CONTENT")));
    // Missing, and empty.
    assert_eq!(get(GET, &["CONTENT_TYPE", "CONTENT_LENGTH"]), ["-", "-"]);
    assert!(!vars(GET).contains_key("CONTENT_TYPE") && !vars(GET).contains_key("CONTENT_LENGTH"));
    let empty = "GET / HTTP/1.1\r\nHost: h\r\nContent-Type:\r\n\r\n";
    assert_eq!(get(empty, &["CONTENT_TYPE"]), [""]);
}

#[test]
fn the_raw_headers_are_as_they_came() {
    let app = |env: &Environ, start: &StartResponse<'_>| {
        let mut text = Vec::new();
        for Pair { name, value } in env.headers() {
            text.extend_from_slice(name.as_slice());
            text.push(b'=');
            text.extend_from_slice(value.as_slice());
            text.push(b'\n');
        }
        start.respond(&Head::new(200, &TEXT))?;
        Ok(Body::from_vec(text))
    };
    let request =
        b"GET / HTTP/1.1\r\nhOSt: h\r\nX-One:  \t a  b \t\r\nx-two:\xfc\r\nX-one:2\r\n\r\n";
    let response = Server::new(|_| {}, app).ask(request);
    assert_eq!(response.body, b"hOSt=h\nX-One=a  b\nx-two=\xfc\nX-one=2\n");
}

#[test]
fn a_tcp_peer_has_an_address_and_a_port_and_the_listener_is_the_server() {
    let mut server = Server::new(
        |config| {
            config.set("bind", "127.0.0.1:0").unwrap();
        },
        dump,
    );
    let port = server.engine.listeners()[0].server_port().to_owned();
    let mut client = server.dial();
    client.send(GET);
    let vars = parse(&server.reply(&mut client));
    assert_eq!(var(&vars, "REMOTE_ADDR"), "127.0.0.1");
    assert_eq!(var(&vars, "REMOTE_PORT"), client.local_port().to_string());
    assert_eq!((var(&vars, "SERVER_NAME"), var(&vars, "SERVER_PORT")), ("127.0.0.1", &port[..]));
    // What was adopted knows its own address.
    let mut client = server.connect_tcp();
    client.send(GET);
    let vars = parse(&server.reply(&mut client));
    assert_eq!(var(&vars, "SERVER_NAME"), "127.0.0.1");
    assert_ne!(var(&vars, "SERVER_PORT"), port);
}

#[test]
fn on_a_unix_socket_the_server_is_what_the_client_calls_it() {
    let dir = Dir::new();
    let path = dir.0.join("socket");
    let bind = format!("unix:{}", path.display());
    let mut server = Server::new(
        |config| {
            config.set("bind", &bind).unwrap();
        },
        dump,
    );
    for (host, name, port) in [
        ("Host: example.org\r\n", "example.org", "80"),
        ("Host: example.org:\r\n", "example.org", "80"),
        ("Host: example.org:8080\r\n", "example.org", "8080"),
        ("Host: [::1]\r\n", "[::1]", "80"),
        ("Host: [::1]:99\r\n", "[::1]", "99"),
        ("Host:\r\n", "localhost", "80"),
    ] {
        let stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let mut client = Client::unix(stream);
        client.send(format!("GET / HTTP/1.1\r\n{host}\r\n"));
        let vars = parse(&server.reply(&mut client));
        assert_eq!((var(&vars, "SERVER_NAME"), var(&vars, "SERVER_PORT")), (name, port), "{host}");
        assert_eq!((var(&vars, "REMOTE_ADDR"), var(&vars, "REMOTE_PORT")), ("unix:", ""));
    }
}

#[test]
fn a_derived_environ_changes_and_the_request_does_not() {
    let app = |env: &Environ, start: &StartResponse<'_>| {
        let derived = env.derive()?;
        for (name, value) in [
            ("SCRIPT_NAME", Some("/app")),
            ("PATH_INFO", Some("")),
            ("REMOTE_USER", Some("me")),
            ("HTTP_X_A", Some("mine")),
            ("HTTP_COOKIE", None),
            ("QUERY_STRING", None),
            ("CONTENT_LENGTH", Some("77")),
            ("SERVER_SOFTWARE", Some("other")),
            ("GATEWAY_INTERFACE", None),
            ("wsgi.url_scheme", Some("https")),
        ] {
            assert_eq!(capp::set(derived, name, value.map(str::as_bytes)), 0, "{name}");
        }
        assert_eq!(derived.get(b"HTTPS").as_slice(), b"on");
        // A second time, and a second copy.
        assert_eq!(capp::set(derived, "REMOTE_USER", Some(b"you")), 0);
        let twice = derived.derive()?;
        assert_eq!(capp::set(twice, "REMOTE_USER", None), 0);
        assert!(twice.get(b"REMOTE_USER").is_missing());
        assert_eq!(derived.get(b"REMOTE_USER").as_slice(), b"you");
        // The request itself is as it was.
        assert_eq!(env.get(b"HTTP_X_A").as_slice(), b"1");
        assert_eq!(env.get(b"HTTP_COOKIE").as_slice(), b"c=1");
        assert_eq!((env.content_length(), env.path_info()), (-1, &b"/p"[..]));
        assert!(env.get(b"REMOTE_USER").is_missing());
        dump(derived, start)
    };
    let request = "GET /p?q HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nCookie: c=1\r\n\r\n";
    let vars = parse(&Server::new(|_| {}, app).ask(request));
    assert_eq!((var(&vars, "SCRIPT_NAME"), var(&vars, "PATH_INFO")), ("/app", ""));
    assert_eq!((var(&vars, "REMOTE_USER"), var(&vars, "HTTP_X_A")), ("you", "mine"));
    assert_eq!((var(&vars, "CONTENT_LENGTH"), var(&vars, "HTTPS")), ("77", "on"));
    assert_eq!(var(&vars, "SERVER_SOFTWARE"), "other");
    for gone in ["HTTP_COOKIE", "QUERY_STRING", "GATEWAY_INTERFACE"] {
        assert!(!vars.contains_key(gone), "{gone}");
    }
}

#[test]
fn what_cannot_be_set_is_refused() {
    let app = |env: &Environ, start: &StartResponse<'_>| {
        let derived = env.derive()?;
        let invalid = Kind::Invalid as i32;
        for (name, value) in
            [("", "x"), ("wsgi.input", "x"), ("CONTENT_LENGTH", "-1"), ("CONTENT_LENGTH", "1x")]
        {
            assert_eq!(capp::set(derived, name, Some(value.as_bytes())), invalid, "{name}={value}");
        }
        assert_eq!(derived.content_length(), -1);
        dump(env, start)
    };
    assert_eq!(Server::new(|_| {}, app).ask(GET).status, 200);
}

#[test]
fn parameters_of_the_query_are_decoded() {
    let app = |env: &Environ, start: &StartResponse<'_>| {
        let names: [&[u8]; 8] = [b"a", b"b", b"c", b"a b", b"\xc3\xa9", b"e", b"none", b""];
        let values: Vec<_> = names
            .iter()
            .map(|name| match env.query(name) {
                value if value.is_missing() => "-".to_owned(),
                value => value.as_slice().escape_ascii().to_string(),
            })
            .collect();
        start.respond(&Head::new(200, &TEXT))?;
        Ok(Body::from_vec(values.join("|").into_bytes()))
    };
    let mut server = Server::new(|_| {}, app);
    let mut ask = |query: &str| {
        server.ask(format!("GET /?{query} HTTP/1.1\r\nHost: h\r\n\r\n")).text().to_owned()
    };
    assert_eq!(ask("a=1&b=x+y%2B&c&a=2"), "1|x y+||-|-|-|-|-");
    assert_eq!(ask("a+b=1&%C3%A9=2&e=%zz%4"), "-|-|-|1|2|%zz%4|-|-");
    assert_eq!(ask("a=b=c&&b=&e=%00"), "b=c||-|-|-|\\x00|-|-");
    assert_eq!(ask("A=1&aa=2"), "-|-|-|-|-|-|-|-");
}

#[test]
fn flags_say_how_the_worker_works() {
    use gateway::gateway::abi::{ENV_MAY_BLOCK, ENV_MULTIPROCESS, ENV_MULTITHREAD, ENV_RUN_ONCE};
    let app = |env: &Environ, start: &StartResponse<'_>| {
        let all = ENV_MAY_BLOCK | ENV_MULTIPROCESS | ENV_MULTITHREAD | ENV_RUN_ONCE;
        start.respond(&Head::new(200, &TEXT))?;
        Ok(Body::from_vec((env.flags() & all).to_string().into_bytes()))
    };
    assert_eq!(Server::new(|_| {}, app).ask(GET).text(), "0");
    assert_eq!(Server::blocking(|_| {}, app).ask(GET).text(), ENV_MAY_BLOCK.to_string());
}

#[test]
fn the_hook_sees_each_environ_before_the_application() {
    let journal = Journal::default();
    let (hook, app) = (journal.clone(), journal.clone());
    let mut server = Server::new(
        |config| {
            config.on_request(move |env| {
                hook.add(format!("hook {}", env.path_info().escape_ascii()));
            });
        },
        move |env: &Environ, start: &StartResponse<'_>| {
            app.add("app");
            hello(env, start)
        },
    );
    server.ask(GET);
    server.ask("GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(journal.take(), ["hook /", "app", "hook /b", "app"]);
}

#[test]
fn a_derived_environ_reads_the_same_body() {
    let app = |env: &Environ, start: &StartResponse<'_>| {
        let derived = env.derive()?;
        let mut one = [0; 1];
        assert_eq!(derived.read(&mut one)?, 1);
        echo(env, start)
    };
    assert_eq!(Server::new(|_| {}, app).ask(post(b"abc")).text(), "bc");
}
