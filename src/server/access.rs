//! The access log: gunicorn's format, compiled once and rendered per request.
//!
//! The text is gunicorn's, with one difference: what a client sent is escaped so that no request
//! can end a field or a line, or reach a terminal.  As in Apache's logs, `"` and `\` get a
//! backslash, control characters and everything that is not ASCII become `\n`, `\r`, `\t`, `\xhh`.
//!
//! The format `json` is an object for each request instead (`json`).

mod json;

use std::borrow::Cow;

use crate::base::error::{Error, Kind, Result};
use crate::base::time::LocalTime;
use crate::gateway::timing::Phases;

/// What a format asks of a request that is over.
pub trait AccessSource {
    /// The moment of logging.
    fn time(&self) -> LocalTime;
    /// The process.
    fn pid(&self) -> u32;
    /// Nanoseconds from the request's arrival to the end of its response.
    fn took_ns(&self) -> u64;
    /// The same, phase by phase, where that is known.
    fn phases(&self) -> Option<Phases> {
        None
    }
    /// The status that was sent.
    fn status(&self) -> u16;
    /// Octets of the response body that were sent: without chunk framing.
    fn sent(&self) -> u64;
    /// The client's address.
    fn remote_addr(&self) -> &[u8];
    /// What came instead of a request line, if that was none, or may have been none.
    fn request_line(&self) -> Option<&[u8]> {
        None
    }
    /// The method.
    fn method(&self) -> &[u8];
    /// The request target as it came.
    fn target(&self) -> &[u8];
    /// The protocol: `HTTP/1.1`.
    fn protocol(&self) -> &[u8];
    /// PATH_INFO: the path, percent-decoded.
    fn path(&self) -> &[u8];
    /// QUERY_STRING.
    fn query(&self) -> &[u8];
    /// A variable of the environ, under the exact name that it has there: `HTTP_REFERER`,
    /// `wsgi.url_scheme`.
    fn environ(&self, name: &str) -> Option<Cow<'_, [u8]>>;
    /// The last request header of this name, which is in lower case.
    fn request_header(&self, name: &str) -> Option<Cow<'_, [u8]>>;
    /// The last response header of this name, which is in lower case.
    fn response_header(&self, name: &str) -> Option<Cow<'_, [u8]>>;
}

/// The format of objects.
const JSON: &str = "json";

/// A compiled format.
#[derive(Clone, Debug)]
pub struct Format {
    segments: Vec<Segment>,
    /// Of no segments: a JSON object.
    is_json: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Atom(Atom),
    RequestHeader(String),
    ResponseHeader(String),
    Environ(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Atom {
    RemoteAddr,
    Ident,
    User,
    Time,
    RequestLine,
    Method,
    Path,
    Query,
    Protocol,
    Status,
    Sent,
    Referer,
    UserAgent,
    Seconds,
    Millis,
    Micros,
    DecimalSeconds,
    Pid,
}

impl Atom {
    /// The table of features that gunicorn documents.
    fn from_name(name: &str) -> Option<Atom> {
        Some(match name {
            "h" => Atom::RemoteAddr,
            "l" => Atom::Ident,
            "u" => Atom::User,
            "t" => Atom::Time,
            "r" => Atom::RequestLine,
            "m" => Atom::Method,
            "U" => Atom::Path,
            "q" => Atom::Query,
            "H" => Atom::Protocol,
            "s" => Atom::Status,
            // gunicorn prints "-" for `b` when nothing is known; here it always is.
            "B" | "b" => Atom::Sent,
            "f" => Atom::Referer,
            "a" => Atom::UserAgent,
            "T" => Atom::Seconds,
            "M" => Atom::Millis,
            "D" => Atom::Micros,
            "L" => Atom::DecimalSeconds,
            "p" => Atom::Pid,
            _ => return None,
        })
    }

    /// Whether `%(name)d` works, too.
    fn is_number(self) -> bool {
        matches!(self, Atom::Sent | Atom::Seconds | Atom::Millis | Atom::Micros)
    }
}

impl Format {
    /// Compile a format.  `Kind::Invalid`: the message names the atom and where it stands.
    pub fn parse(text: &str) -> Result<Format> {
        let is_json = text == JSON;
        if is_json {
            return Ok(Format { segments: Vec::new(), is_json });
        }
        let mut segments = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            literal.push_str(&rest[..at]);
            let here = &rest[at..];
            if let Some(after) = here.strip_prefix("%%") {
                literal.push('%');
                rest = after;
                continue;
            }
            let (segment, after) = parse_atom(here).map_err(|problem| {
                let offset = text.len() - here.len();
                invalid(format!("access_log_format: {problem} (at octet {offset})"))
            })?;
            if !literal.is_empty() {
                segments.push(Segment::Literal(std::mem::take(&mut literal)));
            }
            segments.push(segment);
            rest = after;
        }
        literal.push_str(rest);
        if let Some(c) = literal.chars().chain(literals(&segments)).find(|c| c.is_control()) {
            return Err(invalid(format!("access_log_format: a line cannot contain {c:?}")));
        }
        if !literal.is_empty() {
            segments.push(Segment::Literal(literal));
        }
        Ok(Format { segments, is_json })
    }

    /// Whether a line has the phases of its request.
    pub fn has_phases(&self) -> bool {
        self.is_json
    }

    /// Append the line of one request, without a newline.
    pub fn render(&self, out: &mut Vec<u8>, source: &impl AccessSource) {
        if self.is_json {
            return json::render(out, source);
        }
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => out.extend_from_slice(text.as_bytes()),
                Segment::Atom(atom) => render_atom(out, *atom, source),
                Segment::RequestHeader(name) => maybe(out, source.request_header(name)),
                Segment::ResponseHeader(name) => maybe(out, source.response_header(name)),
                Segment::Environ(name) => maybe(out, source.environ(name)),
            }
        }
    }
}

fn invalid(message: String) -> Error {
    Error::new(Kind::Invalid, message)
}

fn literals(segments: &[Segment]) -> impl Iterator<Item = char> {
    segments.iter().flat_map(|segment| match segment {
        Segment::Literal(text) => text.chars(),
        _ => "".chars(),
    })
}

/// `%(name)s` at the start of `text`, and what follows it.
fn parse_atom(text: &str) -> Result<(Segment, &str), String> {
    let Some(inside) = text.strip_prefix("%(") else {
        return Err("'%' begins an atom, %(name)s; a percent sign is written %%".into());
    };
    // Parentheses within the name come in pairs, as in Python.
    let mut depth = 1;
    let end = inside.find(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    });
    let Some(end) = end else {
        return Err(format!("no ')' after {}", text.escape_debug()));
    };
    let (name, after) = (&inside[..end], &inside[end + 1..]);
    let unknown = || {
        format!(
            "no atom %({})s; there are h l u t r m U q H s B b f a T D M L p, and {{name}}i, \
             {{name}}o, {{name}}e",
            name.escape_debug()
        )
    };
    let segment = match name.strip_prefix('{').and_then(|inside| inside.rsplit_once('}')) {
        Some((name, kind)) if !name.is_empty() => match kind {
            "i" | "I" => Segment::RequestHeader(name.to_ascii_lowercase()),
            "o" | "O" => Segment::ResponseHeader(name.to_ascii_lowercase()),
            "e" | "E" => Segment::Environ(variable(name)),
            _ => return Err(unknown()),
        },
        _ => Segment::Atom(Atom::from_name(name).ok_or_else(unknown)?),
    };
    let is_number = matches!(segment, Segment::Atom(atom) if atom.is_number());
    match after.strip_prefix('s').or(after.strip_prefix('d').filter(|_| is_number)) {
        Some(after) => Ok((segment, after)),
        None => Err(format!("after %({}) comes 's'", name.escape_debug())),
    }
}

/// gunicorn's names of variables are in any case.  The environ's are in one: with a dot
/// (`wsgi.url_scheme`) in lower case, else (`REMOTE_ADDR`) in upper case.
fn variable(name: &str) -> String {
    if name.contains('.') { name.to_ascii_lowercase() } else { name.to_ascii_uppercase() }
}

fn render_atom(out: &mut Vec<u8>, atom: Atom, source: &impl AccessSource) {
    let took_us = || source.took_ns() / 1000;
    match atom {
        Atom::RemoteAddr => known(out, source.remote_addr()),
        Atom::Ident => out.push(b'-'),
        Atom::User => {
            let authorization = source.environ("HTTP_AUTHORIZATION");
            match authorization.as_deref().and_then(basic_user) {
                Some(user) if !user.is_empty() => escape(out, &user),
                _ => out.push(b'-'),
            }
        }
        Atom::Time => {
            out.push(b'[');
            out.extend_from_slice(&source.time().clf());
            out.push(b']');
        }
        Atom::RequestLine => match source.request_line() {
            Some(line) => known(out, line),
            None => {
                known(out, source.method());
                out.push(b' ');
                known(out, source.target());
                out.push(b' ');
                known(out, source.protocol());
            }
        },
        Atom::Method => known(out, source.method()),
        Atom::Path => escape(out, source.path()),
        Atom::Query => escape(out, source.query()),
        Atom::Protocol => known(out, source.protocol()),
        Atom::Status => number(out, source.status().into()),
        Atom::Sent => number(out, source.sent()),
        Atom::Referer => maybe(out, source.environ("HTTP_REFERER")),
        Atom::UserAgent => maybe(out, source.environ("HTTP_USER_AGENT")),
        Atom::Seconds => number(out, took_us() / 1_000_000),
        Atom::Millis => number(out, took_us() / 1000),
        Atom::Micros => number(out, took_us()),
        Atom::DecimalSeconds => {
            number(out, took_us() / 1_000_000);
            out.push(b'.');
            let fraction = took_us() % 1_000_000;
            let digits = [100_000, 10_000, 1000, 100, 10, 1];
            out.extend(digits.map(|place| b'0' + (fraction / place % 10) as u8));
        }
        Atom::Pid => {
            out.push(b'<');
            number(out, source.pid().into());
            out.push(b'>');
        }
    }
}

fn number(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// What every request has: empty only when it was refused before it was read.
fn known(out: &mut Vec<u8>, value: &[u8]) {
    if value.is_empty() {
        out.push(b'-');
    } else {
        escape(out, value);
    }
}

/// What a request may have; an empty value is one.
fn maybe(out: &mut Vec<u8>, value: Option<Cow<'_, [u8]>>) {
    match value {
        Some(value) => escape(out, &value),
        None => out.push(b'-'),
    }
}

/// Append `value` so that it ends no field and no line, and so that it can be read back.
fn escape(out: &mut Vec<u8>, value: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let is_plain = |b: u8| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\';
    let mut rest = value;
    loop {
        let plain = rest.iter().position(|&b| !is_plain(b)).unwrap_or(rest.len());
        out.extend_from_slice(&rest[..plain]);
        let Some((&octet, after)) = rest[plain..].split_first() else { return };
        match octet {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', octet]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                let digits = [HEX[usize::from(octet >> 4)], HEX[usize::from(octet & 15)]];
                out.extend_from_slice(b"\\x");
                out.extend_from_slice(&digits);
            }
        }
        rest = after;
    }
}

/// The user of a Basic authorization (RFC 7617), if it is UTF-8.
fn basic_user(authorization: &[u8]) -> Option<Vec<u8>> {
    let (scheme, rest) = authorization.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut user = base64(rest)?;
    let end = user.iter().position(|&b| b == b':').unwrap_or(user.len());
    user.truncate(end);
    std::str::from_utf8(&user).is_ok().then_some(user)
}

/// Decode base64 (RFC 4648 section 4) as leniently as Python does for gunicorn: characters outside
/// the alphabet are skipped and padding ends the text; what lacks octets or padding is refused.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut have, mut pads) = (0_u8, 0, 0);
    for &c in text {
        let six = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' if have >= 2 => {
                pads += 1;
                if have + pads >= 4 {
                    return Some(out);
                }
                continue;
            }
            _ => continue,
        };
        pads = 0;
        // `bits` are what is left of the last character: 6, 4, then 2 of them.
        match have {
            0 => {}
            1 => out.push(bits << 2 | six >> 4),
            2 => out.push(bits << 4 | six >> 2),
            _ => out.push(bits << 6 | six),
        }
        (bits, have) = (six, (have + 1) % 4);
    }
    (have == 0).then_some(out)
}

#[cfg(test)]
mod tests;
