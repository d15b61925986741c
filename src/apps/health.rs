//! Whether the server is alive, and whether it wants more requests, for whoever balances load.

use super::arguments::{Arguments, wrong};
use super::{APP_METHODS, say};
use crate::base::error::Result;
use crate::base::octets::Pair;
use crate::gateway::abi::{Environ, StartResponse};
use crate::gateway::app::App;
use crate::gateway::body::Body;

/// What there is to be said to it.
const USAGE: &str = "check=ready";

/// What is asked.
#[derive(Debug)]
pub(super) enum Health {
    /// Anything that answers is alive.
    Live,
    /// Neither about to stop, nor stopping.
    Ready,
}

impl Health {
    pub(super) fn new(args: &str) -> Result<Self> {
        match Arguments::read(args, USAGE)?.get("check").unwrap_or("ready") {
            "live" => Ok(Health::Live),
            "ready" => Ok(Health::Ready),
            other => Err(wrong("check", other, "live or ready")),
        }
    }
}

impl App for Health {
    fn call(&self, env: &Environ, start_response: &StartResponse<'_>) -> Result<Body> {
        let fresh = Pair::new(b"Cache-Control", b"no-store");
        if !APP_METHODS.contains(&env.request_method()) {
            let allow = [Pair::new(b"Allow", b"GET, HEAD")];
            return say(start_response, 405, &allow, "GET and HEAD only\n");
        }
        match self {
            Health::Ready if !env.exchange()?.is_ready() => {
                let fields = [fresh, Pair::new(b"Retry-After", b"1")];
                say(start_response, 503, &fields, "stopping\n")
            }
            _ => say(start_response, 200, &[fresh], "ok\n"),
        }
    }
}
