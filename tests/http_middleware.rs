//! Ready-made middleware around an application in C: `gw_middleware_builtin` through
//! `tests/c/builtin.c`, octets in and octets out.

mod harness;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::client::Response;
use harness::{Server, program, support};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn};
use std::os::fd::AsRawFd;

fn start(args: &[&str]) -> Server {
    let args = [&["bind={}", "workers=1", "errorlog=-", "loglevel=info"], args].concat();
    Server::start(&program(&["tests/c/builtin.c"]), &args)
}

/// One request on a connection of its own.
fn ask(server: &Server, method: &str, target: &str, fields: &str) -> Response {
    let mut client = server.connect();
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n"));
    client.response(method)
}

/// All that is answered to a GET from this address.
fn get_from(from: &str, server: &Server, fields: &str) -> String {
    let to: SocketAddrV4 = server.address().parse().unwrap();
    let flags = SockFlag::SOCK_CLOEXEC;
    let fd = socket::socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
    let from = SocketAddrV4::new(from.parse().unwrap(), 0);
    socket::bind(fd.as_raw_fd(), &SockaddrIn::from(from)).unwrap();
    socket::connect(fd.as_raw_fd(), &SockaddrIn::from(to)).unwrap();
    let mut stream = TcpStream::from(fd);
    let ask = format!("GET /?REMOTE_ADDR HTTP/1.0\r\n{fields}\r\n");
    stream.write_all(ask.as_bytes()).unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    told
}

#[test]
fn who_may_ask() {
    for (rules, from, fields, may) in [
        ("allow=127.0.0.0/8", "127.0.0.1", "", true),
        ("allow=127.0.0.1", "127.0.0.2", "", false),
        ("deny=127.0.0.2 allow=127.0.0.0/8", "127.0.0.2", "", false),
        ("deny=127.0.0.2 allow=127.0.0.0/8", "127.0.0.3", "", true),
        ("deny=127.0.0.2", "127.0.0.3", "", true),
        ("deny=*", "127.0.0.3", "", false),
        // Of whom a proxy speaks: it is trusted, or not.
        ("allow=192.0.2.1", "127.0.0.1", "X-Forwarded-For: 192.0.2.1\r\n", true),
        ("allow=192.0.2.1", "127.0.0.1", "X-Forwarded-For: 192.0.2.2\r\n", false),
        ("allow=192.0.2.1", "127.0.0.2", "X-Forwarded-For: 192.0.2.1\r\n", false),
    ] {
        let spec = format!("use=access {rules}");
        let server = start(&[&spec, "forwarded_allow_ips=127.0.0.1", "forwarded_for=on"]);
        let told = get_from(from, &server, fields);
        let expected = if may { "HTTP/1.1 200 " } else { "HTTP/1.1 403 " };
        assert!(told.starts_with(expected), "{rules} {from} {fields}: {told}");
        let ended = server.stop();
        let refused = ended.stderr.contains("is not admitted");
        assert_eq!(refused, !may, "{rules} {from} {fields}: {ended:?}");
    }
}

#[test]
fn who_comes_in_on_a_unix_socket() {
    for (rules, expected) in [("allow=unix", "HTTP/1.1 200 "), ("allow=127.0.0.1", "HTTP/1.1 403 ")]
    {
        let path = support::scratch_dir().join(format!("access-{}", std::process::id()));
        let (spec, bind) = (format!("use=access {rules}"), format!("bind=unix:{}", path.display()));
        let server = start(&[&spec, &bind]);
        // Who is answered there knows that both are bound.
        ask(&server, "GET", "/", "");
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut told = String::new();
        stream.read_to_string(&mut told).unwrap();
        assert!(told.starts_with(expected), "{rules}: {told}");
        server.stop();
    }
}

#[test]
fn a_request_has_a_name() {
    let long = "a".repeat(128);
    let (fits, too_long) =
        (format!("X-Request-ID: {long}\r\n"), format!("X-Request-ID: {long}a\r\n"));
    let mine = "X-Request-ID: mine-1\r\n";
    let twice = format!("{mine}{mine}");
    let trusting = "forwarded_allow_ips=*";
    // What is taken from the client, if anything is.
    for (spec, option, fields, taken) in [
        ("request_id", trusting, mine, Some("mine-1")),
        ("request_id", trusting, "", None),
        ("request_id", trusting, &fits, Some(&*long)),
        ("request_id", trusting, &too_long, None),
        ("request_id", trusting, "X-Request-ID: a b\r\n", None),
        ("request_id", trusting, "X-Request-ID: a\"b\r\n", None),
        ("request_id", trusting, "X-Request-ID:\r\n", None),
        ("request_id", trusting, &twice, None),
        ("request_id", "forwarded_allow_ips=none", mine, None),
        ("request_id accept=all", "forwarded_allow_ips=none", mine, Some("mine-1")),
        ("request_id accept=none", trusting, mine, None),
    ] {
        let spec = format!("use={spec}");
        let server = start(&[&spec, option]);
        let told = ask(&server, "GET", "/?HTTP_X_REQUEST_ID", fields);
        let id = told.text();
        assert_eq!(told.header("x-request-id"), Some(&*id), "{spec} {fields}");
        match taken {
            Some(taken) => assert_eq!(id, taken, "{spec} {fields}"),
            None => {
                let is_ours = id.len() == 16 && id.bytes().all(|it| it.is_ascii_hexdigit());
                assert!(is_ours, "{spec} {fields}: {id}");
                let other = ask(&server, "GET", "/?HTTP_X_REQUEST_ID", fields).text();
                assert_ne!(id, other, "{spec} {fields}");
            }
        }
        server.stop();
    }
}

#[test]
fn the_answer_has_the_name_however_it_is_said() {
    let server = start(&["use=request_id", "forwarded_allow_ips=none"]);
    for path in ["/", "/next", "/write", "/again"] {
        let told = ask(&server, "GET", &format!("{path}?HTTP_X_REQUEST_ID"), "Say: A: b\r\n");
        assert_eq!(told.header("x-request-id"), Some(&*told.text()), "{path}");
        assert_eq!(told.header("a"), Some("b"), "{path}");
    }
    let many = "Say: A: b\r\n".repeat(35);
    let told = ask(&server, "GET", "/?HTTP_X_REQUEST_ID", &many);
    assert_eq!(told.header("x-request-id"), Some(&*told.text()));
    assert_eq!(told.headers.iter().filter(|it| it.0 == "A").count(), 35);
    // The application says one; it is a name of the log's lines, too.
    let told = ask(&server, "GET", "/?HTTP_X_REQUEST_ID", "Say: x-request-id: other\r\n");
    assert_eq!(told.header("x-request-id"), Some("other"));
    server.stop();
    let server = start(&["use=request_id respond=off"]);
    let told = ask(&server, "GET", "/?HTTP_X_REQUEST_ID", "X-Request-ID: mine\r\n");
    assert_eq!((&*told.text(), told.header("x-request-id")), ("mine", None));
    server.stop();
}

/// A directory of files that an application names, and a server for it.
struct Site {
    server: Server,
    top: PathBuf,
}

impl Site {
    fn start(args: &str) -> Site {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let top = support::scratch_dir().join(format!("sendfile-{}-{count}", std::process::id()));
        let root = top.join("root");
        fs::create_dir_all(root.join("dir")).unwrap();
        fs::write(root.join("ten.txt"), "0123456789").unwrap();
        fs::write(root.join("a b.txt"), "odd").unwrap();
        fs::write(top.join("secret"), "secret").unwrap();
        symlink("../secret", root.join("up")).unwrap();
        let spec = format!("use=sendfile root={} {args}", root.display());
        Site { server: start(&[&spec]), top }
    }

    /// The application says these, and its own body.
    fn say(&self, method: &str, path: &str, said: &[&str], fields: &str) -> Response {
        let root = self.top.join("root").display().to_string();
        let said: String = said.iter().map(|it| format!("Say: {it}\r\n")).collect();
        ask(&self.server, method, path, &(said.replace("ROOT", &root) + fields))
    }

    fn stop(self) -> String {
        let ended = self.server.stop();
        let _ = fs::remove_dir_all(self.top);
        ended.stderr
    }
}

#[test]
fn a_file_that_an_application_names() {
    let site = Site::start("prefix=/internal");
    let missing = "there is no such file\n";
    for (said, status, body) in [
        (&["X-Sendfile: ROOT/ten.txt"][..], 200, "0123456789"),
        (&["x-sendfile: ten.txt"], 200, "0123456789"),
        (&["X-Sendfile: ROOT/a b.txt"], 200, "odd"),
        (&["X-Accel-Redirect: /internal/ten.txt"], 200, "0123456789"),
        (&["X-Accel-Redirect: /internal/a%20b.txt?x=y"], 200, "odd"),
        (&["X-Sendfile: ten.txt", "402"], 402, "0123456789"),
        // What is not there, or elsewhere.
        (&["X-Sendfile: ROOT/missing"], 404, missing),
        (&["X-Sendfile: ROOT"], 404, missing),
        (&["X-Sendfile: ROOT/dir"], 404, missing),
        (&["X-Sendfile: ROOT/up"], 404, missing),
        (&["X-Sendfile: ROOT/../secret"], 404, missing),
        (&["X-Sendfile: ../secret"], 404, missing),
        (&["X-Sendfile: /etc/passwd"], 404, missing),
        (&["X-Sendfile: ROOT-two/x"], 404, missing),
        (&["X-Accel-Redirect: /ten.txt"], 404, missing),
        (&["X-Accel-Redirect: /internal/%2e%2e/secret"], 404, missing),
        (&["X-Accel-Redirect: /internal/ten.txt%00"], 404, missing),
        // Not a name of a file.
        (&["X-Other: ten.txt"], 200, "none"),
    ] {
        let told = site.say("GET", "/", said, "");
        assert_eq!((told.status, &*told.text()), (status, body), "{said:?}");
        assert_eq!(told.header("x-sendfile"), None);
        assert_eq!(told.header("x-accel-redirect"), None);
    }
    // Every body was closed, and once.
    let closed = ask(&site.server, "GET", "/closed", "").text();
    assert_eq!(closed, "18");
    let log = site.stop();
    for line in [
        "404: X-Sendfile: /etc/passwd: it leads out of the root",
        "404: X-Sendfile: ../secret: it leads out of the root",
        "404: X-Accel-Redirect: /ten.txt: it leads out of the root",
    ] {
        assert_eq!(log.matches(line).count(), 1, "{line}: {log}");
    }
}

#[test]
fn fields_of_the_application_and_of_the_file() {
    let site = Site::start("");
    let said = [
        "X-Sendfile: ten.txt",
        "Content-Type: text/x",
        "Content-Length: 4",
        "ETag: \"theirs\"",
        "Set-Cookie: a=b",
        "Content-Disposition: attachment",
        "Cache-Control: private",
    ];
    let told = site.say("GET", "/", &said, "");
    for (name, value) in [
        ("Content-Type", "text/x"),
        ("Content-Length", "10"),
        ("Set-Cookie", "a=b"),
        ("Content-Disposition", "attachment"),
        ("Cache-Control", "private"),
        ("Accept-Ranges", "bytes"),
    ] {
        assert_eq!(told.header(name), Some(value), "{name}");
    }
    let etag = told.header("etag").unwrap();
    assert_ne!(etag, "\"theirs\"");
    assert_eq!(site.say("GET", "/", &said[..1], "").header("content-type"), Some("text/plain"));
    // Conditions and ranges are the file's.
    let told = site.say("GET", "/", &said, &format!("If-None-Match: {etag}\r\n"));
    assert_eq!((told.status, told.header("set-cookie")), (304, Some("a=b")));
    let told = site.say("GET", "/", &said, "Range: bytes=2-4\r\n");
    assert_eq!((told.status, &*told.text()), (206, "234"));
    let told = site.say("GET", "/", &said, "Range: bytes=20-\r\n");
    assert_eq!((told.status, told.header("content-range")), (416, Some("bytes */10")));
    let head = site.say("HEAD", "/", &said, "Range: bytes=2-4\r\n");
    assert_eq!((head.status, head.header("content-length")), (200, Some("10")));
    // But not for what changes something, and not for another status.
    let told = site.say("POST", "/", &said, "Range: bytes=2-4\r\nContent-Length: 0\r\n");
    assert_eq!((told.status, &*told.text()), (200, "0123456789"));
    let told = site.say("GET", "/", &["403", said[0]], "Range: bytes=2-4\r\nIf-None-Match: *\r\n");
    assert_eq!((told.status, &*told.text()), (403, "0123456789"));
    site.stop();
}

#[test]
fn a_file_is_named_in_every_way() {
    let site = Site::start("");
    let said = &["X-Sendfile: ten.txt"];
    for path in ["/", "/write", "/again"] {
        let told = site.say("GET", path, said, "");
        assert_eq!((told.status, &*told.text()), (200, "0123456789"), "{path}");
    }
    // The last head counts.
    let told = site.say("GET", "/sorry", said, "");
    assert_eq!((told.status, &*told.text()), (500, "none"));
    // That of a body that is on its way already comes too late.
    let told = site.say("GET", "/next", said, "");
    assert_eq!(told.status, 500);
    assert_eq!(site.say("GET", "/next", &["A: b"], "").header("a"), Some("b"));
    assert_eq!(ask(&site.server, "GET", "/closed", "").text(), "6");
    assert!(site.stop().contains("a file is named in the application call, not in next()"));
}

#[test]
fn several_of_them() {
    let site = Site::start("");
    let root = site.top.join("root").display().to_string();
    assert_eq!(ask(&site.server, "GET", "/", "").status, 200);
    site.server.stop();
    let sendfile = format!("use=sendfile root={root}");
    let server = start(&["use=access allow=127.0.0.0/8", "use=request_id accept=all", &sendfile]);
    let fields = "Say: X-Sendfile: ten.txt\r\nX-Request-ID: mine\r\nRange: bytes=0-0,9-9\r\n";
    let told = ask(&server, "GET", "/", fields);
    assert_eq!((told.status, told.header("x-request-id")), (206, Some("mine")));
    let text = told.text();
    assert!(text.contains("\r\n\r\n0\r\n--") && text.contains("\r\n\r\n9\r\n--"), "{text}");
    server.stop();
    let _ = fs::remove_dir_all(site.top);
}

#[test]
fn a_program_puts_it_around_an_application_of_its_own() {
    let fields = "X-Request-ID: mine\r\n";
    for (access, status) in [("allow=127.0.0.0/8", 200), ("deny=*", 403)] {
        let access = format!("wrap=access {access}");
        let server = start(&["wrap=request_id accept=all", &access]);
        let told = ask(&server, "GET", "/?HTTP_X_REQUEST_ID", fields);
        let id = (status == 200).then_some("mine");
        assert_eq!((told.status, told.header("x-request-id")), (status, id));
        server.stop();
    }
}

#[test]
fn what_is_wrong_is_said_at_the_start() {
    for (spec, says) in [
        ("acess allow=*", "no middleware 'acess': there are access, request_id, sendfile"),
        ("access", "access: allow or deny is missing"),
        ("access allow=example.org", "allow = 'example.org': expected networks"),
        ("sendfile root=/nowhere/at/all", "sendfile: root = /nowhere/at/all: "),
    ] {
        let args = ["bind={}", &format!("use={spec}")];
        let ended = Server::launch(&program(&["tests/c/builtin.c"]), &args).end();
        assert_ne!(ended.status, Some(0), "{spec}: {ended:?}");
        assert!(ended.stderr.contains(says), "{spec}: {ended:?}");
    }
}
