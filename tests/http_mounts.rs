//! Several applications in one instance: which of them answers, what it is told of its place, where it
//! runs, what is around it, and what is said of places that cannot be.
//!
//! `tests/c/mounts.c` serves what it is told to; its applications say what they see.

mod harness;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use harness::client::{Client, Response};
use harness::life::unique;
use harness::{Ended, PATIENCE, Server, Under, program, support, under, until};

fn mounts() -> PathBuf {
    program(&["tests/c/mounts.c"])
}

fn start(words: &[&str]) -> Server {
    Server::start(&mounts(), &[&["{}"], words].concat())
}

fn launch(words: &[&str]) -> Ended {
    Server::launch(&mounts(), &[&["{}"], words].concat()).end()
}

/// The ways to serve.
const MODELS: [&[&str]; 3] = [
    &["worker_model=inline"],
    &["worker_model=threads", "workers=1"],
    &["worker_model=fork", "workers=2"],
];

fn asked(client: &mut Client, host: &str, target: &str) -> Response {
    client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    client.response("GET")
}

/// The name, SCRIPT_NAME, PATH_INFO and REQUEST_URI.
fn seen(response: &Response) -> String {
    assert_eq!(response.status, 200, "{response:?}");
    response.text().split(' ').take(4).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_longest_match_answers_and_is_script_name() {
    let words = ["app=/=root", "app=/a=a", "app=/a/b/=b", "app=/caf%C3%A9=cafe"];
    for model in MODELS {
        let server = start(&[model, &words].concat());
        let mut client = server.connect();
        for (target, expected) in [
            ("/", "root [] [/] /"),
            ("/ab", "root [] [/ab] /ab"),
            ("/a", "a [/a] [] /a"),
            ("/a/", "a [/a] [/] /a/"),
            ("/a/x?y", "a [/a] [/x] /a/x?y"),
            ("/a/b", "b [/a/b] [] /a/b"),
            ("/a/b/c%2Fd", "b [/a/b] [/c/d] /a/b/c%2Fd"),
            ("/%61/bc", "a [/a] [/bc] /%61/bc"),
            ("/caf%c3%a9/x", "cafe [/café] [/x] /caf%c3%a9/x"),
            ("http://x/a/b", "b [/a/b] [] http://x/a/b"),
            ("http://x", "root [] [/] http://x"),
        ] {
            assert_eq!(seen(&asked(&mut client, "x", target)), expected, "{model:?}");
        }
        client.send("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_eq!(seen(&client.response("OPTIONS")), "root [] [*] *", "{model:?}");
        drop(client);
        server.stop();
    }
}

#[test]
fn a_host_counts_before_a_path() {
    let words = [
        "worker_model=inline",
        "app=/=root",
        "app=/shop=shops",
        "app=Example.org/=example",
        "app=example.org/shop=shop",
        "app=*.example.org/=below",
    ];
    let server = start(&words);
    let mut client = server.connect();
    for (host, target, expected) in [
        ("other", "/", "root [] [/] /"),
        ("other", "/shop/1", "shops [/shop] [/1] /shop/1"),
        ("example.org", "/", "example [] [/] /"),
        ("EXAMPLE.ORG:8000", "/shop/1", "shop [/shop] [/1] /shop/1"),
        ("www.Example.org.", "/shop", "below [] [/shop] /shop"),
        ("notexample.org", "/shop", "shops [/shop] [] /shop"),
        // RFC 9112 section 3.2.2: the target says the host.
        ("other", "http://example.org/shop", "shop [/shop] [] http://example.org/shop"),
        ("example.org", "http://other/shop", "shops [/shop] [] http://other/shop"),
    ] {
        assert_eq!(seen(&asked(&mut client, host, target)), expected, "{host} {target}");
    }
    let mut old = server.connect();
    old.send("GET /shop HTTP/1.0\r\n\r\n");
    assert_eq!(seen(&old.response("GET")), "shops [/shop] [] /shop");
    drop(old);
    drop(client);
    server.stop();
}

/// What nothing is mounted for is ours to answer: on a connection that is kept, and before the threads.
#[test]
fn what_matches_nothing_is_404() {
    let words = ["app=/a=a", "app=h/b=b", "accesslog=-", "health_path=/a"];
    for model in [&["worker_model=inline"][..], &["workers=1", "use=never"]] {
        let server = start(&[model, &words].concat());
        let mut client = server.connect();
        for (host, target) in [("x", "/"), ("x", "/ab"), ("x", "/b"), ("x", "*"), ("h", "/")] {
            let method = if target == "*" { "OPTIONS" } else { "GET" };
            client.send(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            let response = client.response(method);
            assert_eq!(response.status, 404, "{host}{target}: {response:?}");
            assert_eq!(response.text(), "404 Not Found: no application is mounted here\n");
            assert_eq!(response.header("content-type"), Some("text/plain; charset=utf-8"));
            assert_eq!(response.header("x-through"), None);
            assert!(response.keeps_alive());
        }
        let response = client.post("/nothing", "a body");
        assert_eq!(response.status, 404, "{response:?}");
        client.send("HEAD /nothing HTTP/1.1\r\nHost: x\r\n\r\n");
        let response = client.response("HEAD");
        assert_eq!((response.status, response.body.len()), (404, 0), "{response:?}");
        assert_eq!(client.get("/a/counts").text(), "unmounted 7 requests 8 404 7");
        assert_eq!(asked(&mut client, "h", "/b").status, 200);
        drop(client);
        let ended = server.stop();
        assert_eq!(ended.stdout.matches("\" 404 ").count(), 7, "{ended:?}");
    }
}

/// A request of the uwsgi protocol, or of SCGI, and all that is answered.
fn behind(port: &str, is_uwsgi: bool, modifier: u8, vars: &[(&str, &str)]) -> String {
    let mut octets = Vec::new();
    for text in vars.iter().flat_map(|(name, value)| [name, value]) {
        if is_uwsgi {
            octets.extend((text.len() as u16).to_le_bytes());
        }
        octets.extend(text.as_bytes());
        if !is_uwsgi {
            octets.push(0);
        }
    }
    let mut head = if is_uwsgi {
        let [low, high] = (octets.len() as u16).to_le_bytes();
        vec![modifier, low, high, 0]
    } else {
        format!("{}:", octets.len()).into_bytes()
    };
    head.append(&mut octets);
    if !is_uwsgi {
        head.push(b',');
    }
    let mut stream = TcpStream::connect(port).expect("connect");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    stream.write_all(&head).expect("send");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer.split("\r\n\r\n").nth(1).unwrap_or(&answer).to_owned()
}

/// A front that has a part of the path for itself says so, and our part comes behind it.
#[test]
fn script_name_of_a_front_stays() {
    let words = ["worker_model=inline", "app=/=root", "app=/a=a", "app=h/a/b=b"];
    let binds = ["bind=uwsgi://{ip}:8001", "bind=scgi://{ip}:8002"];
    let server = start(&[&words[..], &binds].concat());
    let ip = server.address().strip_suffix(":8000").expect("a port");
    until("it listens for SCGI", || TcpStream::connect(format!("{ip}:8002")).is_ok());
    for (modifier, script, path, expected) in [
        (0, "", "/", "root [] [/] /from/the/front"),
        (0, "", "/a/x", "a [/a] [/x] /from/the/front"),
        (0, "/front", "/a", "a [/front/a] [] /from/the/front"),
        (0, "/front", "/a/b/c", "b [/front/a/b] [/c] /from/the/front"),
        (0, "/front", "/front/a", "root [/front] [/front/a] /from/the/front"),
        (0, "/a", "/x", "root [/a] [/x] /from/the/front"),
        (0, "/", "/a", "a [/a] [] /from/the/front"),
        (0, "/front", "", "root [/front] [] /from/the/front"),
        // It asks us to take its part away.
        (30, "/front", "/front/a/x", "a [/front/a] [/x] /from/the/front"),
    ] {
        for (port, is_uwsgi) in [("8001", true), ("8002", false)] {
            if modifier == 30 && !is_uwsgi {
                continue;
            }
            let scgi = [("CONTENT_LENGTH", "0"), ("SCGI", "1")];
            let mut vars = if is_uwsgi { Vec::new() } else { scgi.to_vec() };
            vars.extend([
                ("REQUEST_METHOD", "GET"),
                ("REQUEST_URI", "/from/the/front"),
                ("SCRIPT_NAME", script),
                ("PATH_INFO", path),
                ("QUERY_STRING", ""),
                ("SERVER_PROTOCOL", "HTTP/1.1"),
                ("HTTP_HOST", "H:8080"),
            ]);
            let answer = behind(&format!("{ip}:{port}"), is_uwsgi, modifier, &vars);
            let seen = answer.split(' ').take(4).collect::<Vec<_>>().join(" ");
            assert_eq!(seen, expected, "{script} {path} {port}: {answer}");
        }
    }
    server.stop();
}

/// The layers that an answer has come through, innermost first.
fn layers(response: &Response) -> String {
    let all = response.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-through"));
    all.map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(" ")
}

#[test]
fn middleware_is_for_all_or_for_one() {
    let words = [
        "app=/a=a",
        "app=/b=b=loop",
        "use=outer",
        "use=inner",
        "use=first=/b/",
        "use=second=/b",
        "app=/c=c",
    ];
    for model in MODELS {
        let server = start(&[model, &words].concat());
        let mut client = server.connect();
        for (target, expected) in [
            ("/a/x", "inner outer"),
            ("/b/x", "second first inner outer"),
            ("/c", "inner outer"),
            ("/d", ""),
        ] {
            let response = client.get(target);
            assert_eq!(layers(&response), expected, "{model:?} {target}");
        }
        assert_eq!(seen(&client.get("/b/x")), "b [/b] [/x] /b/x");
        drop(client);
        let ended = server.stop();
        // Each once, by whoever began; what workers made of it ends with them.
        for name in ["a", "b", "c", "outer", "inner", "first", "second"] {
            let line = format!("\n{name} dropped\n");
            let text = format!("\n{}", ended.stderr.replace('\n', "\n\n"));
            assert_eq!(text.matches(&line).count(), 1, "{model:?} {name}: {ended:?}");
        }
    }
}

fn module(name: &str, answer: &str) -> PathBuf {
    let dir = support::scratch_dir().join(format!("mounts-{name}-{:?}", under()));
    fs::create_dir_all(&dir).expect("create a directory");
    let out = dir.join("app.so");
    let source = support::root().join("tests/c/module.c");
    let define = format!("-DANSWER=\"{answer}\"");
    let mut args = vec!["-shared", "-fPIC", &define];
    if under() == Under::Sanitizers {
        args.push("-fsanitize=address,undefined");
    }
    let fresh = out.with_extension("fresh");
    support::compile_c(&source, &fresh, &args);
    fs::rename(&fresh, &out).expect("put the module in place");
    out
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn modules_at_several_places() {
    let (one, two) = (module("one", "one"), module("two", "two"));
    let words = [
        format!("module=/one={}=hooks", text(&one)),
        format!("module=h/two={}=args=of two", text(&two)),
        // The same file once more is asked once more.
        format!("module=/again={}=again", text(&two)),
        "app=/=root".into(),
        "use=wrapped=/one".into(),
        "errorlog=-".into(),
    ];
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let preload = ["worker_model=fork", "workers=1", "preload=1"];
    for model in MODELS.into_iter().chain([&preload[..]]) {
        let server = start(&[model, &words].concat());
        let mut client = server.connect();
        assert_eq!(client.get("/one").text(), "one");
        assert_eq!(layers(&client.get("/one")), "wrapped");
        let told = |path: &Path, args| format!("{} ({args})", path.display());
        assert_eq!(client.get("/one/told").text(), told(&one, "hooks"));
        assert_eq!(asked(&mut client, "h", "/two").text(), "two");
        assert_eq!(asked(&mut client, "h", "/two/told").text(), told(&two, "again"));
        assert!(client.get("/again/pid").text().contains(" inits 2 "), "{model:?}");
        assert_eq!(seen(&client.get("/two")), "root [] [/two] /two");
        drop(client);
        let ended = server.stop();
        for place in ["/one", "h/two", "/again"] {
            let path = if place == "/one" { &one } else { &two };
            let line = format!("Loaded module {} (tested 1.2) at {place}\n", path.display());
            assert!(ended.stderr.contains(&line), "{model:?}: {ended:?}");
        }
        assert!(ended.stderr.contains("module's hooks request"), "{model:?}: {ended:?}");
    }
}

/// The text of a request of this path: where its application runs.
fn place(client: &mut Client, target: &str) -> String {
    client.get(target).text().splitn(5, ' ').nth(4).unwrap_or_default().to_owned()
}

#[test]
fn each_runs_where_its_flags_say() {
    let mixed = ["app=/=root", "app=/loop=l=loop", "app=/serial=s=serial", "app=/safe=t=safe"];
    for model in [&["worker_model=inline"][..], &["workers=2"]] {
        let server = start(&[model, &mixed, &["request_buffering=0"]].concat());
        let mut client = server.connect();
        for (target, expected) in [
            ("/", "thread"),
            ("/loop", "loop nonblocking"),
            ("/serial", "loop"),
            ("/safe", "thread"),
            ("/nothing", "thread"),
            ("/loop/", "loop nonblocking"),
        ] {
            assert_eq!(place(&mut client, target), expected, "{model:?} {target}");
        }
        // Who must not wait for a body is told so, and who may gets it.
        for (target, expected) in
            [("/loop/read", "GW_ERR_BUSY"), ("/serial/read", "GW_OK"), ("/read", "GW_OK")]
        {
            let mut client = server.connect();
            let head = "HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n";
            client.send(format!("POST {target} {head}"));
            if expected == "GW_OK" {
                client.send("abc");
            }
            assert_eq!(client.response("POST").text(), expected, "{model:?} {target}");
        }
        drop(client);
        server.stop();
    }
    // All that never block: no thread is there.
    let server = start(&["worker_model=inline", "app=/a=a=loop", "app=/b=b=loop"]);
    assert_eq!(place(&mut server.connect(), "/b"), "loop nonblocking");
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("tasks").count();
    assert_eq!(tasks, 1);
    server.stop();
    // Threads that are asked for are for all.
    let server = start(&["worker_model=inline", "threads=2", "app=/a=a=loop", "app=/b=b=safe"]);
    let mut client = server.connect();
    for target in ["/a", "/b"] {
        assert_eq!(place(&mut client, target), "thread", "{target}");
    }
    drop(client);
    server.stop();
}

#[test]
fn what_does_not_fit_is_said_by_name() {
    let one = |words: &[&str], expected: &str| {
        let ended = launch(words);
        assert_eq!(ended.stdout, format!("{expected}\n"), "{words:?}: {ended:?}");
        assert_eq!(ended.status, Some(1), "{words:?}: {ended:?}");
    };
    for (second, said) in [
        ("app=/a=two", "'/a': application \"two\""),
        ("app=/a/=two", "'/a/': application \"two\""),
        ("app=/%61=two", "'/%61': application \"two\""),
        ("module=/a=./x.so=", "'/a': a module"),
    ] {
        let expected =
            format!("GW_ERR_INVALID: mount point {said} cannot be where application \"one\" is");
        one(&["app=/a=one", second], &expected);
    }
    one(
        &["app=Example.org/=one", "app=example.org./=two"],
        "GW_ERR_INVALID: mount point 'example.org./': application \"two\" cannot be where \
         application \"one\" is",
    );
    one(
        &["root=one", "app=/=two"],
        "GW_ERR_INVALID: mount point '/': application \"two\" cannot be where application \"one\" is",
    );
    one(
        &["app=api=one"],
        "GW_ERR_INVALID: mount point 'api': there is no slash: a path begins with one (\"/api\"), and \
         one ends a host (\"api/\")",
    );
    one(&["app=h:80/=one"], "GW_ERR_INVALID: mount point 'h:80/': a host has no port");
    one(
        &["module=/a//b=./x.so="],
        "GW_ERR_INVALID: mount point '/a//b': an empty segment, between two slashes",
    );
    one(
        &["app=/a=one", "app=h/b=two", "use=layer=/b"],
        "GW_ERR_NOT_FOUND: mount point '/b': nothing is mounted there yet; there is /a, h/b",
    );
    one(
        &["app=/a=one", "app=/b=two=safe", "app=h/c=three=loop", "threads=2"],
        "GW_ERR_INVALID: threads = 2: application \"one\" at /a is not GW_APP_THREADSAFE",
    );
    one(
        &["app=/a=one=loop", "app=h/b=two", "threads=0"],
        "GW_ERR_INVALID: threads = 0: application \"two\" at h/b may block, and would stop the loop: \
         give it threads, or say that it is GW_APP_NONBLOCKING or GW_APP_SERIAL",
    );
    one(
        &["app=/a=one", "app=/b=two=serial", "threads=1"],
        "GW_ERR_INVALID: threads = 1: application \"two\" at /b is GW_APP_SERIAL, which runs on the loop",
    );
    one(
        &["worker_model=inline", "app=/a=one", "app=/b=two", "fails=/b"],
        "GW_ERR_IO: middleware around application \"two\" at /b: no key",
    );
    // All of them at once, to who asks, also in middleware.
    for also in [&[][..], &["use=layer"]] {
        let words = ["check", "threads=2", "app=/a=one", "app=/b=two", "app=/=three=loop"];
        let ended = launch(&[&words, also].concat());
        for name in ["\"one\" at /a", "\"two\" at /b"] {
            let line = format!("threads = 2: application {name} is not GW_APP_THREADSAFE");
            assert_eq!(ended.stdout.matches(&line).count(), 1, "{ended:?}");
        }
        assert!(ended.stdout.ends_with("GW_ERR_INVALID\n"), "{ended:?}");
    }
    let ended = launch(&["check", "app=/a=one", "app=h/b=two=loop"]);
    assert_eq!(ended.stdout, "GW_OK\n", "{ended:?}");
}

/// As gw_config_app has it: NULL is everything, and what is given again is instead.
#[test]
fn what_is_given_for_everything_is_replaced() {
    for words in [["root=one", "app=-=two"], ["app=-=one", "root=two"], ["app=/=one", "app=-=two"]]
    {
        let server = start(&[&["worker_model=inline"], &words[..]].concat());
        assert_eq!(seen(&server.connect().get("/x")), "two [] [/x] /x", "{words:?}");
        let ended = server.stop();
        let dropped: Vec<_> =
            ended.stderr.lines().filter(|line| line.ends_with(" dropped")).collect();
        assert_eq!(dropped, ["one dropped", "two dropped"], "{words:?}");
    }
}

/// Only new workers are there, and one of them.
fn renewed(server: &Server, before: &[i32]) {
    until("the new worker is alone", || {
        let now = server.workers();
        now.len() == 1 && !before.contains(&now[0])
    });
}

/// Another configuration has other mounts.
#[test]
fn a_reload_changes_what_is_mounted() {
    let mut server = start(&["arbiter", "signals=1", "workers=2", "app=/a=one", "app=/b=two"]);
    assert_eq!(server.connect().get("/c").status, 404);
    until("two workers", || server.workers().len() == 2);
    let before = server.workers();
    // One that cannot be changes nothing.
    server.stdin("reload signals=1 workers=1 threads=2 app=/c=four\n");
    server.stdin("reload signals=1 workers=1 app=/a=other app=/c=three=loop use=layer=/c\n");
    until("what is new answers", || server.connect().get("/c").status == 200);
    renewed(&server, &before);
    let mut client = server.connect();
    assert_eq!(seen(&client.get("/a/x")), "other [/a] [/x] /a/x");
    assert_eq!(seen(&client.get("/c")), "three [/c] [] /c");
    assert_eq!(layers(&client.get("/c")), "layer");
    assert_eq!(client.get("/b").status, 404);
    drop(client);
    let ended = server.stop();
    assert_eq!(ended.stdout.matches("the reload is refused").count(), 1, "{ended:?}");
}

/// Workers that are the program read what is mounted where they start: HUP.
#[test]
fn hup_reads_the_mounts_again() {
    const SIGHUP: i32 = 1;
    let path = unique("mounts");
    let write = |lines: &str| {
        let fresh = format!("{path}.fresh");
        fs::write(&fresh, lines).expect("write a file");
        fs::rename(fresh, &path).expect("put the file in place");
    };
    write("app=/a=one\napp=h/=two\n");
    let file = format!("file={path}");
    let server = start(&["worker_model=exec", "workers=1", &file]);
    let mut client = server.connect();
    assert_eq!(seen(&client.get("/a/x")), "one [/a] [/x] /a/x");
    assert_eq!(seen(&asked(&mut client, "h", "/a")), "two [] [/a] /a");
    drop(client);
    let before = server.workers();
    write("app=/b=three\napp=/a/x=four=loop\n");
    server.signal(SIGHUP);
    until("what is new answers", || server.connect().get("/b").status == 200);
    renewed(&server, &before);
    let mut client = server.connect();
    assert_eq!(seen(&client.get("/a/x/y")), "four [/a/x] [/y] /a/x/y");
    assert_eq!(client.get("/a").status, 404);
    assert_eq!(asked(&mut client, "h", "/a").status, 404);
    drop(client);
    server.stop();
    fs::remove_file(&path).expect("remove the file");
}
