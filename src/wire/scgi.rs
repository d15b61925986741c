//! SCGI's head (the protocol's text of 2008): a netstring of names and values, each of which ends
//! with a NUL.

use memchr::memchr;

use super::params::{bad, over};
use super::{Limit, Params, Reject, Span};

/// Digits of a length that is taken for one: as many as 32 bits need.
const DIGITS_MAX: usize = 10;

/// How many octets the head at the front of `unread` has, its variables in `params`; `None`: there
/// is more to come.  `limit` is the most that it may have, 0 for as many as it can.
pub fn head(unread: &[u8], limit: usize, params: &mut Params) -> Result<Option<usize>, Reject> {
    let Some((start, len)) = length(unread)? else {
        return Ok(None);
    };
    // The netstring, and its comma.
    let end = start + len;
    if limit > 0 && end + 1 > limit {
        return Err(over(431, "the SCGI head is too long", Limit::Head));
    }
    let Some(comma) = unread.get(end) else {
        return Ok(None);
    };
    if *comma != b',' {
        return Err(bad("no comma after the SCGI head"));
    }
    let octets = &unread[..end];
    params.clear();
    let mut at = start;
    let mut is_scgi = false;
    while at < end {
        let is_first = at == start;
        let name = string(octets, &mut at)?;
        let value = string(octets, &mut at)?;
        if is_first && name.of(octets) != b"CONTENT_LENGTH" {
            return Err(bad("CONTENT_LENGTH is not the first of the SCGI head"));
        }
        if is_first && value.len == 0 {
            return Err(bad("CONTENT_LENGTH is not a number"));
        }
        if name.of(octets) == b"SCGI" {
            is_scgi = value.of(octets) == b"1";
        } else {
            params.push(name, value);
        }
    }
    if !is_scgi {
        return Err(bad("SCGI is not 1 in the SCGI head"));
    }
    Ok(Some(end + 1))
}

/// The head of a request with a body of `len` octets, as a web server sends it.
pub fn encode(len: &[u8], vars: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut head = [b"CONTENT_LENGTH\0", len, b"\0SCGI\x001\0"].concat();
    for text in vars.iter().flat_map(|(name, value)| [name, value]) {
        head.extend_from_slice(text);
        head.push(0);
    }
    let mut whole = format!("{}:", head.len()).into_bytes();
    whole.append(&mut head);
    whole.push(b',');
    whole
}

/// Where the netstring begins, and its length.
fn length(unread: &[u8]) -> Result<Option<(usize, usize)>, Reject> {
    let digits = unread.iter().take_while(|octet| octet.is_ascii_digit()).count();
    if digits > DIGITS_MAX {
        return Err(bad("the length of the SCGI head is no length"));
    }
    match unread.get(digits) {
        None => Ok(None),
        Some(b':') if digits > 0 && (unread[0] != b'0' || digits == 1) => {
            let len = unread[..digits].iter().fold(0_u64, |len, d| len * 10 + u64::from(d - b'0'));
            let len = u32::try_from(len).ok().filter(|len| *len < u32::MAX >> 1);
            let len = len.ok_or_else(|| over(431, "the SCGI head is too long", Limit::Head))?;
            Ok(Some((digits + 1, len as usize)))
        }
        Some(_) if unread[0].is_ascii_uppercase() => {
            Err(bad("HTTP was spoken to an SCGI listener"))
        }
        Some(_) => Err(bad("the length of the SCGI head is no length")),
    }
}

/// Octets up to a NUL.
fn string(octets: &[u8], at: &mut usize) -> Result<Span, Reject> {
    let len = memchr(0, &octets[*at..]).ok_or_else(|| bad("the SCGI head ends within a value"))?;
    let span = Span { start: *at as u32, len: len as u32 };
    *at += len + 1;
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn netstring(text: &str) -> Vec<u8> {
        format!("{}:{text},", text.len()).into_bytes()
    }

    fn read(octets: &[u8]) -> Result<Option<usize>, &'static str> {
        head(octets, 0, &mut Params::default()).map_err(|reject| reject.reason)
    }

    #[test]
    fn the_example_of_the_text_is_read() {
        let octets = netstring(
            "CONTENT_LENGTH\x0027\0SCGI\x001\0REQUEST_METHOD\0POST\0REQUEST_URI\0/deepthought\0\
             QUERY_STRING\0\0",
        );
        for len in 0..octets.len() {
            assert_eq!(read(&octets[..len]), Ok(None), "{len}");
        }
        let more = [&octets[..], b"What is the answer to life?"].concat();
        let mut params = Params::default();
        assert_eq!(head(&more, 0, &mut params), Ok(Some(octets.len())));
        let pairs: Vec<_> =
            params.others.iter().map(|it| (it.name.of(&more), it.value.of(&more))).collect();
        let expected: [(&[u8], &[u8]); 4] = [
            (b"CONTENT_LENGTH", b"27"),
            (b"REQUEST_METHOD", b"POST"),
            (b"REQUEST_URI", b"/deepthought"),
            (b"QUERY_STRING", b""),
        ];
        assert_eq!(pairs, expected);
    }

    #[test]
    fn nonsense_is_told_what_it_is() {
        for (octets, reason) in [
            (&b"01:"[..], "no length"),
            (b":", "no length"),
            (b"12345678901", "no length"),
            (b"1x", "no length"),
            (b"\0", "no length"),
            (b"GET / HTTP/1.1\r\n", "HTTP was spoken"),
            (b"9999999999:", "too long"),
            (b"2:ab;", "no comma"),
            (b"2:ab,", "within a value"),
            (b"0:,", "SCGI is not 1"),
        ] {
            let text = read(octets).unwrap_err();
            assert!(text.contains(reason), "{text}: {}", octets.escape_ascii());
        }
        for (text, reason) in [
            ("CONTENT_LENGTH\x000\0", "SCGI is not 1"),
            ("CONTENT_LENGTH\x000\0SCGI\x002\0", "SCGI is not 1"),
            ("SCGI\x001\0CONTENT_LENGTH\x000\0", "not the first"),
            ("CONTENT_LENGTH\0\0SCGI\x001\0", "not a number"),
            ("CONTENT_LENGTH\x000\0SCGI\0", "within a value"),
        ] {
            let told = read(&netstring(text)).unwrap_err();
            assert!(told.contains(reason), "{told}: {text:?}");
        }
        let limited = head(b"96:", 100, &mut Params::default());
        assert_eq!(limited.unwrap_or(None), None);
        assert_eq!(head(b"97:", 100, &mut Params::default()).unwrap_err().status, 431);
    }
}
