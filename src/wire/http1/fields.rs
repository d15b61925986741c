//! What the fields of a head mean together: whom the request is for, how its body is framed, whether
//! the connection goes on, what the client expects.  The fields are well formed one by one already.
//!
//! Everything is refused here that two servers could read differently (RFC 9110, RFC 9112 sections
//! 3.2, 6 and 9.3).

use super::{bad, grammar};
use crate::wire::forwarded::is_one as is_forwarded;
use crate::wire::{Framing, Head, Limit, Limits, Reject, Span, Version};

/// What the fields that frame and route a request say, gathered over all field lines.
#[derive(Default)]
struct Gathered {
    length: Option<u64>,
    has_coding: bool,
    last_is_chunked: bool,
    chunked: u32,
    other_coding: bool,
    close: bool,
    keep_alive: bool,
    expect_continue: bool,
    expect_other: bool,
}

/// Decide whether the head can be served: everything that the fields must and must not say.
#[inline]
pub(super) fn judge(unread: &[u8], limits: &Limits, head: &mut Head) -> Result<(), Reject> {
    let mut all = Gathered::default();
    head.host = None;
    head.content_type = None;
    head.has_forwarded = false;
    for field in &head.fields {
        let name = field.name.of(unread);
        // Few names matter here, and no two of them have the same length.
        match name.len() {
            4 if is_name(name, b"host") => {
                once(&mut head.host, field.value, "more than one Host")?;
            }
            6 if is_name(name, b"expect") => {
                expectation(field.value.of(unread), &mut all);
            }
            10 if is_name(name, b"connection") => {
                connection(field.value.of(unread), &mut all)?;
            }
            12 if is_name(name, b"content-type") => {
                once(&mut head.content_type, field.value, "more than one Content-Type")?;
            }
            14 if is_name(name, b"content-length") => {
                if all.length.is_some() {
                    return Err(bad("more than one Content-Length"));
                }
                let length = grammar::decimal(field.value.of(unread));
                all.length = Some(length.ok_or(bad("malformed Content-Length"))?);
            }
            17 if is_name(name, b"transfer-encoding") => {
                transfer_encoding(field.value.of(unread), &mut all)?;
            }
            9 | 15 | 17 | 20 => head.has_forwarded |= is_forwarded(name),
            _ => {}
        }
    }
    host(unread, head)?;
    head.framing = framing(&all, head.version)?;
    head.keep_alive =
        !all.close && !head.is_connect && (head.version == Version::Http11 || all.keep_alive);
    if all.expect_other {
        return Err(Reject { status: 417, reason: "unknown expectation", limit: None });
    }
    let has_body = match head.framing {
        Framing::Length(len) if len > limits.body => {
            return Err(Reject {
                status: 413,
                reason: "request body too large",
                limit: Some(Limit::Body),
            });
        }
        Framing::Length(len) => len > 0,
        Framing::Chunked => true,
        Framing::None => false,
    };
    // A client of HTTP/1.0 does not know 1xx responses: RFC 9110 section 10.1.1.
    head.expect_continue = all.expect_continue && has_body && head.version == Version::Http11;
    Ok(())
}

/// Whether a field name or value, in which there is no CR, is `wanted`, which is in lower case.
#[inline]
fn is_name<const LEN: usize>(name: &[u8], wanted: &[u8; LEN]) -> bool {
    // No octet but the capital becomes the letter, and none but itself and CR the hyphen.
    name.first_chunk::<LEN>().is_some_and(|name| {
        name.iter().zip(wanted).fold(0, |unlike, (a, b)| unlike | ((a | 0x20) ^ b)) == 0
    })
}

/// Keep the value of a field that may be there once.
#[inline]
fn once(slot: &mut Option<Span>, value: Span, reason: &'static str) -> Result<(), Reject> {
    match slot.replace(value) {
        Some(_) => Err(bad(reason)),
        None => Ok(()),
    }
}

/// RFC 9112 section 3.2.  An empty Host is valid: it says that there is no authority.
#[inline]
fn host(unread: &[u8], head: &Head) -> Result<(), Reject> {
    let Some(host) = head.host else {
        if head.version == Version::Http11 {
            return Err(bad("no Host"));
        }
        return Ok(());
    };
    let host = host.of(unread);
    match grammar::authority(host) {
        Some(parts) if parts.host_len > 0 || host.is_empty() => Ok(()),
        _ => Err(bad("malformed Host")),
    }
}

/// RFC 9112 section 6.3, with everything refused that two implementations could read differently.
#[inline]
fn framing(all: &Gathered, version: Version) -> Result<Framing, Reject> {
    if !all.has_coding {
        return Ok(all.length.map_or(Framing::None, Framing::Length));
    }
    if all.length.is_some() {
        return Err(bad("both Content-Length and Transfer-Encoding"));
    }
    if version == Version::Http10 {
        return Err(bad("Transfer-Encoding in HTTP/1.0"));
    }
    if all.chunked > 1 {
        return Err(bad("chunked more than once"));
    }
    if !all.last_is_chunked {
        return Err(bad("the last transfer coding is not chunked"));
    }
    if all.other_coding {
        return Err(Reject { status: 501, reason: "unknown transfer coding", limit: None });
    }
    Ok(Framing::Chunked)
}

/// One Transfer-Encoding field.  Unlike in other lists an empty element is refused: proxies differ
/// about it, and the framing must not hang on that.
#[inline(never)]
fn transfer_encoding(value: &[u8], all: &mut Gathered) -> Result<(), Reject> {
    all.has_coding = true;
    for coding in grammar::elements(value) {
        let name_len = grammar::token_len(coding);
        let parameters = &coding[name_len..];
        if name_len == 0 || !matches!(grammar::trim(parameters), [] | [b';', ..]) {
            return Err(bad("malformed Transfer-Encoding"));
        }
        all.last_is_chunked = coding[..name_len].eq_ignore_ascii_case(b"chunked");
        if !all.last_is_chunked {
            all.other_coding = true;
        } else if parameters.is_empty() {
            all.chunked += 1;
        } else {
            // RFC 9112 section 7.1.
            return Err(bad("chunked has no parameters"));
        }
    }
    Ok(())
}

/// One Connection field: a list of tokens (RFC 9110 section 7.6.1).
#[inline(never)]
fn connection(value: &[u8], all: &mut Gathered) -> Result<(), Reject> {
    // What nearly all clients say, if anything.
    match value.len() {
        10 if is_name(value, b"keep-alive") => {
            all.keep_alive = true;
            return Ok(());
        }
        5 if is_name(value, b"close") => {
            all.close = true;
            return Ok(());
        }
        _ => {}
    }
    for option in grammar::elements(value) {
        if option.eq_ignore_ascii_case(b"close") {
            all.close = true;
        } else if option.eq_ignore_ascii_case(b"keep-alive") {
            all.keep_alive = true;
        } else if !option.is_empty() && !grammar::is_token(option) {
            return Err(bad("malformed Connection"));
        }
    }
    Ok(())
}

/// One Expect field (RFC 9110 section 10.1.1).
#[inline(never)]
fn expectation(value: &[u8], all: &mut Gathered) {
    for expectation in grammar::elements(value) {
        if expectation.eq_ignore_ascii_case(b"100-continue") {
            all.expect_continue = true;
        } else if !expectation.is_empty() {
            all.expect_other = true;
        }
    }
}
