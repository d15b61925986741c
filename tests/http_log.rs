//! The logs of a running server: whole lines, from several processes, under hostile octets.

mod harness;

use std::fs;
use std::path::PathBuf;

use harness::{Server, program, scaled, support};

fn log_file(name: &str) -> PathBuf {
    let path = support::scratch_dir().join(format!("{name}-{}.log", std::process::id()));
    let _ = fs::remove_file(&path);
    path
}

#[test]
fn a_request_is_a_line() {
    let path = log_file("access");
    let server = Server::app(&[&format!("accesslog={}", path.display())]);
    let mut client = server.connect();
    client.send(
        "GET /query?12345 HTTP/1.1\r\nHost: x\r\nReferer: http://r/\r\nUser-Agent: A \"b\" \\\r\n\
         Authorization: Basic YWRhOnB3\r\n\r\n",
    );
    client.response("GET");
    client.get("/status?code=204");
    client.send("GET /nothing%0A HTTP/1.0\r\n\r\n");
    client.response("GET");
    client.end();
    server.stop();

    let text = fs::read_to_string(&path).expect("the log");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("127.0.0.1 - ada ["), "{text}");
    let rest = |line: &str| line.split_once("] ").expect("a time").1.to_owned();
    assert_eq!(rest(lines[0]), r#""GET /query?12345 HTTP/1.1" 200 5 "http://r/" "A \"b\" \\""#);
    assert_eq!(rest(lines[1]), r#""GET /status?code=204 HTTP/1.1" 204 0 "-" "-""#);
    assert_eq!(rest(lines[2]), r#""GET /nothing%0A HTTP/1.0" 404 0 "-" "-""#);
    fs::remove_file(&path).expect("remove the log");
}

/// nginx's way: what is known, and "-" for the rest.
#[test]
fn what_is_refused_before_it_is_a_request_is_a_line() {
    let path = log_file("refused");
    let options = ["header_timeout=1s", "body_timeout=1s", "limit_request_line=100"];
    let format =
        "access_log_format=%(h)s \"%(r)s\" %(s)s %(B)s %(m)s %(U)s?%(q)s %(H)s %(f)s %(D)s";
    let accesslog = format!("accesslog={}", path.display());
    let server = Server::app(&[&options[..], &[&accesslog, format]].concat());
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "l".repeat(2000));
    let mut sent = Vec::new();
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        ("GET /a?b HTTP/1.0\r\nX : a\r\n\r\n", 400),
        ("\x16\x03\x01\x02\"\\\r\n", 400),
        ("GET / HTTP/9.9\r\nHost: x\r\n\r\n", 505),
        ("HEAD / HTTP/1.1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
        (&long, 414),
        ("\r\nGE", 408),
    ] {
        let mut client = server.connect();
        // A request before it must not be taken for it.
        assert_eq!(client.get("/query?before").text(), "before");
        client.try_send(request);
        let method = if request.starts_with("HEAD") { "HEAD" } else { "GET" };
        let response = client.response(method);
        assert_eq!(response.status, status, "{request:.100}");
        sent.push(response.body.len());
    }
    sent.push(0);
    // Clients that leave: in the middle of a head, and in the middle of a body.
    for (request, leaves) in [
        ("GET /left", true),
        ("POST /sum?left HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123", true),
        ("POST /sum?late HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123", false),
    ] {
        let mut client = server.connect();
        client.send(request);
        if leaves {
            client.finish();
        } else {
            assert_eq!(client.response("POST").status, 408);
        }
        client.end();
    }
    // Nothing at all is no request, and no line.
    server.connect().finish();
    server.stop();

    let text = fs::read_to_string(&path).expect("the log");
    let lines: Vec<_> = text.lines().filter(|line| !line.contains("before")).collect();
    let long = format!("GET /{}", "l".repeat(1019));
    let expected = [
        r#""GET / HTTP/1.1" 400 {} GET /? HTTP/1.1 - 0"#,
        r#""GET /a?b HTTP/1.0" 400 {} GET /a?b HTTP/1.0 - 0"#,
        r#""\x16\x03\x01\x02\"\\" 400 {} - ? - - 0"#,
        r#""GET / HTTP/9.9" 505 {} - ? - - 0"#,
        r#""HEAD / HTTP/1.1" 400 {} HEAD /? HTTP/1.1 - 0"#,
        r#""POST / HTTP/1.1" 501 {} POST /? HTTP/1.1 - 0"#,
        &format!("\"{long}\" 414 {{}} - ? - - 0"),
        r#""GE" 408 {} - ? - - 0"#,
        r#""GET /left" 499 {} - ? - - 0"#,
    ];
    for ((line, expected), sent) in lines.iter().zip(expected).zip(sent) {
        let expected = expected.replace("{}", &sent.to_string());
        assert_eq!(line.strip_prefix("127.0.0.1 "), Some(&*expected), "{text}");
    }
    // These two were requests, and took their time.
    let left = r#"127.0.0.1 "POST /sum?left HTTP/1.1" 499 0 POST /sum?left HTTP/1.1 - "#;
    let late = r#"127.0.0.1 "POST /sum?late HTTP/1.1" 408 52 POST /sum?late HTTP/1.1 - "#;
    assert!(lines[9].starts_with(left) && lines[10].starts_with(late), "{text}");
    assert_eq!(lines.len(), 11, "{text}");
    fs::remove_file(&path).expect("remove the log");
}

#[test]
fn atoms_of_the_format() {
    let path = log_file("format");
    let format = "access_log_format=%(m)s|%(U)s|%(q)s|%(H)s|%(s)s|%(B)s|%(p)s|%({x-a}i)s|\
                  %({content-type}o)s|%({REQUEST_METHOD}e)s|%({nothing}i)s|%(T)s|%(D)s";
    let server = Server::app(&[&format!("accesslog={}", path.display()), format]);
    let mut client = server.connect();
    client.send("GET /%71uery?a=b HTTP/1.1\r\nHost: x\r\nX-A: one two\r\n\r\n");
    client.response("GET");
    drop(client);
    let pid = server.pid();
    server.stop();
    let text = fs::read_to_string(&path).expect("the log");
    let (start, micros) = text.trim_end().rsplit_once('|').expect("atoms");
    let (start, _seconds) = start.rsplit_once('|').expect("atoms");
    let expected = format!("GET|/query|a=b|HTTP/1.1|200|3|<{pid}>|one two|text/plain|GET|-");
    assert_eq!(start, expected);
    assert!(micros.parse::<u64>().is_ok(), "{text}");
    fs::remove_file(&path).expect("remove the log");
}

#[test]
fn no_request_can_forge_a_line() {
    let path = log_file("forged");
    let server = Server::app(&[&format!("accesslog={}", path.display())]);
    let mut client = server.connect();
    client.send("GET /%0a%0d?%0a HTTP/1.1\r\nHost: x\r\nUser-Agent: \u{e4}\t\"\r\n\r\n");
    let _ = client.response("GET");
    let mut client = server.connect();
    client.send("GET /%0a%0d?%0a HTTP/1.1\r\nHost: x\r\nUser-Agent: \u{e4}\t\u{7f}\"\r\n\r\n");
    // What is refused before it is a request may have a line, too, but only a clean one.
    let _ = client.try_response("GET");
    let mut client = server.connect();
    client.try_send(b"GET /\x1b[2J\xff HTTP/1.1\r\nHost: x\r\n\r\n");
    let _ = client.try_response("GET");
    server.stop();
    let text = fs::read(&path).expect("the log");
    assert!(text.ends_with(b"\n"));
    for octet in text.iter().filter(|octet| **octet != b'\n') {
        assert!((b' '..=b'~').contains(octet), "{:?}", String::from_utf8_lossy(&text));
    }
    for line in String::from_utf8_lossy(&text).lines() {
        assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    }
    fs::remove_file(&path).expect("remove the log");
}

#[test]
fn lines_of_several_workers_stay_whole() {
    let path = log_file("whole");
    let log = format!("accesslog={}", path.display());
    let app = program(&["tests/c/app.c"]);
    let server = Server::start(&app, &["{}", "workers=2", &log]);
    let each = scaled(400);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let server = &server;
            scope.spawn(move || {
                for i in 0..each {
                    let filler = "f".repeat(1 + i % 200);
                    assert!(server.get(&format!("/query?{thread}-{i}-{filler}")).len() > 4);
                }
            });
        }
    });
    server.stop();
    let text = fs::read_to_string(&path).expect("the log");
    assert_eq!(text.lines().count(), 4 * each);
    for line in text.lines() {
        assert!(line.starts_with("127.0.0.1 - - [") && line.ends_with("\"-\" \"-\""), "{line}");
    }
    fs::remove_file(&path).expect("remove the log");
}

#[test]
fn the_error_log_names_process_and_request() {
    let server = Server::app(&[]);
    assert_eq!(server.connect().get("/fail").status, 500);
    let pid = server.pid();
    let ended = server.stop();
    let line = ended.stderr.lines().find(|line| line.contains("on purpose")).expect("its line");
    let parts: Vec<_> = line.splitn(4, "] [").collect();
    assert_eq!(parts.len(), 4, "{line}");
    assert_eq!((parts[1], parts[2]), (&*pid.to_string(), "ERROR"), "{line}");
    let (id, message) = parts[3].split_once("] ").expect("a request id");
    assert!(!id.is_empty() && message.contains("the application fails on purpose"), "{line}");
}

#[test]
fn nothing_is_said_when_nothing_was_asked_for() {
    let server = Server::app(&["errorlog="]);
    assert_eq!(server.connect().get("/fail").status, 500);
    let ended = server.stop();
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
}
