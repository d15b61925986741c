//! A file as the answer to a request: conditions, ranges, and octets that go out by sendfile.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::hash::{BuildHasher, RandomState};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::say_instead;
use crate::base::error::{Error, Result};
use crate::base::octets::Pair;
use crate::gateway::abi::{Environ, Response, StartResponse};
use crate::gateway::body::{Body, Piece};
use crate::wire::conditions::{self, Conditions, Validators, Verdict};
use crate::wire::ranges::{self, Ranges};

/// A file that is there, and is one.
#[derive(Debug)]
pub(super) struct Representation {
    file: File,
    len: u64,
    /// Whole seconds, and not in the future (RFC 9110 section 8.8.2.1).
    modified: Option<SystemTime>,
    now: SystemTime,
    etag: String,
    content_type: String,
}

/// What else is said of a file.
#[derive(Debug)]
pub(super) struct Terms<'a> {
    /// 200, unless an application said something else; then there are no conditions and no ranges.
    pub(super) status: u16,
    /// The head replaces another.
    pub(super) replaces: bool,
    /// Further fields.
    pub(super) fields: &'a [Pair<'a>],
}

impl Terms<'static> {
    pub(super) const PLAIN: Terms<'static> = Terms { status: 200, replaces: false, fields: &[] };
}

impl Representation {
    /// Of a regular file.
    pub(super) fn new(file: File, is: &Metadata, content_type: String) -> Self {
        let now = SystemTime::now();
        let (seconds, nanoseconds, len) = (is.mtime(), is.mtime_nsec(), is.len());
        let modified = u64::try_from(seconds).ok().map(|seconds| {
            let whole = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
            SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(whole))
        });
        let etag = format!("\"{seconds:x}.{nanoseconds:x}-{len:x}\"");
        Representation { file, len, modified, now, etag, content_type }
    }

    /// Answer with it, or as its conditions have it.
    pub(super) fn answer(
        self,
        env: &Environ,
        start_response: &StartResponse<'_>,
        terms: &Terms<'_>,
    ) -> Result<Body> {
        let is_get = env.request_method() == b"GET";
        let is_plain = terms.status == 200 && (is_get || env.request_method() == b"HEAD");
        let dated = self.modified.map(httpdate::fmt_http_date);
        let mut fields = Vec::with_capacity(8 + terms.fields.len());
        fields.push(Pair::new(b"ETag", self.etag.as_bytes()));
        fields.extend(dated.iter().map(|date| Pair::new(b"Last-Modified", date.as_bytes())));
        fields.extend_from_slice(terms.fields);
        let respond = |status, fields: &[Pair<'_>]| {
            let head = Response::new(status, fields);
            start_response.respond(&if terms.replaces { head.replacing() } else { head })
        };
        let mut parts = Ranges::Whole;
        if is_plain {
            let asked = Conditions {
                if_match: field(env, b"HTTP_IF_MATCH"),
                if_unmodified_since: field(env, b"HTTP_IF_UNMODIFIED_SINCE"),
                if_none_match: field(env, b"HTTP_IF_NONE_MATCH"),
                if_modified_since: field(env, b"HTTP_IF_MODIFIED_SINCE"),
                if_range: field(env, b"HTTP_IF_RANGE"),
            };
            let is = Validators { etag: self.etag.as_bytes(), modified: self.modified };
            match conditions::verdict(&asked, &is, true) {
                Verdict::NotModified => {
                    respond(304, &fields)?;
                    return Ok(Body::empty());
                }
                Verdict::Failed => {
                    let text = "this file is not, or no longer, the one that is asked for\n";
                    return say_instead(start_response, 412, terms.fields, text, terms.replaces);
                }
                Verdict::Go => {}
            }
            fields.push(Pair::new(b"Accept-Ranges", b"bytes"));
            if let Some(value) = field(env, b"HTTP_RANGE")
                // Section 14.2: a Range is for GET alone.
                && is_get
                && conditions::ranges_count(&asked, &is, self.now)
            {
                parts = ranges::ranges(value, self.len);
            }
        }
        match parts {
            Ranges::Unsatisfiable => {
                let range = format!("bytes */{}", self.len);
                let fields = [&[Pair::new(b"Content-Range", range.as_bytes())], terms.fields];
                let text = "the file does not have this range\n";
                say_instead(start_response, 416, &fields.concat(), text, terms.replaces)
            }
            Ranges::Parts(parts) if parts.len() > 1 => {
                let (kind, length, pieces) = self.pieces(&parts)?;
                fields.push(Pair::new(b"Content-Type", kind.as_bytes()));
                fields.push(Pair::new(b"Content-Length", length.as_bytes()));
                respond(206, &fields)?;
                Ok(Body::from_pieces(pieces))
            }
            Ranges::Parts(parts) => {
                let (first, len) = parts[0];
                let range = format!("bytes {first}-{}/{}", first + len - 1, self.len);
                fields.push(Pair::new(b"Content-Type", self.content_type.as_bytes()));
                fields.push(Pair::new(b"Content-Range", range.as_bytes()));
                respond(206, &fields)?;
                Body::from_file(self.file, first, len)
            }
            Ranges::Whole => {
                let length = self.len.to_string();
                fields.push(Pair::new(b"Content-Type", self.content_type.as_bytes()));
                fields.push(Pair::new(b"Content-Length", length.as_bytes()));
                respond(terms.status, &fields)?;
                if env.request_method() == b"HEAD" || matches!(terms.status, 204 | 304) {
                    return Ok(Body::empty());
                }
                Body::from_file(self.file, 0, self.len)
            }
        }
    }

    /// Several ranges in one answer (section 14.6): its type, its length, its pieces.
    fn pieces(
        &self,
        parts: &[(u64, u64)],
    ) -> Result<(String, String, impl Iterator<Item = Result<Piece>> + Send + 'static)> {
        // Nobody can have written it into the file.
        let boundary = format!("{:020}", RandomState::new().hash_one(self.len));
        let kind = format!("multipart/byteranges; boundary={boundary}");
        let mut pieces = Vec::with_capacity(parts.len());
        let mut length = 0;
        for (first, len) in parts.iter().copied() {
            let head = format!(
                "\r\n--{boundary}\r\nContent-Type: {}\r\nContent-Range: bytes {first}-{}/{}\r\n\r\n",
                self.content_type,
                first + len - 1,
                self.len
            );
            length += head.len() as u64 + len;
            pieces.push((head, first, len));
        }
        let end = format!("\r\n--{boundary}--\r\n");
        length += end.len() as u64;
        let copy = |file: &File| {
            file.try_clone().map_err(|error| Error::os("copy a file's descriptor", &error))
        };
        let file = copy(&self.file)?;
        let pieces = pieces.into_iter().flat_map(move |(head, first, len)| {
            let range = copy(&file).and_then(|file| Piece::from_file(file, first, len));
            [Ok(Piece::from_vec(head.into_bytes())), range]
        });
        let end = std::iter::once_with(|| Ok(Piece::from_vec(end.into_bytes())));
        Ok((kind, length.to_string(), pieces.chain(end)))
    }
}

/// A field of the request, if it has it.
fn field<'a>(env: &'a Environ, name: &[u8]) -> Option<&'a [u8]> {
    let value = env.get(name);
    (!value.is_missing()).then(|| value.as_slice())
}

/// The media type that the name of a file stands for, if it is known.  `charset` is for text.
pub(super) fn content_type(path: &[u8], charset: Option<&str>) -> Option<String> {
    let kind = mime_guess::from_path(Path::new(OsStr::from_bytes(path))).first_raw()?;
    Some(match charset {
        Some(charset) if kind.starts_with("text/") => format!("{kind}; charset={charset}"),
        _ => kind.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_types() {
        for (path, kind, text) in [
            (&b"/a.html"[..], Some("text/html"), Some("text/html; charset=utf-8")),
            (b"/a.HTML", Some("text/html"), Some("text/html; charset=utf-8")),
            (b"/a.txt.gz", Some("application/gzip"), Some("application/gzip")),
            (b"/a.js", Some("text/javascript"), Some("text/javascript; charset=utf-8")),
            (b"/a.wasm", Some("application/wasm"), Some("application/wasm")),
            (b"/a.woff2", Some("font/woff2"), Some("font/woff2")),
            (b"/a.svg", Some("image/svg+xml"), Some("image/svg+xml")),
            (b"/\xe9.css", Some("text/css"), Some("text/css; charset=utf-8")),
            (b"/a.d/b", None, None),
            (b"/.html", None, None),
            (b"/a.", None, None),
            (b"/a.\xe9", None, None),
        ] {
            let shown = path.escape_ascii();
            assert_eq!(content_type(path, None).as_deref(), kind, "{shown}");
            assert_eq!(content_type(path, Some("utf-8")).as_deref(), text, "{shown}");
        }
    }
}
