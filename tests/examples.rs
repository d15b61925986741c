//! Every example, asked as its opening comment documents, and the programs of the design.

pub(crate) mod harness;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use harness::client::{Client, End, Framing};
use harness::{
    SIGINT, SIGKILL, SIGQUIT, Server, Under, curl, kill, program, scaled, support, under, until,
};

/// The names of `examples/`, each of which has a test below; libevent's is asked in `http_hosted.rs`.
const EXAMPLES: [&str; 19] = [
    "cgi_scripts",
    "clock",
    "demo",
    "echo",
    "embed",
    "environ",
    "file",
    "hello",
    "host",
    "later",
    "libevent_host",
    "middleware",
    "module",
    "mounts",
    "pull",
    "serve",
    "shout",
    "static_files",
    "stream",
];

/// The name of a file in the scratch directory: examples_linted.rs has the same tests, at the same time.
fn own(name: &str) -> String {
    format!("{}-{name}", env!("CARGO_CRATE_NAME"))
}

fn example(name: &str) -> PathBuf {
    program(&[&format!("examples/{name}.c")])
}

#[test]
fn examples_are_known_short_and_explained() {
    let mut names = Vec::new();
    for entry in fs::read_dir(support::root().join("examples")).expect("examples/") {
        let path = entry.expect("an example").path();
        if path.extension().is_none_or(|e| e != "c") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("read an example");
        // A server of its own; and a little of everything.
        let long = path.ends_with("libevent_host.c") || path.ends_with("demo.c");
        let most = if long { 280 } else { 120 };
        assert!(text.lines().count() < most, "{} is too long", path.display());
        assert!(text.starts_with("/*"), "{} does not say what it is", path.display());
        if text.contains("\nmain(") {
            assert!(text.contains("-lgateway") && text.contains("curl "), "{}", path.display());
        }
        names.push(path.file_stem().expect("a name").to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(names, EXAMPLES);
}

/// Paths from the root, and links.
#[test]
fn what_the_documents_name_exists() {
    let root = support::root();
    let mut count = 0;
    for name in ["README.md", "docs/embedding.md", "docs/operations.md", "docs/threads.md"] {
        let document = root.join(name);
        let text = fs::read_to_string(&document).expect("a document");
        let is_path = |c: char| c.is_alphanumeric() || "_-./".contains(c);
        let words = text.split(|c| !is_path(c)).map(|word| word.trim_end_matches('.'));
        let places = ["benches/", "docs/", "examples/", "include/", "scripts/", "src/", "tests/"];
        let paths = words.filter(|word| places.iter().any(|place| word.starts_with(place)));
        let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        let links = links.filter(|link| !link.is_empty() && !link.contains("://"));
        let beside = links.map(|link| document.with_file_name(link));
        for path in paths.map(|path| root.join(path)).chain(beside) {
            assert!(path.exists(), "{name} names {}", path.display());
            count += 1;
        }
    }
    assert!(count > 20, "{count} names");
}

#[test]
fn the_program_of_the_readme_compiles() {
    let text = fs::read_to_string(support::root().join("README.md")).expect("README.md");
    let program = text.split("```c\n").nth(1).and_then(|rest| rest.split("```").next());
    let program = program.expect("a program in C");
    assert!(program.lines().count() <= 30, "longer than it says");
    let source = support::write_source(&own("readme.c"), program);
    let unused = ["-Wno-unused-parameter"];
    support::compile_c(&source, &support::scratch_dir().join(own("readme")), &unused);
}

#[test]
fn hello() {
    let server = Server::start(&example("hello"), &["{}", "2"]);
    let answer = curl(&["-i", &server.url("/")]);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello, world\n"), "{answer}");
    let response = server.connect().get("/");
    assert_eq!(response.header("content-type"), Some("text/plain"));
    assert_eq!(response.header("content-length"), Some("13"));
    assert!(response.header("date").is_some_and(|date| date.ends_with(" GMT")), "{response:?}");
    assert!(response.keeps_alive());

    assert_eq!(wait_for_workers(&server, 2).len(), 2);
    server.stop();
}

#[test]
fn serve() {
    let server = Server::start(&example("serve"), &["bind={}", "workers=2", "accesslog=-"]);
    let workers = wait_for_workers(&server, 2);
    let answer = curl(&[&server.url("/")]);
    assert!(workers.iter().any(|pid| answer == format!("worker {pid}\n")), "{answer}");
    let ended = server.stop();
    assert!(ended.stdout.contains("\"GET / HTTP/1.1\" 200"), "{ended:?}");
}

#[test]
fn hello_ends_with_0_on_ctrl_c_and_quit() {
    for signal in [SIGINT, SIGQUIT] {
        let server = Server::start(&example("hello"), &["{}", "2"]);
        assert_eq!(server.get("/"), "hello, world\n");
        let workers = wait_for_workers(&server, 2);
        server.signal(signal);
        let ended = server.end();
        assert_eq!(ended.status, Some(0), "{signal}: {ended:?}");
        for worker in workers {
            assert!(!PathBuf::from(format!("/proc/{worker}")).exists(), "{worker} is left over");
        }
    }
}

#[test]
fn hello_replaces_a_worker_that_dies() {
    let server = Server::start(&example("hello"), &["{}", "2"]);
    let before = wait_for_workers(&server, 2);
    kill(before[0], SIGKILL);
    until("there is another", || {
        let now = server.workers();
        now.len() == 2 && !now.contains(&before[0])
    });
    assert!(server.workers().contains(&before[1]), "the other one went, too");
    for _ in 0..8 {
        assert_eq!(server.get("/"), "hello, world\n");
    }
    server.stop();
}

#[test]
fn hello_says_why_it_cannot_listen() {
    let first = Server::start(&example("hello"), &["{}", "1"]);
    let ended = Server::launch(&example("hello"), &[first.address(), "1"]).end();
    assert_eq!(ended.status, Some(1), "{ended:?}");
    assert!(ended.stderr.contains(first.address()), "{ended:?}");
    assert!(ended.stderr.to_lowercase().contains("in use"), "{ended:?}");
    assert_eq!(first.get("/"), "hello, world\n");
    first.stop();

    // Here main returns without freeing its configuration, as small programs may: checkers mind.
    if under() == Under::Nothing {
        let ended = Server::launch(&example("hello"), &["not an address", "1"]).end();
        assert_eq!(ended.status, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("not an address"), "{ended:?}");
    }
}

#[test]
fn later() {
    let server = Server::start(&example("later"), &[]);
    // A thread for each: all are there a second later.
    let asking: Vec<_> = (0..4)
        .map(|_| {
            let url = server.url("/");
            thread::spawn(move || curl(&[&url]))
        })
        .collect();
    for answer in asking {
        assert_eq!(answer.join().expect("curl"), "at last\n");
    }
    server.stop();
}

#[test]
fn clock() {
    let server = Server::start(&example("clock"), &[]);
    let mut client = server.connect();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    client.head();
    for line in 1..=10 {
        assert_eq!(client.chunk(), format!("{line}\n").as_bytes());
    }
    assert_eq!(client.chunk(), b"");
    server.stop();
}

/// What each binding's is compared with, by tests/demo.py.
#[test]
fn demo() {
    let file = support::root().join("examples/hello.c");
    let server = Server::start(&example("demo"), &["{}", &file.display().to_string()]);
    let url = |path: &str| server.url(path);
    assert_eq!(curl(&[&url("/")]), "hello, world\n");
    assert_eq!(curl(&[&url("/count")]), "10\n9\n8\n7\n6\n5\n4\n3\n2\n1\n");
    assert_eq!(curl(&[&url("/later")]), "at last\n");
    assert_eq!(curl(&[&url("/echo"), "-dsome text"]), "some text");
    assert_eq!(curl(&[&url("/file")]), fs::read_to_string(file).expect("a file"));
    assert_eq!(curl(&[&url("/nothing")]), "not found\n");
    let told = curl(&[&url("/environ?a=%20"), "-HX-Demo: 1", "-HContent-Type: a/b"]);
    let lines = ["REQUEST_METHOD=GET", "SCRIPT_NAME=", "PATH_INFO=/environ", "QUERY_STRING=a=%20"];
    let more = ["CONTENT_TYPE=a/b", "CONTENT_LENGTH=", "SERVER_PROTOCOL=HTTP/1.1"];
    let host = format!("HTTP_HOST={}", server.address());
    let peer = ["REMOTE_ADDR=127.0.0.1", &host, "HTTP_X_DEMO=1", ""];
    assert_eq!(told, [&lines[..], &more, &peer].concat().join("\n"));
    let headers = server.connect().get("/headers");
    assert_eq!(headers.status, 204);
    assert_eq!(headers.header("x-demo"), Some("yes"));
    assert_eq!(server.connect().get("/fail").status, 500);
    server.stop();
}

#[test]
fn pull() {
    let server = Server::start(&example("pull"), &[]);
    assert_eq!(curl(&[&server.url("/some/path")]), "GET, /some/path\n");
    let long = "x".repeat(2000);
    let answer = curl(&["-X", "PUT", &server.url(&format!("/{long}"))]);
    assert_eq!(answer, format!("PUT, /{}\n", &long[..199]));
    server.stop();
}

#[test]
fn hello_in_rust() {
    // The checkers, and what is loaded before a program, are for what is written in C.
    if under() != Under::Nothing || env!("CARGO_CRATE_NAME") != "examples" {
        return;
    }
    let target =
        support::library().ancestors().nth(3).expect("target/debug/deps/library").to_owned();
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--example", "hello", "--target-dir"]).arg(&target);
    // What tests/side_by_side.py has built: other features would be another library.
    if std::env::var_os("GATEWAY_WORKSPACE").is_some() {
        build.arg("--workspace");
    }
    support::run(build.current_dir(support::root()));
    let server = Server::start(&target.join("debug/examples/hello"), &[]);
    assert_eq!(curl(&[&server.url("/?name=you")]), "hello, you\n");
    assert_eq!(curl(&[&server.url("/")]), "hello, world\n");
    assert_eq!(wait_for_workers(&server, 2).len(), 2);
    server.stop();
}

#[test]
fn environ() {
    let server = Server::start(&example("environ"), &[]);
    let text = curl(&[
        &server.url("/a%20path/%C3%A4?and=a+query"),
        "-HX-Twice: 1",
        "-HX-Twice: 2",
        "-HX-Quote: it's \"so\"",
        "-HCookie: a=1",
        "-HCookie: b=2",
    ]);
    assert!(text.starts_with("Hello world!\n\n"), "{text}");
    let lines: Vec<_> = text.lines().skip(2).collect();
    assert!(lines.is_sorted(), "{text}");
    for line in [
        "HTTP_COOKIE = 'a=1; b=2'",
        "HTTP_X_QUOTE = 'it\\'s \"so\"'",
        "HTTP_X_TWICE = '1,2'",
        "PATH_INFO = '/a path/Ã¤'",
        "QUERY_STRING = 'and=a+query'",
        "REQUEST_METHOD = 'GET'",
        "SCRIPT_NAME = ''",
        "SERVER_PROTOCOL = 'HTTP/1.1'",
    ] {
        assert!(lines.contains(&line), "{line} is not in\n{text}");
    }
    server.stop();
}

/// The same request to Python's own demo_app: what both tell is the same.
#[test]
fn environ_is_the_twin_of_demo_app() {
    const PYTHON: &str = "
from wsgiref.simple_server import *
class Quiet(WSGIRequestHandler):
    def log_message(self, *args): pass
server = make_server('127.0.0.1', 0, demo_app, handler_class=Quiet)
print(server.server_port, flush=True)
server.handle_request()
";
    // Limited, should it wait for a request that never comes.
    let limited = ["--signal=KILL", "300", "python3", "-c", PYTHON];
    let mut python = Command::new("timeout")
        .args(limited)
        .stdout(Stdio::piped())
        .spawn()
        .expect("start python3");
    let mut port = String::new();
    let stdout = python.stdout.as_mut().expect("its output");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut port).expect("its port");

    let server = Server::start(&example("environ"), &[]);
    let ask = |base: &str| {
        let url = format!("{base}/one%2Ftwo/%41?q=%20&r");
        let data = ["-dx=y", "-HHost: example.org:81", "-HX-Dash-Ed: a, b", "-HAccept: */*;q=0.5"];
        let text = curl(&[&[url.as_str()], &data[..]].concat());
        let known = |line: &&str| {
            let name = line.split(' ').next().unwrap_or_default();
            name.starts_with("HTTP_")
                || ["CONTENT_LENGTH", "CONTENT_TYPE", "GATEWAY_INTERFACE", "PATH_INFO"]
                    .contains(&name)
                || ["QUERY_STRING", "REMOTE_ADDR", "REQUEST_METHOD", "SCRIPT_NAME"].contains(&name)
                || name == "wsgi.url_scheme"
        };
        text.lines().filter(known).map(str::to_owned).collect::<Vec<_>>()
    };
    let theirs = ask(&format!("http://127.0.0.1:{}", port.trim()));
    let ours = ask(&server.url(""));
    python.wait().expect("python3 ends");
    assert!(theirs.len() > 10, "{theirs:?}");
    let ours: Vec<_> = ours.into_iter().filter(|l| !l.starts_with("wsgi.")).collect();
    let theirs: Vec<_> = theirs.into_iter().filter(|l| !l.starts_with("wsgi.")).collect();
    assert_eq!(ours, theirs);
    server.stop();
}

/// More of it: `http_cgi.rs`.
#[test]
fn cgi_scripts() {
    let root = support::scratch_dir().join(own("cgi"));
    fs::create_dir_all(&root).expect("make a directory");
    let text = "#!/bin/sh\necho Content-Type: text/plain\necho\necho $PATH_INFO $QUERY_STRING\n";
    let mut tell = Command::new("sh");
    tell.arg("-c").arg("printf %s \"$1\" >\"$2\" && chmod +x \"$2\"").arg("sh").arg(text);
    support::run(tell.arg(root.join("hello.sh")));
    let args = ["bind={}", "workers=1", &format!("root={}", root.display())];
    let server = Server::start(&example("cgi_scripts"), &args);
    assert_eq!(curl(&[&server.url("/hello.sh/more?a=b")]), "/more a=b\n");
    server.stop();
}

/// More of it: `http_static.rs`, `http_middleware.rs`.
#[test]
fn static_files() {
    let root = support::scratch_dir().join(own("static"));
    fs::create_dir_all(&root).expect("make a directory");
    fs::write(root.join("index.html"), "<p>hello</p>").expect("write a file");
    let app = format!("root={} max_age=1h", root.display());
    let server = Server::start(&example("static_files"), &[&app, "{}", "127.0.0.0/8"]);
    assert_eq!(curl(&[&server.url("/")]), "<p>hello</p>");
    assert_eq!(curl(&["-r", "3-7", &server.url("/index.html")]), "hello");
    let head = curl(&["-I", &server.url("/")]).to_lowercase();
    assert!(head.contains("cache-control: max-age=3600") && head.contains("x-request-id: "));
    server.stop();
    let server = Server::start(&example("static_files"), &[&app, "{}", "192.0.2.0/24"]);
    assert!(curl(&["-i", &server.url("/")]).starts_with("HTTP/1.1 403 "));
    server.stop();
}

#[test]
fn echo() {
    let server = Server::start(&example("echo"), &[]);
    assert_eq!(curl(&["-d", "some text", &server.url("/")]), "some text");

    let mut client = server.connect();
    let body: Vec<u8> = (0..scaled(3_000_000)).map(|i| (i % 251) as u8).collect();
    let response = client.post("/", &body);
    assert_eq!((response.status, response.framing), (200, Framing::Length));
    assert!(response.body == body, "the body came back changed");
    assert_eq!(response.header("content-type"), None);

    client.send("PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n");
    client.send("Content-Type: text/x-y\r\n\r\n3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\n\r\n");
    let response = client.response("PUT");
    assert_eq!((response.text().as_str(), response.framing), ("abcde", Framing::Chunked));
    assert_eq!(response.header("content-type"), Some("text/x-y"));

    let response = client.get("/");
    assert_eq!((response.status, response.header("allow")), (405, Some("POST, PUT")));
    server.stop();
}

#[test]
fn stream() {
    let server = Server::start(&example("stream"), &[]);
    let answer = curl(&["-N", &server.url("/")]);
    assert_eq!(answer, "10\n9\n8\n7\n6\n5\n4\n3\n2\n1\nlift-off\n");

    let mut client = server.connect();
    let from = scaled(200_000);
    let response = client.get(&format!("/?from={from}"));
    assert_eq!(response.framing, Framing::Chunked);
    let text = response.text();
    assert_eq!(text.lines().count(), from + 1);
    assert!(text.starts_with(&format!("{from}\n")) && text.ends_with("\n2\n1\nlift-off\n"));

    let mut client = server.connect();
    client.send("GET /?from=3 HTTP/1.0\r\n\r\n");
    let response = client.response("GET");
    assert_eq!(
        (response.text().as_str(), response.framing),
        ("3\n2\n1\nlift-off\n", Framing::Close)
    );
    assert_eq!(client.end(), End::Closed);
    server.stop();
}

#[test]
fn file() {
    let path = support::scratch_dir().join(format!("served-{}", std::process::id()));
    let content: Vec<u8> = (0..1_000_003u32).map(|i| (i % 253) as u8).collect();
    fs::write(&path, &content).expect("write a file");
    let name = path.to_str().expect("a plain path");
    let server = Server::start(&example("file"), &[name, "{}"]);

    let copy = path.with_extension("copy");
    curl(&["-o", copy.to_str().expect("a plain path"), &server.url("/")]);
    assert!(fs::read(&copy).expect("read the copy") == content, "the copy differs");

    let head = curl(&["-I", &server.url("/")]);
    assert!(head.contains("\r\nContent-Length: 1000003\r\n"), "{head}");
    assert!(head.contains("\r\nLast-Modified: ") && head.ends_with("\r\n\r\n"), "{head}");
    let again = curl(&["-i", "-z", name, &server.url("/")]);
    assert!(again.starts_with("HTTP/1.1 304 Not Modified\r\n"), "{again}");

    fs::remove_file(&path).expect("remove the file");
    assert_eq!(server.connect().get("/").status, 404);
    fs::remove_file(&copy).expect("remove the copy");
    server.stop();
}

#[test]
fn middleware() {
    let server = Server::start(&program(&["examples/middleware.c", "examples/shout.c"]), &[]);
    let ask = |path: &str| curl(&["-b", "name=Ada", &server.url(path)]);
    assert_eq!(ask("/some/path"), "hello, Ada, at |/some/path\n");
    assert_eq!(ask("/loud/some/path"), "HELLO, ADA, AT /LOUD|/SOME/PATH\n!!!");
    assert_eq!(ask("/loud"), "HELLO, ADA, AT /LOUD|\n!!!");
    assert_eq!(ask("/louder"), "hello, Ada, at |/louder\n");
    assert_eq!(curl(&[&server.url("/")]), "hello, stranger, at |/\n");

    let mut client = server.connect();
    let response = client.get("/loud/x");
    assert_eq!(response.framing, Framing::Length);
    assert_eq!(response.header("content-length"), Some(&*response.body.len().to_string()));
    client.send("HEAD /loud/x HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = client.response("HEAD");
    assert_eq!(head.header("content-length"), response.header("content-length"));
    assert_eq!(client.get("/").status, 200);
    server.stop();
}

#[test]
fn mounts() {
    let module = support::scratch_dir().join(own(&format!("mounted-{:?}.so", under())));
    let mut flags = vec!["-shared", "-fPIC"];
    if under() == Under::Sanitizers {
        flags.push("-fsanitize=address,undefined");
    }
    support::compile_c(&support::root().join("examples/module.c"), &module, &flags);
    let path = module.to_str().expect("a plain path");
    let server = Server::start(&example("mounts"), &["{}", path]);
    let ask = |args: &[&str], path: &str| curl(&[args, &[&server.url(path)]].concat());
    assert_eq!(ask(&[], "/about"), "site, at \"\" /about\n");
    assert_eq!(ask(&[], "/shop/cart"), "shop, at \"/shop\" /cart\n");
    assert_eq!(ask(&[], "/shopping"), "site, at \"\" /shopping\n");
    assert_eq!(ask(&["-u", "any:one"], "/admin/users"), "admin, at \"/admin\" /users\n");
    assert_eq!(server.connect().get("/admin/users").status, 401);
    assert_eq!(ask(&["-H", "Host: docs.localhost"], "/shop"), "docs, at \"\" /shop\n");
    assert_eq!(ask(&[], "/module"), format!("hello from {}\n", env!("CARGO_PKG_VERSION")));
    server.stop();
}

#[test]
fn embed() {
    let mut server = Server::start(&example("embed"), &[]);
    let pid = server.pid();
    assert_eq!(curl(&[&server.url("/")]), format!("0 lines on stdin, pid {pid}\n"));
    server.stdin("one\ntwo\nthree\n");
    until("its standard input is read", || server.get("/").starts_with("3 lines"));
    assert_eq!(server.workers(), [] as [i32; 0]);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    if under() == Under::Nothing {
        let caught = status.lines().find(|line| line.starts_with("SigCgt:")).expect("SigCgt");
        assert_eq!(caught.split_whitespace().nth(1), Some("0000000000000000"), "{caught}");
        assert!(status.contains("\nThreads:\t1\n"), "{status}");
    }
    server.stdin("");
    assert_eq!(server.end().status, Some(0));
}

/// As its comment has it: built, served, replaced by a rename.
#[test]
fn module_and_host() {
    let module = support::scratch_dir().join(own(&format!("{:?}.so", under())));
    let build = |greeting: &str| {
        let text = fs::read_to_string(support::root().join("examples/module.c")).expect("it");
        let source = support::write_source(&own("module.c"), &text.replace("hello", greeting));
        let fresh = module.with_extension("new");
        let mut flags = vec!["-shared", "-fPIC"];
        if under() == Under::Sanitizers {
            flags.push("-fsanitize=address,undefined");
        }
        support::compile_c(&source, &fresh, &flags);
        fs::rename(&fresh, &module).expect("mv");
    };
    build("hello");
    let path = module.to_str().expect("a plain path");
    let server = Server::start(&example("host"), &[path, "{}"]);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(curl(&[&server.url("/")]), format!("hello from {version}\n"));
    build("good morning");
    for worker in wait_for_workers(&server, 1) {
        kill(worker, SIGKILL);
    }
    let new = format!("good morning from {version}\n");
    until("the new code answers", || {
        let response = Client::try_connect(server.address()).and_then(|mut client| {
            client.try_send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            client.try_response("GET")
        });
        // One that is about to die may have taken the request.
        response.is_ok_and(|it| it.text() == new)
    });
    server.stop();

    let server = Server::start(&example("host"), &[path, "{}", "Servus"]);
    assert_eq!(server.get("/"), format!("Servus from {version}\n"));
    server.stop();
    let ended = Server::launch(&example("host"), &[path, "{}", &"x".repeat(64)]).end();
    let said = format!("host: load module {path}: a greeting has at most 63 octets\n");
    assert_eq!((ended.status, &*ended.stderr), (Some(4), &*said), "{ended:?}");
}

#[test]
fn design_hello() {
    let server = Server::start(&program(&["tests/c/design_hello.c"]), &[]);
    assert_eq!(curl(&[&server.url("/")]), "hello, world\n");
    assert_eq!(wait_for_workers(&server, 4).len(), 4);
    server.stop();
}

#[test]
fn design_middleware() {
    let server = Server::start(&program(&["tests/c/design_middleware.c"]), &[]);
    let response = server.connect().get("/");
    assert_eq!(response.text(), "hello, frame\n");
    assert_eq!(response.header("x-frame-options"), Some("DENY"));
    assert_eq!(response.header("content-type"), Some("text/plain"));
    server.stop();
}

#[test]
fn design_loop() {
    let server = Server::start(&program(&["tests/c/design_loop.c"]), &[]);
    let mut client = server.connect();
    for _ in 0..10 {
        let response = client.get("/");
        assert_eq!((response.status, response.text().as_str()), (200, "hello, loop\n"));
    }
    assert_eq!(client.end(), End::Closed);
    let ended = server.end();
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(0), "10 requests\n"));
}

/// The workers, once there are so many and all wait in their event loops: a worker that dies before
/// it has booted would stop the whole server.
fn wait_for_workers(server: &Server, n: usize) -> Vec<i32> {
    let mut workers = Vec::new();
    until("so many workers wait", || {
        workers = server.workers();
        workers.len() >= n && workers.iter().all(|pid| waits_for_events(*pid))
    });
    workers
}

fn waits_for_events(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let sleeps = stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'));
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut links = fds.filter_map(|fd| fs::read_link(fd.path()).ok());
    sleeps && links.any(|link| link.to_string_lossy().contains("[eventpoll]"))
}
