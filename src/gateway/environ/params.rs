//! The environ of a request that a web server in front describes with CGI variables: the same as if
//! its HTTP had come here.

use crate::base::arena::Arena;
use crate::base::octets::{Octets, Pair};
use crate::gateway::abi::{ENV_HAS_BODY, Environ};
use crate::wire::{Field, Framing, Params, Span, percent};

use super::{Origin, named_by};

/// Variables that are ours to say, whoever else says them.
pub(super) const OURS: [&[u8]; 2] = [b"SERVER_SOFTWARE", b"GATEWAY_INTERFACE"];

/// What only a front that is trusted may say: who the client is, and what was found out about it.
const OF_CLIENT: [&[u8]; 4] = [b"REMOTE_USER", b"REMOTE_HOST", b"REMOTE_IDENT", b"AUTH_TYPE"];

/// The same, by how a name begins.
const OF_CLIENT_BEGIN: [&[u8]; 2] = [b"SSL_", b"PROXY_"];

/// As [`super::build`], from variables whose spans `view` shows, for as long as the request.
pub(in crate::gateway) fn build(
    env: &mut Environ,
    (params, framing): (&Params, Framing),
    view: impl Fn(Span) -> Octets<'static> + Copy,
    origin: &Origin<'_>,
    arena: &Arena,
    headers: &mut Vec<Pair<'static>>,
    vars: &mut Vec<Pair<'static>>,
) {
    let or = |span: Option<Span>, other: Octets<'static>| span.map_or(other, view);
    env.request_method = view(params.method);
    env.query_string = view(params.query);
    (env.script_name, env.path_info) = path(params, &view, arena);
    env.request_uri = match params.uri {
        Some(uri) => view(uri),
        None => rebuilt(env, arena),
    };
    env.content_type = or(params.content_type, Octets::MISSING);
    env.content_length = match framing {
        Framing::Length(length) => i64::try_from(length).unwrap_or(i64::MAX),
        Framing::None | Framing::Chunked => -1,
    };
    if framing != Framing::None {
        env.flags |= ENV_HAS_BODY;
    }
    env.server_protocol = or(params.protocol, Octets::new(b"HTTP/1.1"));
    env.url_scheme = if params.is_https && origin.is_trusted {
        Octets::new(b"https")
    } else {
        Octets::new(origin.scheme)
    };
    // An address without a port is whole; the port of our own peer belongs to another.
    let texts = |end| arena.views(end, |end: &crate::sys::sock::Peer| [end.address(), end.port()]);
    [env.remote_addr, env.remote_port] = match params.remote_addr.filter(|_| origin.is_trusted) {
        Some(address) => [view(address), or(params.remote_port, Octets::new(b""))],
        None => texts(origin.remote),
    };

    headers.clear();
    let pair = |name: &'static [u8], value| Pair { name: Octets::new(name), value };
    headers.extend(params.content_type.map(|it| pair(b"content-type", view(it))));
    if let Framing::Length(length) = framing {
        let digits = arena.copy(itoa::Buffer::new().format(length).as_bytes());
        headers.push(pair(b"content-length", digits));
    }
    let header =
        |field: &Field| Pair { name: lower(view(field.name), arena), value: view(field.value) };
    headers.extend(params.headers.iter().map(header));

    let host = headers.iter().find(|it| it.name.as_slice() == b"host").map(|it| it.value);
    let [name, port] = texts(origin.local);
    let (name, port) = if port.as_slice().is_empty() { named_by(host) } else { (name, port) };
    env.server_name = or(params.server_name, name);
    env.server_port = or(params.server_port, port);

    vars.clear();
    vars.extend(params.others.iter().filter_map(|field| {
        let name = view(field.name);
        let text = name.as_slice();
        let is_ours =
            OURS.contains(&text) || text.starts_with(b"wsgi.") || text.starts_with(b"gateway.");
        let is_told = origin.is_trusted
            || !(OF_CLIENT.contains(&text)
                || OF_CLIENT_BEGIN.iter().any(|begin| text.starts_with(begin)));
        (!is_ours && is_told).then(|| Pair { name, value: view(field.value) })
    }));
    env.set_headers(headers.as_slice());
    env.set_vars(vars.as_slice());
}

/// SCRIPT_NAME and PATH_INFO.  A front that says only one path, as SCRIPT_NAME, means a script that
/// it would have run: to us it is the path below our root.
fn path(
    params: &Params,
    view: &impl Fn(Span) -> Octets<'static>,
    arena: &Arena,
) -> (Octets<'static>, Octets<'static>) {
    let script = view(params.script_name);
    match params.path_info {
        Some(path) if params.strips_script_name => (script, stripped(view(path), script)),
        Some(path) => (script, view(path)),
        None if !script.as_slice().is_empty() => (Octets::new(b""), script),
        None => (script, params.uri.map_or(Octets::new(b"/"), |uri| path_of(view(uri), arena))),
    }
}

fn stripped(path: Octets<'static>, script: Octets<'static>) -> Octets<'static> {
    match path.as_slice().strip_prefix(script.as_slice()) {
        Some(rest) if rest.is_empty() || rest[0] == b'/' => Octets::new(rest),
        _ => path,
    }
}

fn path_of(uri: Octets<'static>, arena: &Arena) -> Octets<'static> {
    let uri = uri.as_slice();
    let end = memchr::memchr(b'?', uri).unwrap_or(uri.len());
    arena.build(end, |room| percent::decode_to_slice(&uri[..end], room))
}

/// REQUEST_URI, of a front that does not say it.
pub(super) fn rebuilt(env: &Environ, arena: &Arena) -> Octets<'static> {
    let [script, path, query] = [env.script_name, env.path_info, env.query_string];
    let mut uri = Vec::with_capacity(64);
    percent::encode_path(script.as_slice(), &mut uri);
    percent::encode_path(path.as_slice(), &mut uri);
    if !query.as_slice().is_empty() {
        uri.push(b'?');
        uri.extend_from_slice(query.as_slice());
    }
    arena.copy(&uri)
}

/// How a header's CGI name is spelled as a header.
fn lower(name: Octets<'static>, arena: &Arena) -> Octets<'static> {
    let name = name.as_slice();
    arena.build(name.len(), |room| {
        for (to, from) in room.iter_mut().zip(name) {
            *to = if *from == b'_' { b'-' } else { from.to_ascii_lowercase() };
        }
        name.len()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buf::ReadBuf;
    use crate::sys::sock::Peer;
    use crate::wire::Limits;
    use crate::wire::params::Repeats;

    const UNLIMITED: Limits = Limits { line: 0, fields: 0, field_size: 0, head: 0, body: 0 };

    /// Variables of the environ that a front's variables become, joined with spaces.
    fn built(front: &[(&str, &str)], strips: bool, local: &Peer, ask: &str) -> String {
        of_trust(true, front, strips, local, ask)
    }

    fn of_trust(
        is_trusted: bool,
        front: &[(&str, &str)],
        strips: bool,
        local: &Peer,
        ask: &str,
    ) -> String {
        let (mut params, mut octets) = (Params::default(), Vec::new());
        for (name, value) in front {
            let [name, value] = [name, value].map(|text| {
                let start = octets.len() as u32;
                octets.extend_from_slice(text.as_bytes());
                Span { start, len: text.len() as u32 }
            });
            params.push(name, value);
        }
        params.settle(&octets, &UNLIMITED, Repeats::LastWins).unwrap();
        params.strips_script_name = strips;
        let mut buf = ReadBuf::default();
        buf.fill(octets.len()).extend_from_slice(&octets);
        buf.pin(octets.len(), 0);
        let framing = params.content_length.map_or(Framing::None, Framing::Length);
        let origin = Origin { remote: &Peer::unix(), local, scheme: b"http", is_trusted };
        let (arena, mut headers, mut vars) = (Arena::new(), Vec::new(), Vec::new());
        let mut env = Environ::EMPTY;
        let view = |span: Span| buf.view(span.start as usize, span.len as usize);
        build(&mut env, (&params, framing), view, &origin, &arena, &mut headers, &mut vars);
        let values: Vec<_> = ask
            .split(' ')
            .map(|name| {
                let value = env.get(name.as_bytes());
                let text = String::from_utf8_lossy(value.as_slice()).into_owned();
                if value.is_missing() { "-".into() } else { text }
            })
            .collect();
        values.join(" ")
    }

    #[test]
    fn it_is_as_if_http_had_come_here() {
        let front = [
            ("REQUEST_METHOD", "POST"),
            ("REQUEST_URI", "/a%20b?x=1"),
            ("PATH_INFO", "/a_b"),
            ("QUERY_STRING", "x=1"),
            ("CONTENT_TYPE", "text/plain"),
            ("CONTENT_LENGTH", "5"),
            ("SERVER_NAME", "example.org"),
            ("SERVER_PORT", "443"),
            ("SERVER_PROTOCOL", "HTTP/2.0"),
            ("SERVER_SOFTWARE", "nginx"),
            ("REMOTE_ADDR", "192.0.2.1"),
            ("HTTPS", "on"),
            ("HTTP_HOST", "example.org"),
            ("HTTP_ACCEPT_LANGUAGE", "de"),
            ("DOCUMENT_ROOT", "/srv"),
            ("wsgi.errors", "x"),
        ];
        let ask = "REQUEST_METHOD SCRIPT_NAME PATH_INFO QUERY_STRING REQUEST_URI CONTENT_TYPE \
                   SERVER_NAME SERVER_PORT SERVER_PROTOCOL REMOTE_ADDR REMOTE_PORT wsgi.url_scheme \
                   HTTP_HOST HTTP_ACCEPT_LANGUAGE DOCUMENT_ROOT wsgi.errors GATEWAY_INTERFACE";
        assert_eq!(
            built(&front, false, &Peer::unix(), ask),
            "POST  /a_b x=1 /a%20b?x=1 text/plain example.org 443 HTTP/2.0 192.0.2.1  https \
             example.org de /srv - CGI/1.1"
        );
    }

    #[test]
    fn who_is_not_trusted_says_nothing_of_the_client() {
        let front = [
            ("REQUEST_METHOD", "GET"),
            ("REMOTE_ADDR", "192.0.2.1"),
            ("REMOTE_PORT", "1"),
            ("HTTPS", "on"),
            ("REQUEST_SCHEME", "https"),
            ("REMOTE_USER", "root"),
            ("AUTH_TYPE", "Basic"),
            ("SSL_CLIENT_VERIFY", "SUCCESS"),
            ("PROXY_ADDR", "192.0.2.2"),
            ("DOCUMENT_ROOT", "/srv"),
            ("HTTP_X", "y"),
        ];
        let ask = "REMOTE_ADDR REMOTE_PORT wsgi.url_scheme HTTPS REMOTE_USER AUTH_TYPE \
                   SSL_CLIENT_VERIFY PROXY_ADDR DOCUMENT_ROOT HTTP_X";
        let local = Peer::v4([127, 0, 0, 1].into(), 9000);
        assert_eq!(
            of_trust(true, &front, false, &local, ask),
            "192.0.2.1 1 https on root Basic SUCCESS 192.0.2.2 /srv y"
        );
        assert_eq!(of_trust(false, &front, false, &local, ask), "unix:  http - - - - - /srv y");
    }

    #[test]
    fn a_path_is_found_wherever_it_is_said() {
        let get = ("REQUEST_METHOD", "GET");
        let ask = "SCRIPT_NAME PATH_INFO REQUEST_URI";
        for (front, strips, expected) in [
            (&[("SCRIPT_NAME", "/m"), ("PATH_INFO", "/m/p")][..], true, "/m /p /m/p"),
            (&[("SCRIPT_NAME", "/m"), ("PATH_INFO", "/mp")], true, "/m /mp /m/mp"),
            (&[("SCRIPT_NAME", "/m"), ("PATH_INFO", "/p")], false, "/m /p /m/p"),
            (&[("SCRIPT_NAME", "/a b"), ("QUERY_STRING", "q")], false, " /a b /a%20b?q"),
            (&[("SCRIPT_NAME", "/"), ("PATH_INFO", "/p")], false, " /p /p"),
            (&[("REQUEST_URI", "/%41?b")], false, " /A /%41?b"),
            (&[("SCRIPT_NAME", "/m"), ("PATH_INFO", "")], false, "/m  /m"),
            (&[], false, " / /"),
        ] {
            let front = [&[get], front].concat();
            assert_eq!(built(&front, strips, &Peer::unix(), ask), expected, "{front:?}");
        }
    }

    #[test]
    fn what_a_front_does_not_say_is_known_of_the_connection() {
        let get = [("REQUEST_METHOD", "GET")];
        let ask = "SERVER_NAME SERVER_PORT REMOTE_ADDR wsgi.url_scheme SERVER_PROTOCOL";
        let local = Peer::v4([127, 0, 0, 1].into(), 9000);
        assert_eq!(built(&get, false, &local, ask), "127.0.0.1 9000 unix: http HTTP/1.1");
        let named = [get[0], ("HTTP_HOST", "h:81")];
        assert_eq!(built(&named, false, &Peer::unix(), ask), "h 81 unix: http HTTP/1.1");
    }
}
