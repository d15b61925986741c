//! What proxies say of the client that they forward for: `X-Forwarded-For`, `-Proto`, `-Protocol`,
//! `-Ssl`, and `Forwarded` (RFC 7239).  To be asked only about requests whose peer is trusted.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use super::Reject;
use super::params::bad;
use super::proxy::plain;

/// What they agree on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forwarded {
    /// Whether the client speaks TLS.
    pub is_https: Option<bool>,
    /// The first address, seen from here, that no trusted proxy has.
    pub client: Option<IpAddr>,
}

/// What the header fields (name, value) say.  `is_trusted` are the networks of proxies: what came
/// through them is what they add, and no further.
pub fn forwarded<'a>(
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Result<Forwarded, Reject> {
    Ok(Forwarded { is_https: is_https(fields.clone())?, client: client(fields, is_trusted)? })
}

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
    let mut found = None;
    for (name, value) in fields {
        let last = || last(value);
        let told = match () {
            () if named(name, b"x-forwarded-proto") => scheme(last())?,
            () if named(name, b"x-forwarded-protocol") => last().eq_ignore_ascii_case(b"ssl"),
            () if named(name, b"x-forwarded-ssl") => last().eq_ignore_ascii_case(b"on"),
            () if named(name, b"forwarded") => match parameter(last(), b"proto") {
                Some(proto) => scheme(&proto)?,
                None => continue,
            },
            () => continue,
        };
        if found.replace(told).is_some_and(|before| before != told) {
            return Err(bad("forwarded headers that contradict each other about TLS"));
        }
    }
    Ok(found)
}

/// The client, if they name it.
pub fn client<'a>(
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Result<Option<IpAddr>, Reject> {
    let of_list = chain(fields.clone(), b"x-forwarded-for", &is_trusted, address);
    let of_standard = chain(fields, b"forwarded", &is_trusted, |element| {
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
    fields: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    name: &[u8],
    is_trusted: impl Fn(IpAddr) -> bool,
    address: impl Fn(&'a [u8]) -> Option<IpAddr>,
) -> Option<IpAddr> {
    let elements = fields.filter(|(it, _)| named(it, name)).flat_map(|(_, value)| elements(value));
    elements.fold(None, |outer, element| {
        // What nobody can read ends the chain.
        let ip = address(element)?;
        if is_trusted(ip) { outer.or(Some(ip)) } else { Some(ip) }
    })
}

/// The elements of a list, without empty ones; a comma in quotes is none.
fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    split(value, b',')
}

fn last(value: &[u8]) -> &[u8] {
    elements(value).last().unwrap_or_default()
}

fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let pieces = text.split(move |octet| {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            it => return *it == separator && !quoted,
        }
        false
    });
    pieces.map(<[u8]>::trim_ascii).filter(|piece| !piece.is_empty())
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
        let found = forwarded(fields, is_trusted).map_err(|reject| reject.reason)?;
        Ok((found.is_https, found.client.map_or_else(String::new, |ip| ip.to_string())))
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
