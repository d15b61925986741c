//! The arbiter: gunicorn's master as an object.  Its loop hears signals, requests and deaths, and
//! decides.
//!
//! Everything that it waits for is in one epoll instance, so that a host with a loop of its own can
//! turn it.  Deaths of processes are heard through pidfds: no SIGCHLD handler, and no child is waited
//! for that is not one of its workers.  What is different with threads is in `spawn`.

use std::cell::RefCell;
use std::fmt;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use super::board::WorkerSlot;
use super::control::{Handle, StopMode};
use super::settings::{Main, Settings, TARGET, Turn};
use super::spawn::Body;
use super::stop::GRACE_MS;
use super::worker::{APP_ERROR, BOOT_ERROR, WorkerContext};
use crate::base::error::{Error, Kind, Result};
use crate::base::log::{Logger, log};
use crate::sys::clock::monotonic_ms;
use crate::sys::listen::Listening;
use crate::sys::poll::Poller;
use crate::sys::proc::{self, Exit, Pid};
use crate::sys::shm::Shared;
use crate::sys::signal::{self, SIGINT, SIGKILL, SIGPIPE, SIGQUIT, SIGTERM, Signals};

/// A place gets no two workers within this time: a worker that dies at its first request must not
/// make the arbiter spin, and a replacement is to be there within 100 ms.
const SPACING_MS: u64 = 100;
/// The delays after failures to boot: doubled from the first to the last.
const BACKOFF_MS: std::ops::RangeInclusive<u64> = 100..=30_000;
/// How often to look after workers that have no pidfd.
const POLL_MS: i64 = 100;

const TOKEN_CONTROL: u64 = 0;
const TOKEN_SIGNAL: u64 = 1;
pub(super) const TOKEN_WORKER: u64 = 1 << 32;

/// Starts workers, replaces those that die, and stops them.  Dropping it kills what is left; threads
/// that do not end within 5 s are left to themselves.
///
/// The thread that starts it should be the process's main thread, or outlive it.
pub struct Arbiter {
    pub(super) settings: Settings,
    pub(super) listeners: Vec<Arc<Listening>>,
    pub(super) main: Arc<dyn Fn(&WorkerContext<'_>) -> i32 + Send + Sync>,
    pub(super) log: Logger,
    pub(super) handle: Handle,
    /// In a cell for the sake of a worker, which has one of its own here.
    pub(super) poller: RefCell<Poller>,
    pub(super) signals: Option<Signals>,
    /// Read by workers, written by nobody: when the arbiter is gone, its end is closed.
    pub(super) lifeline: Option<(OwnedFd, OwnedFd)>,
    pub(super) board: Arc<Shared<WorkerSlot>>,
    pub(super) places: Vec<Place>,
    pub(super) phase: Phase,
    /// The process that made it: the copy in a forked child must not kill anybody.
    pub(super) creator: Pid,
    pub(super) generation: u32,
    pub(super) spawned: u64,
    pub(super) started: bool,
    pub(super) warned_of_threads: bool,
    random: u64,
}

/// Where one worker is, or will be.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) worker: Option<Worker>,
    /// One of its workers has served: a failure to boot is no longer a failure to start.
    pub(super) has_served: bool,
    /// How often in a row its worker failed to boot.
    failures: u32,
    /// When the next one may be started, in milliseconds of the monotonic clock.
    not_before_ms: u64,
}

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) body: Body,
    pub(super) spawned_ms: u64,
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
        if settings.workers == 0 || settings.workers > u32::MAX as usize {
            return Err(Error::new(
                Kind::Invalid,
                format!("workers = {}: an arbiter needs at least 1", settings.workers),
            ));
        }
        let os = |error| Error::os("make an arbiter", &error);
        let handle = Handle::new().map_err(os)?;
        let poller = Poller::new().map_err(os)?;
        poller.add(handle.waker().fd(), TOKEN_CONTROL).map_err(os)?;
        Ok(Arbiter {
            lifeline: Some(proc::pipe().map_err(os)?),
            board: Arc::new(Shared::new(settings.workers).map_err(os)?),
            places: (0..settings.workers).map(|_| Place::default()).collect(),
            settings,
            listeners,
            main: main.into(),
            log,
            handle,
            poller: RefCell::new(poller),
            signals: None,
            phase: Phase::Idle,
            creator: proc::pid(),
            generation: 0,
            spawned: 0,
            started: false,
            warned_of_threads: false,
            random: monotonic_ms() | 1,
        })
    }

    /// The arbiter as other threads and signal handlers may use it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// What the workers have said of themselves.
    pub fn board(&self) -> &Arc<Shared<WorkerSlot>> {
        &self.board
    }

    /// Readable when [`Arbiter::turn`] has something to do.
    pub fn fd(&self) -> RawFd {
        self.poller.borrow().fd()
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
        if self.settings.signals {
            // A log that nobody reads any more must not end the arbiter.
            let signals = Signals::install(&[SIGTERM, SIGINT, SIGQUIT])?.ignoring(SIGPIPE)?;
            self.poller
                .get_mut()
                .add(signals.fd(), TOKEN_SIGNAL)
                .map_err(|error| Error::os("start the arbiter", &error))?;
            self.signals = Some(signals);
        }
        log!(self.log, Info, TARGET, "Starting libgateway {}", env!("CARGO_PKG_VERSION"));
        for listening in &self.listeners {
            log!(self.log, Info, TARGET, "Listening at: {} ({})", listening.local(), self.creator);
        }
        self.phase = Phase::Running;
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
        // What was asked for comes before the deaths: on Ctrl-C the workers get the signal, too, and
        // those that are gone already are not to be replaced.
        self.hear_signals();
        self.hear_requests();
        self.reap();
        self.replace();
        self.finish();
        Ok(match self.phase {
            Phase::Stopped => Turn::Stopped,
            _ => Turn::Wait(self.next_wait()),
        })
    }

    /// Takes note of the workers that have ended.
    fn reap(&mut self) {
        for slot in 0..self.places.len() {
            let Some(worker) = &self.places[slot].worker else { continue };
            let Some(exit) = worker.body.ended() else { continue };
            if let Some(worker) = self.places[slot].worker.take() {
                self.bury(slot, &worker, exit);
            }
        }
    }

    fn bury(&mut self, slot: usize, worker: &Worker, exit: Exit) {
        let was_ready = self.board[slot].was_ready();
        self.board[slot].vacate();
        let who = &worker.body;
        match exit {
            Exit::Code(0) => {}
            Exit::Code(code) => {
                log!(self.log, Error, TARGET, "Worker ({who}) exited with code {code}");
            }
            Exit::Signal(signal) => {
                let hint = match (signal, worker.told) {
                    (SIGKILL, Some(StopMode::Kill)) => " It did not stop in time.",
                    (SIGKILL, _) => " Perhaps out of memory?",
                    _ => "",
                };
                let name = signal::name(signal);
                log!(self.log, Error, TARGET, "Worker ({who}) was sent {name}!{hint}");
            }
            Exit::Unknown => {
                log!(
                    self.log,
                    Warn,
                    TARGET,
                    "Worker ({who}) has ended; somebody else waited for it"
                );
            }
        }
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        let now = monotonic_ms();
        let failed = !was_ready && worker.told.is_none();
        let has_served = self.places[slot].has_served || was_ready;
        if failed && !has_served && is_boot_failure(exit) {
            self.fail_to_start(exit, now);
            return;
        }
        let delay = if failed { self.backoff(slot) } else { 0 };
        let place = &mut self.places[slot];
        place.has_served = has_served;
        place.failures = if failed { place.failures.saturating_add(1) } else { 0 };
        place.not_before_ms = (worker.spawned_ms + SPACING_MS).max(now + delay);
        if failed {
            log!(
                self.log,
                Warn,
                TARGET,
                "Worker failed to boot; the next attempt is in {delay} ms"
            );
        }
    }

    /// A worker of the first generation could not boot: so will none, and the host is to hear it.
    fn fail_to_start(&mut self, exit: Exit, now: u64) {
        let (status, message) = match exit {
            Exit::Code(APP_ERROR) => (APP_ERROR, "App failed to load."),
            _ => (BOOT_ERROR, "Worker failed to boot."),
        };
        let failure = Error::new(Kind::App, message).with_exit_status(status);
        let graceful_ms = self.settings.graceful_timeout.as_millis() as u64;
        self.begin_to_stop(StopMode::Graceful, now + graceful_ms + GRACE_MS, Some(failure));
        self.tell_all(StopMode::Graceful);
    }

    /// How long to wait after one more failure: doubled each time, and spread by a fifth so that
    /// places do not fail in step.
    fn backoff(&mut self, slot: usize) -> u64 {
        let failures = self.places[slot].failures.min(20);
        let base = (BACKOFF_MS.start() << failures).min(*BACKOFF_MS.end());
        // xorshift: nothing depends on its quality.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        base + self.random % (base / 5)
    }

    /// Fills the places that are empty and whose time has come.
    fn replace(&mut self) {
        if !matches!(self.phase, Phase::Running) {
            return;
        }
        let now = monotonic_ms();
        for slot in 0..self.places.len() {
            let place = &self.places[slot];
            if place.worker.is_some() || place.not_before_ms > now {
                continue;
            }
            if let Err(error) = self.spawn(slot) {
                let delay = self.backoff(slot);
                self.places[slot].failures = self.places[slot].failures.saturating_add(1);
                self.places[slot].not_before_ms = now + delay;
                log!(self.log, Error, TARGET, "{error}; the next attempt is in {delay} ms");
            }
        }
    }

    fn next_wait(&self) -> i64 {
        let now = monotonic_ms();
        let mut wait = -1;
        let mut at_most = |ms: u64| {
            let ms = i64::try_from(ms).unwrap_or(i64::MAX);
            wait = if wait < 0 { ms } else { wait.min(ms) };
        };
        for place in &self.places {
            match &place.worker {
                Some(worker) if worker.body.ends_silently() => at_most(POLL_MS as u64),
                None if matches!(self.phase, Phase::Running) => {
                    at_most(place.not_before_ms.saturating_sub(now));
                }
                _ => {}
            }
        }
        if let Phase::Stopping { deadline_ms, .. } = self.phase {
            at_most(deadline_ms.saturating_sub(now));
        }
        wait
    }

    /// In a new process: gives back all that is the arbiter's, and keeps this end of the life-line.
    /// Descriptors are closed, never deregistered: the epoll instance is the parent's, too.
    pub(super) fn leave(&mut self) -> Result<OwnedFd> {
        // In this process the dispositions are the host's again; those of the parent stay.
        signal::reset_in_child();
        self.signals = None;
        self.places.clear();
        self.phase = Phase::Stopped;
        let os = |error| Error::os("leave the arbiter", &error);
        self.poller = RefCell::new(Poller::new().map_err(os)?);
        self.handle.waker().detach().map_err(os)?;
        let lifeline = self.lifeline.take().map(|(read, _write)| read);
        lifeline.ok_or_else(|| Error::new(Kind::State, "leave the arbiter: it has ended"))
    }
}

/// Whether a worker that ended so before it was ready said that it cannot boot, which another could
/// not either; a panic says that, too.  One that was killed, or left in another way, said nothing of
/// the next.  gunicorn's rule.
fn is_boot_failure(exit: Exit) -> bool {
    matches!(exit, Exit::Code(BOOT_ERROR | APP_ERROR | proc::PANIC_STATUS))
}

impl fmt::Debug for Arbiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arbiter")
            .field("settings", &self.settings)
            .field("listeners", &self.listeners)
            .field("places", &self.places)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}
