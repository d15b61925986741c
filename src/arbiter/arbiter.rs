//! The arbiter: gunicorn's master as an object.  Its loop hears signals, requests and deaths, and
//! decides.
//!
//! Everything that it waits for is in one epoll instance, so that a host with a loop of its own can
//! turn it.  Deaths of processes are heard through pidfds: no SIGCHLD handler, and no child is waited
//! for that is not one of its workers.  What is different with threads is in `spawn`.

use std::fmt;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::attend::Attended;
use super::board::Board;
use super::control::{Handle, StopMode};
use super::culprit::Witness;
use super::pool::{self, OfPool, Pool};
use super::roll::{Generation, Roll};
use super::settings::{Event, Main, Observer, PoolPlan, Settings, TARGET, Turn, Way, Who};
use super::spawn::Body;
use super::upgrade::{Predecessor, Successor};
use super::watch::Verdict;
use crate::base::error::{Error, Kind, Result};
use crate::base::log::{Logger, log};
use crate::sys::cgroup;
use crate::sys::clock::monotonic_ms;
use crate::sys::exec::Program;
use crate::sys::listen::Listening;
use crate::sys::poll::Poller;
use crate::sys::proc::{self, Pid};
use crate::sys::signal::{
    self, SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2,
    SIGWINCH, Signals,
};
use crate::sys::waker::Waker;

/// How often to look after workers that have no pidfd.
const POLL_MS: i64 = 100;

const TOKEN_CONTROL: u64 = 0;
const TOKEN_SIGNAL: u64 = 1;
const TOKEN_NEWS: u64 = 2;
pub(super) const TOKEN_UPGRADE: u64 = 3;
pub(super) const TOKEN_ATTENDANT: u64 = 4;
pub(super) const TOKEN_WORKER: u64 = 1 << 32;

/// Starts workers, replaces those that die, and stops them.  Dropping it kills what is left; threads
/// that do not end within 5 s are left to themselves.
///
/// The thread that starts it should be the process's main thread, or outlive it.
pub struct Arbiter {
    /// Those of the generation that is to be, of its first pool; as the next two.
    pub(super) settings: Settings,
    pub(super) log: Logger,
    /// What workers are to run, and how many.
    pub(super) pools: Vec<Pool>,
    /// The way there, during a reload.
    pub(super) roll: Option<Roll>,
    /// Those that there ever were: their numbers are the indices.
    pub(super) pool_names: Vec<Arc<str>>,
    pub(super) reload_asked: bool,
    pub(super) upgrade_asked: bool,
    /// Workers are to go as soon as a successor is ready, and have gone.
    pub(super) rest_asked: bool,
    pub(super) rests: bool,
    pub(super) successor: Option<Successor>,
    pub(super) predecessor: Option<Predecessor>,
    pub(super) observer: Option<Observer>,
    pub(super) witness: Option<Box<dyn Witness>>,
    pub(super) attended: Attended,
    pub(super) handle: Handle,
    /// Locked for the sake of a worker, which has one of its own here, and may turn in any thread.
    pub(super) poller: Mutex<Poller>,
    pub(super) signals: Option<Signals>,
    /// Woken by workers that are ready.
    pub(super) news: Waker,
    /// Read by workers, written by nobody: when the arbiter is gone, its end is closed.
    pub(super) lifeline: Option<(OwnedFd, OwnedFd)>,
    pub(super) board: Arc<Board>,
    pub(super) places: Vec<Place>,
    pub(super) phase: Phase,
    /// The process that made it: the copy in a forked child must not kill anybody.
    pub(super) creator: Pid,
    /// What it is an arbiter of: to be started again.
    pub(super) program: Result<Arc<Program>>,
    /// How often the configuration was changed.
    pub(super) generations: u32,
    pub(super) spawned: u64,
    pub(super) started: bool,
    /// The first workers were all ready.
    pub(super) was_ready: bool,
    pub(super) warned_of_threads: bool,
    /// When the loop was last seen to come late: it was stopped itself, and nobody can be blamed for
    /// what he did not do meanwhile.
    pub(super) overslept_ms: u64,
    /// When it begins to stop, if that was put off.
    pub(super) lame_until_ms: Option<u64>,
    /// When the loop was to turn again at the latest.
    pub(super) due_ms: u64,
    /// When time is told again.
    pub(super) tick_ms: u64,
    /// When to look for children that are nobody's.
    pub(super) orphans_ms: u64,
    /// Processes of this control group that the system has killed for want of memory.
    pub(super) oom_kills: Option<u64>,
    /// When workers are weighed again.
    pub(super) weigh_at_ms: u64,
    random: u64,
}

/// Where one worker is, or will be.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) worker: Option<Worker>,
    /// One of its workers has served: a failure to boot is no longer a failure to start.
    pub(super) has_served: bool,
    /// What is to run here; `None`: nothing, and a worker that is here was told to go.
    pub(super) wanted: Option<Arc<Generation>>,
    /// The worker that was here is away, and no other may be: its age.
    pub(super) ticket: Option<u64>,
    /// How often in a row its worker failed to boot.
    pub(super) failures: u32,
    /// When the next one may be started, in milliseconds of the monotonic clock.
    pub(super) not_before_ms: u64,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) body: Body,
    pub(super) age: u64,
    pub(super) generation: Arc<Generation>,
    pub(super) spawned_ms: u64,
    /// It was seen to be ready.
    pub(super) ready: bool,
    /// It is to open logs again as soon as it is.
    pub(super) reopens: bool,
    /// When it is to be replaced.
    pub(super) expires_ms: u64,
    /// When it is killed, unless it has ended.
    pub(super) kill_at_ms: u64,
    /// What the arbiter holds against it.
    pub(super) verdict: Option<Verdict>,
    /// What the arbiter told it last.
    pub(super) told: Option<StopMode>,
}

#[derive(Clone, Debug)]
pub(super) enum Phase {
    Idle,
    Running,
    Stopping { how: StopMode, deadline_ms: u64, failure: Option<Error> },
    Stopped,
}

impl Arbiter {
    /// An arbiter for `listeners`, whose workers run `main`.  Nothing is started.
    ///
    /// # Errors
    /// `Kind::Invalid` without a worker to start; `Kind::Io` when the system has no descriptor or no
    /// memory to give.
    pub fn new(
        settings: Settings,
        listeners: Vec<Arc<Listening>>,
        main: Main,
        log: Logger,
    ) -> Result<Self> {
        Arbiter::of_pools(vec![(PoolPlan { settings, main, log: log.clone() }, listeners)], log)
    }

    /// The same, for several pools of workers.
    ///
    /// # Errors
    /// As [`Arbiter::new`]; `Kind::Invalid`: two pools of one name.
    pub fn of_pools(pools: Vec<(PoolPlan, Vec<Arc<Listening>>)>, log: Logger) -> Result<Self> {
        pool::check(pools.iter().map(|(plan, _)| (&*plan.settings.pool, plan.settings.workers)))?;
        let pools: Vec<_> =
            pools.into_iter().map(|(plan, listeners)| Pool::of(0, plan, listeners, &log)).collect();
        let settings = pools[0].goal.settings.clone();
        let os = |error| Error::os("make an arbiter", &error);
        let program = Program::current();
        let program =
            program.map_err(|error| Error::os("know how this program was called", &error));
        let board = match settings.way {
            Way::Exec => Board::with_files(0),
            Way::Fork | Way::Thread => Board::new(0),
        };
        let handle = Handle::new().map_err(os)?;
        let poller = Poller::new().map_err(os)?;
        poller.add(handle.waker().fd(), TOKEN_CONTROL).map_err(os)?;
        let news = Waker::new().map_err(os)?;
        poller.add(news.fd(), TOKEN_NEWS).map_err(os)?;
        let mut arbiter = Arbiter {
            lifeline: Some(proc::pipe().map_err(os)?),
            board: Arc::new(board.map_err(os)?),
            places: Vec::new(),
            settings,
            log,
            pools,
            roll: None,
            pool_names: Vec::new(),
            reload_asked: false,
            upgrade_asked: false,
            rest_asked: false,
            rests: false,
            successor: None,
            predecessor: None,
            observer: None,
            witness: None,
            attended: Attended::default(),
            news,
            handle,
            poller: Mutex::new(poller),
            signals: None,
            phase: Phase::Idle,
            creator: proc::pid(),
            program: program.map(Arc::new),
            generations: 0,
            spawned: 0,
            started: false,
            was_ready: false,
            warned_of_threads: false,
            overslept_ms: 0,
            lame_until_ms: None,
            due_ms: u64::MAX,
            tick_ms: 0,
            orphans_ms: 0,
            oom_kills: cgroup::oom_kills(),
            weigh_at_ms: 0,
            random: monotonic_ms() | 1,
        };
        for Pool { goal, target } in arbiter.pools.clone() {
            for _ in 0..target {
                let slot = arbiter.free_place(goal.pool());
                let slot = slot.ok_or_else(|| Error::from(Kind::State))?;
                arbiter.places[slot].wanted = Some(Arc::clone(&goal));
            }
        }
        arbiter.show();
        Ok(arbiter)
    }

    /// Tells of events from now on.
    pub fn observe(&mut self, observer: Observer) {
        self.observer = Some(observer);
    }

    pub(super) fn tell(&self, event: Event<'_>) {
        if let Some(observer) = &self.observer {
            observer(&self.handle, event);
        }
    }

    /// The arbiter as other threads and signal handlers may use it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// What the workers have said of themselves.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// Readable when [`Arbiter::turn`] has something to do.
    pub fn fd(&self) -> RawFd {
        self.poller.lock().fd()
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// `Kind::State`: it was started before, something else in this process catches signals, or the
    /// process has threads, with which a fork is not safe.  `Kind::Io`: the system refuses a worker;
    /// then what was started is stopped.
    pub fn start(&mut self) -> Result<()> {
        if !matches!(self.phase, Phase::Idle) {
            return Err(Error::new(Kind::State, "start the arbiter: it was started before"));
        }
        self.preflight()?;
        self.warn_of_memory();
        if self.settings.signals {
            // A log that nobody reads any more must not end the arbiter.
            let mut caught = vec![
                SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH,
            ];
            caught.extend(self.settings.reap_orphans.then_some(SIGCHLD));
            let signals = Signals::install(&caught)?.ignoring(SIGPIPE)?;
            self.poller
                .get_mut()
                .add(signals.fd(), TOKEN_SIGNAL)
                .map_err(|error| Error::os("start the arbiter", &error))?;
            self.signals = Some(signals);
        }
        log!(self.log, Info, TARGET, "Starting libgateway {}", env!("CARGO_PKG_VERSION"));
        for pool in &self.pools {
            let listeners = &pool.goal.listeners;
            for listening in listeners.iter().filter(|it| it.seat().unwrap_or(0) == 0) {
                let (at, pid, of) = (listening.local(), self.creator, OfPool(pool.name()));
                log!(self.log, Info, TARGET, "Listening at: {at} ({pid}{of})");
            }
        }
        self.phase = Phase::Running;
        self.tell(Event::Starting);
        for slot in 0..self.places.len() {
            if let Err(error) = self.spawn(slot) {
                log!(self.log, Error, TARGET, "{}", error.message());
                self.kill_all();
                self.end(Err(error.clone()));
                return Err(error);
            }
        }
        self.started = true;
        Ok(())
    }

    /// Starts the workers unless that is done, and works until told to stop.
    ///
    /// # Errors
    /// Those of [`Arbiter::start`]; and a first worker that says that it cannot boot (it ends with
    /// the status 3, or panics) stops everything, with the exit status 3 (4: the worker said that
    /// its application could not be loaded).  One that is killed before it is ready is replaced.
    /// `Kind::Timeout`: it has stopped, and threads that did not end in time go on.
    pub fn run(&mut self) -> Result<()> {
        if matches!(self.phase, Phase::Idle) {
            self.start()?;
        }
        let mut wait = 0;
        while let Turn::Wait(next) = self.turn(wait)? {
            wait = next;
        }
        // `Stopped` means that it is there.
        self.handle.wait(Some(Duration::ZERO)).unwrap_or(Ok(()))
    }

    /// One turn of the loop: waits for something to happen, `wait_ms` at most (0: not at all, -1:
    /// for ever), and acts on it.
    ///
    /// # Errors
    /// `Kind::State`: it was not started.  `Kind::Io`: the system's polling fails.
    pub fn turn(&mut self, wait_ms: i64) -> Result<Turn> {
        match self.phase {
            Phase::Idle => {
                return Err(Error::new(Kind::State, "turn the arbiter: it was not started"));
            }
            Phase::Stopped => return Ok(Turn::Stopped),
            Phase::Running | Phase::Stopping { .. } => {}
        }
        let poller = self.poller.get_mut();
        poller.wait(wait_ms).map_err(|error| Error::os("wait for events", &error))?;
        self.news.clear();
        self.notice_lateness();
        // What was asked for comes before the deaths: on Ctrl-C the workers get the signal, too, and
        // those that are gone already are not to be replaced.
        self.hear_signals();
        self.attend();
        self.hear_requests();
        self.end_lame_duck();
        self.reap();
        self.reap_orphans();
        self.tick();
        if matches!(self.phase, Phase::Running) {
            self.welcome();
            self.watch();
            self.weigh();
            self.level();
            self.upgrade();
            self.replace();
        }
        self.finish();
        Ok(match self.phase {
            Phase::Stopped => Turn::Stopped,
            _ => Turn::Wait(self.next_wait()),
        })
    }

    pub(super) fn who(&self, slot: usize, worker: &Worker) -> Who {
        worker.generation.who(worker.body.pid(), slot)
    }

    /// xorshift: nothing depends on its quality.
    pub(super) fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Fills the places that are empty and whose time has come.
    fn replace(&mut self) {
        let now = monotonic_ms();
        for slot in 0..self.places.len() {
            let place = &self.places[slot];
            if place.wanted.is_none() || place.worker.is_some() || place.not_before_ms > now {
                continue;
            }
            if let Err(error) = self.spawn(slot) {
                let delay = self.backoff(slot);
                self.places[slot].failures = self.places[slot].failures.saturating_add(1);
                self.places[slot].not_before_ms = now + delay;
                log!(self.log, Error, TARGET, "{error}; the next attempt is in {delay} ms");
            }
        }
        let failing = |place: &&Place| place.worker.is_none() && place.failures > 0;
        let failing = self.places.iter().filter(failing).count();
        self.handle.tally().failing.store(failing as u64, Ordering::Relaxed);
    }

    fn next_wait(&mut self) -> i64 {
        let now = monotonic_ms();
        let mut wait = -1;
        let mut at_most = |ms: u64| {
            let ms = i64::try_from(ms).unwrap_or(i64::MAX);
            wait = if wait < 0 { ms } else { wait.min(ms) };
        };
        let running = matches!(self.phase, Phase::Running);
        for place in &self.places {
            match &place.worker {
                Some(worker) if worker.body.ends_silently() => at_most(POLL_MS as u64),
                None if running && place.wanted.is_some() => {
                    at_most(place.not_before_ms.saturating_sub(now));
                }
                _ => {}
            }
        }
        if running && let Some(due) = self.next_deadline() {
            at_most(due.saturating_sub(now));
        }
        if running && let Some(until) = self.lame_until_ms {
            at_most(until.saturating_sub(now));
        }
        if self.successor.as_ref().is_some_and(Successor::ends_silently) {
            at_most(POLL_MS as u64);
        }
        if let Phase::Stopping { deadline_ms, .. } = self.phase {
            at_most(deadline_ms.saturating_sub(now));
        }
        if let Some(due) = self.attended.due_ms() {
            at_most(due.saturating_sub(now));
        }
        if self.settings.reap_orphans {
            at_most(self.orphans_ms.saturating_sub(now));
        }
        if !self.settings.tick.is_zero() {
            at_most(self.tick_ms.saturating_sub(now));
        }
        self.due_ms = u64::try_from(wait).map_or(u64::MAX, |wait| now.saturating_add(wait));
        wait
    }

    /// In a new process: gives back all that is the arbiter's, and keeps this end of the life-line.
    /// Descriptors are closed, never deregistered: the epoll instance is the parent's, too.
    pub(super) fn leave(&mut self, generation: &Generation) -> Result<OwnedFd> {
        // In this process the dispositions are the host's again; those of the parent stay.
        signal::reset_in_child();
        self.signals = None;
        self.successor = None;
        self.predecessor = None;
        self.attended.leave();
        // A socket that this worker does not serve would live as long as it does.
        let theirs =
            self.places.iter().filter_map(|place| Some(&place.worker.as_ref()?.generation));
        let plans = self.roll.iter().flat_map(|roll| roll.from.iter().chain(&roll.to));
        let goals = plans.chain(&self.pools).map(|pool| &pool.goal);
        for other in theirs.chain(goals) {
            other.close_but(generation);
        }
        self.places.clear();
        self.phase = Phase::Stopped;
        let os = |error| Error::os("leave the arbiter", &error);
        self.poller = Mutex::new(Poller::new().map_err(os)?);
        self.handle.waker().detach().map_err(os)?;
        let lifeline = self.lifeline.take().map(|(read, _write)| read);
        lifeline.ok_or_else(|| Error::new(Kind::State, "leave the arbiter: it has ended"))
    }
}

impl fmt::Debug for Arbiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arbiter")
            .field("settings", &self.settings)
            .field("pools", &self.pools)
            .field("places", &self.places)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}
