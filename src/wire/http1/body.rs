//! Bodies of requests: with a length, and chunked (RFC 9112 sections 6 and 7.1).
//!
//! Chunk framing is consumed as it is read; a chunk-size line or a trailer line stays unread until
//! it is complete, and how far it was searched is remembered.

use memchr::memchr;

use super::{bad, grammar};
use crate::wire::{Event, Limit, Reject, Span, Step};

/// Octets of a chunk-size line, without its CRLF.  Extensions that are known to exist (signatures
/// of object stores) need some 100.
const SIZE_LINE_MAX: usize = 1024;
/// Octets of the digits in it: what 64 bits need.
const SIZE_DIGITS_MAX: usize = 16;
/// Octets of framing that a body may have beyond what [`Chunked::charge`] finds reasonable.
const EXCESS_MAX: u64 = 16 * 1024;
/// Fields in a trailer section.
const TRAILER_FIELDS_MAX: usize = 64;
/// Octets of a trailer section, line ends included.
const TRAILER_OCTETS_MAX: usize = 8 * 1024;

/// A body with a length, or none.
#[derive(Debug)]
pub(crate) struct Fixed {
    remaining: u64,
}

impl Fixed {
    /// `len` octets are to come.
    #[inline]
    pub(crate) fn new(len: u64) -> Self {
        Fixed { remaining: len }
    }

    /// Octets that are still to come.
    pub(crate) fn remaining(&self) -> u64 {
        self.remaining
    }

    /// `n` of them came another way.
    pub(crate) fn skip(&mut self, n: u64) {
        debug_assert!(n <= self.remaining);
        self.remaining = self.remaining.saturating_sub(n);
    }

    #[inline]
    pub(crate) fn read(&mut self, unread: &[u8]) -> Step {
        if self.remaining == 0 {
            return Step { consumed: 0, event: Event::End };
        }
        data(unread, 0, &mut self.remaining)
    }
}

/// As many octets of the body as there are, from `at` on.
#[inline]
fn data(unread: &[u8], at: usize, remaining: &mut u64) -> Step {
    let there = (unread.len() - at).min(u32::MAX as usize - at);
    let len = (*remaining).min(there as u64);
    *remaining -= len;
    let event = match len {
        0 => Event::More,
        _ => Event::Data(Span { start: at as u32, len: len as u32 }),
    };
    Step { consumed: at + len as usize, event }
}

/// A chunked body.
#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    /// Octets of the current line that hold no LF.
    searched: usize,
    /// Octets of data so far, the current chunk included.
    total: u64,
    /// Octets of framing beyond what is reasonable for the data.
    excess: u64,
    /// Fields of the trailer section so far.
    trailer_fields: usize,
    /// Octets of the trailer section so far.
    trailer_octets: usize,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// At a chunk-size line.
    Size,
    /// In the data of a chunk.
    Data { remaining: u64 },
    /// At the CRLF behind it.
    DataEnd,
    /// In the trailer section.
    Trailer,
}

/// What a search for the end of a line found.
enum Line {
    /// The line's octets without its CRLF: this many.
    Len(usize),
    Incomplete,
    TooLong,
    BareLf,
}

impl Chunked {
    /// At the start of a body.
    pub(super) fn new() -> Self {
        Chunked {
            state: State::Size,
            searched: 0,
            total: 0,
            excess: 0,
            trailer_fields: 0,
            trailer_octets: 0,
        }
    }

    /// Read on; the data of all chunks may be `limit` octets.
    pub(super) fn read(&mut self, unread: &[u8], limit: u64) -> Step {
        let mut at = 0;
        match self.read_from(unread, &mut at, limit) {
            Ok(Some(step)) => step,
            Ok(None) => Step { consumed: at, event: Event::More },
            Err(reject) => Step { consumed: 0, event: Event::Reject(reject) },
        }
    }

    /// `None` when octets are missing; `at` is then past all that is done with.
    fn read_from(
        &mut self,
        unread: &[u8],
        at: &mut usize,
        limit: u64,
    ) -> Result<Option<Step>, Reject> {
        loop {
            match self.state {
                State::Size => {
                    let rest = &unread[*at..];
                    let len = match self.line(rest, SIZE_LINE_MAX) {
                        Line::Len(len) => len,
                        Line::Incomplete => return Ok(None),
                        Line::BareLf => return Err(bad("bare LF in a chunk-size line")),
                        Line::TooLong => return Err(overhead(400, "chunk-size line too long")),
                    };
                    let size = chunk_size(&rest[..len])?;
                    self.charge(len as u64 + 2, size)?;
                    self.total =
                        self.total.checked_add(size).filter(|total| *total <= limit).ok_or(
                            Reject {
                                status: 413,
                                reason: "request body too large",
                                limit: Some(Limit::Body),
                            },
                        )?;
                    *at += len + 2;
                    self.state = match size {
                        0 => State::Trailer,
                        remaining => State::Data { remaining },
                    };
                }
                State::Data { mut remaining } => {
                    let step = data(unread, *at, &mut remaining);
                    if step.event == Event::More {
                        return Ok(None);
                    }
                    self.state = match remaining {
                        0 => State::DataEnd,
                        remaining => State::Data { remaining },
                    };
                    return Ok(Some(step));
                }
                State::DataEnd => match &unread[*at..] {
                    [] | [b'\r'] => return Ok(None),
                    [b'\r', b'\n', ..] => {
                        *at += 2;
                        self.state = State::Size;
                    }
                    _ => return Err(bad("no CRLF after a chunk")),
                },
                State::Trailer => {
                    let rest = &unread[*at..];
                    let len = match self.line(rest, TRAILER_OCTETS_MAX - self.trailer_octets) {
                        Line::Len(len) => len,
                        Line::Incomplete => return Ok(None),
                        Line::BareLf => return Err(bad("bare LF in the trailer section")),
                        Line::TooLong => return Err(overhead(431, "trailer section too large")),
                    };
                    *at += len + 2;
                    if len == 0 {
                        return Ok(Some(Step { consumed: *at, event: Event::End }));
                    }
                    self.trailer_octets = (self.trailer_octets + len + 2).min(TRAILER_OCTETS_MAX);
                    self.trailer_fields += 1;
                    if self.trailer_fields > TRAILER_FIELDS_MAX {
                        return Err(overhead(431, "too many trailer fields"));
                    }
                    trailer_field(&rest[..len])?;
                }
            }
        }
    }

    /// Look for the end of the line at the front of `rest`.
    fn line(&mut self, rest: &[u8], limit: usize) -> Line {
        let Some(distance) = memchr(b'\n', &rest[self.searched.min(rest.len())..]) else {
            self.searched = rest.len();
            // A CR just past the limit may belong to the end of the line.
            let len = rest.len() - usize::from(rest.last() == Some(&b'\r'));
            return if len > limit { Line::TooLong } else { Line::Incomplete };
        };
        let lf = self.searched + distance;
        self.searched = 0;
        let has_cr = lf > 0 && rest[lf - 1] == b'\r';
        let len = lf - usize::from(has_cr);
        if len > limit {
            Line::TooLong
        } else if has_cr {
            Line::Len(len)
        } else {
            Line::BareLf
        }
    }

    /// Account for a chunk-size line.  Each may have 16 octets, and each octet of data pays for two
    /// of framing; what is beyond that adds up, so that a body cannot consist of extensions.
    fn charge(&mut self, line: u64, size: u64) -> Result<(), Reject> {
        self.excess =
            (self.excess + line).saturating_sub(size.saturating_mul(2).saturating_add(16));
        if self.excess > EXCESS_MAX {
            return Err(overhead(400, "too much chunk framing for so little data"));
        }
        Ok(())
    }
}

#[cold]
fn overhead(status: u16, reason: &'static str) -> Reject {
    Reject { status, reason, limit: Some(Limit::ChunkOverhead) }
}

/// The number at the front of a chunk-size line whose extensions are well formed.
fn chunk_size(line: &[u8]) -> Result<u64, Reject> {
    let mut size = 0;
    let mut digits = 0;
    for octet in line {
        let Some(digit) = (*octet as char).to_digit(16) else { break };
        if digits == SIZE_DIGITS_MAX {
            return Err(bad("chunk size has too many digits"));
        }
        size = size << 4 | u64::from(digit);
        digits += 1;
    }
    if digits == 0 {
        return Err(bad("malformed chunk size"));
    }
    extensions(&line[digits..])?;
    Ok(size)
}

/// `*( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )`, RFC 9112 section 7.1.1.
fn extensions(mut rest: &[u8]) -> Result<(), Reject> {
    while !rest.is_empty() {
        rest = separator(rest, b';').ok_or(bad("malformed chunk extension"))?;
        rest = token(rest).ok_or(bad("malformed chunk extension"))?;
        if let Some(value) = separator(rest, b'=') {
            rest = match grammar::quoted_string_len(value) {
                Some(len) => &value[len..],
                None => token(value).ok_or(bad("malformed chunk extension"))?,
            };
        }
    }
    Ok(())
}

/// What follows `octet` and the white space around it.
fn separator(text: &[u8], octet: u8) -> Option<&[u8]> {
    let rest = text[grammar::ows_len(text)..].strip_prefix(&[octet])?;
    Some(&rest[grammar::ows_len(rest)..])
}

/// What follows a token.
fn token(text: &[u8]) -> Option<&[u8]> {
    match grammar::token_len(text) {
        0 => None,
        len => Some(&text[len..]),
    }
}

/// A line of the trailer section: a field that may stand there.
fn trailer_field(line: &[u8]) -> Result<(), Reject> {
    let name_len = grammar::token_len(line);
    if name_len == 0 || line.get(name_len) != Some(&b':') {
        return Err(bad("malformed trailer field"));
    }
    if !grammar::is_field_value(&line[name_len + 1..]) {
        return Err(bad("control character in a trailer field"));
    }
    if is_forbidden_trailer(&line[..name_len]) {
        return Err(bad("trailer field that belongs into the head"));
    }
    Ok(())
}

/// Fields that would change how a request is framed, routed, authenticated or understood once it
/// has been acted upon: RFC 9110 section 6.5.1.  Content-Digest is made for trailers (RFC 9530).
fn is_forbidden_trailer(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 23] = [
        b"authorization",
        b"cache-control",
        b"connection",
        b"cookie",
        b"expect",
        b"forwarded",
        b"host",
        b"keep-alive",
        b"max-forwards",
        b"pragma",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"range",
        b"set-cookie",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"via",
        b"www-authenticate",
        b"x-real-ip",
        b"x-request-start",
    ];
    const PREFIXES: [&[u8]; 3] = [b"content-", b"if-", b"x-forwarded-"];
    let starts_with = |prefix: &&[u8]| {
        name.get(..prefix.len()).is_some_and(|front| front.eq_ignore_ascii_case(prefix))
    };
    NAMES.iter().any(|forbidden| name.eq_ignore_ascii_case(forbidden))
        || (PREFIXES.iter().any(starts_with) && !name.eq_ignore_ascii_case(b"content-digest"))
}
