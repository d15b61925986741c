//! The control socket: where a server that runs says what it does, and takes commands.  A line in, a line
//! of JSON out (`docs/control.md`).
//!
//! ```text
//! control   the socket's life: bound, renamed, replaced by a reload, removed at the end
//! desk      who has come: connections, lines, limits
//! commands  what a line means, and its answer
//! ```
//!
//! All of it is done in the thread of the arbiter, which never waits for anybody here.

mod commands;
mod desk;

use std::io;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::presence::Presence;
use crate::arbiter::{self, Attendant, Board, Event, StopMode};
use crate::base::error::{Error, Kind, Result};
use crate::base::log::{Logger, log};
use crate::conf::settings::Settings;
use crate::gateway::counters::Counters;
use crate::gateway::flight::Flights;
use crate::gateway::metrics::{Queue, Snapshot};
use crate::sys::clock::monotonic_ms;
use crate::sys::listen::{Address, How, Listening, listen_as, probe};
use crate::sys::pidfile::PidFile;
use crate::sys::poll::{Poller, Waker};
use crate::sys::shm::Shared;
use desk::Desk;

/// What the log calls it.
const TARGET: &str = "control";

/// Permissions of the file, of which the umask takes some.
const MODE: u32 = 0o600;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;

/// What can be asked of a server.
pub(super) trait Steered {
    /// What it does.
    fn snapshot(&self) -> Snapshot;
    /// How many workers there are to be.
    fn workers(&self) -> u64;
    /// Of these, those that `scale` is about.
    fn scaled(&self) -> u64;
    fn reload(&self) -> Result<()>;
    fn stop(&self, how: StopMode);
    /// To so many workers; or by so many, if `is_change`.  How many there are to be then.
    fn scale(&self, workers: i64, is_change: bool) -> Result<u32>;
    fn reopen(&self);
}

/// A server's control socket, from when it listens until it has ended; or none.
#[derive(Default)]
pub(crate) struct Control {
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    /// Another is there whose place this one is to take: until then the file has another name.
    is_second: bool,
    has_begun: bool,
    /// As the configuration has it; empty: there is none.
    path: PathBuf,
    /// Made with the first socket, and stays the same.
    poll: Option<Poll>,
    desk: Option<Desk>,
    /// What there is to be when the reload that has begun ends well.
    next: Option<Next>,
    stage: Stage,
}

struct Next {
    path: PathBuf,
    /// `None`: the socket is the same, or there is none.
    listening: Option<Listening>,
}

/// What its sockets are watched with.
struct Poll {
    poller: Poller,
    /// Lets the arbiter come by.
    waker: Waker,
}

/// How far the server has come.
#[derive(Debug, Default)]
struct Stage {
    is_ready: bool,
    stops: bool,
    /// Reloads that have begun.
    reloads: u64,
    reloads_now: bool,
    /// Why the last reload failed, if it did.
    failure: Option<String>,
}

impl Stage {
    fn name(&self) -> &'static str {
        match self {
            Stage { stops: true, .. } => "stopping",
            Stage { is_ready: false, .. } => "starting",
            Stage { reloads_now: true, .. } => "reloading",
            _ => "ready",
        }
    }
}

impl Poll {
    fn new() -> io::Result<Poll> {
        let (poller, waker) = (Poller::new()?, Waker::new()?);
        poller.add(waker.fd(), desk::TOKEN_WAKER)?;
        Ok(Poll { poller, waker })
    }
}

impl Control {
    /// Of a server that is to take the place of another, or of one that is not.
    pub(super) fn new(is_second: bool) -> Self {
        Control { now: Mutex::new(Now { is_second, ..Now::default() }) }
    }

    /// Whether it could be bound, under the name that it has at present.
    pub(super) fn check(&self, settings: &Settings) -> Result<()> {
        let now = self.now.lock();
        match path_of(settings).map(|path| now.name(path)).filter(|path| !now.is_there(path)) {
            // The longest name that it will have.
            Some(path) => probe(&Address::Unix(PidFile::second(&path)), false)
                .and_then(|()| probe(&Address::Unix(path.clone()), false))
                .map_err(|error| named(&path, &error)),
            None => Ok(()),
        }
    }

    /// The addresses of a configuration are bound: of the first one, or of one that a reload goes to.
    pub(super) fn bound(&self, settings: &Settings) -> Result<()> {
        let mut now = self.now.lock();
        let path = path_of(settings).map(|path| now.name(path));
        let is_new = path.as_ref().is_some_and(|path| !now.is_there(path));
        let listening = path.filter(|_| is_new).map(|path| now.bind(&path)).transpose()?;
        let next = Next { path: settings.control_socket.clone(), listening };
        if std::mem::replace(&mut now.has_begun, true) {
            now.next = Some(next);
            return Ok(());
        }
        now.change_to(next)
    }

    /// Hears what happens.
    pub(super) fn tell(&self, event: &Event<'_>, log: &Logger) {
        let mut now = self.now.lock();
        match event {
            Event::Ready => now.stage.is_ready = true,
            Event::Reloading => {
                now.stage.reloads += 1;
                now.stage.reloads_now = true;
            }
            Event::Reloaded(failure) => {
                let next = now.next.take();
                let settled = match (failure, next) {
                    (None, Some(next)) => now.change_to(next),
                    _ => Ok(()),
                };
                if let Err(error) = settled {
                    log!(log, Error, TARGET, "{error}");
                }
                now.reloaded(*failure);
            }
            Event::Promoted { .. } => {
                now.is_second = false;
                let path = now.path.clone();
                if let Some(desk) = &mut now.desk
                    && let Err(error) = desk.listening.rename(&path)
                {
                    log!(log, Error, TARGET, "{}", named(&path, &error));
                }
            }
            Event::Stopping => {
                now.stage.stops = true;
                let stops = Error::new(Kind::State, "reload: the server was told to stop");
                now.answer_waiting(Some(&stops), u64::MAX);
            }
            Event::Ended => now.desk = None,
            _ => {}
        }
    }

    /// Readable when there is something to do.
    pub(super) fn fd(&self) -> Option<RawFd> {
        self.now.lock().poll.as_ref().map(|poll| poll.poller.fd())
    }

    /// Does what there is to do; when to come again at the latest.
    pub(super) fn turn(&self, server: &dyn Steered) -> Option<u64> {
        let mut now = self.now.lock();
        let Now { poll: Some(poll), desk, stage, .. } = &mut *now else { return None };
        // Whatever it says: the few that there can be are all looked at.
        let _ = poll.poller.wait(0);
        desk.as_mut()?.turn(&poll.poller, monotonic_ms(), stage, server)
    }

    /// In a forked child.
    pub(super) fn leave(&self) {
        let mut now = self.now.lock();
        (now.desk, now.next, now.poll) = (None, None, None);
    }
}

impl Now {
    /// What a socket with this name is called at present.
    fn name(&self, path: &Path) -> PathBuf {
        if self.is_second { PidFile::second(path) } else { path.to_owned() }
    }

    /// Whether this server listens there.
    fn is_there(&self, path: &Path) -> bool {
        let file = self.desk.as_ref().and_then(|desk| desk.listening.owned_path());
        file.is_some_and(|file| std::path::absolute(path).is_ok_and(|path| path == file))
    }

    fn bind(&mut self, path: &Path) -> Result<Listening> {
        if self.poll.is_none() {
            let poll = Poll::new().map_err(|error| Error::os("make a control socket", &error))?;
            self.poll = Some(poll);
        }
        let how = How { backlog: BACKLOG, unix_mode: Some(MODE), masked: true, ..How::default() };
        listen_as(&Address::Unix(path.to_owned()), &how).map_err(|error| named(path, &error))
    }

    fn change_to(&mut self, next: Next) -> Result<()> {
        if next.path.as_os_str().is_empty() {
            self.desk = None;
        }
        if let (Some(listening), Some(poll)) = (next.listening, &self.poll) {
            let made = Desk::new(listening, &poll.poller);
            self.desk = Some(made.map_err(|error| Error::os("watch the control socket", &error))?);
            poll.waker.wake();
        }
        self.path = next.path;
        Ok(())
    }

    fn reloaded(&mut self, failure: Option<&Error>) {
        if !std::mem::replace(&mut self.stage.reloads_now, false) {
            // It was refused before it began.
            self.stage.reloads += 1;
        }
        self.stage.failure = failure.map(ToString::to_string);
        self.answer_waiting(failure, self.stage.reloads);
    }

    fn answer_waiting(&mut self, failure: Option<&Error>, reloads: u64) {
        if let (Some(desk), Some(poll)) = (&mut self.desk, &self.poll) {
            desk.answer_waiting(failure, reloads);
            poll.waker.wake();
        }
    }
}

fn path_of(settings: &Settings) -> Option<&Path> {
    let path = settings.control_socket.as_path();
    (!path.as_os_str().is_empty()).then_some(path)
}

/// An error of the socket, as that of the option.
fn named(path: &Path, error: &Error) -> Error {
    let path = path.display();
    if io::Error::from_raw_os_error(error.os_errno()).kind() == io::ErrorKind::AddrInUse {
        let text = format!(
            "control_socket = {path}: a server that lives answers there; stop it, or name another path"
        );
        return Error::new(Kind::State, text);
    }
    let reason = error.message().split_once(": ").map_or(error.message(), |(_, reason)| reason);
    Error::new(error.kind(), format!("control_socket = {path}: {reason}"))
        .with_os_errno(error.os_errno())
}

/// What an arbiter does for those who come.
pub(super) struct Front {
    pub(super) presence: Arc<Presence>,
    pub(super) counters: Arc<Shared<Counters>>,
    pub(super) flights: Arc<Flights>,
}

impl Attendant for Front {
    fn fd(&self) -> Option<RawFd> {
        self.presence.control().fd()
    }

    fn turn(&self, arbiter: &arbiter::Handle, board: &Board) -> Option<u64> {
        self.presence.control().turn(&Instance { front: self, arbiter, board })
    }

    fn leave(&self) {
        self.presence.control().leave();
    }
}

struct Instance<'a> {
    front: &'a Front,
    arbiter: &'a arbiter::Handle,
    board: &'a Board,
}

impl Steered for Instance<'_> {
    fn snapshot(&self) -> Snapshot {
        let Front { counters, flights, .. } = self.front;
        let mut snapshot = super::report::snapshot(self.board, counters, flights, true);
        let there = self.arbiter.listeners();
        let queues = there.iter().filter_map(|listening| Queue::of(&*listening.upgrade()?));
        queues.for_each(|queue| snapshot.add_queue(queue));
        snapshot
    }

    fn workers(&self) -> u64 {
        self.arbiter.tally().target.load(Ordering::Relaxed)
    }

    fn scaled(&self) -> u64 {
        self.arbiter.tally().first_target.load(Ordering::Relaxed)
    }

    fn reload(&self) -> Result<()> {
        self.arbiter.reload(None);
        Ok(())
    }

    fn stop(&self, how: StopMode) {
        self.arbiter.stop(how);
    }

    fn scale(&self, workers: i64, is_change: bool) -> Result<u32> {
        if is_change {
            return self.arbiter.scale_by(workers);
        }
        let workers = u32::try_from(workers).unwrap_or(0);
        self.arbiter.scale(workers).map(|()| workers)
    }

    fn reopen(&self) {
        self.arbiter.reopen();
    }
}

#[cfg(test)]
mod tests;
