//! What an arbiter is made from, and what it says.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::control::Handle;
use super::worker::WorkerContext;
use crate::base::error::{Error, Result};
use crate::base::log::Logger;
use crate::conf::pool::Name;
use crate::sys::listen::Listening;
use crate::sys::proc::{Exit, Pid};
use crate::sys::shm::Mapped;

/// Who speaks, in the log.
pub(super) const TARGET: &str = "arbiter";

/// The most workers that an arbiter is to have.
pub const WORKERS_MAX: usize = 1024;

/// What the pool is called that need not be named: the only one, or the first.
pub use crate::conf::pool::MAIN as MAIN_POOL;

/// What a worker does: runs in it, returns its exit status.
pub type Main = Box<dyn Fn(&WorkerContext<'_>) -> i32 + Send + Sync>;

/// What a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A process that is forked.
    Fork,
    /// A process that is this program, started again.
    Exec,
    /// A thread of this process: it can be told to stop, and not be killed.
    Thread,
}

/// What an arbiter has to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The pool that they are of.
    pub pool: Arc<str>,
    /// What they are.
    pub way: Way,
    /// How many workers; at least 1.
    pub workers: usize,
    /// How long a worker may take to finish what is in flight after a graceful stop began.
    pub graceful_timeout: Duration,
    /// Whether the arbiter catches signals while it lives.
    pub signals: bool,
    /// How long a worker may take until it is ready; 0: any time.
    pub boot_timeout: Duration,
    /// How long a worker that is ready may give no sign of life; 0: any time.
    pub heartbeat_timeout: Duration,
    /// When a worker is replaced, a tenth at most later; 0: never.
    pub max_lifetime: Duration,
    /// Octets that a worker may have resident before it is replaced, after what is in flight; 0: any.
    pub memory_soft: u64,
    /// Octets at which a worker is killed; 0: none.
    pub memory_hard: u64,
    /// How many workers may be away at once that leave by themselves, or of old age.
    pub max_recycling: usize,
    /// How many workers more than usual there may be during a reload.
    pub reload_parallel: usize,
    /// How long the loop of a worker may be in one request that has no answer; 0: any time.
    pub request_timeout: Duration,
    /// Whether to fork although there are threads.
    pub fork_unsafe: bool,
    /// Whether workers that are programs of their own hear nothing of the service manager.
    pub forgets: bool,
    /// What a worker that is a program of its own is told: options, as `name=value`.
    pub told: Vec<String>,
    /// What it shares, beside the board.
    pub shared: Vec<Arc<dyn Mapped>>,
    /// How long it serves on, and says that it is not ready, when it was told to stop gracefully.
    pub lame_duck: Duration,
    /// How often [`Event::Tick`] is told; 0: never.
    pub tick: Duration,
    /// Whether all children of this process that are no workers are nobody's, and waited for.
    pub reap_orphans: bool,
}

impl Default for Settings {
    /// One worker, forked, that may take its time.
    fn default() -> Self {
        Settings {
            pool: MAIN_POOL.into(),
            way: Way::Fork,
            workers: 1,
            graceful_timeout: Duration::from_secs(30),
            signals: false,
            boot_timeout: Duration::ZERO,
            heartbeat_timeout: Duration::ZERO,
            max_lifetime: Duration::ZERO,
            memory_soft: 0,
            memory_hard: 0,
            max_recycling: 1,
            reload_parallel: 1,
            request_timeout: Duration::ZERO,
            fork_unsafe: false,
            forgets: false,
            told: Vec::new(),
            shared: Vec::new(),
            lame_duck: Duration::ZERO,
            tick: Duration::ZERO,
            reap_orphans: false,
        }
    }
}

/// What a turn of the loop came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The next turn is due when the descriptor is readable, and after so many milliseconds (-1: no
    /// matter how late).
    Wait(i64),
    /// It has ended.
    Stopped,
}

/// A worker, seen by the arbiter.
#[derive(Clone, Copy, Debug)]
pub struct Who {
    /// Its process; 0: it is a thread, or not there yet.
    pub pid: Pid,
    /// Its place.
    pub slot: usize,
    /// Which configuration it runs: counts reloads.
    pub generation: u32,
    /// The pool that it is of.
    pub pool: Name,
}

/// Why a worker has ended.  The C constants `GW_CAUSE_*` are these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Cause {
    /// For reasons of its own, or somebody else's: its exit says which.
    Own = 0,
    /// It was told to stop.
    Told = 1,
    /// It was not ready within `boot_timeout`.
    Boot = 2,
    /// Its loop, or a thread of it, gave no sign of life for `heartbeat_timeout`.
    Silent = 3,
    /// It did not end within `graceful_timeout`.
    Late = 4,
    /// It had more memory than `memory_hard`.
    Memory = 5,
    /// The system killed it, since its control group had no memory left.
    OutOfMemory = 6,
    /// Its loop was in a request for longer than `request_timeout`.
    Overdue = 7,
}

impl Cause {
    /// All of them, in the order of their numbers.
    pub const ALL: [Cause; 8] = [
        Cause::Own,
        Cause::Told,
        Cause::Boot,
        Cause::Silent,
        Cause::Late,
        Cause::Memory,
        Cause::OutOfMemory,
        Cause::Overdue,
    ];

    /// What it is called where it is counted.
    pub const fn name(self) -> &'static str {
        match self {
            Cause::Own => "own",
            Cause::Told => "told",
            Cause::Boot => "boot",
            Cause::Silent => "silent",
            Cause::Late => "late",
            Cause::Memory => "memory",
            Cause::OutOfMemory => "out_of_memory",
            Cause::Overdue => "overdue",
        }
    }
}

/// What an arbiter tells of, in its own thread.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// It starts; there is no worker yet.
    Starting,
    /// The first workers are ready.
    Ready,
    /// A worker is about to be forked, or started.
    PreFork(Who),
    /// A worker was started.
    Spawned(Who),
    /// A worker serves.
    WorkerReady(Who),
    /// A worker has ended.
    Exited(Who, Exit, Cause),
    /// There are to be `now` workers instead of `before`.
    Count {
        /// From now on.
        now: usize,
        /// Until now.
        before: usize,
    },
    /// A reload begins.
    Reloading,
    /// A reload has ended: well, or the workers of before serve on.
    Reloaded(Option<&'a Error>),
    /// Logs are to be opened again.
    Reopen,
    /// The program is about to be started again, to take the place of this one.
    PreExec,
    /// It is to stop, and this process has the place of its own: it is the arbiter from here on.
    HandsOver(Pid),
    /// The one is gone whose place this one takes.
    Promoted {
        /// What its process was.
        before: Pid,
    },
    /// It begins to stop.
    Stopping,
    /// Time has passed, and its loop turns.
    Tick {
        /// Some worker is not known to hang, or there is none.
        is_well: bool,
    },
    /// It has ended.
    Ended,
}

/// Is told of events.  It must not turn, start or drop the arbiter.
pub type Observer = Arc<dyn Fn(&Handle, Event<'_>) + Send + Sync>;

/// Makes the listeners of a new configuration of those that there are: what stays is kept.  Those of
/// each pool.
pub type Bind = Box<dyn FnOnce(&[Arc<Listening>]) -> Result<Vec<Vec<Arc<Listening>>>> + Send>;

/// What one pool of workers is to be.
pub struct PoolPlan {
    /// As [`super::Arbiter::new`] has them.  `way` and `signals` cannot change, and what is not one
    /// worker's is what the first pool says.
    pub settings: Settings,
    /// What its workers do.
    pub main: Main,
    /// Takes records of its workers.
    pub log: Logger,
}

impl fmt::Debug for PoolPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolPlan").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What a reload changes to.
pub struct Plan {
    /// The pools; at least one, each with a name of its own.
    pub pools: Vec<PoolPlan>,
    /// Their listeners.
    pub bind: Bind,
    /// Takes records of the arbiter.
    pub log: Logger,
    /// Is told of events from the end of the reload on.
    pub observer: Option<Observer>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("pools", &self.pools).finish_non_exhaustive()
    }
}
