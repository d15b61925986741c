//! The head of a request: found line by line as it arrives, then parsed once.
//!
//! The scan remembers where it stopped, so a client that sends one octet at a time costs linear
//! work.  A limit, a bare LF and a bad request line are told as soon as the octet that settles it is
//! there; everything else once the head is complete.  httparse splits and checks the field lines;
//! what they mean together is decided in `fields`.
//!
//! Most heads are there as a whole once their request line is.  Then the lines are not searched for
//! first: they are split at once, and only if that finds anything out of the ordinary, the scan goes
//! on line by line and says what it is.

use std::ops::Range;

use httparse::{EMPTY_HEADER, Header, Status};
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
    /// Whether there was an octet of the head proper.
    started: bool,
}

impl Reader {
    /// At the start of a head.
    pub(super) const START: Reader =
        Reader { scanned: 0, line: 0, start: 0, fields: 0, count: 0, started: false };

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
        if self.fields == 0 {
            if !self.read_request_line(unread, limits, head)? {
                return Ok(None);
            }
            end = split_at_once(unread, self.fields, limits, head)
                .filter(|end| end - self.start <= limits.head);
        }
        if end.is_none() {
            end = self.read_field_lines(unread, limits, head)?;
        }
        if end.is_some() {
            judge(unread, limits, head)?;
        }
        Ok(end)
    }

    /// Whether the request line is complete.
    #[inline]
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

    /// Like `read`, once the request line is known; what the fields mean is not looked at.
    #[inline(never)]
    fn read_field_lines(
        &mut self,
        unread: &[u8],
        limits: &Limits,
        head: &mut Head,
    ) -> Result<Option<usize>, Reject> {
        while let Some(line) = self.next_line(unread, limits.field_size, limits.head)? {
            if line.is_empty() {
                let block = &unread[..self.line];
                return match split_counted(block, self.fields, self.count, limits, head) {
                    None => Err(bad(field_fault(&block[self.fields..]))),
                    end => Ok(end),
                };
            }
            self.count += 1;
            if self.count > limits.fields {
                return Err(Reject {
                    status: 431,
                    reason: "too many header fields",
                    limit: Some(Limit::Fields),
                });
            }
        }
        Ok(None)
    }

    /// Step over the next line, if it is complete, and say where it is, without its CRLF.
    #[inline(always)]
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

/// Split the field lines that start at `start`, if they are all there.
#[inline]
fn split_at_once(unread: &[u8], start: usize, limits: &Limits, head: &mut Head) -> Option<usize> {
    // Clearing an array costs more than many heads do, so take one that is likely to be enough.
    if unread.len() - start <= 256 {
        split(unread, start, &mut [EMPTY_HEADER; 8], limits, head)
    } else {
        split(unread, start, &mut [EMPTY_HEADER; 24], limits, head)
    }
}

/// Split the field lines that start at `start`, of which there are `count`.
#[inline(never)]
fn split_counted(
    unread: &[u8],
    start: usize,
    count: usize,
    limits: &Limits,
    head: &mut Head,
) -> Option<usize> {
    if count <= 100 {
        split(unread, start, &mut [EMPTY_HEADER; 100], limits, head)
    } else {
        split(unread, start, &mut vec![EMPTY_HEADER; count], limits, head)
    }
}

/// Split field lines into `room`, and say where the head ends.  `None` when a line is missing or
/// malformed, or too long, or when there are too many.
fn split<'a>(
    unread: &'a [u8],
    start: usize,
    room: &mut [Header<'a>],
    limits: &Limits,
    head: &mut Head,
) -> Option<usize> {
    head.fields.clear();
    let Ok(Status::Complete((len, headers))) = httparse::parse_headers(&unread[start..], room)
    else {
        return None;
    };
    let span = |part: &[u8]| Span {
        start: (part.as_ptr() as usize - unread.as_ptr() as usize) as u32,
        len: part.len() as u32,
    };
    // httparse takes a bare LF for the end of a line, and knows no limits: each line must end with
    // CRLF where the next one starts.
    let mut line = start;
    let mut all_good = headers.len() <= limits.fields;
    let mut ends_well = |next: usize| {
        let good = unread[next - 2] == b'\r' && next - 2 - line.min(next - 2) <= limits.field_size;
        line = next;
        good
    };
    head.fields.extend(headers.iter().map(|header| {
        let name = span(header.name.as_bytes());
        all_good &= ends_well(name.start as usize);
        Field { name, value: span(header.value) }
    }));
    let end = start + len;
    all_good &= ends_well(end - 2) && ends_well(end);
    all_good.then_some(end)
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
