//! HTTPS and HTTP/2 before applications inside of nginx: there a connection is not the client's socket, and
//! a stream may end where the connection goes on.

mod harness;

use std::io::{Read, Write};
use std::process::{Child, Command, Output, Stdio};

use harness::fronts::Dir;
use harness::nginx::{Nginx, waits};
use harness::{support, until};

/// nginx with a certificate of its own.
struct Secure {
    nginx: Nginx,
    _certificate: Dir,
}

impl Secure {
    fn start(inside: &str) -> Secure {
        let dir = Dir::new();
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        command.args(["-nodes", "-days", "2", "-subj", "/CN=nginx.test"]);
        command.arg("-keyout").arg(dir.path().join("key.pem"));
        command.arg("-out").arg(dir.path().join("certificate.pem"));
        support::run(&mut command);
        let server = format!(
            "server {{
                listen ${{IP}}:8443 ssl http2;
                ssl_certificate {certificate}/certificate.pem;
                ssl_certificate_key {certificate}/key.pem;
                add_header X-Connection $connection always;
                location / {{ gateway_module ${{SUITE}}; }}
                location /app {{ gateway_module ${{APP}}; }}
                location /streamed {{ gateway_module ${{APP}}; gateway_request_buffering off; }}
                {inside}
            }}",
            certificate = dir.path().display()
        );
        Secure { nginx: Nginx::start(&server.replace("${APP}", waits())), _certificate: dir }
    }

    fn url(&self, target: &str) -> String {
        format!("https://{}{target}", self.nginx.address(8443))
    }

    /// curl, by this version of HTTP.
    fn command(&self, version: &str, args: &[&str], targets: &[&str]) -> Command {
        let mut command = Command::new("curl");
        command.args(["-s", "-S", "-k", "-g", version, "--max-time", "100"]).args(args);
        for target in targets {
            command.args(["-o", "-", &self.url(target)]);
        }
        command
    }

    fn output(&self, version: &str, args: &[&str], targets: &[&str]) -> Output {
        support::output(&mut self.command(version, args, targets))
    }

    fn get(&self, version: &str, args: &[&str], targets: &[&str]) -> String {
        let out = self.output(version, args, targets);
        assert!(out.status.success(), "{targets:?}: {out:?}");
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    fn spawn(&self, version: &str, args: &[&str], target: &str) -> Child {
        let mut command = self.command(version, args, &[target]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start curl")
    }

    fn count(&self, name: &str) -> u64 {
        let told = self.get("--http1.1", &[], &["/app/counts"]);
        let value = told.split(&format!("{name} ")).nth(1).and_then(|it| it.split(' ').next());
        value.and_then(|it| it.parse().ok()).unwrap_or_else(|| panic!("{name} in {told}"))
    }

    fn wait_for(&self, name: &str, value: u64) {
        until(&format!("{name} {value}"), || self.count(name) == value);
    }
}

#[test]
fn https_is_told_and_changes_nothing() {
    let secure = Secure::start("location /sendfile { gateway_module ${SUITE}; sendfile on; }");
    for (version, protocol) in [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2.0")] {
        let said = ["-w", "%{http_version} %{num_connects}\n"];
        let told = secure.get(version, &said, &["/tell", "/tell", "/hello"]);
        assert_eq!(told.matches("scheme: \"https\"").count(), 2, "{told}");
        assert_eq!(told.matches(&format!("protocol: \"{protocol}\"")).count(), 2, "{told}");
        // One connection for all of them.
        assert!(
            told.ends_with(&format!("hello, world\n{} 0\n", protocol[5..].trim_end_matches(".0")))
        );
        let head = secure.get(version, &["-I"], &["/stream?n=3&size=10&length=1"]);
        assert!(
            head.contains(" 200") && head.to_lowercase().contains("content-length: 30"),
            "{head}"
        );
        for code in ["204", "304"] {
            let target = format!("/status?code={code}");
            let told = secure.get(version, &["-w", "%{http_code} %{size_download}"], &[&target]);
            assert_eq!(told, format!("{code} 0"));
        }
        for target in ["/sendfile/file?size=3000000", "/file?size=3000000"] {
            let out = secure.output(version, &[], &[target]);
            assert_eq!(out.stdout.len(), 3_000_000);
            assert!(
                out.stdout.ends_with(b"\n") || out.stdout.windows(8).any(|it| it == b"line at ")
            );
        }
        assert_eq!(secure.get(version, &[], &["/stream?n=3&size=2", "/defer"]), "aabbcclater\n");
        assert_eq!(secure.get(version, &[], &["/hints"]), "after the hints\n");
    }
    secure.nginx.stop();
}

#[test]
fn streams_of_one_connection_do_not_wait_for_each_other() {
    let secure = Secure::start("");
    let ids = |text: &str| {
        let ids = text.lines().filter_map(|line| line.strip_prefix("x-connection: "));
        ids.map(|it| it.trim().to_owned()).collect::<Vec<_>>()
    };
    // The first ends when a later one has released it.
    let told = secure.get("--http2", &["-Z", "-i"], &["/app/wait", "/app/wait", "/app/release"]);
    assert_eq!(told.matches("released\n").count(), 2, "{told}");
    let ids = ids(&told);
    assert!(ids.len() == 3 && ids.iter().all(|it| *it == ids[0]), "{ids:?}");
    // Many at once, each whole.
    let targets = vec!["/stream?n=40&size=1000"; 60];
    let told = secure.get("--http2", &["-Z", "--parallel-max", "60"], &targets);
    assert_eq!(told.len(), 60 * 40_000);
    for letter in 'a'..='n' {
        assert_eq!(told.matches(letter).count(), 60 * 2000, "{letter}");
    }
    secure.nginx.stop();
}

#[test]
fn bodies_come_through_streams() {
    let secure = Secure::start("");
    let dir = Dir::new();
    let file = dir.path().join("body");
    let body: Vec<u8> =
        (0..1 << 20).map(|i: u32| (i.wrapping_mul(2654435761) >> 13) as u8).collect();
    std::fs::write(&file, &body).expect("write a file");
    let file = file.display().to_string();
    let sent = format!("@{file}");
    for version in ["--http1.1", "--http2"] {
        let echoed = secure.output(version, &["--data-binary", &sent], &["/echo"]);
        assert!(echoed.stdout == body, "{version}: {} octets", echoed.stdout.len());
        for at in ["/app/upload", "/streamed/upload"] {
            assert_eq!(secure.get(version, &["--data-binary", &sent], &[at]), "read 1048576\n");
            assert_eq!(secure.get(version, &["--data-binary", ""], &[at]), "read 0\n");
        }
        // Read while it comes, without a length.
        let before = secure.count("octets");
        let mut curl = secure.spawn(version, &["-X", "POST", "-T", "-"], "/streamed/upload");
        let mut input = curl.stdin.take().expect("a pipe");
        input.write_all(b"hello").expect("write to curl");
        secure.wait_for("octets", before + 5);
        input.write_all(b", world").expect("write to curl");
        drop(input);
        let out = curl.wait_with_output().expect("wait for curl");
        assert_eq!(String::from_utf8_lossy(&out.stdout), "read 12\n");
    }
    secure.nginx.stop();
}

#[test]
fn an_answer_that_is_not_whole_is_an_error_of_the_stream() {
    let cut = |line: &str| {
        line.contains("gateway:")
            || line.contains("gateway application did not end its answer")
            || line.contains("gateway application timed out")
    };
    let secure =
        Secure::start("location /late { gateway_module ${APP}; gateway_read_timeout 300ms; }");
    // 92: CURLE_HTTP2_STREAM.  By HTTP/1.1, 18: a part of a file.
    for (version, code) in [("--http2", 92), ("--http1.1", 18)] {
        for target in ["/fails-late?n=3&size=5", "/stream?n=3&size=5&length=1&more=9"] {
            let out = secure.output(version, &[], &[target]);
            assert_eq!(out.status.code(), Some(code), "{target}: {out:?}");
            assert_eq!(out.stdout, b"aaaaabbbbbccccc");
        }
        let out = secure.output(version, &[], &["/late/chunks?n=3&size=5&after=1"]);
        assert_eq!((out.status.code(), &out.stdout[..]), (Some(code), &b"aaaaabbbbb"[..]));
        let told = secure.get(version, &["-w", " %{http_code}"], &["/late/wait"]);
        assert!(told.ends_with(" 504"), "{told}");
        // Other streams of the connection go on.
        let out = secure.output(version, &["-w", "%{num_connects}"], &["/fails-late", "/hello"]);
        let connects = if version == "--http2" { "0" } else { "1" };
        let told = String::from_utf8_lossy(&out.stdout);
        assert!(told.ends_with(&format!("hello, world\n{connects}")), "{told}");
    }
    assert_eq!(secure.get("--http2", &[], &["/app/release"]), "open\n");
    secure.nginx.stop_with(cut);
}

#[test]
fn a_stream_that_is_left_or_not_read_is_felt_by_the_application() {
    const N: usize = 8000;
    const SIZE: usize = 10_000;
    let secure = Secure::start("");
    for version in ["--http1.1", "--http2"] {
        let aborted = secure.count("aborted");
        let mut curl = secure.spawn(version, &[], "/app/wait");
        secure.wait_for("waiting", 1 + aborted);
        curl.kill().and_then(|()| curl.wait()).expect("end curl");
        secure.wait_for("aborted", aborted + 1);

        // What curl does not read, since nobody reads from it.
        let before = secure.count("made");
        let target = format!("/app/chunks?n={N}&size={SIZE}");
        let mut curl = secure.spawn(version, &[], &target);
        let mut made = 0;
        until("it makes no more", || {
            secure.get("--http2", &[], &["/hello"; 20]);
            let last = std::mem::replace(&mut made, secure.count("made") - before);
            made > 0 && made == last
        });
        assert!(made < N as u64 * 3 / 4, "{version}: {made} of {N}");
        let mut body = Vec::new();
        curl.stdout.take().expect("a pipe").read_to_end(&mut body).expect("read from curl");
        assert!(curl.wait().expect("wait for curl").success());
        assert_eq!(body.len(), N * SIZE);
        assert!(body.chunks(SIZE).enumerate().all(
            |(i, it)| it[0] == b'a' + (i % 26) as u8 && it.iter().all(|octet| *octet == it[0])
        ));
        secure.wait_for("open", 0);
    }
    assert_eq!(secure.get("--http2", &[], &["/app/release"]), "open\n");
    secure.wait_for("dropped", 2);
    secure.nginx.stop();
}

#[test]
fn a_client_that_does_not_read_is_late() {
    const N: u64 = 8000;
    // What a connection has of a stream that is over, nginx keeps until the server's send_timeout.
    let secure = Secure::start("send_timeout 500ms;");
    for version in ["--http1.1", "--http2"] {
        let before = secure.count("made");
        let target = format!("/app/chunks?n={N}&size=10000");
        let mut curl = secure.spawn(version, &[], &target);
        until("it has begun", || secure.count("made") > before);
        secure.wait_for("open", 0);
        assert!(secure.count("made") - before < N * 3 / 4, "{version}");
        curl.kill().and_then(|()| curl.wait()).expect("end curl");
    }
    secure.nginx.stop();
}
