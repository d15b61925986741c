//! Every front that is not HTTP: the same application behind uwsgi, SCGI and FastCGI listeners.

mod harness;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::{PATIENCE, Server, program, support, until};

/// A server with a listener of each kind.
struct Fronts {
    server: Server,
    uwsgi: PathBuf,
    scgi: PathBuf,
    fastcgi: PathBuf,
}

impl Fronts {
    fn start(options: &[&str]) -> Fronts {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let path = |kind: &str| {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("front-{}-{count}-{kind}", std::process::id());
            support::scratch_dir().join(name)
        };
        let (uwsgi, scgi, fastcgi) = (path("uwsgi"), path("scgi"), path("fastcgi"));
        let binds = [
            format!("bind=uwsgi+unix:{}", uwsgi.display()),
            format!("bind=scgi+unix:{}", scgi.display()),
            format!("bind=fastcgi+unix:{}", fastcgi.display()),
        ];
        let args = ["{}", &binds[0], &binds[1], &binds[2], "worker_model=inline"];
        let server = Server::start(&program(&["tests/c/app.c"]), &[&args, options].concat());
        // The address of the others answers first.
        for path in [&uwsgi, &scgi, &fastcgi] {
            until("it listens there", || UnixStream::connect(path).is_ok());
        }
        Fronts { server, uwsgi, scgi, fastcgi }
    }

    /// All that is answered; `ends`: nothing more comes from us.
    fn ask(path: &PathBuf, octets: &[u8], ends: bool) -> String {
        String::from_utf8(Fronts::octets(path, octets, ends)).unwrap()
    }

    fn octets(path: &PathBuf, octets: &[u8], ends: bool) -> Vec<u8> {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(octets).unwrap();
        if ends {
            stream.shutdown(Shutdown::Write).unwrap();
        }
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    }
}

type Vars<'a> = &'a [(&'a str, &'a str)];

fn uwsgi(modifier: u8, vars: Vars<'_>, body: &str) -> Vec<u8> {
    let mut octets = vec![modifier, 0, 0, 0];
    for text in vars.iter().flat_map(|(name, value)| [name, value]) {
        octets.extend((text.len() as u16).to_le_bytes());
        octets.extend(text.as_bytes());
    }
    let len = (octets.len() - 4) as u16;
    octets[1..3].copy_from_slice(&len.to_le_bytes());
    octets.extend(body.as_bytes());
    octets
}

fn scgi(vars: Vars<'_>, body: &str) -> Vec<u8> {
    let mut head = format!("CONTENT_LENGTH\0{}\0SCGI\x001\0", body.len());
    for (name, value) in vars.iter().filter(|(name, _)| *name != "CONTENT_LENGTH") {
        head += &format!("{name}\0{value}\0");
    }
    format!("{}:{head},{body}", head.len()).into_bytes()
}

/// A record, padded to eight octets.
fn record(kind: u8, id: u16, content: &[u8]) -> Vec<u8> {
    let (id, len) = (id.to_be_bytes(), (content.len() as u16).to_be_bytes());
    let padding = content.len().wrapping_neg() % 8;
    let mut octets = vec![1, kind, id[0], id[1], len[0], len[1], padding as u8, 0];
    octets.extend(content);
    octets.extend(vec![0xff; padding]);
    octets
}

/// Records up to the end of STDIN, its content in pieces of three octets.
fn fastcgi(id: u16, keeps: bool, vars: Vars<'_>, body: &str) -> Vec<u8> {
    let mut params = Vec::new();
    for (name, value) in vars {
        for len in [name.len(), value.len()] {
            params.extend(((len as u32) | 1 << 31).to_be_bytes());
        }
        params.extend([name.as_bytes(), value.as_bytes()].concat());
    }
    let mut octets = record(1, id, &[0, 1, u8::from(keeps), 0, 0, 0, 0, 0]);
    params.chunks(50).for_each(|piece| octets.extend(record(4, id, piece)));
    octets.extend(record(4, id, b""));
    body.as_bytes().chunks(3).for_each(|piece| octets.extend(record(5, id, piece)));
    octets.extend(record(5, id, b""));
    octets
}

/// What came on STDOUT of this request, and its end.
fn output(mut octets: &[u8], id: u16) -> (String, Option<Vec<u8>>) {
    let (mut stdout, mut end) = (Vec::new(), None);
    while let [1, kind, id1, id0, len1, len0, padding, _, rest @ ..] = octets {
        let len = usize::from(u16::from_be_bytes([*len1, *len0]));
        if u16::from_be_bytes([*id1, *id0]) == id {
            match kind {
                6 => stdout.extend(&rest[..len]),
                3 => end = Some(rest[..len].to_vec()),
                _ => {}
            }
        }
        octets = &rest[len + usize::from(*padding)..];
    }
    assert!(octets.is_empty(), "{octets:?}");
    (String::from_utf8(stdout).unwrap(), end)
}

/// The variables of a request with a body, and those of the first argument.
fn with<'a>(path: &'a str, length: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("REQUEST_METHOD", if length.is_empty() { "GET" } else { "POST" }),
        ("REQUEST_URI", path),
        ("PATH_INFO", path),
        ("QUERY_STRING", ""),
        ("CONTENT_LENGTH", length),
        ("HTTP_HOST", "h"),
    ]
}

/// The head's fields and the body.
fn parts(answer: &str) -> (String, &str) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    (head.to_owned(), body)
}

#[test]
fn an_application_does_not_see_which_front_it_has() {
    let fronts = Fronts::start(&[]);
    for (path, body, status, answer) in [
        ("/", "", "200 OK", "hello, world\n"),
        ("/echo", "some octets", "200 OK", "some octets"),
        ("/nowhere", "", "404 Not Found", ""),
        ("/fail", "", "500 Internal Server Error", "500 Internal Server Error\n"),
    ] {
        let length = body.len().to_string();
        let vars = with(path, if body.is_empty() { "" } else { &length });
        let told = Fronts::ask(&fronts.uwsgi, &uwsgi(0, &vars, body), false);
        let (head, got) = parts(&told);
        assert_eq!((head.lines().next(), got), (Some(&*format!("HTTP/1.1 {status}")), answer));
        assert!(!head.to_lowercase().contains("connection") && !head.contains("Date"), "{head}");
        let told = Fronts::ask(&fronts.scgi, &scgi(&vars, body), false);
        let (head, got) = parts(&told);
        assert_eq!((head.lines().next(), got), (Some(&*format!("Status: {status}")), answer));
        let told = Fronts::octets(&fronts.fastcgi, &fastcgi(7, false, &vars, body), false);
        let (told, end) = output(&told, 7);
        let (head, got) = parts(&told);
        assert_eq!((head.lines().next(), got), (Some(&*format!("Status: {status}")), answer));
        assert_eq!(end, Some(vec![0; 8]));
    }
    // What has no length goes on to the end, in no chunks.
    let http = fronts.server.get("/chunks");
    let vars = with("/chunks", "");
    for told in [
        Fronts::ask(&fronts.uwsgi, &uwsgi(0, &vars, ""), false),
        Fronts::ask(&fronts.scgi, &scgi(&vars, ""), false),
    ] {
        let (head, body) = parts(&told);
        assert!(!head.contains("Transfer-Encoding"), "{head}");
        assert_eq!(body, http);
    }
    fronts.server.stop();
}

#[test]
fn what_is_no_request_is_answered_and_costs_nobody_else() {
    let fronts = Fronts::start(&["max_body=100", "limit_request_field_size=400"]);
    let long = "x".repeat(500);
    let mut big = with("/", "101");
    big.push(("X", "y"));
    let mut odd = with("/", "");
    odd[0] = ("REQUEST_METHOD", "G ET");
    let mut wide = with("/", "");
    wide.push(("HTTP_X", &long));
    for (octets, status) in [
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), "400"),
        (uwsgi(173, &with("/", ""), ""), "400"),
        (uwsgi(0, &odd, ""), "400"),
        (uwsgi(0, &big, ""), "413"),
        (uwsgi(0, &wide, ""), "431"),
        (vec![0, 5, 0, 0, 9, 0, 1, 2, 3], "400"),
    ] {
        let told = Fronts::ask(&fronts.uwsgi, &octets, false);
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {told:?}");
    }
    for (octets, status) in [
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), "400"),
        (b"01:x,".to_vec(), "400"),
        (b"5:hello;".to_vec(), "400"),
        (scgi(&odd, ""), "400"),
        (scgi(&[&odd[1..], &odd[1..]].concat(), ""), "400"),
        (scgi(&with("/", "1"), &long), "413"),
        (scgi(&wide, ""), "431"),
    ] {
        let told = Fronts::ask(&fronts.scgi, &octets, false);
        assert!(told.starts_with(&format!("Status: {status} ")), "{status}: {told:?}");
    }
    // A request that is cut short is none, and a ping is answered.
    let cut = uwsgi(0, &with("/echo", "9"), "five");
    assert_eq!(Fronts::ask(&fronts.uwsgi, &cut, true), "");
    assert_eq!(Fronts::ask(&fronts.uwsgi, &cut[..20], true), "");
    assert_eq!(Fronts::ask(&fronts.scgi, b"99:CONTENT", true), "");
    assert_eq!(Fronts::ask(&fronts.uwsgi, &[100, 0, 0, 0], false), "d\0\0\u{1}");
    let vars = with("/", "");
    assert!(Fronts::ask(&fronts.uwsgi, &uwsgi(0, &vars, ""), false).ends_with("hello, world\n"));
    fronts.server.stop();
}

#[test]
fn a_fastcgi_connection_has_one_request_after_another() {
    let fronts = Fronts::start(&[]);
    let post = with("/echo", "");
    let many = [
        fastcgi(1, true, &with("/", ""), ""),
        fastcgi(2, true, &post, "a body without a length"),
        record(9, 0, b"\x0f\0FCGI_MPXS_CONNS"),
        record(1, 3, &[0, 3, 1, 0, 0, 0, 0, 0]),
        fastcgi(1, false, &with("/echo", "5"), "hello"),
    ]
    .concat();
    let told = Fronts::octets(&fronts.fastcgi, &many, false);
    assert!(output(&told, 1).0.ends_with("hello") && output(&told, 1).0.contains("hello, world\n"));
    assert!(output(&told, 2).0.ends_with("a body without a length"));
    assert_eq!(output(&told, 3), (String::new(), Some(vec![0, 0, 0, 0, 3, 0, 0, 0])));
    let values = b"\x0f\x01FCGI_MPXS_CONNS1";
    assert!(told.windows(values.len()).any(|it| it == values));
    // Wrong requests, a wrong connection, and one that is cut short.
    let mut odd = with("/", "");
    odd[0] = ("REQUEST_METHOD", "G ET");
    let told = Fronts::octets(&fronts.fastcgi, &fastcgi(1, false, &odd, ""), false);
    assert!(output(&told, 1).0.starts_with("Status: 400 "));
    let told =
        Fronts::octets(&fronts.fastcgi, &fastcgi(1, false, &with("/echo", "9"), "five"), false);
    assert!(output(&told, 1).0.starts_with("Status: 400 "));
    let half = fastcgi(1, true, &with("/echo", "9"), "five");
    assert_eq!(Fronts::octets(&fronts.fastcgi, &half[..half.len() - 20], true), b"");
    fronts.server.stop();
}
