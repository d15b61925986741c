//! The PROXY protocol, versions 1 and 2 (HAProxy's `proxy-protocol.txt`): who the client of a proxy
//! is, said before its first octet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use memchr::memchr;

use super::http1::decimal;
use super::params::bad;
use super::{Reject, Span};

/// The first octets of version 2.
pub const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The first octets of version 1.
pub const WORD: &[u8; 6] = b"PROXY ";
/// Octets of the longest line of version 1, its CRLF included.
const LINE_MAX: usize = 107;
/// Octets of version 2 before the addresses.
const HEAD: usize = 16;

/// What stands at the front of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How many octets it has.
    pub len: usize,
    /// Client and server as the proxy sees them; `None`: the proxy speaks for itself, or does not
    /// know, and the connection's own addresses count.
    pub ends: Option<(SocketAddr, SocketAddr)>,
    /// The additions of version 2, for [`additions`].
    pub additions: Span,
    /// The client speaks TLS to the proxy.
    pub is_tls: bool,
    /// The proxy speaks for itself (LOCAL), as it does to see whether we are well.
    pub is_local: bool,
}

/// Types of additions (version 2, section 2.2).
pub mod addition {
    /// The host that the client named (SNI).
    pub const AUTHORITY: u8 = 0x02;
    /// A checksum of the header.
    pub const CRC32C: u8 = 0x03;
    /// What names the connection.
    pub const UNIQUE_ID: u8 = 0x05;
    /// What is known of TLS: [`super::Tls`].
    pub const SSL: u8 = 0x20;
    /// Of that one: the version, as text.
    pub const SSL_VERSION: u8 = 0x21;
    /// The common name of the client's certificate.
    pub const SSL_CN: u8 = 0x22;
    /// The cipher, as text.
    pub const SSL_CIPHER: u8 = 0x23;
}

/// What a proxy knows of the client's TLS (version 2, section 2.2.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tls<'a> {
    /// "TLSv1.3", say; empty: it does not say; so the next two.
    pub version: &'a [u8],
    /// The cipher.
    pub cipher: &'a [u8],
    /// The common name of the client's certificate.
    pub name: &'a [u8],
    /// Whether the client's certificate was found good; `None`: it has none.
    pub verified: Option<bool>,
}

impl<'a> Tls<'a> {
    /// Of an addition of the kind [`addition::SSL`]; `None`: there is no TLS, or it is cut.
    pub fn of(value: &'a [u8]) -> Option<Self> {
        let [flags, rest @ ..] = value else { return None };
        let (verify, rest) = rest.split_first_chunk::<4>()?;
        // The client has TLS; it has shown a certificate on this connection, or in its session.
        let (has_tls, has_certificate) = (flags & 1 != 0, flags & 6 != 0);
        let mut tls =
            Tls { verified: has_certificate.then_some(*verify == [0; 4]), ..Tls::default() };
        let all = Span { start: 0, len: rest.len() as u32 };
        for addition in additions(rest, all) {
            let (kind, value) = addition?;
            match kind {
                addition::SSL_VERSION => tls.version = value.of(rest),
                addition::SSL_CIPHER => tls.cipher = value.of(rest),
                addition::SSL_CN => tls.name = value.of(rest),
                _ => {}
            }
        }
        has_tls.then_some(tls)
    }
}

/// The header at the front of `unread`; `None`: there is more to come.
pub fn header(unread: &[u8]) -> Result<Option<Header>, Reject> {
    let version_2 = unread.len().min(SIGNATURE.len());
    let version_1 = unread.len().min(WORD.len());
    if unread[..version_2] == SIGNATURE[..version_2] {
        if version_2 < SIGNATURE.len() { Ok(None) } else { binary(unread) }
    } else if unread[..version_1] == WORD[..version_1] {
        if version_1 < WORD.len() { Ok(None) } else { line(unread) }
    } else {
        Err(bad("no PROXY header"))
    }
}

fn line(unread: &[u8]) -> Result<Option<Header>, Reject> {
    let there = &unread[..unread.len().min(LINE_MAX)];
    let Some(end) = memchr(b'\n', there) else {
        return if there.len() < LINE_MAX {
            Ok(None)
        } else {
            Err(bad("a PROXY line without end"))
        };
    };
    let malformed = || bad("a malformed PROXY line");
    let text = there[..end].strip_suffix(b"\r").ok_or_else(malformed)?;
    let header = |ends| Header {
        len: end + 1,
        ends,
        additions: Span::default(),
        is_tls: false,
        is_local: false,
    };
    let mut words = text[WORD.len()..].split(|octet| *octet == b' ');
    let family = words.next().unwrap_or_default();
    if family == b"UNKNOWN" {
        return Ok(Some(header(None)));
    }
    let words: Vec<_> = words.collect();
    let [source, target, source_port, target_port] = words[..] else {
        return Err(malformed());
    };
    let ends = socket(family, source, source_port).zip(socket(family, target, target_port));
    Ok(Some(header(Some(ends.ok_or_else(malformed)?))))
}

fn socket(family: &[u8], address: &[u8], port: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(address).ok()?;
    let ip = match family {
        b"TCP4" => IpAddr::V4(text.parse().ok()?),
        b"TCP6" => IpAddr::V6(text.parse().ok()?),
        _ => return None,
    };
    let is_short = port.len() == 1 || port.first() != Some(&b'0');
    let port = decimal(port).filter(|_| is_short)?;
    Some(SocketAddr::new(ip, u16::try_from(port).ok()?))
}

fn binary(unread: &[u8]) -> Result<Option<Header>, Reject> {
    let Some(head) = unread.first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let (version_command, family) = (head[12], head[13]);
    let is_local = match version_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(bad("a PROXY header of another version")),
    };
    let len = HEAD + usize::from(u16::from_be_bytes([head[14], head[15]]));
    let Some(octets) = unread.get(..len) else {
        return Ok(None);
    };
    let cut = || bad("a PROXY header that is too short for its addresses");
    let rest = &octets[HEAD..];
    // TCP over IPv4 and IPv6, UDP never, unix sockets have no address that anybody could use.
    let (size, ends) = match family {
        0x11 => {
            let [a, b, c, d, e, f, g, h, p, q, r, s] = *rest.first_chunk::<12>().ok_or_else(cut)?;
            let ends = (
                SocketAddr::from(([a, b, c, d], u16::from_be_bytes([p, q]))),
                SocketAddr::from(([e, f, g, h], u16::from_be_bytes([r, s]))),
            );
            (12, Some(ends))
        }
        0x21 => {
            let all = rest.first_chunk::<36>().ok_or_else(cut)?;
            let ip = |at: usize| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&all[at..at + 16]);
                Ipv6Addr::from(octets)
            };
            let port = |at: usize| u16::from_be_bytes([all[at], all[at + 1]]);
            (36, Some((SocketAddr::from((ip(0), port(32))), SocketAddr::from((ip(16), port(34))))))
        }
        0x31 => (216, None),
        0x00 => (0, None),
        _ if is_local => (0, None),
        _ => return Err(bad("a PROXY header of a family that is no stream")),
    };
    if rest.len() < size && !is_local {
        return Err(cut());
    }
    let start = (HEAD + size).min(len);
    let additions = Span { start: start as u32, len: (len - start) as u32 };
    let mut header = Header { len, ends, additions, is_tls: false, is_local };
    if is_local {
        // Whatever it says is to be ignored.
        (header.ends, header.additions.len) = (None, 0);
        return Ok(Some(header));
    }
    for addition in self::additions(octets, header.additions) {
        let (kind, value) = addition.ok_or_else(|| bad("a PROXY header with a cut addition"))?;
        match kind {
            addition::SSL => header.is_tls = value.of(octets).first().is_some_and(|it| it & 1 != 0),
            addition::CRC32C => check(octets, value)?,
            _ => {}
        }
    }
    Ok(Some(header))
}

/// The additions of a header, whose octets these are: type and value; `None` for one that is cut.
pub fn additions(octets: &[u8], all: Span) -> impl Iterator<Item = Option<(u8, Span)>> {
    let mut range = all.range();
    std::iter::from_fn(move || {
        if range.is_empty() {
            return None;
        }
        let whole = (|| {
            let [kind, high, low] = *octets.get(range.clone())?.first_chunk::<3>()?;
            let len = usize::from(u16::from_be_bytes([high, low]));
            let start = range.start + 3;
            (len <= range.end - start).then_some((kind, start, len))
        })();
        let Some((kind, start, len)) = whole else {
            range.start = range.end;
            return Some(None);
        };
        range.start = start + len;
        Some(Some((kind, Span { start: start as u32, len: len as u32 })))
    })
}

/// The checksum, over the header with zeros in its place.
fn check(octets: &[u8], value: Span) -> Result<(), Reject> {
    let told = value.of(octets).first_chunk::<4>().filter(|_| value.len == 4);
    let zeroed = |at| if value.range().contains(&at) { 0 } else { octets[at] };
    let sum = crc32c((0..octets.len()).map(zeroed));
    match told {
        Some(told) if u32::from_be_bytes(*told) == sum => Ok(()),
        _ => Err(bad("a PROXY header whose checksum is wrong")),
    }
}

/// CRC-32C (RFC 3385), bit by bit: one header for each connection, and few have one.
fn crc32c(octets: impl Iterator<Item = u8>) -> u32 {
    const REVERSED: u32 = 0x82f6_3b78;
    !octets.fold(u32::MAX, |sum, octet| {
        (0..8).fold(sum ^ u32::from(octet), |sum, _| {
            if sum & 1 == 0 { sum >> 1 } else { sum >> 1 ^ REVERSED }
        })
    })
}

/// An address as the environ has it: IPv4 also where it was wrapped in IPv6.
pub fn plain(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, |v4: Ipv4Addr| IpAddr::V4(v4)),
        IpAddr::V4(_) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(octets: &[u8]) -> Result<Option<(String, usize)>, &'static str> {
        let found = header(octets).map_err(|reject| reject.reason)?;
        Ok(found.map(|header| match header.ends {
            Some((client, server)) => (format!("{client} {server}"), header.len),
            None => ("none".to_owned(), header.len),
        }))
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = (rest.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &len, rest].concat()
    }

    #[test]
    fn lines() {
        for (line, found) in [
            ("PROXY TCP4 192.0.2.1 198.51.100.2 56324 443", "192.0.2.1:56324 198.51.100.2:443"),
            ("PROXY TCP6 2001:db8::1 ::1 1 0", "[2001:db8::1]:1 [::1]:0"),
            ("PROXY UNKNOWN", "none"),
            ("PROXY UNKNOWN ffff::1 x y z", "none"),
        ] {
            let octets = format!("{line}\r\nGET / HTTP/1.1\r\n");
            let len = line.len() + 2;
            assert_eq!(ends(octets.as_bytes()), Ok(Some((found.to_owned(), len))), "{line}");
            for cut in 0..len {
                assert_eq!(ends(&octets.as_bytes()[..cut]), Ok(None), "{line} {cut}");
            }
        }
        for line in [
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324",
            "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 1",
            "PROXY TCP4 192.0.2.1  198.51.100.2 56324 443",
            "PROXY TCP4 192.0.2.1 198.51.100.2 056 443",
            "PROXY TCP4 192.0.2.1 198.51.100.2 1 65536",
            "PROXY TCP4 ::1 ::1 1 2",
            "PROXY TCP6 1.2.3.4 1.2.3.4 1 2",
            "PROXY UDP4 1.2.3.4 1.2.3.4 1 2",
            "PROXY ",
        ] {
            assert_eq!(ends(format!("{line}\r\n").as_bytes()), Err("a malformed PROXY line"));
        }
        assert_eq!(ends(b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n"), Err("a malformed PROXY line"));
        let long = format!("PROXY UNKNOWN {}", "x".repeat(200));
        assert_eq!(ends(long.as_bytes()), Err("a PROXY line without end"));
        assert_eq!(ends(b"GET / HTTP/1.1\r\n"), Err("no PROXY header"));
        assert_eq!(ends(b""), Ok(None));
    }

    #[test]
    fn headers_of_version_2() {
        let v4 = [192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 4, 1, 0xbb];
        let octets = version_2(0x21, 0x11, &v4);
        let found = Ok(Some(("192.0.2.1:56324 198.51.100.2:443".to_owned(), 28)));
        assert_eq!(ends(&octets), found);
        for cut in 0..octets.len() {
            assert_eq!(ends(&octets[..cut]), Ok(None), "{cut}");
        }
        let mut v6 = [0; 36];
        (v6[15], v6[31], v6[33], v6[35]) = (1, 2, 3, 4);
        let found = Ok(Some(("[::1]:3 [::2]:4".to_owned(), 52)));
        assert_eq!(ends(&version_2(0x21, 0x21, &v6)), found);
        let none = |len| Ok(Some(("none".to_owned(), len)));
        assert_eq!(ends(&version_2(0x21, 0x31, &[0; 216])), none(232), "unix");
        assert_eq!(ends(&version_2(0x21, 0x00, b"")), none(16), "unspecified");
        assert_eq!(ends(&version_2(0x20, 0x11, &v4)), none(28), "local");
        assert_eq!(ends(&version_2(0x20, 0x99, b"")), none(16), "local, of no family");
        for (command, family, rest, reason) in [
            (0x11, 0x11, &v4[..], "of another version"),
            (0x22, 0x11, &v4, "of another version"),
            (0x21, 0x11, &v4[..11], "too short"),
            (0x21, 0x21, &v4, "too short"),
            (0x21, 0x31, &v4, "too short"),
            (0x21, 0x12, &v4, "is no stream"),
        ] {
            let told = ends(&version_2(command, family, rest)).unwrap_err();
            assert!(told.contains(reason), "{told}");
        }
    }

    #[test]
    fn additions_are_read_and_checked() {
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283);
        let v4 = [127, 0, 0, 1, 127, 0, 0, 1, 0, 1, 0, 2];
        let ssl = [0x20, 0, 5, 1, 0, 0, 0, 0];
        let id = [0x05, 0, 2, b'i', b'd'];
        let octets = version_2(0x21, 0x11, &[&v4[..], &ssl, &id].concat());
        let found = header(&octets).unwrap().unwrap();
        assert!(found.is_tls);
        let all: Vec<_> = additions(&octets, found.additions)
            .map(|it| it.map(|(kind, value)| (kind, value.of(&octets))))
            .collect();
        assert_eq!(all, [Some((0x20, &ssl[3..])), Some((0x05, b"id"))]);
        let cut = version_2(0x21, 0x11, &[&v4[..], &[5, 0, 3, 1, 2]].concat());
        assert!(header(&cut).unwrap_err().reason.contains("cut addition"));

        let mut octets = version_2(0x21, 0x11, &[&v4[..], &[3, 0, 4, 0, 0, 0, 0]].concat());
        let sum = crc32c(octets.iter().copied());
        assert!(header(&octets).unwrap_err().reason.contains("checksum"));
        let at = octets.len() - 4;
        octets[at..].copy_from_slice(&sum.to_be_bytes());
        assert!(header(&octets).unwrap().is_some());
    }

    #[test]
    fn what_is_known_of_tls() {
        let told = |flags: u8, verify: u8, rest: &[u8]| {
            let value = [&[flags, 0, 0, 0, verify], rest].concat();
            Tls::of(&value).map(|it| {
                let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
                ([it.version, it.cipher, it.name].map(text), it.verified)
            })
        };
        let rest = [&b"\x21\0\x07TLSv1.3"[..], b"\x23\0\x03AES", b"\x22\0\x02me"].concat();
        let all = ["TLSv1.3", "AES", "me"].map(str::to_owned);
        assert_eq!(told(3, 0, &rest), Some((all.clone(), Some(true))));
        assert_eq!(told(5, 1, &rest), Some((all, Some(false))));
        assert_eq!(told(1, 0, b""), Some((Default::default(), None)));
        assert_eq!(told(2, 0, &rest), None, "no TLS");
        assert_eq!(told(1, 0, &rest[..5]), None, "cut");
        assert_eq!(Tls::of(&[1, 0, 0, 0]), None);
    }

    #[test]
    fn an_address_is_plain() {
        let mapped = "::ffff:192.0.2.1".parse().unwrap();
        assert_eq!(plain(mapped).to_string(), "192.0.2.1");
        assert_eq!(plain("::1".parse().unwrap()).to_string(), "::1");
    }
}
