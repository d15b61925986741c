//! A descriptor that becomes readable at a time.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::check;

/// A timerfd of the monotonic clock.
#[derive(Debug)]
pub struct Timer {
    fd: OwnedFd,
}

impl Timer {
    /// One that is not set; close-on-exec.
    pub fn new() -> io::Result<Self> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: no memory is involved.
        let fd = check(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) })?;
        // SAFETY: the descriptor is new, and nobody else has it.
        Ok(Timer { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// The descriptor.
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Readable at this time, in milliseconds of the monotonic clock, and not before.
    pub fn set(&self, at_ms: u64) -> io::Result<()> {
        // All zero would be never.
        let at_ms = at_ms.max(1);
        let it_value = libc::timespec {
            tv_sec: i64::try_from(at_ms / 1000).unwrap_or(i64::MAX),
            tv_nsec: (at_ms % 1000) as i64 * 1_000_000,
        };
        let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let spec = libc::itimerspec { it_interval: zero, it_value };
        // SAFETY: `spec` is read, and nothing is written.
        check(unsafe {
            libc::timerfd_settime(self.fd(), libc::TFD_TIMER_ABSTIME, &spec, std::ptr::null_mut())
        })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::clock::monotonic_ms;
    use crate::sys::sock::wait_readable;

    #[test]
    fn readable_when_it_is_time() {
        let timer = Timer::new().unwrap();
        assert!(!wait_readable(timer.fd(), 0).unwrap());
        let at = monotonic_ms() + 20;
        timer.set(at).unwrap();
        assert!(wait_readable(timer.fd(), -1).unwrap());
        assert!(monotonic_ms() >= at);
        timer.set(at + 1_000_000).unwrap();
        assert!(!wait_readable(timer.fd(), 0).unwrap());
    }
}
