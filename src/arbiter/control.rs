//! What other threads, and signal handlers, may ask of an arbiter: to stop, and to wait for its end.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::base::error::Result;
use crate::sys::waker::Waker;

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
    graceful: AtomicBool,
    /// How often: the second time is more urgent.
    quick: AtomicU32,
    kill: AtomicBool,
    waker: Waker,
    ended: Mutex<Option<Result<()>>>,
    end: Condvar,
}

/// What was asked for since the last look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Requests {
    pub(super) graceful: bool,
    pub(super) quick: u32,
    pub(super) kill: bool,
}

impl Handle {
    pub(super) fn new() -> io::Result<Self> {
        let control = Control {
            graceful: AtomicBool::new(false),
            quick: AtomicU32::new(0),
            kill: AtomicBool::new(false),
            waker: Waker::new()?,
            ended: Mutex::new(None),
            end: Condvar::new(),
        };
        Ok(Handle { control: Arc::new(control) })
    }

    /// Asks the arbiter to stop.  From any thread, and async-signal-safe.  A second
    /// [`StopMode::Quick`] is more urgent than the first: what is left after 2 s is killed.
    pub fn stop(&self, how: StopMode) {
        match how {
            StopMode::Graceful => self.control.graceful.store(true, Ordering::Release),
            StopMode::Quick => {
                self.control.quick.fetch_add(1, Ordering::Release);
            }
            StopMode::Kill => self.control.kill.store(true, Ordering::Release),
        }
        self.control.waker.wake();
    }

    /// Waits until the arbiter has ended, `timeout` at most (`None`: for ever); `None` when time is
    /// up.  What is returned is what [`Arbiter::run`](super::Arbiter::run) returned.
    pub fn wait(&self, timeout: Option<Duration>) -> Option<Result<()>> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut ended = self.control.ended.lock().unwrap_or_else(PoisonError::into_inner);
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

    pub(super) fn waker(&self) -> &Waker {
        &self.control.waker
    }

    pub(super) fn take(&self) -> Requests {
        Requests {
            graceful: self.control.graceful.swap(false, Ordering::AcqRel),
            quick: self.control.quick.swap(0, Ordering::AcqRel),
            kill: self.control.kill.swap(false, Ordering::AcqRel),
        }
    }

    /// The first result stays.
    pub(super) fn set_ended(&self, result: Result<()>) {
        let mut ended = self.control.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.get_or_insert(result);
        self.control.end.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::error::{Error, Kind};
    use crate::sys::sock::wait_readable;

    #[test]
    fn requests_are_taken_once() {
        let handle = Handle::new().unwrap();
        assert_eq!(handle.take(), Requests::default());
        handle.stop(StopMode::Quick);
        handle.stop(StopMode::Quick);
        handle.stop(StopMode::Graceful);
        assert!(wait_readable(handle.waker().fd(), 0).unwrap());
        assert_eq!(handle.take(), Requests { graceful: true, quick: 2, kill: false });
        handle.stop(StopMode::Kill);
        assert_eq!(handle.take(), Requests { graceful: false, quick: 0, kill: true });
        assert_eq!(handle.take(), Requests::default());
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
