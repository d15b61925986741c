//! A name for each request that goes from server to server: X-Request-ID, in the environ and in the
//! answer.

use super::arguments::{Arguments, wrong};
use super::middleware::{Entered, Middleware, Said};
use crate::base::error::Result;
use crate::base::octets::Pair;
use crate::gateway::abi::{Environ, Response, StartResponse};

/// What there is to be said to it.
const USAGE: &str = "accept=trusted respond=on";
const FIELD: &[u8] = b"X-Request-ID";
const VARIABLE: &[u8] = b"HTTP_X_REQUEST_ID";
/// A longer one is not taken.
const MAX: usize = 128;
/// Fields of a head that fit without memory of their own.
const FEW: usize = 32;

/// Whose names are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accept {
    Nobody,
    /// Peers that are believed to speak of others.
    Trusted,
    Anybody,
}

/// Gives a request its name.
#[derive(Debug)]
pub(super) struct RequestId {
    accept: Accept,
    responds: bool,
}

impl RequestId {
    pub(super) fn new(args: &str) -> Result<Self> {
        let args = Arguments::read(args, USAGE)?;
        let accept = match args.get("accept").unwrap_or("trusted") {
            "trusted" => Accept::Trusted,
            "all" => Accept::Anybody,
            "none" => Accept::Nobody,
            other => return Err(wrong("accept", other, "trusted, all or none")),
        };
        Ok(RequestId { accept, responds: args.get("respond").is_none() || args.flag("respond")? })
    }
}

/// Whether this can be a name: it goes into logs, and into other people's programs.
fn is_sound(id: &[u8]) -> bool {
    let is_fine = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_.:=+/@~#".contains(octet);
    (1..=MAX).contains(&id.len()) && id.iter().all(is_fine)
}

impl Middleware for RequestId {
    fn enter<'a>(&self, env: &'a Environ, _: &StartResponse<'_>) -> Result<Entered<'a>> {
        let x = env.exchange()?;
        let is_believed = match self.accept {
            Accept::Nobody => false,
            Accept::Trusted => x.is_trusted(),
            Accept::Anybody => true,
        };
        if is_believed && is_sound(env.get(VARIABLE).as_slice()) {
            return Ok(Entered::Passed);
        }
        let derived = env.derive()?;
        derived.set(VARIABLE, Some(x.request_id().as_slice()))?;
        Ok(Entered::Derived(derived))
    }

    fn watches_head(&self) -> bool {
        self.responds
    }

    fn head<'a>(
        &self,
        env: &Environ,
        head: &Response<'_>,
        start_response: &StartResponse<'a>,
        _: bool,
    ) -> Result<Said<'a>> {
        let said = head.headers();
        let is_interim = (100..200).contains(&head.status);
        if is_interim || said.iter().any(|it| it.name.as_slice().eq_ignore_ascii_case(FIELD)) {
            return Ok(Said::Nothing);
        }
        let id = Pair::new(FIELD, env.get(VARIABLE).as_slice());
        let (mut few, many);
        let fields = if said.len() < FEW {
            few = [Pair::default(); FEW];
            few[..said.len()].copy_from_slice(said);
            few[said.len()] = id;
            &few[..=said.len()]
        } else {
            many = [said, &[id]].concat();
            &many
        };
        start_response.respond(&head.with_headers(fields)).map(Said::Another)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_taken() {
        let long = "a".repeat(MAX);
        for (id, is_taken) in [
            ("a", true),
            ("7f1c2d3e-0000-4000-8000-000000000000", true),
            ("Root=1-67891233-abcdef012345678912345678", true),
            (long.as_str(), true),
            (&format!("{long}a"), false),
            ("", false),
            ("a b", false),
            ("a,b", false),
            ("a\"b", false),
            ("a\\b", false),
            ("a<b", false),
            ("é", false),
            ("a\x1b[0m", false),
        ] {
            assert_eq!(is_sound(id.as_bytes()), is_taken, "{id}");
        }
    }
}
