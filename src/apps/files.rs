//! Static files: what is below a directory, and only that.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;

use super::arguments::{Arguments, wrong};
use super::file::{Representation, Terms, content_type};
use super::{APP_METHODS, say};
use crate::base::error::{Error, Result};
use crate::base::log::Level;
use crate::base::octets::Pair;
use crate::gateway::abi::{Environ, Response, StartResponse};
use crate::gateway::app::App;
use crate::gateway::body::Body;
use crate::sys::beneath::{Beneath, Why};
use crate::wire::percent;

/// What there is to be said to it.
const USAGE: &str = "root=/directory index=index.html max_age=1h charset=utf-8 \
                     type=application/octet-stream dotfiles=off";

/// The one name with a dot that is for everybody (RFC 8615).
const WELL_KNOWN: &[u8] = b".well-known";

/// The files below a directory.
#[derive(Debug)]
pub(super) struct Files {
    root: Beneath,
    /// Names that are looked for in a directory.
    index: Vec<String>,
    cache_control: Option<String>,
    charset: Option<String>,
    /// Of what has no known extension.
    other_type: String,
    dotfiles: bool,
}

/// What a path leads to: a file and its path; nothing is a directory whose path must end with a slash,
/// or nothing in it resolves.
type Found = Option<(File, Metadata, Vec<u8>)>;

/// The answer to a request that gets no file, and why, for the log; nothing if that is usual.
struct Refusal(u16, Option<String>);

impl Files {
    pub(super) fn new(args: &str) -> Result<Self> {
        let args = Arguments::read(args, USAGE)?;
        let root = args.need("root", "the directory that has the files")?;
        let index = match args.get("index").unwrap_or("index.html") {
            "none" => Vec::new(),
            names => names.split(',').map(str::to_owned).collect(),
        };
        for name in &index {
            if name.is_empty() || name.contains('/') {
                return Err(wrong("index", name, "names of files, or none"));
            }
        }
        let charset = args.get("charset").unwrap_or("utf-8");
        let other_type = args.get("type").unwrap_or("application/octet-stream");
        for (key, text) in [("charset", charset), ("type", other_type)] {
            if !text.bytes().all(|octet| octet.is_ascii_graphic()) {
                return Err(wrong(key, text, "ASCII"));
            }
        }
        let max_age = args.duration("max_age")?;
        Ok(Files {
            root: Beneath::new(Path::new(root))
                .map_err(|error| Error::os(format_args!("root = {root}"), &error))?,
            index,
            cache_control: max_age.map(|age| format!("max-age={}", age.as_secs())),
            charset: (charset != "none").then(|| charset.to_owned()),
            other_type: other_type.to_owned(),
            dotfiles: args.flag("dotfiles")?,
        })
    }

    /// Whether the names of a path may be asked for.
    fn check(&self, path: &[u8]) -> std::result::Result<(), Refusal> {
        let mut pieces = path.split(|octet| *octet == b'/').filter(|piece| !piece.is_empty());
        let mut is_first = true;
        pieces.try_for_each(|piece| {
            let is_well_known = is_first && piece == WELL_KNOWN;
            is_first = false;
            match piece {
                b"." | b".." => Err(Refusal(404, Some("the path has dots in it".into()))),
                [b'.', ..] if !self.dotfiles && !is_well_known => Err(Refusal(404, None)),
                _ => Ok(()),
            }
        })
    }

    /// `mount`: what leads to the root; a directory that is asked for without a slash is that, too.
    fn find(&self, mount: &[u8], path: &[u8]) -> std::result::Result<Found, Refusal> {
        self.check(path)?;
        let (file, is) = self.open(path)?;
        if !is.is_dir() {
            return regular(file, is, path.to_vec());
        }
        let is_whole = path.is_empty() && mount.is_empty();
        if !path.ends_with(b"/") && !is_whole {
            return Ok(None);
        }
        for name in &self.index {
            let path = [path, b"/", name.as_bytes()].concat();
            match self.open(&path) {
                Ok((file, is)) if is.is_file() => return regular(file, is, path),
                Ok(_) | Err(Refusal(404, None)) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Err(Refusal(403, Some("a directory without an index".into())))
    }

    fn open(&self, path: &[u8]) -> std::result::Result<(File, Metadata), Refusal> {
        let file = self.root.open(path).map_err(|error| refusal(&error))?;
        let is = file.metadata().map_err(|error| refusal(&error))?;
        Ok((file, is))
    }
}

fn regular(file: File, is: Metadata, path: Vec<u8>) -> std::result::Result<Found, Refusal> {
    if !is.is_file() {
        return Err(Refusal(404, Some("neither a file nor a directory".into())));
    }
    Ok(Some((file, is, path)))
}

fn refusal(error: &io::Error) -> Refusal {
    let (status, why) = match Why::of(error) {
        Why::Missing => return Refusal(404, None),
        Why::Outside => (404, "it leads out of the root, or through a link that is not followed"),
        Why::Denied => (403, "it may not be read"),
        Why::Exhausted => (503, "it cannot be opened now"),
        Why::Failed => (500, "it cannot be opened"),
    };
    Refusal(status, Some(format!("{why} ({error})")))
}

impl App for Files {
    fn call(&self, env: &Environ, start_response: &StartResponse<'_>) -> Result<Body> {
        if !APP_METHODS.contains(&env.request_method()) {
            let allow = [Pair::new(b"Allow", b"GET, HEAD")];
            return say(start_response, 405, &allow, "this is a file: GET and HEAD only\n");
        }
        let path = env.path_info();
        match self.find(env.script_name(), path) {
            Ok(Some((file, is, name))) => {
                let kind = content_type(&name, self.charset.as_deref());
                let kind = kind.unwrap_or_else(|| self.other_type.clone());
                let cached = self.cache_control.as_deref().map(str::as_bytes);
                let cached = cached.map(|value| [Pair::new(b"Cache-Control", value)]);
                let fields = cached.as_ref().map_or(&[][..], |fields| &fields[..]);
                let terms = Terms { fields, ..Terms::PLAIN };
                Representation::new(file, &is, kind).answer(env, start_response, &terms)
            }
            Ok(None) => {
                let location = with_slash(env.script_name(), path, env.query_string());
                let headers = [Pair::new(b"Location", &location)];
                start_response.respond(&Response::new(301, &headers))?;
                Ok(Body::empty())
            }
            Err(Refusal(status, why)) => {
                if let Some(why) = why {
                    let text = format!("{status}: {}: {why}", path.escape_ascii());
                    env.log(Level::Warn, text.as_bytes());
                }
                let text = match status {
                    403 => "this may not be read\n",
                    404 => "there is no such file\n",
                    503 => "this cannot be read now\n",
                    _ => "this cannot be read\n",
                };
                say(start_response, status, &[], text)
            }
        }
    }
}

/// Where a directory is.  It never begins with two slashes: that would be another host.
fn with_slash(mount: &[u8], path: &[u8], query: &[u8]) -> Vec<u8> {
    let mut location = Vec::with_capacity(mount.len() + path.len() + query.len() + 8);
    percent::encode_path(&[mount, path].concat(), &mut location);
    let slashes = location.iter().take_while(|octet| **octet == b'/').count();
    location.drain(..slashes.saturating_sub(1));
    location.push(b'/');
    if !query.is_empty() {
        location.push(b'?');
        location.extend_from_slice(query);
    }
    location
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_is_a_directory_with_a_slash() {
        let files = Files::new("root=/ index=none").unwrap();
        let found = |mount: &[u8], path: &[u8]| files.find(mount, path).map(|it| it.is_some());
        assert!(matches!(found(b"/files", b""), Ok(false)), "it is elsewhere");
        for (mount, path) in [(&b"/files"[..], &b"/"[..]), (b"", b""), (b"", b"/")] {
            assert!(matches!(found(mount, path), Err(Refusal(403, _))), "it is here");
        }
    }

    #[test]
    fn a_directory_stays_on_its_host() {
        for (mount, path, query, location) in [
            ("", "/a", "", "/a/"),
            ("/m", "/a b", "x=%20", "/m/a%20b/?x=%20"),
            ("", "//evil.example", "", "/evil.example/"),
            ("", "////evil.example/..", "", "/evil.example/../"),
            ("/", "/evil.example", "", "/evil.example/"),
            ("", "/\\evil.example", "", "/%5Cevil.example/"),
            ("/m", "/a\r\nX: y", "", "/m/a%0D%0AX:%20y/"),
            ("/m", "", "", "/m/"),
        ] {
            let got = with_slash(mount.as_bytes(), path.as_bytes(), query.as_bytes());
            assert_eq!(String::from_utf8(got).unwrap(), location, "{mount} {path}");
        }
    }

    #[test]
    fn names_with_dots() {
        let plain = Files::new("root=/").unwrap();
        let open = Files::new("root=/ dotfiles=on").unwrap();
        // Whether they may be asked for, as preset and with dotfiles=on.
        for (path, preset, on) in [
            ("/a", true, true),
            ("/a.b/c..d", true, true),
            ("/.git/config", false, true),
            ("/a/.htpasswd", false, true),
            ("/...", false, true),
            ("/.well-known/acme-challenge/x", true, true),
            ("//.well-known", true, true),
            ("/a/.well-known", false, true),
            ("/.well-known/.x", false, true),
            ("/.well-knownx", false, true),
            ("/..", false, false),
            ("/a/../b", false, false),
            ("/a/..", false, false),
            ("/./a", false, false),
        ] {
            let may = [&plain, &open].map(|files| files.check(path.as_bytes()).is_ok());
            assert_eq!(may, [preset, on], "{path}");
        }
    }
}
