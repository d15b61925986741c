//! Getting a worker: a process by fork, or a thread; `exec` has the other way.  What the arbiter needs of it afterwards is the
//! same: whether it has ended, and a way to tell it to stop.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::arbiter::{Arbiter, TOKEN_WORKER, Worker};
use super::control::StopMode;
use super::pool::OfPool;
use super::roll::Generation;
use super::settings::{Event, TARGET, Way};
use super::worker::{self, Parent, Ticket, WorkerContext};
use crate::base::error::{Error, Kind, Result};
use crate::base::log::log;
use crate::sys::clock::monotonic_ms;
use crate::sys::listen::Listening;
use crate::sys::proc::{self, Exit, Pid, SignalMask};
use crate::sys::signal::{SIGKILL, SIGQUIT, SIGTERM};
use crate::sys::waker::Waker;

/// How long a thread that was joined may linger in /proc.
const LINGER: Duration = Duration::from_millis(100);

/// A worker that was started.
#[derive(Debug)]
pub(super) enum Body {
    Process { pid: Pid, pidfd: Option<OwnedFd>, pool: Arc<str> },
    Thread(Thread),
}

impl Body {
    /// How it ended, if it has; `reaped` are those that somebody else has waited for.
    pub(super) fn ended(&self, reaped: &[(Pid, Exit)]) -> Option<Exit> {
        match self {
            Body::Process { pid, .. } => {
                let known = reaped.iter().find(|(reaped, _)| reaped == pid);
                known.map(|(_, exit)| *exit).or_else(|| proc::wait_pid(*pid))
            }
            Body::Thread(thread) => thread.line.exit.get().map(|status| Exit::Code(*status)),
        }
    }

    /// Tells it to stop.  A thread cannot be killed: for it [`StopMode::Kill`] is no more than
    /// [`StopMode::Quick`].
    pub(super) fn tell(&self, how: StopMode) {
        match self {
            // It was not waited for, so the id is still its own.
            Body::Process { pid, .. } => {
                let signal = [SIGTERM, SIGQUIT, SIGKILL][how as usize];
                let _ = proc::kill(*pid, signal);
            }
            Body::Thread(thread) => thread.line.tell(how),
        }
    }

    /// Sends it a signal, if it is a process.
    pub(super) fn signal(&self, signal: i32) {
        if let Body::Process { pid, .. } = self {
            let _ = proc::kill(*pid, signal);
        }
    }

    /// Its process; 0: it is a thread.
    pub(super) fn pid(&self) -> Pid {
        match self {
            Body::Process { pid, .. } => *pid,
            Body::Thread(_) => 0,
        }
    }

    /// Whether its end makes nothing readable, so that one has to look.
    pub(super) fn ends_silently(&self) -> bool {
        matches!(self, Body::Process { pidfd: None, .. })
    }

    pub(super) fn is_thread(&self) -> bool {
        matches!(self, Body::Thread(_))
    }
}

/// As the log calls it.
impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Process { pid, pool, .. } => write!(f, "pid:{pid}{}", OfPool(pool)),
            Body::Thread(Thread { slot, pool, .. }) => write!(f, "thread:{slot}{}", OfPool(pool)),
        }
    }
}

/// A worker that is a thread.  Dropped after its end it is joined; before, it is left to itself: all
/// that it uses is its own, but it keeps no client waiting and no address taken.
#[derive(Debug)]
pub(super) struct Thread {
    slot: usize,
    pool: Arc<str>,
    line: Arc<Line>,
    listeners: Vec<Arc<Listening>>,
    handle: Option<JoinHandle<()>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        let Some(handle) = self.handle.take() else { return };
        if self.line.exit.get().is_some() {
            // What it panicked with was taken note of in `Arbiter::thread`.
            let _ = handle.join();
        } else {
            self.listeners.iter().for_each(|listening| listening.close());
        }
    }
}

/// Between the arbiter and a worker that is a thread.
#[derive(Debug)]
pub(super) struct Line {
    /// 0, or 1 more than the most urgent [`StopMode`] so far.
    told: AtomicU32,
    /// Wakes the worker.
    waker: Waker,
    /// The status that it ended with.
    exit: OnceLock<i32>,
}

impl Line {
    fn new() -> io::Result<Self> {
        Ok(Line { told: AtomicU32::new(0), waker: Waker::new()?, exit: OnceLock::new() })
    }

    fn tell(&self, how: StopMode) {
        self.told.fetch_max(how as u32 + 1, Ordering::AcqRel);
        self.waker.wake();
    }

    pub(super) fn told(&self) -> Option<StopMode> {
        self.waker.clear();
        match self.told.load(Ordering::Acquire) {
            0 => None,
            1 => Some(StopMode::Graceful),
            _ => Some(StopMode::Quick),
        }
    }

    pub(super) fn waker(&self) -> &Waker {
        &self.waker
    }
}

/// Some of the threads of this process, but for the one that it began with, as people know them.
fn threads_by_name() -> String {
    const SHOWN: usize = 3;
    let mut names = proc::thread_names();
    let more = if names.len() > SHOWN { ", ..." } else { "" };
    names.truncate(SHOWN);
    names.join(", ") + more
}

impl Arbiter {
    /// Before the first worker: refuses to fork a process that has threads.
    pub(super) fn preflight(&self) -> Result<()> {
        if self.settings.way != Way::Fork {
            return Ok(());
        }
        match proc::thread_count(LINGER) {
            Some(0 | 1) => Ok(()),
            Some(threads) => {
                let text = format!(
                    "fork workers: this process has {threads} threads ({}), and a lock that one of \
                     them holds would stay locked in the workers",
                    threads_by_name()
                );
                if self.settings.fork_unsafe {
                    log!(self.log, Warn, TARGET, "{text}: fork_unsafe allows it");
                    return Ok(());
                }
                let text = format!(
                    "{text}; start before any thread, or set worker_model = exec, or fork_unsafe = 1"
                );
                Err(Error::new(Kind::State, text))
            }
            None => {
                log!(
                    self.log,
                    Warn,
                    TARGET,
                    "Cannot tell whether this process has threads: no /proc"
                );
                Ok(())
            }
        }
    }

    /// Starts a worker in the empty place `slot`.
    pub(super) fn spawn(&mut self, slot: usize) -> Result<()> {
        let nobody = || Error::new(Kind::State, "start a worker: nobody is wanted there");
        let generation = self.places[slot].wanted.clone().ok_or_else(nobody)?;
        let age = self.spawned;
        if self.settings.way != Way::Thread {
            self.tell(Event::PreFork(generation.who(0, slot)));
        }
        let spawned_ms = monotonic_ms();
        self.board[slot].assign(generation.number);
        self.board[slot].set_seat(self.free_seat(&generation));
        let started = match self.settings.way {
            Way::Fork => self.fork(slot, &generation),
            Way::Exec => self.exec(slot, &generation),
            Way::Thread => self.thread(slot, &generation),
        };
        let body = started.inspect_err(|_| self.board[slot].vacate())?;
        self.spawned += 1;
        self.handle.tally().spawned.fetch_add(1, Ordering::Relaxed);
        self.board.count_start(slot);
        let worker = Worker {
            body,
            age,
            spawned_ms,
            ready: false,
            reopens: false,
            expires_ms: self.lifetime_from(spawned_ms, &generation),
            kill_at_ms: u64::MAX,
            verdict: None,
            generation,
            told: None,
        };
        let who = self.who(slot, &worker);
        let place = &mut self.places[slot];
        place.worker = Some(worker);
        self.tell(Event::Spawned(who));
        Ok(())
    }

    fn fork(&mut self, slot: usize, generation: &Arc<Generation>) -> Result<Body> {
        if self.started && !self.warned_of_threads {
            // A host that starts threads after its arbiter gets its workers all the same: not to
            // replace the dead would be worse.
            if let Some(threads @ 2..) = proc::thread_count(Duration::ZERO) {
                self.warned_of_threads = true;
                log!(
                    self.log,
                    Warn,
                    TARGET,
                    "Forking although this process has {threads} threads by now: a worker may \
                     hang at its start"
                );
            }
        }
        let age = self.spawned;
        let parent = Parent { pid: proc::pid(), on_main_thread: proc::is_main_thread() };
        let pid = proc::fork_with(|mask| worker::live(self, slot, generation, age, parent, mask))
            .map_err(|error| Error::os("fork a worker", &error))?;
        Ok(self.process(slot, pid, generation))
    }

    /// A worker that is this process, from now on.
    pub(super) fn process(&mut self, slot: usize, pid: Pid, of: &Generation) -> Body {
        self.board[slot].set_pid(pid);
        // Without it (before Linux 5.3, or out of descriptors) the arbiter looks every now and then.
        let pidfd = proc::pidfd(pid).ok().filter(|fd| {
            self.poller.get_mut().add(fd.as_raw_fd(), TOKEN_WORKER + slot as u64).is_ok()
        });
        Body::Process { pid, pidfd, pool: Arc::clone(of.pool()) }
    }

    /// The thread has descriptors of its own for the sockets, as a process has: each worker closes
    /// its own when it stops.  Like all threads of ours it has the host's signals blocked.
    fn thread(&self, slot: usize, generation: &Arc<Generation>) -> Result<Body> {
        let os = |error| Error::os("start a worker thread", &error);
        let line = Arc::new(Line::new().map_err(os)?);
        let own = |listening: &Arc<Listening>| listening.duplicate().map(Arc::new);
        let listeners =
            generation.listeners.iter().map(own).collect::<io::Result<Vec<_>>>().map_err(os)?;
        let (generation, board) = (Arc::clone(generation), Arc::clone(&self.board));
        let (arbiter, its) = (self.handle(), Arc::clone(&line));
        let age = self.spawned;
        let kept = listeners.clone();
        let pool = Arc::clone(generation.pool());
        let life = move || {
            let live = || {
                let news = arbiter.waker();
                let most = generation.settings.max_recycling;
                let ticket = Ticket { board: Arc::clone(&board), slot, age, most };
                let context = WorkerContext::of_thread(ticket, &board, &listeners, &its, news);
                worker::live_in_thread(&*generation.main, &generation.log, context)
            };
            let status = catch_unwind(AssertUnwindSafe(live)).unwrap_or(proc::PANIC_STATUS);
            drop((generation, board, listeners));
            let _ = its.exit.set(status);
            arbiter.waker().wake();
        };
        let mask = SignalMask::block_all_but_faults();
        let started = Builder::new().name(format!("gateway-loop-{slot}")).spawn(life);
        mask.restore();
        let handle = Some(started.map_err(os)?);
        Ok(Body::Thread(Thread { slot, pool, line, listeners: kept, handle }))
    }
}
