//! The request line (RFC 9112 section 3): method, target in one of its four forms, version.

use super::bad;
use super::grammar::{
    authority, decimal, is_encoded, is_token_octet, plain_len, query_len, short_token_len,
};
use crate::wire::{Head, Reject, Span, TargetForm, Version};

/// What follows the target: a space, and a version of this length.
const VERSION_LEN: usize = b" HTTP/1.1".len();

/// Read a request line, without its CRLF, that starts `base` octets into the buffer.  All of `head`
/// that comes from the request line is set, or an error returned.
pub(super) fn parse(line: &[u8], base: usize, head: &mut Head) -> Result<(), Reject> {
    let method_len = short_token_len(line);
    if method_len == 0 || line.get(method_len) != Some(&b' ') {
        let reason = match line {
            [] => "empty lines before the request",
            [b'\r', ..] => "bare CR in the request head",
            _ => first_octet_fault(line).unwrap_or("malformed method"),
        };
        return Err(bad(reason));
    }
    let target_at = method_len + 1;
    let rest = &line[target_at..];
    let target_len = rest.len().wrapping_sub(VERSION_LEN);
    let Some(version) = rest.get(target_len..) else {
        return Err(bad("no HTTP version in the request line"));
    };
    let method = &line[..method_len];
    head.version = match self::version(version) {
        Ok(version) => version,
        // Not a line of three words at all.
        Err(_) if rest[..target_len].contains(&b' ') => return Err(octet_fault(b' ')),
        Err(reject) => return Err(reject),
    };
    head.method = span(base, 0, method_len);
    head.target = span(base, target_at, target_len);
    head.authority = None;
    head.path_is_plain = true;
    head.is_head = method == b"HEAD";
    head.is_connect = method == b"CONNECT";
    target(&rest[..target_len], base + target_at, method, head)
}

/// Read a request line of the most common kind at the front of `unread`, and say where it ends: a path
/// without percent-encoding, HTTP/1.1.  `None` for all others, with any request line in `head`.
#[inline]
pub(super) fn parse_plain(unread: &[u8], head: &mut Head) -> Option<usize> {
    let method_len = if unread.starts_with(b"GET ") { 3 } else { short_token_len(unread) };
    let (method, rest) = unread.split_at(method_len);
    let [b' ', target @ ..] = rest else { return None };
    if method.is_empty() || target.first() != Some(&b'/') || method == b"CONNECT" {
        return None;
    }
    let path_len = plain_len(target);
    let query_len = match target.get(path_len)? {
        b'?' => query_len(&target[path_len + 1..]),
        _ => 0,
    };
    let query_at = path_len + usize::from(target[path_len] == b'?');
    let target_len = query_at + query_len;
    if target[target_len..].first_chunk() != Some(b" HTTP/1.1\r\n") {
        return None;
    }
    let base = method.len() + 1;
    head.method = span(0, 0, method.len());
    head.target = span(base, 0, target_len);
    head.form = TargetForm::Origin;
    head.path = span(base, 0, path_len);
    head.path_is_plain = true;
    head.query = span(base, query_at, query_len);
    head.authority = None;
    head.version = Version::Http11;
    head.is_head = method == b"HEAD";
    head.is_connect = false;
    Some(base + target_len + b" HTTP/1.1\r\n".len())
}

/// What is wrong with the first octet of a request, if anything: told before the line is complete,
/// so that who speaks another protocol is answered at once.  Cut off after a first CR, it waits.
#[inline]
pub(super) fn first_octet_fault(line: &[u8]) -> Option<&'static str> {
    match line {
        [first, ..] if is_token_octet(*first) => None,
        [] | [b'\r'] => None,
        [0x16, ..] => Some("a TLS handshake where HTTP is spoken"),
        [b'\r', b'\n', ..] => Some("empty lines before the request"),
        [b'\r', ..] => Some("bare CR in the request head"),
        [b'\n', ..] => Some("bare LF in the request head"),
        _ => Some("malformed method"),
    }
}

fn span(base: usize, start: usize, len: usize) -> Span {
    Span { start: (base + start) as u32, len: len as u32 }
}

/// A space and the version, `VERSION_LEN` octets.
fn version(text: &[u8]) -> Result<Version, Reject> {
    if text == b" HTTP/1.1" {
        return Ok(Version::Http11);
    }
    match text {
        b" HTTP/1.0" => Ok(Version::Http10),
        [b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            if *major == b'1' {
                // A higher minor version is read as the highest that we know: RFC 9110 2.5.
                return Ok(Version::Http11);
            }
            Err(Reject {
                status: 505,
                reason: "only HTTP/1.0 and 1.1 are spoken here",
                limit: None,
            })
        }
        _ => Err(bad("malformed HTTP version")),
    }
}

/// The target, which starts `base` octets into the buffer.
fn target(target: &[u8], base: usize, method: &[u8], head: &mut Head) -> Result<(), Reject> {
    if target.first() == Some(&b'/') && !head.is_connect {
        head.form = TargetForm::Origin;
        return path_and_query(target, base, 0, head);
    }
    other_form(target, base, method, head)
}

/// What follows offset `path_at` of the target: a path, and perhaps a query.
fn path_and_query(
    target: &[u8],
    base: usize,
    path_at: usize,
    head: &mut Head,
) -> Result<(), Reject> {
    let mut at = path_at;
    loop {
        at += plain_len(&target[at..]);
        match target.get(at) {
            Some(b'%') if is_encoded(&target[at..]) => {
                if &target[at..at + 3] == b"%00" {
                    return Err(bad("%00 in the path"));
                }
                at += 3;
                head.path_is_plain = false;
            }
            Some(b'%') => return Err(bad("malformed percent-encoding in the path")),
            Some(b'?') | None => break,
            Some(octet) => return Err(octet_fault(*octet)),
        }
    }
    head.path = span(base, path_at, at - path_at);
    head.query = span(base, at, 0);
    if at < target.len() {
        let query = &target[at + 1..];
        let len = query_len(query);
        if let Some(octet) = query.get(len) {
            return Err(octet_fault(*octet));
        }
        head.query = span(base, at + 1, len);
    }
    Ok(())
}

#[cold]
fn octet_fault(octet: u8) -> Reject {
    match octet {
        b'#' => bad("fragment in the request target"),
        b' ' => bad("white space in the request target"),
        _ => bad("octet outside 0x21 to 0x7E in the request target"),
    }
}

/// Every form but the origin form.
fn other_form(target: &[u8], base: usize, method: &[u8], head: &mut Head) -> Result<(), Reject> {
    if target.is_empty() {
        return Err(bad("empty request target"));
    }
    if head.is_connect {
        return connect_target(target, base, head);
    }
    if target == b"*" {
        if method != b"OPTIONS" {
            return Err(bad("the target * is for OPTIONS"));
        }
        head.form = TargetForm::Asterisk;
        head.path = span(base, 0, 1);
        head.query = span(base, 1, 0);
        return Ok(());
    }
    absolute_target(target, base, head)
}

/// `host:port`, both there (RFC 9110 section 9.3.6).
fn connect_target(target: &[u8], base: usize, head: &mut Head) -> Result<(), Reject> {
    let valid = authority(target).is_some_and(|parts| {
        let port = &target[target.len() - parts.port_len..];
        parts.host_len > 0 && decimal(port).is_some_and(|port| port > 0)
    });
    if !valid {
        return Err(bad("CONNECT needs a target of host:port"));
    }
    head.form = TargetForm::Authority;
    head.authority = Some(span(base, 0, target.len()));
    head.path = span(base, target.len(), 0);
    head.query = head.path;
    Ok(())
}

/// `http://host[:port][path][?query]`; the scheme may be https, too.
fn absolute_target(target: &[u8], base: usize, head: &mut Head) -> Result<(), Reject> {
    let authority_at = [&b"http://"[..], b"https://"]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|t| t.eq_ignore_ascii_case(scheme)))
        .map(<[u8]>::len)
        .ok_or(bad("the request target is no path and no http or https URI"))?;
    let rest = &target[authority_at..];
    let len = rest.iter().position(|c| matches!(c, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    // User information has no place in a request: RFC 9110 section 4.2.4.
    if authority(&rest[..len]).is_none_or(|parts| parts.host_len == 0) {
        return Err(bad("malformed authority in the request target"));
    }
    head.form = TargetForm::Absolute;
    head.authority = Some(span(base, authority_at, len));
    path_and_query(target, base, authority_at + len, head)
}
