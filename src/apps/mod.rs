//! Applications that are ready to be mounted, by name, and middleware.

pub mod cgi;
pub mod lint;
pub mod middleware;

mod access;
mod arguments;
mod file;
mod files;
mod forward;
mod health;
mod redirect;
mod request_id;
mod sendfile;

use std::ffi::CStr;
use std::path::Path;
use std::time::Duration;

use crate::base::error::{Error, Kind, Result};
use crate::base::octets::Pair;
use crate::conf::Quoted;
use crate::gateway::abi::{Response, StartResponse};
use crate::gateway::app::Application;
use crate::gateway::body::Body;
use arguments::Arguments;

/// How long a script may be silent unless something else is said.
const CGI_TIMEOUT: Duration = Duration::from_secs(60);

/// What applications that only show something answer to.
const APP_METHODS: [&[u8]; 2] = [b"GET", b"HEAD"];

/// The application of this name, made as `args` say ("key=value ..."), and its name.
///
/// # Errors
/// `Kind::Unknown`: there is none; and what is wrong with the arguments.
pub fn builtin(name: &str, args: &str) -> Result<(Application, &'static CStr)> {
    let within = |error: Error| error.within(name);
    let (app, name) = match name {
        "static" => (Application::new(files::Files::new(args).map_err(within)?), c"static"),
        "cgi" => (cgi(args).map_err(within)?, c"cgi"),
        "redirect" => {
            let redirect = redirect::Redirect::new(args).map_err(within)?;
            (Application::new(redirect).nonblocking(), c"redirect")
        }
        "health" => {
            let health = health::Health::new(args).map_err(within)?;
            (Application::new(health).nonblocking(), c"health")
        }
        "forward" => (Application::new(forward::Forward::new(args).map_err(within)?), c"forward"),
        _ => {
            let known = "static, cgi, redirect, health, forward";
            let text = format!("no application {}: there are {known}", Quoted(name));
            return Err(Error::new(Kind::Unknown, text));
        }
    };
    Ok((app.named(name.to_string_lossy()), name))
}

fn cgi(args: &str) -> Result<Application> {
    let args = Arguments::read(args, "root=/directory timeout=30s")?;
    let root = args.need("root", "the directory that has the scripts")?;
    let timeout = args.duration("timeout")?.unwrap_or(CGI_TIMEOUT);
    Ok(Application::new(cgi::Scripts::new(Path::new(root), timeout)?))
}

/// A short answer for people.
fn say(
    start_response: &StartResponse<'_>,
    status: u16,
    fields: &[Pair<'_>],
    text: &'static str,
) -> Result<Body> {
    say_instead(start_response, status, fields, text, false)
}

/// The same, which may replace a head that was said before.
fn say_instead(
    start_response: &StartResponse<'_>,
    status: u16,
    fields: &[Pair<'_>],
    text: &'static str,
    replaces: bool,
) -> Result<Body> {
    let kind = [Pair::new(b"Content-Type", b"text/plain; charset=utf-8")];
    let fields = [&kind[..], fields].concat();
    let head = Response::new(status, &fields);
    start_response.respond(&if replaces { head.replacing() } else { head })?;
    Ok(Body::from_static(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::abi::APP_THREADSAFE;

    #[test]
    fn a_name_and_arguments_make_an_application() {
        let (app, name) = builtin("cgi", " root=/  timeout=1.5s ").unwrap();
        assert_eq!((app.name(), name, app.flags()), ("cgi", c"cgi", APP_THREADSAFE));
        for (name, args, kind, says) in [
            ("cgi", "", Kind::Invalid, "cgi: root is missing"),
            ("cgi", "root=", Kind::Invalid, "'root=': write root=/directory"),
            ("cgi", "root=/ x", Kind::Invalid, "'x': write"),
            ("cgi", "root=/ timeout=soon", Kind::Invalid, "timeout = 'soon'"),
            ("cgi", "root=/nowhere/at/all", Kind::Io, "/nowhere/at/all: No such file"),
            ("cgi", "root=/etc/passwd", Kind::Invalid, "/etc/passwd: not a directory"),
            ("static", "", Kind::Invalid, "static: root is missing"),
            ("static", "root=/nowhere/at/all", Kind::Io, "static: root = /nowhere/at/all: "),
            ("static", "root=/etc/passwd", Kind::Io, "static: root = /etc/passwd: "),
            ("static", "root=/ index=a/b", Kind::Invalid, "index = 'a/b'"),
            ("static", "root=/ index=a,,b", Kind::Invalid, "index = ''"),
            ("static", "root=/ max_age=long", Kind::Invalid, "max_age = 'long'"),
            ("static", "root=/ dotfiles=yes", Kind::Invalid, "dotfiles = 'yes': expected on or"),
            ("static", "root=/ type=é", Kind::Invalid, "type = 'é'"),
            ("static", "root=/ indx=x", Kind::Invalid, "'indx=x': write root=/directory index="),
            ("redirect", "", Kind::Invalid, "redirect: to is missing"),
            ("redirect", "to=//evil.org", Kind::Invalid, "to = '//evil.org'"),
            ("redirect", "to=https:///x", Kind::Invalid, "to = 'https:///x'"),
            ("redirect", "to=javascript:x", Kind::Invalid, "to = 'javascript:x'"),
            ("redirect", "to=/é", Kind::Invalid, "to = '/é'"),
            ("redirect", "to=/\\e.org", Kind::Invalid, "to = "),
            ("redirect", "to=/ status=200", Kind::Invalid, "status = '200'"),
            ("redirect", "to=/ keep=all", Kind::Invalid, "keep = 'all'"),
            ("redirect", "to=/#a keep=query", Kind::Invalid, "no fragment"),
            ("redirect", "to=/?a keep=path", Kind::Invalid, "no query"),
            ("health", "check=up", Kind::Invalid, "health: check = 'up': expected live or ready"),
            ("forward", "", Kind::Invalid, "forward: to is missing"),
            ("forward", "to=ftp://x", Kind::Invalid, "to = 'ftp://x'"),
            ("forward", "to=http://x/ host=me", Kind::Invalid, "host = 'me': expected keep or"),
            ("sttic", "", Kind::Unknown, "no application 'sttic': there are static, cgi"),
        ] {
            let error = builtin(name, args).unwrap_err();
            assert!(error.message().contains(says), "{error}");
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
}
