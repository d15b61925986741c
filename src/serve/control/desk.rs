//! Who has come to the control socket.  Nobody is waited for: who does not send, or does not read, loses
//! his connection in time, and each gets one answer a turn.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use super::commands::{self, Answer};
use super::{Stage, Steered};
use crate::base::error::Error;
use crate::sys::listen::Listening;
use crate::sys::poll::Poller;
use crate::sys::send::send;
use crate::sys::sock::{self, AcceptFailure};
use crate::sys::user;

/// Connections at a time.
pub(super) const CONNECTIONS_MAX: usize = 16;

/// Octets of a line, without its end.
pub(super) const LINE_MAX: usize = 4096;

/// How long a connection may take to send a line, and again to read its answer.
pub(super) const PATIENCE_MS: u64 = 30_000;

/// How often to accept in one turn.
const ACCEPTS: usize = 2 * CONNECTIONS_MAX;

const TOKEN_LISTENER: u64 = 0;
const TOKEN_VISITOR: u64 = 1;
pub(super) const TOKEN_WAKER: u64 = 2;

/// A socket, and the connections to it.
pub(super) struct Desk {
    pub(super) listening: Listening,
    visitors: Vec<Visitor>,
    pub(super) counted: Counted,
}

/// What it was asked, and how often it would not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// Lines that were answered.
    pub(super) commands: u64,
    /// Connections beyond [`CONNECTIONS_MAX`].
    pub(super) refused: u64,
    /// Lines beyond [`LINE_MAX`].
    pub(super) too_long: u64,
    /// Connections that were too slow.
    pub(super) timed_out: u64,
    /// Commands for which somebody lacks the right.
    pub(super) forbidden: u64,
    /// Connections now.
    pub(super) connections: u64,
}

struct Visitor {
    fd: OwnedFd,
    user: u32,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    /// Room to write is watched for.
    blocked: bool,
    /// It will send no more.
    has_ended: bool,
    /// The answer is the last one.
    closes: bool,
    /// It waits for the end of this reload.
    reload: Option<u64>,
    due_ms: u64,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// There is nothing to do before something happens.
    Idle,
    /// There is more to do, in another turn.
    More,
    /// It is over.
    Gone,
}

impl Desk {
    pub(super) fn new(listening: Listening, poller: &Poller) -> io::Result<Desk> {
        poller.add(listening.fd(), TOKEN_LISTENER)?;
        Ok(Desk { listening, visitors: Vec::new(), counted: Counted::default() })
    }

    /// Does what can be done without waiting; when to come again at the latest.
    pub(super) fn turn(
        &mut self,
        poller: &Poller,
        now_ms: u64,
        stage: &Stage,
        server: &dyn Steered,
    ) -> Option<u64> {
        let mut is_more = self.accept(poller, now_ms);
        let mut counted = self.counted;
        counted.connections = self.visitors.len() as u64;
        self.visitors.retain_mut(|visitor| {
            let step = visitor.step(now_ms, &mut counted, stage, server);
            is_more |= step == Step::More;
            step != Step::Gone && visitor.watch(poller)
        });
        self.counted = counted;
        if is_more {
            return Some(now_ms);
        }
        self.visitors.iter().filter(|it| it.reload.is_none()).map(|it| it.due_ms).min()
    }

    /// Whether there may be more.
    fn accept(&mut self, poller: &Poller, now_ms: u64) -> bool {
        for _ in 0..ACCEPTS {
            let fd = match sock::accept(self.listening.fd()) {
                Ok((fd, ..)) => fd,
                Err(error) => match sock::accept_failure(&error) {
                    AcceptFailure::Lost => continue,
                    // Who comes next wakes it again.
                    _ => return false,
                },
            };
            if self.visitors.len() >= CONNECTIONS_MAX {
                self.counted.refused += 1;
                let text = format!(
                    "the control socket has {CONNECTIONS_MAX} connections, and no more; try again later"
                );
                let _ = send(fd.as_raw_fd(), &commands::failure(&text), false);
                continue;
            }
            let user = sock::peer_user(fd.as_raw_fd());
            if let Ok(user) = user
                && poller.add(fd.as_raw_fd(), TOKEN_VISITOR).is_ok()
            {
                self.visitors.push(Visitor::new(fd, user, now_ms));
            }
        }
        true
    }

    /// Tells those who wait for this reload, or an earlier one, how it has ended.
    pub(super) fn answer_waiting(&mut self, failure: Option<&Error>, reloads: u64) {
        for visitor in &mut self.visitors {
            if visitor.reload.is_some_and(|awaited| awaited <= reloads) {
                visitor.reload = None;
                visitor.output = match failure {
                    None => commands::success(|_| {}),
                    Some(failure) => commands::failure(failure.message()),
                };
                visitor.due_ms = crate::sys::clock::monotonic_ms() + PATIENCE_MS;
            }
        }
    }
}

impl Visitor {
    fn new(fd: OwnedFd, user: u32, now_ms: u64) -> Visitor {
        Visitor {
            fd,
            user,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
            blocked: false,
            has_ended: false,
            closes: false,
            reload: None,
            due_ms: now_ms + PATIENCE_MS,
        }
    }

    /// Says the last that it hears.
    fn dismiss(&mut self, reason: &str) {
        self.output = commands::failure(reason);
        self.closes = true;
    }

    /// At most one line and its answer.
    fn step(
        &mut self,
        now_ms: u64,
        counted: &mut Counted,
        stage: &Stage,
        server: &dyn Steered,
    ) -> Step {
        if self.reload.is_some() {
            return if sock::is_cut(self.fd.as_raw_fd()) { Step::Gone } else { Step::Idle };
        }
        if now_ms >= self.due_ms {
            counted.timed_out += u64::from(!self.closes);
            if !self.output.is_empty() {
                // It does not read.
                return Step::Gone;
            }
            self.due_ms = now_ms + PATIENCE_MS;
            self.dismiss(&format!("no command came within {} s", PATIENCE_MS / 1000));
        }
        let mut has_answered = false;
        loop {
            match self.write(now_ms) {
                Err(_) => return Step::Gone,
                Ok(false) => return Step::Idle,
                Ok(true) if self.closes => return Step::Gone,
                Ok(true) => {}
            }
            match self.line_end() {
                Some(_) if has_answered => return Step::More,
                Some(end) => {
                    let line: Vec<u8> = self.input.drain(..end).collect();
                    has_answered = true;
                    counted.commands += 1;
                    let steers = self.user == 0 || self.user == user::own();
                    let who = if steers { None } else { Some(self.user) };
                    match commands::answer(&line, who, counted, stage, server) {
                        Answer::Now(octets) => self.output = octets,
                        Answer::AfterReload(number) => {
                            self.reload = Some(number);
                            return Step::Idle;
                        }
                    }
                }
                None if self.input.len() > LINE_MAX => {
                    counted.too_long += 1;
                    self.dismiss(&format!("a command has at most {LINE_MAX} octets"));
                }
                None if self.has_ended => return Step::Gone,
                None => match self.read() {
                    Ok(()) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Step::Idle,
                    Err(_) => return Step::Gone,
                },
            }
        }
    }

    /// What has arrived, up to what a line may have and a little more.
    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 1024];
        let n = sock::recv(self.fd.as_raw_fd(), &mut buffer)?;
        self.input.extend_from_slice(&buffer[..n]);
        self.has_ended = n == 0;
        Ok(())
    }

    /// Where the next line ends, if it is there and not too long; the end of all ends one, too.
    fn line_end(&self) -> Option<usize> {
        let end = match memchr::memchr(b'\n', &self.input) {
            Some(end) => end + 1,
            None if self.has_ended && !self.input.is_empty() => self.input.len(),
            None => return None,
        };
        (end <= LINE_MAX + 1).then_some(end)
    }

    /// Whether the answer is written, or there is none.
    fn write(&mut self, now_ms: u64) -> io::Result<bool> {
        if self.output.is_empty() {
            return Ok(true);
        }
        while self.written < self.output.len() {
            match send(self.fd.as_raw_fd(), &self.output[self.written..], false) {
                Ok(n) => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        (self.output, self.written) = (Vec::new(), 0);
        self.due_ms = now_ms + PATIENCE_MS;
        Ok(true)
    }

    /// Room to write matters as long as an answer waits.  False: it cannot be watched.
    fn watch(&mut self, poller: &Poller) -> bool {
        let blocked = !self.output.is_empty();
        if blocked == self.blocked {
            return true;
        }
        self.blocked = blocked;
        poller.want_write(self.fd.as_raw_fd(), TOKEN_VISITOR, blocked).is_ok()
    }
}
