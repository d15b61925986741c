//! Small ready-made applications, `redirect` and `health`, through `tests/c/builtin.c`.

mod harness;

use harness::client::{End, Response};
use harness::{SIGTERM, Server, program, until};

fn start(args: &[&str]) -> Server {
    Server::start(&program(&["tests/c/builtin.c"]), &[&["bind={}"], args].concat())
}

fn ask(server: &Server, method: &str, target: &str) -> Response {
    let mut client = server.connect();
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"));
    client.response(method)
}

#[test]
fn redirects() {
    for (app, method, target, status, location) in [
        ("to=https://example.org/", "GET", "/a?b", 302, "https://example.org/"),
        (
            "to=https://example.org status=308 keep=path,query",
            "POST",
            "/a%20b/?c=%64",
            308,
            "https://example.org/a%20b/?c=%64",
        ),
        ("to=/new status=301 keep=path", "HEAD", "/a?b", 301, "/new/a"),
        ("to=/ status=307 keep=path", "GET", "//evil.example/", 307, "/evil.example/"),
        (
            "to=https://example.org keep=path",
            "GET",
            "/%0d%0aSet-Cookie:a=b",
            302,
            "https://example.org/%0D%0ASet-Cookie:a=b",
        ),
        (
            "to=https://example.org status=303 keep=query",
            "GET",
            "/?a=b",
            303,
            "https://example.org?a=b",
        ),
    ] {
        let server = start(&[&format!("app=redirect {app}")]);
        let told = ask(&server, method, target);
        assert_eq!((told.status, told.header("location")), (status, Some(location)), "{app}");
        assert_eq!(told.header("set-cookie"), None);
        server.stop();
    }
}

#[test]
fn health_while_nothing_is_wrong() {
    for app in ["health", "health check=live", "health check=ready"] {
        let server = start(&[&format!("app={app}")]);
        let told = ask(&server, "GET", "/any/path");
        assert_eq!((told.status, &*told.text()), (200, "ok\n"));
        assert_eq!(told.header("cache-control"), Some("no-store"));
        assert_eq!(ask(&server, "HEAD", "/").status, 200);
        assert_eq!(ask(&server, "POST", "/").status, 405);
        server.stop();
    }
}

const SIGHUP: i32 = 1;

/// The ways to serve.
const MODELS: [&[&str]; 4] = [
    &["worker_model=inline"],
    &["worker_model=threads", "workers=2"],
    &["worker_model=fork", "workers=2"],
    &["worker_model=exec", "workers=2"],
];

#[test]
fn a_lame_duck_is_alive_and_not_ready() {
    for model in MODELS {
        let ready = start(&[model, &["app=health", "lame_duck=1h"]].concat());
        assert_eq!(ask(&ready, "GET", "/").status, 200, "{model:?}");
        ready.signal(SIGTERM);
        until("it is not ready", || ask(&ready, "GET", "/").status == 503);
        let told = ask(&ready, "GET", "/");
        assert_eq!((&*told.text(), told.header("retry-after")), ("stopping\n", Some("1")));
        ready.stop();

        let live =
            start(&[model, &["app=health check=live", "lame_duck=1h", "health_path=/h"]].concat());
        assert_eq!(ask(&live, "GET", "/").status, 200, "{model:?}");
        live.signal(SIGTERM);
        until("it stops", || ask(&live, "GET", "/h").status == 503);
        assert_eq!(ask(&live, "GET", "/").status, 200, "{model:?}");
        live.stop();
    }
}

/// The last answer on a connection that is kept, to a server that was just sent a signal.
fn last_answer(server: &Server, signal: i32) -> u16 {
    let mut client = server.connect();
    assert_eq!(client.get("/").status, 200);
    server.signal(signal);
    loop {
        let told = client.get("/");
        if !told.keeps_alive() {
            assert_eq!(client.end(), End::Closed);
            return told.status;
        }
        assert_eq!(told.status, 200);
    }
}

/// The application, and the option that answers in front of another.
const PROBES: [&str; 2] = ["app=health", "health_path=/"];

#[test]
fn a_server_that_stops_is_not_ready() {
    for (model, probe) in MODELS.iter().flat_map(|model| PROBES.map(|probe| (*model, probe))) {
        // The stop may begin while an answer is made.
        let says_so = (0..20).any(|_| {
            let server = start(&[model, &[probe, "keepalive=60s"]].concat());
            let status = last_answer(&server, SIGTERM);
            let ended = server.end();
            assert_eq!(ended.status, Some(0), "{model:?} {probe} {ended:?}");
            status == 503
        });
        assert!(says_so, "{model:?} {probe}");
    }
}

#[test]
fn a_worker_that_leaves_for_another_says_nothing() {
    for (model, probe) in MODELS[1..].iter().flat_map(|model| PROBES.map(|probe| (*model, probe))) {
        let server = start(&[model, &[probe, "keepalive=60s"]].concat());
        assert_eq!(last_answer(&server, SIGHUP), 200, "{model:?} {probe}");
        assert_eq!(ask(&server, "GET", "/").status, 200);
        server.stop();
    }
}
