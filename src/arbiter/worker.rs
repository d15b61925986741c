//! A worker's life, seen from inside: from the fork to `_exit`, or the life of a thread.

use std::fmt;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::arbiter::Arbiter;
use super::board::{Board, WorkerSlot};
use super::control::StopMode;
use super::pool::OfPool;
use super::roll::Generation;
use super::settings::TARGET;
use super::spawn::Line;
use crate::base::error::{Error, Result};
use crate::base::log::{Logger, log};
use crate::sys::listen::Listening;
use crate::sys::poll::Poller;
use crate::sys::proc::{self, Pid, SignalMask};
use crate::sys::signal::{
    self, SIGABRT, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2,
    SIGWINCH, Signals,
};
use crate::sys::sock::wait_readable;
use crate::sys::waker::Waker;

/// The exit status of a worker that could not prepare itself: gunicorn's.
pub(super) const BOOT_ERROR: i32 = 3;
/// That of a worker whose application could not be loaded: gunicorn's, too.
pub(super) const APP_ERROR: i32 = 4;

const TOKEN_SIGNAL: u64 = 1;
const TOKEN_LIFELINE: u64 = 2;

/// What a worker knows of itself, and how it hears that it is to stop.
pub struct WorkerContext<'a> {
    ticket: Ticket,
    pid: Pid,
    board: &'a WorkerSlot,
    /// Wakes the arbiter.
    news: &'a Waker,
    /// Logs are to be opened again.
    reopens: AtomicBool,
    listeners: &'a [Arc<Listening>],
    was_forked: bool,
    ear: Ear<'a>,
    told: Mutex<Option<StopMode>>,
}

/// What a worker needs to ask whether it may leave.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) board: Arc<Board>,
    pub(super) slot: usize,
    pub(super) age: u64,
    pub(super) most: usize,
}

/// How a worker hears that it is to stop.
enum Ear<'a> {
    /// A process: by signals, and by the arbiter's end.
    Process {
        signals: Signals,
        lifeline: OwnedFd,
        poller: &'a Mutex<Poller>,
    },
    Thread(&'a Line),
}

impl<'a> WorkerContext<'a> {
    /// Of a thread, in it.
    pub(super) fn of_thread(
        ticket: Ticket,
        board: &'a Board,
        listeners: &'a [Arc<Listening>],
        line: &'a Line,
        news: &'a Waker,
    ) -> Self {
        let board = &board[ticket.slot];
        WorkerContext {
            ticket,
            pid: 0,
            board,
            news,
            reopens: AtomicBool::new(false),
            listeners,
            was_forked: false,
            ear: Ear::Thread(line),
            told: Mutex::new(None),
        }
    }

    /// Its place, from 0; a worker that replaces another has the other's.
    pub fn slot(&self) -> usize {
        self.ticket.slot
    }

    /// How many workers the arbiter had started before this one.
    pub fn age(&self) -> u64 {
        self.ticket.age
    }

    /// Which configuration it runs: counts reloads.
    pub fn generation(&self) -> u32 {
        self.board.generation()
    }

    /// The process that this worker is; 0: it is a thread.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it has the memory of its arbiter.
    pub fn was_forked(&self) -> bool {
        self.was_forked
    }

    /// Its record on the scoreboard.
    pub fn board(&self) -> &WorkerSlot {
        self.board
    }

    /// The records of all workers.
    pub fn all(&self) -> &Arc<Board> {
        &self.ticket.board
    }

    /// The sockets to accept from: this worker's own descriptors of those that were given to the
    /// arbiter.  To be closed
    /// ([`Listening::close`]) when the worker begins to stop: while one worker has a socket open,
    /// clients can connect to it and wait.
    pub fn listeners(&self) -> &[Arc<Listening>] {
        self.listeners
    }

    /// Tells the arbiter that this worker serves.  A worker that ends without having said so has
    /// failed to boot.
    pub fn ready(&self) {
        self.board.set_ready();
        self.news.wake();
    }

    /// A thread of this worker does not come back: the arbiter replaces it when that may be.
    pub fn lacks_thread(&self) {
        self.board.set_lacks_thread();
        self.news.wake();
    }

    /// A function that says whether this worker may leave, since it has lived long enough: no more
    /// than `max_recycling` are away at once.  Who may, must.
    pub fn leave_permit(&self) -> impl Fn() -> bool + Send + Sync + 'static {
        let Ticket { board, slot, age, most } = self.ticket.clone();
        move || {
            let may = board.take_ticket(slot, age, most);
            if may {
                board[slot].set_stopping();
            }
            may
        }
    }

    /// Whether logs are to be opened again, since the last call; known after
    /// [`WorkerContext::stop_mode`].  A thread's are those of its process, which does it.
    pub fn take_reopen(&self) -> bool {
        self.reopens.swap(false, Ordering::Relaxed)
    }

    /// Readable when [`WorkerContext::stop_mode`] has news.  To be watched by the worker's loop.
    pub fn stop_fd(&self) -> RawFd {
        match &self.ear {
            Ear::Process { poller, .. } => poller.lock().fd(),
            Ear::Thread(line) => line.waker().fd(),
        }
    }

    /// How this worker is to stop, once it is: a process on TERM [`StopMode::Graceful`]; on INT, on
    /// QUIT and when the arbiter is gone [`StopMode::Quick`]; a thread as it is told, and never
    /// [`StopMode::Kill`].  It can become more urgent, never less.
    pub fn stop_mode(&self) -> Option<StopMode> {
        let mut before = self.told.lock();
        let told = before.max(match &self.ear {
            Ear::Process { signals, lifeline, poller } => {
                hear(signals, lifeline, poller, &self.reopens)
            }
            Ear::Thread(line) => line.told(),
        });
        if told.is_some() && std::mem::replace(&mut *before, told).is_none() {
            self.board.set_stopping();
        }
        told
    }

    /// It has ended: what catches the signals of its process.
    pub(super) fn into_signals(self) -> Option<Signals> {
        match self.ear {
            Ear::Process { signals, .. } => Some(signals),
            Ear::Thread(_) => None,
        }
    }
}

fn hear(
    signals: &Signals,
    lifeline: &OwnedFd,
    poller: &Mutex<Poller>,
    reopens: &AtomicBool,
) -> Option<StopMode> {
    // Takes the events, so that the descriptor is not readable until the next.
    let _ = poller.lock().wait(0);
    let mut told = None;
    for signal in signals.take() {
        match signal {
            SIGUSR1 => reopens.store(true, Ordering::Relaxed),
            SIGTERM => told = told.max(Some(StopMode::Graceful)),
            _ => told = told.max(Some(StopMode::Quick)),
        }
    }
    // Nobody ever writes to the life-line: readable means that its other end is gone.
    if wait_readable(lifeline.as_raw_fd(), 0).unwrap_or(false) {
        told = Some(StopMode::Quick);
    }
    told
}

impl fmt::Debug for WorkerContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerContext")
            .field("slot", &self.ticket.slot)
            .field("age", &self.ticket.age)
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

/// The life of a worker that is a thread: returns its exit status.
pub(super) fn live_in_thread(
    main: &(dyn Fn(&WorkerContext<'_>) -> i32 + Send + Sync),
    log: &Logger,
    context: WorkerContext<'_>,
) -> i32 {
    log!(log, Info, TARGET, "Booting worker in thread: {}", context.slot());
    let status = main(&context);
    log!(log, Info, TARGET, "Worker exiting (thread: {})", context.slot());
    status
}

/// The life of a worker that is a process: called in the new process, with all signals blocked; returns its exit
/// status.
pub(super) fn live(
    arbiter: &mut Arbiter,
    slot: usize,
    generation: &Generation,
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
    let lifeline = arbiter.leave(generation);
    let of = OfPool(generation.pool());
    let most = generation.settings.max_recycling;
    let ticket = Ticket { board: Arc::clone(&arbiter.board), slot, age, most };
    let around = Surroundings {
        board: &arbiter.board,
        news: &arbiter.news,
        listeners: &generation.listeners,
        poller: &arbiter.poller,
        was_forked: true,
    };
    let prepared = lifeline.and_then(|lifeline| prepare(&around, ticket, lifeline));
    let context = match prepared {
        Ok(context) => context,
        Err(error) => {
            mask.restore();
            log!(generation.log, Error, TARGET, "Worker failed to boot: {error}");
            return BOOT_ERROR;
        }
    };
    // The host's mask, but not against the signals that a worker lives by.
    mask.clone().without(&[SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGABRT]).restore();
    log!(generation.log, Info, TARGET, "Booting worker with pid: {}{of}", context.pid);
    let status = (generation.main)(&context);
    log!(generation.log, Info, TARGET, "Worker exiting (pid: {}{of})", context.pid);
    // The process ends here.  A signal that comes while what was prepared is undone must not have
    // its default effect.
    let _held = SignalMask::block_all();
    drop(context);
    status
}

/// What a worker that is a process uses, and does not have for itself.
pub(super) struct Surroundings<'a> {
    pub(super) board: &'a Board,
    pub(super) news: &'a Waker,
    pub(super) listeners: &'a [Arc<Listening>],
    pub(super) poller: &'a Mutex<Poller>,
    pub(super) was_forked: bool,
}

pub(super) fn prepare<'a>(
    around: &Surroundings<'a>,
    ticket: Ticket,
    lifeline: OwnedFd,
) -> Result<WorkerContext<'a>> {
    let os = |error| Error::os("prepare a worker", &error);
    let signals = Signals::install(&[SIGTERM, SIGINT, SIGQUIT, SIGUSR1])?;
    // gunicorn's workers die of HUP, and stop on TTIN and TTOU: `pkill -HUP` hurts.  PIPE comes of a
    // log that nobody reads any more.
    for signal in [SIGHUP, SIGTTIN, SIGTTOU, SIGUSR2, SIGWINCH, SIGPIPE] {
        signal::ignore(signal).map_err(os)?;
    }
    // Behind epolls of a host's the kernel would take some fifty workers for too many that wait for one pipe.
    // Without /proc they are.
    let lifeline = proc::opened_again(&lifeline).unwrap_or(lifeline);
    let watch = |fd, token| around.poller.lock().add(fd, token).map_err(os);
    watch(signals.fd(), TOKEN_SIGNAL)?;
    watch(lifeline.as_raw_fd(), TOKEN_LIFELINE)?;
    let board = &around.board[ticket.slot];
    let pid = proc::pid();
    board.set_pid(pid);
    Ok(WorkerContext {
        pid,
        board,
        ticket,
        news: around.news,
        reopens: AtomicBool::new(false),
        listeners: around.listeners,
        was_forked: around.was_forked,
        ear: Ear::Process { signals, lifeline, poller: around.poller },
        told: Mutex::new(None),
    })
}
