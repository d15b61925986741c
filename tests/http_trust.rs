//! Who is believed to speak of others, and what a connection begins with: the PROXY protocol,
//! forwarded headers, variables of fronts, listeners that tell protocols apart, and that each
//! listener has terms of its own.

mod harness;

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixStream};
use std::process::{Command, Stdio};

use harness::{Ended, PATIENCE, Server, program, support, until};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn};

/// Whom the tests trust, and whom they do not.
const FRIEND: &str = "127.0.0.1";
const STRANGER: &str = "127.0.0.2";

/// A server with an HTTP listener, and others behind it.
struct Site {
    server: Server,
    /// Where it listens, in the order of the arguments.
    at: Vec<String>,
}

impl Site {
    fn start(listeners: &[&str], options: &[&str]) -> Site {
        let mut args = vec!["bind={}".to_owned(), "errorlog=-".into(), "loglevel=info".into()];
        args.extend(listeners.iter().map(|it| match it.strip_prefix("listen=") {
            Some(_) => (*it).to_owned(),
            None => format!("bind={it}"),
        }));
        args.extend(options.iter().map(|it| (*it).to_owned()));
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let server = Server::start(&program(&["tests/c/trust.c"]), &args);
        let told = server.get("/listeners");
        let at = told.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
        Site { server, at }
    }

    /// All that is answered to these octets, which come from `from` and are cut into pieces.
    fn ask(&self, n: usize, from: &str, octets: &[u8], piece: usize) -> String {
        let stream = connect(from, &self.at[n]);
        let told = converse(stream, octets, piece);
        String::from_utf8_lossy(&told).into_owned()
    }

    fn count(&self, name: &str) -> u64 {
        self.server.count(name)
    }
}

/// A connection to a TCP address from this one.
fn connect(from: &str, to: &str) -> TcpStream {
    let to: SocketAddrV4 = to.parse().unwrap();
    let from = SocketAddrV4::new(from.parse().unwrap(), 0);
    let (family, kind) = (AddressFamily::Inet, SockType::Stream);
    let fd = socket::socket(family, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
    socket::bind(fd.as_raw_fd(), &SockaddrIn::from(from)).unwrap();
    socket::connect(fd.as_raw_fd(), &SockaddrIn::from(to)).unwrap();
    let stream = TcpStream::from(fd);
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn converse(mut stream: impl Read + Write, octets: &[u8], piece: usize) -> Vec<u8> {
    for piece in octets.chunks(piece) {
        // The server may have had enough.
        if stream.write_all(piece).is_err() {
            break;
        }
    }
    let (mut told, mut room) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut room) {
            Ok(0) => return told,
            Ok(n) => told.extend_from_slice(&room[..n]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return told,
            Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&told)),
        }
    }
}

/// Variables of the answer, by their names: missing ones are "-".
fn said(answer: &str, names: &str) -> String {
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    assert!(!body.is_empty(), "{answer:?}");
    let value = |name: &str| {
        let found = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or("-").to_owned()
    };
    names.split(' ').map(value).collect::<Vec<_>>().join(" ")
}

fn lines(ended: &Ended, text: &str) -> usize {
    ended.stderr.lines().filter(|line| line.contains(text)).count()
}

fn get(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut head = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n".to_owned();
    headers.iter().for_each(|(name, value)| write!(head, "{name}: {value}\r\n").unwrap());
    (head + "\r\n").into_bytes()
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A header of version 2.
fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    [SIGNATURE, &[command, family], &(rest.len() as u16).to_be_bytes(), rest].concat()
}

fn addition(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &(value.len() as u16).to_be_bytes(), value].concat()
}

/// 192.0.2.1:56324 to 198.51.100.2:443
const V4: [u8; 12] = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 4, 1, 0xbb];

type Vars<'a> = &'a [(&'a str, &'a str)];

fn uwsgi(vars: Vars<'_>) -> Vec<u8> {
    let mut octets = vec![0; 4];
    for text in vars.iter().flat_map(|(name, value)| [name, value]) {
        octets.extend((text.len() as u16).to_le_bytes());
        octets.extend(text.as_bytes());
    }
    let len = (octets.len() - 4) as u16;
    octets[1..3].copy_from_slice(&len.to_le_bytes());
    octets
}

fn scgi(vars: Vars<'_>) -> Vec<u8> {
    let head = vars.iter().fold("CONTENT_LENGTH\x000\0SCGI\x001\0".to_owned(), |head, pair| {
        format!("{head}{}\0{}\0", pair.0, pair.1)
    });
    format!("{}:{head},", head.len()).into_bytes()
}

fn fastcgi(vars: Vars<'_>) -> Vec<u8> {
    let record = |kind: u8, content: &[u8]| {
        [&[1, kind, 0, 1, 0, content.len() as u8, 0, 0], content].concat()
    };
    let params = vars.iter().flat_map(|(name, value)| {
        let lengths = [name.len() as u8, value.len() as u8];
        [&lengths[..], name.as_bytes(), value.as_bytes()].concat()
    });
    let params: Vec<u8> = params.collect();
    let pieces = params.chunks(100).flat_map(|piece| record(4, piece)).collect();
    [record(1, &[0, 1, 0, 0, 0, 0, 0, 0]), pieces, record(4, b""), record(5, b"")].concat()
}

/// What a front says of a request over TLS.
const FRONT: Vars<'_> = &[
    ("REQUEST_METHOD", "GET"),
    ("PATH_INFO", "/p"),
    ("REMOTE_ADDR", "192.0.2.9"),
    ("REMOTE_PORT", "99"),
    ("REMOTE_USER", "ada"),
    ("HTTPS", "on"),
    ("HTTP_A_B", "c"),
];

const CLIENT: &str = "REMOTE_ADDR REMOTE_PORT wsgi.url_scheme";

#[test]
fn the_proxy_protocol_says_who_the_client_is() {
    let site = Site::start(
        &[
            "127.0.0.1:0?proxy_protocol=1&proxy_allow_ips=127.0.0.1",
            "127.0.0.1:0?proxy_protocol=v1",
            "127.0.0.1:0?proxy_protocol=v2",
            "uwsgi://127.0.0.1:0?proxy_protocol=auto",
        ],
        &["accesslog=-"],
    );
    let line = |text: &str| format!("{text}\r\n").into_bytes();
    let tls = [
        &[1, 0, 0, 0, 0][..],
        &addition(0x21, b"TLSv1.3"),
        &addition(0x23, b"AES"),
        &addition(0x22, b"me"),
    ]
    .concat();
    let all = [
        &V4[..],
        &addition(2, b"www.example.org"),
        &addition(5, b"id-7"),
        &addition(0x20, &tls),
        &addition(0xee, b"whatever"),
    ]
    .concat();
    let ask = "REMOTE_ADDR REMOTE_PORT SERVER_NAME SERVER_PORT wsgi.url_scheme PROXY_PROTOCOL \
               PROXY_ADDR PROXY_PORT";
    let v6 = "PROXY TCP6 2001:db8::1 ::1 1234 8443";
    for (n, header, told) in [
        (
            1,
            line("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443"),
            "192.0.2.1 56324 198.51.100.2 443 http TCP4 198.51.100.2 443",
        ),
        (1, line(v6), "2001:db8::1 1234 ::1 8443 http TCP6 ::1 8443"),
        (2, line(v6), "2001:db8::1 1234 ::1 8443 http TCP6 ::1 8443"),
        (
            1,
            version_2(0x21, 0x11, &V4),
            "192.0.2.1 56324 198.51.100.2 443 http TCP4 198.51.100.2 443",
        ),
        (
            3,
            version_2(0x21, 0x11, &all),
            "192.0.2.1 56324 198.51.100.2 443 https TCP4 198.51.100.2 443",
        ),
    ] {
        let octets = [header, get(&[])].concat();
        for piece in [octets.len(), 1, 7] {
            let answer = site.ask(n, FRIEND, &octets, piece);
            assert_eq!(said(&answer, ask), told, "{n} {piece}");
        }
    }
    // Whoever speaks for itself, or does not know, has the connection's addresses.
    for header in [
        line("PROXY UNKNOWN"),
        line("PROXY UNKNOWN ffff::1 ffff::2 65535 65535"),
        version_2(0x20, 0x11, &V4),
        version_2(0x20, 0, b""),
        version_2(0x21, 0, b""),
        version_2(0x21, 0x31, &[0; 216]),
    ] {
        let answer = site.ask(1, FRIEND, &[header, get(&[])].concat(), 9999);
        assert_eq!(said(&answer, "REMOTE_ADDR SERVER_NAME PROXY_ADDR"), "127.0.0.1 127.0.0.1 -");
    }
    // What else it says.
    let answer = site.ask(1, FRIEND, &[version_2(0x21, 0x11, &all), get(&[])].concat(), 9999);
    assert_eq!(
        said(
            &answer,
            "HTTPS PROXY_AUTHORITY PROXY_UNIQUE_ID SSL_PROTOCOL SSL_CIPHER SSL_CLIENT_S_DN_CN \
             SSL_CLIENT_VERIFY"
        ),
        "on www.example.org id-7 TLSv1.3 AES me NONE"
    );
    // It holds for all requests of the connection.
    let two = [version_2(0x21, 0x11, &V4), b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(), get(&[])];
    let answer = site.ask(1, FRIEND, &two.concat(), 9999);
    assert_eq!(answer.matches("REMOTE_ADDR=192.0.2.1\n").count(), 2, "{answer}");
    // Nobody trusted has written what comes behind it, though who sent it is.
    let answer = site.ask(
        1,
        FRIEND,
        &[version_2(0x21, 0x11, &V4), get(&[("X-Forwarded-Proto", "https")])].concat(),
        9999,
    );
    assert_eq!(said(&answer, "wsgi.url_scheme HTTP_X_FORWARDED_PROTO"), "http https");
    let answer = site.ask(
        1,
        FRIEND,
        &[line("PROXY UNKNOWN"), get(&[("X-Forwarded-Proto", "https")])].concat(),
        9999,
    );
    assert_eq!(said(&answer, "wsgi.url_scheme"), "http");
    let own = version_2(0x20, 0, b"");
    let answer = site.ask(1, FRIEND, &[own, get(&[("X-Forwarded-Proto", "https")])].concat(), 9999);
    assert_eq!(said(&answer, "wsgi.url_scheme"), "https");
    // Every protocol may follow.
    let answer = site.ask(4, FRIEND, &[version_2(0x21, 0x11, &V4), uwsgi(FRONT)].concat(), 3);
    assert_eq!(said(&answer, CLIENT), "192.0.2.1 56324 http");

    let ended = site.server.stop();
    assert!(ended.stdout.lines().filter(|line| line.starts_with("192.0.2.1 ")).count() > 5);
}

#[test]
fn a_proxy_header_that_is_missing_malformed_or_a_strangers_ends_the_connection() {
    let site = Site::start(
        &[
            "127.0.0.1:0?proxy_protocol=1&proxy_allow_ips=127.0.0.1",
            "127.0.0.1:0?proxy_protocol=v1",
            "127.0.0.1:0?proxy_protocol=v2&header_timeout=1s",
            "scgi://127.0.0.1:0?proxy_protocol=1&proxy_allow_ips=127.0.0.1",
        ],
        &[],
    );
    let good = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n".to_vec();
    let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100)).into_bytes();
    let wrong_sum = version_2(0x21, 0x11, &[&V4[..], &addition(3, &[0; 4])].concat());
    for (n, octets, reason) in [
        (1, vec![], "no PROXY header"),
        (1, b"PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n".to_vec(), "a malformed PROXY line"),
        (1, b"PROXY TCP4 192.0.2.1 198.51.100.2 1 443\n".to_vec(), "a malformed PROXY line"),
        (1, b"PROXY\tTCP4".to_vec(), "no PROXY header"),
        (1, long, "a PROXY line without end"),
        (1, version_2(0x31, 0x11, &V4), "a PROXY header of another version"),
        (1, version_2(0x21, 0x12, &V4), "of a family that is no stream"),
        (1, version_2(0x21, 0x21, &V4), "too short for its addresses"),
        (1, version_2(0x21, 0x11, &[&V4[..], &[5, 0, 9]].concat()), "with a cut addition"),
        (1, wrong_sum, "whose checksum is wrong"),
        (2, version_2(0x21, 0x11, &V4), "of version 2, where 1 is spoken"),
        (3, good.clone(), "of version 1, where 2 is spoken"),
    ] {
        let before = site.count("rejected");
        // Nothing behind it is a request.
        let octets = [octets, get(&[]), get(&[])].concat();
        for piece in [octets.len(), 1] {
            let requests = site.count("requests");
            assert_eq!(site.ask(n, FRIEND, &octets, piece), "", "{reason}");
            assert_eq!(site.count("requests"), requests + 1, "{reason}");
        }
        assert_eq!(site.count("rejected"), before + 2, "{reason}");
    }
    // Two headers are one too many: the second is a request of HTTP, and none.
    let answer = site.ask(1, FRIEND, &[good.clone(), good.clone(), get(&[])].concat(), 9999);
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.matches("HTTP/1.1 ").count() == 1);
    // Part of one is awaited for as long as a head.
    let before = site.count("timeouts");
    assert_eq!(site.ask(3, FRIEND, &SIGNATURE[..5], 9999), "");
    assert_eq!(site.count("timeouts"), before + 1);
    // Whoever leaves in the middle leaves nothing behind.
    let stream = connect(FRIEND, &site.at[1]);
    (&stream).write_all(&good[..20]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(converse(stream, b"", 1), b"");
    // A stranger is refused whatever it says, before it says it.
    let before = site.count("untrusted");
    for octets in [[good.clone(), get(&[])].concat(), get(&[]), vec![]] {
        let answer = site.ask(1, STRANGER, &octets, 9999);
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    assert_eq!(site.ask(4, STRANGER, &[good.clone(), scgi(FRONT)].concat(), 9999), "");
    assert_eq!(site.count("untrusted"), before + 4);
    // Where it is not spoken it is no request.
    let answer = site.ask(0, FRIEND, &[good, get(&[])].concat(), 9999);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    until("they are gone", || site.count("connections") == 1);
    let ended = site.server.stop();
    assert_eq!(lines(&ended, "from a peer that is none of proxy_allow_ips"), 4, "{ended:?}");
    assert_eq!(lines(&ended, "400 from 127.0.0.1: no PROXY header"), 4, "{ended:?}");
    assert_eq!(lines(&ended, "408 from 127.0.0.1"), 1, "{ended:?}");
}

#[test]
fn forwarded_headers_count_from_those_who_are_trusted() {
    let path = support::scratch_dir().join(format!("trust-{}", std::process::id()));
    let unix = format!("unix:{}", path.display());
    let site = Site::start(
        &[
            "127.0.0.1:0?trust=127.0.0.1,10.0.0.0/8&forwarded_for=1",
            "127.0.0.1:0?trust=none",
            "127.0.0.1:0?trust=*",
            &unix,
        ],
        &["accesslog=-"],
    );
    let scheme = |n, from, headers: &[(&str, &str)]| {
        let answer = site.ask(n, from, &get(headers), 9999);
        if answer.starts_with("HTTP/1.1 400 ") {
            return "400".to_owned();
        }
        said(&answer, "wsgi.url_scheme HTTPS REMOTE_ADDR")
    };
    let https = [("X-Forwarded-Proto", "https")];
    for (headers, told) in [
        (&[][..], "http - 127.0.0.1"),
        (&https, "https on 127.0.0.1"),
        (&[("X-Forwarded-Proto", "http")], "http - 127.0.0.1"),
        (&[("x-forwarded-protocol", "ssl")], "https on 127.0.0.1"),
        (&[("X-FORWARDED-SSL", "on")], "https on 127.0.0.1"),
        (&[("Forwarded", "for=1.2.3.4;proto=https")], "https on 127.0.0.1"),
        (&[("X-Forwarded-For", "1.2.3.4")], "http - 127.0.0.1"),
        // Underscores are nobody's.
        (&[("X_Forwarded_Proto", "https")], "http - 127.0.0.1"),
        (&[("X-Forwarded-Proto", "https"), ("X-Forwarded-Ssl", "off")], "400"),
        (&[("X-Forwarded-Proto", "https"), ("Forwarded", "proto=http")], "400"),
        (&[("X-Forwarded-Proto", "gopher")], "400"),
        // Contradictions about what nobody asked for are the client's own.
        (&[("X-Forwarded-For", "1.2.3.4"), ("Forwarded", "for=1.2.3.5")], "http - 127.0.0.1"),
    ] {
        assert_eq!(scheme(0, FRIEND, headers), told, "{headers:?}");
        // What a stranger says is neither believed nor refused.
        assert_eq!(scheme(0, STRANGER, headers), "http - 127.0.0.2", "{headers:?}");
        assert_eq!(scheme(2, FRIEND, headers), "http - 127.0.0.1", "{headers:?}");
    }
    assert_eq!(scheme(3, STRANGER, &https), "https on 127.0.0.2");
    for (list, client) in [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.66, 192.0.2.1, 10.0.0.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("unknown", "127.0.0.1"),
    ] {
        let told = scheme(1, FRIEND, &[("X-Forwarded-For", list)]);
        assert_eq!(told, format!("http - {client}"), "{list}");
        assert_eq!(scheme(1, STRANGER, &[("X-Forwarded-For", list)]), "http - 127.0.0.2");
    }
    // What a client says before does not swallow what the proxy adds.
    let list = [("X-Forwarded-For", "\"192.0.2.66, 192.0.2.1")];
    assert_eq!(scheme(1, FRIEND, &list), "http - 192.0.2.1");
    let open = [("Forwarded", "for=192.0.2.66;proto=https;x=\", for=192.0.2.1")];
    assert_eq!(scheme(1, FRIEND, &open), "400");
    let two = [("Forwarded", "proto=https"), ("Forwarded", "for=192.0.2.1")];
    assert_eq!(scheme(1, FRIEND, &two), "http - 192.0.2.1");
    let two = [("X-Forwarded-For", "1.2.3.4"), ("Forwarded", "for=1.2.3.5")];
    assert_eq!(scheme(1, FRIEND, &two), "400");
    // They reach the application as they came, and no other way.
    let headers = [("X-Forwarded-For", "1.2.3.4"), ("A_B", "spoofed"), ("A-B", "x")];
    let answer = site.ask(0, STRANGER, &get(&headers), 9999);
    assert_eq!(said(&answer, "HTTP_X_FORWARDED_FOR HTTP_A_B REMOTE_PORT").split(' ').count(), 3);
    assert!(said(&answer, "HTTP_X_FORWARDED_FOR HTTP_A_B").starts_with("1.2.3.4 x"));
    let answer = site.ask(0, FRIEND, &get(&[("A_B", "spoofed"), ("REMOTE_USER", "root")]), 9999);
    assert_eq!(said(&answer, "HTTP_A_B REMOTE_USER"), "- -");
    let answer = site.ask(1, FRIEND, &get(&[("X-Forwarded-For", "192.0.2.7")]), 9999);
    assert!(answer.contains("\nREMOTE_PORT=\n"), "nobody knows it: {answer}");
    // A refused request is all of its connection.
    let bad = b"GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: x\r\n\r\n".to_vec();
    let answer = site.ask(0, FRIEND, &[bad, get(&[])].concat(), 9999);
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    // Whoever reaches a unix socket is trusted.
    let told = converse(UnixStream::connect(&path).unwrap(), &get(&https), 9999);
    assert_eq!(said(&String::from_utf8_lossy(&told), "wsgi.url_scheme REMOTE_ADDR"), "https unix:");

    let ended = site.server.stop();
    assert!(lines(&ended, "contradict each other about TLS") == 2, "{ended:?}");
    assert!(ended.stdout.lines().any(|line| line.starts_with("192.0.2.7 ")), "{}", ended.stdout);
}

#[test]
fn variables_of_the_client_count_from_those_who_are_trusted() {
    let fronts = ["uwsgi", "scgi", "fastcgi"];
    let listeners: Vec<_> =
        fronts.iter().map(|it| format!("{it}://127.0.0.1:0?trust=127.0.0.1")).collect();
    let listeners: Vec<_> = listeners.iter().map(String::as_str).collect();
    let site = Site::start(&listeners, &[]);
    for (n, octets) in [(1, uwsgi(FRONT)), (2, scgi(FRONT)), (3, fastcgi(FRONT))] {
        let ask = "REMOTE_ADDR wsgi.url_scheme REMOTE_USER PATH_INFO HTTP_A_B";
        let answer = site.ask(n, FRIEND, &octets, 9999);
        assert_eq!(said(&answer, ask), "192.0.2.9 https ada /p c");
        let answer = site.ask(n, STRANGER, &octets, 9999);
        assert_eq!(said(&answer, ask), "127.0.0.2 http - /p c");
    }
    // What their clients forward is not their own word.
    let mut vars = FRONT.to_vec();
    vars.retain(|(name, _)| *name != "HTTPS");
    vars.push(("HTTP_X_FORWARDED_PROTO", "https"));
    let answer = site.ask(1, FRIEND, &uwsgi(&vars), 9999);
    assert_eq!(said(&answer, "wsgi.url_scheme HTTP_X_FORWARDED_PROTO"), "http https");
    site.server.stop();
}

#[test]
fn a_listener_tells_protocols_apart_by_their_first_octets() {
    let name = format!("gateway-auto-{}", std::process::id());
    let listener = format!("listen=unix:@{name} max_body=10");
    let site = Site::start(
        &[
            "auto://127.0.0.1:0?trust=127.0.0.1",
            "auto://127.0.0.1:0?trust=127.0.0.1,192.0.2.1&proxy_protocol=1&proxy_allow_ips=127.0.0.1",
            &listener,
        ],
        &[],
    );
    let told = site.server.get("/listeners");
    let kinds: Vec<_> = told.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(kinds, ["0", "4", "4", "4"]);
    let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n".to_vec();
    let with = |header: &[u8], octets: Vec<u8>| [header, &octets].concat();
    let binary = version_2(0x21, 0x11, &V4);
    for (octets, client) in [
        (get(&[]), "127.0.0.1 http"),
        (with(b"\r\n", get(&[])), "127.0.0.1 http"),
        (uwsgi(FRONT), "192.0.2.9 https"),
        (scgi(FRONT), "192.0.2.9 https"),
        (fastcgi(FRONT), "192.0.2.9 https"),
    ] {
        for piece in [1, 2, 5, octets.len()] {
            for n in [1, 2] {
                let answer = site.ask(n, FRIEND, &octets, piece);
                assert_eq!(said(&answer, "REMOTE_ADDR wsgi.url_scheme"), client);
            }
        }
        // In the abstract namespace.
        let at = UnixAddr::from_abstract_name(&name).unwrap();
        let told = converse(UnixStream::connect_addr(&at).unwrap(), &octets, 1);
        let client = client.replace("127.0.0.1", "unix:");
        let told = String::from_utf8_lossy(&told).into_owned();
        assert_eq!(said(&told, "REMOTE_ADDR wsgi.url_scheme"), client);
    }
    // A PROXY header comes before each of them, and its client is trusted here.
    for header in [&line, &binary] {
        for (octets, client) in [
            (get(&[]), "192.0.2.1 http"),
            (uwsgi(FRONT), "192.0.2.9 https"),
            (scgi(FRONT), "192.0.2.9 https"),
            (fastcgi(FRONT), "192.0.2.9 https"),
        ] {
            for piece in [1, 9999] {
                let answer = site.ask(2, FRIEND, &with(header, octets.clone()), piece);
                assert_eq!(said(&answer, "REMOTE_ADDR wsgi.url_scheme"), client);
            }
        }
    }
    // Strangers speak HTTP, and nothing behind what is refused is a request.
    let answer = site.ask(1, STRANGER, &get(&[]), 1);
    assert_eq!(said(&answer, "REMOTE_ADDR"), "127.0.0.2");
    let before = site.count("untrusted");
    let kinds = [uwsgi(FRONT), scgi(FRONT), fastcgi(FRONT)];
    for octets in &kinds {
        let answer = site.ask(1, STRANGER, &with(octets, get(&[])), 9999);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    for header in [&line, &binary] {
        let answer = site.ask(2, STRANGER, &with(header, get(&[])), 9999);
        assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    }
    let other = b"PROXY TCP4 192.0.2.2 198.51.100.2 56324 443\r\n";
    let answer = site.ask(2, FRIEND, &with(other, uwsgi(FRONT)), 9999);
    assert!(answer.starts_with("HTTP/1.1 400 "), "it is who connected to them: {answer}");
    assert_eq!(site.count("untrusted"), before + 6);
    // What is nothing of all this is refused in HTTP; so are two PROXY headers.
    for octets in [
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec(),
        b"\x05\0\0\0".to_vec(),
        b"99999999999:".to_vec(),
        b"d\0\0\0".to_vec(),
        line.clone(),
        binary.clone(),
    ] {
        let answer = site.ask(1, FRIEND, &with(&octets, get(&[])), 9999);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{octets:?} {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    let answer = site.ask(2, FRIEND, &[line.clone(), line, get(&[])].concat(), 9999);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let ended = site.server.stop();
    assert_eq!(lines(&ended, "uwsgi from a peer that is not trusted"), 2, "{ended:?}");
    assert_eq!(lines(&ended, "403 from 127.0.0.2"), 2, "{ended:?}");
}

#[test]
fn each_listener_has_limits_of_its_own() {
    let site = Site::start(
        &[
            "127.0.0.1:0?max_body=10&limit_request_fields=3&limit_request_line=50",
            "127.0.0.1:0?header_timeout=1s&keepalive=0",
            "uwsgi://127.0.0.1:0?max_body=5&body_timeout=1s",
            "127.0.0.1:0?limit_request_line=90&limit_request_field_size=30&\
             limit_request_head=100&keepalive=200ms",
        ],
        &["max_body=20"],
    );
    let post = |len: usize| {
        let head = "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length";
        format!("{head}: {len}\r\n\r\n{}", "x".repeat(len)).into_bytes()
    };
    let status = |n, octets: &[u8]| {
        let answer = site.ask(n, FRIEND, octets, 9999);
        answer.split(' ').nth(1).unwrap_or("none").to_owned()
    };
    let wide = get(&[("A", &"x".repeat(40))]);
    let line = format!("GET /{} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "x".repeat(60));
    for _ in 0..2 {
        // The same slots serve all of them in turn.
        for (n, octets, told) in [
            (1, &post(10), "200"),
            (1, &post(11), "413"),
            (0, &post(20), "200"),
            (0, &post(21), "413"),
            (1, &get(&[("A", "b"), ("C", "d")]), "431"),
            (0, &get(&[("A", "b"), ("C", "d")]), "200"),
            (1, &line.as_bytes().to_vec(), "414"),
            (2, &line.as_bytes().to_vec(), "200"),
            (4, &wide, "431"),
            (2, &wide, "200"),
            (4, &get(&[("A", &"x".repeat(25)), ("B", &"x".repeat(25))]), "431"),
        ] {
            assert_eq!(status(n, octets), told, "{n} {}", String::from_utf8_lossy(octets));
        }
        let mut vars = FRONT.to_vec();
        vars.push(("CONTENT_LENGTH", "6"));
        assert_eq!(status(3, &uwsgi(&vars)), "413");
    }
    // Nothing is kept on the one, and little waited for.
    let answer = site.ask(2, FRIEND, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 9999);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("Connection: close"));
    let answer = site.ask(2, FRIEND, b"GET / HTTP/1.1\r\n", 9999);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let answer = site.ask(4, FRIEND, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 9999);
    assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("Connection: close"));
    let mut vars = FRONT.to_vec();
    vars.push(("CONTENT_LENGTH", "5"));
    let answer = site.ask(3, FRIEND, &[uwsgi(&vars), b"x".to_vec()].concat(), 9999);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let ended = site.server.stop();
    for text in [
        "(max_body = 10)",
        "(max_body = 20)",
        "(max_body = 5)",
        "(limit_request_fields = 3)",
        "(limit_request_line = 50)",
        "(limit_request_field_size = 30)",
        "(limit_request_head = 100)",
    ] {
        assert_eq!(lines(&ended, text), 2, "{text} {ended:?}");
    }
    assert_eq!(lines(&ended, "sent nothing for body_timeout = 1s"), 1, "{ended:?}");
}

#[test]
fn a_list_of_networks_that_is_none_is_an_error_at_the_start() {
    for (arg, problem) in [
        ("forwarded_allow_ips=10.0.0.0/40", "forwarded_allow_ips = '10.0.0.0/40': expected"),
        ("proxy_allow_ips=example.org", "proxy_allow_ips = 'example.org': expected addresses"),
        ("proxy_protocol=v9", "proxy_protocol = 'v9': expected off, v1, v2, auto"),
        ("bind=127.0.0.1:0?trust=x", "trust = 'x': expected addresses"),
        ("bind=127.0.0.1:0?max_body=x", "max_body = 'x': expected a size"),
        ("bind=unix:@x?mode=600", "only a unix socket in the file system has a mode"),
    ] {
        let ended = Server::launch(&program(&["tests/c/trust.c"]), &[arg]).end();
        assert_eq!(ended.status, Some(1), "{arg}");
        assert!(ended.stderr.contains(problem), "{arg}: {}", ended.stderr);
    }
}

#[test]
fn an_abstract_socket_is_taken_once_and_leaves_no_file() {
    let name = format!("gateway-{}", std::process::id());
    let bind = format!("unix:@{name}");
    let site = Site::start(&[&bind], &[]);
    assert_eq!(site.at[1], bind);
    let at = UnixAddr::from_abstract_name(&name).unwrap();
    let told = converse(UnixStream::connect_addr(&at).unwrap(), &get(&[]), 9999);
    assert_eq!(said(&String::from_utf8_lossy(&told), "REMOTE_ADDR SERVER_NAME"), "unix: h");
    let second = Server::launch(&program(&["tests/c/trust.c"]), &[&format!("bind={bind}")]).end();
    assert_eq!(second.status, Some(1));
    assert!(second.stderr.contains(&format!("bind {bind}: ")), "{}", second.stderr);
    assert!(!std::path::Path::new(&format!("@{name}")).exists());
    site.server.stop();
    assert!(UnixStream::connect_addr(&at).is_err(), "it is gone with its server");
}

/// Workers of every kind know the terms of the listeners that they were given.
#[test]
fn terms_reach_workers_of_every_kind() {
    for model in ["fork", "exec", "threads"] {
        let name = |kind: &str| format!("gateway-{kind}-{model}-{}", std::process::id());
        let (auto, proxy) = (name("auto"), name("proxy"));
        let binds = [
            format!("bind=auto+unix:@{auto}"),
            format!("bind=unix:@{proxy}?proxy_protocol=v1&max_body=3"),
        ];
        let model = format!("worker_model={model}");
        let args = ["{}", &binds[0], &binds[1], &model, "workers=2", "errorlog=-"];
        let server = Server::start(&program(&["tests/c/app.c"]), &args);
        server.get("/");
        let ask = |name: &str, octets: &[u8]| {
            let at = UnixAddr::from_abstract_name(name).unwrap();
            let told = converse(UnixStream::connect_addr(&at).unwrap(), octets, 9999);
            String::from_utf8_lossy(&told).into_owned()
        };
        let query = "name=REMOTE_ADDR";
        let mut vars = FRONT.to_vec();
        vars[1].1 = "/variable";
        vars.push(("QUERY_STRING", query));
        let told = ask(&auto, &uwsgi(&vars));
        assert!(told.ends_with("\r\n\r\n192.0.2.9"), "{model} {told}");
        let line = "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n";
        let head = "HTTP/1.1\r\nHost: h\r\nConnection: close\r\n";
        let told = ask(&proxy, format!("{line}GET /variable?{query} {head}\r\n").as_bytes());
        assert!(told.ends_with("\r\n\r\n192.0.2.1"), "{model} {told}");
        let post = format!("{line}POST /echo {head}Content-Length: 4\r\n\r\nfour");
        let told = ask(&proxy, post.as_bytes());
        assert!(told.starts_with("HTTP/1.1 413 "), "{model} {told}");
        server.stop();
    }
}

/// Several at one address are told apart, also by the system's choice of a port, and on IPv6.
#[test]
fn listeners_in_the_same_words_keep_their_terms() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("NO IPV6 HERE");
        return;
    }
    let site = Site::start(
        &["uwsgi://[::1]:0", "[::1]:0", "[::1]:0?max_body=1", "scgi://[::1]:0?trust=none"],
        &[],
    );
    let told = site.server.get("/listeners");
    let kinds: Vec<_> = told.lines().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(kinds, ["0", "1", "0", "0", "3"]);
    let ask = |n: usize, octets: &[u8]| {
        let told = converse(TcpStream::connect(&site.at[n]).unwrap(), octets, 9999);
        String::from_utf8_lossy(&told).into_owned()
    };
    assert_eq!(said(&ask(1, &uwsgi(FRONT)), CLIENT), "192.0.2.9 99 https");
    assert_eq!(said(&ask(4, &scgi(FRONT)), "REMOTE_ADDR wsgi.url_scheme"), "::1 http");
    let post = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab";
    assert!(ask(2, post).starts_with("HTTP/1.1 200 "));
    assert!(ask(3, post).starts_with("HTTP/1.1 413 "));
    site.server.stop();
}

/// Whatever the options say of others.
#[test]
fn who_starts_a_cgi_program_is_believed() {
    let ended = Command::new(program(&["tests/c/app.c"]))
        .args(["127.0.0.1:1", "forwarded_allow_ips=none", "proxy_protocol=1"])
        .env("GATEWAY_INTERFACE", "CGI/1.1")
        .envs(FRONT.iter().copied())
        .envs([("PATH_INFO", "/variable"), ("QUERY_STRING", "name=wsgi.url_scheme")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8(ended.stdout).unwrap();
    assert!(told.ends_with("\r\n\r\nhttps"), "{told}");
}
