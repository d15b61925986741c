//! The operating system: all use of libc and mio, and all `unsafe` that it needs.
//!
//! Descriptors are passed as [`RawFd`](std::os::fd::RawFd) on the hot path, where the caller owns
//! them for the time of the call, and as `OwnedFd` where they change hands.  Nothing here keeps
//! state for the process except `signal`, and that only while it is asked to, and a page of `pid`.

pub mod beneath;
pub mod cgroup;
pub mod clock;
pub mod dl;
pub mod dup;
pub mod exec;
pub mod file;
pub mod listen;
pub mod localtime;
pub mod memory;
pub mod notify;
pub mod pid;
pub mod pidfile;
pub mod poll;
pub mod proc;
pub mod relay;
pub mod script;
pub mod send;
pub mod shm;
pub mod signal;
pub mod sock;
pub mod timer;
pub mod user;
pub mod waker;

use std::io;

/// The result of a system call that says -1 and sets `errno` when it fails.
#[inline]
pub(crate) fn check(rc: libc::c_int) -> io::Result<libc::c_int> {
    if rc == -1 { Err(io::Error::last_os_error()) } else { Ok(rc) }
}

/// As [`check`], for calls that count octets.
#[inline]
pub(crate) fn check_size(rc: libc::ssize_t) -> io::Result<usize> {
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(rc as usize) }
}

/// The call again for as long as signals interrupt it.
#[inline]
pub(crate) fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            result => return result,
        }
    }
}
