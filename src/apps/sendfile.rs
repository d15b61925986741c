//! X-Sendfile and X-Accel-Redirect: an application names a file below a directory, and that is the
//! answer.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::arguments::{Arguments, wrong};
use super::file::{Representation, Terms, content_type};
use super::middleware::{Middleware, Said};
use super::say_instead;
use crate::base::error::{Error, Kind, Result};
use crate::base::log::Level;
use crate::base::octets::Pair;
use crate::gateway::abi::{Environ, Response, StartResponse};
use crate::gateway::body::Body;
use crate::sys::beneath::{Beneath, Why};
use crate::wire::percent;

/// What there is to be said to it.
const USAGE: &str = "root=/directory prefix=/internal";

/// The fields that name a file.
const BY_PATH: &[u8] = b"X-Sendfile";
const BY_URI: &[u8] = b"X-Accel-Redirect";

/// What an application says of its own body, and not of the file.
const DROPPED: [&[u8]; 8] = [
    BY_PATH,
    BY_URI,
    b"Content-Length",
    b"Content-Range",
    b"Content-Type",
    b"Accept-Ranges",
    b"ETag",
    b"Last-Modified",
];

/// Sends the files below a directory where an application says so.
#[derive(Debug)]
pub(super) struct Sendfile {
    root: Beneath,
    /// Stands for the root in X-Accel-Redirect; without a slash at its end.
    prefix: Vec<u8>,
}

impl Sendfile {
    pub(super) fn new(args: &str) -> Result<Self> {
        let args = Arguments::read(args, USAGE)?;
        let root = args.need("root", "the directory that has the files")?;
        let prefix = args.get("prefix").unwrap_or("/");
        if !prefix.starts_with('/') {
            return Err(wrong("prefix", prefix, "a path that begins with /"));
        }
        Ok(Sendfile {
            root: Beneath::new(Path::new(root))
                .map_err(|error| Error::os(format_args!("root = {root}"), &error))?,
            prefix: prefix.trim_end_matches('/').into(),
        })
    }

    /// The path below the root that a field names; `None`: it is elsewhere.
    fn below(&self, name: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        if name.eq_ignore_ascii_case(BY_URI) {
            let path = value.split(|octet| *octet == b'?').next().unwrap_or(value);
            let mut decoded = Vec::with_capacity(path.len());
            percent::decode_into(path, &mut decoded);
            return rest(&decoded, &self.prefix).map(<[u8]>::to_vec);
        }
        if !value.starts_with(b"/") {
            return Some(value.to_vec());
        }
        let root = self.root.root().as_os_str().as_bytes();
        let slashes = root.iter().rev().take_while(|octet| **octet == b'/').count();
        rest(value, &root[..root.len() - slashes]).map(<[u8]>::to_vec)
    }

    fn send(
        &self,
        path: Option<&[u8]>,
        env: &Environ,
        head: &Response<'_>,
        start_response: &StartResponse<'_>,
    ) -> std::result::Result<Result<Body>, (u16, String)> {
        let path = path.ok_or((404, "it leads out of the root".into()))?;
        let failed = |error: std::io::Error| match Why::of(&error) {
            Why::Missing => (404, error.to_string()),
            Why::Outside => (
                404,
                format!(
                    "it leads out of the root, or through a link that is not followed ({error})"
                ),
            ),
            Why::Denied => (403, error.to_string()),
            Why::Exhausted => (503, error.to_string()),
            Why::Failed => (500, error.to_string()),
        };
        let file = self.root.open(path).map_err(failed)?;
        let is = file.metadata().map_err(failed)?;
        if !is.is_file() {
            return Err((404, "it is not a file".into()));
        }
        let named = head.headers().iter().find(|it| is_one_of(it, &[b"Content-Type"]));
        let kind = match named {
            Some(field) => String::from_utf8_lossy(field.value.as_slice()).into_owned(),
            None => content_type(path, None).unwrap_or("application/octet-stream".into()),
        };
        let kept = head.headers().iter().filter(|it| !is_one_of(it, &DROPPED)).copied();
        let fields: Vec<Pair<'_>> = kept.collect();
        let terms = Terms { status: head.status, replaces: head.replaces(), fields: &fields };
        Ok(Representation::new(file, &is, kind).answer(env, start_response, &terms))
    }
}

fn is_one_of(field: &Pair<'_>, names: &[&[u8]]) -> bool {
    names.iter().any(|name| field.name.as_slice().eq_ignore_ascii_case(name))
}

/// What follows a directory in a path.
fn rest<'a>(path: &'a [u8], directory: &[u8]) -> Option<&'a [u8]> {
    path.strip_prefix(directory).filter(|rest| rest.first() == Some(&b'/'))
}

impl Middleware for Sendfile {
    fn watches_head(&self) -> bool {
        true
    }

    fn head<'a>(
        &self,
        env: &Environ,
        head: &Response<'_>,
        start_response: &StartResponse<'a>,
        in_call: bool,
    ) -> Result<Said<'a>> {
        let field = head.headers().iter().find(|it| is_one_of(it, &[BY_PATH, BY_URI]));
        let Some(Pair { name, value }) = field.filter(|_| head.status >= 200) else {
            return Ok(Said::Nothing);
        };
        if !in_call {
            let text = "a file is named in the application call, not in next() of its body";
            return Err(Error::new(Kind::State, text));
        }
        let (name, value) = (name.as_slice(), value.as_slice().trim_ascii());
        let path = self.below(name, value);
        let (status, why) = match self.send(path.as_deref(), env, head, start_response) {
            Ok(answer) => return answer.map(Said::Instead),
            Err(refusal) => refusal,
        };
        let text = format!("{status}: {}: {}: {why}", name.escape_ascii(), value.escape_ascii());
        env.log(Level::Error, text.as_bytes());
        let text = if status == 404 { "there is no such file\n" } else { "this cannot be read\n" };
        say_instead(start_response, status, &[], text, head.replaces()).map(Said::Instead)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_file_is() {
        let sendfile = |args| Sendfile::new(args).unwrap();
        let (tmp, slash, all) =
            (sendfile("root=/usr prefix=/in/"), sendfile("root=/usr/"), sendfile("root=/"));
        for (it, name, value, below) in [
            (&tmp, BY_PATH, "/usr/a b%20", Some("/a b%20")),
            (&tmp, BY_PATH, "a/b", Some("a/b")),
            (&tmp, BY_PATH, "/usr", None),
            (&tmp, BY_PATH, "/usrx/a", None),
            (&tmp, BY_PATH, "/etc/passwd", None),
            (&slash, BY_PATH, "/usr/a", Some("/a")),
            (&all, BY_PATH, "/a", Some("/a")),
            (&tmp, BY_URI, "/in/a%20b?q", Some("/a b")),
            (&tmp, BY_URI, "/in%2Fa", Some("/a")),
            (&tmp, BY_URI, "/inx/a", None),
            (&tmp, BY_URI, "/usr/a", None),
            (&tmp, BY_URI, "a", None),
            (&slash, BY_URI, "/a", Some("/a")),
            (&slash, b"x-accel-redirect", "/usr/a", Some("/usr/a")),
        ] {
            let got = it.below(name, value.as_bytes());
            assert_eq!(got.as_deref(), below.map(str::as_bytes), "{value}");
        }
    }
}
