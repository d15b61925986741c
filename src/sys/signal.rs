//! Catching signals, for a caller who asked for it.
//!
//! The handler records the signal and makes a descriptor readable, no more.  One catcher at a time
//! per process; when it is dropped, the process handles its signals as it did before.

use std::borrow::Cow;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};

use super::check;
use super::waker::{Waker, wake_fd};
use crate::base::error::{Error, Kind, Result};

/// The signals that processes of ours live by.
pub use libc::{
    SIGABRT, SIGCHLD, SIGHUP, SIGINT, SIGKILL, SIGPIPE, SIGQUIT, SIGTERM, SIGTTIN, SIGTTOU,
    SIGUSR1, SIGUSR2, SIGWINCH,
};

/// Whether there is a catcher.
static INSTALLED: AtomicBool = AtomicBool::new(false);
/// What the handler wakes; -1 is nothing.
static WAKE: AtomicI32 = AtomicI32::new(-1);
/// Bit n: signal n has come and was not taken yet.
static CAUGHT: AtomicU64 = AtomicU64::new(0);
/// How often each came since it was last asked: what is counted, not just noticed, loses none.
static TIMES: [AtomicU32; 65] = [const { AtomicU32::new(0) }; 65];
/// Handlers that run at this moment, on other threads.
static RUNNING: AtomicU32 = AtomicU32::new(0);

extern "C" fn handler(signal: libc::c_int) {
    // Async-signal-safe: atomics, and a write(2) that saves errno.
    RUNNING.fetch_add(1, Ordering::SeqCst);
    if let Some(times) = TIMES.get(signal as usize) {
        times.fetch_add(1, Ordering::SeqCst);
    }
    CAUGHT.fetch_or(bit(signal), Ordering::SeqCst);
    let fd = WAKE.load(Ordering::SeqCst);
    if fd >= 0 {
        wake_fd(fd);
    }
    RUNNING.fetch_sub(1, Ordering::SeqCst);
}

fn bit(signal: libc::c_int) -> u64 {
    1u64.checked_shl((signal - 1) as u32).unwrap_or(0)
}

/// A catcher of signals.  Dropping it restores the handlers that were there before.
#[derive(Debug)]
pub struct Signals {
    waker: Waker,
    saved: Vec<Saved>,
}

struct Saved {
    signal: libc::c_int,
    action: libc::sigaction,
}

impl Saved {
    fn restore(&self) {
        // SAFETY: the action is one that the kernel gave us for this signal.
        unsafe { libc::sigaction(self.signal, &self.action, std::ptr::null_mut()) };
    }
}

impl std::fmt::Debug for Saved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.signal.fmt(f)
    }
}

impl Signals {
    /// Catches `signals` from now on.
    ///
    /// # Errors
    /// `Kind::State` when this process has a catcher already; `Kind::Io` when one of them cannot be
    /// caught, and then none is.
    pub fn install(signals: &[i32]) -> Result<Self> {
        if INSTALLED.swap(true, Ordering::SeqCst) {
            return Err(Error::new(
                Kind::State,
                "catch signals: something in this process catches them for libgateway already; stop \
                 it first, or set signals=0",
            ));
        }
        let waker = match Waker::new() {
            Ok(waker) => waker,
            Err(error) => {
                INSTALLED.store(false, Ordering::SeqCst);
                return Err(Error::os("catch signals: eventfd", &error));
            }
        };
        CAUGHT.store(0, Ordering::SeqCst);
        TIMES.iter().for_each(|times| times.store(0, Ordering::SeqCst));
        WAKE.store(waker.fd(), Ordering::SeqCst);
        // From here on Drop undoes what was done.
        let mut this = Signals { waker, saved: Vec::with_capacity(signals.len()) };
        for &signal in signals {
            let action = catch(signal, Some(handler))
                .map_err(|error| Error::os(format_args!("catch signal {signal}"), &error))?;
            this.saved.push(Saved { signal, action });
        }
        Ok(this)
    }

    /// Ignores `signal`, too, unless the process does something with it already.
    pub fn ignoring(mut self, signal: i32) -> Result<Self> {
        let ignored = catch(signal, None)
            .map_err(|error| Error::os(format_args!("ignore signal {signal}"), &error))?;
        self.saved.push(Saved { signal, action: ignored });
        if ignored.sa_sigaction != libc::SIG_DFL {
            self.saved.pop().iter().for_each(Saved::restore);
        }
        Ok(self)
    }

    /// Whether it has changed what this signal does.
    pub fn has(&self, signal: i32) -> bool {
        self.saved.iter().any(|saved| saved.signal == signal)
    }

    /// Readable when a signal has come (level-triggered, until [`Signals::take`]).
    pub fn fd(&self) -> RawFd {
        self.waker.fd()
    }

    /// How often this signal has come since the last call; as far as the system tells, which does
    /// not while one is pending.
    pub fn times(&self, signal: i32) -> u32 {
        TIMES.get(signal as usize).map_or(0, |times| times.swap(0, Ordering::SeqCst))
    }

    /// The signals that have come since the last call, each once, in the order of their numbers.
    pub fn take(&self) -> Taken {
        // First the descriptor: a signal that comes in between makes it readable again.
        self.waker.clear();
        Taken(CAUGHT.swap(0, Ordering::SeqCst))
    }
}

/// What runs when this process is told to abort.
static ON_ABORT: AtomicPtr<Box<dyn Fn() + Send + Sync>> = AtomicPtr::new(std::ptr::null_mut());

extern "C" fn abort_handler(signal: libc::c_int) {
    let hook = ON_ABORT.load(Ordering::SeqCst);
    // SAFETY: what `on_abort` leaked; nobody frees it.
    if let Some(hook) = unsafe { hook.as_ref() } {
        hook();
    }
    // SAFETY: no memory is involved.  The default action ends the process as soon as this handler
    // returns, during which the signal is blocked.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Runs `hook` in the handler when ABRT comes, before the process ends of it: for processes of our
/// own.  `hook` must be async-signal-safe.  It stays for ever.
pub fn on_abort(hook: Box<dyn Fn() + Send + Sync>) -> io::Result<()> {
    ON_ABORT.store(Box::into_raw(Box::new(hook)), Ordering::SeqCst);
    catch(SIGABRT, Some(abort_handler))?;
    Ok(())
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.saved.iter().rev().for_each(Saved::restore);
        WAKE.store(-1, Ordering::SeqCst);
        // A handler that began before may be about to write: the descriptor must not be closed, and
        // its number given away, under it.  It cannot be one of this thread.
        while RUNNING.load(Ordering::SeqCst) != 0 {
            std::thread::yield_now();
        }
        INSTALLED.store(false, Ordering::SeqCst);
    }
}

/// The signals of one [`Signals::take`].
#[derive(Clone, Copy, Debug)]
pub struct Taken(u64);

impl Iterator for Taken {
    type Item = i32;

    fn next(&mut self) -> Option<i32> {
        if self.0 == 0 {
            return None;
        }
        let index = self.0.trailing_zeros();
        self.0 &= self.0 - 1;
        Some(index as i32 + 1)
    }
}

/// To be called in a forked child, with all signals blocked: forgets the parent's catcher, so that
/// the child can have one of its own, and nothing that comes to the child wakes the parent.  The
/// parent's is untouched.  A copy of the parent's [`Signals`] that the child has is to be dropped
/// right after this, or never: it would undo what the child installs.
pub fn reset_in_child() {
    WAKE.store(-1, Ordering::SeqCst);
    CAUGHT.store(0, Ordering::SeqCst);
    // A handler in which another thread of the parent was does not end here.
    RUNNING.store(0, Ordering::SeqCst);
    INSTALLED.store(false, Ordering::SeqCst);
}

/// Ignores a signal for the rest of the life of this process: for processes of our own.
pub fn ignore(signal: i32) -> io::Result<()> {
    catch(signal, None)?;
    Ok(())
}

/// The name of a signal: "SIGTERM"; "signal 40" where it has none.
pub fn name(signal: i32) -> Cow<'static, str> {
    Cow::Borrowed(match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGTTIN => "SIGTTIN",
        libc::SIGTTOU => "SIGTTOU",
        libc::SIGWINCH => "SIGWINCH",
        libc::SIGCHLD => "SIGCHLD",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        _ => return Cow::Owned(format!("signal {signal}")),
    })
}

/// Sets what a signal does, `None` to ignore it; returns what it did before.
fn catch(signal: i32, function: Option<extern "C" fn(libc::c_int)>) -> io::Result<libc::sigaction> {
    // SAFETY: a sigaction is numbers and a pointer, for which zero is a value; the handler is
    // async-signal-safe and has the type that goes without SA_SIGINFO.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        let mut before: libc::sigaction = MaybeUninit::zeroed().assume_init();
        libc::sigfillset(&mut action.sa_mask);
        // ONSTACK for runtimes with small stacks (Go insists on it), RESTART so that the host's
        // system calls do not start to fail.
        action.sa_flags = libc::SA_ONSTACK | libc::SA_RESTART;
        action.sa_sigaction = match function {
            Some(function) => function as *const () as libc::sighandler_t,
            None => libc::SIG_IGN,
        };
        check(libc::sigaction(signal, &action, &mut before))?;
        Ok(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::sock::wait_readable;
    use std::sync::Mutex;

    /// The catcher is one per process, and tests are threads.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

    fn action(signal: i32) -> (usize, i32) {
        // SAFETY: only asks.
        unsafe {
            let mut now: libc::sigaction = MaybeUninit::zeroed().assume_init();
            libc::sigaction(signal, std::ptr::null(), &mut now);
            // Of the flags not SA_RESTORER, which libc adds by itself.
            (now.sa_sigaction, now.sa_flags & !0x0400_0000)
        }
    }

    fn raise(signal: i32) {
        // SAFETY: no memory is involved.
        unsafe { libc::raise(signal) };
    }

    #[test]
    fn catches_and_restores() {
        let _guard = ONE_AT_A_TIME.lock().unwrap();
        extern "C" fn theirs(_: i32) {}
        catch(libc::SIGUSR2, Some(theirs)).unwrap();
        let before = [action(libc::SIGUSR1), action(libc::SIGUSR2)];
        let signals = Signals::install(&[libc::SIGUSR1, libc::SIGUSR2]).unwrap();
        assert_ne!(action(libc::SIGUSR1).1 & libc::SA_ONSTACK, 0);
        assert_eq!(signals.take().count(), 0);
        raise(libc::SIGUSR2);
        raise(libc::SIGUSR1);
        raise(libc::SIGUSR1);
        assert!(wait_readable(signals.fd(), -1).unwrap());
        assert_eq!(signals.take().collect::<Vec<_>>(), [libc::SIGUSR1, libc::SIGUSR2]);
        assert_eq!([libc::SIGUSR1, libc::SIGUSR2].map(|it| signals.times(it)), [2, 1]);
        assert_eq!([libc::SIGUSR1, libc::SIGUSR2, -1, 99].map(|it| signals.times(it)), [0; 4]);
        assert_eq!(signals.take().count(), 0);
        assert!(!wait_readable(signals.fd(), 0).unwrap());
        drop(signals);
        assert_eq!([action(libc::SIGUSR1), action(libc::SIGUSR2)], before);
        assert_eq!(before[1].0, theirs as *const () as usize);
    }

    #[test]
    fn there_is_one_catcher_per_process() {
        let _guard = ONE_AT_A_TIME.lock().unwrap();
        let first = Signals::install(&[libc::SIGUSR1]).unwrap();
        assert_eq!(Signals::install(&[libc::SIGUSR2]).unwrap_err().kind(), Kind::State);
        raise(libc::SIGUSR1);
        assert_eq!(first.take().next(), Some(libc::SIGUSR1));
        drop(first);
        drop(Signals::install(&[libc::SIGUSR1]).unwrap());
    }

    #[test]
    fn a_signal_that_cannot_be_caught_leaves_nothing_behind() {
        let _guard = ONE_AT_A_TIME.lock().unwrap();
        let before = action(libc::SIGUSR1);
        let error = Signals::install(&[libc::SIGUSR1, libc::SIGKILL]).unwrap_err();
        assert_eq!(error.kind(), Kind::Io);
        assert_eq!(action(libc::SIGUSR1), before);
        assert!(!INSTALLED.load(Ordering::SeqCst));
    }

    #[test]
    fn every_signal_has_a_bit() {
        assert_eq!(bit(1), 1);
        assert_eq!(bit(64), 1 << 63);
        assert_eq!(Taken(bit(1) | bit(64)).collect::<Vec<_>>(), [1, 64]);
    }
}
