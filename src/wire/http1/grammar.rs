//! Octet classes and the small productions of RFC 9110 and RFC 3986 that heads and chunk lines
//! share.  Nothing here knows of a buffer or a state.

use std::net::Ipv6Addr;
use std::str;

/// tchar, RFC 9110 section 5.6.2.
const TOKEN: u8 = 1 << 0;
/// Allowed in a field value: VCHAR, SP, HTAB, obs-text, RFC 9110 section 5.5.
const VALUE: u8 = 1 << 1;
/// Allowed in a request target and uninteresting there: 0x21 to 0x7E but `%`, `?` and `#`.
const PLAIN: u8 = 1 << 2;
/// Allowed in a query: 0x21 to 0x7E but `#`.
const QUERY: u8 = 1 << 3;
/// unreserved and sub-delims: what a reg-name may have unencoded, RFC 3986 section 3.2.2.
const REG_NAME: u8 = 1 << 4;
/// qdtext, RFC 9110 section 5.6.4.
const QUOTED: u8 = 1 << 5;

/// Visible ASCII but `=`: the name of a variable of CGI.
const NAME: u8 = 1 << 6;

static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut octet = 0_usize;
    while octet < 256 {
        let c = octet as u8;
        let alphanumeric = c.is_ascii_alphanumeric();
        let mut class = 0;
        if alphanumeric || is_one_of(c, b"!#$%&'*+-.^_`|~") {
            class |= TOKEN;
        }
        if c == b'\t' || c == b' ' || (c >= 0x21 && c != 0x7F) {
            class |= VALUE;
            if c != b'"' && c != b'\\' {
                class |= QUOTED;
            }
        }
        if c >= 0x21 && c <= 0x7E && c != b'#' {
            class |= QUERY;
            if c != b'%' && c != b'?' {
                class |= PLAIN;
            }
        }
        if alphanumeric || is_one_of(c, b"-._~!$&'()*+,;=") {
            class |= REG_NAME;
        }
        if c >= 0x21 && c <= 0x7E && c != b'=' {
            class |= NAME;
        }
        classes[octet] = class;
        octet += 1;
    }
    classes
};

const fn is_one_of(c: u8, set: &[u8]) -> bool {
    let mut at = 0;
    while at < set.len() {
        if set[at] == c {
            return true;
        }
        at += 1;
    }
    false
}

#[inline]
fn is(octet: u8, class: u8) -> bool {
    CLASSES[octet as usize] & class != 0
}

/// The length of the longest front of `text` that is of one class.
#[inline]
fn run(text: &[u8], class: u8) -> usize {
    text.iter().position(|octet| !is(*octet, class)).unwrap_or(text.len())
}

/// The same, eight octets at a time while that will do: of eight, `doubtful` marks by their high bits
/// those that are not of the class, and perhaps others.
#[inline]
fn long_run(text: &[u8], class: u8, doubtful: impl Fn(u64) -> u64) -> usize {
    let mut rest = text;
    while let Some((octets, after)) = rest.split_first_chunk::<8>() {
        let doubtful = doubtful(u64::from_le_bytes(*octets));
        if doubtful == 0 {
            rest = after;
            continue;
        }
        let at = doubtful.trailing_zeros() as usize / 8 % 8; // In sight of the compiler below 8.
        if !is(rest[at], class) {
            return text.len() - rest.len() + at;
        }
        rest = &rest[at + 1..];
    }
    text.len() - rest.len() + run(rest, class)
}

/// Whether all of `text` is of one class; see [`long_run`].
#[inline]
fn all(text: &[u8], class: u8, doubtful: impl Fn(u64) -> u64) -> bool {
    let (words, rest) = text.as_chunks::<8>();
    let last = text.last_chunk().filter(|_| !rest.is_empty());
    let clear = |octets: &[u8; 8]| doubtful(u64::from_le_bytes(*octets)) == 0;
    if text.len() >= 8 && words.iter().chain(last).all(clear) {
        return true;
    }
    run(text, class) == text.len()
}

/// One in each of eight octets.
const EACH: u64 = u64::from_ne_bytes([1; 8]);
/// The high bit of each.
const HIGH: u64 = 0x80 * EACH;

/// Which of eight octets, all below 0x80, are from `first` to `last`, by their high bits.
#[inline]
fn within(octets: u64, first: u8, last: u8) -> u64 {
    // No sum carries.
    let from_first = octets + u64::from(0x80 - first) * EACH;
    let beyond_last = octets + u64::from(0x7F - last) * EACH;
    from_first & !beyond_last & HIGH
}

/// Which of eight octets are neither letters nor hyphens, by their high bits.
#[inline]
fn not_in_name(octets: u64) -> u64 {
    let ascii = octets & !HIGH;
    let common = within(ascii | (0x20 * EACH), b'a', b'z') | within(ascii, b'-', b'-');
    HIGH & (octets | !common)
}

/// The same of letters and low lines.
#[inline]
fn not_in_variable(octets: u64) -> u64 {
    let ascii = octets & !HIGH;
    let common = within(ascii | (0x20 * EACH), b'a', b'z') | within(ascii, b'_', b'_');
    HIGH & (octets | !common)
}

/// Which of eight octets are control characters or 0x7F, and some that follow one, by their high bits.
#[inline]
fn controls(octets: u64) -> u64 {
    // A borrow or a carry only adds to what is found.
    (octets.wrapping_sub(0x20 * EACH) | octets.wrapping_add(EACH)) & !octets & HIGH
}

/// How many octets at the front of `text` a token takes that is likely to be short.
#[inline]
pub(super) fn short_token_len(text: &[u8]) -> usize {
    run(text, TOKEN)
}

/// How many octets at the front of `text` a token takes.
#[inline]
pub(super) fn token_len(text: &[u8]) -> usize {
    long_run(text, TOKEN, not_in_name)
}

/// Whether `text` is a token.
#[inline]
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && all(text, TOKEN, not_in_name)
}

/// Whether `octet` may stand in a token.
#[inline]
pub(super) fn is_token_octet(octet: u8) -> bool {
    is(octet, TOKEN)
}

/// How many octets at the front of `text` may stand in a field value.
#[inline]
pub(super) fn field_value_len(text: &[u8]) -> usize {
    long_run(text, VALUE, controls)
}

/// Whether this may name a variable of CGI: visible ASCII without "=", which would end it in an
/// environment.
#[inline]
pub(crate) fn is_variable_name(text: &[u8]) -> bool {
    !text.is_empty() && all(text, NAME, not_in_variable)
}

/// Whether `text` may be a field value.
#[inline]
pub(crate) fn is_field_value(text: &[u8]) -> bool {
    all(text, VALUE, controls)
}

/// How many octets at the front of `text` have no meaning of their own in a target.
#[inline]
pub(super) fn plain_len(text: &[u8]) -> usize {
    run(text, PLAIN)
}

/// How many octets at the front of `text` may stand in a query.
#[inline]
pub(super) fn query_len(text: &[u8]) -> usize {
    run(text, QUERY)
}

/// How many octets at the front of `text` a quoted-string takes (RFC 9110 section 5.6.4), its
/// quotes included; `None` when there is none, or it does not end.
pub(super) fn quoted_string_len(text: &[u8]) -> Option<usize> {
    if text.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    loop {
        at += run(text.get(at..)?, QUOTED);
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' if is(*text.get(at + 1)?, VALUE) => at += 2,
            _ => return None,
        }
    }
}

/// How many octets at the front of `text` are optional white space.
#[inline]
pub(super) fn ows_len(text: &[u8]) -> usize {
    let mut rest = text;
    while let [b' ' | b'\t', after @ ..] = rest {
        rest = after;
    }
    text.len() - rest.len()
}

/// `text` without the optional white space around it.
#[inline]
pub(super) fn trim(text: &[u8]) -> &[u8] {
    trim_end(&text[ows_len(text)..])
}

/// `text` without the optional white space at its end.
#[inline]
pub(super) fn trim_end(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let [before @ .., b' ' | b'\t'] = rest {
        rest = before;
    }
    rest
}

/// The elements of a comma-separated list, without the white space around them.  Empty elements are
/// handed out, too (RFC 9110 section 5.6.1.2 has the recipient ignore a reasonable number).
#[inline]
pub(super) fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|octet| *octet == b',').map(trim)
}

/// A run of digits as a number; `None` when there is none, or another octet, or it is too large.
#[inline]
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |value, octet| {
        let digit = octet.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// The parts of `uri-host [":" port]` (RFC 9110 section 7.2, RFC 3986 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    /// Octets of the host, the brackets of an IP literal included; may be 0.
    pub(super) host_len: usize,
    /// Octets of the port, a number up to 65535; 0 when there is none, or only its colon.
    pub(super) port_len: usize,
}

/// Take `text` apart; `None` when it is not valid.
#[inline]
pub(super) fn authority(text: &[u8]) -> Option<Authority> {
    let host_len = run(text, REG_NAME);
    if host_len == text.len() {
        return Some(Authority { host_len, port_len: 0 });
    }
    uncommon_authority(text, host_len)
}

/// The same for one with more to it than a reg-name, which takes `reg_name_len` octets.
#[inline(never)]
fn uncommon_authority(text: &[u8], reg_name_len: usize) -> Option<Authority> {
    let host_len = if text.first() == Some(&b'[') {
        let inner = memchr::memchr(b']', text)?;
        if !is_ip_literal(&text[1..inner]) {
            return None;
        }
        inner + 1
    } else {
        encoded_reg_name_len(text, reg_name_len)?
    };
    let port_len = match &text[host_len..] {
        [] => 0,
        [b':', digits @ ..] if is_port(digits) => digits.len(),
        _ => return None,
    };
    Some(Authority { host_len, port_len })
}

/// Whether `digits`, none or more, are a port.
#[inline]
fn is_port(digits: &[u8]) -> bool {
    digits.iter().all(u8::is_ascii_digit)
        && (digits.len() < 5 || decimal(digits).is_some_and(|port| port <= u64::from(u16::MAX)))
}

/// How many octets at the front of `text` a reg-name (or an IPv4 address, which looks like one)
/// takes, of which `at` are unencoded; `None` for a malformed percent-encoding.
#[inline]
fn encoded_reg_name_len(text: &[u8], mut at: usize) -> Option<usize> {
    while text.get(at) == Some(&b'%') {
        if !is_encoded(&text[at..]) {
            return None;
        }
        at += 3;
        at += run(&text[at..], REG_NAME);
    }
    Some(at)
}

/// Whether `text` starts with a percent sign and two hexadecimal digits.
#[inline]
pub(super) fn is_encoded(text: &[u8]) -> bool {
    matches!(text, [b'%', a, b, ..] if a.is_ascii_hexdigit() && b.is_ascii_hexdigit())
}

/// What stands between the brackets of an IP literal: an IPv6 address or an IPvFuture.
fn is_ip_literal(text: &[u8]) -> bool {
    if let [b'v' | b'V', rest @ ..] = text {
        let digits = rest.iter().take_while(|octet| octet.is_ascii_hexdigit()).count();
        let [b'.', address @ ..] = &rest[digits..] else { return false };
        return digits > 0
            && !address.is_empty()
            && address.iter().all(|octet| *octet == b':' || is(*octet, REG_NAME));
    }
    str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_are_runs() {
        for octet in 0..=255_u8 {
            for other in [b'a', b'-', b'1', b',', 0x1F, 0x7F, 0x80, octet.wrapping_add(1)] {
                for at in 0..9 {
                    let mut text = *b"Ab-cdZ--yz";
                    (text[at], text[at + 1]) = (octet, other);
                    assert_eq!(token_len(&text), run(&text, TOKEN), "{text:?}");
                    assert_eq!(field_value_len(&text), run(&text, VALUE), "{text:?}");
                    assert_eq!(is_token(&text), token_len(&text) == text.len(), "{text:?}");
                    assert_eq!(is_field_value(&text), field_value_len(&text) == text.len());
                }
            }
        }
    }

    #[test]
    fn authorities() {
        let ok = |text: &str| authority(text.as_bytes()).map(|a| (a.host_len, a.port_len));
        assert_eq!(ok(""), Some((0, 0)));
        assert_eq!(ok("localhost:8000"), Some((9, 4)));
        assert_eq!(ok("a.b:"), Some((3, 0)));
        assert_eq!(ok("[::1]:65535"), Some((5, 5)));
        assert_eq!(ok("[v1.a:b]"), Some((8, 0)));
        assert_eq!(ok("caf%C3%A9"), Some((9, 0)));
        for bad in ["a:65536", "a:b", "a:1:2", "[::1", "[::1]x", "[1.2.3.4]", "[]", "[v.a]", "a/b"]
        {
            assert_eq!(ok(bad), None, "{bad}");
        }
        for bad in ["u@h", "a b", "%", "%4", "%zz", "[fe80::1%25eth0]", "a\\b", "a:-1", "a:+1"] {
            assert_eq!(ok(bad), None, "{bad}");
        }
    }

    #[test]
    fn quoted_strings() {
        assert_eq!(quoted_string_len(b"\"\""), Some(2));
        assert_eq!(quoted_string_len(b"\"a\\\"b\" c"), Some(6));
        assert_eq!(quoted_string_len(b"\"a"), None);
        assert_eq!(quoted_string_len(b"\"a\\"), None);
        assert_eq!(quoted_string_len(b"\"\r\""), None);
        assert_eq!(quoted_string_len(b"\"\\\x7f\""), None);
        assert_eq!(quoted_string_len(b"a"), None);
        assert_eq!(quoted_string_len(b""), None);
    }

    #[test]
    fn decimals() {
        assert_eq!(decimal(b"0"), Some(0));
        assert_eq!(decimal(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["", "18446744073709551616", "+1", "-1", "1 ", "0x1", "1_0"] {
            assert_eq!(decimal(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn lists() {
        let parts: Vec<_> = elements(b" a ,\tb,, c").collect();
        assert_eq!(parts, [&b"a"[..], b"b", b"", b"c"]);
    }
}
