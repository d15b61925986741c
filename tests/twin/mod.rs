//! A slow twin of the HTTP/1 head parser, written straight from the grammars of RFC 9112, 9110 and
//! 3986: it copies, it backtracks, it looks at everything several times, and shares no line with the
//! real one.  It knows no limits.

#![allow(dead_code, reason = "each test program uses its part")]

pub(crate) mod chunked;

use std::net::Ipv6Addr;

use gateway::wire::{Framing, TargetForm, Version};

use crate::wire_support::Request;

/// What a twin finds at the front of some octets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A whole head.
    Head(Box<Request>),
    /// Not a whole one yet.
    Incomplete,
    /// A head that is refused with this status.
    Refused(u16),
}

type Checked<T> = Result<T, u16>;

/// Read the head at the front of `octets`.
pub(crate) fn head(octets: &[u8]) -> Verdict {
    match try_head(octets) {
        Ok(Some(request)) => Verdict::Head(Box::new(request)),
        Ok(None) => Verdict::Incomplete,
        Err(status) => Verdict::Refused(status),
    }
}

fn try_head(octets: &[u8]) -> Checked<Option<Request>> {
    // [CRLF] request-line CRLF *( field-line CRLF ) CRLF
    let octets = octets.strip_prefix(b"\r\n").unwrap_or(octets);
    let mut lines = Lines(octets);
    let first = match lines.next() {
        Some(line) => line?,
        None => {
            let rest = lines.0;
            let may_start = rest.is_empty() || rest == b"\r" || is_tchar(rest[0]);
            return if may_start { Ok(None) } else { Err(400) };
        }
    };
    let mut request = request_line(&first)?;
    let mut fields = Vec::new();
    loop {
        match lines.next() {
            Some(Ok(line)) if line.is_empty() => break,
            Some(line) => fields.push(line?),
            None => return Ok(None),
        }
    }
    for line in &fields {
        request.fields.push(field_line(line)?);
    }
    meaning(&mut request)?;
    Ok(Some(request))
}

/// Lines that end with CRLF; one that ends with a bare LF is an error.
struct Lines<'a>(&'a [u8]);

impl Iterator for Lines<'_> {
    type Item = Checked<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let lf = self.0.iter().position(|c| *c == b'\n')?;
        let (line, rest) = self.0.split_at(lf + 1);
        self.0 = rest;
        Some(match line {
            [content @ .., b'\r', b'\n'] => Ok(content.to_vec()),
            _ => Err(400),
        })
    }
}

fn is_tchar(c: u8) -> bool {
    matches!(c, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\''
        | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|c| is_tchar(*c))
}

/// method SP request-target SP HTTP-version
fn request_line(line: &[u8]) -> Checked<Request> {
    let words: Vec<&[u8]> = line.split(|c| *c == b' ').collect();
    let [method, target, version] = words[..] else { return Err(400) };
    if !is_token(method) {
        return Err(400);
    }
    let version = match version {
        [b'H', b'T', b'T', b'P', b'/', major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9'] => {
            match (major, minor) {
                (b'1', b'0') => Version::Http10,
                (b'1', _) => Version::Http11,
                _ => {
                    return Err(505);
                }
            }
        }
        _ => return Err(400),
    };
    let mut request = Request {
        method: method.to_vec(),
        target: target.to_vec(),
        form: TargetForm::Origin,
        path: Vec::new(),
        query: Vec::new(),
        authority: None,
        version,
        fields: Vec::new(),
        host: None,
        content_type: None,
        framing: Framing::None,
        keep_alive: false,
        expect_continue: false,
        is_connect: method == b"CONNECT",
        is_head: method == b"HEAD",
        body: Vec::new(),
        complete: false,
    };
    if target.is_empty() || !target.iter().all(|c| (0x21..=0x7E).contains(c)) {
        return Err(400);
    }
    if target.contains(&b'#') {
        return Err(400);
    }
    if request.is_connect {
        // authority-form = uri-host ":" port
        let colon = target.iter().rposition(|c| *c == b':').ok_or(400_u16)?;
        let (host, port) = (&target[..colon], &target[colon + 1..]);
        if host.is_empty() || !is_host(host) || !is_port(port) {
            return Err(400);
        }
        if port.iter().all(|c| *c == b'0') {
            return Err(400);
        }
        request.form = TargetForm::Authority;
        request.authority = Some(target.to_vec());
        return Ok(request);
    }
    if target == b"*" && method == b"OPTIONS" {
        request.form = TargetForm::Asterisk;
        request.path = b"*".to_vec();
        return Ok(request);
    }
    let rest = if target[0] == b'/' {
        target
    } else {
        // absolute-form: http or https, "://", a host that is not empty
        let text = String::from_utf8(target.to_vec()).expect("visible ASCII");
        let (scheme, rest) = text.split_once("://").ok_or(400_u16)?;
        if !["http", "https"].contains(&scheme.to_lowercase().as_str()) {
            return Err(400);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let authority = &rest.as_bytes()[..end];
        if authority.is_empty() || authority[0] == b':' || !is_host_and_port(authority) {
            return Err(400);
        }
        request.form = TargetForm::Absolute;
        request.authority = Some(authority.to_vec());
        &target[target.len() - (rest.len() - end)..]
    };
    let (path, query) = match rest.iter().position(|c| *c == b'?') {
        Some(mark) => (&rest[..mark], &rest[mark + 1..]),
        None => (rest, &[][..]),
    };
    for (at, c) in path.iter().enumerate() {
        if *c == b'%' {
            let digits = path.get(at + 1..at + 3).ok_or(400_u16)?;
            if !digits.iter().all(u8::is_ascii_hexdigit) || digits == b"00" {
                return Err(400);
            }
        }
    }
    request.path = path.to_vec();
    request.query = query.to_vec();
    Ok(request)
}

/// uri-host [ ":" port ]
fn is_host_and_port(text: &[u8]) -> bool {
    if is_host(text) {
        return true;
    }
    (0..text.len()).any(|colon| {
        let port = &text[colon + 1..];
        text[colon] == b':' && is_host(&text[..colon]) && (port.is_empty() || is_port(port))
    })
}

fn is_port(text: &[u8]) -> bool {
    let digits = text.iter().skip_while(|c| **c == b'0').count();
    !text.is_empty()
        && text.iter().all(u8::is_ascii_digit)
        && digits <= 5
        && text.iter().fold(0_u64, |n, c| n.min(1 << 40) * 10 + u64::from(c - b'0')) <= 65535
}

/// IP-literal / IPv4address / reg-name
fn is_host(text: &[u8]) -> bool {
    if let [b'[', inner @ .., b']'] = text {
        let inner = String::from_utf8_lossy(inner).into_owned();
        if let Some(future) = inner.strip_prefix(['v', 'V']) {
            // IPvFuture = "v" 1*HEXDIG "." 1*( unreserved / sub-delims / ":" )
            return future.split_once('.').is_some_and(|(version, address)| {
                !version.is_empty()
                    && version.chars().all(|c| c.is_ascii_hexdigit())
                    && !address.is_empty()
                    && address.bytes().all(|c| is_unreserved_or_sub_delim(c) || c == b':')
            });
        }
        return inner.parse::<Ipv6Addr>().is_ok();
    }
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'%' {
            let digits = text.get(at + 1..at + 3).unwrap_or_default();
            if digits.len() != 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
                return false;
            }
            at += 3;
        } else if is_unreserved_or_sub_delim(text[at]) {
            at += 1;
        } else {
            return false;
        }
    }
    true
}

fn is_unreserved_or_sub_delim(c: u8) -> bool {
    c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(c as char)
}

/// field-name ":" OWS field-value OWS
fn field_line(line: &[u8]) -> Checked<(Vec<u8>, Vec<u8>)> {
    let colon = line.iter().position(|c| *c == b':').ok_or(400_u16)?;
    let name = &line[..colon];
    if !is_token(name) {
        return Err(400);
    }
    let value = &line[colon + 1..];
    if value.iter().any(|c| (*c < 0x20 && *c != b'\t') || *c == 0x7F) {
        return Err(400);
    }
    Ok((name.to_vec(), trim(value).to_vec()))
}

fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// The values of all fields of this name.
fn values<'a>(request: &'a Request, name: &str) -> Vec<&'a [u8]> {
    let is_it = |field: &&(Vec<u8>, Vec<u8>)| field.0.to_ascii_lowercase() == name.as_bytes();
    request.fields.iter().filter(is_it).map(|field| &field.1[..]).collect()
}

/// The elements of all fields of this name, in lower case.
fn elements(request: &Request, name: &str) -> Vec<Vec<u8>> {
    let values = values(request, name);
    let split = values.iter().flat_map(|value| value.split(|c| *c == b','));
    split.map(|element| trim(element).to_ascii_lowercase()).collect()
}

fn at_most_one(values: &[&[u8]]) -> Checked<Option<Vec<u8>>> {
    match values {
        [] => Ok(None),
        [value] => Ok(Some(value.to_vec())),
        _ => Err(400),
    }
}

fn meaning(request: &mut Request) -> Checked<()> {
    request.host = at_most_one(&values(request, "host"))?;
    request.content_type = at_most_one(&values(request, "content-type"))?;
    match &request.host {
        None if request.version == Version::Http11 => return Err(400),
        Some(host) if !is_host_and_port(host) || host.first() == Some(&b':') => return Err(400),
        _ => {}
    }

    let options = elements(request, "connection");
    if options.iter().any(|option| !option.is_empty() && !is_token(option)) {
        return Err(400);
    }
    let has = |option: &[u8]| options.iter().any(|o| o == option);
    request.keep_alive = !has(b"close")
        && !request.is_connect
        && (request.version == Version::Http11 || has(b"keep-alive"));

    let length = at_most_one(&values(request, "content-length"))?;
    let length = match length {
        Some(text) => {
            if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
                return Err(400);
            }
            let text = String::from_utf8(text).expect("digits");
            Some(text.parse::<u64>().map_err(|_| 400_u16)?)
        }
        None => None,
    };
    let codings = elements(request, "transfer-encoding");
    request.framing = if codings.is_empty() {
        length.map_or(Framing::None, Framing::Length)
    } else {
        if length.is_some() || request.version == Version::Http10 {
            return Err(400);
        }
        // transfer-coding = token *( OWS ";" OWS ... ): what follows a semicolon is of no interest,
        // since no coding but a bare "chunked" is known.
        let names: Vec<&[u8]> = codings
            .iter()
            .map(|coding| trim(coding.split(|c| *c == b';').next().expect("one at least")))
            .collect();
        if !names.iter().all(|name| is_token(name)) {
            return Err(400);
        }
        let is_chunked = |name: &&&[u8]| **name == b"chunked";
        if names.iter().filter(is_chunked).count() != 1 || names.last() != Some(&&b"chunked"[..]) {
            return Err(400);
        }
        if codings.last().map(Vec::as_slice) != Some(b"chunked") {
            return Err(400);
        }
        if codings.len() > 1 {
            return Err(501);
        }
        Framing::Chunked
    };

    let expectations = elements(request, "expect");
    if expectations.iter().any(|e| !e.is_empty() && e != b"100-continue") {
        return Err(417);
    }
    let has_body = !matches!(request.framing, Framing::None | Framing::Length(0));
    request.expect_continue = expectations.iter().any(|e| e == b"100-continue")
        && has_body
        && request.version == Version::Http11;
    Ok(())
}
