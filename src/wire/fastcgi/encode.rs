//! Responses to records: a CGI head and a body on STDOUT, complaints on STDERR, an end.

use super::record::{CONTENT_MAX, HEAD, Head, Kind};
use crate::wire::{Asked, BodyMode, Encoder as Encode, Framed, ResponseHead, cgi};

/// How a request ended, for the web server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum End {
    /// It has its answer (or what there is of it: then the application's status is not 0).
    Complete = 0,
    /// There are too many on this connection.
    CannotMultiplex = 1,
    /// There are too many.
    Overloaded = 2,
    /// It is not for a responder.
    UnknownRole = 3,
}

/// The status of an application that did not give its whole answer.
pub const CUT: u32 = 1;

/// Responses to the request with this id.
#[derive(Clone, Copy, Debug)]
pub struct Encoder {
    /// The request's.
    pub id: u16,
}

/// The end of request `id`; `status` as a process that exits.
pub fn end_request(out: &mut Vec<u8>, id: u16, status: u32, end: End) {
    let [a, b, c, d] = status.to_be_bytes();
    out.extend_from_slice(&Head::octets(Kind::EndRequest, id, 8));
    out.extend_from_slice(&[a, b, c, d, end as u8, 0, 0, 0]);
}

/// The one line for the web server's error log: all of STDERR.
pub fn stderr(out: &mut Vec<u8>, id: u16, text: &[u8]) {
    let text = &text[..text.len().min(CONTENT_MAX)];
    if !text.is_empty() {
        out.extend_from_slice(&Head::octets(Kind::Stderr, id, text.len()));
        out.extend_from_slice(text);
        out.extend_from_slice(&Head::octets(Kind::Stderr, id, 0));
    }
}

impl Encoder {
    /// The end of an answer, and how it came.
    fn close(self, out: &mut Vec<u8>, status: u32, end: End) {
        out.extend_from_slice(&Head::octets(Kind::Stdout, self.id, 0));
        end_request(out, self.id, status, end);
    }
}

impl Encode for Encoder {
    fn interim(&self, _out: &mut Vec<u8>, _head: &ResponseHead<'_>) {}

    fn head(
        &self,
        out: &mut Vec<u8>,
        asked: &Asked,
        head: &ResponseHead<'_>,
        known: Option<u64>,
        date: &[u8; 29],
    ) -> Framed {
        let start = out.len();
        out.extend_from_slice(&Head::octets(Kind::Stdout, self.id, 0));
        let framed = cgi::Encoder::Field.head(out, asked, head, known, date);
        frame(out, start, self.id);
        // Without a length the record that ends STDOUT says where the body ends.
        Framed { keep_alive: asked.keep_alive, ..framed }
    }

    #[inline]
    fn before(&self, out: &mut Vec<u8>, _mode: BodyMode, len: u64) {
        debug_assert!(len > 0 && len <= self.piece(), "an empty record would end the body");
        out.extend_from_slice(&Head::octets(Kind::Stdout, self.id, len as usize));
    }

    #[inline]
    fn end(&self, out: &mut Vec<u8>, _mode: BodyMode) {
        self.close(out, 0, End::Complete);
    }

    fn end_busy(&self, out: &mut Vec<u8>, _mode: BodyMode) {
        self.close(out, 0, End::Overloaded);
    }

    fn complain(&self, out: &mut Vec<u8>, text: &[u8]) {
        stderr(out, self.id, text);
    }

    fn ends_bodies(&self) -> bool {
        true
    }

    fn cut(&self, out: &mut Vec<u8>) {
        self.close(out, CUT, End::Complete);
    }

    #[inline]
    fn piece(&self) -> u64 {
        CONTENT_MAX as u64
    }
}

/// What stands from `start` on, a head of a record first, becomes as many records as it takes.
fn frame(out: &mut Vec<u8>, start: usize, id: u16) {
    let mut at = start;
    loop {
        let left = out.len() - at - HEAD;
        let len = left.min(CONTENT_MAX);
        out[at..at + HEAD].copy_from_slice(&Head::octets(Kind::Stdout, id, len));
        if len == left {
            return;
        }
        at += HEAD + len;
        out.splice(at..at, [0; HEAD]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The records: type, id, content.
    fn records(mut octets: &[u8]) -> Vec<(u8, u16, Vec<u8>)> {
        let mut found = Vec::new();
        while let Some(head) = Head::read(octets) {
            let content = octets[HEAD..HEAD + usize::from(head.len)].to_vec();
            found.push((head.kind, head.id, content));
            octets = &octets[head.size()..];
        }
        assert!(octets.is_empty());
        found
    }

    fn head(fields: &[u8], id: u16) -> (Vec<u8>, Framed) {
        let head = ResponseHead {
            status: 200,
            reason: b"",
            fields,
            content_length: None,
            has_date: false,
        };
        let asked = Asked { keep_alive: true, ..Asked::default() };
        let mut out = b"x".to_vec();
        let framed = Encoder { id }.head(&mut out, &asked, &head, None, &[b' '; 29]);
        assert_eq!(out.remove(0), b'x');
        (out, framed)
    }

    #[test]
    fn an_answer_is_records() {
        let encoder = Encoder { id: 258 };
        let (mut out, framed) = head(b"A: b\r\n", 258);
        assert_eq!(framed, Framed { body: BodyMode::Close, keep_alive: true });
        encoder.before(&mut out, framed.body, 5);
        out.extend_from_slice(b"hello");
        encoder.after(&mut out, framed.body);
        encoder.end(&mut out, framed.body);
        assert_eq!(
            records(&out),
            [
                (6, 258, b"Status: 200 OK\r\nA: b\r\n\r\n".to_vec()),
                (6, 258, b"hello".to_vec()),
                (6, 258, vec![]),
                (3, 258, vec![0; 8]),
            ]
        );
    }

    #[test]
    fn a_long_head_is_several_records() {
        let fields = format!("A: {}\r\n", "x".repeat(150_000));
        let (out, _) = head(fields.as_bytes(), 1);
        let records = records(&out);
        assert_eq!(records.len(), 3);
        let whole: Vec<u8> = records.into_iter().flat_map(|(_, _, content)| content).collect();
        assert_eq!(whole, format!("Status: 200 OK\r\n{fields}\r\n").into_bytes());
    }

    #[test]
    fn ends_and_complaints() {
        let mut out = Vec::new();
        stderr(&mut out, 3, b"oh");
        end_request(&mut out, 3, 0x0102_0304, End::Overloaded);
        let end = vec![1, 2, 3, 4, 2, 0, 0, 0];
        assert_eq!(records(&out), [(7, 3, b"oh".to_vec()), (7, 3, vec![]), (3, 3, end)]);
        out.clear();
        Encoder { id: 3 }.complain(&mut out, b"");
        Encoder { id: 3 }.cut(&mut out);
        Encoder { id: 4 }.end_busy(&mut out, BodyMode::Close);
        let (cut, busy) = (vec![0, 0, 0, 1, 0, 0, 0, 0], vec![0, 0, 0, 0, 2, 0, 0, 0]);
        let expected = [(6, 3, vec![]), (3, 3, cut), (6, 4, vec![]), (3, 4, busy)];
        assert_eq!(records(&out), expected);
    }
}
