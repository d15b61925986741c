//! The program was started by a web server to answer one request (RFC 3875): the request is in its
//! environment and standard input, the answer is its standard output.
//!
//! It is the request of an SCGI connection whose other end is in this process.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, IntoRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::Builder;

use super::hooked;
use super::spawned::is_spawned;
use crate::base::error::{Error, Kind, Result};
use crate::conf::listener::Protocol;
use crate::conf::output::Output;
use crate::conf::trust::{Networks, ProxyProtocol};
use crate::gateway::config::Config;
use crate::gateway::counters::Counters;
use crate::gateway::service::Worker;
use crate::server::engine::Engine;
use crate::server::setup::{STDERR, Setup};
use crate::sys::proc::SignalMask;
use crate::sys::relay;
use crate::wire::scgi;
use crate::wire::variables::is_of_request;

/// Whether a web server has started this process to answer one request.  Somebody at a terminal, whose
/// shell may have anything in its environment, has not.
pub(crate) fn is_one_request() -> bool {
    let is = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_cgi = std::env::var_os("GATEWAY_INTERFACE")
        .is_some_and(|value| value.as_bytes().starts_with(b"CGI/"));
    is_cgi && is("REQUEST_METHOD") && !is_spawned() && !io::stdin().is_terminal()
}

/// Answer it.
pub(super) fn serve_once(mut config: Config) -> Result<()> {
    let os = |error| Error::os("answer a CGI request", &error);
    if !relay::is_open(io::stdout().as_fd()) {
        let text = "answer a CGI request: standard output is closed";
        return Err(Error::new(Kind::Invalid, text));
    }
    // Without a standard input the next descriptor would be that: this one.
    let is_open = relay::is_open(io::stdin().as_fd());
    let _nothing = (!is_open).then(|| File::open("/dev/null")).transpose().map_err(os)?;
    let settings = config.settings_mut();
    settings.listeners.clear();
    settings.workers = 1;
    // Whoever has started this program says who its client is.
    settings.forwarded_allow_ips = Networks::UNIX;
    settings.proxy_protocol = ProxyProtocol::Off;
    if settings.accesslog == Output::Standard {
        // That is where the answer goes.
        settings.accesslog = Output::Fd(STDERR);
    }
    let mut setup = Setup::new(config)?;
    setup.once = true;
    let setup = Arc::new(setup);
    let mut engine = Engine::new(Arc::clone(&setup), Vec::new(), Arc::new(Counters::default()))?;
    let worker = Worker { server: Some(Arc::new(engine.remote())), ..Worker::default() };
    hooked(&setup.stack.hooks, &worker, || answer(&mut engine))?
}

fn answer(engine: &mut Engine) -> Result<()> {
    let os = |error| Error::os("answer a CGI request", &error);
    let (head, len) = head();
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
fn head() -> (Vec<u8>, u64) {
    let text = std::env::var_os("CONTENT_LENGTH").filter(|text| !text.is_empty());
    let text = text.unwrap_or_else(|| "0".into());
    // What is no length gets its answer where all requests are read.
    let len = text.to_str().and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut vars: Vec<_> = std::env::vars_os()
        // It is said before all others.
        .filter(|(name, _)| is_of_request(name.as_bytes()) && name != "CONTENT_LENGTH")
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
        .collect();
    // Here the script is the application: without PATH_INFO its path is empty.
    if !vars.iter().any(|(name, _)| name == b"PATH_INFO") {
        vars.push((b"PATH_INFO".to_vec(), Vec::new()));
    }
    (scgi::encode(text.as_bytes(), &vars), len)
}
