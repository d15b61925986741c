//! An upgrade: the program is started again, whatever it and the library are by now, and its arbiter
//! takes the sockets over; from both sides.
//!
//! Both serve, on the same sockets, until one of them is told to stop.  The old one may let its
//! workers go first (WINCH) and take them back (HUP), or does so by itself when the new one ends.
//! The new one is promoted when the old one is gone.  Between them is a pair of sockets: each hears
//! the other's end by it, and the old one that the new one is ready.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::arbiter::{Arbiter, Phase, TOKEN_UPGRADE};
use super::handover::{For, Handover};
use super::settings::{Event, TARGET};
use crate::base::error::{Error, Result};
use crate::base::log::log;
use crate::sys::exec::{self, Start};
use crate::sys::listen::Listening;
use crate::sys::notify;
use crate::sys::proc::{self, Exit, Pid};
use crate::sys::send::send;
use crate::sys::sock::{recv, wait_readable};

/// The arbiter that is to take this one's place.
#[derive(Debug)]
pub(super) struct Successor {
    pub(super) pid: Pid,
    pidfd: Option<OwnedFd>,
    line: UnixStream,
    /// Its first workers are.
    pub(super) is_ready: bool,
    /// The arbiter has ended, and its process has not.
    has_ended: bool,
}

/// The arbiter whose place this one is to take.
#[derive(Debug)]
pub struct Predecessor {
    pid: Pid,
    line: OwnedFd,
    listeners: Vec<Arc<Listening>>,
}

impl Successor {
    /// Whether its end makes nothing readable, so that one has to look.
    pub(super) fn ends_silently(&self) -> bool {
        self.pidfd.is_none()
    }
}

impl Predecessor {
    /// Whether this process was started for an upgrade, and has not taken what it was handed over.
    pub fn is_there() -> bool {
        exec::marked(For::Successor.marker()).is_some()
    }

    /// What this process was handed over, if it was started for an upgrade; once.
    ///
    /// # Errors
    /// It has closed what it was given.
    pub fn take() -> Result<Option<Predecessor>> {
        let Some(handover) = Handover::take(For::Successor)? else { return Ok(None) };
        Ok(Some(Predecessor {
            pid: handover.get("arbiter")?,
            line: handover.fd("line")?,
            listeners: handover.listeners(For::Successor)?.into_iter().map(Arc::new).collect(),
        }))
    }

    /// Its sockets, from which this one takes those that it wants.
    pub fn listeners(&self) -> &[Arc<Listening>] {
        &self.listeners
    }

    fn is_gone(&self) -> bool {
        // Nobody writes to it: readable means that the other end is closed.
        !exec::is_child_of(self.pid) || wait_readable(self.line.as_raw_fd(), 0).unwrap_or(true)
    }
}

impl Arbiter {
    /// It was started to take another's place: before it starts.  What it did not take of the
    /// other's sockets is closed.
    ///
    /// # Errors
    /// `Kind::Io`: the system cannot watch the other.
    pub fn succeed(&mut self, predecessor: Predecessor) -> Result<()> {
        let poller = self.poller.get_mut();
        poller
            .add(predecessor.line.as_raw_fd(), TOKEN_UPGRADE)
            .map_err(|error| Error::os("watch the arbiter before this one", &error))?;
        for listening in &predecessor.listeners {
            if !self.listens_on(listening) {
                listening.close();
            }
        }
        self.predecessor = Some(predecessor);
        Ok(())
    }

    /// Starts the successor that was asked for, if it is time for one.
    pub(super) fn upgrade(&mut self) {
        if !self.upgrade_asked || self.roll.is_some() || !self.was_ready {
            return;
        }
        self.upgrade_asked = false;
        if let Some(successor) = &self.successor {
            let pid = successor.pid;
            log!(self.log, Warn, TARGET, "Upgrade ignored: arbiter (pid:{pid}) is on its way");
            return;
        }
        if let Some(predecessor) = &self.predecessor {
            self.rest_asked = false;
            let pid = predecessor.pid;
            log!(
                self.log,
                Warn,
                TARGET,
                "Upgrade ignored: arbiter (pid:{pid}), whose place this one is to take, is there"
            );
            return;
        }
        self.tell(Event::PreExec);
        match self.start_successor() {
            Ok(successor) => {
                let pid = successor.pid;
                log!(self.log, Info, TARGET, "Upgrade: started arbiter (pid:{pid})");
                self.successor = Some(successor);
                // While both live, neither removes what the other serves on.
                self.keep_files(true);
            }
            Err(error) => {
                self.rest_asked = false;
                log!(self.log, Error, TARGET, "{error}; this arbiter serves on");
            }
        }
    }

    fn start_successor(&mut self) -> Result<Successor> {
        let program = self.program.clone()?;
        let failed = |error| {
            let path = program.path().display();
            Error::os(format_args!("upgrade: start {path}"), &error)
        };
        let (line, theirs) = UnixStream::pair().map_err(failed)?;
        line.set_nonblocking(true).map_err(failed)?;
        self.poller.get_mut().add(line.as_raw_fd(), TOKEN_UPGRADE).map_err(failed)?;
        let mut handover = Handover::default();
        handover.put("arbiter", proc::pid());
        handover.put_fd("line", theirs.as_raw_fd());
        self.listeners().for_each(|listening| handover.put_listening(listening));
        let word = handover.write(For::Successor)?;
        let pid = program.start(&Start {
            marker: For::Successor.marker(),
            word: word.as_raw_fd(),
            fds: &[handover.fds(), &notify::fds_passed()].concat(),
            bound: false,
            defaults: self.ignored(),
            ignored: &[],
            without: &[],
            passed: notify::MEANT_FOR_ONE,
        });
        let pid = pid.map_err(failed)?;
        let pidfd = proc::pidfd(pid).ok();
        if let Some(pidfd) = &pidfd {
            let _ = self.poller.get_mut().add(pidfd.as_raw_fd(), TOKEN_UPGRADE);
        }
        Ok(Successor { pid, pidfd, line, is_ready: false, has_ended: false })
    }

    /// Hears of the one that comes after this one, and of the one before.
    pub(super) fn hear_of_upgrade(&mut self, reaped: &[(Pid, Exit)]) {
        self.hear_of_successor(reaped);
        if self.predecessor.as_ref().is_some_and(Predecessor::is_gone) {
            self.promote();
        }
    }

    fn hear_of_successor(&mut self, reaped: &[(Pid, Exit)]) {
        let Some(successor) = &mut self.successor else { return };
        let pid = successor.pid;
        let known = reaped.iter().find(|(reaped, _)| *reaped == pid).map(|(_, exit)| *exit);
        if let Some(exit) = known.or_else(|| proc::wait_pid(pid)) {
            self.lose_successor(exit);
            return;
        }
        match recv(successor.line.as_raw_fd(), &mut [0]) {
            Ok(1..) => {
                successor.is_ready = true;
                log!(self.log, Info, TARGET, "Upgrade: arbiter (pid:{pid}) is ready");
            }
            Ok(0) if !successor.has_ended => {
                (successor.is_ready, successor.has_ended) = (false, true);
                self.keep_files(false);
                self.wake_up();
            }
            _ => {}
        }
        if self.rest_asked && self.successor.as_ref().is_some_and(|it| it.is_ready) {
            self.rest_asked = false;
            self.rests = true;
            log!(self.log, Info, TARGET, "Workers are to go; the sockets stay");
        }
    }

    fn lose_successor(&mut self, exit: Exit) {
        let Some(Successor { pid, .. }) = self.successor.take() else { return };
        let how = match exit {
            Exit::Code(code) => format!("exited with code {code}"),
            Exit::Signal(signal) => format!("was ended by {}", crate::sys::signal::name(signal)),
            Exit::Unknown => "has ended; somebody else waited for it".into(),
        };
        self.keep_files(false);
        if matches!(self.phase, Phase::Running) {
            log!(self.log, Warn, TARGET, "Upgrade: arbiter (pid:{pid}) {how}; this one serves on");
            self.wake_up();
        } else {
            log!(self.log, Warn, TARGET, "Upgrade: arbiter (pid:{pid}) {how}");
            self.close_listeners();
        }
    }

    /// What WINCH asks for: workers go, and what they have listened on stays open for the other
    /// arbiter's.  Without one there would be nobody to serve.
    pub(super) fn ask_for_rest(&mut self) {
        match &self.successor {
            Some(successor) => {
                if !successor.is_ready {
                    let pid = successor.pid;
                    log!(self.log, Info, TARGET, "Workers stay until arbiter (pid:{pid}) is ready");
                }
                self.rest_asked = true;
            }
            // It was asked for, and is started when it is time for it.
            None if self.upgrade_asked => self.rest_asked = true,
            None => log!(self.log, Info, TARGET, "WINCH ignored: no upgrade is on its way"),
        }
    }

    /// Workers are wanted again.
    pub(super) fn wake_up(&mut self) {
        self.rest_asked = false;
        if std::mem::replace(&mut self.rests, false) {
            log!(self.log, Info, TARGET, "Workers are to come back");
        }
    }

    /// The first workers are ready: the arbiter before this one is to know.
    pub(super) fn tell_predecessor(&self) {
        if let Some(predecessor) = &self.predecessor {
            let _ = send(predecessor.line.as_raw_fd(), b"r", false);
        }
    }

    fn promote(&mut self) {
        let Some(Predecessor { pid, listeners, .. }) = self.predecessor.take() else { return };
        log!(
            self.log,
            Info,
            TARGET,
            "Upgrade: arbiter (pid:{pid}) is gone; this one is the arbiter"
        );
        self.tell(Event::Promoted { before: pid });
        self.keep_files(false);
        // What this one did not take goes with its files.
        for listening in &listeners {
            listening.keep_file(false);
            if !self.listens_on(listening) {
                listening.close();
            }
        }
    }

    fn keep_files(&self, keep: bool) {
        self.listeners().for_each(|listening| listening.keep_file(keep));
    }
}
