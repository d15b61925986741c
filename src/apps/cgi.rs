//! CGI scripts of a directory, run as RFC 3875 has it: the request becomes their environment and
//! standard input, what they say is the answer.
//!
//! A script runs in its own directory and process group, with nothing of our environment but PATH.
//! It is killed when its client leaves, when it says nothing for as long as it may, and when its
//! answer makes no sense.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::base::error::{Error, Kind, Result};
use crate::base::log::Level;
use crate::base::octets::Pair;
use crate::gateway::abi::{BodyWriter, Environ, Response, StartResponse};
use crate::gateway::app::App;
use crate::gateway::body::Body;
use crate::sys::proc::Exit;
use crate::sys::script::Script;
use crate::wire::script::{self, Answer};

/// Octets that are handed on at once.
const PIECE: usize = 64 * 1024;
/// Local redirects that one request may take.
const REDIRECTS_MAX: u32 = 10;
/// What a script that has closed its output may take to end.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Octets of complaints that the log gets of one script.
const STDERR_MAX: usize = 16 * 1024;
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

/// The answer to a request whose script cannot give one.
struct Refusal(u16, &'static str);

impl Scripts {
    /// Those below `root`; one that neither reads nor says anything for `timeout` is killed (0:
    /// never).
    ///
    /// # Errors
    /// `Kind::Io`: there is no such directory.
    pub fn new(root: &Path, timeout: Duration) -> Result<Self> {
        let root = fs::canonicalize(root)
            .map_err(|error| Error::os(format_args!("cgi root = {}", root.display()), &error))?;
        let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
        Ok(Scripts { root, timeout, path })
    }

    /// The shortest path that leads to a file; what is outside of the root, also by a link, is not
    /// there.
    fn find(&self, mount: &[u8], path: &[u8]) -> std::result::Result<Found, Refusal> {
        let missing = || Refusal(404, "there is no such script");
        let mut program = self.root.clone();
        let mut end = 0;
        for piece in path.split(|octet| *octet == b'/').filter(|piece| !piece.is_empty()) {
            if piece == b".." || piece == b"." || piece.contains(&0) {
                return Err(missing());
            }
            end += path[end..].iter().take_while(|octet| **octet == b'/').count() + piece.len();
            program.push(OsStr::from_bytes(piece));
            let real = fs::canonicalize(&program).map_err(|_| missing())?;
            let is_inside = real.starts_with(&self.root);
            let kind = fs::metadata(&real).ok().filter(|_| is_inside).ok_or_else(missing)?;
            if kind.is_file() {
                if kind.permissions().mode() & 0o111 == 0 {
                    return Err(Refusal(403, "the script is not executable"));
                }
                let script_name = [mount, &path[..end]].concat();
                return Ok(Found { program, script_name, path_info: path[end..].to_vec() });
            }
        }
        Err(missing())
    }

    fn environment(&self, env: &Environ, found: &Found) -> Vec<(OsString, OsString)> {
        let text = |octets: &[u8]| OsStr::from_bytes(octets).to_owned();
        let mut all: Vec<_> = env
            .vars()
            .iter()
            .map(|pair| (pair.name.as_slice(), pair.value.as_slice()))
            // A client's header must not choose the proxy of what the script asks others.
            .filter(|(name, value)| *name != b"HTTP_PROXY" && !value.contains(&0))
            .filter(|(name, _)| !matches!(*name, b"SCRIPT_NAME" | b"PATH_INFO" | b"PATH"))
            .map(|(name, value)| (text(name), text(value)))
            .collect();
        all.push(("SCRIPT_NAME".into(), text(&found.script_name)));
        all.push(("SCRIPT_FILENAME".into(), found.program.clone().into()));
        all.push(("PATH".into(), self.path.clone()));
        if !found.path_info.is_empty() {
            let translated = [self.root.as_os_str().as_bytes(), &found.path_info].concat();
            all.push(("PATH_INFO".into(), text(&found.path_info)));
            all.push(("PATH_TRANSLATED".into(), text(&translated)));
        }
        all
    }

    fn run(
        &self,
        env: &Environ,
        found: &Found,
        start_response: &StartResponse<'_>,
    ) -> Result<Option<Vec<u8>>> {
        let name = found.program.file_name().unwrap_or_default();
        let script = Script::start(&found.program, self.environment(env, found))
            .map_err(|error| Error::os(format_args!("run {}", found.program.display()), &error))?;
        let mut run = Run {
            script,
            env,
            name: name.to_string_lossy().into_owned(),
            is_nph: name.as_bytes().starts_with(b"nph-"),
            timeout: self.timeout,
            moved: Instant::now(),
            input: Vec::new(),
            output: Vec::new(),
            complaints: 0,
            writer: None,
        };
        run.answer(start_response)
    }
}

impl App for Scripts {
    fn call(&self, env: &Environ, start_response: &StartResponse<'_>) -> Result<Body> {
        let mut target = env.path_info().to_vec();
        let mut env = env;
        for _ in 0..REDIRECTS_MAX {
            let found = match self.find(env.script_name(), &target) {
                Ok(found) => found,
                Err(Refusal(status, why)) => return refuse(start_response, status, why),
            };
            let Some(redirect) = self.run(env, &found, start_response)? else {
                return Ok(Body::empty());
            };
            // RFC 3875 section 6.2.2: as if that had been asked for.
            let query = memchr::memchr(b'?', &redirect).unwrap_or(redirect.len());
            let next = env.derive()?;
            next.set(b"REQUEST_METHOD", Some(b"GET"))?;
            next.set(b"QUERY_STRING", Some(redirect.get(query + 1..).unwrap_or_default()))?;
            next.set(b"CONTENT_LENGTH", None)?;
            next.set(b"CONTENT_TYPE", None)?;
            target = redirect[..query].to_vec();
            if let Some(rest) = target.strip_prefix(env.script_name()) {
                target = rest.to_vec();
            }
            env = next;
        }
        refuse(start_response, 508, "too many local redirects")
    }
}

fn refuse(start_response: &StartResponse<'_>, status: u16, why: &str) -> Result<Body> {
    let headers = [Pair::new(b"Content-Type", b"text/plain; charset=utf-8")];
    start_response.respond(&Response::new(status, &headers))?;
    Ok(Body::from_vec(format!("{status}: {why}\n").into_bytes()))
}

/// A script at work.
struct Run<'a> {
    script: Script,
    env: &'a Environ,
    name: String,
    is_nph: bool,
    timeout: Duration,
    /// When there was something to do last.
    moved: Instant,
    /// Octets of the request's body that the script has not taken.
    input: Vec<u8>,
    /// Octets of its answer before the head is whole.
    output: Vec<u8>,
    complaints: usize,
    writer: Option<BodyWriter<'a>>,
}

impl<'a> Run<'a> {
    /// Everything that it says; a path if it says that another is to be answered.
    fn answer(&mut self, start_response: &StartResponse<'a>) -> Result<Option<Vec<u8>>> {
        let mut buf = vec![0; PIECE];
        loop {
            self.feed(&mut buf)?;
            let ready = self.wait()?;
            if ready.stderr {
                self.complain(&mut buf);
            }
            if !ready.stdout {
                continue;
            }
            match self.script.read(&mut buf).map_err(|error| Error::os("read a script", &error))? {
                None => {}
                Some(0) => break,
                Some(n) => {
                    self.moved = Instant::now();
                    if let Some(writer) = &self.writer {
                        writer.write(&buf[..n])?;
                    } else {
                        self.output.extend_from_slice(&buf[..n]);
                        if let Some(redirect) = self.begin(start_response)? {
                            return Ok(Some(redirect));
                        }
                    }
                }
            }
        }
        self.end()?;
        match self.writer {
            Some(_) => Ok(None),
            None => Err(self.wrong("it ended before its head did")),
        }
    }

    /// The request's body, as far as it is there and the script takes it.
    fn feed(&mut self, buf: &mut [u8]) -> Result<()> {
        while self.script.takes_input() {
            if self.input.is_empty() {
                match self.env.try_read(buf)? {
                    Some(0) => self.script.close_input(),
                    Some(n) => self.input.extend_from_slice(&buf[..n]),
                    // It comes while we wait; whoever streams looks now and then.
                    None => return Ok(()),
                }
                continue;
            }
            let taken = self.script.write(&self.input);
            match taken.map_err(|error| Error::os("write to a script", &error))? {
                0 => return Ok(()),
                n => {
                    self.moved = Instant::now();
                    self.input.drain(..n);
                }
            }
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<crate::sys::script::Ready> {
        let awaits_body = self.script.takes_input() && self.input.is_empty();
        let left = match self.timeout {
            Duration::ZERO => Duration::MAX,
            timeout => timeout.saturating_sub(self.moved.elapsed()),
        };
        if left.is_zero() {
            self.script.kill();
            let text = format!("script {}: nothing in {:?}", self.name, self.timeout);
            return Err(Error::new(Kind::Timeout, text));
        }
        // A body that streams in makes nothing of the script's readable.
        let most = if awaits_body { Duration::from_millis(10) } else { Duration::from_secs(1) };
        let ms = left.min(most).as_millis().max(1) as u32;
        let ready = self.script.wait(!self.input.is_empty(), ms);
        ready.map_err(|error| Error::os("wait for a script", &error))
    }

    /// The head of the answer, once it is whole.
    fn begin(&mut self, start_response: &StartResponse<'a>) -> Result<Option<Vec<u8>>> {
        let Answer { len, status, reason, fields, redirect } =
            match script::answer(&self.output, self.is_nph) {
                Ok(None) => return Ok(None),
                Ok(Some(answer)) => answer,
                Err(why) => return Err(self.wrong(why)),
            };
        if let Some(path) = redirect {
            return Ok(Some(path.of(&self.output).to_vec()));
        }
        let octets = &self.output;
        let headers: Vec<_> =
            fields.iter().map(|it| Pair::new(it.name.of(octets), it.value.of(octets))).collect();
        let head = Response::new(status, &headers).with_reason(reason.of(octets));
        let writer = start_response.respond(&head)?;
        if self.output.len() > len {
            writer.write(&self.output[len..])?;
        }
        self.writer = Some(writer);
        Ok(None)
    }

    /// It has closed its output.
    fn end(&mut self) -> Result<()> {
        let closed = Instant::now();
        while self.script.ended().is_none() && closed.elapsed() < LAST_WORDS {
            let ready = self.script.wait(false, 10);
            if ready.map_err(|error| Error::os("wait for a script", &error))?.stderr {
                self.complain(&mut [0; 4096]);
            }
        }
        match self.script.ended() {
            Some(Exit::Code(0)) => {}
            Some(exit) => {
                let text = format!("script {} ended with {exit:?}", self.name);
                self.env.log(Level::Warn, text.as_bytes());
            }
            None => self.script.kill(),
        }
        Ok(())
    }

    /// What it writes to standard error goes to the log, line by line.
    fn complain(&mut self, buf: &mut [u8]) {
        while let Ok(Some(n @ 1..)) = self.script.read_stderr(buf) {
            let fits = n.min(STDERR_MAX - self.complaints);
            self.complaints += fits;
            for line in buf[..fits].split(|octet| *octet == b'\n').filter(|it| !it.is_empty()) {
                let text = [self.name.as_bytes(), b": ", line].concat();
                self.env.log(Level::Error, &text);
            }
        }
    }

    fn wrong(&mut self, why: &str) -> Error {
        self.script.kill();
        Error::new(Kind::App, format!("script {}: {why}", self.name))
    }
}
