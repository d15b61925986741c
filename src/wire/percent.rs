//! Percent-decoding of paths (RFC 3986 section 2.1).  Octets in, octets out: what they mean is the
//! application's business.
//!
//! A decoder of requests has refused malformed sequences before anything comes here; should one
//! come anyway, its percent sign stays as it is.

use memchr::memchr;

/// Whether `path` has anything to decode.
#[inline]
pub fn needs_decoding(path: &[u8]) -> bool {
    memchr(b'%', path).is_some()
}

/// Append `path`, decoded, to `out`.  Adds at most `path.len()` octets.
pub fn decode_into(path: &[u8], out: &mut Vec<u8>) {
    out.reserve(path.len());
    for_each_piece(path, |piece| out.extend_from_slice(piece));
}

/// Write `path`, decoded, to the front of `out`, and say how many octets that were.  `out` must
/// have room for `path.len()` octets: what does not fit is left out.
pub fn decode_to_slice(path: &[u8], out: &mut [u8]) -> usize {
    let mut len = 0;
    for_each_piece(path, |piece| {
        let fits = piece.len().min(out.len() - len);
        out[len..len + fits].copy_from_slice(&piece[..fits]);
        len += fits;
    });
    len
}

/// Append `path`, encoded where an octet could not stand in the path of a target, to `out`.
pub fn encode_path(path: &[u8], out: &mut Vec<u8>) {
    for octet in path {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' => out.push(*octet),
            // RFC 3986 section 3.3: pchar without "%", and "/".
            _ if b"-._~!$&'()*+,;=:@/".contains(octet) => out.push(*octet),
            _ => {
                let digit = |n: u8| b"0123456789ABCDEF"[usize::from(n & 15)];
                out.extend_from_slice(&[b'%', digit(octet >> 4), digit(*octet)]);
            }
        }
    }
}

/// Hand out the runs between percent signs and the decoded octets, in order.
#[inline]
fn for_each_piece(path: &[u8], mut give: impl FnMut(&[u8])) {
    let mut rest = path;
    while let Some(at) = memchr(b'%', rest) {
        give(&rest[..at]);
        rest = &rest[at..];
        match rest {
            [_, high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                give(&[hex_value(*high) << 4 | hex_value(*low)]);
                rest = after;
            }
            _ => {
                give(&rest[..1]);
                rest = &rest[1..];
            }
        }
    }
    give(rest);
}

/// The value of a hexadecimal digit.
#[inline]
fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(path: &[u8]) -> Vec<u8> {
        let mut out = b"kept:".to_vec();
        decode_into(path, &mut out);
        let mut slice = vec![0; path.len()];
        let len = decode_to_slice(path, &mut slice);
        assert_eq!(&slice[..len], &out[5..], "the two ways agree");
        assert_eq!(&out[..5], b"kept:");
        out.split_off(5)
    }

    #[test]
    fn decodes_octets() {
        assert_eq!(decoded(b""), b"");
        assert_eq!(decoded(b"/plain"), b"/plain");
        assert_eq!(decoded(b"%2F%2f"), b"//");
        assert_eq!(decoded(b"/caf%C3%A9/%ff"), b"/caf\xc3\xa9/\xff");
        assert_eq!(decoded(b"/a%20b%25c"), b"/a b%c");
        assert_eq!(decoded(b"/a+b"), b"/a+b", "a plus sign is no space in a path");
        assert_eq!(decoded(b"%2541"), b"%41", "decoded once, not twice");
    }

    #[test]
    fn leaves_malformed_sequences() {
        assert_eq!(decoded(b"%"), b"%");
        assert_eq!(decoded(b"%4"), b"%4");
        assert_eq!(decoded(b"%zz%41"), b"%zzA");
        assert_eq!(decoded(b"%%41"), b"%A");
        assert_eq!(decoded(b"100%"), b"100%");
    }

    #[test]
    fn every_octet_survives() {
        for octet in 0..=255_u8 {
            assert_eq!(decoded(format!("%{octet:02x}").as_bytes()), [octet]);
            assert_eq!(decoded(format!("%{octet:02X}").as_bytes()), [octet]);
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let all: Vec<u8> = (0..=255).collect();
        let mut encoded = Vec::new();
        encode_path(&all, &mut encoded);
        assert!(encoded.iter().all(u8::is_ascii_graphic));
        assert!(!encoded.contains(&b'?'));
        assert_eq!(decoded(&encoded), all);
        encode_path(b"/a b%", &mut encoded);
        assert!(encoded.ends_with(b"/a%20b%25"));
    }

    #[test]
    fn says_whether_it_is_needed() {
        assert!(needs_decoding(b"/%41"));
        assert!(!needs_decoding(b"/a/b"));
    }

    #[test]
    fn a_short_slice_is_no_panic() {
        let mut out = [0; 2];
        assert_eq!(decode_to_slice(b"abc%41", &mut out), 2);
        assert_eq!(&out, b"ab");
    }
}
