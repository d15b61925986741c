use super::*;
use crate::wire::{Version, http1};

fn set(status: u16, fields: &[(&str, &str)]) -> Result<Head> {
    let pairs: Vec<_> = fields.iter().map(|(n, v)| Pair::new(n.as_bytes(), v.as_bytes())).collect();
    let mut head = Head::default();
    head.set(&Response::new(status, &pairs), false)?;
    Ok(head)
}

#[test]
fn fields_are_kept_in_order_and_spelling() {
    let head = set(200, &[("X-b", " 1 "), ("content-LENGTH", "7"), ("x-B", "")]).unwrap();
    assert_eq!(head.as_wire().fields, b"X-b: 1\r\nx-B: \r\n");
    assert_eq!(head.content_length(), Some(7));
    let fields: Vec<_> = head.fields().collect();
    assert_eq!(fields, [(&b"X-b"[..], &b"1"[..]), (b"x-B", b"")]);
}

#[test]
fn what_must_not_reach_the_wire_is_refused() {
    for (name, value) in [
        ("", "x"),
        ("a b", "x"),
        ("a:", "x"),
        ("a\r\nb", "x"),
        ("X", "a\r\nInjected: 1"),
        ("X", "a\nb"),
        ("X", "a\rb"),
        ("X", "a\0b"),
        ("X", "a\x7fb"),
        ("Connection", "close"),
        ("transfer-encoding", "chunked"),
        ("Keep-Alive", "5"),
        ("TE", "x"),
        ("Trailer", "x"),
        ("Upgrade", "h2c"),
        ("Proxy-Authenticate", "x"),
        ("proxy-authorization", "x"),
        ("Proxy-Connection", "x"),
        ("Content-Length", ""),
        ("Content-Length", "-1"),
        ("Content-Length", "+1"),
        ("Content-Length", "1, 1"),
        ("Content-Length", "18446744073709551616"),
    ] {
        let error = set(200, &[(name, value)]).unwrap_err();
        assert_eq!(error.kind(), Kind::Protocol, "{name:?}: {value:?}");
        assert!(!error.message().contains("Injected"), "the value is never shown");
    }
    assert!(set(200, &[("Content-Length", "1"), ("content-length", "2")]).is_err());
    assert!(set(200, &[("Content-Length", "1"), ("content-length", "1")]).is_ok());
    assert!(set(200, &[("X", "tab\tand \u{fc}ml\u{e4}ut")]).is_ok());
}

#[test]
fn a_status_has_three_digits() {
    for status in [0, 1, 99, 1000, u16::MAX] {
        assert_eq!(set(status, &[]).unwrap_err().kind(), Kind::Protocol);
    }
    for status in [100, 200, 599, 999] {
        assert!(set(status, &[]).is_ok());
    }
}

#[test]
fn a_second_head_needs_the_flag_and_an_unsent_first_one() {
    let mut head = set(200, &[("A", "1")]).unwrap();
    let again = Response::new(500, &[]);
    assert_eq!(head.set(&again, false).unwrap_err().kind(), Kind::State);
    assert_eq!(head.status(), 200);
    assert_eq!(head.set(&again.replacing(), true).unwrap_err().kind(), Kind::State);
    assert_eq!(head.as_wire().fields, b"A: 1\r\n");
    head.set(&again.replacing(), false).unwrap();
    assert_eq!((head.status(), head.as_wire().fields), (500, &b""[..]));
}

#[test]
fn a_refused_replacement_changes_nothing() {
    let mut head = set(200, &[("A", "1")]).unwrap();
    let pairs = [Pair::new(b"B", b"2"), Pair::new(b"bad name", b"x")];
    assert!(head.set(&Response::new(404, &pairs).replacing(), false).is_err());
    assert_eq!((head.status(), head.as_wire().fields), (200, &b"A: 1\r\n"[..]));
}

/// A head, and what it is answered to.
#[derive(Clone, Copy, Debug)]
struct Case {
    status: u16,
    reason: &'static str,
    fields: &'static [(&'static str, &'static str)],
    asked: Asked,
    known: Option<u64>,
    date: &'static [u8; 29],
}

/// Cases of which each differs from the first in one thing, but for those that must be refused.
fn cases() -> Vec<Case> {
    let asked = Asked { keep_alive: true, ..Asked::default() };
    let first = Case {
        status: 200,
        reason: "",
        fields: &[("Content-Type", "text/plain"), ("X", "1")],
        asked,
        known: Some(5),
        date: b"Sun, 06 Nov 1994 08:49:37 GMT",
    };
    let mut cases = vec![
        first,
        Case { status: 404, ..first },
        Case { status: 204, ..first },
        Case { status: 299, ..first },
        Case { reason: "Fine", ..first },
        Case { reason: "Find", ..first },
        Case { known: None, ..first },
        Case { known: Some(6), ..first },
        Case { known: Some(0), ..first },
        Case { date: b"Sun, 06 Nov 1994 08:49:38 GMT", ..first },
        Case { date: b"Mon, 07 Nov 1994 08:49:37 GMT", ..first },
        Case { asked: Asked { keep_alive: false, ..asked }, ..first },
        Case { asked: Asked { is_head: true, ..asked }, ..first },
        Case { asked: Asked { is_connect: true, ..asked }, ..first },
        Case { asked: Asked { version: Version::Http10, ..asked }, ..first },
        Case { status: 99, ..first },
        Case { reason: "\n", ..first },
    ];
    let heads: &[&[(&str, &str)]] = &[
        &[],
        &[("Content-Type", "text/plain")],
        &[("X", "1"), ("Content-Type", "text/plain")],
        &[("Content-Type", "text/plain"), ("X", "1"), ("Y", "")],
        &[("Content-Type", "text/plain"), ("X", "2")],
        &[("Content-Type", "text/plain"), ("x", "1")],
        &[("Content-Type", "text/plain"), ("X", " 1 ")],
        &[("Content-Type", "text/plain; charset=utf-8"), ("X", "1")],
        &[("Content-Type", "text/plaim"), ("X", "1")],
        &[("Content-Typf", "text/plain"), ("X", "1")],
        &[("Xontent-Type", "text/plain"), ("X", "1")],
        &[("Content-Length", "5"), ("Content-Type", "text/plain"), ("X", "1")],
        &[("Content-Type", "text/plain"), ("Content-Length", "5"), ("X", "1")],
        &[("Content-Type", "text/plain"), ("X", "1"), ("Content-Length", "6")],
        &[("Date", "today"), ("X", "1")],
        &[("Content-Type", "text/plain"), ("Date", "today")],
        // Refused, though the octets between the lines are those of the first.
        &[("Content-Type: text/plain\r\nX", "1")],
        &[("Content-Type", "text/plain\r\nX: 1")],
        &[("Content-Type", "text/plain"), ("X", "1\r\n")],
        &[("Content-Type", "text/plain"), ("X", "1"), ("Connection", "close")],
        &[("Content-Length", "5"), ("Content-Length", "6")],
    ];
    cases.extend(heads.iter().map(|fields| Case { fields, ..first }));
    cases
}

/// All that comes of a request; `None` when its head is refused.
fn answer(head: &mut Head, case: &Case) -> Option<impl PartialEq + std::fmt::Debug + use<>> {
    let octets = |text: &'static str| text.as_bytes();
    let pairs: Vec<_> =
        case.fields.iter().map(|(name, value)| Pair::new(octets(name), octets(value))).collect();
    head.clear();
    assert_eq!((head.status(), head.fields().count()), (0, 0), "before start_response");
    let mut response = Response::new(case.status, &pairs);
    response.reason = case.reason.into();
    head.set(&response, false).ok()?;
    let mut out = b"before".to_vec();
    let framed = head.encode(Speech::Http, &mut out, case.asked, case.known, case.date);
    let mut direct = b"before".to_vec();
    let wire = head.as_wire();
    http1::Encoder.head(&mut direct, &case.asked, &wire, case.known, case.date);
    assert_eq!(out, direct, "{case:?}");
    let fields: Vec<_> = head.fields().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
    Some((out, framed, head.status(), head.content_length(), head.has_date, fields))
}

#[test]
fn what_was_said_before_does_not_matter() {
    for before in &cases() {
        for case in &cases() {
            let fresh = answer(&mut Head::default(), case);
            // As many as it takes to be remembered, and once more.
            for times in 0..4 {
                let mut head = Head::default();
                for _ in 0..times {
                    answer(&mut head, before);
                }
                for _ in 0..4 {
                    assert_eq!(answer(&mut head, case), fresh, "{case:?} behind {before:?}");
                }
            }
        }
    }
}
