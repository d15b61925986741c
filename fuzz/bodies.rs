//! What the fuzz targets do with their octets: plain functions, which `tests/wire_fuzz.rs` runs
//! over the corpus and a bounded number of mutations with a stable compiler.

#![allow(dead_code, reason = "each target is one of these")]

use gateway::wire::conditions::{Conditions, Validators, ranges_count, verdict};
use gateway::wire::opening::{self, Opening};
use gateway::wire::packet::{self, Form};
use gateway::wire::ranges::{Ranges, ranges};
use gateway::wire::{Event, Limit, Limits, conditions, fastcgi, forwarded, proxy, trace};

use crate::twin::{self, Verdict, chunked};
use crate::wire_support::{Ending, Outcome, Random, drive};

const UNLIMITED: Limits = Limits { line: 0, fields: 0, field_size: 0, head: 0, body: 0 };

/// Octets of connections: nothing panics, no cut changes anything, and the twin agrees about the
/// first head.
pub(crate) fn http1_head(octets: &[u8]) {
    let outcome = same_however_cut(UNLIMITED, octets);
    let verdict = match (outcome.requests.into_iter().next(), outcome.ending) {
        (Some(mut request), _) => {
            request.body.clear();
            request.complete = false;
            Verdict::Head(Box::new(request))
        }
        (None, Ending::Refused(reject)) => Verdict::Refused(reject.status),
        (None, _) => Verdict::Incomplete,
    };
    assert_eq!(verdict, twin::head(octets), "{}", octets.escape_ascii());

    // Limits that the octets choose.
    if let [line, fields, field_size, head, body, rest @ ..] = octets {
        let limits = Limits {
            line: usize::from(*line),
            fields: usize::from(*fields & 7),
            field_size: usize::from(*field_size),
            head: usize::from(*head) * 2,
            body: u64::from(*body & 15),
        };
        same_however_cut(limits, rest);
    }
}

/// Octets of a chunked body: the same, with the twin of bodies.
pub(crate) fn http1_body(octets: &[u8]) {
    let head = b"PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let outcome = same_however_cut(UNLIMITED, &[head, octets].concat());
    let request = &outcome.requests[0];
    let (data, end) = chunked::body(octets);
    let agrees = match (end, outcome.ending) {
        // The twin knows no limits.
        (_, Ending::Refused(reject)) if reject.limit == Some(Limit::ChunkOverhead) => return,
        (chunked::End::Complete(_), _) => request.complete,
        (chunked::End::Incomplete, ending) => !request.complete && ending == Ending::Waiting,
        (chunked::End::Refused(status), Ending::Refused(reject)) => {
            !request.complete && reject.status == status
        }
        (chunked::End::Refused(_), _) => false,
    };
    assert!(agrees, "{end:?}, but {outcome:?}: {}", octets.escape_ascii());
    assert_eq!(request.body, data, "{}", octets.escape_ascii());
    if let chunked::End::Complete(len) = end {
        let alone = drive(UNLIMITED, &[head, &octets[..len]].concat(), &mut || usize::MAX);
        assert_eq!((alone.requests.len(), alone.ending), (1, Ending::Idle), "it ends there");
    }
}

fn same_however_cut(limits: Limits, octets: &[u8]) -> Outcome {
    let whole = drive(limits, octets, &mut || usize::MAX);
    assert_eq!(drive(limits, octets, &mut || 1), whole, "{}", octets.escape_ascii());
    let seed = octets.iter().fold(1, |seed: u64, c| seed.wrapping_mul(31) + u64::from(*c));
    let mut random = Random(seed | 1);
    let cut = drive(limits, octets, &mut || 1 + random.below(16));
    assert_eq!(cut, whole, "{}", octets.escape_ascii());
    whole
}

/// Octets of a connection that speaks uwsgi: no cut changes anything.
pub(crate) fn uwsgi(octets: &[u8]) {
    same_packet_however_cut(Form::Uwsgi, octets);
}

/// Octets of a connection that speaks SCGI: the same.
pub(crate) fn scgi(octets: &[u8]) {
    same_packet_however_cut(Form::Scgi, octets);
}

fn same_packet_however_cut(form: Form, octets: &[u8]) {
    let limits = Limits { line: 64, fields: 4, field_size: 64, head: 4096, body: 64 };
    for limits in [UNLIMITED, limits] {
        let whole = packet(form, limits, octets, usize::MAX);
        for size in [1, 2, 5, 33] {
            let cut = packet(form, limits, octets, size);
            assert_eq!(cut, whole, "in pieces of {size}: {}", octets.escape_ascii());
        }
    }
}

/// What is told of octets that come in pieces, data as one.
fn packet(form: Form, limits: Limits, octets: &[u8], size: usize) -> (Vec<String>, Vec<u8>) {
    let mut decoder = packet::Decoder::new(form, limits);
    let (mut start, mut end, mut told, mut body) = (0, 0, Vec::new(), Vec::new());
    loop {
        let unread = &octets[start..end];
        let step = decoder.decode(unread);
        assert!(step.consumed <= unread.len());
        match step.event {
            Event::More => {
                start += step.consumed;
                if end == octets.len() {
                    return (told, body);
                }
                end = octets.len().min(end.saturating_add(size));
                continue;
            }
            Event::Data(span) => body.extend_from_slice(span.of(unread)),
            Event::Head => {
                let params = decoder.params();
                let all = params.headers.iter().chain(&params.others);
                for field in all {
                    let _ = (field.name.of(unread), field.value.of(unread));
                }
                told.push(format!("{params:?}"));
            }
            event => told.push(format!("{event:?}")),
        }
        if let Event::Reject(_) = step.event {
            return (told, body);
        }
        start += step.consumed;
    }
}

/// Octets of a connection that speaks FastCGI: no cut changes anything.
pub(crate) fn fastcgi(octets: &[u8]) {
    let whole = records(octets, usize::MAX);
    for size in [1, 2, 7, 8, 9, 100] {
        assert_eq!(records(octets, size), whole, "in pieces of {size}: {}", octets.escape_ascii());
    }
    for apart in [false, true] {
        let whole = serial(octets, usize::MAX, apart);
        for size in [1, 3, 8, 50] {
            let cut = serial(octets, size, apart);
            assert_eq!(cut, whole, "in pieces of {size}: {}", octets.escape_ascii());
        }
    }
}

/// What a connection answers by itself, and what it puts aside: type, id and octet.
type Demultiplexed = (Vec<String>, Vec<u8>, Vec<(u8, u16, Option<u8>)>);

fn serial(octets: &[u8], size: usize, apart: bool) -> Demultiplexed {
    let mut decoder = fastcgi::Serial::new(UNLIMITED);
    decoder.multiplex(7, apart);
    let (mut start, mut end) = (0, 0);
    let (mut told, mut body, mut aside) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let unread = &octets[start..end];
        let step = decoder.decode(unread);
        let mut records = Vec::new();
        decoder.take_aside(&mut records);
        let mut rest = &records[..];
        while let Some(head) = fastcgi::Head::read(rest) {
            assert!(head.padding == 0 && (!apart || !decoder.is_busy() || head.id != decoder.id()));
            let content = &rest[fastcgi::HEAD..head.size()];
            aside.extend(content.iter().map(|octet| (head.kind, head.id, Some(*octet))));
            if content.is_empty() {
                aside.push((head.kind, head.id, None));
            }
            rest = &rest[head.size()..];
        }
        assert!(rest.is_empty(), "whole records");
        if decoder.take_abort() {
            told.push(format!("abort {}", decoder.id()));
            decoder.finish();
            start += step.consumed;
            continue;
        }
        match step.event {
            Event::More if end == octets.len() => {
                let mut replies = Vec::new();
                decoder.take_replies(&mut replies);
                told.push(replies.escape_ascii().to_string());
                return (told, body, aside);
            }
            Event::More => end = octets.len().min(end.saturating_add(size)),
            Event::Data(span) => body.extend_from_slice(span.of(unread)),
            Event::Head => told.push(format!("head {}", decoder.id())),
            Event::End => {
                told.push(format!("end {}", decoder.id()));
                decoder.finish();
            }
            Event::Reject(reject) => {
                told.push(format!("{reject:?}"));
                if !decoder.recover() {
                    return (told, body, aside);
                }
            }
            Event::Pong => unreachable!("that is uwsgi's"),
        }
        start += step.consumed;
    }
}

/// Events, what is answered, and the streams one behind the other.
type Records = (Vec<String>, Vec<u8>, Vec<(u16, fastcgi::Stream, u8)>);

fn records(octets: &[u8], size: usize) -> Records {
    let mut decoder = fastcgi::Decoder::new(2);
    let (mut start, mut end) = (0, 0);
    let (mut told, mut replies, mut streams) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        let unread = &octets[start..end];
        let step = decoder.decode(unread, &mut replies);
        assert!(step.consumed <= unread.len());
        start += step.consumed;
        match step.event {
            fastcgi::Event::More if end == octets.len() => return (told, replies, streams),
            fastcgi::Event::More => end = octets.len().min(end.saturating_add(size)),
            fastcgi::Event::Data(id, stream, span) => {
                assert!(span.len > 0);
                streams.extend(span.of(unread).iter().map(|octet| (id, stream, *octet)));
            }
            fastcgi::Event::End(id, fastcgi::Stream::Stdin) | fastcgi::Event::Abort(id) => {
                told.push(format!("{:?}", step.event));
                decoder.finish(id);
            }
            fastcgi::Event::Broken(reject) => {
                told.push(format!("{reject:?}"));
                return (told, replies, streams);
            }
            event => told.push(format!("{event:?}")),
        }
    }
}

/// Octets at the front of a connection: a PROXY header is whole or not there.
pub(crate) fn proxy(octets: &[u8]) {
    let Ok(Some(header)) = proxy::header(octets) else { return };
    assert!(header.len <= octets.len());
    assert_eq!(proxy::header(&octets[..header.len]), Ok(Some(header)));
    for cut in 0..header.len {
        assert_eq!(proxy::header(&octets[..cut]), Ok(None), "{}", octets.escape_ascii());
    }
    for addition in proxy::additions(octets, header.additions) {
        let (_, value) = addition.expect("they were checked");
        assert!(value.range().end <= header.len);
        let _ = proxy::Tls::of(value.of(octets));
    }
}

/// First octets: what is told by some of them stays so, and a PROXY header is told before it is read.
pub(crate) fn opening(octets: &[u8]) {
    for may_proxy in [false, true] {
        let mut told = Opening::More;
        for len in 0..=octets.len().min(64) {
            let now = opening::recognise(&octets[..len], may_proxy);
            assert!(told == Opening::More || now == told, "{}", octets.escape_ascii());
            told = now;
        }
        assert!(told != Opening::Proxy || may_proxy);
        if may_proxy && matches!(proxy::header(octets), Ok(Some(_))) {
            assert_eq!(told, Opening::Proxy, "{}", octets.escape_ascii());
        }
    }
}

/// Lines of header fields: what a list says does not depend on how many fields it is in.
pub(crate) fn forwarded(octets: &[u8]) {
    let fields: Vec<(&[u8], &[u8])> = octets
        .split(|octet| *octet == b'\n')
        .filter_map(|line| line.split_at_checked(memchr::memchr(b':', line)?))
        .map(|(name, value)| (name, value[1..].trim_ascii()))
        .collect();
    let is_trusted = |ip: std::net::IpAddr| ip.is_ipv6() || ip.to_string().starts_with("10.");
    let told = |fields: &[(&[u8], &[u8])]| {
        let fields = fields.iter().copied();
        (forwarded::is_https(fields.clone()), forwarded::client(fields, is_trusted))
    };
    let split: Vec<(&[u8], &[u8])> = fields
        .iter()
        .flat_map(|(name, value)| {
            let is_list = name.eq_ignore_ascii_case(b"x-forwarded-for") && !value.contains(&b'"');
            let pieces: Vec<_> = match is_list {
                true => value.split(|octet| *octet == b',').collect(),
                false => vec![*value],
            };
            pieces.into_iter().map(|piece| (*name, piece))
        })
        .collect();
    assert_eq!(told(&split), told(&fields));
}

/// Values of the fields that ask for a part of a file, or for one that has changed: a part is in the file,
/// and a tag that is put in front of a list is found there.
pub(crate) fn conditional(octets: &[u8]) {
    for len in [0, 1, 10, 1000, u64::MAX] {
        let Ranges::Parts(parts) = ranges(octets, len) else { continue };
        assert!(!parts.is_empty(), "{}", octets.escape_ascii());
        let ends = parts.iter().map(|(first, part)| first.checked_add(*part));
        assert!(ends.clone().all(|end| end.is_some_and(|end| end <= len)));
        assert!(parts.iter().all(|(_, part)| *part > 0));
    }
    let modified = std::time::UNIX_EPOCH + std::time::Duration::from_secs(784_111_777);
    let is = Validators { etag: b"\"a\"", modified: Some(modified) };
    let with_tag = [b"\"a\",", octets].concat();
    let told = |asked: &Conditions<'_>| verdict(asked, &is, true);
    let must = Conditions { if_match: Some(&with_tag), ..Conditions::default() };
    assert_eq!(told(&must), conditions::Verdict::Go, "{}", octets.escape_ascii());
    let none = Conditions { if_none_match: Some(&with_tag), ..Conditions::default() };
    assert_eq!(told(&none), conditions::Verdict::NotModified, "{}", octets.escape_ascii());
    let since = Conditions {
        if_modified_since: Some(octets),
        if_unmodified_since: Some(octets),
        if_range: Some(octets),
        ..Conditions::default()
    };
    // A date that is none is no condition.
    if httpdate::parse_http_date(&String::from_utf8_lossy(octets)).is_err() {
        assert_eq!(told(&since), conditions::Verdict::Go, "{}", octets.escape_ascii());
    }
    let _ = ranges_count(&since, &is, modified);
}

/// Values of `traceparent` and `tracestate`: what is said of one is in it, and an empty member changes
/// nothing.
pub(crate) fn traces(octets: &[u8]) {
    if let Some(parent) = trace::parent(octets) {
        let pieces = [(parent.trace_id, 32), (parent.parent_id, 16), (parent.flags, 2)];
        for (span, len) in pieces {
            let piece = span.of(octets);
            assert!(piece.len() == len && piece.iter().all(u8::is_ascii_hexdigit));
            assert!(!piece.iter().any(u8::is_ascii_uppercase));
        }
        assert_eq!(trace::parent(&octets[..55]), Some(parent), "{}", octets.escape_ascii());
    }
    let with_empty = [octets, b" ,"].concat();
    assert_eq!(trace::is_state(octets), trace::is_state(&with_empty), "{}", octets.escape_ascii());
}
