//! What a connection begins with, where a listener takes several protocols: told by the first octets,
//! none of which is then anything else.
//!
//! | first octets                          | spoken                               |
//! |---------------------------------------|--------------------------------------|
//! | `PROXY ` or version 2's twelve, if a PROXY header may come | PROXY, then one of the others |
//! | 0                                     | uwsgi (its modifier for a request)   |
//! | 1                                     | FastCGI (its version)                |
//! | digits and a colon                    | SCGI (a netstring)                   |
//! | anything else                         | HTTP, which refuses what is none     |
//!
//! No request of HTTP can begin as one of the others does: a method is a token, in which neither a
//! colon nor a control character may stand.  (A method "PROXY" is lost where the header may come.)

use super::front::Speech;
use super::proxy::{SIGNATURE, WORD};

/// Digits that the length of an SCGI head may have.
const DIGITS_MAX: usize = 10;

/// What is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// More octets must come: those that are there are the beginning of more than one.
    More,
    /// A header of the PROXY protocol.
    Proxy,
    /// A request, in this protocol.
    Request(Speech),
}

/// What `unread` is the beginning of.  `may_proxy`: a PROXY header counts.
pub fn recognise(unread: &[u8], may_proxy: bool) -> Opening {
    let begins = |with: &[u8]| {
        let there = unread.len().min(with.len());
        (unread[..there] == with[..there]).then_some(there == with.len())
    };
    match (begins(WORD), begins(SIGNATURE)) {
        _ if unread.is_empty() => Opening::More,
        (Some(true), _) | (_, Some(true)) if may_proxy => Opening::Proxy,
        (Some(false), _) | (_, Some(false)) if may_proxy => Opening::More,
        _ => request(unread),
    }
}

fn request(unread: &[u8]) -> Opening {
    Opening::Request(match unread {
        [0, ..] => Speech::Uwsgi,
        [1, ..] => Speech::FastCgi(0),
        _ => {
            let digits = unread.iter().take_while(|octet| octet.is_ascii_digit()).count();
            match unread.get(digits) {
                Some(b':') if (1..=DIGITS_MAX).contains(&digits) => Speech::Scgi,
                None if digits <= DIGITS_MAX => return Opening::More,
                _ => Speech::Http,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_by_its_first_octets_however_they_are_cut() {
        let http = Opening::Request(Speech::Http);
        for (octets, found, told_by) in [
            (&b"GET / HTTP/1.1"[..], http, 1),
            (b"POST / HTTP/1.1", http, 2),
            (b"PROPFIND / HTTP/1.1", http, 4),
            (b"PROXYING / HTTP/1.1", http, 6),
            (b"\r\nGET / HTTP/1.1", http, 3),
            (b"\r\n\r\n\r\n", http, 5),
            (b"d\0\0\0", http, 1),
            (b"\x16\x03\x01", http, 1),
            (b"\x05\0\0\0", http, 1),
            (b"12345678901:", http, 11),
            (b"7z HTTP", http, 2),
            (b"PROXY TCP4 ", Opening::Proxy, 6),
            (SIGNATURE, Opening::Proxy, 12),
            (b"\0\x2a\0\0", Opening::Request(Speech::Uwsgi), 1),
            (b"\x01\x01\0\x01", Opening::Request(Speech::FastCgi(0)), 1),
            (b"70:CONTENT_LENGTH\0", Opening::Request(Speech::Scgi), 3),
            (b"0:", Opening::Request(Speech::Scgi), 2),
            (b"1234567890:", Opening::Request(Speech::Scgi), 11),
        ] {
            for cut in 0..=octets.len() {
                let expected = if cut < told_by { Opening::More } else { found };
                assert_eq!(recognise(&octets[..cut], true), expected, "{octets:?} {cut}");
            }
        }
        // Without PROXY they are HTTP's, which refuses them.
        for octets in [&b"PROXY TCP4 "[..], SIGNATURE, b"P", b"\r"] {
            assert_eq!(recognise(octets, false), http);
        }
    }
}
