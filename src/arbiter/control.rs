//! What other threads, and signal handlers, may ask of an arbiter: to stop, to reload, to have more
//! or fewer workers, to open its logs again, to be followed by another; and to wait for its end.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::settings::{Plan, WORKERS_MAX};
use crate::base::error::{Error, Kind, Result};
use crate::sys::listen::Listening;
use crate::sys::proc::{Exit, Pid};
use crate::sys::signal::{
    SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGWINCH,
};
use crate::sys::waker::Waker;

/// Ends of processes that somebody else has waited for, until the arbiter looks: far more than it has.
const REAPED_MAX: usize = 4096;

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum StopMode {
    /// What is in flight is finished first.
    Graceful = 0,
    /// What is in flight is cut.
    Quick = 1,
    /// The workers are killed.
    Kill = 2,
}

/// An arbiter, seen from elsewhere.  Cheap to clone; outlives the arbiter.
#[derive(Clone, Debug)]
pub struct Handle {
    control: Arc<Control>,
}

#[derive(Debug)]
struct Control {
    /// How often: the second time is more urgent.
    graceful: AtomicU32,
    quick: AtomicU32,
    kill: AtomicBool,
    reload: AtomicBool,
    reopen: AtomicBool,
    upgrade: AtomicBool,
    rest: AtomicBool,
    /// How many workers there are to be; 0: as many as before.
    workers: AtomicU32,
    /// And so many more.
    more: AtomicU32,
    fewer: AtomicU32,
    plan: Mutex<Option<Plan>>,
    reaped: Mutex<Vec<(Pid, Exit)>>,
    tally: Tally,
    waker: Waker,
    ended: Mutex<Option<Result<()>>>,
    end: Condvar,
    listeners: Mutex<Vec<Weak<Listening>>>,
    /// What there is, by name, and how many workers some of them are to have.
    pools: Mutex<Vec<Arc<str>>>,
    scales: Mutex<Vec<(Arc<str>, u32)>>,
}

/// What an arbiter has counted.
#[derive(Debug, Default)]
pub struct Tally {
    /// Workers that were started.
    pub spawned: AtomicU64,
    /// Workers that have ended.
    pub exited: AtomicU64,
    /// Of these, killed by the arbiter.
    pub killed: AtomicU64,
    /// Reloads that ended well.
    pub reloads: AtomicU64,
    /// Reloads that did not.
    pub reloads_failed: AtomicU64,
    /// Places whose worker failed to boot and is not tried again yet, now.
    pub failing: AtomicU64,
    /// 1: the first workers were ready, and it was not told to stop.
    pub ready: AtomicU64,
    /// How many workers there are to be.
    pub target: AtomicU64,
    /// Of these, in the first pool, which [`Handle::scale`] is about.
    pub first_target: AtomicU64,
}

/// What was asked for since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Requests {
    pub(super) graceful: u32,
    pub(super) quick: u32,
    pub(super) kill: bool,
    pub(super) reload: bool,
    pub(super) reopen: bool,
    pub(super) upgrade: bool,
    pub(super) rest: bool,
    pub(super) workers: u32,
    pub(super) more: u32,
    pub(super) fewer: u32,
}

impl Handle {
    pub(super) fn new() -> io::Result<Self> {
        let control = Control {
            graceful: AtomicU32::new(0),
            quick: AtomicU32::new(0),
            kill: AtomicBool::new(false),
            reload: AtomicBool::new(false),
            reopen: AtomicBool::new(false),
            upgrade: AtomicBool::new(false),
            rest: AtomicBool::new(false),
            workers: AtomicU32::new(0),
            more: AtomicU32::new(0),
            fewer: AtomicU32::new(0),
            plan: Mutex::new(None),
            reaped: Mutex::new(Vec::new()),
            tally: Tally::default(),
            waker: Waker::new()?,
            ended: Mutex::new(None),
            end: Condvar::new(),
            listeners: Mutex::default(),
            pools: Mutex::default(),
            scales: Mutex::default(),
        };
        Ok(Handle { control: Arc::new(control) })
    }

    /// Asks the arbiter to stop.  From any thread, and async-signal-safe.  A second
    /// [`StopMode::Graceful`] ends the time for which `lame_duck` puts the first one off; a second
    /// [`StopMode::Quick`] is more urgent than the first: what is left after 2 s is killed.
    pub fn stop(&self, how: StopMode) {
        match how {
            StopMode::Graceful => {
                self.control.graceful.fetch_add(1, Ordering::Release);
            }
            StopMode::Quick => {
                self.control.quick.fetch_add(1, Ordering::Release);
            }
            StopMode::Kill => self.control.kill.store(true, Ordering::Release),
        }
        self.control.waker.wake();
    }

    /// Asks for what the signal means to an arbiter that catches signals.  From any thread, and
    /// async-signal-safe.
    ///
    /// # Errors
    /// `Kind::Unsupported`: it means nothing.
    pub fn signal(&self, signo: i32) -> Result<()> {
        match signo {
            SIGTERM => self.stop(StopMode::Graceful),
            SIGINT | SIGQUIT => self.stop(StopMode::Quick),
            SIGHUP => self.reload(None),
            SIGUSR1 => self.reopen(),
            SIGTTIN => self.count(&self.control.more),
            SIGTTOU => self.count(&self.control.fewer),
            SIGUSR2 => self.upgrade(),
            SIGWINCH => {
                self.control.rest.store(true, Ordering::Release);
                self.control.waker.wake();
            }
            _ => return Err(Error::new(Kind::Unsupported, "this signal has no meaning")),
        }
        Ok(())
    }

    /// Asks for a reload, to `plan` or to the same configuration.  From any thread; without a plan
    /// async-signal-safe.  One that is asked for during another comes after it; of several that wait
    /// the last counts.
    pub fn reload(&self, plan: Option<Plan>) {
        let before = match plan {
            Some(plan) => lock(&self.control.plan).replace(plan),
            None => None,
        };
        self.control.reload.store(true, Ordering::Release);
        self.control.waker.wake();
        drop(before);
    }

    /// Asks for so many workers.  From any thread, and async-signal-safe.
    ///
    /// # Errors
    /// `Kind::Invalid`: none, or more than [`WORKERS_MAX`].
    pub fn scale(&self, workers: u32) -> Result<()> {
        check(workers)?;
        self.control.workers.store(workers, Ordering::Release);
        self.control.waker.wake();
        Ok(())
    }

    /// Asks for so many workers more, or fewer (below 0); says how many there are to be.
    ///
    /// # Errors
    /// As [`Handle::scale`].
    pub fn scale_by(&self, by: i64) -> Result<u32> {
        let asked = self.control.workers.load(Ordering::Acquire);
        let target = self.control.tally.first_target.load(Ordering::Relaxed);
        let target = if asked > 0 { i64::from(asked) } else { target as i64 };
        let workers = u32::try_from(target.saturating_add(by)).unwrap_or(0);
        self.scale(workers).map(|()| workers)
    }

    /// The same for one pool.  From any thread.
    ///
    /// # Errors
    /// As [`Handle::scale`]; `Kind::NotFound`: there is no such pool.
    pub fn scale_pool(&self, pool: &str, workers: u32) -> Result<()> {
        check(workers)?;
        let pools = self.pools();
        let Some(name) = pools.iter().find(|name| ***name == *pool) else {
            let text = format!("no pool is called {pool}; there is {}", pools.join(", "));
            return Err(Error::new(Kind::NotFound, text));
        };
        let mut scales = lock(&self.control.scales);
        // The last word about a pool counts.
        scales.retain(|(other, _)| other != name);
        scales.push((Arc::clone(name), workers));
        drop(scales);
        self.control.waker.wake();
        Ok(())
    }

    /// The names of its pools; the first is the one that [`Handle::scale`] is about.
    pub fn pools(&self) -> Vec<Arc<str>> {
        lock(&self.control.pools).clone()
    }

    fn count(&self, times: &AtomicU32) {
        times.fetch_add(1, Ordering::AcqRel);
        self.control.waker.wake();
    }

    /// Asks for logs to be opened again, here and in the workers.  From any thread, and
    /// async-signal-safe.
    pub fn reopen(&self) {
        self.control.reopen.store(true, Ordering::Release);
        self.control.waker.wake();
    }

    /// Asks for the program to be started again, and to take the sockets over.  From any thread, and
    /// async-signal-safe.
    pub fn upgrade(&self) {
        self.control.upgrade.store(true, Ordering::Release);
        self.control.waker.wake();
    }

    /// Somebody else has waited for a process, which may be a worker: how that ended.  From any
    /// thread.
    pub fn reaped(&self, pid: Pid, exit: Exit) {
        let mut reaped = lock(&self.control.reaped);
        if reaped.len() < REAPED_MAX {
            reaped.push((pid, exit));
        }
        drop(reaped);
        self.control.waker.wake();
    }

    /// What was counted.
    pub fn tally(&self) -> &Tally {
        &self.control.tally
    }

    /// Waits until the arbiter has ended, `timeout` at most (`None`: for ever); `None` when time is
    /// up.  What is returned is what [`Arbiter::run`](super::Arbiter::run) returned.
    pub fn wait(&self, timeout: Option<Duration>) -> Option<Result<()>> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut ended = lock(&self.control.ended);
        loop {
            if let Some(result) = &*ended {
                return Some(result.clone());
            }
            ended = match deadline {
                None => self.control.end.wait(ended).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return None;
                    }
                    let wait = self.control.end.wait_timeout(ended, left);
                    wait.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// The sockets of its configuration.
    pub fn listeners(&self) -> Vec<Weak<Listening>> {
        lock(&self.control.listeners).clone()
    }

    pub(super) fn set_listeners(&self, listeners: &[Arc<Listening>]) {
        *lock(&self.control.listeners) = listeners.iter().map(Arc::downgrade).collect();
    }

    pub(super) fn set_pools(&self, names: Vec<Arc<str>>) {
        *lock(&self.control.pools) = names;
    }

    /// Pools that are to have so many workers, since the last look.
    pub(super) fn take_scales(&self) -> Vec<(Arc<str>, u32)> {
        std::mem::take(&mut *lock(&self.control.scales))
    }

    pub(super) fn waker(&self) -> &Waker {
        &self.control.waker
    }

    pub(super) fn take(&self) -> Requests {
        Requests {
            graceful: self.control.graceful.swap(0, Ordering::AcqRel),
            quick: self.control.quick.swap(0, Ordering::AcqRel),
            kill: self.control.kill.swap(false, Ordering::AcqRel),
            reload: self.control.reload.load(Ordering::Acquire),
            reopen: self.control.reopen.swap(false, Ordering::AcqRel),
            upgrade: self.control.upgrade.swap(false, Ordering::AcqRel),
            rest: self.control.rest.swap(false, Ordering::AcqRel),
            workers: self.control.workers.swap(0, Ordering::AcqRel),
            more: self.control.more.swap(0, Ordering::AcqRel),
            fewer: self.control.fewer.swap(0, Ordering::AcqRel),
        }
    }

    /// A reload begins: what to.  What is asked for from here on is another one.
    pub(super) fn take_reload(&self) -> Option<Plan> {
        self.control.reload.store(false, Ordering::Release);
        lock(&self.control.plan).take()
    }

    /// The processes that somebody else has waited for.
    pub(super) fn take_reaped(&self) -> Vec<(Pid, Exit)> {
        std::mem::take(&mut *lock(&self.control.reaped))
    }

    /// The first result stays.
    pub(super) fn set_ended(&self, result: Result<()>) {
        let mut ended = lock(&self.control.ended);
        ended.get_or_insert(result);
        self.control.end.notify_all();
    }
}

fn check(workers: u32) -> Result<()> {
    if workers == 0 || workers as usize > WORKERS_MAX {
        return Err(Error::new(Kind::Invalid, "an arbiter has from 1 to 1024 workers"));
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::signal;
    use crate::sys::sock::wait_readable;

    #[test]
    fn requests_are_taken_once() {
        let handle = Handle::new().unwrap();
        assert_eq!(handle.take(), Requests::default());
        handle.stop(StopMode::Quick);
        handle.stop(StopMode::Quick);
        handle.stop(StopMode::Graceful);
        assert!(wait_readable(handle.waker().fd(), 0).unwrap());
        assert_eq!(handle.take(), Requests { graceful: 1, quick: 2, ..Requests::default() });
        handle.stop(StopMode::Kill);
        assert_eq!(handle.take(), Requests { kill: true, ..Requests::default() });
        assert_eq!(handle.take(), Requests::default());
    }

    #[test]
    fn a_signal_asks_for_what_it_means() {
        let handle = Handle::new().unwrap();
        let signals = [SIGTTIN, SIGTTIN, SIGTTOU, SIGTTIN, SIGUSR1, SIGUSR2, SIGHUP, SIGWINCH];
        for signo in signals {
            handle.signal(signo).unwrap();
        }
        let asked = Requests {
            reload: true,
            reopen: true,
            upgrade: true,
            rest: true,
            more: 3,
            fewer: 1,
            ..Requests::default()
        };
        assert_eq!(handle.take(), asked);
        assert_eq!(
            handle.take(),
            Requests { reload: true, ..Requests::default() },
            "until it begins"
        );
        assert!(handle.take_reload().is_none());
        assert_eq!(handle.take(), Requests::default());
        assert_eq!(handle.signal(signal::SIGKILL).unwrap_err().kind(), Kind::Unsupported);
        assert_eq!(handle.scale(0).unwrap_err().kind(), Kind::Invalid);
        assert_eq!(handle.scale(1025).unwrap_err().kind(), Kind::Invalid);
    }

    #[test]
    fn everybody_who_waits_hears_the_end() {
        let handle = Handle::new().unwrap();
        assert!(handle.wait(Some(Duration::from_millis(1))).is_none());
        std::thread::scope(|scope| {
            let waiters: Vec<_> = (0..3)
                .map(|_| {
                    let handle = handle.clone();
                    scope.spawn(move || handle.wait(None).unwrap().unwrap_err().exit_status())
                })
                .collect();
            handle.set_ended(Err(Error::from(Kind::App).with_exit_status(3)));
            handle.set_ended(Ok(()));
            for waiter in waiters {
                assert_eq!(waiter.join().unwrap(), 3);
            }
        });
        assert!(handle.wait(Some(Duration::ZERO)).unwrap().is_err());
    }
}
