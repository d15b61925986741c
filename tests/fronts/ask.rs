//! One request of the suite, by HTTP or as a CGI program's environment, and what came of it.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::cases::Case;
use crate::harness::client::Client;

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A whole answer.
    Answer(Answer),
    /// The answer did not come, or not to its end.
    Cut(String),
    /// The client did not wait for it.
    Left,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub reason: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

const HOST: &str = "front.example";

/// The request's target, below a prefix.
fn target(case: &Case, prefix: &str) -> Vec<u8> {
    let target = case.target();
    match target.strip_prefix(b"http://") {
        Some(rest) => {
            let path = rest.iter().position(|&octet| octet == b'/').unwrap_or(rest.len());
            [b"http://", &rest[..path], prefix.as_bytes(), &rest[path..]].concat()
        }
        None => [prefix.as_bytes(), &target].concat(),
    }
}

/// Ask by HTTP.
pub fn http(address: &str, prefix: &str, case: &Case) -> Outcome {
    let mut client = match Client::try_connect(address) {
        Ok(client) => client,
        Err(problem) => return Outcome::Cut(problem),
    };
    client.slow_down(Duration::from_millis(case.slow));
    let (head, body) = (head(case, prefix), body(case));
    let mut sender = client.sender();
    if let Some(leaves) = &case.leaves {
        let (head_end, body_end) = (head.len(), body.len());
        let (head_len, body_len) = match leaves.as_str() {
            "in head" => (head_end - 4, 0),
            "in body" => (head_end, body_end / 2),
            "in answer" => (head_end, body_end),
            other => panic!("{}: leaves {other:?}", case.name),
        };
        let _ = sender.write_all(&[&head[..head_len], &body[..body_len]].concat());
        if leaves == "in answer" {
            // So much of it is there that it has begun.
            client.at_least(200).unwrap_or_else(|problem| panic!("{}: {problem}", case.name));
        }
        return Outcome::Left;
    }
    if let Err(error) = sender.write_all(&head) {
        return Outcome::Cut(format!("the head was not taken: {error}"));
    }
    let first = case.expect.then(|| client.try_response(&case.method));
    match first {
        Some(Ok(response)) if response.status != 100 => return answer(Ok(response)),
        Some(Err(problem)) => return Outcome::Cut(problem),
        _ => {}
    }
    std::thread::scope(|scope| {
        scope.spawn(|| send(sender, case, &body));
        let mut response = client.try_response(&case.method);
        while response.as_ref().is_ok_and(|it| it.status < 200) {
            response = client.try_response(&case.method);
        }
        // Who is still sending may stop.
        let _ = client.sender().shutdown(Shutdown::Both);
        answer(response)
    })
}

fn answer(response: Result<crate::harness::client::Response, String>) -> Outcome {
    match response {
        Ok(it) => {
            let (status, reason) = (it.status, it.reason);
            Outcome::Answer(Answer { status, reason, headers: it.headers, body: it.body })
        }
        Err(problem) => Outcome::Cut(problem),
    }
}

fn head(case: &Case, prefix: &str) -> Vec<u8> {
    let mut head = [case.method.as_bytes(), b" ", &target(case, prefix)].concat();
    head.extend(format!(" HTTP/{}\r\nHost: {HOST}\r\n", case.version).as_bytes());
    for line in case.headers() {
        head.extend([&line[..], b"\r\n"].concat());
    }
    match case.body() {
        Some(_) if case.chunked => head.extend(b"Transfer-Encoding: chunked\r\n"),
        Some(body) => head.extend(format!("Content-Length: {}\r\n", body.len()).as_bytes()),
        None => {}
    }
    head.extend(b"\r\n");
    head
}

/// The body as it goes over a connection.
fn body(case: &Case) -> Vec<u8> {
    let body = case.body().unwrap_or_default();
    if !case.chunked {
        return body;
    }
    let mut octets = Vec::new();
    for piece in body.chunks(case.piece.unwrap_or(usize::MAX)) {
        octets.extend(format!("{:x}\r\n", piece.len()).as_bytes());
        octets.extend([piece, b"\r\n"].concat());
    }
    octets.extend(b"0\r\n\r\n");
    octets
}

/// As far as somebody listens: an answer may come before all of it was sent.
fn send(mut to: TcpStream, case: &Case, octets: &[u8]) {
    for piece in octets.chunks(case.piece.unwrap_or(usize::MAX).max(1)) {
        std::thread::sleep(Duration::from_millis(case.pause));
        if to.write_all(piece).is_err() {
            return;
        }
    }
}

/// Ask as a web server asks a CGI program: `command` is that, or stands for it.
pub fn cgi(mut command: Command, prefix: &str, case: &Case) -> Outcome {
    use std::ffi::OsStr;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};

    let whole = target(case, prefix);
    let target = target(case, "");
    let target = match target.strip_prefix(b"http://") {
        Some(rest) => rest[rest.iter().position(|&octet| octet == b'/').unwrap_or(0)..].to_vec(),
        None => target,
    };
    let mut parts = target.splitn(2, |&octet| octet == b'?');
    let path = decoded(parts.next().unwrap_or_default());
    let query = parts.next().unwrap_or_default();
    if path.contains(&0) {
        // An environment cannot say it.
        return Outcome::Cut("no environment".to_owned());
    }
    let body = case.body();
    command.env_clear();
    command.env("GATEWAY_INTERFACE", "CGI/1.1").env("REQUEST_METHOD", &case.method);
    command.env("SERVER_PROTOCOL", format!("HTTP/{}", case.version)).env("SCRIPT_NAME", prefix);
    command.env("SERVER_NAME", HOST).env("SERVER_PORT", "80").env("REMOTE_ADDR", "127.0.0.1");
    command.env("REQUEST_URI", OsStr::from_bytes(&whole)).env("HTTP_HOST", HOST);
    command.env("PATH_INFO", OsStr::from_bytes(&path));
    command.env("QUERY_STRING", OsStr::from_bytes(query));
    if let Some(body) = &body {
        command.env("CONTENT_LENGTH", body.len().to_string());
    }
    let mut variables: Vec<(String, Vec<u8>)> = Vec::new();
    for line in case.headers() {
        let colon = line.iter().position(|&octet| octet == b':').expect("a header has a colon");
        let name = String::from_utf8_lossy(&line[..colon]).to_uppercase().replace('-', "_");
        let value = line[colon + 1..].trim_ascii().to_vec();
        let name = if name == "CONTENT_TYPE" { name } else { format!("HTTP_{name}") };
        match variables.iter_mut().find(|it| it.0 == name) {
            Some((_, before)) => {
                before.extend(if name == "HTTP_COOKIE" { &b"; "[..] } else { b"," });
                before.extend(value);
            }
            None => variables.push((name, value)),
        }
    }
    for (name, value) in variables {
        command.env(name, std::ffi::OsString::from_vec(value));
    }
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(&body.unwrap_or_default()));
        child.wait_with_output().expect("wait for the program")
    });
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let Some(end) = output.stdout.windows(4).position(|it| it == b"\r\n\r\n") else {
        return Outcome::Cut(text(&[output.stdout, output.stderr].concat()));
    };
    let mut answer = Answer {
        status: 200,
        reason: "OK".to_owned(),
        headers: Vec::new(),
        body: output.stdout[end + 4..].to_vec(),
    };
    for line in text(&output.stdout[..end]).split("\r\n") {
        let Some((name, value)) = line.split_once(": ") else {
            return Outcome::Cut(format!("a header line {line:?}"));
        };
        if name == "Status" {
            answer.status = value[..3].parse().expect("a status");
            answer.reason = value.get(4..).unwrap_or_default().to_owned();
        } else {
            answer.headers.push((name.to_owned(), value.to_owned()));
        }
    }
    let length = answer.headers.iter().find(|it| it.0.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, value)| value.parse::<usize>().ok());
    if case.method != "HEAD"
        && answer.status != 304
        && length.is_some_and(|length| length != answer.body.len())
    {
        return Outcome::Cut(format!("{} octets of {length:?}", answer.body.len()));
    }
    Outcome::Answer(answer)
}

/// A path as a web server decodes it.
fn decoded(path: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = path;
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|it| str::from_utf8(it).ok());
        let octet = digits.and_then(|it| u8::from_str_radix(it, 16).ok());
        match (first, octet) {
            (b'%', Some(octet)) => {
                octets.push(octet);
                rest = &after[2..];
            }
            _ => {
                octets.push(*first);
                rest = after;
            }
        }
    }
    octets
}
