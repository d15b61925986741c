//! The head of a response: what start_response was told, checked and copied.
//!
//! The fields are kept in wire form ("Name: value" CRLF), which all fronts share, with an index for
//! those who want them one by one.  A refused head changes nothing.

use crate::base::error::{Error, Kind, Result};
use crate::base::octets::Pair;
use crate::wire::ResponseHead;

use super::abi::{RESPONSE_REPLACE, Response};

/// Octets of header fields that one response may have: more is a mistake of the application.
const MAX_FIELDS: usize = 256 * 1024;

/// Where a field lies in the block.
#[derive(Clone, Copy, Debug)]
struct Place {
    name: u32,
    name_len: u32,
    value_len: u32,
}

/// The head of a response while an application composes it.
#[derive(Debug, Default)]
pub struct Head {
    status: u16,
    started: bool,
    reason: Vec<u8>,
    block: Vec<u8>,
    index: Vec<Place>,
    content_length: Option<u64>,
    has_date: bool,
}

impl Head {
    /// Whether start_response was called.
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// The status; 0 before start_response.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The application's own Content-Length.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
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
        self.index.iter().map(|place| {
            let name = place.name as usize;
            let value = name + place.name_len as usize + 2;
            let end = value + place.value_len as usize;
            (&self.block[name..value - 2], &self.block[value..end])
        })
    }

    /// Forget everything.
    pub fn clear(&mut self) {
        self.status = 0;
        self.started = false;
        self.empty();
    }

    fn empty(&mut self) {
        self.reason.clear();
        self.block.clear();
        self.index.clear();
        self.content_length = None;
        self.has_date = false;
    }

    /// What start_response said.  `committed`: the head is already on its way.
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
        let checked = check(head)?;
        self.empty();
        self.copy(head);
        self.content_length = checked.content_length;
        self.has_date = checked.has_date;
        self.started = true;
        Ok(())
    }

    /// An interim response (1xx), which is sent at once: checked, and copied into `self`, which is
    /// then only good for `as_wire`.
    pub fn set_interim(&mut self, head: &Response<'_>) -> Result<()> {
        let checked = check(head)?;
        if checked.content_length.is_some() {
            return Err(bad_field(b"Content-Length", "a 1xx response has no body"));
        }
        self.empty();
        self.copy(head);
        Ok(())
    }

    fn copy(&mut self, head: &Response<'_>) {
        self.status = head.status;
        self.reason.extend_from_slice(head.reason.as_slice());
        for Pair { name, value } in head.headers() {
            let (name, value) = (name.as_slice(), trim(value.as_slice()));
            if is(name, b"content-length") {
                continue;
            }
            self.index.push(Place {
                name: self.block.len() as u32,
                name_len: name.len() as u32,
                value_len: value.len() as u32,
            });
            self.block.reserve(name.len() + value.len() + 4);
            self.block.extend_from_slice(name);
            self.block.extend_from_slice(b": ");
            self.block.extend_from_slice(value);
            self.block.extend_from_slice(b"\r\n");
        }
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

/// What the checks found on their way.
#[derive(Default)]
struct Checked {
    content_length: Option<u64>,
    has_date: bool,
}

fn check(head: &Response<'_>) -> Result<Checked> {
    if !(100..=999).contains(&head.status) {
        return Err(Error::new(
            Kind::Protocol,
            format!("start_response: {} is not a status (100 to 999)", head.status),
        ));
    }
    if !is_text(head.reason.as_slice()) {
        return Err(Error::new(
            Kind::Protocol,
            "start_response: the reason phrase has a control character",
        ));
    }
    let mut checked = Checked::default();
    let mut size = 0;
    for pair in head.headers() {
        let (name, value) = (pair.name.as_slice(), pair.value.as_slice());
        check_field(name, value, &mut checked)?;
        size += name.len() + value.len() + 4;
    }
    if size > MAX_FIELDS {
        return Err(Error::new(
            Kind::Limit,
            format!("start_response: {size} octets of header fields, of {MAX_FIELDS} allowed"),
        ));
    }
    Ok(checked)
}

fn check_field(name: &[u8], value: &[u8], checked: &mut Checked) -> Result<()> {
    if !is_token(name) {
        return Err(bad_field(name, "the name is not a token"));
    }
    if !is_text(value) {
        return Err(bad_field(name, "the value has a control character"));
    }
    match name.len() {
        4 if is(name, b"date") => checked.has_date = true,
        14 if is(name, b"content-length") => {
            let length = decimal(trim(value))
                .ok_or_else(|| bad_field(name, "the value is not a decimal number"))?;
            if checked.content_length.is_some_and(|other| other != length) {
                return Err(bad_field(name, "given twice with different values"));
            }
            checked.content_length = Some(length);
        }
        2 | 7 | 10 | 16 | 17 | 18 | 19 if is_hop_by_hop(name) => {
            return Err(bad_field(name, "hop-by-hop: the connection is the server's business"));
        }
        _ => {}
    }
    Ok(())
}

/// PEP 3333: "Other HTTP Features".
fn is_hop_by_hop(name: &[u8]) -> bool {
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

/// An error that names the field but not its value, which may be a secret or an attack.
fn bad_field(name: &[u8], why: &str) -> Error {
    let shown = &name[..name.len().min(64)];
    Error::new(
        Kind::Protocol,
        format!("start_response: header \"{}\": {why}", shown.escape_ascii()),
    )
}

fn trim(value: &[u8]) -> &[u8] {
    value.trim_ascii()
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

const TOKEN: u8 = 1;
const TEXT: u8 = 2;

/// RFC 9110 sections 5.6.2 (token) and 5.5 (field value: visible, obs-text, space, tab).
static CLASS: [u8; 256] = {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        let c = octet as u8;
        if c.is_ascii_alphanumeric()
            || matches!(c, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.')
            || matches!(c, b'^' | b'_' | b'`' | b'|' | b'~')
        {
            table[octet] |= TOKEN;
        }
        if c >= 0x20 && c != 0x7f || c == b'\t' {
            table[octet] |= TEXT;
        }
        octet += 1;
    }
    table
};

fn all(text: &[u8], class: u8) -> bool {
    text.iter().fold(class, |seen, octet| seen & CLASS[usize::from(*octet)]) == class
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && all(text, TOKEN)
}

fn is_text(text: &[u8]) -> bool {
    all(text, TEXT)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
