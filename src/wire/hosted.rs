//! The answer on its way to a foreign server in whose process we are: heads as records, bodies as they
//! are.  The other end is [`Record::read`], so that nothing here is ever a stranger's.

use memchr::memchr;

use super::http1::framing;
use super::{Asked, Framed, ResponseHead};
use crate::base::buf::append;

/// Appends to what the foreign server takes.
#[derive(Clone, Copy, Debug)]
pub struct Encoder;

/// Octets of a record before its texts: status, kind, and the lengths of reason and fields.
const FIXED: usize = 12;

const INTERIM: u16 = 1;
const FINAL: u16 = 2;

/// A head as it was put down.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// 100 to 999.
    pub status: u16,
    /// Whether another follows.
    pub is_interim: bool,
    /// Empty: the standard phrase.
    pub reason: &'a [u8],
    fields: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record at the front of these octets, and how many are its; none: there is not a whole one.
    pub fn read(octets: &'a [u8]) -> Option<(Self, usize)> {
        let (fixed, texts) = octets.split_first_chunk::<FIXED>()?;
        let [a, b, c, d, reason @ .., e, f, g, h] = *fixed;
        let reason = u32::from_ne_bytes(reason) as usize;
        let fields = u32::from_ne_bytes([e, f, g, h]) as usize;
        let record = Record {
            status: u16::from_ne_bytes([a, b]),
            is_interim: u16::from_ne_bytes([c, d]) == INTERIM,
            reason: texts.get(..reason)?,
            fields: texts.get(reason..)?.get(..fields)?,
        };
        Some((record, FIXED + reason + fields))
    }

    /// The header fields, in order, with Content-Length where it is known.
    pub fn fields(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.fields;
        std::iter::from_fn(move || {
            let (name, after) = rest.split_at(memchr(b':', rest)?);
            let after = &after[b": ".len()..];
            let (value, after) = after.split_at(memchr(b'\r', after)?);
            rest = &after[b"\r\n".len()..];
            Some((name, value))
        })
    }
}

fn put(out: &mut Vec<u8>, kind: u16, head: &ResponseHead<'_>, length: Option<u64>) {
    let mut digits = itoa::Buffer::new();
    let length: [&[u8]; 3] = match length {
        Some(length) => [b"Content-Length: ", digits.format(length).as_bytes(), b"\r\n"],
        None => [b""; 3],
    };
    let fields = head.fields.len() + length.iter().map(|text| text.len()).sum::<usize>();
    let (reason, fields) =
        ((head.reason.len() as u32).to_ne_bytes(), (fields as u32).to_ne_bytes());
    let (status, kind) = (head.status.to_ne_bytes(), kind.to_ne_bytes());
    append(out, [&status, &kind, &reason, &fields, head.reason, head.fields]);
    append(out, length);
}

impl super::Encoder for Encoder {
    fn interim(&self, out: &mut Vec<u8>, head: &ResponseHead<'_>) {
        put(out, INTERIM, head, None);
    }

    fn head(
        &self,
        out: &mut Vec<u8>,
        asked: &Asked,
        head: &ResponseHead<'_>,
        known: Option<u64>,
        _date: &[u8; 29],
    ) -> Framed {
        // Chunks are the foreign server's business: without a length the end is the end.
        let asked = Asked { version: super::Version::Http10, keep_alive: false, ..*asked };
        let framing = framing(&asked, head, known);
        put(out, FINAL, head, framing.length);
        Framed { body: framing.body, keep_alive: false }
    }
}

#[cfg(test)]
mod tests {
    use super::super::BodyMode;
    use super::super::Encoder as _;
    use super::*;

    const DATE: &[u8; 29] = b"Sun, 06 Nov 1994 08:49:37 GMT";

    fn head<'a>(status: u16, reason: &'a [u8], fields: &'a [u8]) -> ResponseHead<'a> {
        ResponseHead { status, reason, fields, content_length: None, has_date: false }
    }

    #[test]
    fn what_was_put_down_is_read() {
        let mut out = Vec::new();
        Encoder.interim(&mut out, &head(103, b"", b"Link: </a>\r\n"));
        let first = out.len();
        let framed = Encoder.head(
            &mut out,
            &Asked::default(),
            &head(299, b"Fine: \"so\"", b"A: b\r\nC: d:e\r\n"),
            Some(5),
            DATE,
        );
        assert_eq!(framed, Framed { body: BodyMode::Length(5), keep_alive: false });
        let end = out.len();
        out.extend_from_slice(b"body!");

        let (record, len) = Record::read(&out).unwrap();
        assert_eq!((record.status, record.is_interim, len), (103, true, first));
        assert_eq!(record.fields().collect::<Vec<_>>(), [(&b"Link"[..], &b"</a>"[..])]);
        let (record, len) = Record::read(&out[first..]).unwrap();
        assert_eq!((record.status, record.is_interim, first + len), (299, false, end));
        assert_eq!(record.reason, b"Fine: \"so\"");
        let fields: Vec<_> = record.fields().collect();
        let expected = [("A", "b"), ("C", "d:e"), ("Content-Length", "5")];
        assert_eq!(fields, expected.map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        for cut in 0..first {
            assert!(Record::read(&out[..cut]).is_none(), "{cut}");
        }
    }

    #[test]
    fn heads_without_a_body_say_so() {
        let mode = |status, is_head, known| {
            let asked = Asked { is_head, ..Asked::default() };
            Encoder.head(&mut Vec::new(), &asked, &head(status, b"", b""), known, DATE).body
        };
        for status in [204, 304] {
            assert_eq!(mode(status, false, Some(0)), BodyMode::Absent);
        }
        assert_eq!(mode(200, true, Some(7)), BodyMode::Absent);
        assert_eq!(mode(200, false, None), BodyMode::Close);
    }
}
