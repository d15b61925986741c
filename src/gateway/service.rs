//! What all requests of one worker share, and what its host wants to be told.

use std::any::Any;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::base::error::{Error, Result};
use crate::base::log::Logger;
use crate::base::octets::{Octets, Pair};
use crate::conf::pool::Name;

use super::abi::Environ;
use super::app::Kept;
use super::counters::Counters;
use super::flight::Info;
use super::mounts::Apps;

/// What all requests of a worker share.
pub struct Service {
    /// Answer the requests.
    pub apps: Apps,
    /// What every environ of this worker says: `ENV_*`.
    pub env_flags: u32,
    /// Each application runs where its flags say, and not all of them on threads.
    pub threads_by_flags: bool,
    /// The application is called at the head and reads while the body arrives.
    pub streaming: bool,
    /// There is a limit to how long a request may take.
    pub limited: bool,
    /// Whoever drives a request is asked before its head is committed: there is a limit, or somebody
    /// wants to know when that is.
    pub asks: bool,
    /// Octets of a request body that stay in memory.
    pub body_buffer: usize,
    /// Where longer ones are spooled.
    pub spool_dir: PathBuf,
    /// Octets that wait for a slow client before a producer is paused.
    pub output_buffer: u64,
    /// Takes records.
    pub log: Logger,
    /// Counts.
    pub counters: Arc<dyn AsRef<Counters> + Send + Sync>,
    /// What the host wants to be called for.
    pub hooks: Arc<Hooks>,
}

impl Service {
    /// The counters.
    #[inline]
    pub fn counters(&self) -> &Counters {
        (*self.counters).as_ref()
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("apps", &self.apps).finish_non_exhaustive()
    }
}

/// A function that sees the environ before the application does.
pub type PreRequest = Box<dyn Fn(&Environ) + Send + Sync>;

/// A function that is told of each finished request.
pub type OnAccess = Box<dyn Fn(&Access<'_>) + Send + Sync>;

/// A function that prepares a worker; an error refuses it.
pub type WorkerInit = Box<dyn Fn(&Worker) -> Result<()> + Send + Sync>;

/// A function that is a worker's loop: it calls the other one, which does what there is to do and says in
/// how many milliseconds to call again (-1: when there is something to do), until that says None.
pub type WorkerRun = Box<dyn Fn(&Worker, &mut Turn<'_>) -> Result<()> + Send + Sync>;

/// A turn of a worker's loop, in any thread.
pub type Turn<'a> = dyn FnMut() -> Result<Option<i64>> + Send + 'a;

/// A function that is told of a worker.
pub type OnWorker = Box<dyn Fn(&Worker) + Send + Sync>;

/// A function that is told of a worker that aborts, and of the request that it hangs in.
pub type OnAbort = Box<dyn Fn(&Worker, Option<&Info>) + Send + Sync>;

/// A function that is told of the arbiter.
pub type OnArbiter = Box<dyn Fn(&Supervisor) + Send + Sync>;

/// A function that is told how a reload ended: well, or why not.
pub type OnReloaded = Box<dyn Fn(&Supervisor, Option<&Error>) + Send + Sync>;

/// A function that is told how many workers there are to be, and were.
pub type OnCount = Box<dyn Fn(u32, u32) + Send + Sync>;

/// The arbiter, as its hooks know it.
#[derive(Debug)]
pub struct Supervisor {
    /// Its `Handle`.
    pub handle: Box<dyn Any>,
    /// What whoever made the arbiter calls it.
    pub token: usize,
}

/// A worker, as its hooks know it.
#[derive(Debug, Default)]
pub struct Worker {
    /// Its process, if it was forked; 0 for a thread.
    pub pid: i32,
    /// Its place, from 0; a worker that replaces another has the other's.
    pub slot: u32,
    /// Which configuration it runs: counts reloads.
    pub generation: u32,
    /// How its process ended, as from waitpid; for those that are told of that.
    pub exit_status: i32,
    /// Why, as the arbiter has it: `GW_CAUSE_*`.
    pub cause: u32,
    /// The pool that it is of.
    pub pool: Name,
    /// What may be done to its server while the worker's thread turns it.
    pub server: Option<Arc<dyn Any + Send + Sync>>,
    /// What a hook keeps from one call to the next, until the worker has ended.
    pub kept: OnceLock<Box<dyn Any + Send + Sync>>,
}

/// What the host wants to be called for in the arbiter's process.
#[derive(Default)]
pub struct ArbiterHooks {
    /// Before the first worker.
    pub on_starting: Option<OnArbiter>,
    /// When the first workers are ready.
    pub when_ready: Option<OnArbiter>,
    /// Before each fork.
    pub pre_fork: Option<OnWorker>,
    /// A worker was started.
    pub spawned: Option<OnWorker>,
    /// A worker serves.
    pub worker_ready: Option<OnWorker>,
    /// A worker has ended.
    pub child_exit: Option<OnWorker>,
    /// Another number of workers.
    pub nworkers_changed: Option<OnCount>,
    /// A reload begins.
    pub on_reload: Option<OnArbiter>,
    /// A reload has ended.
    pub reloaded: Option<OnReloaded>,
    /// Last in the arbiter.
    pub on_exit: Option<OnArbiter>,
    /// The program is about to be started again, for an upgrade.
    pub pre_exec: Option<OnArbiter>,
}

impl ArbiterHooks {
    /// The names of those that there are.
    pub fn names(&self) -> Vec<&'static str> {
        let all = [
            ("on_starting", self.on_starting.is_some()),
            ("when_ready", self.when_ready.is_some()),
            ("pre_fork", self.pre_fork.is_some()),
            ("spawned", self.spawned.is_some()),
            ("worker_ready", self.worker_ready.is_some()),
            ("child_exit", self.child_exit.is_some()),
            ("nworkers_changed", self.nworkers_changed.is_some()),
            ("on_reload", self.on_reload.is_some()),
            ("reloaded", self.reloaded.is_some()),
            ("on_exit", self.on_exit.is_some()),
            ("pre_exec", self.pre_exec.is_some()),
        ];
        all.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name).collect()
    }
}

impl fmt::Debug for ArbiterHooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArbiterHooks").finish_non_exhaustive()
    }
}

/// What the host wants to be called for.
#[derive(Default)]
pub struct Hooks {
    /// In the arbiter: the host's alone, a module is not loaded there.
    pub arbiter: ArbiterHooks,
    /// First in a worker that was forked.
    pub post_fork: Option<WorkerInit>,
    /// In a worker that stops quickly.
    pub worker_int: Option<OnWorker>,
    /// In a forked worker that is sent ABRT, in the handler of that signal.
    pub worker_abort: Option<OnAbort>,
    /// Before the worker's loop turns, in the thread of that.
    pub worker_init: Option<WorkerInit>,
    /// In the place of its loop, in the same thread.
    pub worker_run: Option<WorkerRun>,
    /// After its loop, in the same thread.
    pub worker_exit: Option<OnWorker>,
    /// Before the application.
    pub pre_request: Option<PreRequest>,
    /// After the request.
    pub access: Option<OnAccess>,
    /// What hooks of modules are called with: it goes behind all hooks, and in this order.
    pub kept: Vec<Kept>,
}

impl Hooks {
    /// Whether a worker may be there for requests that are taken: one of the host's threads, or its loop.
    pub fn may_take(&self) -> bool {
        self.worker_init.is_some() || self.worker_run.is_some()
    }

    /// These and `inner`, of which all are called: these come first where something begins, and last
    /// where it ends.
    pub fn around(self, inner: Hooks) -> Hooks {
        let both = |first: Option<OnWorker>, second: Option<OnWorker>| -> Option<OnWorker> {
            match (first, second) {
                (Some(first), Some(second)) => Some(Box::new(move |worker| {
                    first(worker);
                    second(worker);
                })),
                (first, second) => first.or(second),
            }
        };
        let both_agree =
            |first: Option<WorkerInit>, second: Option<WorkerInit>| -> Option<WorkerInit> {
                match (first, second) {
                    (Some(first), Some(second)) => Some(Box::new(move |worker| {
                        first(worker)?;
                        second(worker)
                    })),
                    (first, second) => first.or(second),
                }
            };
        Hooks {
            arbiter: self.arbiter,
            post_fork: both_agree(self.post_fork, inner.post_fork),
            worker_int: both(self.worker_int, inner.worker_int),
            worker_abort: match (self.worker_abort, inner.worker_abort) {
                (Some(first), Some(second)) => Some(Box::new(move |worker, culprit| {
                    first(worker, culprit);
                    second(worker, culprit);
                })),
                (first, second) => first.or(second),
            },
            worker_init: both_agree(self.worker_init, inner.worker_init),
            // There is one loop.
            worker_run: self.worker_run.or(inner.worker_run),
            worker_exit: both(inner.worker_exit, self.worker_exit),
            pre_request: match (self.pre_request, inner.pre_request) {
                (Some(first), Some(second)) => Some(Box::new(move |env| {
                    first(env);
                    second(env);
                })),
                (first, second) => first.or(second),
            },
            access: match (inner.access, self.access) {
                (Some(first), Some(second)) => Some(Box::new(move |done| {
                    first(done);
                    second(done);
                })),
                (first, second) => first.or(second),
            },
            // The last module's goes first.
            kept: inner.kept.into_iter().chain(self.kept).collect(),
        }
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("worker_init", &self.worker_init.is_some())
            .field("worker_run", &self.worker_run.is_some())
            .field("worker_exit", &self.worker_exit.is_some())
            .field("pre_request", &self.pre_request.is_some())
            .field("access", &self.access.is_some())
            .finish_non_exhaustive()
    }
}

/// One finished request.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// Of the response; 499: its client left, or the server was stopped, before there was one.
    pub status: u16,
    /// Octets of the response's body.
    pub sent: u64,
    /// Octets of the request's body.
    pub received: u64,
    /// Since the epoch, when its head was complete.
    pub start_ns: u64,
    /// From then to the end.
    pub took_ns: u64,
    /// Of that, until its body was complete.
    pub read_ns: u64,
    /// Of that, until the application was done with it.
    pub app_ns: u64,
    /// What names it in log lines.
    pub id: Octets<'a>,
    /// The request.
    pub env: &'a Environ,
    /// The header fields of the response.
    pub headers: &'a [Pair<'a>],
}
