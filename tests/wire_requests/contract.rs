//! What tables do not show: the parts of a head, reasons, reuse of a decoder, its cost.

use gateway::wire::http1::Decoder;
use gateway::wire::{Decoder as _, Event, Limit, Limits};

use crate::wire_support::{Ending, LIMITS, drive, drive_with, summary};

/// What the summary leaves out.
#[test]
fn a_head_is_handed_out_whole() {
    let octets = b"\r\nPOST http://a.b:8/c%20d?e=f HTTP/1.1\r\nHost:  h:1 \r\nX-A:\r\ncontent-type: a/b; c=d\r\n\
        x-a: \tg  h\t\r\nContent-Length: 2\r\n\r\nok";
    let outcome = drive(LIMITS, octets, &mut || usize::MAX);
    let request = &outcome.requests[0];
    assert_eq!(request.target, b"http://a.b:8/c%20d?e=f");
    assert_eq!(request.path, b"/c%20d");
    assert_eq!(request.query, b"e=f");
    assert_eq!(request.authority.as_deref(), Some(&b"a.b:8"[..]));
    assert_eq!(request.host.as_deref(), Some(&b"h:1"[..]));
    assert_eq!(request.content_type.as_deref(), Some(&b"a/b; c=d"[..]));
    let field = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
    assert_eq!(
        request.fields,
        [
            field("Host", "h:1"),
            field("X-A", ""),
            field("content-type", "a/b; c=d"),
            field("x-a", "g  h"),
            field("Content-Length", "2"),
        ]
    );
    assert_eq!(request.body, b"ok");
    assert!(request.complete && !request.is_head && !request.is_connect);
}

/// The reasons are for people: they must fit what happened.
#[test]
fn reasons() {
    let get = |fields: &str| format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n");
    for (octets, reason) in [
        ("GET / HTTP/1.1\nHost: h\r\n\r\n".to_string(), "bare LF in the request head"),
        (get("A: b\rc"), "bare CR in the request head"),
        (get("A: b\x01c"), "control character in a field value"),
        (get("A : b"), "white space in or after a field name"),
        (get("A: b\r\n c"), "folded header field or white space before it"),
        (get(": b"), "empty field name"),
        (get("A"), "header line without a colon"),
        (get("A(: b"), "malformed field name"),
        (get("Content-Length: 1, 1"), "malformed Content-Length"),
        ("GET / HTTP/1.1\r\n\r\n".to_string(), "no Host"),
        ("\x16\x03".to_string(), "a TLS handshake where HTTP is spoken"),
        ("GET /\r\n".to_string(), "no HTTP version in the request line"),
    ] {
        match drive(LIMITS, octets.as_bytes(), &mut || usize::MAX).ending {
            Ending::Refused(reject) => assert_eq!(reject.reason, reason, "{octets:?}"),
            other => panic!("{octets:?}: {other:?}"),
        }
    }
}

/// After a refusal the log still gets the request line, and HEAD is known.
#[test]
fn what_is_known_of_a_refused_request() {
    let mut decoder = Decoder::new(LIMITS);
    let octets = b"HEAD /a HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n";
    assert!(matches!(decoder.decode(octets).event, Event::Reject(r) if r.status == 400));
    let head = decoder.head();
    assert_eq!(head.target.of(octets), b"/a");
    assert!(head.is_head && head.fields.is_empty() && head.host.is_none());
    assert!(!head.asked().keep_alive && head.asked().is_head);

    decoder.reset();
    assert!(decoder.is_idle());
    let octets = b"HEAD /\x01 HTTP/1.1\r\n";
    assert!(matches!(decoder.decode(octets).event, Event::Reject(r) if r.status == 400));
    assert!(decoder.head().is_head, "although the line is not well formed");
    assert_eq!(decoder.head().target.len, 0);

    decoder.reset();
    assert!(matches!(decoder.decode(b"GET\n").event, Event::Reject(r) if r.limit.is_none()));
    assert!(!decoder.head().is_head, "the request before is forgotten");
}

/// A decoder is used for one connection after the other, and its limits can change.
#[test]
fn reset_and_limits() {
    let mut decoder = Decoder::new(Limits { line: 20, ..LIMITS });
    let octets = b"GET /aaaaaaaaaaaaaaa HTTP/1.1\r\nHost: h\r\n\r\n";
    let refused = drive_with(&mut decoder, octets, &mut || 7);
    assert!(matches!(refused.ending, Ending::Refused(r) if r.limit == Some(Limit::Line)));
    decoder.reset();
    decoder.set_limits(LIMITS);
    for unfinished in [&octets[..10], b"POST / HTTP/1.0\r\nContent-Length: 9\r\n\r\nabc", octets] {
        drive_with(&mut decoder, unfinished, &mut || 3);
        decoder.reset();
    }
    let outcome = drive_with(&mut decoder, octets, &mut || 5);
    assert_eq!(summary(&outcome), "GET /aaaaaaaaaaaaaaa 1.1 keep");
}

/// Octets of a body may go another way than through the decoder.
#[test]
fn skipped_bodies() {
    let mut decoder = Decoder::new(LIMITS);
    let octets = b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc";
    let step = decoder.decode(octets);
    assert_eq!((step.event, decoder.remaining()), (Event::Head, Some(10)));
    let step = decoder.decode(&octets[step.consumed..]);
    assert_eq!((step.consumed, decoder.remaining()), (3, Some(7)));
    decoder.skip(5);
    assert_eq!(decoder.remaining(), Some(2));
    assert_eq!(decoder.decode(b"").event, Event::More);
    let step = decoder.decode(b"deGET");
    assert_eq!((step.consumed, decoder.remaining()), (2, Some(0)));
    let step = decoder.decode(b"GET");
    assert_eq!((step.consumed, step.event), (0, Event::End));
    assert!(decoder.is_idle());
}

/// A client that sends one octet at a time must not cost more than in proportion.
#[test]
fn dripping_is_linear() {
    let limits = Limits { field_size: 0, head: 0, ..LIMITS };
    let mut octets = b"GET / HTTP/1.1\r\nHost: h\r\nA: ".to_vec();
    octets.resize(1_000_000, b'a');
    octets.extend_from_slice(b"\r\n\r\n");
    let mut decoder = Decoder::new(limits);
    for end in 1..octets.len() {
        assert_eq!(decoder.decode(&octets[..end]).event, Event::More);
    }
    // A million looks at a million octets would still be running.
    assert_eq!(decoder.decode(&octets).event, Event::Head);
}
