//! A descriptor that any thread, and any signal handler, can make readable.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::check;

/// An eventfd.  Registered edge-triggered ([`Poller::add`](super::poll::Poller::add)) each
/// [`Waker::wake`] is an event of its own and nothing needs clearing.
#[derive(Debug)]
pub struct Waker {
    fd: OwnedFd,
}

impl Waker {
    /// A waker that nobody has woken; close-on-exec.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no memory is involved.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: the descriptor is new, and nobody else has it.
        Ok(Waker { fd: unsafe { OwnedFd::from_raw_fd(fd) } })
    }

    /// One that another process has made, of which this one was given the descriptor.
    pub fn of(fd: OwnedFd) -> Self {
        Waker { fd }
    }

    /// Readable after [`Waker::wake`], until [`Waker::clear`].
    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Makes the descriptor readable.  Async-signal-safe; leaves `errno` as it was.
    #[inline]
    pub fn wake(&self) {
        wake_fd(self.fd.as_raw_fd());
    }

    /// To be called in a forked child: the descriptor keeps its number, and has nothing to do with
    /// the parent's any more.
    pub fn detach(&self) -> io::Result<()> {
        let new = Waker::new()?;
        // SAFETY: no memory is involved; both descriptors are ours, and the old one stays valid.
        check(unsafe { libc::dup3(new.fd(), self.fd(), libc::O_CLOEXEC) })?;
        Ok(())
    }

    /// Makes the descriptor unreadable; says whether it was readable.
    pub fn clear(&self) -> bool {
        let mut count = 0u64;
        // SAFETY: an eventfd writes eight octets, and `count` has eight.
        unsafe { libc::read(self.fd.as_raw_fd(), (&raw mut count).cast(), 8) == 8 }
    }
}

/// Wakes the eventfd `fd`.  Async-signal-safe; leaves `errno` as it was.
pub(super) fn wake_fd(fd: RawFd) {
    let one = 1u64;
    // SAFETY: errno's location is this thread's; write(2) reads the eight octets of `one`.  The only
    // failures are a counter that is full, which is readable, and a descriptor that is closed.
    unsafe {
        let errno = libc::__errno_location();
        let saved = *errno;
        libc::write(fd, (&raw const one).cast(), 8);
        *errno = saved;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::sock::wait_readable;

    #[test]
    fn detached_it_is_another() {
        let waker = Waker::new().unwrap();
        let before = waker.fd.try_clone().unwrap();
        waker.detach().unwrap();
        waker.wake();
        assert!(!wait_readable(before.as_raw_fd(), 0).unwrap());
        assert!(waker.clear());
    }

    #[test]
    fn wakes_from_another_thread_and_clears() {
        let waker = Waker::new().unwrap();
        assert!(!waker.clear());
        std::thread::scope(|scope| {
            scope.spawn(|| waker.wake());
            assert!(wait_readable(waker.fd(), -1).unwrap());
        });
        waker.wake();
        assert!(waker.clear());
        assert!(!waker.clear());
        assert!(!wait_readable(waker.fd(), 0).unwrap());
    }
}
