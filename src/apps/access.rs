//! Who may ask at all: rules by network, of which the first that fits decides.

use std::net::IpAddr;

use super::arguments::{Arguments, wrong};
use super::middleware::{Entered, Middleware};
use super::say;
use crate::base::error::{Error, Kind, Result};
use crate::base::log::Level;
use crate::conf::trust::Networks;
use crate::gateway::abi::{Environ, StartResponse};

/// What there is to be said to it.
const USAGE: &str = "allow=10.0.0.0/8,::1,unix deny=*";

/// The rules, in order: whether who is among these may.
#[derive(Debug)]
pub(super) struct Access {
    rules: Vec<(bool, Networks)>,
    /// Whether who fits none may: where there is no list of those who may.
    others: bool,
}

impl Access {
    pub(super) fn new(args: &str) -> Result<Self> {
        let mut rules = Vec::new();
        for (key, list) in Arguments::read(args, USAGE)?.pairs() {
            let networks = list
                .parse()
                .map_err(|_| wrong(key, list, "networks with commas: 10.0.0.0/8,::1,unix,*"))?;
            rules.push((key == "allow", networks));
        }
        if rules.is_empty() {
            let text = "allow or deny is missing: networks that may, and that may not";
            return Err(Error::new(Kind::Invalid, text));
        }
        let others = !rules.iter().any(|rule| rule.0);
        Ok(Access { rules, others })
    }

    /// Whether a client with this REMOTE_ADDR may; nobody knows one that is no address.
    fn admits(&self, address: &[u8]) -> bool {
        let ip = match std::str::from_utf8(address).map(str::parse::<IpAddr>) {
            _ if address == b"unix:" => None,
            Ok(Ok(ip)) => Some(ip),
            _ => return false,
        };
        let rule = self.rules.iter().find(|(_, networks)| networks.contain(ip));
        rule.map_or(self.others, |(may, _)| *may)
    }
}

impl Middleware for Access {
    fn enter<'a>(
        &self,
        env: &'a Environ,
        start_response: &StartResponse<'_>,
    ) -> Result<Entered<'a>> {
        let address = env.remote_addr();
        if self.admits(address) {
            return Ok(Entered::Passed);
        }
        let text = format!("403: {} is not admitted", address.escape_ascii());
        env.log(Level::Info, text.as_bytes());
        say(start_response, 403, &[], "you may not ask here\n").map(Entered::Answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_fits_decides() {
        for (args, address, may) in [
            ("allow=10.0.0.0/8", "10.1.2.3", true),
            ("allow=10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("allow=10.0.0.0/8", "11.1.2.3", false),
            ("allow=10.0.0.0/8", "unix:", false),
            ("allow=unix", "unix:", true),
            ("deny=10.0.0.0/8", "10.1.2.3", false),
            ("deny=10.0.0.0/8", "11.1.2.3", true),
            ("deny=10.0.0.0/8", "unix:", true),
            ("deny=10.1.0.0/16 allow=10.0.0.0/8", "10.1.2.3", false),
            ("deny=10.1.0.0/16 allow=10.0.0.0/8", "10.2.2.3", true),
            ("deny=10.1.0.0/16 allow=10.0.0.0/8", "192.0.2.1", false),
            ("allow=10.1.0.0/16 deny=10.0.0.0/8 allow=*", "10.1.2.3", true),
            ("allow=10.1.0.0/16 deny=10.0.0.0/8 allow=*", "10.2.2.3", false),
            ("allow=10.1.0.0/16 deny=10.0.0.0/8 allow=*", "2001:db8::1", true),
            ("allow=2001:db8::/32", "2001:db8:1::1", true),
            ("allow=2001:db8::/32", "2001:db9::1", false),
            ("allow=*", "unix:", true),
            ("deny=*", "127.0.0.1", false),
            ("allow=none", "127.0.0.1", false),
            // What is no address gets nothing, whatever the rules are.
            ("allow=*", "unknown", false),
            ("deny=none", "", false),
            ("deny=none", "127.0.0.1", true),
        ] {
            let access = Access::new(args).unwrap();
            assert_eq!(access.admits(address.as_bytes()), may, "{args} {address}");
        }
    }
}
