//! What proxies say of the client that they forward for: `X-Forwarded-For`, `-Proto`, `-Protocol`,
//! `-Ssl`, and `Forwarded` (RFC 7239).  To be asked only about requests whose peer is trusted.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use super::Reject;
use super::params::bad;
use super::proxy::plain;

/// Whether this is the name of a field that counts here.
#[inline(always)]
pub fn is_one(name: &[u8]) -> bool {
    match name.len() {
        9 => named(name, b"forwarded"),
        15 | 17 | 20 => named(&name[..12], b"x-forwarded-"),
        _ => false,
    }
}

/// Whether the client speaks TLS, if they say so.
pub fn is_https<'a>(
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<Option<bool>, Reject> {
    let (mut found, mut nearest) = (None, None);
    let mut take = |told| match found.replace(told) {
        Some(before) if before != told => {
            Err(bad("forwarded headers that contradict each other about TLS"))
        }
        _ => Ok(()),
    };
    for (name, value) in fields {
        let last = || list(value).last().unwrap_or_default();
        take(match () {
            () if named(name, b"x-forwarded-proto") => scheme(last())?,
            () if named(name, b"x-forwarded-protocol") => last().eq_ignore_ascii_case(b"ssl"),
            () if named(name, b"x-forwarded-ssl") => last().eq_ignore_ascii_case(b"on"),
            () if named(name, b"forwarded") => {
                // The fields are one list: the last of all is the nearest proxy's.
                nearest = elements(closed(value)?).last().or(nearest);
                continue;
            }
            () => continue,
        })?;
    }
    if let Some(proto) = nearest.and_then(|element| parameter(element, b"proto")) {
        take(scheme(&proto)?)?;
    }
    Ok(found)
}

/// The client, if they name it: the first address, seen from here, that no trusted proxy has.
/// `is_trusted` are the networks of proxies: what came through them is what they add, and no further.
pub fn client<'a>(
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Result<Option<IpAddr>, Reject> {
    let of = |name| fields.clone().filter_map(move |(it, value)| named(it, name).then_some(value));
    for value in of(b"forwarded") {
        closed(value)?;
    }
    let of_list = chain(of(b"x-forwarded-for").flat_map(list), &is_trusted, address);
    let of_standard = chain(of(b"forwarded").flat_map(elements), &is_trusted, |element| {
        parameter(element, b"for").and_then(|node| address(&node))
    });
    match (of_list, of_standard) {
        (Some(one), Some(other)) if one != other => {
            Err(bad("forwarded headers that contradict each other about the client"))
        }
        _ => Ok(of_list.or(of_standard)),
    }
}

fn named(name: &[u8], lower: &[u8]) -> bool {
    name.eq_ignore_ascii_case(lower)
}

fn scheme(proto: &[u8]) -> Result<bool, Reject> {
    match () {
        () if proto.eq_ignore_ascii_case(b"https") || proto.eq_ignore_ascii_case(b"wss") => {
            Ok(true)
        }
        () if proto.eq_ignore_ascii_case(b"http") || proto.eq_ignore_ascii_case(b"ws") => Ok(false),
        () => Err(bad("a forwarded scheme that is neither http nor https")),
    }
}

/// From the nearest proxy outwards, as far as they are trusted: of the elements before this one the
/// answer is known, and only a trusted one lets it stand.
fn chain<'a>(
    elements: impl Iterator<Item = &'a [u8]>,
    is_trusted: impl Fn(IpAddr) -> bool,
    address: impl Fn(&'a [u8]) -> Option<IpAddr>,
) -> Option<IpAddr> {
    elements.fold(None, |outer, element| {
        // What nobody can read ends the chain.
        let ip = address(element)?;
        if is_trusted(ip) { outer.or(Some(ip)) } else { Some(ip) }
    })
}

/// The elements of an `X-Forwarded-` list, without empty ones.  It knows no quotes: what a client
/// begins with one cannot hide what a proxy adds.
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|octet| *octet == b',').map(<[u8]>::trim_ascii).filter(|piece| !piece.is_empty())
}

/// The elements of `Forwarded`, without empty ones; a comma in quotes is none.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    split(value, b',')
}

fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut quotes = Quotes::default();
    let pieces = text.split(move |octet| quotes.is_outside(*octet) && *octet == separator);
    pieces.map(<[u8]>::trim_ascii).filter(|piece| !piece.is_empty())
}

/// A client's quote without end would make the element that a proxy adds a part of the client's.
fn closed(value: &[u8]) -> Result<&[u8], Reject> {
    let mut quotes = Quotes::default();
    for octet in value {
        quotes.is_outside(*octet);
    }
    if quotes.quoted { Err(bad("a Forwarded header whose quotes do not end")) } else { Ok(value) }
}

/// Where quoted strings are (RFC 9110 section 5.6.4).
#[derive(Default)]
struct Quotes {
    quoted: bool,
    escaped: bool,
}

impl Quotes {
    /// Whether the next octet is outside of them.
    fn is_outside(&mut self, octet: u8) -> bool {
        match octet {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.quoted => self.escaped = true,
            b'"' => self.quoted = !self.quoted,
            _ => return !self.quoted,
        }
        false
    }
}

/// The value of a parameter of an element (RFC 7239 section 4), its quotes taken off.
fn parameter<'a>(element: &'a [u8], name: &[u8]) -> Option<Cow<'a, [u8]>> {
    split(element, b';').find_map(|pair| {
        let equals = memchr::memchr(b'=', pair)?;
        let (key, value) = (&pair[..equals], &pair[equals + 1..]);
        key.eq_ignore_ascii_case(name).then(|| unquoted(value))
    })
}

fn unquoted(value: &[u8]) -> Cow<'_, [u8]> {
    let Some(inside) = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return value.into();
    };
    if !inside.contains(&b'\\') {
        return inside.into();
    }
    let mut text = Vec::with_capacity(inside.len());
    let mut octets = inside.iter();
    while let Some(octet) = octets.next() {
        text.extend(if *octet == b'\\' { octets.next() } else { Some(octet) });
    }
    text.into()
}

/// An address, perhaps with a port; IPv6 with one is in brackets.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let ip = bare.parse().ok().or_else(|| text.parse().ok().map(|it: SocketAddr| it.ip()));
    ip.map(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(fields: &[(&str, &str)]) -> Result<(Option<bool>, String), &'static str> {
        let is_trusted = |ip: IpAddr| ip.to_string().starts_with("10.");
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let is_https = is_https(fields.clone()).map_err(|reject| reject.reason)?;
        let client = client(fields, is_trusted).map_err(|reject| reject.reason)?;
        Ok((is_https, client.map_or_else(String::new, |ip| ip.to_string())))
    }

    #[test]
    fn the_chain_is_followed_as_far_as_it_is_trusted() {
        for (list, client) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.66, 192.0.2.1, 10.0.0.1,10.0.0.2", "192.0.2.1"),
            ("10.0.0.7, 10.0.0.1", "10.0.0.7"),
            ("192.0.2.1:1234", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]:99", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("192.0.2.1, unknown, 10.0.0.1", "10.0.0.1"),
            ("unknown", ""),
            ("", ""),
            (",,192.0.2.1,", "192.0.2.1"),
            // It knows no quotes: a client's cannot swallow what a proxy adds.
            ("\", 192.0.2.1", "192.0.2.1"),
            ("\"192.0.2.66, 192.0.2.1", "192.0.2.1"),
        ] {
            let found = told(&[("X-Forwarded-For", list)]);
            assert_eq!(found, Ok((None, client.to_owned())), "{list}");
        }
        let two = [("x-forwarded-for", "192.0.2.9"), ("X-Forwarded-For", "10.0.0.1")];
        assert_eq!(told(&two), Ok((None, "192.0.2.9".to_owned())));
    }

    #[test]
    fn the_standard_says_the_same_in_other_words() {
        for (value, https, client) in [
            ("for=192.0.2.43", None, "192.0.2.43"),
            ("For=\"[2001:db8:cafe::17]:4711\"", None, "2001:db8:cafe::17"),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", Some(false), "192.0.2.60"),
            ("for=192.0.2.43, for=198.51.100.17;Proto=HTTPS", Some(true), "198.51.100.17"),
            ("for=192.0.2.43, for=\"10.0.0.1:80\"", None, "192.0.2.43"),
            ("for=\"_hid,den\", for=\"10.0.0.\\1\"", None, "10.0.0.1"),
            ("for=_hidden", None, ""),
        ] {
            assert_eq!(told(&[("Forwarded", value)]), Ok((https, client.to_owned())), "{value}");
        }
    }

    #[test]
    fn the_names_that_count_are_known_at_a_glance() {
        for name in [
            "Forwarded",
            "X-Forwarded-For",
            "x-forwarded-proto",
            "X-FORWARDED-SSL",
            "X-Forwarded-Protocol",
        ] {
            assert!(is_one(name.as_bytes()), "{name}");
            assert!(!is_one(name.replace('-', "_").as_bytes()) || name == "Forwarded", "{name}");
        }
        for name in ["", "Forwarder", "Accept-Encoding", "Transfer-Encoding", "X-Forwarded-Host"] {
            assert!(!is_one(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_quote_without_end_swallows_nothing() {
        let open = Err("a Forwarded header whose quotes do not end");
        for value in [
            "for=192.0.2.66;x=\", for=192.0.2.1",
            "for=192.0.2.66;proto=https;x=\", for=192.0.2.1;proto=http",
            "for=192.0.2.66;x=\"\\\", for=192.0.2.1",
            "for=192.0.2.66;x=\"a\\",
        ] {
            assert_eq!(told(&[("Forwarded", value)]), open, "{value}");
        }
        // One that ends in another field does not end.
        let two = [("Forwarded", "for=192.0.2.66;x=\""), ("Forwarded", "for=\"192.0.2.1\"")];
        assert_eq!(told(&two), open);
        // The nearest proxy's element is the last of all of them.
        let two = [("Forwarded", "for=192.0.2.66;proto=https"), ("Forwarded", "for=192.0.2.1")];
        assert_eq!(told(&two), Ok((None, "192.0.2.1".to_owned())));
        let two = [("Forwarded", "proto=https"), ("Forwarded", "proto=http")];
        assert_eq!(told(&two).map(|(https, _)| https), Ok(Some(false)));
    }

    #[test]
    fn contradictions_are_refused() {
        let tls = "forwarded headers that contradict each other about TLS";
        let client = "forwarded headers that contradict each other about the client";
        for (fields, verdict) in [
            (&[("X-Forwarded-Proto", "https"), ("X-Forwarded-Ssl", "on")][..], Ok(Some(true))),
            (&[("X-Forwarded-Proto", "https"), ("X-Forwarded-Ssl", "off")], Err(tls)),
            (&[("X-Forwarded-Proto", "http"), ("X-Forwarded-Protocol", "ssl")], Err(tls)),
            (&[("X-Forwarded-Proto", "https"), ("Forwarded", "proto=http")], Err(tls)),
            (&[("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.2")], Err(client)),
            (&[("X-Forwarded-For", "192.0.2.1"), ("Forwarded", "for=192.0.2.1")], Ok(None)),
            (
                &[("X-Forwarded-Proto", "gopher")],
                Err("a forwarded scheme that is neither http nor https"),
            ),
            (&[("X-Forwarded-Proto", "http, https")], Ok(Some(true))),
        ] {
            assert_eq!(told(fields).map(|(https, _)| https), verdict, "{fields:?}");
        }
    }
}
