//! Middleware that is ready to be put around an application, by name.

use super::access::Access;
use super::lint::Lint;
use super::request_id::RequestId;
use super::sendfile::Sendfile;
use crate::base::error::{Error, Kind, Result};
use crate::conf::Quoted;
use crate::gateway::abi::{BodyWriter, Environ, Response, StartResponse};
use crate::gateway::body::Body;

/// What stands around an application; `ffi/layer.rs` puts it there.
pub trait Middleware: Send + Sync {
    /// Before the application is called.
    fn enter<'a>(
        &self,
        env: &'a Environ,
        start_response: &StartResponse<'_>,
    ) -> Result<Entered<'a>> {
        let _ = (env, start_response);
        Ok(Entered::Passed)
    }

    /// Whether `head` is to be called.
    fn watches_head(&self) -> bool {
        false
    }

    /// The application says its head; `env` is what it was given.  `in_call`: it has not returned yet.
    fn head<'a>(
        &self,
        env: &Environ,
        head: &Response<'_>,
        start_response: &StartResponse<'a>,
        in_call: bool,
    ) -> Result<Said<'a>> {
        let _ = (env, head, start_response, in_call);
        Ok(Said::Nothing)
    }
}

/// What comes of a request.
#[derive(Debug)]
pub enum Entered<'a> {
    /// The application gets it.
    Passed,
    /// The application gets this one.
    Derived(&'a mut Environ),
    /// It is answered.
    Answered(Body),
}

/// What was done about a head.
#[derive(Debug)]
pub enum Said<'a> {
    /// It goes on as it is.
    Nothing,
    /// Another was said, for the application's body.
    Another(BodyWriter<'a>),
    /// Another was said, and this is its body: the application's goes nowhere.  In the call
    /// only.
    Instead(Body),
}

/// What is put around an application by its name.
#[allow(missing_debug_implementations, reason = "a middleware has none")]
pub enum Ready {
    /// A middleware.
    Layer(Box<dyn Middleware>),
    /// Whoever watches the application.
    Lint(Lint),
}

/// The middleware that `spec` asks for: a name, and "key=value ...".
///
/// # Errors
/// `Kind::Unknown`: there is none with this name; and what is wrong with the arguments.
pub fn middleware(spec: &str) -> Result<Ready> {
    let spec = spec.trim_ascii();
    let (name, args) = spec.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((spec, ""));
    let made = match name {
        "access" => Access::new(args).map(|it| Ready::Layer(Box::new(it))),
        "request_id" => RequestId::new(args).map(|it| Ready::Layer(Box::new(it))),
        "sendfile" => Sendfile::new(args).map(|it| Ready::Layer(Box::new(it))),
        "lint" => Lint::new(args).map(Ready::Lint),
        _ => {
            let known = "access, request_id, sendfile, lint";
            let text = format!("no middleware {}: there are {known}", Quoted(name));
            return Err(Error::new(Kind::Unknown, text));
        }
    };
    made.map_err(|error| error.within(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_arguments_make_a_middleware() {
        for spec in [
            "access allow=10.0.0.0/8,unix",
            " access  deny=* ",
            "request_id",
            "request_id\taccept=none respond=off",
            "sendfile root=/ prefix=/internal",
            "lint",
            "lint fatal=1",
        ] {
            assert!(middleware(spec).is_ok(), "{spec}");
        }
        for (spec, kind, says) in [
            ("", Kind::Unknown, "no middleware ''"),
            ("acess", Kind::Unknown, "no middleware 'acess': there are access, request_id"),
            ("access", Kind::Invalid, "access: allow or deny is missing"),
            ("access allow=10.0.0.0/33", Kind::Invalid, "allow = '10.0.0.0/33': expected networks"),
            ("access from=all", Kind::Invalid, "'from=all': write allow="),
            ("request_id accept=me", Kind::Invalid, "accept = 'me'"),
            ("request_id respond=x", Kind::Invalid, "respond = 'x'"),
            ("sendfile", Kind::Invalid, "sendfile: root is missing"),
            ("sendfile root=/nowhere/at/all", Kind::Io, "root = /nowhere/at/all: "),
            ("sendfile root=/ prefix=x", Kind::Invalid, "prefix = 'x'"),
            ("lint fatal=yes", Kind::Invalid, "lint: fatal = 'yes': expected 0 or 1"),
        ] {
            let error = middleware(spec).err().expect(spec);
            assert!(error.message().contains(says), "{error}");
            assert_eq!(error.kind(), kind, "{error}");
        }
    }
}
