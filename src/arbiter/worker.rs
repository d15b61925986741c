//! A worker's life, seen from inside: from the fork to `_exit`.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use super::arbiter::Arbiter;
use super::board::WorkerSlot;
use super::control::StopMode;
use super::settings::TARGET;
use crate::base::error::{Error, Result};
use crate::base::log::log;
use crate::sys::listen::Listening;
use crate::sys::poll::Poller;
use crate::sys::proc::{self, Pid, SignalMask};
use crate::sys::signal::{self, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, Signals};
use crate::sys::sock::wait_readable;

/// The exit status of a worker that could not prepare itself: gunicorn's.
pub(super) const BOOT_ERROR: i32 = 3;

const TOKEN_SIGNAL: u64 = 1;
const TOKEN_LIFELINE: u64 = 2;

/// What a worker knows of itself, and how it hears that it is to stop.
pub struct WorkerContext<'a> {
    slot: usize,
    age: u64,
    pid: Pid,
    board: &'a WorkerSlot,
    listeners: &'a [Arc<Listening>],
    signals: Signals,
    lifeline: OwnedFd,
    poller: &'a RefCell<Poller>,
    told: Cell<Option<StopMode>>,
}

impl WorkerContext<'_> {
    /// Its place, from 0; a worker that replaces another has the other's.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// How many workers the arbiter had started before this one.
    pub fn age(&self) -> u64 {
        self.age
    }

    /// Which configuration it runs: counts reloads.
    pub fn generation(&self) -> u32 {
        self.board.generation()
    }

    /// This process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Its record on the scoreboard.
    pub fn board(&self) -> &WorkerSlot {
        self.board
    }

    /// The sockets to accept from, as they were given to the arbiter.  To be closed
    /// ([`Listening::close`]) when the worker begins to stop: while one worker has a socket open,
    /// clients can connect to it and wait.
    pub fn listeners(&self) -> &[Arc<Listening>] {
        self.listeners
    }

    /// Tells the arbiter that this worker serves.  A worker that ends without having said so has
    /// failed to boot.
    pub fn ready(&self) {
        self.board.set_ready();
    }

    /// Readable when [`WorkerContext::stop_mode`] has news.  To be watched by the worker's loop.
    pub fn stop_fd(&self) -> RawFd {
        self.poller.borrow().fd()
    }

    /// How this worker is to stop, once it is: on TERM [`StopMode::Graceful`]; on INT, on QUIT and
    /// when the arbiter is gone [`StopMode::Quick`].  It can become more urgent, never less.
    pub fn stop_mode(&self) -> Option<StopMode> {
        // Takes the events, so that the descriptor is not readable until the next.
        let _ = self.poller.borrow_mut().wait(0);
        let mut told = self.told.get();
        for signal in self.signals.take() {
            let how = if signal == SIGTERM { StopMode::Graceful } else { StopMode::Quick };
            told = told.max(Some(how));
        }
        // Nobody ever writes to the life-line: readable means that its other end is gone.
        if wait_readable(self.lifeline.as_raw_fd(), 0).unwrap_or(false) {
            told = told.max(Some(StopMode::Quick));
        }
        if told.is_some() && self.told.replace(told).is_none() {
            self.board.set_stopping();
        }
        told
    }
}

impl fmt::Debug for WorkerContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerContext")
            .field("slot", &self.slot)
            .field("age", &self.age)
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

/// Who forked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parent {
    pub(super) pid: Pid,
    /// Whether the thread that forked ends with its process.
    pub(super) on_main_thread: bool,
}

/// The life of a worker: called in the new process, with all signals blocked; returns its exit
/// status.
pub(super) fn live(
    arbiter: &mut Arbiter,
    slot: usize,
    age: u64,
    parent: Parent,
    mask: &SignalMask,
) -> i32 {
    // The life-line pipe tells a worker that waits; this one kills also a worker that spins or was
    // stopped.  It is bound to the thread that forked, which may end before the process unless it is
    // the main thread: then the pipe alone must do.
    if parent.on_main_thread && !proc::die_with_parent(parent.pid) {
        return 0;
    }
    let lifeline = arbiter.leave();
    let context = match lifeline.and_then(|lifeline| prepare(arbiter, slot, age, lifeline)) {
        Ok(context) => context,
        Err(error) => {
            mask.restore();
            log!(arbiter.log, Error, TARGET, "Worker failed to boot: {error}");
            return BOOT_ERROR;
        }
    };
    // The host's mask, but not against the signals that a worker lives by.
    mask.clone().without(&[SIGTERM, SIGINT, SIGQUIT, SIGHUP]).restore();
    context.board.set_pid(context.pid);
    log!(arbiter.log, Info, TARGET, "Booting worker with pid: {}", context.pid);
    let status = (arbiter.main)(&context);
    log!(arbiter.log, Info, TARGET, "Worker exiting (pid: {})", context.pid);
    // The process ends here.  A signal that comes while what was prepared is undone must not have
    // its default effect.
    let _held = SignalMask::block_all();
    drop(context);
    status
}

fn prepare(
    arbiter: &Arbiter,
    slot: usize,
    age: u64,
    lifeline: OwnedFd,
) -> Result<WorkerContext<'_>> {
    let os = |error| Error::os("prepare a worker", &error);
    let signals = Signals::install(&[SIGTERM, SIGINT, SIGQUIT])?;
    // gunicorn's workers die of it, and `pkill -HUP` hurts.
    signal::ignore(SIGHUP).map_err(os)?;
    // Of a log that nobody reads any more.
    signal::ignore(SIGPIPE).map_err(os)?;
    let watch = |fd, token| arbiter.poller.borrow().add(fd, token).map_err(os);
    watch(signals.fd(), TOKEN_SIGNAL)?;
    watch(lifeline.as_raw_fd(), TOKEN_LIFELINE)?;
    Ok(WorkerContext {
        slot,
        age,
        pid: proc::pid(),
        board: &arbiter.board[slot],
        listeners: &arbiter.listeners,
        signals,
        lifeline,
        poller: &arbiter.poller,
        told: Cell::new(None),
    })
}
