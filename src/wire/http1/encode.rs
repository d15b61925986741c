//! Responses of HTTP/1: the status line, the framing (RFC 9112 section 6) and whether the
//! connection goes on (section 9.3).
//!
//! The version is always HTTP/1.1, what we speak, whatever was asked (RFC 9110 section 2.5).

use super::status::{reason_phrase, status_line};
use crate::base::buf::append;
use crate::wire::{Asked, BodyMode, Encoder as Encode, Framed, ResponseHead, Version};

/// Responses of HTTP/1.
#[derive(Clone, Copy, Debug, Default)]
pub struct Encoder;

impl Encode for Encoder {
    fn interim(&self, out: &mut Vec<u8>, head: &ResponseHead<'_>) {
        debug_assert!((100..200).contains(&head.status), "an interim status");
        status(out, head);
        out.extend_from_slice(b"\r\n");
    }

    #[inline(always)]
    fn head(
        &self,
        out: &mut Vec<u8>,
        asked: &Asked,
        head: &ResponseHead<'_>,
        known: Option<u64>,
        date: &[u8; 29],
    ) -> Framed {
        let framing = framing(asked, head, known);
        status(out, head);
        if !head.has_date {
            append(out, [b"Date: ", date, b"\r\n"]);
        }
        if let Some(length) = framing.length {
            let mut digits = itoa::Buffer::new();
            append(out, [b"Content-Length: ", digits.format(length).as_bytes(), b"\r\n"]);
        }
        if framing.body == BodyMode::Chunked {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        }
        if !framing.keep_alive {
            out.extend_from_slice(b"Connection: close\r\n");
        } else if asked.version == Version::Http10 {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
        out.extend_from_slice(b"\r\n");
        Framed { body: framing.body, keep_alive: framing.keep_alive }
    }

    #[inline]
    fn before(&self, out: &mut Vec<u8>, mode: BodyMode, len: u64) {
        debug_assert!(len > 0, "an empty chunk would end the body");
        if mode == BodyMode::Chunked {
            chunk_size(out, len);
        }
    }

    #[inline]
    fn after(&self, out: &mut Vec<u8>, mode: BodyMode) {
        if mode == BodyMode::Chunked {
            out.extend_from_slice(b"\r\n");
        }
    }

    #[inline]
    fn end(&self, out: &mut Vec<u8>, mode: BodyMode) {
        if mode == BodyMode::Chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
    }
}

/// Append with `encoder` a whole small response in plain text: the status, and why ("400 Bad Request: bare LF in
/// the request head").  `why` may be empty, and holds neither secrets nor octets of the client.
/// `retry_after` is in seconds.  `asked.keep_alive` decides about the connection.
pub fn error_response(
    encoder: &impl Encode,
    out: &mut Vec<u8>,
    asked: &Asked,
    status: u16,
    why: &str,
    retry_after: Option<u32>,
    date: &[u8; 29],
) -> Framed {
    let mut fields = b"Content-Type: text/plain; charset=utf-8\r\n".to_vec();
    if let Some(seconds) = retry_after {
        fields.extend_from_slice(b"Retry-After: ");
        fields.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
        fields.extend_from_slice(b"\r\n");
    }
    let mut body = itoa::Buffer::new().format(status).as_bytes().to_vec();
    for (before, text) in [(" ", reason_phrase(status)), (": ", why)] {
        if !text.is_empty() {
            body.extend_from_slice(before.as_bytes());
            body.extend_from_slice(text.as_bytes());
        }
    }
    body.push(b'\n');
    let head = ResponseHead {
        status,
        reason: b"",
        fields: &fields,
        content_length: None,
        has_date: false,
    };
    let len = body.len() as u64;
    let framed = encoder.head(out, asked, &head, Some(len), date);
    if framed.body != BodyMode::Absent {
        encoder.before(out, framed.body, len);
        out.extend_from_slice(&body);
        encoder.after(out, framed.body);
    }
    encoder.end(out, framed.body);
    framed
}

/// How a response is framed, and what its head says about it.
pub(crate) struct Framing {
    /// What Content-Length says.
    pub(crate) length: Option<u64>,
    pub(crate) body: BodyMode,
    pub(crate) keep_alive: bool,
}

/// RFC 9110 sections 8.6 and 15, RFC 9112 section 6.
#[inline]
pub(crate) fn framing(asked: &Asked, head: &ResponseHead<'_>, known: Option<u64>) -> Framing {
    let keep_alive = asked.keep_alive && !asked.is_connect;
    let length = head.content_length.or(known);
    let absent = |length| Framing { length, body: BodyMode::Absent, keep_alive };
    match head.status {
        // No content, and nothing that could be taken for a length.
        100..200 | 204 => return absent(None),
        205 => return absent(Some(0)),
        // The length of what a 200 would have carried; an empty body says nothing about that.
        304 => return absent(head.content_length),
        200..300 if asked.is_connect => {
            return Framing { length: None, body: BodyMode::Close, keep_alive: false };
        }
        _ => {}
    }
    if asked.is_head {
        return absent(length);
    }
    match length {
        Some(n) => Framing { length, body: BodyMode::Length(n), keep_alive },
        None if asked.version == Version::Http11 => {
            Framing { length, body: BodyMode::Chunked, keep_alive }
        }
        None => Framing { length, body: BodyMode::Close, keep_alive: false },
    }
}

/// The status line and the fields that are given.
#[inline(always)]
fn status(out: &mut Vec<u8>, head: &ResponseHead<'_>) {
    let line = status_line(head.status).as_bytes();
    if head.reason.is_empty() && !line.is_empty() {
        append(out, [line, head.fields]);
        return;
    }
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(head.status).as_bytes();
    // The space stays where there is no phrase: RFC 9112 section 4.
    append(out, [b"HTTP/1.1 ", digits, b" ", head.reason, b"\r\n", head.fields]);
}

/// The same behind another word than the version's.
pub(crate) fn put_status(out: &mut Vec<u8>, word: &[u8], head: &ResponseHead<'_>) {
    let phrase = match head.reason {
        b"" => reason_phrase(head.status).as_bytes(),
        reason => reason,
    };
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(head.status).as_bytes();
    append(out, [word, digits, b" ", phrase, b"\r\n", head.fields]);
}

/// `len` in hexadecimal, and CRLF.
#[inline]
fn chunk_size(out: &mut Vec<u8>, len: u64) {
    let mut line = *b"0000000000000000\r\n";
    let digits = (16 - len.leading_zeros() as usize / 4).max(1);
    for (at, octet) in line[16 - digits..16].iter_mut().enumerate() {
        *octet = b"0123456789abcdef"[(len >> (4 * (digits - 1 - at)) & 15) as usize];
    }
    out.extend_from_slice(&line[16 - digits..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_sizes() {
        for len in [0, 1, 9, 10, 15, 16, 255, 4096, 65_535, 1 << 20, u64::from(u32::MAX), u64::MAX]
        {
            let mut out = Vec::new();
            chunk_size(&mut out, len);
            assert_eq!(out, format!("{len:x}\r\n").into_bytes());
        }
    }
}
