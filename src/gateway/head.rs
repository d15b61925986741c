//! The head of a response: what start_response was told, checked and copied.
//!
//! The fields are kept in wire form ("Name: value" CRLF), which all fronts share.  A refused head
//! changes nothing.

use memchr::memchr;

use crate::base::buf::append;
use crate::base::error::{Error, Kind, Result};
use crate::base::octets::Pair;
use crate::wire::ResponseHead;
use crate::wire::http1::{decimal, is_field_value, is_token};

use super::abi::{RESPONSE_REPLACE, Response};

/// Octets of header fields that one response may have: more is a mistake of the application.
const MAX_FIELDS: usize = 256 * 1024;

/// The head of a response while an application composes it.
#[derive(Debug, Default)]
pub struct Head {
    status: u16,
    started: bool,
    reason: Vec<u8>,
    block: Vec<u8>,
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
        let mut rest = &self.block[..];
        std::iter::from_fn(move || {
            let (name, after) = rest.split_at(memchr(b':', rest)?);
            let after = &after[b": ".len()..];
            let (value, after) = after.split_at(memchr(b'\r', after)?);
            rest = &after[b"\r\n".len()..];
            Some((name, value))
        })
    }

    /// Forget everything.
    pub fn clear(&mut self) {
        self.status = 0;
        self.started = false;
        self.reason.clear();
        self.block.clear();
        self.content_length = None;
        self.has_date = false;
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
            self.clear();
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

    /// Check the head, and copy it into `self`, which is empty; after an error it holds a part.
    fn take(&mut self, head: &Response<'_>) -> Result<()> {
        self.status = head.status;
        if !(100..=999).contains(&head.status) {
            return Err(bad_status(head.status));
        }
        let reason = head.reason.as_slice();
        if !reason.is_empty() {
            if !is_field_value(reason) {
                return Err(Error::new(
                    Kind::Protocol,
                    "start_response: the reason phrase has a control character",
                ));
            }
            self.reason.extend_from_slice(reason);
        }
        let mut size = 0;
        for Pair { name, value } in head.headers() {
            let (name, value) = (name.as_slice(), value.as_slice());
            if !is_token(name) {
                return Err(bad_field(name, "the name is not a token"));
            }
            if !is_field_value(value) {
                return Err(bad_field(name, "the value has a control character"));
            }
            size += name.len() + value.len() + 4;
            if size > MAX_FIELDS {
                return Err(too_many(head.headers()));
            }
            match name.len() {
                4 if is(name, b"date") => self.has_date = true,
                14 if is(name, b"content-length") => {
                    self.take_length(name, value)?;
                    continue;
                }
                2 | 7 | 10 | 16 | 17 | 18 | 19 if is_hop_by_hop(name) => {
                    let why = "hop-by-hop: the connection is the server's business";
                    return Err(bad_field(name, why));
                }
                _ => {}
            }
            append(&mut self.block, [name, b": ", trim(value), b"\r\n"]);
        }
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
