//! A script at work: its input is the request's body, its output the answer, its complaints go to the
//! log.
//!
//! It is stopped when its client leaves, when it does nothing for as long as it may, and when its
//! answer makes no sense.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Refusal;
use crate::base::error::{Error, Kind, Result};
use crate::base::log::Level;
use crate::base::octets::Pair;
use crate::gateway::abi::{BodyWriter, Environ, Response, StartResponse};
use crate::sys::proc::Exit;
use crate::sys::script::{Ready, Script, is_no_program, may_pass};
use crate::wire::script::{self, Answer};

/// Octets that are handed on at once.
const PIECE: usize = 64 * 1024;
/// What a script that has closed its output may take to end.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// How often to look whether the client is still there, which nothing else tells.
const LOOK: Duration = Duration::from_millis(250);
/// The same for its body, of which nothing of the script's tells, either.
const LOOK_FOR_BODY: Duration = Duration::from_millis(10);
/// Octets of complaints that the log gets of one script.
const STDERR_MAX: usize = 16 * 1024;

/// Pieces of them that are read in one go.
const COMPLAINTS: u32 = 16;

/// What a script's run came to.
#[derive(Debug)]
pub(super) enum End {
    /// It has answered.
    Answered,
    /// This path is to be answered, which may have a query.
    Redirect(Vec<u8>),
    /// It has not: somebody else says why.
    Refused(Refusal),
}

/// A script at work.
pub(super) struct Run<'a> {
    script: Script,
    env: &'a Environ,
    name: String,
    is_nph: bool,
    timeout: Duration,
    /// When there was something to do last.
    moved: Instant,
    /// When the client was looked at last.
    looked: Instant,
    /// Octets of the request's body that the script has not taken.
    input: Vec<u8>,
    /// Octets of its answer before the head is whole.
    output: Vec<u8>,
    complaints: usize,
    writer: Option<BodyWriter<'a>>,
    redirect: Option<Vec<u8>>,
}

impl<'a> Run<'a> {
    /// Start it; `has_body`: the request's body is for it.
    pub(super) fn start(
        program: &Path,
        environment: Vec<(OsString, OsString)>,
        env: &'a Environ,
        has_body: bool,
        timeout: Duration,
    ) -> std::result::Result<Self, Refusal> {
        let mut script = Script::start(program, environment).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::NotFound => ": is the interpreter of its first line there?",
                _ if is_no_program(&error) => ": its first line names no interpreter",
                _ => "",
            };
            let status = if may_pass(&error) { 503 } else { 500 };
            Refusal(status, format!("run {}: {error}{hint}", program.display()))
        })?;
        if !has_body {
            script.close_input();
        }
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let now = Instant::now();
        Ok(Run {
            script,
            env,
            is_nph: name.starts_with("nph-"),
            name,
            timeout,
            moved: now,
            looked: now,
            input: Vec::new(),
            output: Vec::new(),
            complaints: 0,
            writer: None,
            redirect: None,
        })
    }

    /// Everything that it says.
    pub(super) fn answer(&mut self, start_response: &StartResponse<'a>) -> Result<End> {
        let mut buf = vec![0; PIECE];
        loop {
            self.feed(&mut buf)?;
            let Some(ready) = self.wait()? else {
                let why = format!("it did nothing for {:?}", self.timeout);
                return self.fail(504, &why);
            };
            if ready.stderr {
                self.complain(&mut buf);
            }
            if !ready.stdout {
                continue;
            }
            let read = self.script.read(&mut buf);
            match read.map_err(|error| Error::os("read from a script", &error))? {
                None => {}
                Some(0) => break,
                Some(n) => {
                    self.moved = Instant::now();
                    if let Some(writer) = &self.writer {
                        writer.write(&buf[..n])?;
                    } else if self.redirect.is_none() {
                        self.output.extend_from_slice(&buf[..n]);
                        if let Err(why) = self.begin(start_response)? {
                            return self.fail(502, &why);
                        }
                    }
                }
            }
        }
        self.end()?;
        match self.redirect.take() {
            Some(path) => Ok(End::Redirect(path)),
            None if self.writer.is_some() => Ok(End::Answered),
            None => self.fail(502, "it ended before its head did"),
        }
    }

    /// The request's body, as far as it is there and the script takes it.
    fn feed(&mut self, buf: &mut [u8]) -> Result<()> {
        while self.script.takes_input() {
            if self.input.is_empty() {
                match self.env.try_read(buf)? {
                    Some(0) => self.script.close_input(),
                    Some(n) => self.input.extend_from_slice(&buf[..n]),
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

    /// For anything to happen; `None`: time is up.
    fn wait(&mut self) -> Result<Option<Ready>> {
        let left = match self.timeout {
            Duration::ZERO => Duration::MAX,
            timeout => timeout.saturating_sub(self.moved.elapsed()),
        };
        if left.is_zero() {
            return Ok(None);
        }
        let awaits_body = self.script.takes_input() && self.input.is_empty();
        if awaits_body {
            // That the client is slow is not the script's fault.
            self.moved = Instant::now();
        }
        let most = if awaits_body { LOOK_FOR_BODY } else { LOOK };
        let ms = left.min(most).as_millis().max(1) as u32;
        let ready = self.script.wait(!self.input.is_empty(), ms);
        let ready = ready.map_err(|error| Error::os("wait for a script", &error))?;
        if self.looked.elapsed() >= LOOK {
            self.looked = Instant::now();
            if self.env.exchange()?.is_gone() {
                return Err(Error::new(Kind::Closed, "the client has left; its script is stopped"));
            }
        }
        Ok(Some(ready))
    }

    /// The head of the answer, once it is whole; what is wrong with it.
    fn begin(&mut self, start_response: &StartResponse<'a>) -> Result<Result<(), String>> {
        let Answer { len, status, reason, fields, redirect } =
            match script::answer(&self.output, self.is_nph) {
                Ok(None) => return Ok(Ok(())),
                Ok(Some(answer)) => answer,
                Err(why) => return Ok(Err(why.to_owned())),
            };
        if let Some(path) = redirect {
            self.redirect = Some(path.of(&self.output).to_vec());
            return Ok(Ok(()));
        }
        let octets = &self.output;
        let headers: Vec<_> =
            fields.iter().map(|it| Pair::new(it.name.of(octets), it.value.of(octets))).collect();
        let head = Response::new(status, &headers).with_reason(reason.of(octets));
        let writer = match start_response.respond(&head) {
            Ok(writer) => writer,
            Err(error) if matches!(error.kind(), Kind::Invalid | Kind::Protocol) => {
                return Ok(Err(error.message().to_owned()));
            }
            Err(error) => return Err(error),
        };
        if self.output.len() > len {
            writer.write(&self.output[len..])?;
        }
        self.writer = Some(writer);
        Ok(Ok(()))
    }

    /// It has closed its output.
    fn end(&mut self) -> Result<()> {
        let closed = Instant::now();
        let mut buf = [0; 4096];
        while self.script.ended().is_none() && closed.elapsed() < LAST_WORDS {
            let ready = self.script.wait(false, 10);
            if ready.map_err(|error| Error::os("wait for a script", &error))?.stderr {
                self.complain(&mut buf);
            }
        }
        self.complain(&mut buf);
        let text = match self.script.ended() {
            Some(Exit::Code(0) | Exit::Unknown) => return Ok(()),
            Some(Exit::Code(status)) => format!("{}: ended with status {status}", self.name),
            Some(Exit::Signal(signal)) => format!("{}: ended by signal {signal}", self.name),
            None => {
                self.script.stop();
                format!("{}: closed its output and did not end: stopped", self.name)
            }
        };
        self.env.log(Level::Warn, text.as_bytes());
        Ok(())
    }

    /// What it writes to standard error goes to the log, line by line.  One that never pauses is not
    /// read for ever.
    fn complain(&mut self, buf: &mut [u8]) {
        for _ in 0..COMPLAINTS {
            let Ok(Some(n @ 1..)) = self.script.read_stderr(buf) else { return };
            self.moved = Instant::now();
            let fits = n.min(STDERR_MAX - self.complaints);
            for line in buf[..fits].split(|octet| *octet == b'\n').filter(|it| !it.is_empty()) {
                let text = [self.name.as_bytes(), b": ", line].concat();
                self.env.log(Level::Error, &text);
            }
            self.complaints += fits;
            if fits > 0 && self.complaints == STDERR_MAX {
                let text = format!("{}: what else it complains of is not logged", self.name);
                self.env.log(Level::Error, text.as_bytes());
            }
        }
    }

    /// There will be no answer, or no whole one.
    fn fail(&mut self, status: u16, why: &str) -> Result<End> {
        self.script.stop();
        let text = format!("{}: {why}", self.name);
        match self.writer {
            None => Ok(End::Refused(Refusal(status, text))),
            Some(_) => Err(Error::new(Kind::Timeout, format!("{text}: cut"))),
        }
    }
}
