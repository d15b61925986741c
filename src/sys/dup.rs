//! A descriptor of somebody else, kept by us.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::check;

/// A new descriptor, closed on exec, for what `fd` refers to.  `fd` stays whose it is.
/// `EBADF`: there is no such descriptor.
pub fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes a number and touches no memory; the kernel checks `fd`.
    let new = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) };
    if new < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made `new`, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
}

/// Makes `fd` refer to what `new` does, at once: whoever writes to it writes to one or the other.
pub fn replace(fd: BorrowedFd<'_>, new: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no memory is involved; both descriptors are open as long as they are borrowed.
    check(unsafe { libc::dup3(new.as_raw_fd(), fd.as_raw_fd(), libc::O_CLOEXEC) })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write, pipe};

    #[test]
    fn a_duplicate_is_the_same_pipe_and_outlives_the_original() {
        let (mut reader, writer) = pipe().unwrap();
        let twin = duplicate(writer.as_raw_fd()).unwrap();
        drop(writer);
        File::from(twin).write_all(b"x").unwrap();
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert_eq!(read, b"x");
    }

    #[test]
    fn a_duplicate_is_closed_on_exec_and_no_standard_stream() {
        let twin = duplicate(0).unwrap();
        assert!(twin.as_raw_fd() > 2);
        // SAFETY: no memory is involved.
        let flags = unsafe { libc::fcntl(twin.as_raw_fd(), libc::F_GETFD) };
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }

    #[test]
    fn what_is_not_open_is_refused() {
        for fd in [-1, i32::MAX] {
            assert_eq!(duplicate(fd).unwrap_err().raw_os_error(), Some(libc::EBADF));
        }
    }
}
