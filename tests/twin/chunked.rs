//! A slow twin of the chunked reader, written from RFC 9112 section 7.1: whole octets in, and out
//! come the data so far and how it ends.  It knows no limits but the 16 digits of a size.

use super::{is_tchar, is_token, trim};

/// How a chunked body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Well, after this many octets.
    Complete(usize),
    /// Not yet.
    Incomplete,
    /// In a 400 or, where chunks sum up to more than 64 bits, a 413.
    Refused(u16),
}

/// Read the body at the front of `octets`.
pub(crate) fn body(octets: &[u8]) -> (Vec<u8>, End) {
    let mut data = Vec::new();
    let end = match read(octets, &mut data) {
        Ok(Some(rest)) => End::Complete(octets.len() - rest.len()),
        Ok(None) => End::Incomplete,
        Err(status) => End::Refused(status),
    };
    (data, end)
}

/// `Some` with what follows, `None` when octets are missing.
fn read<'a>(mut rest: &'a [u8], data: &mut Vec<u8>) -> Result<Option<&'a [u8]>, u16> {
    let mut total = 0_u64;
    loop {
        let Some((line, after)) = line(rest)? else { return Ok(None) };
        rest = after;
        let size = size_line(line)?;
        if size == 0 {
            break;
        }
        total = total.checked_add(size).ok_or(413_u16)?;
        if (rest.len() as u64) < size {
            data.extend_from_slice(rest);
            return Ok(None);
        }
        let (chunk, after) = rest.split_at(size as usize);
        data.extend_from_slice(chunk);
        rest = match after {
            [] | [b'\r'] => return Ok(None),
            _ => after.strip_prefix(b"\r\n").ok_or(400_u16)?,
        };
    }
    loop {
        let Some((line, after)) = line(rest)? else { return Ok(None) };
        rest = after;
        if line.is_empty() {
            return Ok(Some(rest));
        }
        trailer(line)?;
    }
}

/// A line and what follows.
type Split<'a> = (&'a [u8], &'a [u8]);

/// The next line and what follows.
fn line(octets: &[u8]) -> Result<Option<Split<'_>>, u16> {
    let Some(lf) = octets.iter().position(|c| *c == b'\n') else { return Ok(None) };
    let content = octets[..lf].strip_suffix(b"\r").ok_or(400_u16)?;
    Ok(Some((content, &octets[lf + 1..])))
}

/// chunk-size [ chunk-ext ]
fn size_line(line: &[u8]) -> Result<u64, u16> {
    let digits = line.iter().take_while(|c| c.is_ascii_hexdigit()).count();
    if digits == 0 || digits > 16 || !is_extensions(&line[digits..]) {
        return Err(400);
    }
    let text = String::from_utf8(line[..digits].to_vec()).expect("digits");
    Ok(u64::from_str_radix(&text, 16).expect("no more than 16 digits"))
}

/// *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] ), by trying every place where the
/// first extension may end.
fn is_extensions(text: &[u8]) -> bool {
    text.is_empty()
        || (1..=text.len()).any(|end| is_extension(&text[..end]) && is_extensions(&text[end..]))
}

fn is_extension(text: &[u8]) -> bool {
    // White space at the end belongs to the next extension, if to anything.
    let [.., last] = text else { return false };
    let [b';', rest @ ..] = trim(text) else { return false };
    if matches!(last, b' ' | b'\t') {
        // Unless it is inside quotes, where the extension does not end.
        return false;
    }
    let rest = trim(rest);
    if is_token(rest) {
        return true;
    }
    let name = rest.iter().take_while(|c| is_tchar(**c)).count();
    let [b'=', value @ ..] = trim(&rest[name..]) else { return false };
    let value = trim(value);
    name > 0 && (is_token(value) || is_quoted(value))
}

fn is_quoted(text: &[u8]) -> bool {
    let [b'"', inner @ .., b'"'] = text else { return false };
    let mut octets = inner.iter();
    while let Some(c) = octets.next() {
        match c {
            b'"' => return false,
            b'\\' if !octets.next().is_some_and(|c| is_text(*c)) => return false,
            c if !is_text(*c) => return false,
            _ => {}
        }
    }
    true
}

fn is_text(c: u8) -> bool {
    c == b'\t' || (c >= 0x20 && c != 0x7F)
}

fn trailer(line: &[u8]) -> Result<(), u16> {
    let (name, _) = super::field_line(line)?;
    let name = String::from_utf8(name).expect("a token").to_lowercase();
    let forbidden = [
        "authorization",
        "cache-control",
        "connection",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "max-forwards",
        "pragma",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "range",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "via",
        "www-authenticate",
        "x-real-ip",
        "x-request-start",
    ];
    let belongs_to_the_head = forbidden.contains(&name.as_str())
        || name.starts_with("if-")
        || name.starts_with("x-forwarded-")
        || (name.starts_with("content-") && name != "content-digest");
    if belongs_to_the_head { Err(400) } else { Ok(()) }
}
