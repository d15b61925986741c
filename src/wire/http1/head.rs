//! The head of a request: found line by line as it arrives, then parsed once.
//!
//! The scan remembers where it stopped, so a client that sends one octet at a time costs linear
//! work.  A limit, a bare LF and a bad request line are told as soon as the octet that settles it is
//! there; everything else once the head is complete.  What the fields mean together is decided in
//! `fields`.
//!
//! Most heads are there as a whole when they are first looked at, and have nothing out of the
//! ordinary.  Those are taken in one pass, without a search for the ends of their lines; with all
//! others, the scan begins at the front and says what it is.

use std::ops::Range;

use memchr::memchr;

use super::fields::judge;
use super::{bad, grammar, request_line};
use crate::wire::{Field, Head, Limit, Limits, Reject, Span};

/// The progress in one head.  Offsets are those of the unread octets, which start with the head.
#[derive(Debug)]
pub(super) struct Reader {
    /// Every LF before here is dealt with.
    scanned: usize,
    /// Where the current line starts.
    line: usize,
    /// Where the head starts: behind an empty line if there was one.
    start: usize,
    /// Where the field lines start; 0 while the request line is not complete.
    fields: usize,
    /// Complete field lines.
    count: usize,
    /// Whether one of them is malformed.
    faulty: bool,
    /// Whether there was an octet of the head proper.
    started: bool,
}

impl Reader {
    /// At the start of a head.
    pub(super) const START: Reader = Reader {
        scanned: 0,
        line: 0,
        start: 0,
        fields: 0,
        count: 0,
        faulty: false,
        started: false,
    };

    /// Whether nothing of a head has been seen (an empty line before it is nothing).
    pub(super) fn is_idle(&self) -> bool {
        !self.started
    }

    /// Look for the end of the head; `Some` with its length when it is complete and all right.
    #[inline]
    pub(super) fn read(
        &mut self,
        unread: &[u8],
        limits: &Limits,
        head: &mut Head,
    ) -> Result<Option<usize>, Reject> {
        let mut end = None;
        if self.scanned == 0 {
            end = self.at_once(unread, limits, head);
        }
        if end.is_none() {
            end = self.scan(unread, limits, head)?;
        }
        if end.is_some() {
            judge(unread, limits, head)?;
        }
        Ok(end)
    }

    /// The whole head, and where it ends, if it is all there and nothing about it is out of the
    /// ordinary.
    #[inline]
    fn at_once(&mut self, unread: &[u8], limits: &Limits, head: &mut Head) -> Option<usize> {
        let fields = request_line::parse_plain(unread, head)?;
        if fields - 2 > limits.line {
            return None;
        }
        head.fields.clear();
        let mut line = fields;
        while !unread[line..].starts_with(b"\r\n") {
            let (field, end) = field(unread, line)?;
            if end - line > limits.field_size || head.fields.len() >= limits.fields {
                return None;
            }
            head.fields.push(field);
            line = end + 2;
        }
        if line + 2 > limits.head {
            return None;
        }
        self.fields = fields;
        Some(line + 2)
    }

    /// Like `read`, line by line; what the fields mean is not looked at.
    #[inline(never)]
    fn scan(
        &mut self,
        unread: &[u8],
        limits: &Limits,
        head: &mut Head,
    ) -> Result<Option<usize>, Reject> {
        if self.fields == 0 {
            if !self.read_request_line(unread, limits, head)? {
                return Ok(None);
            }
            head.fields.clear();
        }
        self.read_field_lines(unread, limits, head)
    }

    /// Whether the request line is complete.
    fn read_request_line(
        &mut self,
        unread: &[u8],
        limits: &Limits,
        head: &mut Head,
    ) -> Result<bool, Reject> {
        while let Some(line) = self.next_line(unread, limits.line, limits.head)? {
            if line.end == 0 {
                // One empty line is tolerated: RFC 9112 section 2.2.
                self.start = self.line;
            } else {
                request_line::parse(&unread[line.clone()], line.start, head)?;
                self.fields = self.line;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where the head ends, once the request line is known.
    fn read_field_lines(
        &mut self,
        unread: &[u8],
        limits: &Limits,
        head: &mut Head,
    ) -> Result<Option<usize>, Reject> {
        while let Some(line) = self.next_line(unread, limits.field_size, limits.head)? {
            if line.is_empty() {
                if self.faulty {
                    return Err(bad(field_fault(&unread[self.fields..self.line])));
                }
                return Ok(Some(self.line));
            }
            self.count += 1;
            if self.count > limits.fields {
                return Err(Reject {
                    status: 431,
                    reason: "too many header fields",
                    limit: Some(Limit::Fields),
                });
            }
            match field(unread, line.start) {
                Some((field, _)) => head.fields.push(field),
                None => self.faulty = true,
            }
        }
        Ok(None)
    }

    /// Step over the next line, if it is complete, and say where it is, without its CRLF.
    fn next_line(
        &mut self,
        unread: &[u8],
        limit: usize,
        head_limit: usize,
    ) -> Result<Option<Range<usize>>, Reject> {
        let Some(distance) = memchr(b'\n', &unread[self.scanned.min(unread.len())..]) else {
            return self.incomplete(unread, limit, head_limit).map(|()| None);
        };
        let lf = self.scanned + distance;
        let has_cr = lf > self.line && unread[lf - 1] == b'\r';
        let line = self.line..lf - usize::from(has_cr);
        if !has_cr || line.len() > limit || lf - self.start >= head_limit {
            return Err(self.line_fault(&unread[..=lf], limit, head_limit));
        }
        self.line = lf + 1;
        self.scanned = lf + 1;
        Ok(Some(line))
    }

    /// The current line has no end yet: see whether it can still become a good one.
    fn incomplete(&mut self, unread: &[u8], limit: usize, head_limit: usize) -> Result<(), Reject> {
        self.scanned = unread.len();
        let line = &unread[self.line.min(unread.len())..];
        if self.fields == 0 {
            // A CR may be the start of the empty line that is tolerated.
            self.started = !(line.is_empty() || (self.start == 0 && line == b"\r"));
            if let Some(reason) = request_line::first_octet_fault(line) {
                return Err(bad(reason));
            }
        } else {
            self.started = true;
        }
        if line.len() > limit || unread.len() - self.start > head_limit {
            return self.too_long(unread, limit, head_limit).map_or(Ok(()), Err);
        }
        Ok(())
    }

    /// Why the line that ends with `seen` is refused.
    #[cold]
    fn line_fault(&self, seen: &[u8], limit: usize, head_limit: usize) -> Reject {
        if self.fields == 0
            && let Some(reason) = request_line::first_octet_fault(&seen[self.line..])
        {
            return bad(reason);
        }
        self.too_long(seen, limit, head_limit).unwrap_or(bad("bare LF in the request head"))
    }

    /// Which limit the octets so far are past, the one that was reached first if there are two: the
    /// verdict must not depend on how many octets came at once.
    #[cold]
    fn too_long(&self, seen: &[u8], limit: usize, head_limit: usize) -> Option<Reject> {
        let in_request_line = self.fields == 0;
        // A CR just past the limit may belong to the end of the line.
        let full = self.line.saturating_add(limit);
        let over = match seen.get(full..).unwrap_or_default() {
            [] | [b'\n', ..] | [b'\r'] | [b'\r', b'\n', ..] => None,
            [b'\r', ..] => Some(full + 1),
            _ => Some(full),
        };
        let head_full = self.start + head_limit;
        if seen.len() > head_full && over.is_none_or(|over| head_full < over) {
            return Some(if in_request_line {
                Reject { status: 414, reason: "request line too long", limit: Some(Limit::Head) }
            } else {
                Reject { status: 431, reason: "request head too large", limit: Some(Limit::Head) }
            });
        }
        over.map(|_| {
            if in_request_line {
                Reject { status: 414, reason: "request line too long", limit: Some(Limit::Line) }
            } else {
                Reject {
                    status: 431,
                    reason: "header field too large",
                    limit: Some(Limit::FieldSize),
                }
            }
        })
    }

    /// Leave of a refused head in `head` only what is known to be right.
    #[cold]
    pub(super) fn forget(&self, unread: &[u8], head: &mut Head) {
        let mut fields = std::mem::take(&mut head.fields);
        fields.clear();
        let known = if self.fields == 0 {
            Head { is_head: unread[self.start..].starts_with(b"HEAD "), ..Head::default() }
        } else {
            Head {
                method: head.method,
                target: head.target,
                form: head.form,
                path: head.path,
                path_is_plain: head.path_is_plain,
                query: head.query,
                authority: head.authority,
                version: head.version,
                is_connect: head.is_connect,
                is_head: head.is_head,
                ..Head::default()
            }
        };
        *head = Head { fields, ..known };
    }
}

/// The field whose line starts at `start`, and where its CRLF is; `None` when it is malformed, or
/// not all there.
#[inline(always)]
fn field(unread: &[u8], start: usize) -> Option<(Field, usize)> {
    let line = unread.get(start..)?;
    let name_len = grammar::token_len(line);
    let after = match line.get(name_len..)? {
        [b':', after @ ..] if name_len > 0 => after,
        _ => return None,
    };
    let (value, rest) = after.split_at(grammar::field_value_len(after));
    let [b'\r', b'\n', ..] = rest else { return None };
    let ows = grammar::ows_len(value);
    let span = |start: usize, len: usize| Span { start: start as u32, len: len as u32 };
    let field = Field {
        name: span(start, name_len),
        value: span(start + name_len + 1 + ows, grammar::trim_end(&value[ows..]).len()),
    };
    Some((field, start + name_len + 1 + value.len()))
}

/// What was wrong with the field lines, in words.
#[cold]
fn field_fault(block: &[u8]) -> &'static str {
    for line in block.split_inclusive(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r\n").unwrap_or(line);
        if matches!(line, [b' ' | b'\t', ..]) {
            return "folded header field or white space before it";
        }
        let name_len = grammar::token_len(line);
        match line.get(name_len) {
            Some(b':') if name_len == 0 => return "empty field name",
            Some(b':') => {}
            Some(b' ' | b'\t') => return "white space in or after a field name",
            None if name_len > 0 => return "header line without a colon",
            _ => return "malformed field name",
        }
        let value = &line[name_len + 1..];
        if !grammar::is_field_value(value) {
            return if value.contains(&b'\r') {
                "bare CR in the request head"
            } else {
                "control character in a field value"
            };
        }
    }
    "malformed header fields"
}
