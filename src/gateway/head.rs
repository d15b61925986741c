//! The head of a response: what start_response was told, checked and copied.
//!
//! The fields are kept in wire form ("Name: value" CRLF), which all fronts share.  A refused head
//! changes nothing.
//!
//! An application tends to say the same again and again.  So what was checked and copied for the
//! request before stays: a field that is there already, octet by octet, needs neither, and a head
//! that is the same throughout is not encoded again.

use memchr::memchr;

use crate::base::buf::append;
use crate::base::error::{Error, Kind, Result};
use crate::base::octets::Pair;
use crate::wire::front::Speech;
use crate::wire::http1::{decimal, is_field_value, is_token};
use crate::wire::{Asked, Encoder, Framed, ResponseHead};

use super::abi::{RESPONSE_REPLACE, Response};

/// Octets of header fields that one response may have: more is a mistake of the application.
const MAX_FIELDS: usize = 256 * 1024;

/// Octets of an encoded head that are worth keeping for the next.
const KEEP: usize = 4 * 1024;

/// The head of a response while an application composes it.
#[derive(Debug, Default)]
pub struct Head {
    started: bool,
    content_length: Option<u64>,
    has_date: bool,
    /// These stay when the request is over, for the next one to be compared with.
    status: u16,
    reason: Vec<u8>,
    block: Vec<u8>,
    /// The lines of `block`.
    lines: Vec<Line>,
    /// Of these, as it is.
    encoded: Encoded,
}

/// A line of the block.
#[derive(Clone, Copy, Debug)]
struct Line {
    name: usize,
    value: usize,
    is_date: bool,
}

impl Line {
    /// Octets, with what is around name and value.
    #[inline]
    fn len(&self) -> usize {
        self.name + self.value + 4
    }

    /// Whether it is of this field, when it is at the front of `block`.
    #[inline(always)]
    fn says(&self, block: &[u8], name: &[u8], value: &[u8]) -> bool {
        name.len() == self.name
            && value.len() == self.value
            && same(name, &block[..self.name])
            && same(value, &block[self.name + 2..][..self.value])
    }
}

/// What a head was last encoded for, and, from the second time on, what came of it.
#[derive(Debug, Default)]
struct Encoded {
    of: Option<Circumstances>,
    octets: Vec<u8>,
    framed: Option<Framed>,
}

/// All that the encoding of a head depends on beside its status, reason and block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Circumstances {
    encoder: Speech,
    asked: Asked,
    content_length: Option<u64>,
    known: Option<u64>,
    date: [u8; 29],
}

impl Encoded {
    /// The head is another one.
    #[inline]
    fn forget(&mut self) {
        self.of = None;
        self.framed = None;
    }
}

impl Head {
    /// Whether start_response was called.
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// The status; 0 before start_response.
    pub fn status(&self) -> u16 {
        if self.started { self.status } else { 0 }
    }

    /// The application's own Content-Length.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// Append the head in the form of the wire; `known` and `date` as in [`Encoder::head`].
    #[inline]
    pub fn encode(
        &mut self,
        encoder: Speech,
        out: &mut Vec<u8>,
        asked: Asked,
        known: Option<u64>,
        date: &[u8; 29],
    ) -> Framed {
        let content_length = self.content_length;
        let now = Circumstances { encoder, asked, content_length, known, date: *date };
        match &self.encoded {
            Encoded { of: Some(of), framed: Some(framed), octets } if *of == now => {
                out.extend_from_slice(octets);
                *framed
            }
            _ => self.encode_anew(out, now),
        }
    }

    #[inline(never)]
    fn encode_anew(&mut self, out: &mut Vec<u8>, now: Circumstances) -> Framed {
        let before = out.len();
        let framed = now.encoder.head(out, &now.asked, &self.as_wire(), now.known, &now.date);
        let last = &mut self.encoded;
        last.framed = None;
        if last.of.replace(now) == Some(now) && out.len() - before <= KEEP {
            last.octets.clear();
            last.octets.extend_from_slice(&out[before..]);
            last.framed = Some(framed);
        }
        framed
    }

    /// For the encoder.
    pub fn as_wire(&self) -> ResponseHead<'_> {
        ResponseHead {
            status: self.status,
            reason: &self.reason,
            fields: &self.block,
            content_length: self.content_length,
            has_date: self.has_date,
        }
    }

    /// The fields, in order, without Content-Length.
    pub fn fields(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = if self.started { &self.block[..] } else { &[] };
        std::iter::from_fn(move || {
            let (name, after) = rest.split_at(memchr(b':', rest)?);
            let after = &after[b": ".len()..];
            let (value, after) = after.split_at(memchr(b'\r', after)?);
            rest = &after[b"\r\n".len()..];
            Some((name, value))
        })
    }

    /// Ready for another request.
    #[inline]
    pub fn clear(&mut self) {
        self.started = false;
        self.content_length = None;
    }

    /// What start_response said.  `committed`: the head is already on its way.
    #[inline]
    pub fn set(&mut self, head: &Response<'_>, committed: bool) -> Result<()> {
        let replaces = head.flags & RESPONSE_REPLACE != 0;
        if committed {
            return Err(Error::new(
                Kind::State,
                "start_response: the head is already sent and cannot be replaced",
            ));
        }
        if self.started && !replaces {
            return Err(Error::new(
                Kind::State,
                "start_response was called twice; only GW_RESPONSE_REPLACE replaces a head",
            ));
        }
        if self.started {
            let mut other = Head::default();
            other.take(head)?;
            *self = other;
        } else if let Err(error) = self.take(head) {
            *self = Head::default();
            return Err(error);
        }
        self.started = true;
        Ok(())
    }

    /// An interim response (1xx), which is sent at once: checked, and copied into `self`, which is
    /// then only good for `as_wire`.
    pub fn set_interim(&mut self, head: &Response<'_>) -> Result<()> {
        self.take(head)?;
        match self.content_length {
            Some(_) => Err(bad_field(b"Content-Length", "a 1xx response has no body")),
            None => Ok(()),
        }
    }

    /// Check the head, and copy it into `self`, where the one before may be; after an error it holds
    /// a part.
    fn take(&mut self, head: &Response<'_>) -> Result<()> {
        if !(100..=999).contains(&head.status) {
            return Err(bad_status(head.status));
        }
        let reason = head.reason.as_slice();
        if head.status != self.status || !same(reason, &self.reason) {
            self.take_status(head.status, reason)?;
        }
        let (mut lines, mut octets) = (0, 0);
        for Pair { name, value } in head.headers() {
            let (name, value) = (name.as_slice(), value.as_slice());
            match self.lines.get(lines) {
                Some(line) if line.says(&self.block[octets..], name, value) => {
                    lines += 1;
                    octets += line.len();
                }
                _ => {
                    if self.take_field(name, value, lines, octets)? {
                        (lines, octets) = (self.lines.len(), self.block.len());
                        if octets > MAX_FIELDS {
                            return Err(too_many(head.headers()));
                        }
                    }
                }
            }
        }
        if lines < self.lines.len() {
            self.keep(lines, octets);
        }
        Ok(())
    }

    /// A field that the head before did not have behind so many lines, which take so many octets.
    /// Says whether it became a line.
    #[inline(never)]
    fn take_field(
        &mut self,
        name: &[u8],
        value: &[u8],
        lines: usize,
        octets: usize,
    ) -> Result<bool> {
        if !is_token(name) {
            return Err(bad_field(name, "the name is not a token"));
        }
        if !is_field_value(value) {
            return Err(bad_field(name, "the value has a control character"));
        }
        let mut is_date = false;
        match name.len() {
            4 => is_date = is(name, b"date"),
            14 if is(name, b"content-length") => {
                return self.take_length(name, value).map(|()| false);
            }
            2 | 7 | 10 | 16 | 17 | 18 | 19 if is_hop_by_hop(name) => {
                let why = "hop-by-hop: the connection is the server's business";
                return Err(bad_field(name, why));
            }
            _ => {}
        }
        self.keep(lines, octets);
        let value = trim(value);
        append(&mut self.block, [name, b": ", value, b"\r\n"]);
        self.lines.push(Line { name: name.len(), value: value.len(), is_date });
        self.has_date |= is_date;
        Ok(true)
    }

    /// Of the lines, only the first so many, which take so many octets, are of this head.
    fn keep(&mut self, lines: usize, octets: usize) {
        self.encoded.forget();
        if lines < self.lines.len() {
            self.lines.truncate(lines);
            self.block.truncate(octets);
            self.has_date = self.lines.iter().any(|line| line.is_date);
        }
    }

    #[inline(never)]
    fn take_status(&mut self, status: u16, reason: &[u8]) -> Result<()> {
        if !is_field_value(reason) {
            return Err(Error::new(
                Kind::Protocol,
                "start_response: the reason phrase has a control character",
            ));
        }
        self.encoded.forget();
        self.status = status;
        self.reason.clear();
        self.reason.extend_from_slice(reason);
        Ok(())
    }

    fn take_length(&mut self, name: &[u8], value: &[u8]) -> Result<()> {
        let length = decimal(trim(value))
            .ok_or_else(|| bad_field(name, "the value is not a decimal number"))?;
        if self.content_length.is_some_and(|other| other != length) {
            return Err(bad_field(name, "given twice with different values"));
        }
        self.content_length = Some(length);
        Ok(())
    }
}

/// The fields of a block of "Name: value" CRLF lines; the end of the last line may be missing.
pub fn fields_of(block: &[u8]) -> Result<Vec<Pair<'_>>> {
    let mut fields = Vec::with_capacity(8);
    for line in block.split(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let colon = memchr::memchr(b':', line);
        let colon = colon.ok_or_else(|| bad_field(line, "a line without a colon"))?;
        fields.push(Pair::new(&line[..colon], trim(&line[colon + 1..])));
    }
    Ok(fields)
}

/// PEP 3333: "Other HTTP Features".
pub(crate) fn is_hop_by_hop(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 9] = [
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ];
    NAMES.into_iter().any(|other| is(name, other))
}

fn is(name: &[u8], lower: &[u8]) -> bool {
    name.eq_ignore_ascii_case(lower)
}

/// Whether two texts are the same, which are likely short and alike: no call, eight octets at a time.
#[inline(always)]
fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    if let (Some(a_end), Some(b_end)) = (a.last_chunk::<8>(), b.last_chunk::<8>()) {
        let (a, b) = (a.as_chunks::<8>().0, b.as_chunks::<8>().0);
        return a_end == b_end && a.iter().zip(b).all(|(a, b)| a == b);
    }
    a.iter().zip(b).all(|(a, b)| a == b)
}

#[cold]
fn bad_status(status: u16) -> Error {
    let text = format!("start_response: {status} is not a status (100 to 999)");
    Error::new(Kind::Protocol, text)
}

#[cold]
fn too_many(fields: &[Pair<'_>]) -> Error {
    let octets = |pair: &Pair<'_>| pair.name.as_slice().len() + pair.value.as_slice().len() + 4;
    let size: usize = fields.iter().map(octets).sum();
    let text = format!("start_response: {size} octets of header fields, of {MAX_FIELDS} allowed");
    Error::new(Kind::Limit, text)
}

/// An error that names the field but not its value, which may be a secret or an attack.
#[cold]
fn bad_field(name: &[u8], why: &str) -> Error {
    let shown = &name[..name.len().min(64)];
    Error::new(
        Kind::Protocol,
        format!("start_response: header \"{}\": {why}", shown.escape_ascii()),
    )
}

#[inline]
fn trim(value: &[u8]) -> &[u8] {
    match value {
        [b' ' | b'\t', ..] | [.., b' ' | b'\t'] => value.trim_ascii(),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Version, http1};

    fn set(status: u16, fields: &[(&str, &str)]) -> Result<Head> {
        let pairs: Vec<_> =
            fields.iter().map(|(n, v)| Pair::new(n.as_bytes(), v.as_bytes())).collect();
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
        let pairs: Vec<_> = case
            .fields
            .iter()
            .map(|(name, value)| Pair::new(octets(name), octets(value)))
            .collect();
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
}
