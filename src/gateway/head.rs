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

use super::abi::{RESPONSE_CLOSE, RESPONSE_REPLACE, Response};

/// Octets of header fields that one response may have: more is a mistake of the application.
const MAX_FIELDS: usize = 256 * 1024;

/// Octets of an encoded head that are worth keeping for the next.
const KEEP: usize = 4 * 1024;

/// The head of a response while an application composes it.
#[derive(Debug, Default)]
pub struct Head {
    started: bool,
    content_length: Option<u64>,
    closes: bool,
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

    /// Whether the application wants the connection closed behind the answer.
    pub fn closes(&self) -> bool {
        self.closes
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
        self.closes = false;
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
        self.closes = head.flags & RESPONSE_CLOSE != 0;
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
mod tests;
