//! The uwsgi protocol's packets: four octets of head, then variables with 16-bit lengths, the low
//! octet first.  (The protocol of uWSGI's own documentation, as nginx, Apache and lighttpd speak it.)

use super::params::{bad, over};
use super::{Limit, Params, Reject, Span};

/// Octets before the variables.
const HEAD: usize = 4;

/// Languages that a front may name as the one that is to answer: all mean the application that is
/// mounted here.
const APPLICATIONS: [u8; 10] = [0, 5, 6, 7, 8, 9, 14, 15, 18, 30];
/// Of these: PATH_INFO has SCRIPT_NAME in it.
const STRIPS: u8 = 30;
/// Somebody asks whether anybody is there.
const PING: u8 = 100;

/// The answer to a ping.
pub const PONG: [u8; 4] = [PING, 0, 0, 1];

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A request; its packet has so many octets.
    Request(usize),
    /// It is answered with [`PONG`], and that was all.
    Ping,
}

/// The packet at the front of `unread`, its variables in `params`; `None`: there is more to come.
/// `limit` is the most octets that it may have, 0 for as many as it can.
pub fn packet(unread: &[u8], limit: usize, params: &mut Params) -> Result<Option<Packet>, Reject> {
    let Some(&[modifier1, low, high, _modifier2]) = unread.first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let head = &unread[..HEAD];
    if head.iter().all(|octet| octet.is_ascii_uppercase() || *octet == b' ') {
        return Err(bad("HTTP was spoken to a uwsgi listener"));
    }
    if modifier1 == PING {
        return Ok(Some(Packet::Ping));
    }
    if !APPLICATIONS.contains(&modifier1) {
        return Err(bad("a uwsgi modifier that is not for an application"));
    }
    let len = HEAD + usize::from(u16::from_le_bytes([low, high]));
    if limit > 0 && len > limit {
        return Err(over(431, "the uwsgi packet is too long", Limit::Head));
    }
    let Some(octets) = unread.get(..len) else {
        return Ok(None);
    };
    params.clear();
    params.strips_script_name = modifier1 == STRIPS;
    let mut at = HEAD;
    while at < len {
        let name = string(octets, &mut at)?;
        let value = string(octets, &mut at)?;
        params.push(name, value);
    }
    Ok(Some(Packet::Request(len)))
}

/// A length and so many octets.
fn string(octets: &[u8], at: &mut usize) -> Result<Span, Reject> {
    let cut = || bad("a uwsgi packet whose variables do not fit in it");
    let len = octets.get(*at..).and_then(<[u8]>::first_chunk::<2>).ok_or_else(cut)?;
    let (start, len) = (*at + 2, usize::from(u16::from_le_bytes(*len)));
    if len > octets.len() - start {
        return Err(cut());
    }
    *at = start + len;
    Ok(Span { start: start as u32, len: len as u32 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(modifier1: u8, vars: &[(&str, &str)]) -> Vec<u8> {
        let mut octets = vec![modifier1, 0, 0, 0];
        for text in vars.iter().flat_map(|(name, value)| [name, value]) {
            octets.extend((text.len() as u16).to_le_bytes());
            octets.extend(text.as_bytes());
        }
        let len = (octets.len() - 4) as u16;
        octets[1..3].copy_from_slice(&len.to_le_bytes());
        octets
    }

    fn read(octets: &[u8], limit: usize) -> Result<Option<Packet>, (u16, &'static str)> {
        let mut params = Params::default();
        packet(octets, limit, &mut params).map_err(|reject| (reject.status, reject.reason))
    }

    #[test]
    fn a_packet_is_whole_or_not_there() {
        let octets = made(0, &[("REQUEST_METHOD", "GET"), ("QUERY_STRING", "")]);
        for len in 0..octets.len() {
            assert_eq!(read(&octets[..len], 0), Ok(None), "{len}");
        }
        let more = [&octets[..], b"a body"].concat();
        let mut params = Params::default();
        let found = packet(&more, 0, &mut params).unwrap();
        assert_eq!(found, Some(Packet::Request(octets.len())));
        assert_eq!(params.others.len(), 2);
        assert_eq!(params.others[0].value.of(&more), b"GET");
        assert_eq!(read(&[0, 0, 0, 0], 0), Ok(Some(Packet::Request(4))));
    }

    #[test]
    fn modifiers_are_told_apart() {
        for modifier in 0..=255_u8 {
            let octets = made(modifier, &[]);
            let found = read(&octets, 0);
            match modifier {
                0 | 5..=9 | 14 | 15 | 18 | 30 => assert_eq!(found, Ok(Some(Packet::Request(4)))),
                100 => assert_eq!(found, Ok(Some(Packet::Ping))),
                _ => assert_eq!(found.unwrap_err().0, 400, "{modifier}"),
            }
        }
        let mut params = Params::default();
        packet(&made(30, &[]), 0, &mut params).unwrap();
        assert!(params.strips_script_name);
        packet(&made(0, &[]), 0, &mut params).unwrap();
        assert!(!params.strips_script_name);
    }

    #[test]
    fn nonsense_is_told_what_it_is() {
        for (octets, reason) in [
            (&b"GET / HTTP/1.1\r\n"[..], "HTTP was spoken"),
            (b"HEAD", "HTTP was spoken"),
            (b"PUT ", "HTTP was spoken"),
            (&[0, 1, 0, 0, 9], "do not fit"),
            (&[0, 3, 0, 0, 2, 0, b'a'], "do not fit"),
            (&[0, 5, 0, 0, 1, 0, b'a', 1, 0], "do not fit"),
            (&[0, 2, 0, 0, 0, 0], "do not fit"),
        ] {
            let (status, text) = read(octets, 0).unwrap_err();
            assert_eq!(status, 400);
            assert!(text.contains(reason), "{text}");
        }
        assert_eq!(read(&[0, 97, 0, 0], 100).unwrap_err().0, 431, "before it has come");
        assert_eq!(read(&[0, 96, 0, 0], 100), Ok(None));
    }
}
