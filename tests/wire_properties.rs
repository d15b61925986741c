//! What must hold for any octets: the head parser agrees with its slow twin, the verdict does not
//! depend on cuts, and a chunked body that the encoder wrote comes out as it went in.

mod twin;
mod wire_support;

use std::collections::BTreeMap;

use gateway::wire::http1::{Decoder, Encoder};
use gateway::wire::{BodyMode, Decoder as _, Encoder as _, Limits};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use twin::Verdict;
use wire_support::{Ending, Random, drive, drive_with};

const UNLIMITED: Limits = Limits { line: 0, fields: 0, field_size: 0, head: 0, body: 0 };

/// Pieces that matter to the grammar: mutations put them where they do not belong.
const PIECES: &[&str] = &[
    "\r",
    "\n",
    "\r\n",
    "\r\n\r\n",
    " ",
    "\t",
    ":",
    ",",
    ";",
    "\"",
    "%",
    "%00",
    "%41",
    "#",
    "?",
    "/",
    "*",
    "@",
    "[",
    "]",
    "[::1]",
    "\0",
    "\x7f",
    "\x1f",
    "\u{e9}",
    "0",
    "1",
    "9",
    "-",
    "+",
    "a",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/2.0",
    "GET",
    "CONNECT",
    "OPTIONS",
    "HEAD",
    "http://",
    "https://a",
    "Host: h\r\n",
    "Host: h",
    "Content-Length: 1\r\n",
    "Content-Length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "chunked",
    "gzip, ",
    "identity",
    "Connection: close\r\n",
    "keep-alive",
    "close",
    "Expect: 100-continue\r\n",
    "100-continue",
    "Content-Type: a/b\r\n",
    "A: b\r\n",
    " c\r\n",
    "65536",
    ":80",
    "v1.a",
    "18446744073709551616",
];

fn line() -> impl Strategy<Value = String> {
    let method = select(vec!["GET", "POST", "HEAD", "OPTIONS", "M-SEARCH", "get"]);
    let target =
        select(vec!["/", "/a/b?c=d", "http://a.b/c?d", "/%41%2f", "//a", "/?", "HTTP://A:1/"]);
    let version = select(vec!["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.7"]);
    let any_target =
        select(vec!["*", "https://[::1]:80", "a.b:443", "http://a?b", "a", "/a#b", "[::1]:1"]);
    let any_version = select(vec!["HTTP/1.1", "HTTP/2.0", "HTTP/1.", "http/1.1"]);
    prop_oneof![
        6 => (method.clone(), target, version).prop_map(|(m, t, v)| format!("{m} {t} {v}\r\n")),
        1 => (method, any_target.clone(), any_version).prop_map(|(m, t, v)| format!("{m} {t} {v}\r\n")),
        1 => any_target.prop_map(|target| format!("CONNECT {target} HTTP/1.1\r\n")),
    ]
}

fn field() -> impl Strategy<Value = String> {
    let good = select(vec![
        "Connection: close",
        "Connection: keep-alive, TE",
        "X-A:",
        "x-a: b\tc",
        "Cookie: a=b; c=d",
        "Accept: */*",
        "X-B: \u{e9}",
        "Keep-Alive: 5",
        "Content-Type: a/b; c=\"d\"",
    ]);
    let framing = select(vec![
        "Content-Length: 5",
        "content-length:0",
        "Transfer-Encoding: chunked",
        "TRANSFER-ENCODING: Chunked",
        "Transfer-Encoding: gzip, chunked",
        "Expect: 100-continue",
        "Expect: x",
    ]);
    let name = select(vec![
        "Host",
        "HOST",
        "Content-Length",
        "Transfer-Encoding",
        "Connection",
        "Expect",
        "Content-Type",
        "X-A",
    ]);
    let value = select(vec![
        "a",
        "",
        " ",
        "a.b:80",
        "[::1]",
        "5",
        "chunked",
        "chunked, chunked",
        "close",
        "100-continue",
        "x",
        "a, b",
        "5, 5",
        "keep-alive",
        "chunked;a=b",
        "close,",
        ",",
        "%41:",
        ":1",
        "a:65536",
        "x;a, chunked",
        "x ;a=b,Chunked",
    ]);
    let colon = select(vec![":", ": ", ": ", ": ", ":\t ", " :"]);
    prop_oneof![
        4 => good.prop_map(|line| format!("{line}\r\n")),
        3 => framing.prop_map(|line| format!("{line}\r\n")),
        1 => (name, colon, value).prop_map(|(n, c, v)| format!("{n}{c}{v}\r\n")),
    ]
}

/// A valid request, or nearly one.
fn request() -> impl Strategy<Value = Vec<u8>> {
    let empty = prop_oneof![9 => Just(""), 2 => Just("\r\n"), 1 => select(vec!["\r\n\r\n", "\n"])];
    let host = prop_oneof![
        4 => Just("Host: a\r\n"),
        1 => select(vec!["", "Host:\r\n", "host: [::1]:80\r\n", "Host: a%41:1\r\n"]),
    ];
    let end = prop_oneof![9 => Just("\r\n"), 1 => select(vec!["", "\n"])];
    (empty, line(), host, vec(field(), 0..4), end).prop_map(|(empty, line, host, fields, end)| {
        [empty, &line, host, &fields.concat(), end].concat().into_bytes()
    })
}

#[derive(Clone, Debug)]
enum Mutation {
    Insert(usize, &'static str),
    Replace(usize, u8),
    Remove(usize, usize),
    Repeat(usize, usize),
    Cut(usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        4 => (any::<usize>(), select(PIECES.to_vec())).prop_map(|(at, piece)| Mutation::Insert(at, piece)),
        2 => (any::<usize>(), any::<u8>()).prop_map(|(at, octet)| Mutation::Replace(at, octet)),
        2 => (any::<usize>(), 1_usize..4).prop_map(|(at, len)| Mutation::Remove(at, len)),
        1 => (any::<usize>(), 1_usize..30).prop_map(|(at, len)| Mutation::Repeat(at, len)),
        1 => any::<usize>().prop_map(Mutation::Cut),
    ]
}

fn mutate(octets: &mut Vec<u8>, mutation: &Mutation) {
    let len = octets.len();
    let within = |at: usize| at % (len + 1);
    match *mutation {
        Mutation::Insert(at, piece) => {
            let at = within(at);
            octets.splice(at..at, piece.bytes());
        }
        Mutation::Replace(at, octet) if len > 0 => octets[at % len] = octet,
        Mutation::Remove(at, count) => {
            let at = within(at);
            octets.drain(at..(at + count).min(len));
        }
        Mutation::Repeat(at, count) => {
            let at = within(at);
            let copy = octets[at..(at + count).min(len)].to_vec();
            octets.splice(at..at, copy);
        }
        Mutation::Cut(at) => octets.truncate(within(at)),
        Mutation::Replace(..) => {}
    }
}

fn mutated_request() -> impl Strategy<Value = Vec<u8>> {
    (request(), vec(mutation(), 0..3)).prop_map(|(mut octets, mutations)| {
        mutations.iter().for_each(|mutation| mutate(&mut octets, mutation));
        octets
    })
}

/// What the real parser says about the head at the front of `octets`.
fn real_verdict(octets: &[u8], cut: wire_support::Cut<'_>) -> Verdict {
    let outcome = drive(UNLIMITED, octets, cut);
    match (outcome.requests.into_iter().next(), outcome.ending) {
        (Some(mut request), _) => {
            request.body.clear();
            request.complete = false;
            Verdict::Head(Box::new(request))
        }
        (None, Ending::Refused(reject)) => Verdict::Refused(reject.status),
        (None, _) => Verdict::Incomplete,
    }
}

fn agree(octets: &[u8], seed: u64) {
    let want = twin::head(octets);
    let text = octets.escape_ascii();
    assert_eq!(real_verdict(octets, &mut || usize::MAX), want, "whole: {text}");
    assert_eq!(real_verdict(octets, &mut || 1), want, "octet by octet: {text}");
    let mut random = Random(seed | 1);
    assert_eq!(real_verdict(octets, &mut || 1 + random.below(20)), want, "{seed}: {text}");
}

/// A body in chunks as some client would write it, with extensions and trailers.
fn chunk_noise() -> impl Strategy<Value = (Vec<Vec<u8>>, &'static str, &'static str)> {
    (
        vec(vec(any::<u8>(), 1..40), 0..6),
        select(vec!["", ";a", " ; a = \"b\\\"c\" ;d=e"]),
        select(vec!["", "A: b\r\n", "A: b\r\nContent-Digest: x\r\n"]),
    )
}

/// Some seconds' worth of cases; PROPTEST_CASES asks for more.
fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(4000),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_twins_agree(octets in mutated_request(), seed: u64) {
        agree(&octets, seed);
    }

    #[test]
    fn cuts_do_not_matter(
        octets in mutated_request(),
        body in vec(select(PIECES.to_vec()), 0..6),
        limits in (0_usize..60, 0_usize..4, 0_usize..40, 0_usize..150, 0_u64..9),
        seed: u64,
    ) {
        let (line, fields, field_size, head, max) = limits;
        let limits = Limits { line, fields, field_size, head, body: max };
        let octets = [octets, body.concat().into_bytes()].concat();
        let whole = drive(limits, &octets, &mut || usize::MAX);
        prop_assert_eq!(&drive(limits, &octets, &mut || 1), &whole);
        let mut random = Random(seed | 1);
        prop_assert_eq!(&drive(limits, &octets, &mut || 1 + random.below(20)), &whole);
    }

    #[test]
    fn what_the_encoder_chunks_the_decoder_joins(parts in vec(vec(any::<u8>(), 1..300), 0..8), seed: u64) {
        let mut octets = b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for part in &parts {
            Encoder.before(&mut octets, BodyMode::Chunked, part.len() as u64);
            octets.extend_from_slice(part);
            Encoder.after(&mut octets, BodyMode::Chunked);
        }
        Encoder.end(&mut octets, BodyMode::Chunked);
        let mut random = Random(seed | 1);
        let outcome = drive(UNLIMITED, &octets, &mut || 1 + random.below(200));
        prop_assert_eq!(outcome.ending, Ending::Idle);
        prop_assert!(outcome.requests[0].complete);
        prop_assert_eq!(&outcome.requests[0].body, &parts.concat());
    }

    #[test]
    fn chunk_noise_is_not_data((parts, extension, trailer) in chunk_noise(), seed: u64) {
        let mut octets = b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for part in &parts {
            octets.extend_from_slice(format!("{:X}{extension}\r\n", part.len()).as_bytes());
            octets.extend_from_slice(part);
            octets.extend_from_slice(b"\r\n");
        }
        octets.extend_from_slice(format!("000{extension}\r\n{trailer}\r\nGET /next HTTP/1.0\r\n\r\n").as_bytes());
        let mut random = Random(seed | 1);
        let outcome = drive(UNLIMITED, &octets, &mut || 1 + random.below(30));
        prop_assert_eq!(outcome.ending, Ending::Idle);
        prop_assert_eq!(&outcome.requests[0].body, &parts.concat());
        prop_assert_eq!(&outcome.requests[1].path, b"/next");
    }

    #[test]
    fn any_octets_are_survived(octets in vec(any::<u8>(), 0..200), seed: u64) {
        agree(&octets, seed);
    }
}

/// The comparison of the twins means nothing unless all kinds of verdicts come up often.
#[test]
fn mutated_requests_are_of_all_kinds() {
    let mut runner = TestRunner::deterministic();
    let mut counts = BTreeMap::new();
    for _ in 0..4000 {
        let octets = mutated_request().new_tree(&mut runner).expect("a request").current();
        let kind = match twin::head(&octets) {
            Verdict::Head(_) => "head".to_string(),
            Verdict::Incomplete => "incomplete".to_string(),
            Verdict::Refused(status) => status.to_string(),
        };
        *counts.entry(kind).or_insert(0) += 1;
    }
    for (kind, least) in
        [("head", 400), ("incomplete", 100), ("400", 500), ("417", 20), ("501", 20), ("505", 20)]
    {
        assert!(counts.get(kind).is_some_and(|count| *count >= least), "{kind}: {counts:?}");
    }
}

/// Memory is reused: the second request finds room for its fields.
#[test]
fn a_warm_connection_reallocates_nothing() {
    let octets = format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "A: b\r\n".repeat(30));
    let mut decoder = Decoder::new(UNLIMITED);
    drive_with(&mut decoder, octets.as_bytes(), &mut || usize::MAX);
    let warm = (decoder.head().fields.as_ptr(), decoder.head().fields.capacity());
    for _ in 0..3 {
        drive_with(&mut decoder, octets.as_bytes(), &mut || 7);
        assert_eq!((decoder.head().fields.as_ptr(), decoder.head().fields.capacity()), warm);
        drive_with(&mut decoder, b"GET / HTTP/1.1\r\nHost: h\r\nA : b\r\n\r\n", &mut || 7);
        decoder.reset();
    }
}
