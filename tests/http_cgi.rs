//! CGI scripts run by the library: real ones, through `examples/cgi_scripts.c`.

mod harness;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use harness::client::{Client, End, Response};
use harness::{Ended, SIGKILL, Server, Under, kill, program, support, under, until};

/// A directory of scripts, and a server for them.
struct Scripts {
    server: Server,
    root: PathBuf,
}

const SCRIPTS: &[(&str, &str)] = &[
    ("env.sh", "printf 'Content-Type: text/plain\\r\\n\\r\\n'; env | LC_ALL=C sort"),
    (
        "var.sh",
        "echo Content-Type: text/plain; echo; eval \"printf %s \\\"\\${$QUERY_STRING-none}\\\"\"",
    ),
    ("cat.sh", "echo Content-Type: text/plain; echo; cat"),
    ("length.sh", "echo Content-Type: text/plain; echo; echo $CONTENT_LENGTH $(wc -c)"),
    ("ignores.sh", "exec <&-; echo Content-Type: text/plain; echo; echo none"),
    ("status.sh", "echo Status: 404 Not Here; echo X-A: b; echo X-A: c; echo; echo gone"),
    ("created.sh", "echo 'Status: 201'; echo; echo made"),
    ("away.sh", "echo Location: http://elsewhere/x?y; echo"),
    ("here.sh", "echo \"Location: $QUERY_STRING\"; echo"),
    ("loop.sh", "echo Location: /loop.sh; echo"),
    ("nph-raw.sh", "printf 'HTTP/1.0 299 Raw\\r\\nX-A: b\\r\\n\\r\\nraw'"),
    ("nph-not.sh", "echo Content-Type: text/plain; echo; echo x"),
    ("head.sh", "echo Content-Type: text/plain; echo"),
    ("cwd.sh", "echo Content-Type: text/plain; echo; pwd"),
    // Without a pipeline: the shell has that open, too, for a moment.
    ("fds.sh", "echo Content-Type: text/plain; echo; readlink /proc/$$/fd/*; true"),
    ("stderr.sh", "echo a complaint >&2; echo Content-Type: text/plain; echo; echo ok; exit 7"),
    ("silent.sh", "exit 0"),
    ("garbage.sh", "echo garbage; echo; echo x"),
    ("no-type.sh", "echo X-A: b; echo; echo x"),
    ("bad-status.sh", "echo Status: abc; echo; echo x"),
    ("interim.sh", "echo Status: 103; echo Link: x; echo; echo x"),
    ("bad-length.sh", "echo Content-Type: a/b; echo Content-Length: x; echo; echo x"),
    (
        "long-head.sh",
        "while :; do echo X-A: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb; done",
    ),
    ("one-line.sh", "tr '\\0' x </dev/zero"),
    ("short.sh", "echo Content-Type: a/b; echo Content-Length: 10; echo; printf four"),
    ("flood.sh", "echo $$ >\"$0.pid\"; echo Content-Type: a/b; echo; exec cat /dev/zero"),
    ("hang.sh", "echo $$ >\"$0.pid\"; sleep 1000 & wait"),
    ("deaf.sh", "trap '' TERM; echo $$ >\"$0.pid\"; while :; do sleep 1; done"),
    ("begins.sh", "echo $$ >\"$0.pid\"; echo Content-Type: a/b; echo; echo one; sleep 1000 & wait"),
    (
        "closes.sh",
        "echo $$ >\"$0.pid\"; echo Content-Type: a/b; echo; echo one; exec >&- 2>&-; sleep 1000",
    ),
    (
        "leaves.sh",
        "echo $$ >\"$0.pid\"; echo Content-Type: a/b; echo; echo one; sleep 1000 & exit 0",
    ),
    ("yells.sh", "echo $$ >\"$0.pid\"; exec tr '\\0' x </dev/zero >&2"),
    ("steps.sh", "echo Content-Type: a/b; echo; echo one; read -r line; echo \"then $line\""),
    (
        "cleans.sh",
        "trap 'echo cleaned >\"$0.done\"; exit' TERM; echo $$ >\"$0.pid\"; sleep 1000 & wait",
    ),
];

impl Scripts {
    fn start(options: &[&str]) -> Scripts {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = support::scratch_dir().join(format!("cgi-{}-{count}", std::process::id()));
        fs::create_dir_all(root.join("below")).unwrap();
        for (name, text) in SCRIPTS {
            write(&root.join(name), &format!("#!/bin/sh\n{text}\n"), 0o755);
        }
        write(&root.join("below/env.sh"), "#!/bin/sh\necho Content-Type: a/b; echo; pwd\n", 0o755);
        write(&root.join("plain.txt"), "not a script\n", 0o644);
        write(&root.join("lost.sh"), "#!/nowhere/at/all\n", 0o755);
        let python = "import os,sys\nn = int(os.environ['CONTENT_LENGTH'])\n\
                      body = sys.stdin.buffer.read(n)\n\
                      print('Content-Type: text/plain\\r\\n\\r')\nprint(n, sum(body))\n";
        write(&root.join("sum.py"), &format!("#!/usr/bin/env python3\n{python}"), 0o755);
        symlink("/bin/echo", root.join("outside")).unwrap();
        symlink("cat.sh", root.join("inside")).unwrap();
        let args = [format!("root={}", root.display())];
        let args = [&["bind={}", "workers=1", &args[0]], options].concat();
        Scripts { server: Server::start(&program(&["examples/cgi_scripts.c"]), &args), root }
    }

    /// One request on a connection of its own.
    fn ask(&self, method: &str, target: &str, header: &str) -> Response {
        let mut client = self.server.connect();
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{header}\r\n"));
        client.response(method)
    }

    fn get(&self, target: &str) -> Response {
        self.ask("GET", target, "")
    }

    /// The process that a script has said to be.
    fn pid(&self, script: &str) -> i32 {
        let path = self.root.join(format!("{script}.pid"));
        let read = || fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        until("the script runs", || read().is_some());
        let pid = read().unwrap();
        fs::remove_file(&path).unwrap();
        pid
    }

    /// It leaves no process behind.
    fn stop(self) -> Ended {
        let (server, root) = (self.server, self.root);
        for worker in server.workers() {
            let path = format!("/proc/{worker}/task");
            let children = || {
                let tasks =
                    fs::read_dir(&path).unwrap().map(|it| it.unwrap().path().join("children"));
                tasks.map(|it| fs::read_to_string(it).unwrap_or_default()).collect::<String>()
            };
            until("there is neither script nor zombie", || children().is_empty());
        }
        let ended = server.stop();
        let _ = fs::remove_dir_all(root);
        ended
    }
}

fn write(path: &Path, text: &str, mode: u32) {
    // Another test's fork may hold a file open that was just written: it is not executed then.
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, text).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(mode)).unwrap();
    let copied = std::process::Command::new("cp").arg("-p").args([&fresh, path]).status().unwrap();
    assert!(copied.success());
    fs::remove_file(&fresh).unwrap();
}

/// A zombie that somebody else is to wait for is none of ours.
fn is_gone(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.is_empty() || stat.contains(") Z ")
}

/// Processes of this group.
fn of_group(group: i32) -> Vec<String> {
    let stats = fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let stat = fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        let rest: Vec<_> = stat.rsplit_once(") ")?.1.split(' ').collect();
        (rest[2] == group.to_string() && rest[0] != "Z").then_some(stat.clone())
    });
    stats.collect()
}

fn lines(ended: &Ended, text: &str) -> usize {
    ended.stderr.lines().filter(|line| line.contains(text)).count()
}

/// The ways to serve.
const MODELS: [&[&str]; 4] = [
    &["worker_model=inline"],
    &["worker_model=threads", "workers=2"],
    &["worker_model=fork", "workers=2"],
    &["worker_model=exec", "workers=2"],
];

#[test]
fn scripts_answer_in_every_model() {
    for model in MODELS {
        let scripts = Scripts::start(model);
        assert_eq!(scripts.get("/cat.sh").text(), "", "{model:?}");
        assert_eq!(scripts.server.connect().post("/cat.sh", "some octets").text(), "some octets");
        assert_eq!(
            scripts.server.connect().post("/sum.py", vec![7; 300_000]).text(),
            "300000 2100000\n"
        );
        scripts.stop();
    }
}

#[test]
fn a_request_is_its_environment() {
    let scripts = Scripts::start(&[]);
    let header = "Proxy: http://evil/\r\nX-Two: a\r\nX-Two: b\r\nCookie: c=d\r\nCookie: e\r\n\
                  Content-Type: text/x\r\nX_Under: u\r\nContent-Length: 2\r\n";
    let mut client = scripts.server.connect();
    client.send(format!(
        "POST /env.sh//a%20b/%C3%A9?x=%31&y HTTP/1.1\r\nHost: h:81\r\n{header}\r\nhi"
    ));
    let told = client.response("POST");
    let text = String::from_utf8_lossy(&told.body).into_owned();
    let root = scripts.root.canonicalize().unwrap();
    let (root, address) = (root.to_str().unwrap(), scripts.server.address().to_owned());
    let (ip, port) = address.split_once(':').unwrap();
    for line in [
        "AUTH_TYPE=none",
        "CONTENT_LENGTH=2",
        "CONTENT_TYPE=text/x",
        "GATEWAY_INTERFACE=CGI/1.1",
        "HTTP_COOKIE=c=d; e",
        "HTTP_HOST=h:81",
        "HTTP_X_TWO=a,b",
        "PATH_INFO=//a b/é",
        &format!("PATH_TRANSLATED={root}//a b/é"),
        "QUERY_STRING=x=%31&y",
        "REQUEST_METHOD=POST",
        "REQUEST_URI=/env.sh//a%20b/%C3%A9?x=%31&y",
        "SCRIPT_NAME=/env.sh",
        &format!("SCRIPT_FILENAME={root}/env.sh"),
        &format!("SERVER_NAME={ip}"),
        &format!("SERVER_PORT={port}"),
        "SERVER_PROTOCOL=HTTP/1.1",
        "REDIRECT_STATUS=200",
    ] {
        let (name, value) = line.split_once('=').unwrap();
        let found = text.lines().find_map(|it| it.strip_prefix(&format!("{name}=")));
        assert_eq!(found.unwrap_or("none"), value, "{name}:\n{text}");
    }
    for name in
        ["HTTP_PROXY", "HTTP_X_UNDER", "HTTP_CONTENT_TYPE", "HOME", "LISTEN", "wsgi", "gateway."]
    {
        assert!(!text.lines().any(|line| line.starts_with(name)), "{name}:\n{text}");
    }
    assert!(text.contains("\nREMOTE_ADDR=127.0.0.1\n") && text.contains("\nPATH=/"), "{text}");
    assert_eq!(scripts.get("/var.sh?PATH_INFO").text(), "none");
    // A path behind a script that leads out of the root is no path there.
    for behind in ["/../x", "/a/%2e%2e/%2e%2e/x", "/.."] {
        let told = scripts.get(&format!("/var.sh{behind}?PATH_TRANSLATED"));
        assert_eq!((told.status, &*told.text()), (200, "none"), "{behind}");
    }
    assert_eq!(scripts.get("/var.sh/..a?PATH_TRANSLATED").text(), format!("{root}/..a"));
    assert_eq!(scripts.get("/below/env.sh").text(), format!("{root}/below\n"));
    assert_eq!(scripts.get("/cwd.sh").text(), format!("{root}\n"));
    scripts.stop();
}

#[test]
fn answers_are_parsed() {
    let scripts = Scripts::start(&[]);
    for (target, status, reason, body) in [
        ("/status.sh", 404, "Not Here", "gone\n"),
        ("/created.sh", 201, "Created", "made\n"),
        ("/away.sh", 302, "Found", ""),
        ("/nph-raw.sh", 299, "Raw", "raw"),
        ("/head.sh", 200, "OK", ""),
        ("/inside", 200, "OK", ""),
        ("/stderr.sh", 200, "OK", "ok\n"),
        ("/ignores.sh", 200, "OK", "none\n"),
        // As if it had been asked for, and with the request's body gone.
        ("/here.sh?/cat.sh", 200, "OK", ""),
        ("/here.sh?/var.sh?QUERY_STRING", 200, "OK", "QUERY_STRING"),
        ("/here.sh?/var%2Esh?REQUEST_METHOD", 200, "OK", "GET"),
        ("/here.sh?/here.sh?/status.sh", 404, "Not Here", "gone\n"),
        ("/here.sh?/nowhere", 404, "Not Found", "there is no such script\n"),
        ("/here.sh?/../etc/passwd", 404, "Not Found", "there is no such script\n"),
        ("/loop.sh", 500, "Internal Server Error", "the script cannot be run\n"),
        // Not there, or not to be run.
        ("/", 404, "Not Found", "there is no such script\n"),
        ("/nowhere", 404, "Not Found", "there is no such script\n"),
        ("/below", 404, "Not Found", "there is no such script\n"),
        ("/outside", 404, "Not Found", "there is no such script\n"),
        ("/%2e%2e/%2e%2e/bin/sh", 404, "Not Found", "there is no such script\n"),
        ("/below/%2e%2e/cat.sh", 404, "Not Found", "there is no such script\n"),
        ("/here.sh?/cat.sh/a%00b", 404, "Not Found", "there is no such script\n"),
        ("/plain.txt", 403, "Forbidden", "this script is not executable\n"),
        ("/lost.sh", 500, "Internal Server Error", "the script cannot be run\n"),
        // What they say makes no sense.
        ("/silent.sh", 502, "Bad Gateway", "the script's answer makes no sense\n"),
        ("/garbage.sh", 502, "Bad Gateway", "the script's answer makes no sense\n"),
        ("/no-type.sh", 502, "Bad Gateway", "the script's answer makes no sense\n"),
        ("/bad-status.sh", 502, "Bad Gateway", "the script's answer makes no sense\n"),
        ("/interim.sh", 502, "Bad Gateway", "the script's answer makes no sense\n"),
        ("/bad-length.sh", 502, "Bad Gateway", "the script's answer makes no sense\n"),
        ("/nph-not.sh", 502, "Bad Gateway", "the script's answer makes no sense\n"),
        ("/long-head.sh", 502, "Bad Gateway", "the script's answer makes no sense\n"),
        ("/one-line.sh", 502, "Bad Gateway", "the script's answer makes no sense\n"),
    ] {
        let method = if target.starts_with("/here") { "POST" } else { "GET" };
        let header = if method == "POST" { "Content-Length: 3\r\n" } else { "" };
        let mut client = scripts.server.connect();
        client.send(format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{header}\r\n"));
        if method == "POST" {
            client.send("abc");
        }
        let told = client.response(method);
        let got = (told.status, &*told.reason, &*told.text());
        assert_eq!(got, (status, reason, body), "{target}");
    }
    let told = scripts.get("/status.sh");
    let same: Vec<_> = told.headers.iter().filter(|(name, _)| name == "X-A").collect();
    assert_eq!(same.len(), 2, "{told:?}");
    assert_eq!(scripts.get("/away.sh").header("location"), Some("http://elsewhere/x?y"));
    let head = scripts.ask("HEAD", "/stderr.sh", "");
    assert_eq!((head.status, &*head.body), (200, &b""[..]));
    let ended = scripts.stop();
    for line in [
        "stderr.sh: a complaint",
        "stderr.sh: ended with status 7",
        "lost.sh: No such file or directory (os error 2): is the interpreter of its first line there?",
        "502: silent.sh: it ended before its head did",
        "502: garbage.sh: a line of its head has no colon",
        "502: no-type.sh: neither Content-Type nor Location nor Status",
        "502: long-head.sh: its head is too long",
        "404: there is no such script",
        "more local redirects than a request may take",
    ] {
        assert!(lines(&ended, line) > 0, "{line}: {ended:?}");
    }
}

#[test]
fn bodies_are_of_any_size_and_form() {
    for options in [&[][..], &["request_buffering=0", "body_buffer=1k"], &["body_buffer=1k"]] {
        let scripts = Scripts::start(options);
        let big: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let mut client = scripts.server.connect();
        client.send(format!(
            "POST /cat.sh HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
            big.len()
        ));
        let told = client.exchange(&big, "POST");
        assert!(told.body == big, "{options:?}");
        // One that nobody reads is no error.
        assert_eq!(scripts.server.connect().post("/ignores.sh", &big).text(), "none\n");
        // One of unknown length has one if all of it has come.
        let mut client = scripts.server.connect();
        client.send("POST /length.sh HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
        let told = client.response("POST").text();
        let streams = options.contains(&"request_buffering=0");
        assert!(told == "11 11\n" || streams && told == "11\n", "{options:?}: {told}");
        scripts.stop();
    }
}

#[test]
fn an_answer_streams_while_the_body_does() {
    let scripts = Scripts::start(&["request_buffering=0"]);
    let mut client = scripts.server.connect();
    client.send("POST /steps.sh HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n");
    client.head();
    assert_eq!(client.chunk(), b"one\n");
    client.send("two\n");
    assert_eq!(client.chunk(), b"then two\n");
    assert_eq!(client.chunk(), b"");
    // A body that is cut short ends the script.
    let mut client = scripts.server.connect();
    client.send("POST /begins.sh HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n");
    let pid = scripts.pid("begins.sh");
    client.finish();
    until("it has ended", || is_gone(pid));
    scripts.stop();
}

#[test]
fn a_script_that_says_nothing_is_stopped() {
    let scripts = Scripts::start(&["timeout=2s"]);
    for script in ["hang.sh", "deaf.sh"] {
        let told = scripts.get(&format!("/{script}"));
        assert_eq!((told.status, &*told.text()), (504, "the script does not answer\n"));
        let pid = scripts.pid(script);
        until(script, || is_gone(pid) && of_group(pid).is_empty());
    }
    // After the head all that is left is to cut.  Also where the script has ended, and what it has
    // started holds its output.
    for script in ["begins.sh", "leaves.sh"] {
        let mut client = scripts.server.connect();
        client.send(format!("GET /{script} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert!(client.try_response("GET").is_err());
        let pid = scripts.pid(script);
        until(script, || is_gone(pid) && of_group(pid).is_empty());
    }
    let ended = scripts.stop();
    assert_eq!(lines(&ended, "504: hang.sh: it did nothing for 2s"), 1, "{ended:?}");
    assert_eq!(lines(&ended, "begins.sh: it did nothing for 2s: cut"), 1, "{ended:?}");
}

#[test]
fn a_body_that_does_not_come_ends_its_script() {
    let scripts = Scripts::start(&["request_buffering=0", "body_timeout=2s", "timeout=60s"]);
    for script in ["cat.sh", "begins.sh"] {
        let mut client = scripts.server.connect();
        client.send(format!("POST /{script} HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\na"));
        assert!(!client.try_response("POST").is_ok_and(|told| told.status == 200), "{script}");
    }
    let pid = scripts.pid("begins.sh");
    until("it has ended", || is_gone(pid) && of_group(pid).is_empty());
    let ended = scripts.stop();
    assert_eq!(lines(&ended, "sent nothing"), 2, "{ended:?}");
}

#[test]
fn a_script_ends_with_its_client() {
    let scripts = Scripts::start(&[]);
    for script in ["hang.sh", "begins.sh", "flood.sh", "deaf.sh", "leaves.sh", "yells.sh"] {
        let mut client = scripts.server.connect();
        client.send(format!("GET /{script} HTTP/1.1\r\nHost: h\r\n\r\n"));
        let pid = scripts.pid(script);
        assert!(!is_gone(pid) || !of_group(pid).is_empty());
        if script == "flood.sh" {
            client.head();
            assert!(client.chunk().len() > 100);
        }
        drop(client);
        until(script, || is_gone(pid) && of_group(pid).is_empty());
    }
    // It is told first.
    let mut client = scripts.server.connect();
    client.send("GET /cleans.sh HTTP/1.1\r\nHost: h\r\n\r\n");
    let pid = scripts.pid("cleans.sh");
    drop(client);
    until("it has ended", || is_gone(pid));
    assert_eq!(fs::read_to_string(scripts.root.join("cleans.sh.done")).unwrap(), "cleaned\n");
    scripts.stop();
}

#[test]
fn what_is_short_or_does_not_end_is_told() {
    let scripts = Scripts::start(&[]);
    let mut client = scripts.server.connect();
    client.send("GET /short.sh HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.try_response("GET").is_err(), "it is shorter than it said");
    assert_eq!(scripts.get("/closes.sh").text(), "one\n");
    let pid = scripts.pid("closes.sh");
    until("it has ended", || is_gone(pid) && of_group(pid).is_empty());
    let ended = scripts.stop();
    assert_eq!(lines(&ended, "closes.sh: closed its output and did not end: stopped"), 1);
}

#[test]
fn scripts_have_no_descriptor_of_the_server() {
    // One that is inherited, and not close-on-exec.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let scripts = Scripts::start(&["accesslog=/dev/null"]);
    let told = scripts.get("/fds.sh").text();
    assert_eq!(told.lines().filter(|line| line.starts_with("pipe:")).count(), 3, "{told}");
    let others = told.lines().filter(|line| !line.starts_with("pipe:") && !line.is_empty());
    let own = scripts.root.canonicalize().unwrap().join("fds.sh");
    others.for_each(|line| assert_eq!(Path::new(line), own, "{told}"));
    drop(listener);
    scripts.stop();
}

#[test]
fn a_script_does_not_outlive_its_worker() {
    if under() == Under::Valgrind {
        eprintln!("NOT UNDER VALGRIND: what it says of a process that was killed");
        return;
    }
    let scripts = Scripts::start(&["worker_model=fork"]);
    let mut client = scripts.server.connect();
    client.send("GET /hang.sh HTTP/1.1\r\nHost: h\r\n\r\n");
    let pid = scripts.pid("hang.sh");
    scripts.server.workers().into_iter().for_each(|worker| kill(worker, SIGKILL));
    until("it has ended", || is_gone(pid));
    assert_eq!(client.end(), End::Closed);
    until("another worker serves", || {
        let answer = Client::try_connect(scripts.server.address()).and_then(|mut client| {
            client.send("GET /head.sh HTTP/1.1\r\nHost: h\r\n\r\n");
            client.try_response("GET")
        });
        answer.is_ok()
    });
    // A group is its own: what the script has started hears nothing of this.
    of_group(pid).iter().for_each(|stat| {
        kill(stat.split(' ').next().unwrap().parse().unwrap(), SIGKILL);
    });
    scripts.stop();
}

#[test]
fn wrong_arguments_are_told() {
    for (args, says) in [
        (&["bind={}"][..], "cgi: root is missing"),
        (&["bind={}", "root=/nowhere"], "root = /nowhere: No such file or directory"),
        (&["bind={}", "root=/", "timeout=x"], "timeout = 'x'"),
    ] {
        let ended = Server::launch(&program(&["examples/cgi_scripts.c"]), args).end();
        assert_eq!(ended.status, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(says), "{ended:?}");
    }
}
