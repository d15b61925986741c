//! Programs that a web server starts: for one request (CGI), or with a socket that listens as descriptor
//! 0 (FastCGI).  `spawn-fcgi` and `cgi-fcgi` are the real ones.

mod harness;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use harness::client::Client;
use harness::life::unique;
use harness::{PATIENCE, SIGTERM, kill, program, until};

type Vars<'a> = &'a [(&'a str, &'a str)];

fn app() -> PathBuf {
    program(&["tests/c/app.c"])
}

// ---- one request ----

/// The program as a CGI program, its environment made of these alone.
fn cgi(program: &Path, args: &[&str], vars: Vars<'_>) -> Command {
    let mut command = Command::new("timeout");
    command.arg("120").arg(program).args(args);
    let kept = ["PATH", "LD_LIBRARY_PATH", "ASAN_OPTIONS"];
    command.env_clear().envs(kept.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.env("GATEWAY_INTERFACE", "CGI/1.1").envs(vars.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// It runs to its end, with this on its standard input.
fn ask(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // It need not read all of it.
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().unwrap()
    })
}

/// Its status, its answer's first line, the answer's body.
fn told(output: &Output) -> (Option<i32>, String, Vec<u8>) {
    let text = &output.stdout;
    let head = text.windows(4).position(|it| it == b"\r\n\r\n").unwrap_or(text.len());
    let line = String::from_utf8_lossy(&text[..head]).lines().next().unwrap_or("").to_owned();
    (output.status.code(), line, text.get(head + 4..).unwrap_or_default().to_vec())
}

fn request<'a>(method: &'a str, path: &'a str, query: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("REQUEST_METHOD", method),
        ("SCRIPT_NAME", "/cgi-bin/app"),
        ("PATH_INFO", path),
        ("QUERY_STRING", query),
        ("SERVER_NAME", "example.org"),
        ("SERVER_PORT", "8080"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REMOTE_ADDR", "192.0.2.1"),
        ("HTTP_HOST", "h"),
    ]
}

#[test]
fn one_request_is_answered() {
    let big: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let length = big.len().to_string();
    let sum = format!(
        "{length} octets, sum {}, then 2\n",
        big.iter().map(|it| u64::from(*it)).sum::<u64>()
    );
    let error = "500 Internal Server Error\n";
    // Method, path, query, CONTENT_LENGTH, input; status and body.
    for (method, path, query, length, input, status, body) in [
        ("GET", "/", "", "", &b""[..], "200 OK", &b"hello, world\n"[..]),
        ("HEAD", "/", "", "", b"", "200 OK", b""),
        ("POST", "/echo", "", "4", b"four and more", "200 OK", b"four"),
        ("POST", "/echo", "", "0", b"", "200 OK", b""),
        ("GET", "/echo", "", "", b"ignored", "200 OK", b""),
        ("POST", "/echo", "", &length, &big, "200 OK", &big),
        ("POST", "/sum", "", &length, &big, "200 OK", sum.as_bytes()),
        ("POST", "/one", "", "5", b"abcde", "200 OK", b"a\n"),
        ("GET", "/chunks", "n=3&size=4", "", b"", "200 OK", b"aaaabbbbcccc"),
        ("GET", "/query", "a=%20b", "", b"", "200 OK", b"a=%20b"),
        ("GET", "/flags", "", "", b"", "200 OK", b"once 1 processes 0 threads 0\n"),
        ("GET", "/status", "code=304", "", b"", "304 Not Modified", b""),
        ("GET", "/nowhere", "", "", b"", "404 Not Found", b""),
        ("GET", "/fail", "", "", b"", "500 Internal Server Error", error.as_bytes()),
        ("GET", "/no-head", "", "", b"", "500 Internal Server Error", error.as_bytes()),
        // After the head nothing but the end is left to say.
        ("GET", "/failing", "n=2&size=3", "", b"", "200 OK", b"aaabbb"),
        ("POST", "/echo", "", "9", b"four", "", b""),
        ("G ET", "/", "", "", b"", "400 Bad Request", b"?"),
        ("POST", "/", "", "many", b"", "400 Bad Request", b"?"),
        ("POST", "/", "", "-1", b"", "400 Bad Request", b"?"),
        ("POST", "/", "", "99999999999999999999", b"", "400 Bad Request", b"?"),
        ("POST", "/", "", "2000000000", b"", "413 Content Too Large", b"?"),
    ] {
        let mut vars = request(method, path, query);
        vars.push(("CONTENT_LENGTH", length));
        let output = ask(&mut cgi(&app(), &["127.0.0.1:1", "max_body=10m"], &vars), input);
        let (code, line, said) = told(&output);
        let expected = if status.is_empty() { String::new() } else { format!("Status: {status}") };
        assert_eq!((code, line), (Some(0), expected), "{method} {path} {length}: {output:?}");
        assert!(body == b"?" || said == body, "{method} {path}: {} octets", said.len());
    }
}

#[test]
fn its_environment_is_the_environ() {
    let mut vars = request("GET", "/a b/\u{e9}", "x=%31");
    vars.extend([
        ("REQUEST_URI", "/cgi-bin/app/a%20b/%C3%A9?x=%31"),
        ("CONTENT_TYPE", "text/x"),
        ("HTTP_X_TWO", "a, b"),
        ("HTTP_PROXY", "http://evil/"),
        ("HTTPS", "on"),
        ("REMOTE_USER", "ada"),
        ("SSL_PROTOCOL", "TLSv1.3"),
        ("HOME", "/root"),
    ]);
    let output = ask(&mut cgi(&program(&["examples/environ.c"]), &[], &vars), b"");
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "CONTENT_TYPE = 'text/x'",
        "GATEWAY_INTERFACE = 'CGI/1.1'",
        "HTTPS = 'on'",
        "HTTP_HOST = 'h'",
        "HTTP_X_TWO = 'a, b'",
        "QUERY_STRING = 'x=%31'",
        "REMOTE_ADDR = '192.0.2.1'",
        "REMOTE_USER = 'ada'",
        "REQUEST_METHOD = 'GET'",
        "REQUEST_URI = '/cgi-bin/app/a%20b/%C3%A9?x=%31'",
        "SCRIPT_NAME = '/cgi-bin/app'",
        "SERVER_NAME = 'example.org'",
        "SERVER_PORT = '8080'",
        "SSL_PROTOCOL = 'TLSv1.3'",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
    assert!(text.contains("PATH_INFO = '/a b/"), "{text}");
    for name in ["PATH ", "HOME", "HTTP_PROXY", "wsgi"] {
        assert!(!text.lines().any(|line| line.starts_with(name)), "{name} is in\n{text}");
    }
}

#[test]
fn one_request_without_standard_descriptors() {
    let shell = |redirection: &str, length: &str| {
        let mut vars = request("POST", "/echo", "");
        vars.push(("CONTENT_LENGTH", length));
        let mut command = cgi(Path::new("sh"), &["-c"], &vars);
        command.arg(format!("exec \"$0\" 127.0.0.1:1 {redirection}")).arg(app());
        ask(&mut command, b"")
    };
    assert_eq!(told(&shell("<&-", "")), (Some(0), "Status: 200 OK".into(), vec![]));
    // What is to come cannot.
    assert_eq!(told(&shell("<&-", "5")), (Some(0), String::new(), vec![]));
    assert_eq!(told(&shell("</dev/null", "")), (Some(0), "Status: 200 OK".into(), vec![]));
    let output = shell(">&-", "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("standard output is closed"), "{said}");
    // The access log is not in the answer's way.
    let vars = request("GET", "/", "");
    let output = ask(&mut cgi(&app(), &["127.0.0.1:1", "accesslog=-"], &vars), b"");
    assert_eq!(told(&output), (Some(0), "Status: 200 OK".into(), b"hello, world\n".to_vec()));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("192.0.2.1 - - ["), "{said}");
}

fn pipes(child: &mut Child) -> (ChildStdin, ChildStdout) {
    (child.stdin.take().unwrap(), child.stdout.take().unwrap())
}

#[test]
fn an_answer_streams_and_ends_with_its_reader() {
    // What is written is there before the rest is read.
    let mut vars = request("POST", "/relay", "");
    vars.push(("CONTENT_LENGTH", "6"));
    let options = ["127.0.0.1:1", "request_buffering=0", "blocking=1"];
    let mut child = cgi(&app(), &options, &vars).spawn().unwrap();
    let (mut stdin, mut stdout) = pipes(&mut child);
    stdin.write_all(b"one").unwrap();
    let mut text = String::new();
    while !text.ends_with("one") {
        let mut octet = [0];
        stdout.read_exact(&mut octet).unwrap();
        text.push(char::from(octet[0]));
    }
    stdin.write_all(b"two").unwrap();
    text.clear();
    stdout.read_to_string(&mut text).unwrap();
    assert_eq!(text, "two");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    // One without end ends with its reader.
    let vars = request("GET", "/chunks", "n=-1&size=1000");
    let mut child = cgi(&app(), &["127.0.0.1:1"], &vars).spawn().unwrap();
    let (stdin, mut stdout) = pipes(&mut child);
    stdout.read_exact(&mut [0; 100_000]).unwrap();
    drop((stdin, stdout));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn somebody_at_a_terminal_is_no_web_server() {
    const PYTHON: &str = "
import os, pty, sys
pid, master = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
sys.stdout.write(str(pid) + '\\n')
sys.stdout.flush()
try:
    while os.read(master, 4096): pass
except OSError: pass
sys.exit(os.waitpid(pid, 0)[1])
";
    let address = format!("127.{}.9.9:8000", 1 + std::process::id() % 254);
    let mut command = cgi(Path::new("python3"), &["-c", PYTHON], &request("GET", "/", ""));
    let mut child = command.arg(app()).args([&address, "worker_model=inline"]).spawn().unwrap();
    let (stdin, mut stdout) = pipes(&mut child);
    until("it listens", || TcpStream::connect(&address).is_ok());
    // It listens before it catches signals.
    assert_eq!(Client::connect(&address).get("/").status, 200);
    let mut pid = Vec::new();
    while !pid.ends_with(b"\n") {
        let mut octet = [0];
        stdout.read_exact(&mut octet).unwrap();
        pid.push(octet[0]);
    }
    kill(String::from_utf8(pid).unwrap().trim().parse().unwrap(), SIGTERM);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    drop(stdin);
}

// ---- a socket that listens ----

/// A program that has one as descriptor 0, and its path.
struct Spawned {
    child: Child,
    path: String,
}

impl Spawned {
    /// By spawn-fcgi, which becomes the program.
    fn start(args: &[&str], vars: Vars<'_>) -> Spawned {
        let path = unique("spawned");
        let mut command = Command::new("spawn-fcgi");
        command.args(["-n", "-s", &path, "--"]).arg(program(&["examples/serve.c"])).args(args);
        command.envs(vars.iter().copied()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().expect("start spawn-fcgi");
        until("it listens", || UnixStream::connect(&path).is_ok());
        Spawned { child, path }
    }

    /// What the application says, asked by cgi-fcgi.
    fn ask(&self) -> String {
        let mut command =
            cgi(Path::new("cgi-fcgi"), &["-bind", "-connect"], &request("GET", "/", ""));
        let output = ask(command.arg(&self.path), b"");
        let (code, line, body) = told(&output);
        assert_eq!((code, &*line), (Some(0), "Status: 200 OK"), "{output:?}");
        String::from_utf8(body).unwrap()
    }

    /// TERM ends it in order; what it said.
    fn stop(self) -> String {
        kill(self.child.id() as i32, SIGTERM);
        self.end()
    }

    /// It has been told to end.
    fn end(mut self) -> String {
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{said}");
        let _ = fs::remove_file(&self.path);
        said
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[test]
fn a_program_that_is_spawned_serves_fastcgi() {
    // Also where it has the environment of a CGI program.
    for vars in [&[][..], &[("GATEWAY_INTERFACE", "CGI/1.1"), ("REQUEST_METHOD", "GET")]] {
        let spawned = Spawned::start(&[], vars);
        let own = format!("worker {}\n", spawned.child.id());
        assert_eq!([spawned.ask(), spawned.ask()], [own.clone(), own], "it serves by itself");
        // A request that is under way is answered.
        let mut stream = UnixStream::connect(&spawned.path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let begin = [1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        stream.write_all(&begin).unwrap();
        assert!(spawned.ask().starts_with("worker "), "the other was read before");
        kill(spawned.child.id() as i32, SIGTERM);
        let params = *b"\x0e\x03REQUEST_METHODGET\x09\x01PATH_INFO/";
        let head = [1, 4, 0, 1, 0, params.len() as u8, 0, 0];
        stream
            .write_all(
                &[&head[..], &params, &[1, 4, 0, 1, 0, 0, 0, 0], &[1, 5, 0, 1, 0, 0, 0, 0]]
                    .concat(),
            )
            .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.windows(14).any(|it| it == b"Status: 200 OK"), "{answer:?}");
        let path = spawned.path.clone();
        let said = spawned.end();
        assert!(said.contains(&format!("Listening at: unix:{path}")), "{said}");
    }
}

#[test]
fn workers_share_descriptor_0_if_asked_for() {
    for model in ["fork", "threads", "exec"] {
        let options = ["workers=2", &format!("worker_model={model}")];
        let spawned = Spawned::start(&options, &[]);
        let own = format!("worker {}\n", spawned.child.id());
        until("they serve", || spawned.ask() != "");
        assert_eq!(spawned.ask() == own, model == "threads", "{model}");
        spawned.stop();
    }
}

#[test]
fn other_addresses_win_over_descriptor_0() {
    let address = format!("127.{}.9.8:8000", 1 + std::process::id() % 254);
    let spawned = Spawned::start(&[&format!("bind={address}"), "workers=1"], &[]);
    until("it listens there", || TcpStream::connect(&address).is_ok());
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    spawned.stop();
}

#[test]
fn only_the_web_servers_that_are_named_may_connect() {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    for (named, may) in [("192.0.2.1", false), ("192.0.2.1,127.0.0.1", true), ("", true)] {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let ip = format!("127.{}.8.{}", 1 + std::process::id() % 254, 1 + count);
        let mut command = Command::new("spawn-fcgi");
        command.args(["-n", "-a", &ip, "-p", "9000", "--"]).arg(program(&["examples/serve.c"]));
        command.env("FCGI_WEB_SERVER_ADDRS", named);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let address = format!("{ip}:9000");
        until("it listens", || TcpStream::connect(&address).is_ok());
        let spawned = Spawned { child, path: address.clone() };
        if may {
            assert!(spawned.ask().starts_with("worker "));
        } else {
            let mut stream = TcpStream::connect(&address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let _ = stream.write_all(&[1, 9, 0, 0, 0, 0, 0, 0]);
            assert!(!matches!(stream.read(&mut [0]), Ok(1..)));
        }
        let said = spawned.stop();
        let line = "closed a connection from 127.0.0.1: not one of FCGI_WEB_SERVER_ADDRS";
        assert_eq!(said.contains(line), !may, "{said}");
    }
    // Peers of a unix socket have no address.
    let spawned = Spawned::start(&[], &[("FCGI_WEB_SERVER_ADDRS", "192.0.2.1")]);
    assert!(spawned.ask().starts_with("worker "));
    spawned.stop();
}

#[test]
fn web_servers_that_have_no_address_are_told() {
    let path = unique("spawned");
    let listener = UnixListener::bind(&path).unwrap();
    let mut command = Command::new("timeout");
    command
        .arg("120")
        .arg(program(&["examples/serve.c"]))
        .env("FCGI_WEB_SERVER_ADDRS", "1.2.3.4,me");
    let output = command.stdin(std::os::fd::OwnedFd::from(listener)).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("FCGI_WEB_SERVER_ADDRS = 1.2.3.4,me: 'me' is not an IP address"),
        "{said}"
    );
    fs::remove_file(&path).unwrap();
}
