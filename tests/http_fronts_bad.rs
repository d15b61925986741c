//! What is no request on a front that is not HTTP: truncated, oversized, mixed and meaningless packets
//! and records, as a table.  Each gets an answer where its protocol has one and an end where it has
//! none, is counted as HTTP's are, and has a line in the log; nobody waits, and nothing is made of what
//! is left over.

mod harness;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use harness::life::unique;
use harness::{Ended, PATIENCE, Server, program, until};

/// What becomes of it.
#[derive(Clone, Copy, Debug)]
enum Verdict {
    /// An answer of this status, and the end; why, as the log says it.
    Refused(u16, &'static str),
    /// The end alone: it is not whole, or there is nobody to answer.
    Ended,
    /// The end, and before it perhaps words about a request that there is not; why.
    Cut(&'static str),
    /// These octets, and the end.
    Says(&'static [u8]),
    /// The application answers, once.
    Served,
}

use Verdict::{Cut, Ended as End, Refused, Says, Served};

/// Its name, its octets, whether the client says that these are all, and what becomes of it.
type Case = (&'static str, Vec<u8>, bool, Verdict);

type Vars<'a> = &'a [(&'a str, &'a str)];

const GET: Vars<'static> = &[("REQUEST_METHOD", "GET"), ("PATH_INFO", "/"), ("HTTP_HOST", "h")];
/// A request that nobody must ever see.
const LEFT: Vars<'static> = &[("REQUEST_METHOD", "GET"), ("PATH_INFO", "/left-over")];
const HTTP: &[u8] = b"GET /left-over HTTP/1.1\r\nHost: h\r\n\r\n";
/// The beginning of TLS, and of HTTP/2.
const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn and<'a>(more: Vars<'a>) -> Vec<(&'a str, &'a str)> {
    [GET, more].concat()
}

fn uwsgi(modifier: u8, vars: Vars<'_>) -> Vec<u8> {
    let mut octets = vec![modifier, 0, 0, 0];
    for text in vars.iter().flat_map(|(name, value)| [name, value]) {
        octets.extend((text.len() as u16).to_le_bytes());
        octets.extend(text.as_bytes());
    }
    let len = (octets.len() - 4) as u16;
    octets[1..3].copy_from_slice(&len.to_le_bytes());
    octets
}

fn scgi(length: &str, vars: Vars<'_>) -> Vec<u8> {
    let mut head = format!("CONTENT_LENGTH\0{length}\0SCGI\x001\0");
    vars.iter().for_each(|(name, value)| head += &format!("{name}\0{value}\0"));
    netstring(&head)
}

fn netstring(head: &str) -> Vec<u8> {
    format!("{}:{head},", head.len()).into_bytes()
}

fn record(kind: u8, id: u16, content: &[u8]) -> Vec<u8> {
    let (id, len) = (id.to_be_bytes(), (content.len() as u16).to_be_bytes());
    [&[1, kind, id[0], id[1], len[0], len[1], 0, 0], content].concat()
}

/// A request to a responder.
fn begin(id: u16, flags: u8) -> Vec<u8> {
    record(1, id, &[0, 1, flags, 0, 0, 0, 0, 0])
}

fn pairs(vars: Vars<'_>) -> Vec<u8> {
    let mut octets = Vec::new();
    for (name, value) in vars {
        for len in [name.len(), value.len()] {
            octets.extend(((len as u32) | 1 << 31).to_be_bytes());
        }
        octets.extend([name.as_bytes(), value.as_bytes()].concat());
    }
    octets
}

/// Up to the end of its variables.
fn head(id: u16, vars: Vars<'_>) -> Vec<u8> {
    [begin(id, 0), record(4, id, &pairs(vars)), record(4, id, b"")].concat()
}

fn fastcgi(id: u16, vars: Vars<'_>, body: &[u8]) -> Vec<u8> {
    [head(id, vars), record(5, id, body), if body.is_empty() { vec![] } else { record(5, id, b"") }]
        .concat()
}

fn with(octets: &[u8], behind: &[u8]) -> Vec<u8> {
    [octets, behind].concat()
}

/// What is wrong with a request's variables is wrong in every protocol.
fn of_variables(made: impl Fn(Vars<'_>) -> Vec<u8>) -> Vec<Case> {
    let long = "x".repeat(1000);
    let wide = format!("/{long}");
    let names: Vec<_> = (0..40).map(|n| format!("HTTP_X{n}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let refused =
        |name, vars: Vars<'_>, status, why| (name, made(vars), false, Refused(status, why));
    vec![
        refused("no method", &LEFT[1..], 400, "REQUEST_METHOD"),
        refused("an empty method", &[("REQUEST_METHOD", ""), LEFT[1]], 400, "REQUEST_METHOD"),
        refused("a method of two", &[("REQUEST_METHOD", "G ET"), LEFT[1]], 400, "REQUEST_METHOD"),
        refused("a value with a line", &and(&[("HTTP_X", "a\r\nX: b")]), 400, "control"),
        refused("a target with a line", &and(&[("REQUEST_URI", "/\n")]), 400, "control"),
        refused("a query with a line", &and(&[("QUERY_STRING", "\r")]), 400, "control"),
        refused("a name with =", &and(&[("A=B", "c")]), 400, "name"),
        refused("no name", &and(&[("", "c")]), 400, "name"),
        refused("a long target", &and(&[("REQUEST_URI", &wide)]), 414, "line"),
        refused("a long field", &and(&[("HTTP_X", &long)]), 431, "field"),
        refused("many fields", &and(&many), 431, "fields"),
    ]
}

fn of_uwsgi() -> Vec<Case> {
    let get = uwsgi(0, GET);
    let post = uwsgi(0, &and(&[("CONTENT_LENGTH", "9")]));
    let left = uwsgi(0, LEFT);
    let mut cases: Vec<Case> = vec![
        ("nothing", vec![], true, End),
        ("half a packet's head", get[..3].to_vec(), true, End),
        ("half a packet", get[..20].to_vec(), true, End),
        ("half a body", with(&post, b"four"), true, End),
        ("HTTP", HTTP.to_vec(), false, Refused(400, "HTTP was spoken to a uwsgi listener")),
        ("HTTP/2", PREFACE.to_vec(), false, Refused(400, "HTTP was spoken")),
        ("TLS", HELLO.to_vec(), false, Refused(400, "modifier")),
        ("ones", vec![0xff; 200], false, Refused(400, "modifier")),
        ("zeros", vec![0; 200], false, Refused(400, "REQUEST_METHOD")),
        ("a name longer than the packet", vec![0, 4, 0, 0, 9, 0, 1, 2], false, Refused(400, "fit")),
        ("a name without a value", vec![0, 3, 0, 0, 1, 0, b'a'], false, Refused(400, "fit")),
        ("half a length", vec![0, 1, 0, 0, 9], false, Refused(400, "fit")),
        ("too long a packet", vec![0, 0xff, 0xff, 0], false, Refused(431, "packet is too long")),
        (
            "a length that is none",
            uwsgi(0, &and(&[("CONTENT_LENGTH", "x")])),
            false,
            Refused(400, "CONTENT_LENGTH"),
        ),
        (
            "two lengths",
            uwsgi(0, &and(&[("CONTENT_LENGTH", "1"), ("CONTENT_LENGTH", "2")])),
            false,
            Refused(400, "CONTENT_LENGTH"),
        ),
        (
            "too large a body",
            uwsgi(0, &and(&[("CONTENT_LENGTH", "99999")])),
            false,
            Refused(413, "too large"),
        ),
        ("a ping", vec![100, 0, 0, 0], false, Says(b"d\0\0\x01")),
        ("a ping and a request", with(&[100, 0, 0, 0], &left), false, Says(b"d\0\0\x01")),
        ("another request behind", with(&get, &left), false, Served),
        ("another behind a body", [&post[..], b"123456789", &left].concat(), false, Served),
        ("30 strips what is not there", uwsgi(30, &and(&[("SCRIPT_NAME", "/m")])), false, Served),
    ];
    // Caches, signals, remote calls, reloads: not for an application.
    for modifier in [1, 10, 17, 22, 31, 48, 72, 97, 98, 101, 110, 111, 173, 200, 224, 250, 255] {
        cases.push(("a modifier", uwsgi(modifier, LEFT), false, Refused(400, "modifier")));
    }
    for modifier in [0, 5, 6, 7, 8, 9, 14, 15, 18, 30] {
        cases.push(("a modifier", uwsgi(modifier, GET), false, Served));
    }
    cases.extend(of_variables(|vars| uwsgi(0, vars)));
    cases
}

fn of_scgi() -> Vec<Case> {
    let get = scgi("0", GET);
    let left = scgi("0", LEFT);
    let bad = |head: &str, why| ("a head", netstring(head), false, Refused(400, why));
    let mut cases: Vec<Case> = vec![
        ("nothing", vec![], true, End),
        ("half a length", b"7".to_vec(), true, End),
        ("half a head", get[..20].to_vec(), true, End),
        ("half a body", with(&scgi("9", GET), b"four"), true, End),
        ("HTTP", HTTP.to_vec(), false, Refused(400, "HTTP was spoken to an SCGI listener")),
        ("HTTP/2", PREFACE.to_vec(), false, Refused(400, "HTTP was spoken")),
        ("TLS", HELLO.to_vec(), false, Refused(400, "no length")),
        ("ones", vec![0xff; 200], false, Refused(400, "no length")),
        ("a length of no digits", b":,".to_vec(), false, Refused(400, "no length")),
        ("a length with a zero in front", b"05:hello,".to_vec(), false, Refused(400, "no length")),
        ("a length with a sign", b"-5:hello,".to_vec(), false, Refused(400, "no length")),
        ("a length without end", vec![b'1'; 40], false, Refused(400, "no length")),
        ("a length beyond all", b"9999999999:".to_vec(), false, Refused(431, "head is too long")),
        ("too long a head", b"65536:".to_vec(), false, Refused(431, "head is too long")),
        ("no comma", b"5:hello;".to_vec(), false, Refused(400, "no comma")),
        ("an empty head", b"0:,".to_vec(), false, Refused(400, "SCGI")),
        bad("CONTENT_LENGTH\x000\0", "SCGI is not 1"),
        bad("CONTENT_LENGTH\x000\0SCGI\x002\0", "SCGI is not 1"),
        bad("SCGI\x001\0CONTENT_LENGTH\x000\0", "not the first"),
        bad("CONTENT_LENGTH\0\0SCGI\x001\0", "not a number"),
        bad("CONTENT_LENGTH\x000\0SCGI\x001\0REQUEST_METHOD\0GET", "within a value"),
        ("a length that is none", scgi("1x", GET), false, Refused(400, "CONTENT_LENGTH")),
        (
            "two lengths",
            scgi("0", &and(&[("CONTENT_LENGTH", "5")])),
            false,
            Refused(400, "CONTENT_LENGTH"),
        ),
        (
            "a variable twice",
            scgi("0", &and(&[("A", "1"), ("A", "1")])),
            false,
            Refused(400, "twice"),
        ),
        ("too large a body", scgi("99999", GET), false, Refused(413, "too large")),
        ("another request behind", with(&get, &left), false, Served),
        ("another behind a body", [&scgi("2", GET)[..], b"ab", &left].concat(), false, Served),
    ];
    cases.extend(of_variables(|vars| scgi("0", vars)));
    cases
}

fn of_fastcgi() -> Vec<Case> {
    let get = fastcgi(1, GET, b"");
    let post = |length, body: &[u8]| fastcgi(1, &and(&[("CONTENT_LENGTH", length)]), body);
    let params = |octets: &[u8]| {
        [begin(1, 0), record(4, 1, octets), record(4, 1, b""), record(5, 1, b"")].concat()
    };
    let mut cases: Vec<Case> = vec![
        ("nothing", vec![], true, End),
        ("half a record's head", get[..5].to_vec(), true, End),
        ("half a record", get[..12].to_vec(), true, End),
        ("half a request", get[..40].to_vec(), true, End),
        ("half a body", head(1, &and(&[("CONTENT_LENGTH", "9")])), true, End),
        ("HTTP", HTTP.to_vec(), false, Cut("HTTP was spoken to a FastCGI listener")),
        ("HTTP/2", PREFACE.to_vec(), false, Cut("HTTP was spoken")),
        ("TLS", HELLO.to_vec(), false, Cut("of another version")),
        ("ones", vec![0xff; 200], false, Cut("of another version")),
        ("zeros", vec![0; 200], false, Cut("of another version")),
        ("a body that is too short", post("9", b"four"), false, Refused(400, "shorter")),
        ("too large a body", post("99999", b"four"), false, Refused(413, "too large")),
        ("more body than there is", post("4", b"four and more"), false, Served),
        ("a length that is none", post("x", b""), false, Refused(400, "CONTENT_LENGTH")),
        ("a pair longer than all", params(&[9, 9, b'a']), false, Refused(400, "fit")),
        ("half a pair's length", params(&[0x80, 0, 0]), false, Refused(400, "fit")),
        ("a pair of 2 GiB", params(&[0xff; 8]), false, Refused(400, "fit")),
        ("too long variables", params(&[b'a'; 8000]), false, Refused(431, "too long")),
        ("a stranger's variables", with(&record(4, 7, &pairs(LEFT)), &get), false, Served),
        ("a stranger's body", with(&record(5, 7, b"left-over"), &get), false, Served),
        ("a stranger's abort", with(&record(2, 7, b""), &get), false, Served),
        ("an id twice", with(&begin(1, 0), &fastcgi(1, LEFT, b"")), false, Cut("in use")),
        ("a beginning that is none", record(1, 1, b"abc"), false, Cut("BEGIN_REQUEST record")),
        ("an unknown kind", with(&record(99, 1, b"what"), &get), false, Served),
    ];
    cases.extend(of_variables(|vars| fastcgi(1, vars, b"")));
    cases
}

/// What comes before the connection ends.
fn answer(path: &str, pieces: impl Iterator<Item = Vec<u8>>, ends: bool) -> Vec<u8> {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for piece in pieces {
        // It may have been told enough.
        if stream.write_all(&piece).is_err() {
            break;
        }
    }
    if ends {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the connection does not end: {error}"),
    }
    answer
}

/// What is on STDOUT of request 1, and its last record.
fn stdout(mut octets: &[u8]) -> Vec<u8> {
    let mut stdout = Vec::new();
    while let [1, kind, 0, id, len1, len0, padding, _, rest @ ..] = octets {
        let len = usize::from(u16::from_be_bytes([*len1, *len0]));
        if (*kind, *id) == (6, 1) {
            stdout.extend(&rest[..len]);
        }
        octets = &rest[len + usize::from(*padding)..];
    }
    assert!(octets.is_empty(), "{octets:?}");
    stdout
}

/// How often it says it.
fn lines(ended: &Ended, text: &str) -> usize {
    ended.stderr.lines().filter(|line| line.contains(text)).count()
}

fn counted(ended: &Ended, name: &str) -> usize {
    let mut words = ended.stdout.split_whitespace().skip_while(|word| *word != name).skip(1);
    words.next().and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{name}: {ended:?}"))
}

fn judge(protocol: &str, cases: Vec<Case>, ok: &str, good: Vec<u8>) {
    let path = unique(protocol);
    let bind = format!("bind={protocol}+unix:{path}");
    let server = Server::start(
        &program(&["tests/c/bad.c"]),
        &[
            "{}",
            "mode=loop",
            "workers=1",
            "loglevel=info",
            "max_body=1000",
            "limit_request_head=5000",
            "limit_request_line=900",
            "limit_request_fields=30",
            "limit_request_field_size=900",
            "accesslog=-",
            &bind,
        ],
    );
    until("it listens there", || UnixStream::connect(&path).is_ok());
    let told = |octets: &[u8]| match protocol {
        "fastcgi" => stdout(octets),
        _ => octets.to_vec(),
    };
    let is_whole = |octets: &[u8]| {
        let told = told(octets);
        told.starts_with(ok.as_bytes()) && told.ends_with(b"\r\n\r\nhello")
    };
    let (mut refused, mut limited, mut logged) = (0, 0, Vec::new());
    for (name, octets, ends, verdict) in &cases {
        let one = |octet: &u8| vec![*octet];
        for in_pieces in [false, true] {
            let got = match in_pieces && octets.len() < 300 {
                true => answer(&path, octets.iter().map(one), *ends),
                false => answer(&path, std::iter::once(octets.clone()), *ends),
            };
            let shown = String::from_utf8_lossy(&got).into_owned();
            match verdict {
                End => assert_eq!(shown, "", "{protocol}: {name}"),
                Cut(_) => assert!(!shown.contains(ok), "{protocol}: {name}: {shown:?}"),
                Says(text) => assert_eq!(&got, text, "{protocol}: {name}"),
                Served => assert!(is_whole(&got), "{protocol}: {name}: {shown:?}"),
                Refused(status, _) => {
                    let line = ok.replace("200 OK", &status.to_string());
                    let is_it = told(&got).starts_with(format!("{line} ").as_bytes());
                    assert!(is_it, "{protocol}: {name}: {shown:?}");
                    assert_eq!(shown.matches(&line).count(), 1, "{protocol}: {name}: {shown:?}");
                }
            }
            if let Refused(status, why) = verdict {
                refused += 1;
                limited += usize::from([413, 414, 431].contains(status));
                logged.push((*name, *why));
            } else if let Cut(why) = verdict {
                refused += 1;
                logged.push((*name, *why));
            }
            assert!(is_whole(&answer(&path, std::iter::once(good.clone()), false)), "after {name}");
        }
    }
    let ended = server.stop();
    for (name, why) in logged {
        assert!(lines(&ended, why) > 0, "{protocol}: {name}: nothing says {why}\n{}", ended.stderr);
    }
    assert_eq!(counted(&ended, "rejected"), refused, "{protocol}");
    assert_eq!(counted(&ended, "limited"), limited, "{protocol}");
    assert!(!ended.stdout.contains("left-over"), "{protocol}: {}", ended.stdout);
    let _ = std::fs::remove_file(path);
}

#[test]
fn uwsgi_that_is_none() {
    judge("uwsgi", of_uwsgi(), "HTTP/1.1 200 OK", uwsgi(0, GET));
}

#[test]
fn scgi_that_is_none() {
    judge("scgi", of_scgi(), "Status: 200 OK", scgi("0", GET));
}

#[test]
fn fastcgi_that_is_none() {
    judge("fastcgi", of_fastcgi(), "Status: 200 OK", fastcgi(1, GET, b""));
}

#[test]
fn who_stops_halfway_is_not_waited_for() {
    for (protocol, whole) in [
        ("uwsgi", with(&uwsgi(0, &and(&[("CONTENT_LENGTH", "9")])), b"four")),
        ("scgi", with(&scgi("9", GET), b"four")),
        ("fastcgi", with(&head(1, &and(&[("CONTENT_LENGTH", "9")])), &record(5, 1, b"four"))),
    ] {
        let path = unique(protocol);
        let bind = format!("bind={protocol}+unix:{path}");
        let times = ["header_timeout=200ms", "body_timeout=200ms"];
        let args = ["{}", "mode=loop", "workers=1", times[0], times[1], &bind];
        let server = Server::start(&program(&["tests/c/bad.c"]), &args);
        until("it listens there", || UnixStream::connect(&path).is_ok());
        for half in [&whole[..1], &whole[..whole.len() / 2], &whole] {
            let got = answer(&path, std::iter::once(half.to_vec()), false);
            assert!(!String::from_utf8_lossy(&got).contains("200 OK"), "{protocol}: {got:?}");
        }
        let ended = server.stop();
        assert!(counted(&ended, "timeouts") >= 3, "{protocol}: {ended:?}");
    }
}
