//! The environ of a request: building it from a head, and looking variables up by their CGI names
//! (RFC 3875 section 4.1, PEP 3333 "environ Variables").

pub(super) mod hosted;
pub(super) mod params;

use crate::base::arena::Arena;
use crate::base::buf::ReadBuf;
use crate::base::error::{Error, Kind, Result};
use crate::base::octets::{Octets, Pair};
use crate::sys::sock::Peer;
use crate::wire::{Framing, Head, Span, TargetForm, Version, percent, trace};

use super::abi::{ENV_HAS_BODY, Environ};

/// Where a request came from and to.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// REMOTE_ADDR and REMOTE_PORT.
    pub remote: &'a Peer,
    /// SERVER_NAME and SERVER_PORT; on a unix socket, which has none, the Host header says them.
    pub local: &'a Peer,
    /// wsgi.url_scheme.
    pub scheme: &'static [u8],
    /// Whether whoever sent it is believed to speak of others.
    pub is_trusted: bool,
}

/// One that is known of all requests of a connection.
pub type Variable = (&'static str, Vec<u8>);

/// A name of ours, for `SERVER_SOFTWARE`.
pub const SERVER_SOFTWARE: &str = concat!("libgateway/", env!("CARGO_PKG_VERSION"));

/// Variables that every request has with one value.
const CONSTANTS: [(&[u8], &[u8]); 2] =
    [(b"SERVER_SOFTWARE", SERVER_SOFTWARE.as_bytes()), (b"GATEWAY_INTERFACE", b"CGI/1.1")];

/// Fill `env`, which has the worker's flags, from the head, whose octets are pinned in `buf`; the
/// rest is set where it is bound to its exchange.  `headers` and `vars` are storage that stays
/// untouched until the request is over.
#[inline]
pub(super) fn build(
    env: &mut Environ,
    head: &Head,
    buf: &ReadBuf,
    origin: &Origin<'_>,
    arena: &Arena,
    headers: &mut Vec<Pair<'static>>,
    vars: &mut Vec<Pair<'static>>,
) {
    let view = |span: Span| buf.view(span.start as usize, span.len as usize);
    env.request_method = view(head.method);
    env.request_uri = view(head.target);
    env.query_string = view(head.query);
    env.script_name = Octets::new(b"");
    env.path_info = match head.form {
        TargetForm::Authority => Octets::new(b""),
        TargetForm::Absolute if head.path.len == 0 => Octets::new(b"/"),
        _ if head.path_is_plain => view(head.path),
        _ => decoded(view(head.path), arena),
    };
    env.content_type = head.content_type.map_or(Octets::MISSING, view);
    env.content_length = match head.framing {
        Framing::Length(length) => i64::try_from(length).unwrap_or(i64::MAX),
        Framing::None | Framing::Chunked => -1,
    };
    if head.framing != Framing::None {
        env.flags |= ENV_HAS_BODY;
    }
    env.server_protocol = Octets::new(match head.version {
        Version::Http10 => b"HTTP/1.0",
        Version::Http11 => b"HTTP/1.1",
    });
    env.url_scheme = Octets::new(origin.scheme);
    let texts = |end: &Peer| arena.views(end, |end| [end.address(), end.port()]);
    [env.remote_addr, env.remote_port] = texts(origin.remote);
    [env.server_name, env.server_port] = texts(origin.local);
    if origin.local.port().is_empty() {
        let authority = head.authority.or(head.host);
        (env.server_name, env.server_port) = named_by(authority.map(view));
    }
    headers.clear();
    headers.extend(
        head.fields.iter().map(|field| Pair { name: view(field.name), value: view(field.value) }),
    );
    vars.clear();
    if let Some(authority) = head.authority {
        // RFC 9112 section 3.2.2: the target's authority, and not the Host header.
        vars.push(Pair { name: Octets::new(b"HTTP_HOST"), value: view(authority) });
    }
    env.set_headers(headers.as_slice());
    env.set_vars(vars.as_slice());
}

#[inline(never)]
fn decoded(path: Octets<'static>, arena: &Arena) -> Octets<'static> {
    let path = path.as_slice();
    if !percent::needs_decoding(path) {
        return Octets::new(path);
    }
    arena.build(path.len(), |room| percent::decode_to_slice(path, room))
}

/// On a unix socket the server's name is what the client calls it.
#[inline(never)]
fn named_by(authority: Option<Octets<'static>>) -> (Octets<'static>, Octets<'static>) {
    let authority = authority.map_or(&b""[..], |text| text.as_slice());
    let colon = match memchr::memrchr(b':', authority) {
        Some(at) if !authority[at..].contains(&b']') => at,
        _ => authority.len(),
    };
    let (name, port) = authority.split_at(colon);
    let port = port.get(1..).unwrap_or(b"");
    (
        Octets::new(if name.is_empty() { b"localhost" } else { name }),
        Octets::new(if port.is_empty() { b"80" } else { port }),
    )
}

impl Environ {
    /// A variable by its CGI or WSGI name ("HTTP_HOST", "REMOTE_ADDR", "wsgi.url_scheme"); missing
    /// when the request does not have it.  Fields that came several times are joined.
    pub fn get(&self, name: &[u8]) -> Octets<'_> {
        if let Some(var) = self.all_own_vars().iter().rev().find(|var| var.name.as_slice() == name)
        {
            return var.value;
        }
        if let Some(name) = name.strip_prefix(b"HTTP_") {
            return self.joined(name);
        }
        self.member(name)
    }

    /// The members of the struct, and what they imply.
    fn member(&self, name: &[u8]) -> Octets<'static> {
        match name {
            b"REQUEST_METHOD" => self.request_method,
            b"SCRIPT_NAME" => self.script_name,
            b"PATH_INFO" => self.path_info,
            b"QUERY_STRING" => self.query_string,
            b"REQUEST_URI" | b"RAW_URI" => self.request_uri,
            b"CONTENT_TYPE" => self.content_type,
            b"CONTENT_LENGTH" => self.content_length_text(),
            b"SERVER_NAME" => self.server_name,
            b"SERVER_PORT" => self.server_port,
            b"SERVER_PROTOCOL" => self.server_protocol,
            b"REMOTE_ADDR" => self.remote_addr,
            b"REMOTE_PORT" => self.remote_port,
            b"wsgi.url_scheme" | b"REQUEST_SCHEME" => self.url_scheme,
            b"HTTPS" if self.url_scheme.as_slice() == b"https" => Octets::new(b"on"),
            b"gateway.request_id" => self.exchange().map_or(Octets::MISSING, |x| x.request_id()),
            b"gateway.trace_id"
            | b"gateway.parent_id"
            | b"gateway.trace_flags"
            | b"gateway.tracestate" => self.trace(name),
            _ => CONSTANTS
                .iter()
                .find(|(known, _)| *known == name)
                .map_or(Octets::MISSING, |(_, value)| Octets::new(value)),
        }
    }

    /// What the request says of its trace, if all of that is as it should be.
    #[cold]
    fn trace(&self, name: &[u8]) -> Octets<'static> {
        let field = |name: &[u8]| match self
            .all_own_vars()
            .iter()
            .rev()
            .find(|it| it.name.as_slice() == name)
        {
            Some(var) => var.value,
            None => self.joined(&name[b"HTTP_".len()..]),
        };
        let value = field(b"HTTP_TRACEPARENT");
        let octets = value.as_slice();
        let Some(parent) = trace::parent(octets) else { return Octets::MISSING };
        Octets::new(match name {
            b"gateway.trace_id" => parent.trace_id.of(octets),
            b"gateway.parent_id" => parent.parent_id.of(octets),
            b"gateway.trace_flags" => parent.flags.of(octets),
            _ => {
                let state = field(b"HTTP_TRACESTATE");
                return if trace::is_state(state.as_slice()) { state } else { Octets::MISSING };
            }
        })
    }

    fn content_length_text(&self) -> Octets<'static> {
        if self.content_length < 0 {
            return Octets::MISSING;
        }
        match self.exchange() {
            Ok(x) => x.arena().copy(itoa::Buffer::new().format(self.content_length).as_bytes()),
            Err(_) => Octets::MISSING,
        }
    }

    /// The values of all header fields with this CGI name (without "HTTP_"), joined with a comma,
    /// cookies with "; " (RFC 9110 section 5.3, RFC 6265 section 5.4).
    fn joined(&self, name: &[u8]) -> Octets<'static> {
        if matches!(name, b"CONTENT_TYPE" | b"CONTENT_LENGTH") {
            return Octets::MISSING;
        }
        let mut same = self.all_headers().iter().filter(|field| named(field.name.as_slice(), name));
        let Some(first) = same.next() else {
            return Octets::MISSING;
        };
        let Some(second) = same.next() else {
            return first.value;
        };
        let Ok(x) = self.exchange() else {
            return first.value;
        };
        let separator: &[u8] = if name == b"COOKIE" { b"; " } else { b"," };
        let mut pieces = vec![first.value.as_slice(), separator, second.value.as_slice()];
        for field in same {
            pieces.extend([separator, field.value.as_slice()]);
        }
        x.arena().concat(&pieces)
    }

    /// One variable at a time: unique CGI names, no wsgi.*.  Start with `*cursor == 0`.
    pub fn next_var(&self, cursor: &mut u64) -> Option<Pair<'_>> {
        self.next_of_all(cursor)
    }

    fn next_of_all(&self, cursor: &mut u64) -> Option<Pair<'static>> {
        loop {
            let at = usize::try_from(*cursor).ok()?;
            let pair = self.var_at(at)?;
            *cursor += 1;
            if let Some(pair) = pair {
                return Some(pair);
            }
        }
    }

    /// `None` past the end, `Some(None)` for a place that has no variable of its own.
    fn var_at(&self, at: usize) -> Option<Option<Pair<'static>>> {
        const MEMBERS: [&[u8]; 13] = [
            b"REQUEST_METHOD",
            b"SCRIPT_NAME",
            b"PATH_INFO",
            b"QUERY_STRING",
            b"REQUEST_URI",
            b"CONTENT_TYPE",
            b"CONTENT_LENGTH",
            b"SERVER_NAME",
            b"SERVER_PORT",
            b"SERVER_PROTOCOL",
            b"REMOTE_ADDR",
            b"REMOTE_PORT",
            b"HTTPS",
        ];
        let vars = self.all_own_vars();
        let own = |name: &'static [u8], value: Octets<'static>| {
            let given = vars.iter().any(|var| var.name.as_slice() == name);
            (!value.is_missing() && !given).then_some(Pair { name: Octets::new(name), value })
        };
        let Some(at) = at.checked_sub(MEMBERS.len()) else {
            return Some(own(MEMBERS[at], self.member(MEMBERS[at])));
        };
        let Some(at) = at.checked_sub(CONSTANTS.len()) else {
            let (name, value) = CONSTANTS[at];
            return Some(own(name, Octets::new(value)));
        };
        let Some(at) = at.checked_sub(vars.len()) else {
            let var = vars[at];
            let later = &vars[at + 1..];
            let last = !later.iter().any(|other| other.name.as_slice() == var.name.as_slice());
            return Some((last && !var.value.is_missing()).then_some(var));
        };
        let headers = self.all_headers();
        let name = headers.get(at)?.name.as_slice();
        Some(self.header_var(name, &headers[..at]))
    }

    /// The HTTP_* variable of a field, unless an earlier field with its name stands for it.
    fn header_var(&self, name: &[u8], before: &[Pair<'static>]) -> Option<Pair<'static>> {
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        if name.contains(&b'_') || is(b"content-type") || is(b"content-length") {
            return None;
        }
        if before.iter().any(|field| field.name.as_slice().eq_ignore_ascii_case(name)) {
            return None;
        }
        let x = self.exchange().ok()?;
        let full = x.arena().build(name.len() + 5, |room| {
            room[..5].copy_from_slice(b"HTTP_");
            for (to, from) in room[5..].iter_mut().zip(name) {
                *to = cgi(*from);
            }
            name.len() + 5
        });
        let full_name = full.as_slice();
        if self.all_own_vars().iter().any(|var| var.name.as_slice() == full_name) {
            return None;
        }
        Some(Pair { name: full, value: self.joined(&full_name[5..]) })
    }

    /// All variables at once.
    pub fn all_vars(&self) -> Result<&[Pair<'_>]> {
        let mut all = Vec::with_capacity(32);
        let mut cursor = 0;
        while let Some(pair) = self.next_of_all(&mut cursor) {
            all.push(pair);
        }
        Ok(self.exchange()?.arena().copy_slice(&all))
    }

    /// A copy that may be changed, and that lives as long as the request: WSGI's `dict(environ)`.
    pub fn derive(&self) -> Result<&mut Environ> {
        Ok(self.exchange()?.arena().hold(self.twin()))
    }

    /// Set a variable of a derived environ; `None` takes it away.
    pub(crate) fn set(&mut self, name: &[u8], value: Option<&[u8]>) -> Result<()> {
        if name.is_empty() || name.starts_with(b"wsgi.") && name != b"wsgi.url_scheme" {
            return Err(Error::new(Kind::Invalid, "this variable cannot be set"));
        }
        let x = self.exchange()?;
        let value = value.map_or(Octets::MISSING, |value| x.arena().copy(value));
        if name == b"CONTENT_LENGTH" {
            let length = match value.as_slice() {
                b"" => -1,
                digits => std::str::from_utf8(digits)
                    .ok()
                    .and_then(|digits| digits.parse().ok())
                    .filter(|length: &i64| *length >= 0)
                    .ok_or_else(|| Error::new(Kind::Invalid, "CONTENT_LENGTH is not a number"))?,
            };
            self.content_length = length;
            return Ok(());
        }
        let member = match name {
            b"REQUEST_METHOD" => &mut self.request_method,
            b"SCRIPT_NAME" => &mut self.script_name,
            b"PATH_INFO" => &mut self.path_info,
            b"QUERY_STRING" => &mut self.query_string,
            b"REQUEST_URI" => &mut self.request_uri,
            b"CONTENT_TYPE" => &mut self.content_type,
            b"SERVER_NAME" => &mut self.server_name,
            b"SERVER_PORT" => &mut self.server_port,
            b"SERVER_PROTOCOL" => &mut self.server_protocol,
            b"REMOTE_ADDR" => &mut self.remote_addr,
            b"REMOTE_PORT" => &mut self.remote_port,
            b"wsgi.url_scheme" => &mut self.url_scheme,
            _ => return self.set_var(name, value),
        };
        *member = value;
        Ok(())
    }

    fn set_var(&mut self, name: &[u8], value: Octets<'static>) -> Result<()> {
        let x = self.exchange()?;
        let mut vars: Vec<_> =
            self.all_own_vars().iter().filter(|var| var.name.as_slice() != name).copied().collect();
        vars.push(Pair { name: x.arena().copy(name), value });
        let vars: *const [Pair<'static>] = x.arena().copy_slice(&vars);
        self.set_vars(vars);
        Ok(())
    }

    /// One parameter of the query string, decoded (`+` is a space); missing when it is not there.
    pub fn query(&self, name: &[u8]) -> Octets<'_> {
        let Ok(x) = self.exchange() else {
            return Octets::MISSING;
        };
        for parameter in self.query_string.as_slice().split(|octet| *octet == b'&') {
            if parameter.is_empty() {
                continue;
            }
            let equals = memchr::memchr(b'=', parameter).unwrap_or(parameter.len());
            let (key, value) = parameter.split_at(equals);
            if key == name || form_decoded(key, x.arena()).as_slice() == name {
                return form_decoded(value.get(1..).unwrap_or(b""), x.arena());
            }
        }
        Octets::MISSING
    }
}

/// A name or value of application/x-www-form-urlencoded.
fn form_decoded(text: &[u8], arena: &Arena) -> Octets<'static> {
    let spaced = arena.build(text.len(), |room| {
        for (to, from) in room.iter_mut().zip(text) {
            *to = if *from == b'+' { b' ' } else { *from };
        }
        text.len()
    });
    decoded(spaced, arena)
}

/// How a header's octet looks in a CGI name.
fn cgi(octet: u8) -> u8 {
    if octet == b'-' { b'_' } else { octet.to_ascii_uppercase() }
}

/// Whether a header has this CGI name.  A header spelled with an underscore has none: it could be
/// mistaken for another.
fn named(header: &[u8], cgi_name: &[u8]) -> bool {
    header.len() == cgi_name.len()
        && header.iter().zip(cgi_name).all(|(h, c)| *h != b'_' && cgi(*h) == *c)
}
