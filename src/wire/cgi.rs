//! Responses as CGI has them (RFC 3875 section 6), for a web server that makes HTTP of them: a
//! status, header fields, and a body that ends with the connection unless it has a length.

use super::http1::{framing, put_status};
use super::{Asked, Encoder as Encode, Framed, ResponseHead, Version};
use crate::base::buf::append;

/// How the status is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoder {
    /// In a field, `Status: 200 OK`: CGI, SCGI, FastCGI.
    Field,
    /// In a line, `HTTP/1.1 200 OK`: uwsgi.
    Line,
}

impl Encode for Encoder {
    /// There is no way to say it: nothing.
    fn interim(&self, _out: &mut Vec<u8>, _head: &ResponseHead<'_>) {}

    fn head(
        &self,
        out: &mut Vec<u8>,
        asked: &Asked,
        head: &ResponseHead<'_>,
        known: Option<u64>,
        _date: &[u8; 29],
    ) -> Framed {
        // Chunks, and what concerns the connection, are the web server's business; so is the date.
        let asked = Asked { version: Version::Http10, keep_alive: false, ..*asked };
        let framing = framing(&asked, head, known);
        match self {
            Encoder::Line => put_status(out, b"HTTP/1.1 ", head),
            Encoder::Field => put_status(out, b"Status: ", head),
        }
        if let Some(length) = framing.length {
            let mut digits = itoa::Buffer::new();
            append(out, [b"Content-Length: ", digits.format(length).as_bytes(), b"\r\n"]);
        }
        out.extend_from_slice(b"\r\n");
        Framed { body: framing.body, keep_alive: false }
    }
}

#[cfg(test)]
mod tests {
    use super::super::BodyMode;
    use super::*;

    fn head(encoder: Encoder, status: u16, reason: &[u8], known: Option<u64>) -> (String, Framed) {
        let head = ResponseHead {
            status,
            reason,
            fields: b"A: b\r\n",
            content_length: None,
            has_date: false,
        };
        let asked = Asked { version: Version::Http11, keep_alive: true, ..Asked::default() };
        let mut out = Vec::new();
        let framed = encoder.head(&mut out, &asked, &head, known, b"Sun, 06 Nov 1994 08:49:37 GMT");
        (String::from_utf8(out).unwrap(), framed)
    }

    #[test]
    fn heads_have_a_status_and_no_framing() {
        let closed = |body| Framed { body, keep_alive: false };
        for (encoder, status, reason, known, text, body) in [
            (
                Encoder::Field,
                200,
                &b""[..],
                Some(5),
                "Status: 200 OK\r\nA: b\r\nContent-Length: 5\r\n\r\n",
                BodyMode::Length(5),
            ),
            (
                Encoder::Field,
                299,
                b"Fine",
                None,
                "Status: 299 Fine\r\nA: b\r\n\r\n",
                BodyMode::Close,
            ),
            (Encoder::Field, 299, b"", None, "Status: 299 \r\nA: b\r\n\r\n", BodyMode::Close),
            (
                Encoder::Line,
                404,
                b"",
                None,
                "HTTP/1.1 404 Not Found\r\nA: b\r\n\r\n",
                BodyMode::Close,
            ),
            (
                Encoder::Line,
                304,
                b"",
                Some(5),
                "HTTP/1.1 304 Not Modified\r\nA: b\r\n\r\n",
                BodyMode::Absent,
            ),
        ] {
            assert_eq!(head(encoder, status, reason, known), (text.to_owned(), closed(body)));
        }
    }
}
