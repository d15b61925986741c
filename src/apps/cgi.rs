//! CGI scripts of a directory, run as RFC 3875 has it: the request becomes their environment and
//! standard input, what they say is the answer.
//!
//! A script runs in its own directory and process group, with nothing of our environment but PATH,
//! and with none of our descriptors.

mod run;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::base::error::{Error, Kind, Result};
use crate::base::log::Level;
use crate::base::octets::Pair;
use crate::gateway::abi::{Environ, Response, StartResponse};
use crate::gateway::app::App;
use crate::gateway::body::Body;
use crate::wire::percent;
use crate::wire::variables::is_of_request;
use run::{End, Run};

/// Local redirects that one request may take.
const REDIRECTS_MAX: u32 = 10;

/// Where programs are found, if we do not know.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The scripts below a directory.
#[derive(Debug)]
pub struct Scripts {
    root: PathBuf,
    timeout: Duration,
    path: OsString,
}

/// A script, and the rest of the path behind it.
struct Found {
    program: PathBuf,
    script_name: Vec<u8>,
    path_info: Vec<u8>,
}

/// The answer to a request whose script cannot give one, and why.
#[derive(Debug)]
struct Refusal(u16, String);

impl Scripts {
    /// Those below `root`; one that neither reads nor says anything for `timeout` is stopped (0:
    /// never).
    ///
    /// # Errors
    /// `Kind::Io`: there is no such directory; `Kind::Invalid`: it is something else.
    pub fn new(root: &Path, timeout: Duration) -> Result<Self> {
        let root = fs::canonicalize(root)
            .map_err(|error| Error::os(format_args!("root = {}", root.display()), &error))?;
        if !root.is_dir() {
            let text = format!("root = {}: not a directory", root.display());
            return Err(Error::new(Kind::Invalid, text));
        }
        let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
        Ok(Scripts { root, timeout, path })
    }

    /// The shortest path that leads to a file; what is outside of the root, also by a link, is not
    /// there.
    fn find(&self, mount: &[u8], path: &[u8]) -> std::result::Result<Found, Refusal> {
        let missing = || Refusal(404, "there is no such script".into());
        if path.contains(&0) {
            // Nor could an environment hold what is behind it.
            return Err(missing());
        }
        let mut program = self.root.clone();
        let mut end = 0;
        for piece in path.split(|octet| *octet == b'/').filter(|piece| !piece.is_empty()) {
            if piece == b".." || piece == b"." {
                return Err(missing());
            }
            end += path[end..].iter().take_while(|octet| **octet == b'/').count() + piece.len();
            program.push(OsStr::from_bytes(piece));
            let real = fs::canonicalize(&program).map_err(|_| missing())?;
            let is_inside = real.starts_with(&self.root);
            let kind = fs::metadata(&real).ok().filter(|_| is_inside).ok_or_else(missing)?;
            if kind.is_file() {
                if kind.permissions().mode() & 0o111 == 0 {
                    return Err(Refusal(403, format!("{} is not executable", program.display())));
                }
                let script_name = [mount, &path[..end]].concat();
                return Ok(Found { program, script_name, path_info: path[end..].to_vec() });
            }
        }
        Err(missing())
    }

    /// The script's environment, of a request with a body of `length` octets.
    fn environment(
        &self,
        env: &Environ,
        found: &Found,
        length: Option<u64>,
    ) -> Vec<(OsString, OsString)> {
        const OURS: [&[u8]; 6] = [
            b"CONTENT_LENGTH",
            b"PATH_INFO",
            b"PATH_TRANSLATED",
            b"SCRIPT_FILENAME",
            b"SCRIPT_NAME",
            b"REDIRECT_STATUS",
        ];
        let text = |octets: &[u8]| OsStr::from_bytes(octets).to_owned();
        let (mut all, mut cursor) = (Vec::with_capacity(32), 0);
        while let Some(pair) = env.next_var(&mut cursor) {
            let (name, value) = (pair.name.as_slice(), pair.value.as_slice());
            // The environment cannot hold what has a NUL in it.
            if is_of_request(name) && !OURS.contains(&name) && !value.contains(&0) {
                all.push((text(name), text(value)));
            }
        }
        all.push(("PATH".into(), self.path.clone()));
        all.push(("SCRIPT_NAME".into(), text(&found.script_name)));
        all.push(("SCRIPT_FILENAME".into(), found.program.clone().into()));
        all.push(("DOCUMENT_ROOT".into(), self.root.clone().into()));
        // php-cgi believes what it is told only where a web server says so.
        all.push(("REDIRECT_STATUS".into(), "200".into()));
        all.extend(length.map(|length| ("CONTENT_LENGTH".into(), length.to_string().into())));
        if !found.path_info.is_empty() {
            all.push(("PATH_INFO".into(), text(&found.path_info)));
            // What leads out of the root is no path there.
            if found.path_info.split(|octet| *octet == b'/').all(|piece| piece != b"..") {
                let translated = [self.root.as_os_str().as_bytes(), &found.path_info].concat();
                all.push(("PATH_TRANSLATED".into(), text(&translated)));
            }
        }
        all
    }

    /// Run the script that `target` leads to.
    fn run(
        &self,
        env: &Environ,
        target: &[u8],
        has_body: bool,
        start_response: &StartResponse<'_>,
    ) -> Result<End> {
        let found = match self.find(env.script_name(), target) {
            Ok(found) => found,
            Err(refusal) => return Ok(End::Refused(refusal)),
        };
        // One of unknown length is read to its end: it may have come by now, and then has a length.
        let length = match env.content_length() {
            _ if !has_body => None,
            length @ 0.. => Some(length as u64),
            _ => env.left_to_read().filter(|left| *left > 0),
        };
        let environment = self.environment(env, &found, length);
        match Run::start(&found.program, environment, env, has_body, self.timeout) {
            Ok(mut run) => run.answer(start_response),
            Err(refusal) => Ok(End::Refused(refusal)),
        }
    }
}

impl App for Scripts {
    fn call(&self, env: &Environ, start_response: &StartResponse<'_>) -> Result<Body> {
        let (mut env, mut target, mut has_body) = (env, env.path_info().to_vec(), true);
        for _ in 0..=REDIRECTS_MAX {
            let path = match self.run(env, &target, has_body, start_response)? {
                End::Answered => return Ok(Body::empty()),
                End::Refused(Refusal(status, why)) => {
                    env.log(Level::Error, format!("{status}: {why}").as_bytes());
                    return refuse(start_response, status);
                }
                End::Redirect(path) => path,
            };
            // RFC 3875 section 6.2.2: as if that had been asked for.
            let (path, query) = match memchr::memchr(b'?', &path) {
                Some(at) => (&path[..at], &path[at + 1..]),
                None => (&path[..], &b""[..]),
            };
            let mut decoded = Vec::with_capacity(path.len());
            percent::decode_into(path, &mut decoded);
            let mount = env.script_name();
            let Some(below) =
                decoded.strip_prefix(mount).filter(|rest| rest.first() == Some(&b'/'))
            else {
                // It is another application's: the client asks for it.
                let whole = [path, if query.is_empty() { b"" } else { b"?" }, query].concat();
                let headers = [Pair::new(b"Location", &whole)];
                start_response.respond(&Response::new(302, &headers))?;
                return Ok(Body::empty());
            };
            target = below.to_vec();
            let next = env.derive()?;
            next.set(b"REQUEST_METHOD", Some(b"GET"))?;
            next.set(b"QUERY_STRING", Some(query))?;
            next.set(b"CONTENT_TYPE", None)?;
            (env, has_body) = (next, false);
        }
        env.log(Level::Error, b"500: more local redirects than a request may take (10)");
        refuse(start_response, 500)
    }
}

/// What the client is told; the log has the rest.
fn refuse(start_response: &StartResponse<'_>, status: u16) -> Result<Body> {
    let text = match status {
        403 => "this script is not executable\n",
        404 => "there is no such script\n",
        502 => "the script's answer makes no sense\n",
        503 => "no script can be started now\n",
        504 => "the script does not answer\n",
        _ => "the script cannot be run\n",
    };
    let headers = [Pair::new(b"Content-Type", b"text/plain; charset=utf-8")];
    start_response.respond(&Response::new(status, &headers))?;
    Ok(Body::from_static(text.as_bytes()))
}
