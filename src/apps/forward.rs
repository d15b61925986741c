//! Forwarding: requests go on by HTTP to other servers, for development and tests.  It blocks a thread
//! for each request, and opens a connection for each; nginx and HAProxy are for production.
//!
//! Nothing is kept between requests but who has failed, so that nothing crosses a fork.

mod upstreams;

use std::io::{self, Read};
use std::time::Duration;

use ureq::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ureq::http::{Method, Request, Uri};
use ureq::{Agent, BodyReader, Error as Failure, SendBody};

use super::arguments::{Arguments, wrong};
use super::say;
use crate::base::error::{Error, Kind, Result};
use crate::base::log::Level;
use crate::base::octets::Pair;
use crate::gateway::abi::{ENV_HAS_BODY, Environ, Response, StartResponse};
use crate::gateway::app::App;
use crate::gateway::body::Body;
use crate::gateway::head::is_hop_by_hop;
use crate::sys::clock;
use crate::wire::percent;
use upstreams::{Upstream, Upstreams};

/// What there is to be said to it.
const USAGE: &str = "to=http://127.0.0.1:9001,http://127.0.0.1:9002 host=keep connect_timeout=5s \
                     timeout=60s rest=10s";

/// Octets of an answer that are passed on at once.
const PIECE: usize = 16 * 1024;

/// Forwards everything.
#[derive(Debug)]
pub(super) struct Forward {
    agent: Agent,
    upstreams: Upstreams,
    keeps_host: bool,
}

impl Forward {
    pub(super) fn new(args: &str) -> Result<Self> {
        let args = Arguments::read(args, USAGE)?;
        let to = args.need("to", "http://host:port, or several with commas between them")?;
        let duration = |key, preset| Ok::<_, Error>(args.duration(key)?.unwrap_or(preset));
        let rest = duration("rest", Duration::from_secs(10))?;
        let connect = duration("connect_timeout", Duration::from_secs(5))?;
        let timeout = duration("timeout", Duration::from_secs(60))?;
        let keeps_host = match args.get("host").unwrap_or("keep") {
            "keep" => true,
            "upstream" => false,
            other => return Err(wrong("host", other, "keep or upstream")),
        };
        let limit = |time: Duration| (!time.is_zero()).then_some(time);
        let config = Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .allow_non_standard_methods(true)
            .user_agent("")
            .accept("")
            .accept_encoding("")
            // Of a connection that waits nobody knows whether it still leads anywhere.
            .max_idle_connections(0)
            .max_idle_connections_per_host(0)
            .timeout_connect(limit(connect))
            .timeout_recv_response(limit(timeout))
            .timeout_per_read(limit(timeout))
            .timeout_per_write(limit(timeout))
            .build();
        Ok(Forward { agent: config.new_agent(), upstreams: Upstreams::new(to, rest)?, keeps_host })
    }

    /// The request for this upstream, without its body.
    fn request(&self, env: &Environ, upstream: &Upstream, has_body: bool) -> Result<Request<()>> {
        let refused = |what: &str| Error::new(Kind::Protocol, format!("forward: {what}"));
        let method = Method::from_bytes(env.request_method()).map_err(|_| refused("its method"))?;
        let uri = target(env, &upstream.url).ok_or_else(|| refused("its path"))?;
        let mut request = Request::new(());
        let fields = request.headers_mut();
        let named = connection_names(
            env.headers().iter().map(|it| (it.name.as_slice(), it.value.as_slice())),
        );
        for (name, value, is_clients) in &fields_of(env) {
            let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
            // To many a server `X_Forwarded_For` is the same as X-Forwarded-For.
            if name.contains(&b'_') {
                continue;
            }
            let is_ours = is("content-length") || is("expect") || is("host");
            let is_told = is("forwarded")
                || name.get(..12).is_some_and(|it| it.eq_ignore_ascii_case(b"x-forwarded-"));
            if is_hop_by_hop(name)
                || *is_clients && named.iter().any(|it| name.eq_ignore_ascii_case(it))
                || is_ours
                || is_told
            {
                continue;
            }
            put(fields, name, value)?;
        }
        if self.keeps_host {
            put(fields, b"Host", env.get(b"HTTP_HOST").as_slice())?;
        }
        if has_body && env.content_length() >= 0 {
            put(fields, b"Content-Length", env.content_length().to_string().as_bytes())?;
        }
        tell_of_client(env, fields)?;
        (*request.method_mut(), *request.uri_mut()) = (method, uri);
        Ok(request)
    }

    /// Ask one of them: an answer, or what has failed.
    fn ask(
        &self,
        request: Request<()>,
        body: SendBody<'_>,
    ) -> std::result::Result<Answer, Failure> {
        let (head, ()) = request.into_parts();
        self.agent.run(Request::from_parts(head, body))
    }
}

type Answer = ureq::http::Response<ureq::Body>;

impl App for Forward {
    fn call(&self, env: &Environ, start_response: &StartResponse<'_>) -> Result<Body> {
        let has_body = env.flags() & ENV_HAS_BODY != 0 || env.content_length() >= 0;
        let is_idempotent = matches!(
            env.request_method(),
            b"GET" | b"HEAD" | b"OPTIONS" | b"TRACE" | b"PUT" | b"DELETE"
        );
        let mut status = 502;
        for upstream in self.upstreams.turns(clock::monotonic_ms()) {
            let request = match self.request(env, upstream, has_body) {
                Ok(request) => request,
                Err(error) if error.kind() == Kind::Protocol => {
                    env.log(Level::Info, error.message().as_bytes());
                    return say(start_response, 400, &[], "this cannot be forwarded\n");
                }
                Err(error) => return Err(error),
            };
            let mut input = Input { env, was_read: false, failure: None };
            let asked = match has_body {
                true => self.ask(request, SendBody::from_reader(&mut input)),
                false => self.ask(request, SendBody::none()),
            };
            let failure = match asked {
                Ok(answer) => return pass_on(answer, start_response),
                Err(failure) => failure,
            };
            if let Some(error) = input.failure {
                // The client's fault, or its leave.
                return Err(error);
            }
            self.upstreams.failed(upstream, clock::monotonic_ms());
            let text = format!("forward: {}: {failure}", upstream.url);
            env.log(Level::Warn, text.as_bytes());
            status = if matches!(failure, Failure::Timeout(_)) { 504 } else { 502 };
            let may_repeat =
                !input.was_read && (!was_sent(&failure) || is_idempotent && has_ended(&failure));
            if !may_repeat {
                break;
            }
        }
        let text = if status == 504 { "no answer in time\n" } else { "no upstream answers\n" };
        say(start_response, status, &[], text)
    }
}

/// Whether something of a request may have got there.
fn was_sent(failure: &Failure) -> bool {
    use io::ErrorKind::{
        AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable, NotFound,
    };
    match failure {
        Failure::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve)
        | Failure::HostNotFound
        | Failure::ConnectionFailed => false,
        Failure::Io(error) => !matches!(
            error.kind(),
            ConnectionRefused | HostUnreachable | NetworkUnreachable | AddrNotAvailable | NotFound
        ),
        _ => true,
    }
}

/// Whether the connection has ended before there was a head.
fn has_ended(failure: &Failure) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match failure {
        Failure::Io(error) => {
            matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
        }
        _ => false,
    }
}

/// The answer of an upstream.
fn pass_on(answer: Answer, start_response: &StartResponse<'_>) -> Result<Body> {
    let (head, body) = answer.into_parts();
    let named = connection_names(
        head.headers.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())),
    );
    let fields: Vec<_> = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
        .filter(|(name, _)| {
            !is_hop_by_hop(name) && !named.iter().any(|it| name.eq_ignore_ascii_case(it))
        })
        .map(|(name, value)| Pair::new(name, value))
        .collect();
    start_response.respond(&Response::new(head.status.as_u16(), &fields))?;
    Ok(Body::from_chunks(Pieces(Some(body.into_with_config().limit(u64::MAX).reader()))))
}

/// What comes of a body, as it comes.
struct Pieces(Option<BodyReader<'static>>);

impl Iterator for Pieces {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut piece = vec![0; PIECE];
        match self.0.as_mut()?.read(&mut piece) {
            Ok(0) => None,
            Ok(n) => {
                piece.truncate(n);
                Some(Ok(piece))
            }
            Err(error) => {
                self.0 = None;
                let text = format!("forward: the answer broke off: {error}");
                Some(Err(Error::new(Kind::App, text)))
            }
        }
    }
}

/// The request's body, as it comes.
struct Input<'a> {
    env: &'a Environ,
    was_read: bool,
    failure: Option<Error>,
}

impl Read for Input<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.was_read = true;
        self.env.read(buf).map_err(|error| {
            let text = error.message().to_owned();
            self.failure = Some(error);
            io::Error::other(text)
        })
    }
}

/// Where a request goes: what is below the mount point, as the client wrote it where that is known.
fn target(env: &Environ, base: &str) -> Option<Uri> {
    let mut url = base.as_bytes().to_vec();
    let written = env.request_uri();
    let path = written.split(|octet| *octet == b'?').next().unwrap_or_default();
    let mut decoded = Vec::with_capacity(path.len());
    percent::decode_into(path, &mut decoded);
    // Middleware may have another path in mind, and so may a web server.
    if env.script_name().is_empty() && path.starts_with(b"/") && decoded == env.path_info() {
        url.extend_from_slice(path);
    } else {
        percent::encode_path(env.path_info(), &mut url);
    }
    if !env.query_string().is_empty() {
        url.push(b'?');
        url.extend_from_slice(env.query_string());
    }
    let uri = Uri::try_from(url).ok()?;
    // Nothing has become part of the host.
    let base: Uri = base.parse().ok()?;
    (uri.authority() == base.authority()).then_some(uri)
}

/// The fields of a request, with what middleware says of them in an environ of its own: another value,
/// none, or a field that the client did not send.  Whether each is the client's: only those may a
/// Connection field take away.
fn fields_of(env: &Environ) -> Vec<(Vec<u8>, Vec<u8>, bool)> {
    let variable = |name: &[u8]| -> Vec<u8> {
        let upper = name.iter().map(|octet| match octet {
            b'-' => b'_',
            octet => octet.to_ascii_uppercase(),
        });
        b"HTTP_".iter().copied().chain(upper).collect()
    };
    let said = env.vars().iter().filter(|it| it.name.as_slice().starts_with(b"HTTP_"));
    let is_said = |name: &[u8]| said.clone().any(|it| it.name.as_slice() == name);
    let own = env.headers().iter().filter(|it| !is_said(&variable(it.name.as_slice())));
    let own = own.map(|it| (it.name.as_slice().to_vec(), it.value.as_slice().to_vec(), true));
    let others = said.clone().filter(|it| !it.value.is_missing()).map(|it| {
        let name = it.name.as_slice()[b"HTTP_".len()..].iter();
        let name = name.map(|octet| if *octet == b'_' { b'-' } else { *octet }).collect();
        (name, it.value.as_slice().to_vec(), false)
    });
    own.chain(others).collect()
}

/// Who asks, and how: X-Forwarded-*, and Forwarded (RFC 7239).
fn tell_of_client(env: &Environ, fields: &mut HeaderMap) -> Result<()> {
    let address = match env.remote_addr() {
        b"unix:" | b"" => &b"unknown"[..],
        address => address,
    };
    let host = env.get(b"HTTP_HOST");
    let host = host.as_slice();
    // Whoever is not believed may have said anything before.
    let before = |name: &[u8]| match env.exchange()?.is_trusted() {
        true => Ok::<_, Error>(env.get(name).as_slice().to_vec()),
        false => Ok(Vec::new()),
    };
    let behind = |mut list: Vec<u8>, last: &[u8]| {
        list.extend_from_slice(if list.is_empty() { b"" } else { b", " });
        list.extend_from_slice(last);
        list
    };
    put(fields, b"X-Forwarded-For", &behind(before(b"HTTP_X_FORWARDED_FOR")?, address))?;
    put(fields, b"X-Forwarded-Proto", env.url_scheme())?;
    if !host.is_empty() {
        put(fields, b"X-Forwarded-Host", host)?;
    }
    if !env.script_name().is_empty() {
        let mut prefix = Vec::new();
        percent::encode_path(env.script_name(), &mut prefix);
        put(fields, b"X-Forwarded-Prefix", &prefix)?;
    }
    let mut element = b"for=".to_vec();
    match address.contains(&b':') {
        true => element.extend([b"\"[", address, b"]\""].concat()),
        false => element.extend(address),
    }
    element.extend([b";proto=", env.url_scheme()].concat());
    // What needs escapes in a quoted string is in no host.
    if !host.is_empty() && !host.iter().any(|octet| b"\"\\".contains(octet)) {
        element.extend([b";host=\"", host, b"\""].concat());
    }
    put(fields, b"Forwarded", &behind(before(b"HTTP_FORWARDED")?, &element))
}

fn put(fields: &mut HeaderMap, name: &[u8], value: &[u8]) -> Result<()> {
    let refused = || Error::new(Kind::Protocol, "forward: a field that cannot be forwarded");
    let name = HeaderName::from_bytes(name).map_err(|_| refused())?;
    let value = HeaderValue::from_bytes(value).map_err(|_| refused())?;
    fields.try_append(name, value).map(drop).map_err(|_| refused())
}

/// The fields that a Connection field makes hop-by-hop, too (RFC 9110, 7.6.1).
fn connection_names<'a>(fields: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<&'a [u8]> {
    let is_connection =
        |name: &[u8]| name.eq_ignore_ascii_case(header::CONNECTION.as_str().as_bytes());
    fields
        .filter(|(name, _)| is_connection(name))
        .flat_map(|(_, value)| value.split(|octet| *octet == b','))
        .map(<[u8]>::trim_ascii)
        .collect()
}
