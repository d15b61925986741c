//! The program was started by a web server to answer one request (RFC 3875): the request is in its
//! environment and standard input, the answer is its standard output.
//!
//! It is the request of an SCGI connection whose other end is in this process.

use std::io;
use std::os::fd::{AsFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::Builder;

use super::hooked;
use crate::base::error::{Error, Kind, Result};
use crate::conf::listener::Protocol;
use crate::conf::trust::{Networks, ProxyProtocol};
use crate::gateway::config::Config;
use crate::gateway::counters::Counters;
use crate::gateway::service::Worker;
use crate::server::engine::Engine;
use crate::server::setup::Setup;
use crate::sys::proc::SignalMask;
use crate::sys::relay;
use crate::wire::scgi;

/// Whether a web server has started this process to answer one request.
pub(crate) fn is_one_request() -> bool {
    let is = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_cgi = std::env::var_os("GATEWAY_INTERFACE")
        .is_some_and(|value| value.as_bytes().starts_with(b"CGI/"));
    is_cgi && is("REQUEST_METHOD") && !relay::listens(io::stdin().as_fd())
}

/// Answer it.
pub(super) fn serve_once(mut config: Config) -> Result<()> {
    let settings = config.settings_mut();
    settings.listeners.clear();
    settings.workers = 1;
    // Whoever has started this program says who its client is.
    settings.forwarded_allow_ips = Networks::UNIX;
    settings.proxy_protocol = ProxyProtocol::Off;
    let mut setup = Setup::new(config)?;
    setup.once = true;
    let setup = Arc::new(setup);
    let mut engine = Engine::new(Arc::clone(&setup), Vec::new(), Arc::new(Counters::default()))?;
    let worker = Worker { server: Some(Arc::new(engine.remote())), ..Worker::default() };
    hooked(&setup.stack.hooks, &worker, || answer(&mut engine))?
}

fn answer(engine: &mut Engine) -> Result<()> {
    let os = |error| Error::os("answer a CGI request", &error);
    let (head, len) = head()?;
    let (ours, theirs) = UnixStream::pair().map_err(os)?;
    engine.adopt_as(theirs.into_raw_fd(), Protocol::Scgi)?;
    let mask = SignalMask::block_all_but_faults();
    let relays = Builder::new().name("gateway-cgi".into()).spawn(move || {
        relay::relay(head, io::stdin().as_fd(), len, ours.as_fd(), io::stdout().as_fd())
    });
    mask.restore();
    let relays = relays.map_err(os)?;
    let mut wait = 0;
    while engine.has_connections() {
        match engine.turn(wait)? {
            Some(next) => wait = next,
            None => break,
        }
    }
    let relayed = relays.join().map_err(|_| Error::from(Kind::Panic))?;
    relayed.map_err(os)
}

/// The environment as SCGI has it, and the length of the body.
fn head() -> Result<(Vec<u8>, u64)> {
    let text = std::env::var_os("CONTENT_LENGTH").unwrap_or_default();
    let text = text.to_str().unwrap_or("?").trim();
    let len = match text {
        "" => 0,
        digits => digits.parse().map_err(|_| {
            Error::new(Kind::Protocol, format!("CONTENT_LENGTH is not a number: {text:?}"))
        })?,
    };
    let mut vars: Vec<_> = std::env::vars_os()
        .filter(|(name, _)| is_of_request(name.as_bytes()))
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect();
    // Here the script is the application: without PATH_INFO its path is empty.
    if !vars.iter().any(|(name, _)| name == b"PATH_INFO") {
        vars.push((b"PATH_INFO".to_vec(), Vec::new()));
    }
    Ok((scgi::encode(len, &vars), len))
}

/// The environment is also that of a process: what is not the request's stays there.
fn is_of_request(name: &[u8]) -> bool {
    const OTHERS: [&[u8]; 22] = [
        b"AUTH_TYPE",
        b"CONTENT_TYPE",
        b"DOCUMENT_ROOT",
        b"DOCUMENT_URI",
        b"HTTPS",
        b"PATH_INFO",
        b"PATH_TRANSLATED",
        b"QUERY_STRING",
        b"REMOTE_ADDR",
        b"REMOTE_HOST",
        b"REMOTE_IDENT",
        b"REMOTE_PORT",
        b"REMOTE_USER",
        b"REQUEST_METHOD",
        b"REQUEST_SCHEME",
        b"REQUEST_URI",
        b"SCRIPT_FILENAME",
        b"SCRIPT_NAME",
        b"SERVER_ADDR",
        b"SERVER_NAME",
        b"SERVER_PORT",
        b"SERVER_PROTOCOL",
    ];
    OTHERS.contains(&name)
        || name.starts_with(b"HTTP_")
        || name.starts_with(b"SSL_")
        || name.starts_with(b"REDIRECT_")
}
