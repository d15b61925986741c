//! Sending: memory, gathered memory, ranges of files; never a SIGPIPE.
//!
//! Each call sends what the socket takes and says how much; `WouldBlock` when it takes nothing.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

use super::file::pread;
use super::{check, check_size, retry};

/// Sends `octets`.  `more` says that more follows at once, so that a small piece waits for company.
#[inline]
pub fn send(fd: RawFd, octets: &[u8], more: bool) -> io::Result<usize> {
    let flags = libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
    retry(|| {
        // SAFETY: the pointer and the length are those of `octets`.
        check_size(unsafe { libc::send(fd, octets.as_ptr().cast(), octets.len(), flags) })
    })
}

/// The pieces that one call takes at most (the kernel's UIO_MAXIOV).
pub const MAX_SLICES: usize = 1024;

/// Sends the octets of `slices` in order, of the first [`MAX_SLICES`] of them.  `more`: see [`send`].
#[inline]
pub fn send_vectored(fd: RawFd, slices: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
    let flags = libc::MSG_NOSIGNAL | if more { libc::MSG_MORE } else { 0 };
    // SAFETY: a msghdr is pointers and numbers, for which zero is a value: nothing.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    // An IoSlice has the layout of an iovec (std promises it); sendmsg only reads them.
    message.msg_iov = slices.as_ptr().cast_mut().cast();
    // A size_t here, an int there (musl): 1024 fits into both.
    message.msg_iovlen = slices.len().min(MAX_SLICES) as _;
    retry(|| {
        // SAFETY: `message` names the memory of `slices`, which lives as long as the call.
        check_size(unsafe { libc::sendmsg(fd, &message, flags) })
    })
}

/// The most octets that one call sends of a file: enough to fill any socket buffer, and small
/// enough that one fast client does not hold the loop.
const FILE_MAX: usize = 1 << 20;

/// Sends up to `len` octets of `file` from `offset`; 0 is the end of the file.
///
/// `sigpipe_ignored` is what [`sigpipe_is_ignored`] said: sendfile(2) knows no MSG_NOSIGNAL, so
/// where the host has not ignored SIGPIPE it is held back from this thread during the call.  A file
/// that cannot be mapped into pages (on some file systems) is read and sent instead.
pub fn send_file(
    out: RawFd,
    file: RawFd,
    offset: u64,
    len: u64,
    sigpipe_ignored: bool,
) -> io::Result<usize> {
    let count = len.min(FILE_MAX as u64) as usize;
    let at =
        libc::off_t::try_from(offset).map_err(|_| io::Error::from_raw_os_error(libc::EOVERFLOW))?;
    let _held = if sigpipe_ignored { None } else { SigpipeHeld::new() };
    let sent = retry(|| {
        let mut at = at;
        // SAFETY: `at` may be written; nothing else is memory.
        check_size(unsafe { libc::sendfile(out, file, &mut at, count) })
    });
    match sent {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => {
            copy_file(out, file, offset, count)
        }
        sent => sent,
    }
}

/// What [`send_file`] does where sendfile(2) cannot.  What was read and not sent is read again.
fn copy_file(out: RawFd, file: RawFd, offset: u64, count: usize) -> io::Result<usize> {
    let mut buffer = [0; 32 * 1024];
    let room = count.min(buffer.len());
    let n = pread(file, &mut buffer[..room], offset)?;
    if n == 0 { Ok(0) } else { send(out, &buffer[..n], false) }
}

/// Whether this process ignores SIGPIPE.  To be asked once, when the loop starts.
pub fn sigpipe_is_ignored() -> bool {
    // SAFETY: a sigaction is numbers and a pointer, for which zero is a value.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: only asks; `action` may be written.
    let rc = unsafe { libc::sigaction(libc::SIGPIPE, std::ptr::null(), &mut action) };
    rc == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// SIGPIPE is blocked for this thread; the one that was raised meanwhile is eaten at the end.
struct SigpipeHeld {
    only_sigpipe: libc::sigset_t,
    before: libc::sigset_t,
}

impl SigpipeHeld {
    /// `None` when one is pending already: then it is the host's, it is blocked anyway, and another
    /// changes nothing.
    fn new() -> Option<Self> {
        // SAFETY: sigset_t is plain numbers; each call below initialises or reads the set that it is
        // given, and SIGPIPE is a signal, so that none can fail.
        unsafe {
            let mut pending: libc::sigset_t = MaybeUninit::zeroed().assume_init();
            libc::sigpending(&mut pending);
            if libc::sigismember(&pending, libc::SIGPIPE) == 1 {
                return None;
            }
            let mut only_sigpipe: libc::sigset_t = MaybeUninit::zeroed().assume_init();
            libc::sigemptyset(&mut only_sigpipe);
            libc::sigaddset(&mut only_sigpipe, libc::SIGPIPE);
            let mut before: libc::sigset_t = MaybeUninit::zeroed().assume_init();
            libc::pthread_sigmask(libc::SIG_BLOCK, &only_sigpipe, &mut before);
            Some(SigpipeHeld { only_sigpipe, before })
        }
    }
}

impl Drop for SigpipeHeld {
    fn drop(&mut self) {
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: both sets were initialised by `new`; no information about the signal is wanted.
        unsafe {
            let eat = || check(libc::sigtimedwait(&self.only_sigpipe, std::ptr::null_mut(), &now));
            let _ = retry(eat);
            libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, std::ptr::null_mut());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::TempFile;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    fn pair() -> (UnixStream, UnixStream) {
        let (a, b) = UnixStream::pair().unwrap();
        a.set_nonblocking(true).unwrap();
        (a, b)
    }

    fn read(from: &mut UnixStream, n: usize) -> Vec<u8> {
        let mut buffer = vec![0; n];
        from.read_exact(&mut buffer).unwrap();
        buffer
    }

    #[test]
    fn sends_memory_in_order() {
        let (a, mut b) = pair();
        assert_eq!(send(a.as_raw_fd(), b"one ", true).unwrap(), 4);
        let slices = [IoSlice::new(b"two "), IoSlice::new(b""), IoSlice::new(b"three")];
        assert_eq!(send_vectored(a.as_raw_fd(), &slices, false).unwrap(), 9);
        assert_eq!(read(&mut b, 13), b"one two three");
    }

    #[test]
    fn more_slices_than_the_kernel_takes_are_a_partial_write() {
        let (a, _b) = pair();
        let slices = vec![IoSlice::new(b"x"); MAX_SLICES + 5];
        assert_eq!(send_vectored(a.as_raw_fd(), &slices, false).unwrap(), MAX_SLICES);
    }

    #[test]
    fn a_full_socket_would_block() {
        let (a, _b) = pair();
        let block = vec![0; 1 << 16];
        let error = loop {
            if let Err(error) = send(a.as_raw_fd(), &block, false) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn sends_ranges_of_files() {
        let (a, mut b) = pair();
        let mut file = TempFile::new(&std::env::temp_dir()).unwrap();
        file.append(b"0123456789").unwrap();
        for ignored in [true, false] {
            let n = send_file(a.as_raw_fd(), file.fd(), 3, 4, ignored).unwrap();
            assert_eq!(read(&mut b, n), b"3456");
            assert_eq!(send_file(a.as_raw_fd(), file.fd(), 10, 4, ignored).unwrap(), 0);
        }
        assert_eq!(send_file(a.as_raw_fd(), file.fd(), 8, u64::MAX, true).unwrap(), 2);
        assert_eq!(copy_file(a.as_raw_fd(), file.fd(), 1, 2).unwrap(), 2);
        assert_eq!(read(&mut b, 4), b"8912");
        assert_eq!(copy_file(a.as_raw_fd(), file.fd(), 10, 2).unwrap(), 0);
    }

    #[test]
    fn what_sendfile_refuses_is_copied() {
        let (a, mut b) = pair();
        // sendfile(2) gives EINVAL for an output that was opened for appending; a socket cannot be,
        // so use what is refused as an input: /proc files of which splice knows nothing.
        let file = std::fs::File::open("/proc/self/environ").unwrap();
        let n = send_file(a.as_raw_fd(), file.as_raw_fd(), 0, 4, true).unwrap();
        let mut expected = vec![0; n];
        assert_eq!(pread(file.as_raw_fd(), &mut expected, 0).unwrap(), n);
        assert_eq!(read(&mut b, n), expected);
    }

    #[test]
    fn a_peer_that_left_is_an_error_and_not_a_signal() {
        // Whether a signal was raised is told by `tests/process_sys.rs`: here std ignores SIGPIPE.
        let (a, b) = pair();
        drop(b);
        let mut file = TempFile::new(&std::env::temp_dir()).unwrap();
        file.append(b"x").unwrap();
        for error in [
            send(a.as_raw_fd(), b"x", false).unwrap_err(),
            send_vectored(a.as_raw_fd(), &[IoSlice::new(b"x")], false).unwrap_err(),
            send_file(a.as_raw_fd(), file.fd(), 0, 1, false).unwrap_err(),
        ] {
            assert_eq!(error.raw_os_error(), Some(libc::EPIPE));
        }
    }
}
