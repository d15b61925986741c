//! The head of a request: found line by line as it arrives, then parsed once.
//!
//! The scan remembers where it stopped, so a client that sends one octet at a time costs linear
//! work.  A limit, a bare LF and a bad request line are told as soon as the octet that settles it is
//! there; everything else once the head is complete.  httparse splits and checks the field lines;
//! what they mean together is decided here.

use httparse::{EMPTY_HEADER, Header, Status};
use memchr::memchr;

use super::{bad, grammar, request_line};
use crate::wire::{Field, Framing, Head, Limit, Limits, Reject, Span, Version};

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
        while let Some(distance) = memchr(b'\n', &unread[self.scanned.min(unread.len())..]) {
            let lf = self.scanned + distance;
            let has_cr = lf > self.line && unread[lf - 1] == b'\r';
            let end = lf - usize::from(has_cr);
            let limit = if self.fields == 0 { limits.line } else { limits.field_size };
            if !has_cr || end - self.line > limit || lf - self.start >= limits.head {
                return Err(self.line_fault(&unread[..=lf], limit, limits.head));
            }
            self.scanned = lf + 1;
            if self.fields != 0 {
                if end == self.line {
                    parse_fields(unread, self.fields, lf + 1, self.count, head)?;
                    judge(unread, limits, head)?;
                    return Ok(Some(lf + 1));
                }
                self.count += 1;
                if self.count > limits.fields {
                    return Err(Reject {
                        status: 431,
                        reason: "too many header fields",
                        limit: Some(Limit::Fields),
                    });
                }
            } else if lf == 1 {
                // One empty line is tolerated: RFC 9112 section 2.2.
                self.start = 2;
            } else {
                request_line::parse(&unread[self.line..end], self.line, head)?;
                self.fields = lf + 1;
            }
            self.line = lf + 1;
        }
        self.incomplete(unread, limits)?;
        Ok(None)
    }

    /// The current line has no end yet: see whether it can still become a good one.
    fn incomplete(&mut self, unread: &[u8], limits: &Limits) -> Result<(), Reject> {
        self.scanned = unread.len();
        let line = &unread[self.line..];
        let limit = if self.fields == 0 {
            // A CR may be the start of the empty line that is tolerated.
            self.started = !(line.is_empty() || (self.start == 0 && line == b"\r"));
            if let Some(reason) = request_line::first_octet_fault(line) {
                return Err(bad(reason));
            }
            limits.line
        } else {
            limits.field_size
        };
        if line.len() > limit || unread.len() - self.start > limits.head {
            return self.too_long(unread, limit, limits.head).map_or(Ok(()), Err);
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

/// Split `count` field lines and the empty line that ends them.
#[inline]
fn parse_fields(
    unread: &[u8],
    start: usize,
    end: usize,
    count: usize,
    head: &mut Head,
) -> Result<(), Reject> {
    head.fields.clear();
    // Clearing an array costs more than most heads do, so take the smallest that is enough.
    match count {
        0..=8 => split(unread, start, end, &mut [EMPTY_HEADER; 8], head),
        9..=24 => split(unread, start, end, &mut [EMPTY_HEADER; 24], head),
        25..=100 => split(unread, start, end, &mut [EMPTY_HEADER; 100], head),
        _ => split(unread, start, end, &mut vec![EMPTY_HEADER; count], head),
    }
}

#[inline]
fn split<'a>(
    unread: &'a [u8],
    start: usize,
    end: usize,
    room: &mut [Header<'a>],
    head: &mut Head,
) -> Result<(), Reject> {
    let block = &unread[start..end];
    match httparse::parse_headers(block, room) {
        Ok(Status::Complete((len, headers))) if len == block.len() => {
            let span = |part: &[u8]| Span {
                start: (part.as_ptr() as usize - unread.as_ptr() as usize) as u32,
                len: part.len() as u32,
            };
            head.fields.extend(headers.iter().map(|header| Field {
                name: span(header.name.as_bytes()),
                value: span(header.value),
            }));
            Ok(())
        }
        _ => Err(bad(field_fault(block))),
    }
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

/// What the fields that frame and route a request say, gathered over all field lines.
#[derive(Default)]
struct Gathered {
    length: Option<u64>,
    has_coding: bool,
    last_is_chunked: bool,
    chunked: u32,
    other_coding: bool,
    close: bool,
    keep_alive: bool,
    expect_continue: bool,
    expect_other: bool,
}

/// Decide whether the head can be served: everything that the fields must and must not say.
#[inline]
fn judge(unread: &[u8], limits: &Limits, head: &mut Head) -> Result<(), Reject> {
    let mut all = Gathered::default();
    head.host = None;
    head.content_type = None;
    for field in &head.fields {
        let name = field.name.of(unread);
        // Few names matter here, and no two of them have the same length.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                once(&mut head.host, field.value, "more than one Host")?;
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                expectation(field.value.of(unread), &mut all);
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                connection(field.value.of(unread), &mut all)?;
            }
            12 if name.eq_ignore_ascii_case(b"content-type") => {
                once(&mut head.content_type, field.value, "more than one Content-Type")?;
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if all.length.is_some() {
                    return Err(bad("more than one Content-Length"));
                }
                let length = grammar::decimal(field.value.of(unread));
                all.length = Some(length.ok_or(bad("malformed Content-Length"))?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                transfer_encoding(field.value.of(unread), &mut all)?;
            }
            _ => {}
        }
    }
    host(unread, head)?;
    head.framing = framing(&all, head.version)?;
    head.keep_alive =
        !all.close && !head.is_connect && (head.version == Version::Http11 || all.keep_alive);
    if all.expect_other {
        return Err(Reject { status: 417, reason: "unknown expectation", limit: None });
    }
    let has_body = match head.framing {
        Framing::Length(len) if len > limits.body => {
            return Err(Reject {
                status: 413,
                reason: "request body too large",
                limit: Some(Limit::Body),
            });
        }
        Framing::Length(len) => len > 0,
        Framing::Chunked => true,
        Framing::None => false,
    };
    // A client of HTTP/1.0 does not know 1xx responses: RFC 9110 section 10.1.1.
    head.expect_continue = all.expect_continue && has_body && head.version == Version::Http11;
    Ok(())
}

/// Keep the value of a field that may be there once.
#[inline]
fn once(slot: &mut Option<Span>, value: Span, reason: &'static str) -> Result<(), Reject> {
    match slot.replace(value) {
        Some(_) => Err(bad(reason)),
        None => Ok(()),
    }
}

/// RFC 9112 section 3.2.  An empty Host is valid: it says that there is no authority.
#[inline]
fn host(unread: &[u8], head: &Head) -> Result<(), Reject> {
    let Some(host) = head.host else {
        if head.version == Version::Http11 {
            return Err(bad("no Host"));
        }
        return Ok(());
    };
    let host = host.of(unread);
    match grammar::authority(host) {
        Some(parts) if parts.host_len > 0 || host.is_empty() => Ok(()),
        _ => Err(bad("malformed Host")),
    }
}

/// RFC 9112 section 6.3, with everything refused that two implementations could read differently.
#[inline]
fn framing(all: &Gathered, version: Version) -> Result<Framing, Reject> {
    if !all.has_coding {
        return Ok(all.length.map_or(Framing::None, Framing::Length));
    }
    if all.length.is_some() {
        return Err(bad("both Content-Length and Transfer-Encoding"));
    }
    if version == Version::Http10 {
        return Err(bad("Transfer-Encoding in HTTP/1.0"));
    }
    if all.chunked > 1 {
        return Err(bad("chunked more than once"));
    }
    if !all.last_is_chunked {
        return Err(bad("the last transfer coding is not chunked"));
    }
    if all.other_coding {
        return Err(Reject { status: 501, reason: "unknown transfer coding", limit: None });
    }
    Ok(Framing::Chunked)
}

/// One Transfer-Encoding field.  Unlike in other lists an empty element is refused: proxies differ
/// about it, and the framing must not hang on that.
fn transfer_encoding(value: &[u8], all: &mut Gathered) -> Result<(), Reject> {
    all.has_coding = true;
    for coding in grammar::elements(value) {
        let name_len = grammar::token_len(coding);
        let parameters = &coding[name_len..];
        if name_len == 0 || !matches!(grammar::trim(parameters), [] | [b';', ..]) {
            return Err(bad("malformed Transfer-Encoding"));
        }
        all.last_is_chunked = coding[..name_len].eq_ignore_ascii_case(b"chunked");
        if !all.last_is_chunked {
            all.other_coding = true;
        } else if parameters.is_empty() {
            all.chunked += 1;
        } else {
            // RFC 9112 section 7.1.
            return Err(bad("chunked has no parameters"));
        }
    }
    Ok(())
}

/// One Connection field: a list of tokens (RFC 9110 section 7.6.1).
#[inline]
fn connection(value: &[u8], all: &mut Gathered) -> Result<(), Reject> {
    for option in grammar::elements(value) {
        if option.eq_ignore_ascii_case(b"close") {
            all.close = true;
        } else if option.eq_ignore_ascii_case(b"keep-alive") {
            all.keep_alive = true;
        } else if !option.is_empty() && !grammar::is_token(option) {
            return Err(bad("malformed Connection"));
        }
    }
    Ok(())
}

/// One Expect field (RFC 9110 section 10.1.1).
fn expectation(value: &[u8], all: &mut Gathered) {
    for expectation in grammar::elements(value) {
        if expectation.eq_ignore_ascii_case(b"100-continue") {
            all.expect_continue = true;
        } else if !expectation.is_empty() {
            all.expect_other = true;
        }
    }
}
