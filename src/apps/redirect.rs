//! A redirect: everything is somewhere else.

use super::arguments::{Arguments, wrong};
use super::say;
use crate::base::error::Result;
use crate::base::octets::Pair;
use crate::gateway::abi::{Environ, StartResponse};
use crate::gateway::app::App;
use crate::gateway::body::Body;
use crate::wire::percent;

/// What there is to be said to it.
const USAGE: &str = "to=https://example.org/new status=302 keep=path,query";

/// Another place for everything.
#[derive(Debug)]
pub(super) struct Redirect {
    to: String,
    status: u16,
    keeps_path: bool,
    keeps_query: bool,
}

impl Redirect {
    pub(super) fn new(args: &str) -> Result<Self> {
        let args = Arguments::read(args, USAGE)?;
        let to = args.need("to", "where everything is")?;
        let is_place = to.starts_with('/') && !to.starts_with("//")
            || ["http://", "https://"].iter().any(|scheme| {
                to.strip_prefix(scheme)
                    .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
            });
        let is_url = to.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'\\');
        if !is_place || !is_url {
            return Err(wrong("to", to, "https://host/path, or /path, percent-encoded"));
        }
        let status = match args.get("status").unwrap_or("302") {
            "301" => 301,
            "302" => 302,
            "303" => 303,
            "307" => 307,
            "308" => 308,
            other => return Err(wrong("status", other, "301, 302, 303, 307 or 308")),
        };
        let (mut keeps_path, mut keeps_query) = (false, false);
        for what in args.get("keep").unwrap_or("none").split(',') {
            match what {
                "path" => keeps_path = true,
                "query" => keeps_query = true,
                "none" => {}
                _ => return Err(wrong("keep", what, "path, query, both with a comma, or none")),
            }
        }
        if to.contains('#') && (keeps_path || keeps_query) {
            return Err(wrong("to", to, "no fragment where something is to be kept"));
        }
        if to.contains('?') && keeps_path {
            return Err(wrong("to", to, "no query where the path is to be kept"));
        }
        Ok(Redirect { to: to.to_owned(), status, keeps_path, keeps_query })
    }

    fn location(&self, path: &[u8], query: &[u8]) -> Vec<u8> {
        let mut location = self.to.clone().into_bytes();
        if self.keeps_path {
            // What follows must not become part of a host, or make one.
            let to = location.iter().rposition(|octet| *octet != b'/').map_or(0, |at| at + 1);
            location.truncate(to);
            location.push(b'/');
            let slashes = path.iter().take_while(|octet| **octet == b'/').count();
            percent::encode_path(&path[slashes..], &mut location);
        }
        if self.keeps_query && !query.is_empty() {
            location.push(if location.contains(&b'?') { b'&' } else { b'?' });
            location.extend_from_slice(query);
        }
        location
    }
}

impl App for Redirect {
    fn call(&self, env: &Environ, start_response: &StartResponse<'_>) -> Result<Body> {
        let location = self.location(env.path_info(), env.query_string());
        say(start_response, self.status, &[Pair::new(b"Location", &location)], "see Location\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_request_is_sent() {
        for (args, path, query, location) in [
            ("to=https://e.org", "/a", "q", "https://e.org"),
            ("to=https://e.org keep=none", "/a", "q", "https://e.org"),
            ("to=https://e.org keep=path", "/a/b", "q", "https://e.org/a/b"),
            ("to=https://e.org/ keep=path", "/a", "", "https://e.org/a"),
            ("to=https://e.org/x keep=path,query", "/a b", "q=%20", "https://e.org/x/a%20b?q=%20"),
            ("to=https://e.org/x keep=path", "/", "", "https://e.org/x/"),
            ("to=https://e.org keep=path", ".evil.org", "", "https://e.org/.evil.org"),
            ("to=https://e.org keep=path", "", "", "https://e.org/"),
            ("to=/new keep=path,query", "/a", "b", "/new/a?b"),
            ("to=/ keep=path", "//evil.org", "", "/evil.org"),
            ("to=/ keep=path", "/\\evil.org", "", "/%5Cevil.org"),
            ("to=/ keep=path", "/a\r\nSet-Cookie: b", "", "/a%0D%0ASet-Cookie:%20b"),
            ("to=/x?a=b keep=query", "/y", "c=d", "/x?a=b&c=d"),
            ("to=/x?a=b", "/y", "c=d", "/x?a=b"),
            ("to=/x#part", "/y", "c=d", "/x#part"),
        ] {
            let redirect = Redirect::new(args).unwrap();
            let got = redirect.location(path.as_bytes(), query.as_bytes());
            assert_eq!(String::from_utf8(got).unwrap(), location, "{args} {path}");
        }
    }
}
