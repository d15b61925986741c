//! Heads and framing that the HTTP/1 encoder writes, octet for octet (RFC 9110 sections 8.6 and 15,
//! RFC 9112 sections 6 and 9).

use gateway::wire::http1::{Encoder, error_response, reason_phrase};
use gateway::wire::{Asked, BodyMode, Encoder as _, Framed, ResponseHead, Version};

const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

/// An HTTP/1.1 GET on a connection that may go on.
const GET: Asked =
    Asked { version: Version::Http11, is_head: false, is_connect: false, keep_alive: true };
const OLD: Asked = Asked { version: Version::Http10, ..GET };
const HEAD: Asked = Asked { is_head: true, ..GET };
const CONNECT: Asked = Asked { is_connect: true, ..GET };

const fn last(asked: Asked) -> Asked {
    Asked { keep_alive: false, ..asked }
}

const fn response(status: u16) -> ResponseHead<'static> {
    ResponseHead { status, reason: b"", fields: b"", content_length: None, has_date: true }
}

const fn with_length(status: u16, len: u64) -> ResponseHead<'static> {
    ResponseHead { content_length: Some(len), ..response(status) }
}

fn encode(asked: &Asked, head: &ResponseHead<'_>, known: Option<u64>) -> (String, Framed) {
    let mut out = b"before".to_vec();
    let framed = Encoder.head(&mut out, asked, head, known, DATE);
    assert_eq!(&out[..6], b"before", "appended");
    (String::from_utf8(out.split_off(6)).expect("text"), framed)
}

#[test]
#[rustfmt::skip] // a table reads better with one case a line
fn framing() {
    use BodyMode::{Absent, Chunked, Close, Length};
    // What was asked, the response, its known length; the fields, the framing, whether it goes on.
    type Case =
        (&'static str, Asked, ResponseHead<'static>, Option<u64>, &'static str, BodyMode, bool);
    let cases: &[Case] = &[
        ("known length", GET, response(200), Some(5), "Content-Length: 5", Length(5), true),
        ("known to be empty", GET, response(200), Some(0), "Content-Length: 0", Length(0), true),
        ("the application's length", GET, with_length(200, 7), None, "Content-Length: 7", Length(7), true),
        ("the application's length wins", GET, with_length(200, 7), Some(5), "Content-Length: 7", Length(7), true),
        ("the largest length", GET, with_length(200, u64::MAX), None, "Content-Length: 18446744073709551615", Length(u64::MAX), true),
        ("unknown length on 1.1", GET, response(200), None, "Transfer-Encoding: chunked", Chunked, true),
        ("unknown length on 1.0", OLD, response(200), None, "Connection: close", Close, false),
        ("1.0 that keeps", OLD, response(200), Some(5), "Content-Length: 5|Connection: keep-alive", Length(5), true),
        ("1.0 that closes", last(OLD), response(200), Some(5), "Content-Length: 5|Connection: close", Length(5), false),
        ("1.0 that closes, unknown", last(OLD), response(200), None, "Connection: close", Close, false),
        ("1.1 that closes", last(GET), response(200), Some(5), "Content-Length: 5|Connection: close", Length(5), false),
        ("1.1 that closes, unknown", last(GET), response(200), None, "Transfer-Encoding: chunked|Connection: close", Chunked, false),
        ("an error with a body", GET, response(404), Some(9), "Content-Length: 9", Length(9), true),
        ("a redirect without one", GET, response(302), Some(0), "Content-Length: 0", Length(0), true),
        ("an unknown status, unknown length", GET, response(499), None, "Transfer-Encoding: chunked", Chunked, true),

        ("HEAD, the application's length", HEAD, with_length(200, 7), None, "Content-Length: 7", Absent, true),
        ("HEAD, known length", HEAD, response(200), Some(5), "Content-Length: 5", Absent, true),
        ("HEAD, unknown length", HEAD, response(200), None, "", Absent, true),
        ("HEAD on 1.0, unknown length", Asked { version: Version::Http10, ..HEAD }, response(200), None, "Connection: keep-alive", Absent, true),
        ("HEAD that closes", last(HEAD), response(200), None, "Connection: close", Absent, false),
        ("HEAD, an error", HEAD, response(500), Some(3), "Content-Length: 3", Absent, true),

        ("204", GET, response(204), Some(0), "", Absent, true),
        ("204, unknown", GET, response(204), None, "", Absent, true),
        ("204, the application's length is dropped", GET, with_length(204, 0), None, "", Absent, true),
        ("204 on 1.0", OLD, response(204), None, "Connection: keep-alive", Absent, true),
        ("204 that closes", last(GET), response(204), None, "Connection: close", Absent, false),
        ("204 to HEAD", HEAD, with_length(204, 5), None, "", Absent, true),
        ("205 has no content", GET, response(205), None, "Content-Length: 0", Absent, true),
        ("205, whatever was said", GET, with_length(205, 5), Some(5), "Content-Length: 0", Absent, true),
        ("304", GET, response(304), Some(0), "", Absent, true),
        ("304, unknown", GET, response(304), None, "", Absent, true),
        ("304 keeps the application's length", GET, with_length(304, 7), Some(0), "Content-Length: 7", Absent, true),
        ("304 to HEAD", HEAD, with_length(304, 7), None, "Content-Length: 7", Absent, true),
        ("304 on 1.0", OLD, response(304), None, "Connection: keep-alive", Absent, true),

        ("CONNECT, 200", CONNECT, response(200), None, "Connection: close", Close, false),
        ("CONNECT, 200 with a length", CONNECT, with_length(200, 7), Some(7), "Connection: close", Close, false),
        ("CONNECT, 299", CONNECT, response(299), Some(0), "Connection: close", Close, false),
        ("CONNECT, refused", CONNECT, response(405), Some(7), "Content-Length: 7|Connection: close", Length(7), false),
        ("CONNECT, refused, unknown length", CONNECT, response(500), None, "Transfer-Encoding: chunked|Connection: close", Chunked, false),
        ("CONNECT, 204", CONNECT, response(204), None, "Connection: close", Absent, false),
    ];
    for (name, asked, head, known, fields, body, keep_alive) in cases {
        let (text, framed) = encode(asked, head, *known);
        let mut want = match reason_phrase(head.status) {
            "" => format!("HTTP/1.1 {} \r\n", head.status),
            phrase => format!("HTTP/1.1 {} {phrase}\r\n", head.status),
        };
        for field in fields.split('|').filter(|field| !field.is_empty()) {
            want += &format!("{field}\r\n");
        }
        want += "\r\n";
        assert_eq!(text, want, "{name}");
        assert_eq!(framed, Framed { body: *body, keep_alive: *keep_alive }, "{name}");
    }
}

#[test]
fn status_lines() {
    let line = |status, reason: &[u8]| {
        let (text, _) = encode(&GET, &ResponseHead { reason, ..response(status) }, Some(0));
        text.lines().next().expect("a line").to_string()
    };
    assert_eq!(line(200, b""), "HTTP/1.1 200 OK");
    assert_eq!(line(200, b"OK"), "HTTP/1.1 200 OK");
    assert_eq!(line(200, b"Fine by me"), "HTTP/1.1 200 Fine by me");
    assert_eq!(line(418, b"I'm a teapot"), "HTTP/1.1 418 I'm a teapot");
    assert_eq!(line(599, b""), "HTTP/1.1 599 ", "RFC 9112 section 4: the space stays");
    assert_eq!(line(999, b""), "HTTP/1.1 999 ");
    assert_eq!(line(511, b""), "HTTP/1.1 511 Network Authentication Required");
}

#[test]
fn phrases_of_the_registry() {
    for (status, phrase) in [
        (100, "Continue"),
        (103, "Early Hints"),
        (203, "Non-Authoritative Information"),
        (208, "Already Reported"),
        (226, "IM Used"),
        (306, ""),
        (308, "Permanent Redirect"),
        (413, "Content Too Large"),
        (414, "URI Too Long"),
        (418, ""),
        (421, "Misdirected Request"),
        (422, "Unprocessable Content"),
        (431, "Request Header Fields Too Large"),
        (451, "Unavailable For Legal Reasons"),
        (505, "HTTP Version Not Supported"),
        (600, ""),
    ] {
        assert_eq!(reason_phrase(status), phrase, "{status}");
    }
}

#[test]
fn fields_and_date() {
    let fields = b"Content-Type: text/plain\r\nX-A: b\r\n";
    let head = ResponseHead { fields, has_date: false, ..response(200) };
    let (text, _) = encode(&GET, &head, Some(13));
    assert_eq!(
        text,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-A: b\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 13\r\n\r\n"
    );
    let head = ResponseHead { fields: b"Date: x\r\n", has_date: true, ..response(200) };
    let (text, _) = encode(&GET, &head, Some(0));
    assert_eq!(text, "HTTP/1.1 200 OK\r\nDate: x\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn interim_responses() {
    let mut out = Vec::new();
    Encoder.interim(&mut out, &response(100));
    assert_eq!(out, b"HTTP/1.1 100 Continue\r\n\r\n");
    out.clear();
    let hints = ResponseHead {
        fields: b"Link: </a.css>; rel=preload\r\n",
        has_date: false,
        ..response(103)
    };
    Encoder.interim(&mut out, &hints);
    assert_eq!(out, b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n");
}

#[test]
fn bodies() {
    let around = |mode, parts: &[&[u8]]| {
        let mut out = Vec::new();
        for part in parts {
            Encoder.before(&mut out, mode, part.len() as u64);
            out.extend_from_slice(part);
            Encoder.after(&mut out, mode);
        }
        Encoder.end(&mut out, mode);
        out
    };
    assert_eq!(
        around(BodyMode::Chunked, &[b"hello", &[b'x'; 26]]),
        b"5\r\nhello\r\n1a\r\nxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n0\r\n\r\n"
    );
    assert_eq!(around(BodyMode::Chunked, &[]), b"0\r\n\r\n");
    for mode in [BodyMode::Length(6), BodyMode::Close] {
        assert_eq!(around(mode, &[b"abc", b"def"]), b"abcdef", "{mode:?}");
    }
    assert_eq!(around(BodyMode::Absent, &[]), b"");
}

#[test]
fn error_responses() {
    let answer = |asked: Asked, status, why: &str, retry_after| {
        let mut out = Vec::new();
        let framed = error_response(&Encoder, &mut out, &asked, status, why, retry_after, DATE);
        (String::from_utf8(out).expect("text"), framed)
    };
    let (text, framed) = answer(last(GET), 400, "bare LF in the request head", None);
    assert_eq!(
        text,
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 45\r\nConnection: close\r\n\r\n\
         400 Bad Request: bare LF in the request head\n"
    );
    assert_eq!(framed, Framed { body: BodyMode::Length(45), keep_alive: false });

    let (text, framed) = answer(GET, 503, "", Some(120));
    assert!(text.contains("\r\nRetry-After: 120\r\n"), "{text}");
    assert!(!text.contains("Connection"), "{text}");
    assert!(text.ends_with("\r\nContent-Length: 24\r\n\r\n503 Service Unavailable\n"), "{text}");
    assert!(framed.keep_alive);

    let (text, framed) = answer(HEAD, 404, "no such thing", None);
    assert!(text.ends_with("\r\nContent-Length: 29\r\n\r\n"), "{text}");
    assert_eq!(framed.body, BodyMode::Absent);

    let (text, _) = answer(OLD, 404, "", None);
    assert!(text.starts_with("HTTP/1.1 404 Not Found\r\n"), "{text}");
    assert!(text.contains("\r\nConnection: keep-alive\r\n"), "{text}");

    let (text, framed) = answer(CONNECT, 405, "", None);
    assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
    assert!(!framed.keep_alive);

    let (text, _) = answer(GET, 599, "odd", None);
    assert!(
        text.starts_with("HTTP/1.1 599 \r\n") && text.ends_with("\r\n\r\n599: odd\n"),
        "{text}"
    );
}
